"""PASCAL VOC: `torchvision.datasets.VOCDetection` and `VOCSegmentation` over any folder with their layout."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from torchvision import tv_tensors
from torchvision.datasets import VisionDataset, VOCDetection, VOCSegmentation

from cutmix_dense.data.class_tables import VOC_CLASSES
from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.files import inside, read_lines
from cutmix_dense.data.images import read_indices, read_rgb
from cutmix_dense.data.masks import boxes_from_masks, check_room
from cutmix_dense.data.readers.base import DenseDataset, finite, image_tensor, instance_target, map_tensor

__all__ = ["VocDataset"]

_TASKS = ("detection", "segmentation", "instances")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocDataset(DenseDataset):
    """VOC from a folder with `JPEGImages`, `Annotations`, `ImageSets` in it, or from a `VOCdevkit`.

    Boxes are the XML's, with its 1-based inclusive corners turned into half-open ones: (xmin - 1, ymin - 1, xmax,
    ymax). `classes[0]` is "background"; a pixel of value `i` in SegmentationClass means `classes[i]`.

    Args:
        root: the folder, or one above it that holds `VOCdevkit/VOC<year>` or `VOC<year>`.
        split: a list in `ImageSets/Main` (`ImageSets/Segmentation` for the two other tasks).
        task: "detection": boxes with `difficult`, and `semantic` where every image of the split has a map;
            "segmentation": `semantic` only; "instances": boxes, `masks` and `semantic`. The masks of "instances"
            come from SegmentationObject: object `i` of the XML has the index `i`, as the development kit says, or
            else each object must pair with one index by class and box without doubt; if not, a SampleError says so.
        images: image folder, if it is not `JPEGImages`.
        annotations: folder of the XML files, if it is not `Annotations`.
        classes: names of the classes from 1 on, a leading "background" allowed. Default: the lines of `classes.txt`
            in the folder; else the 20 official ones if no other name occurs; else the names that occur, sorted.

    Raises:
        DatasetError: a folder or list that is missing; semantic maps of classes whose names nobody states.
        SampleError: on access, a file that cannot be read.
    """

    layout = "voc"

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        task: str = "detection",
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if task not in _TASKS:
            raise ValueError(f"task must be one of {_TASKS}, got {task!r}")
        self.root, self.split, self.task = Path(root), split, task
        self.folder = voc_folder(self.root)
        names = read_list(
            self.folder / "ImageSets" / ("Main" if task == "detection" else "Segmentation") / f"{split}.txt"
        )
        image_folder = Path(images) if images is not None else self.folder / "JPEGImages"
        self._xml = Path(annotations) if annotations is not None else self.folder / "Annotations"
        needed = [image_folder] if task == "segmentation" else [image_folder, self._xml]
        for folder in needed:
            if not folder.is_dir():
                raise DatasetError(f"{folder}: no such folder")
        maps = {path.stem for path in (self.folder / "SegmentationClass").glob("*.png")}
        self.has_masks = task == "instances"
        self.has_semantic = task != "detection" or (bool(names) and maps.issuperset(names))
        self.classes = self._name_classes(classes)
        files = {"detection": _DetectionFiles, "instances": _DetectionFiles, "segmentation": _SegmentationFiles}[task]
        self.source = files(image_folder, self.folder, names, self._xml)
        self._names = names
        self._labels = {name: label for label, name in enumerate(self.classes) if label}

    def __len__(self) -> int:
        return len(self.source)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        self._check_name(index)
        return Path(self.source.images[index])

    def _load(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        name, path = self._names[index], self.image_path(index)
        image = read_rgb(path)
        size = (image.shape[0], image.shape[1])
        semantic = None
        if self.has_semantic:
            semantic = read_indices(self.folder / "SegmentationClass" / f"{name}.png", size, most=255)
        if self.task == "segmentation":
            return image_tensor(image), {"image_id": name, "semantic": map_tensor(np.asarray(semantic))}
        boxes, labels, difficult = self._objects(index, size)
        masks = None
        if self.has_masks:
            path = self.folder / "SegmentationObject" / f"{name}.png"
            masks = _match_masks(path, read_indices(path, size, most=255), np.asarray(semantic), boxes, labels)
        target = instance_target(name, size, boxes, labels, difficult=difficult, masks=masks, semantic=semantic)
        return image_tensor(image), target

    def _check_name(self, index: int) -> None:
        try:
            inside(self.folder, self._names[index])
        except ValueError as error:
            raise SampleError(self.folder / "ImageSets", str(error)) from error

    def _objects(self, index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (N, 4), labels (N,) and difficult (N,) of one XML file."""
        path = Path(self.source.targets[index])
        tree = _parse_xml(path)
        with blaming(path):
            if tree.findtext("filename"):
                inside(self.folder, tree.findtext("filename", ""))
            stated = tuple(int(float(tree.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
            if all(stated) and stated != size:
                raise ValueError(f"states an image of {stated[1]}×{stated[0]}, but it is {size[1]}×{size[0]}")
        objects = tree.findall("object")
        boxes, labels = np.zeros((len(objects), 4)), np.zeros(len(objects), dtype=np.int64)
        difficult = np.zeros(len(objects), dtype=bool)
        for i, node in enumerate(objects):
            try:
                boxes[i] = [finite(node.findtext(f"bndbox/{corner}", "")) for corner in _CORNERS]
                label = (node.findtext("name") or "").strip()
                if label not in self._labels:
                    raise ValueError(f"class {label!r} is not among {self.classes[1:]}")
                labels[i] = self._labels[label]
                difficult[i] = bool(int(node.findtext("difficult") or 0))
            except ValueError as error:
                raise SampleError(path, f"object {i + 1}: {error}") from error
        boxes[:, :2] -= 1  # 1-based inclusive to 0-based half-open
        return boxes, labels, difficult

    def _name_classes(self, given: Sequence[str] | None) -> tuple[str, ...]:
        if given is not None:
            return _with_background(list(given), "classes")
        for stated in (self.folder / "classes.txt", self.folder / "class_names.txt"):
            if stated.is_file():
                return _with_background(_read_classes(stated), stated)
        found = _labels_in(self._xml)
        if found.issubset(VOC_CLASSES):
            return _with_background(VOC_CLASSES, self.folder)
        if self.has_semantic:
            raise DatasetError(
                f"{self.folder}: SegmentationClass holds class numbers, but nothing says which number is which of "
                f"{sorted(found)}; give classes= or a classes.txt with one name a line, background first"
            )
        return _with_background(sorted(found), self.folder)


class _AnyFolder(VisionDataset):
    """Fills torchvision's `images` and `targets` from any folder and any list, not only from VOCdevkit/VOC<year>."""

    _TARGET_DIR: str
    _TARGET_FILE_EXT: str

    def __init__(self, images: Path, folder: Path, names: list[str], xml: Path) -> None:
        VisionDataset.__init__(self, str(folder))
        targets = xml if self._TARGET_FILE_EXT == ".xml" else folder / self._TARGET_DIR
        other = {path.stem: path.name for path in images.iterdir() if path.suffix.lower() in (".jpeg", ".png")}
        upper = {path.stem: path.name for path in images.iterdir() if path.suffix == ".JPG"}
        files = [name + ".jpg" for name in names]
        if other or upper:
            present = {path.name for path in images.iterdir()}
            files = [
                file if file in present else upper.get(name) or other.get(name) or file
                for name, file in zip(names, files, strict=True)
            ]
        self.images = [os.path.join(images, file) for file in files]
        self.targets = [os.path.join(targets, name + self._TARGET_FILE_EXT) for name in names]


class _DetectionFiles(_AnyFolder, VOCDetection):
    """XML targets."""


class _SegmentationFiles(_AnyFolder, VOCSegmentation):
    """Maps of SegmentationClass."""


class _NoDoctype(ElementTree.TreeBuilder):
    """Entities can only be declared in a DOCTYPE, and no VOC file needs one."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("a DOCTYPE (entity declarations) is refused")


def _parse_xml(path: Path) -> ElementTree.Element:
    """The root element; SampleError if the file is missing, broken, or declares a document type."""
    with blaming(path):  # ElementTree.ParseError is a SyntaxError
        tree = ElementTree.parse(path, parser=ElementTree.XMLParser(target=_NoDoctype())).getroot()
        if tree is None or tree.tag != "annotation":
            raise ValueError(f"not a VOC annotation, the root element is <{getattr(tree, 'tag', '')}>")
        return tree


def voc_folders(root: Path) -> list[Path]:
    """The folders that hold `ImageSets`: `root` itself, or every VOC<year> under it."""
    if (root / "ImageSets").is_dir():
        return [root]
    patterns = ("VOC*/ImageSets", "VOCdevkit/VOC*/ImageSets")
    return sorted(path.parent for pattern in patterns for path in root.glob(pattern) if path.is_dir())


def voc_folder(root: Path) -> Path:
    """The folder that holds `ImageSets`: `root` itself, or the only VOC<year> under it."""
    found = voc_folders(root)
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(f"{root}: holds {', '.join(path.name for path in found)}; give root={found[0]} or another")
    raise DatasetError(f"{root}: not PASCAL VOC, no ImageSets folder in it, in VOC*/ or in VOCdevkit/VOC*/")


def read_list(path: Path) -> list[str]:
    """The names in a list of `ImageSets`; DatasetError if there is no such list, or it is no text."""
    if not path.is_file():
        found = sorted(other.stem for other in path.parent.glob("*.txt"))
        raise DatasetError(f"{path}: no such list (lists found: {', '.join(found) or 'none'})")
    lines = [line.strip() for line in read_lines(path)]
    # The lists of one class, such as cat_train.txt, have a -1, 0 or 1 behind each name.
    return [re.sub(r"\s+(-1|0|1)$", "", line) for line in lines if line]


def _read_classes(path: Path) -> list[str]:
    """One name a line; a number before it, as in `3 car`, must be its index (the background's being 0)."""
    lines = [line.split(maxsplit=1) for line in read_lines(path) if line.strip()]
    if all(len(line) == 2 and line[0].isdecimal() for line in lines):
        # as words: Python refuses to make a number of thousands of digits
        numbers = [line[0].lstrip("0") or "0" for line in lines]
        if not any(numbers == [str(first + i) for i in range(len(lines))] for first in (0, 1)):
            raise DatasetError(f"{path}: the class numbers must count up from 0 or 1")
        return [line[1].strip() for line in lines]
    return [" ".join(line) for line in lines]


def _with_background(names: Sequence[str], where: object) -> tuple[str, ...]:
    rest = names[1:] if names and names[0].strip("_").lower() == "background" else names
    if len(set(rest)) < len(rest):
        raise DatasetError(f"{where}: class names must differ, got {list(rest)}")
    return ("background", *rest)


def _labels_in(folder: Path) -> set[str]:
    """All names of objects in all XML files, so that every split numbers the classes alike."""
    found: set[str] = set()
    for path in sorted(folder.glob("*.xml")):
        try:
            found.update((node.findtext("name") or "").strip() for node in _parse_xml(path).findall("object"))
        except SampleError:
            continue  # reported when that sample is read
    return found - {""}


def _match_masks(
    path: Path, ids: np.ndarray, semantic: np.ndarray, boxes: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Masks (N, H, W) of the XML's objects from the object map; SampleError unless each has one without doubt."""
    present = [int(i) for i in np.unique(ids) if i not in (0, 255)]
    if len(boxes) > 254:  # those of 1 … 254; more would only be compared with one another for long
        raise SampleError(path, f"a map has indices for 254 objects, the XML file has {len(boxes)}")
    with blaming(path):
        check_room("masks", len(present), (ids.shape[0], ids.shape[1]))
    masks = ids[None] == np.asarray(present, dtype=ids.dtype).reshape(-1, 1, 1)
    tight = boxes_from_masks(masks)
    kinds = [int(np.bincount(semantic[mask]).argmax()) for mask in masks]
    overlap = np.zeros((len(boxes), len(present)))
    for i, box in enumerate(boxes):
        for j, other in enumerate(tight):
            # What is covered makes a mask smaller than the box in the XML, never larger (2 px for careless drawing).
            fits = (other[:2] >= box[:2] - 2).all() and (other[2:] <= box[2:] + 2).all()
            if fits and kinds[j] == labels[i]:
                sides = (np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])).clip(min=0)
                union = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - sides.prod()
                overlap[i, j] = sides.prod() / max(union, 1e-9)
    if present == list(range(1, len(boxes) + 1)) and (overlap.diagonal() > 0).all():
        return masks
    chosen = []
    for i, row in enumerate(overlap):
        best = int(row.argmax()) if len(row) else -1
        alone = len(row) > 0 and (row == row[best]).sum() == 1 and (overlap[:, best] == row[best]).sum() == 1
        if not alone or row[best] <= 0 or overlap[:, best].max() > row[best]:
            raise SampleError(path, f"no index belongs without doubt to object {i + 1} of the XML file")
        chosen.append(best)
    return masks[chosen] if chosen else np.zeros((0, *ids.shape), dtype=bool)


def voc_splits(root: Path) -> list[str]:
    """The names of the lists in `ImageSets/Main`."""
    return sorted(path.stem for path in (voc_folder(root) / "ImageSets" / "Main").glob("*.txt"))
