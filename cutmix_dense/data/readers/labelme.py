"""LabelMe: a JSON file of shapes beside each picture, and the picture itself where the file holds it."""

from __future__ import annotations

import base64
import io
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.files import inside, read_lines, walked
from cutmix_dense.data.masks import boxes_from_masks, check_room, decode_segmentation
from cutmix_dense.data.pictures import PICTURE_SUFFIXES, PictureInfo, decode_picture
from cutmix_dense.data.readers.base import DenseDataset, finite, instance_target, needed_folder
from cutmix_dense.data.readers.coco_files import read_json
from cutmix_dense.data.splits import folders_in
from cutmix_dense.data.writers.labelme import LabelMeWriter

_ALL = "all"
"""The name of the split where there are no folders of splits."""

_PLACES = ("annotations", "labels", "json", "jsons", "ann")
"""Folders that hold the JSON files of a split, where they don't lie beside the pictures; never a split's own name."""

_PICTURES = ("images", "imgs", "img", "JPEGImages")

_LISTS = ("labels.txt", "class_names.txt", "classes.txt")
_MARKS = ("__ignore__", "_background_")
_NO_CLASSES = frozenset({*_MARKS, "background", ""})

_POLYGONS = ("polygon", "rotation", "oriented_rectangle")
_WITHOUT_AREA = ("line", "linestrip", "point", "points")

_SNIFFED, _PEEKED = 1 << 16, 20
"""So many bytes of so many JSON files of a folder are searched for LabelMe's keys."""

_MANY = 100

