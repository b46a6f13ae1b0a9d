"""The objects of a VOC XML file: class, corners, polygons, flags, and whatever else is said of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import SampleError, blaming
from cutmix_dense.data.masks import boxes_from_masks, check_room
from cutmix_dense.data.readers.base import finite

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_KNOWN = frozenset({"name", "bndbox", "difficult", "polygon", "deleted"})
_OF_PICTURE = frozenset({"filename", "path", "folder", "size", "imagesize", "object", "segmented"})
_COORDINATE = re.compile(r"([xy](min|max|\d+)?|c[xy]|[wh]|angle|width|height)$")
_TRUE, _FALSE = ("1", "true", "yes"), ("", "0", "false", "no", "unspecified", "unknown", "none")


class Row(NamedTuple):
    """One object of a file.

    Attributes:
        box: xyxy, half-open.
        label: of its class.
        difficult: its flag.
        polygons: x, y, x, y … each, in pixels from 0 on; empty if it states none.
        node: its element.
        remark: what of it isn't followed; empty if all is.
    """

    box: Sequence[float]
    label: int
    difficult: bool
    polygons: list[list[float]]
    node: ElementTree.Element
    remark: str = ""

    def details(self) -> dict[str, Any]:
        """What the file says of it besides what a target holds, by tag, and all of it, word for word."""
        nodes = [node for node in self.node if node.tag not in _KNOWN]
        stated = ElementTree.tostring(self.node, encoding="unicode").strip()
        return {**_attributes(self.node), **_by_tag(nodes), STATED: stated}


def rows_of(tree: ElementTree.Element, labels: Mapping[str, int]) -> Iterator[Row | ValueError]:
    """The objects of a file in its order; for one that makes no sense, what is wrong with it."""
    for number, node in enumerate(tree.findall("object"), 1):
        try:
            yield _row(node, labels)
        except (ValueError, RecursionError) as error:
            yield ValueError(f"object {number}: {error}")


def _row(node: ElementTree.Element, labels: Mapping[str, int]) -> Row:
    if (node.findtext("deleted") or "").strip() in _TRUE:
        raise ValueError("is marked as deleted")
    name = (node.findtext("name") or "").strip()
    if not name:
        raise ValueError("has no <name>")
    if name not in labels:
        raise ValueError(f"class {name!r} is not among {tuple(labels)}; classes= can name more")
    polygons = [points for points in map(_polygon, node.findall("polygon")) if len(points) >= 6]
    boxes = node.findall("bndbox")
    if len(boxes) and (not polygons or "".join(boxes[0].itertext()).strip()):
        box = [_corner(node, corner) for corner in _CORNERS]
        box = [box[0] - 1, box[1] - 1, *box[2:]]  # 1-based inclusive to 0-based half-open
    elif polygons:
        points = np.concatenate([np.reshape(each, (-1, 2)) for each in polygons])
        box = [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
    elif node.find("robndbox") is not None:
        raise ValueError("has a rotated box alone (<robndbox>), which VOC's boxes can't hold")
    else:
        raise ValueError("has neither a <bndbox> nor a <polygon>")
    flag = (node.findtext("difficult") or "").strip().lower()
    remarks = (
        [] if flag in _TRUE + _FALSE or _is_number(flag) else [f"<difficult> says {flag[:40]!r}, which is taken for 0"]
    )
    if len(boxes) > 1:
        remarks.append(f"has {len(boxes)} <bndbox>, the first one is read")
    difficult = flag in _TRUE or (_is_number(flag) and float(flag) != 0)
    for attribute in node.findall("attributes/attribute"):
        if (attribute.findtext("name") or "").strip() == "rotation" and _turned(attribute.findtext("value") or ""):
            remarks.append(f"its rotation of {attribute.findtext('value')} isn't followed, the box is read upright")
    return Row(box, labels[name], difficult, polygons, node, "; ".join(remarks))


def _corner(node: ElementTree.Element, corner: str) -> float:
    text = (node.findtext(f"bndbox/{corner}") or "").strip()
    if not text:
        raise ValueError(f"its <bndbox> has no <{corner}>")
    return finite(text)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d{1,9}(\.\d{0,9})?", text) is not None


def _turned(text: str) -> bool:
    return _is_number(text.strip()) and float(text) % 360 != 0


def _polygon(node: ElementTree.Element) -> list[float]:
    """x, y, x, y … of `<pt><x>..<y>..` as LabelMe has it, or of `<x1>..<y1>..<x2>..` as Roboflow has it."""
    points = node.findall("pt") or node.findall("point")
    if points:
        return [finite(point.findtext(axis) or "") for point in points for axis in "xy"]
    places: dict[int, dict[str, float]] = {}
    for child in node:
        found = re.fullmatch(r"([xy])(\d{1,6})", child.tag) if isinstance(child.tag, str) else None
        if found is not None:
            places.setdefault(int(found[2]), {})[found[1]] = finite(child.text or "")
    if any(len(place) < 2 for place in places.values()):
        raise ValueError("a corner of its <polygon> has no x or no y")
    return [places[number][axis] for number in sorted(places) for axis in "xy"]


def stated_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    """(H, W) that a file states; None where it states none, zeros, or what is no number."""
    for names in (("size/height", "size/width"), ("imagesize/nrows", "imagesize/ncols")):
        texts = [(tree.findtext(name) or "").strip() for name in names]
        if all(map(_is_number, texts)):
            height, width = (int(float(text)) for text in texts)
            if height > 0 and width > 0:
                return height, width
    return None


def picture_details(tree: ElementTree.Element) -> dict[str, Any]:
    """What a file says of its picture besides name, folder and size, by tag; its attributes with an @ before."""
    return {**_attributes(tree), **_by_tag([node for node in tree if node.tag not in _OF_PICTURE])}


def _attributes(node: ElementTree.Element) -> dict[str, str]:
    """The attributes of an element, with an @ before their names, which no tag has."""
    return {f"@{name}": value for name, value in node.attrib.items()}


def _by_tag(nodes: Sequence[ElementTree.Element]) -> dict[str, Any]:
    """The values of elements; of several with one tag a list."""
    found: dict[str, list[Any]] = {}
    for node in nodes:
        if isinstance(node.tag, str):
            found.setdefault(node.tag, []).append(plain(node))
    return {tag: values[0] if len(values) == 1 and tag != "part" else values for tag, values in found.items()}


def plain(node: ElementTree.Element) -> Any:
    """An element as what JSON holds: its text, a dict of its children, or for coordinates a list of numbers.

    An element with attributes is a dict, with its text as ``#text``.
    """
    children = [child for child in node if isinstance(child.tag, str)]
    if not children:
        text = (node.text or "").strip()
        return {**_attributes(node), **({"#text": text} if text else {})} if node.attrib else text
    texts = [(child.text or "").strip() for child in children]
    if len(children) > 1 and all(_COORDINATE.match(child.tag) and not len(child) for child in children):
        places = {child.tag: text for child, text in zip(children, texts)}
        if len(places) == len(children) and all(map(_is_number, texts)):
            order = _CORNERS if set(places) == set(_CORNERS) else tuple(places)
            return [float(places[tag]) for tag in order]
    return {**_attributes(node), **_by_tag(children)}


def match_masks(
    path: Any,
    ids: np.ndarray,
    semantic: np.ndarray | None,
    boxes: np.ndarray,
    labels: np.ndarray,
    numbers: Sequence[int],
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Masks (N, H, W) of the objects from an object map, (N,) which of them it shows, and what had to be left out.

    Object `i` of the file has the index `i`, as the development kit says, or else each index pairs with one object by
    class and box. An object without an index has no mask, an index that fits no object is left out.

    Args:
        path: the map, for messages.
        ids: (H, W), the map.
        semantic: (H, W), the map of classes; None: classes aren't compared.
        boxes: (N, 4) of the objects.
        labels: (N,) of the objects.
        numbers: (N,), which object of the file each is, from 1 on.

    Raises:
        SampleError: more than 254 objects, or an object that several indices may belong to.
    """
    present = [int(i) for i in np.unique(ids) if i not in (0, 255)]
    if len(boxes) > 254:  # those of 1 … 254; more would only be compared with one another for long
        raise SampleError(path, f"a map has indices for 254 objects, the XML file has {len(boxes)}")
    with blaming(path):
        check_room("masks", max(len(present), len(boxes)), (ids.shape[0], ids.shape[1]))
    masks = ids[None] == np.asarray(present, dtype=ids.dtype).reshape(-1, 1, 1)
    tight = boxes_from_masks(masks)
    kinds = [_class_under(semantic, mask) for mask in masks]
    overlap = np.zeros((len(boxes), len(present)))
    for i, box in enumerate(boxes):
        for j, other in enumerate(tight):
            # What is covered makes a mask smaller than the box in the XML, never larger (2 px for careless drawing).
            fits = (other[:2] >= box[:2] - 2).all() and (other[2:] <= box[2:] + 2).all()
            if fits and kinds[j] in (labels[i], None):
                sides = (np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])).clip(min=0)
                union = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - sides.prod()
                overlap[i, j] = sides.prod() / max(union, 1e-9)
    rows = {number: i for i, number in enumerate(numbers)}
    chosen = {rows[number]: j for j, number in enumerate(present) if number in rows}
    if len(chosen) < len(present) or any(overlap[i, j] <= 0 for i, j in chosen.items()):
        chosen = _by_overlap(path, overlap)
    shown = np.zeros(len(boxes), dtype=bool)
    stack = np.zeros((len(boxes), *ids.shape), dtype=bool)
    for i, j in chosen.items():
        stack[i], shown[i] = masks[j], True
    strays = [number for j, number in enumerate(present) if j not in chosen.values()]
    return stack, shown, [f"index {number} fits no object of the XML file; it is left out" for number in strays]


