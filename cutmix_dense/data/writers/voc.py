"""PASCAL VOC: JPEGImages, Annotations, SegmentationClass, SegmentationObject, and the lists of ImageSets."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import read_lines, write_atomic
from cutmix_dense.data.maps import encode_indices, voc_palette
from cutmix_dense.data.pictures import encode_picture
from cutmix_dense.data.writers.base import Sample, Writer

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset

_MOST_OBJECTS, _MOST_CLASSES = 254, 254
_TRUE = ("1", "true", "yes")
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*$")
_CONTROL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OF_OBJECT = frozenset({"name", "bndbox", "difficult", "truncated", "pose", "polygon", STATED})
_OF_PICTURE = frozenset({"folder", "filename", "size", "imagesize", "path", "segmented", "object"})


class VocWriter(Writer):
    """Writes a VOC split; splits of one root share its folders, so their keys must differ (`taken`).

    Boxes become whole 1-based inclusive pixels, rounded outwards. An instance that is as its VOC file states it keeps
    its element word for word. Object `i` of the XML is index `i` of SegmentationObject. VOC has no crowds: they are
    written as `difficult`. Samples with `semantic` or stated `masks` get both maps and stand in
    `ImageSets/Segmentation`, too; a missing semantic map is painted from the masks, and 255 in the boxes of instances
    without one. Pictures lie in one folder, as VOC's do. A copy of a VOC set keeps its `labelmap.txt` in place of a
    `classes.txt`, the colours in it, and maps in RGB.

    Args:
        root: the folder of the dataset.
        classes: names by label, `classes[0]` being "background"; written to `classes.txt`.
        split: name of the lists.
        quality: JPEG quality.
    """

    layout = "voc"

    def __init__(self, root: str | Path, *, classes: Sequence[str], split: str = "train", quality: int = 95) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        stated = self.root / "classes.txt"
        if stated.is_file() and read_lines(stated) != list(self.classes):
            raise DatasetError(f"{stated}: names other classes than those of the split {split!r}")
        self._shift = 0  # of labels, where the first class of a dataset is no background
        self._maps_only = False
        self._some_maps = False  # 255 all over means that a picture has no map
        self._label_map: bytes | None = None  # CVAT's, in place of classes.txt
        self._palette, self._rgb = voc_palette(), False

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> VocWriter:
        """The writer of a copy of a dataset; ValueError for clips, panoptic maps, odd classes."""
        if dataset.has_panoptic or dataset.mix_layout != "BCHW":
            raise ValueError(f"voc holds instances and maps of single pictures, samples of {dataset.layout} are others")
        classes = tuple(dataset.classes)
        shift = int(classes[:1] != ("background",))  # the classes of maps, whose ids begin at 0
        if shift:
            classes = ("background", *classes)
        cls.check_names(classes[1:], lines=True, reserved=("background",))
        if len(classes) > _MOST_CLASSES + 1 and (dataset.has_semantic or dataset.has_masks):
            raise ValueError(f"voc's maps number {_MOST_CLASSES} classes, {dataset.layout} has {len(classes) - 1}")
        writer = cls(root, classes=classes, split=split, quality=quality)
        writer._shift = shift
        writer._maps_only = getattr(dataset, "task", None) == "segmentation"
        writer._some_maps = getattr(dataset, "task", None) == "all"
        if dataset.layout == cls.layout:
            writer._keep_form(dataset)
        return writer

    @classmethod
    def stem_of(cls, path: Path) -> str:
        """What a sample is called after its source's picture file: no space round it, which lists can't hold."""
        return super().stem_of(path).strip()

    def _keep_form(self, dataset: Any) -> None:
        """Write the maps as a VOC set has them: RGB or palette, in the colours of its `labelmap.txt`."""
        self._palette, self._rgb = dataset.map_form()
        if dataset.label_map is not None:
            self._label_map = Path(dataset.label_map).read_bytes()
            stated = self.root / "labelmap.txt"
            if stated.is_file() and stated.read_bytes() != self._label_map:
                raise DatasetError(f"{stated}: is another one than {dataset.label_map} of the split {self.split!r}")

    def taken(self) -> set[str]:
        """The keys, in small letters, that the lists of other splits name."""
        lists = [path for path in self.root.glob("ImageSets/*/*.txt") if path.stem != self.split]
        return {key.lower() for path in lists for key in read_lines(path)}

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        sample = self._shifted(sample)
        files = self._maps(key, sample)
        flat = sample.picture and sample.picture._replace(name=Path(sample.picture.name).name)
        name, content = self.picture_file("JPEGImages", key, dataclasses.replace(sample, picture=flat))
        if sample.keypoints is not None and len(sample.boxes):
            sample.lost["keypoints"] += int((sample.keypoints[..., 2] > 0).any(axis=1).sum())
        if sample.corners is not None:
            sample.lost["rotated boxes (the upright ones round them are kept)"] += len(sample.boxes)
        sample.lost["crowds (written as difficult)"] += int(np.count_nonzero(sample.iscrowd))
        if not self._maps_only:
            files[f"Annotations/{key}.xml"] = self._xml(Path(name).name, sample, bool(files))
        else:
            self.count_picture_details(sample)
        segmented = any(path.startswith("Segmentation") for path in files)
        files[name] = content
        return files, {"segmented": segmented}

    def _shifted(self, sample: Sample) -> Sample:
        """The sample by the classes of this writer."""
        semantic, labels = sample.semantic, sample.labels + self._shift
        if len(labels) and int(labels.min()) < 1:
            raise ValueError("label 0 is the background, which is no class of VOC's objects")
        if semantic is not None:
            if self._shift:
                semantic = np.where(semantic == 255, 255, semantic.astype(np.int64) + 1)
            strays = semantic[(semantic >= len(self.classes)) & (semantic != 255)]
            if strays.size:
                raise ValueError(f"semantic holds {int(strays[0])}, there are classes 0 … {len(self.classes) - 1}")
            semantic = semantic.astype(np.uint8)
        return dataclasses.replace(sample, labels=labels, semantic=semantic)

    def _maps(self, key: str, sample: Sample) -> dict[str, bytes]:
        """The maps of classes and objects, if the sample has any."""
        stated = sample.masks is not None and (bool(sample.has_mask.any()) or not len(sample.boxes))
        if stated and len(sample.boxes) > _MOST_OBJECTS:
            sample.lost[f"masks of pictures with more than {_MOST_OBJECTS} objects"] += int(sample.has_mask.sum())
            stated = False
        none = sample.semantic is None or (self._some_maps and bool((sample.semantic == 255).all()))
        if none and not (stated and len(sample.boxes)) and (self._some_maps or not stated):
            return {}
        files: dict[str, bytes] = {}
        shown = sample.object_map() if stated else np.full(sample.size, -1)
        semantic = self._painted(sample, shown) if none or sample.semantic is None else sample.semantic
        files[f"SegmentationClass/{key}.png"] = self._drawn(semantic, self._palette)
        if stated:
            assert sample.masks is not None
            objects = np.where((shown < 0) & (semantic == 255), 255, shown + 1).astype(np.uint8)
            files[f"SegmentationObject/{key}.png"] = self._drawn(objects, voc_palette())
            for i in np.flatnonzero(sample.has_mask):
                written = int(np.count_nonzero(shown == i))
                if written < int(np.count_nonzero(sample.masks[i])) and "<polygon" not in str(
                    sample.details[i].get(STATED)
                ):
                    sample.lost["pixels of masks where a smaller one lies over them"] += 1
        return files

    def _drawn(self, ids: np.ndarray, palette: bytes) -> bytes:
        """A map as PNG, with a palette or in its colours."""
        if self._rgb:
            return encode_picture(np.frombuffer(palette, dtype=np.uint8).reshape(256, 3)[ids], ".png")
        return encode_indices(ids, palette)

    def _painted(self, sample: Sample, shown: np.ndarray) -> np.ndarray:
        """A map of classes from the masks; 255 where an instance may lie that has none."""
        if len(self.classes) > _MOST_CLASSES + 1:
            raise ValueError(f"SegmentationClass can number {_MOST_CLASSES} classes, there are {len(self.classes) - 1}")
        semantic = np.append(sample.labels, 0).astype(np.uint8)[shown]  # -1 takes the appended background
        height, width = sample.size
        for (x1, y1, x2, y2), stated in zip(sample.boxes.tolist(), sample.has_mask):
            if not stated:
                rows = slice(max(math.floor(y1), 0), min(max(math.ceil(y2), 0), height))
                columns = slice(max(math.floor(x1), 0), min(max(math.ceil(x2), 0), width))
                semantic[rows, columns][shown[rows, columns] < 0] = 255
        return semantic

    def _xml(self, name: str, sample: Sample, segmented: bool) -> bytes:
        height, width = sample.size
        details = {} if sample.picture is None else dict(sample.picture.details)
        root = ElementTree.Element("annotation")
        _texts(root, folder=self.root.name, filename=name)
        source = details.pop("source", {"database": "written by cutmix_dense"})
        if not _append(root, "source", source):
            sample.lost["source of pictures"] += 1
        _texts(ElementTree.SubElement(root, "size"), width=width, height=height, depth=sample.image.shape[2])
        _texts(root, segmented=int(segmented))
        for tag, value in details.items():
            if tag in _OF_PICTURE or not _append(root, tag, value):
                sample.lost[f"{tag} of pictures"] += 1
        root.extend([_stated(sample.details[i]) or self._object(sample, i) for i in range(len(sample.boxes))])
        if sample.visibility is not None:  # of a mix
            _tell_apart(root, sample.lost)
        ElementTree.indent(root, "\t")
        return ElementTree.tostring(root, encoding="utf-8") + b"\n"

    def _object(self, sample: Sample, i: int) -> ElementTree.Element:
        height, width = sample.size
        x1, y1, x2, y2 = sample.boxes[i].tolist()
        details = sample.details[i]
        node = ElementTree.Element("object")
        cut = x1 <= 0 or y1 <= 0 or x2 >= width or y2 >= height
        cut = cut or str(details.get("truncated", "")).strip().lower() in _TRUE
        pose = details.get("pose")
        _texts(
            node,
            name=self.classes[int(sample.labels[i])],
            pose=pose if isinstance(pose, str) and pose else "Unspecified",
            truncated=int(cut),
            difficult=int(bool(sample.difficult[i]) or bool(sample.iscrowd[i])),
        )
        sample.lost["levels of difficult (above 1, written as 1)"] += bool(sample.difficult[i]) and sample.level(i) > 1
        sample.lost["fractions of pixels in boxes (rounded outwards)"] += any(edge % 1 for edge in (x1, y1, x2, y2))
        corners = {"xmin": math.floor(x1) + 1, "ymin": math.floor(y1) + 1, "xmax": math.ceil(x2), "ymax": math.ceil(y2)}
        _texts(ElementTree.SubElement(node, "bndbox"), **corners)
        for tag, value in details.items():
            if tag not in _OF_OBJECT and not _append(node, tag, value):
                sample.lost[f"{tag} of instances"] += 1
        return node

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        segmented = [key for key, sample in zip(keys, samples, strict=True) if sample["segmented"]]
        if self._label_map is None:
            write_atomic(self.root / "classes.txt", _lines(self.classes))
        else:
            write_atomic(self.root / "labelmap.txt", self._label_map)
        if segmented or self._maps_only:
            write_atomic(self.root / "ImageSets" / "Segmentation" / f"{self.split}.txt", _lines(segmented))
        if not self._maps_only:
            write_atomic(self.root / "ImageSets" / "Main" / f"{self.split}.txt", _lines(keys))


def _stated(details: Mapping[str, Any]) -> ElementTree.Element | None:
    """The element that an untouched instance was read from."""
    text = details.get(STATED)
    if not isinstance(text, str):
        return None
    with suppress(ElementTree.ParseError):
        node = ElementTree.fromstring(text)
        return node if node.tag == "object" else None
    return None


def _tell_apart(root: ElementTree.Element, lost: Counter[str]) -> None:
    """Give the objects of several pictures ids of their own, and leave out what is said of parts by ids."""
    taken: set[str] = set()
    for node in root.findall("object"):
        for parts in node.findall("parts"):
            if "".join(parts.itertext()).strip():
                node.remove(parts)
                lost["parts of instances in mixed pictures"] += 1
        ids = {text for text in (node.get("id"), node.findtext("id")) if text}
        if ids & taken:
            free = next(text for text in map(str, itertools.count()) if text not in taken)
            if "id" in node.attrib:
                node.set("id", free)
            for child in node.findall("id"):
                child.text = free
            ids = {free}
            lost["id that another instance has"] += 1
        taken |= ids


def _append(parent: ElementTree.Element, tag: str, value: Any) -> bool:
    """Write a value under a tag: a dict as elements, a list as one for each entry; False if XML can't hold it.

    A tag that begins with @ is an attribute, ``#text`` is the text of the element itself, as the reader has them.
    """
    if tag[:1] in ("@", "#") and not isinstance(value, (dict, list, tuple)):
        if tag == "#text":
            parent.text = _clean(str(value))
        elif _TAG.match(tag[1:]):
            parent.set(tag[1:], _clean(str(value)))
        return tag == "#text" or bool(_TAG.match(tag[1:]))
    if not _TAG.match(tag):
        return False
    if isinstance(value, dict):
        node = ElementTree.SubElement(parent, tag)
        written = [_append(node, str(name), inner) for name, inner in value.items()]
        if not all(written):
            parent.remove(node)
        return all(written)
    if isinstance(value, (list, tuple)):
        if _is_numbers(value):
            names = ("xmin", "ymin", "xmax", "ymax") if len(value) == 4 else ("x", "y") if len(value) == 2 else ()
            if names:
                return _append(parent, tag, dict(zip(names, value)))
        written = [_append(parent, tag, inner) for inner in value]
        return bool(written) and all(written)
    ElementTree.SubElement(parent, tag).text = "" if value is None else _clean(str(value))
    return True


def _is_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _clean(text: str) -> str:
    """Text without the characters that XML has no form for."""
    return _CONTROL.sub("\ufffd", text)


def _texts(parent: ElementTree.Element, **values: object) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = _clean(str(value))


def _lines(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()