_TOP = ("shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "flags")
_IN_SHAPE = ("label", "points", "shape_type", "mask")
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp", "GIF": ".gif"}


class LabelMeDataset(DenseDataset):
    """LabelMe's JSON files, one for each picture.

    Rectangles are boxes that state no mask; polygons, circles and masks state one. Coordinates are continuous pixels,
    as LabelMe draws them; a pixel belongs to a circle if its centre does. Shapes of one label and one `group_id` are
    one instance, whose mask is all that they cover, unless all of them are rectangles. Lines, linestrips and points
    have no area: they are left out and noted, and so are shapes of the labels ``__ignore__`` and ``_background_``.

    Targets have `masks` if any shape of the split states one, and `has_mask` if only some do. Their `details` are the
    shape's `group_id`, `description`, `flags` and whatever else it has; of a group, the first one's.

    A picture is `imagePath`, which counts from the JSON file; where it isn't there, one of that name or of the JSON
    file's, with any ending, in that folder or in a folder of images beside it; else what is embedded in `imageData`.

    Args:
        root: the dataset folder.
        split: a folder in `root` that holds JSON files, or "all" where they lie in `root` itself; "train" means that,
            too, where there are no such folders.
        images: image folder, if `imagePath` doesn't lead to the pictures.
        annotations: folder of the JSON files, if it is not the split's.
        classes: names of the classes from 1 on, a leading "background" allowed. Default: the lines of `labels.txt`,
            `class_names.txt` or `classes.txt` in `root` (or in the folder above, if it begins as LabelMe's do, with
            ``__ignore__`` or ``_background_``); else the labels of all JSON files of all splits, sorted.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        DatasetError: no such split, no LabelMe JSON in it, or classes of which none occurs.
        SampleError: on access, a JSON file or a picture that cannot be read, or of whose shapes none makes sense.
    """

    layout = "labelme"
    title = "LabelMe"
    options: ClassVar = {
        "images": "image folder, if imagePath doesn't lead to the pictures",
        "annotations": "folder of the JSON files, if it is not the split's",
        "classes": "names of the classes, from 1 on",
    }
    writer = LabelMeWriter

    def __init__(
        self,
        root: str | Path,
        split: str = _ALL,
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        classes: Sequence[str] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(root, split, **common)
        self._pictures = None if images is None else needed_folder(Path(images), "image")
        if annotations is not None:
            self._base = needed_folder(Path(annotations), "annotation")
            files = list(_tables(self._base, ()))
        else:
            self._base, files = _files_of(self.root, split)
        seen = [(path, _look(path)) for path in files]
        self._files = [(path, look) for path, look in seen if look.shapes or look.broken]
        if not any(look.shapes for _, look in self._files):
            found = ", ".join(self.find_splits(self.root)) or "none"
            raise DatasetError(
                f"{self._base}: holds no LabelMe JSON, an object with a list named 'shapes' (splits found: {found})"
            )
        for path, look in seen:
            if not (look.shapes or look.broken):
                self.note(path, "is not LabelMe's, it has no list named 'shapes'; it is left out")
        self.classes = ("background", *self._names(classes))
        self._labels = {name: label for label, name in enumerate(self.classes) if label}
        self.has_masks = any(look.masks for _, look in self._files)
        self._some_without = self.has_masks and any(look.boxes for _, look in self._files)

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """Folders in `root` that hold LabelMe's JSON files, and "all" where they lie in `root` itself."""
        return [*_named_splits(root), *([_ALL] if _holds(root) and not _holds(root / _ALL) else [])]

    def __len__(self) -> int:
        return len(self._files)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`; the JSON file where the picture is embedded in it."""
        path, look = self._files[index]
        if look.broken:
            return path
        found = self._picture_file(path, look.name)
        if found is None and look.embedded:
            return path
        return found or self._stated_place(path, look.name)

    def picture(self, index: int) -> PictureInfo:
        """Name, sub-folders included, and what the JSON file says of it: `flags`, `version` and keys of one's own."""
        path = self._files[index][0]
        place, content = self.image_path(index), _content(path)
        if place == path:
            suffix = _embedded_suffix(content, path)
            name = (PurePosixPath(self._inner(path)) / f"{path.stem}{suffix}").as_posix()
        else:
            folder = self._pictures or self._base
            name = place.relative_to(folder).as_posix() if place.is_relative_to(folder) else place.name
        details = {key: value for key, value in content.items() if key not in _TOP}
        return PictureInfo(name, {**details, "flags": content["flags"]} if content.get("flags") else details)

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        path, look = self._files[index]
        if look.broken:
            raise SampleError(path, look.broken)
        content = _content(path)
        image = self._read(index, content)
        size = (image.shape[1], image.shape[2])
        groups = self._groups(path, content["shapes"])
        with blaming(path):
            check_room("masks", len(groups) * self.has_masks, size)
        rows: list[tuple[list[dict[str, Any]], list[float], np.ndarray | None]] = []
        reasons: list[str] = []
        for shapes in groups:
            try:
                rows.append((shapes, *_instance(shapes, size)))
            except (ValueError, TypeError, OverflowError) as error:
                reasons.append(f"{_called(shapes[0])}: {error}")
        if reasons and not rows:
            raise SampleError(path, reasons[0])
        for reason in reasons:
            self.note(path, f"{reason}; it is left out")
        for shapes, _, mask in rows:
            if mask is not None and not mask.any():
                self.note(path, f"{_called(shapes[0])}: its mask has no pixel")
        target = instance_target(
            path.stem,
            size,
            np.array([box for _, box, _ in rows], dtype=np.float64).reshape(-1, 4),
            np.array([self._labels[_label(shapes[0])] for shapes, _, _ in rows], dtype=np.int64),
            masks=[mask for *_, mask in rows] if self.has_masks else None,
            has_mask=np.array([mask is not None for _, _, mask in rows], dtype=bool) if self._some_without else None,
            details=[_details(shapes) for shapes, _, _ in rows] if self.details else None,
        )
        return image, target

    def _read(self, index: int, content: Mapping[str, Any]) -> np.ndarray:
        path, place = self._files[index][0], self.image_path(index)
        stated = _stated_size(content, path)
        if place != path:
            return self.read_image(place, stated, path.name)
        with blaming(path):
            data = _embedded(content)
        array = decode_picture(data, self.pixels, path=path, stated=stated, by="imageHeight and imageWidth")
        return np.ascontiguousarray(array.transpose(2, 0, 1))

    def _groups(self, path: Path, shapes: Sequence[Any]) -> list[list[dict[str, Any]]]:
        """The shapes that are instances, those of one label and one group together; all others are noted."""
        groups: dict[Any, list[dict[str, Any]]] = {}
        for number, shape in enumerate(shapes):
            reason = self._left_out(shape)
            if reason:
                self.note(path, f"{_called(shape)}: {reason}; it is left out")
                continue
            group = shape.get("group_id")
            groups.setdefault(number if group is None else (_label(shape), str(group)), []).append(shape)
        return list(groups.values())

    def _left_out(self, shape: Any) -> str:
        """Why a shape is no instance; empty where it is one."""
        if not isinstance(shape, dict):
            return "must be an object"
        if _kind(shape) in _WITHOUT_AREA:
            return "has no area"
        label = _label(shape)
        if label in _NO_CLASSES:
            return "marks pixels and is no class" if label else "has no label"
        if label not in self._labels:
            return f"class {label!r} is not among {self.classes[1:]}; classes= can name more"
        return ""

    def _inner(self, path: Path) -> Path:
        """The sub-folder of the split that a JSON file lies in."""
        return path.parent.relative_to(self._base)

    def _picture_file(self, path: Path, name: str) -> Path | None:
        """The picture that a JSON file is about; None where no file is."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if self._pictures is not None:
            plain = [part for part in parts if part != ".."]
            tried = [self._pictures.joinpath(*plain[start:]) for start in range(len(plain))]
            tried.append(self._pictures / self._inner(path) / path.name)
        else:
            folders = [path.parent, *(path.parent / folder for folder in _PICTURES)]
            if path.parent != self.root and path.parent.name in _PLACES:
                folders += [path.parent.parent / folder for folder in (*_PICTURES, ".")]
            tried = [path.parent.joinpath(*parts)] if parts else []
            tried += [folder / last for last in (*parts[-1:], path.name) for folder in folders]
        for place in dict.fromkeys(tried):
            found = _present(place, self._pictures or self.root)
            if found is not None:
                return found
        return None

    def _stated_place(self, path: Path, name: str) -> Path:
        """Where a picture should be that isn't there; SampleError where that is outside of the dataset's folder."""
        folder, bound = self._pictures or path.parent, self._pictures or self.root
        place = os.path.join(folder, name.replace("\\", "/") or f"{path.stem}.jpg")
        try:
            return inside(bound, os.path.relpath(place, bound))
        except ValueError:
            raise SampleError(
                path,
                f"imagePath {name!r} leads out of {bound}, and no such picture is in it; open the folder above, "
                "or name the pictures' folder with images=",
            ) from None

    def _names(self, given: Sequence[str] | None) -> list[str]:
        """The classes from 1 on: those that are given or listed, else all labels of all splits."""
        listed, where = (list(given), "classes=") if given is not None else _listed(self.root)
        found = {label for _, look in self._files for label in look.labels}
        if listed is None:
            elsewhere = [
                _look(path).labels for split in self.find_splits(self.root) for path in _files_of(self.root, split)[1]
            ]
            return sorted(found.union(*elsewhere) - _NO_CLASSES)
        names = [name for name in listed if name not in _MARKS]
        names = names[1:] if names and names[0].lower() == "background" else names
        if len(set(names)) < len(names):
            raise DatasetError(f"{where}: class names must differ, got {names}")
        found -= _NO_CLASSES
        if found and found.isdisjoint(names):
            raise DatasetError(
                f"{where}: none of its classes {names[:5]} occurs in {self._base}, but {sorted(found)[:5]} do"
            )
        return names


class _Look(NamedTuple):
    """What is remembered of a JSON file; the shapes themselves are read again when they are asked for."""

    shapes: bool  # whether it has such a list: whether it is LabelMe's
    name: str = ""  # of the picture
    embedded: bool = False
    labels: frozenset[str] = frozenset()
    masks: bool = False  # whether any shape states one
    boxes: bool = False  # whether any states none
    broken: str = ""


def _look(path: Path) -> _Look:
    try:
        state = path.stat()
    except OSError as error:
        return _Look(False, broken=str(error))
    return _looked_at(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1 << 18)
def _looked_at(path: str, _changed: int, _size: int) -> _Look:
    """One JSON file, parsed once for all splits of its set."""
    try:
        content = read_json(Path(path))
    except DatasetError as error:
        return _Look(False, broken=str(error).removeprefix(f"{path}: "))
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        return _Look(False)
    shapes = [shape for shape in content["shapes"] if isinstance(shape, dict) and _kind(shape) not in _WITHOUT_AREA]
    shapes = [shape for shape in shapes if _label(shape) not in _NO_CLASSES]
    name = content.get("imagePath")
    return _Look(
        True,
        name=name if isinstance(name, str) else "",
        embedded=bool(content.get("imageData")),
        labels=frozenset(map(_label, shapes)),
        masks=any(map(_states_mask, shapes)),
        boxes=not all(map(_states_mask, shapes)),
    )


def _content(path: Path) -> dict[str, Any]:
    """A JSON file that was found to be LabelMe's; SampleError if it no longer is."""
    try:
        content = read_json(path)
    except DatasetError as error:
        raise SampleError(path, str(error).removeprefix(f"{path}: ")) from error
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise SampleError(path, "has no list named 'shapes' any more")
    return content


def _stated_size(content: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    """(H, W), where the file states both."""
    try:
        height, width = (int(float(content.get(key) or 0)) for key in ("imageHeight", "imageWidth"))
    except (TypeError, ValueError, OverflowError):
        raise SampleError(
            path,
            f"imageHeight and imageWidth must be numbers, got {content.get('imageHeight')!r} and "
            f"{content.get('imageWidth')!r}",
        ) from None
    return (height, width) if height and width else None


def _embedded(content: Mapping[str, Any]) -> bytes:
    """The picture's file in `imageData`; ValueError if it isn't base64."""
    text = content.get("imageData")
    if not isinstance(text, str):
        raise ValueError("imageData must be base64")
    return base64.b64decode("".join(text.rpartition(",")[2].split()), validate=True)


def _embedded_suffix(content: Mapping[str, Any], path: Path) -> str:
    with blaming(path):
        try:
            with Image.open(io.BytesIO(_embedded(content))) as image:
                return _SUFFIXES.get(image.format or "", ".png")
        except UnidentifiedImageError as error:
            raise SampleError(path, "cannot identify the image in imageData") from error


# -------------------------------------------------------------------------------------------------------------- shapes


def _label(shape: Mapping[str, Any]) -> str:
    label = shape.get("label")
    return "" if label is None else str(label).strip()


def _kind(shape: Mapping[str, Any]) -> str:
    """A shape's type; version 3 wrote polygons without one."""
    return str(shape.get("shape_type") or "polygon")


def _called(shape: Any) -> str:
    """A shape as a message names it."""
    return f"{_kind(shape)} of {_label(shape)!r}" if isinstance(shape, dict) else f"shape {shape!r}"[:80]


def _points(shape: Mapping[str, Any]) -> np.ndarray:
    """(N, 2) finite points."""
    given = shape.get("points")
    if not isinstance(given, list) or not all(isinstance(point, list) and len(point) == 2 for point in given):
        raise ValueError("points must be a list of [x, y]")
    return np.array([[finite(value) for value in point] for point in given], dtype=np.float64).reshape(-1, 2)


def _is_upright(points: np.ndarray) -> bool:
    """Whether four points are the corners of an upright rectangle."""
    return len(set(points[:, 0].tolist())) <= 2 and len(set(points[:, 1].tolist())) <= 2


def _states_mask(shape: Mapping[str, Any]) -> bool:
    if _kind(shape) != "rectangle":
        return True
    try:
        points = _points(shape)
    except (ValueError, TypeError, OverflowError):  # said when its picture is read
        return False
    return len(points) == 4 and not _is_upright(points)


def _instance(shapes: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> tuple[list[float], np.ndarray | None]:
    """Box and mask of the shapes of one instance; no mask where none of them states one.

    Raises:
        ValueError, TypeError, OverflowError: shapes that make no sense.
    """
    stated = any(map(_states_mask, shapes))
    boxes, mask = [], np.zeros(size, dtype=bool) if stated else None
    for shape in shapes:
        box, part = _area_of(shape, size, stated)
        boxes.append(box)
        if mask is not None and part is not None:
            mask |= part
    corners = np.array(boxes)
    return [*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist()], mask


def _area_of(shape: Mapping[str, Any], size: tuple[int, int], masked: bool) -> tuple[list[float], np.ndarray | None]:
    """Box and, where it is asked for, mask of one shape."""
    kind, points = _kind(shape), _points(shape)
    if kind == "circle":
        if len(points) != 2:
            raise ValueError(f"a circle must have two points, its centre and one on it, got {len(points)}")
        (x, y), radius = points[0].tolist(), float(np.hypot(*(points[1] - points[0])))
        return [x - radius, y - radius, x + radius, y + radius], _disc(x, y, radius, size)
    if kind == "mask":
        return _bitmap(shape, points, size)
    if kind == "rectangle":
        if len(points) not in (2, 4):
            raise ValueError(f"a rectangle must have two corners or four, got {len(points)} points")
    elif kind not in _POLYGONS:
        raise ValueError(f"shape_type {kind!r} isn't known")
    elif len(points) < 3:
        raise ValueError(f"a polygon must have three points or more, got {len(points)}")
    low, high = points.min(axis=0), points.max(axis=0)
    if kind == "rectangle" and (len(points) == 2 or _is_upright(points)):
        points = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    mask = decode_segmentation([points.reshape(-1).tolist()], size) if masked else None
    return [*low.tolist(), *high.tolist()], mask


def _disc(x: float, y: float, radius: float, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres are not further from a point than the radius."""
    rows, columns = np.arange(size[0]) + 0.5 - y, np.arange(size[1]) + 0.5 - x
    return np.hypot(rows[:, None], columns[None]) <= radius


def _bitmap(shape: Mapping[str, Any], points: np.ndarray, size: tuple[int, int]) -> tuple[list[float], np.ndarray]:
    """Box and mask of a PNG that lies on the pixels from the first point to the second, the second's own included."""
    if len(points) != 2 or not isinstance(shape.get("mask"), str):
        raise ValueError("a mask must have two points and a PNG in base64")
    try:
        with Image.open(io.BytesIO(base64.b64decode("".join(shape["mask"].split()), validate=True))) as image:
            left, top = (int(np.floor(value)) for value in points.min(axis=0))
            right, bottom = (int(np.floor(value)) + 1 for value in points.max(axis=0))
            if abs(right - left - image.width) > 1 or abs(bottom - top - image.height) > 1:
                sides = f"{right - left}×{bottom - top}"
                raise ValueError(f"a mask of {image.width}×{image.height} doesn't fit its points, {sides} apart")
            check_room("masks", 1, (image.height, image.width))
            drawn = np.array(image.convert("L") if image.mode not in ("1", "L") else image) > 0
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # of a PNG that is none
        raise ValueError(f"its mask is no readable PNG ({error})") from error
    mask = np.zeros(size, dtype=bool)
    row, column = max(top, 0), max(left, 0)
    part = drawn[row - top : max(size[0] - top, 0), column - left : max(size[1] - left, 0)]
    mask[row : row + part.shape[0], column : column + part.shape[1]] = part
    if not drawn.any():
        return [float(left), float(top), float(right), float(bottom)], mask
    x0, y0, x1, y1 = boxes_from_masks(drawn[None])[0].tolist()
    return [x0 + left, y0 + top, x1 + left, y1 + top], mask


def _details(shapes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What else is said of an instance, and its shapes word for word."""
    said = {key: value for key, value in shapes[0].items() if key not in _IN_SHAPE and value not in (None, "", {}, [])}
    return {**said, STATED: {"shapes": list(shapes)}}


# --------------------------------------------------------------------------------------------------------------- files


def _holds(folder: Path) -> bool:
    """Whether a folder has LabelMe's JSON files, or a folder for such files that has; few files are looked into."""
    return any(_has_labelme(place) for place in (folder, *(folder / name for name in _PLACES)))


def _has_labelme(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            tables = (entry.path for entry in entries if entry.name[-5:].lower() == ".json" and entry.name[0] != ".")
            return any(map(_is_labelme, itertools.islice(tables, _PEEKED)))
    except OSError:
        return False


def _is_labelme(path: str) -> bool:
    """Whether a file begins or ends like a LabelMe JSON; searched, not parsed."""
    try:
        with open(path, "rb") as file:
            text = file.read(_SNIFFED)
            file.seek(max(os.fstat(file.fileno()).st_size - _SNIFFED, len(text)))
            text = (text + file.read()).replace(b"\0", b"")  # UTF-16 looks alike then
    except OSError:
        return False
    keys = rb'"(imagePath|shape_type|line_?[cC]olor)"\s*:'
    return bool(re.search(rb'"shapes"\s*:\s*\[', text) and re.search(keys, text))


def _named_splits(root: Path) -> list[str]:
    """The folders of splits; in a folder of very many, the first ones decide whether they are such."""
    found: list[str] = []
    for number, name in enumerate(name for name in folders_in(root) if name not in _PLACES):
        if number >= _MANY and not found:
            break
        if _holds(root / name):
            found.append(name)
    return found


def _files_of(root: Path, split: str) -> tuple[Path, list[Path]]:
    """The folder that a split is named for, and the JSON files in it and below."""
    folder, named = root / split, _named_splits(root)
    if split not in named and (split == _ALL or (split == "train" and not named and not folder.is_dir())):
        return root, list(_tables(root, named))
    if os.path.basename(split) != split or not folder.is_dir():
        found = ", ".join(LabelMeDataset.find_splits(root)) or "none"
        raise DatasetError(f"{folder}: no such folder of LabelMe JSON (splits found: {found})")
    return folder, list(_tables(folder, ()))


def _tables(folder: Path, without: Sequence[str]) -> Iterator[Path]:
    """All JSON files under a folder in the order of their names, but not those of some of its folders."""
    for place, folders, names in walked(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if name not in without]
        for name in names:
            if name[-5:].lower() == ".json" and not name.startswith("."):
                yield Path(place, name)


def _present(place: Path, bound: Path) -> Path | None:
    """A file of that name, whatever its ending, inside a folder; None where there is none."""
    try:
        name = os.path.relpath(os.path.normpath(place), bound)
        path = inside(bound, name)
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            return path
        for suffix in PICTURE_SUFFIXES:
            for spelled in (suffix, suffix.upper()):
                other = path.with_suffix(spelled)
                if other.is_file():
                    return other
    except (OSError, ValueError):  # out of the folder, too long, or with a zero byte
        return None
    return None


def _listed(root: Path) -> tuple[list[str] | None, str]:
    """The lines of a list of labels, and where it lies; None where there is no such list."""
    for folder in (root, root.parent):
        for name in _LISTS:
            path = folder / name
            if path.is_file():
                lines = [line.strip() for line in read_lines(path) if line.strip()]
                if folder == root or lines[:1] in [[mark] for mark in _MARKS]:
                    return lines, str(path)
    return None, ""