def _class_under(semantic: np.ndarray | None, mask: np.ndarray) -> int | None:
    """The class that most pixels of a mask have in the map of classes."""
    return None if semantic is None else int(np.bincount(semantic[mask]).argmax())


def _by_overlap(path: Any, overlap: np.ndarray) -> dict[int, int]:
    """The index of each object that overlaps any: both must be the other's best, alone."""
    chosen: dict[int, int] = {}
    for i, row in enumerate(overlap):
        if not row.any():
            continue
        best = int(row.argmax())
        alone = (row == row[best]).sum() == 1 and (overlap[:, best] == row[best]).sum() == 1
        if not alone or overlap[:, best].max() > row[best]:
            raise SampleError(path, f"no index belongs without doubt to object {i + 1} of the XML file")
        chosen[i] = best
    return chosen


def masks_alone(
    path: Any, ids: np.ndarray, semantic: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Boxes, labels and masks of the objects of a map where no XML file names them, and what had to be left out."""
    present = [int(i) for i in np.unique(ids) if i not in (0, 255)]
    with blaming(path):
        check_room("masks", len(present), (ids.shape[0], ids.shape[1]))
    masks, labels, left = [], [], []
    for number in present:
        mask = ids == number
        inside = semantic[mask]
        inside = inside[(inside > 0) & (inside < 255)]
        if len(inside):
            masks.append(mask)
            labels.append(int(np.bincount(inside).argmax()))
        else:
            left.append(f"index {number} has no class in the map of classes; it is left out")
    stack = np.stack(masks) if masks else np.zeros((0, *ids.shape), dtype=bool)
    return boxes_from_masks(stack), np.array(labels, dtype=np.int64), stack, left
