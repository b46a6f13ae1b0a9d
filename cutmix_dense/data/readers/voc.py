"""PASCAL VOC in every form it has: boxes of XML files, maps of classes and objects, polygons, with or without lists."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cutmix_dense.data.colors import read_color_classes
from cutmix_dense.data.errors import DatasetError, DataWarning, SampleError, blaming
from cutmix_dense.data.files import inside
from cutmix_dense.data.maps import read_indices, voc_palette
from cutmix_dense.data.masks import check_room, decode_segmentation
from cutmix_dense.data.pictures import PICTURE_SUFFIXES, PictureInfo, opened, picture_size
from cutmix_dense.data.readers.base import DenseDataset, instance_target, needed_folder
from cutmix_dense.data.readers.voc_files import (
    VocFolders,
    class_table,
    find_folders,
    has_polygons,
    list_file,
    map_folder,
    names_in,
    parse_xml,
    read_list,
    stems_of,
    voc_folder,
    voc_folders,
    xmls_of,
)
from cutmix_dense.data.readers.voc_objects import (
    Row,
    masks_alone,
    match_masks,
    picture_details,
    rows_of,
    stated_size,
)
from cutmix_dense.data.spelling import Names
from cutmix_dense.data.writers.voc import VocWriter

_TASKS = ("detection", "segmentation", "instances", "all")


class VocDataset(DenseDataset):
    """VOC from a folder with `ImageSets` or a `VOCdevkit`; without lists, from XML files beside their pictures.

    Boxes are the XML's, with its 1-based inclusive corners turned into half-open ones: (xmin - 1, ymin - 1, xmax,
    ymax). `classes[0]` is "background"; a pixel of value `i` in SegmentationClass means `classes[i]`, in a set with a
    `labelmap.txt` its colour says which. An object that makes no sense is left out and noted; where no other of its
    file is left, its sample is refused. In a set without lists, pictures without an XML file are no samples; a note
    counts them.

    Args:
        root: the folder, or one above it that holds `VOCdevkit/VOC<year>` or `VOC<year>`. Without `ImageSets`: pictures
            and XML files in one folder or in two, or a folder for each split of such.
        split: a list in `ImageSets/Main` (`ImageSets/Segmentation` for the two other tasks); without lists the folder's
            name, "all" for those of the root.
        task: "detection" (default where there are XML files): boxes with `difficult`, and `semantic` where every image
            of the split has a map; "segmentation" (default elsewhere): `semantic` only; "instances": boxes, `masks`,
            `has_mask`, and `semantic` where every image has it. Masks are the `<polygon>` elements of an object, and
            else come from SegmentationObject: object `i` of the XML has the index `i`, as the development kit says, or
            else each object must pair with one index by class and box without doubt. Without XML files, the two maps
            say what the instances are. "all": the list in `Main`, with masks where an object states one, and a
            `semantic` that is 255 where an image has no map.
        images: image folder, if it is not `JPEGImages` or found.
        annotations: folder of the XML files, if it is not `Annotations` or found.
        classes: names of the classes from 1 on, a leading "background" allowed. Default: the lines of `classes.txt`,
            `class_names.txt` or CVAT's `labelmap.txt`; else the 20 official ones if no other name occurs; else the
            names that occur, sorted.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        DatasetError: a folder or list that is missing; semantic maps of classes whose names nobody states.
        SampleError: on access, a file that cannot be read.
    """

    layout = "voc"
    title = "PASCAL VOC"
    options: ClassVar = {
        "images": "image folder, if it is not JPEGImages or found beside the XML files",
        "annotations": "folder of the XML files, if it is not Annotations or found beside the images",
        "task": "detection, segmentation, instances, or all (masks and maps of the images that have them)",
        "classes": "names of the classes, from 1 on",
    }
    writer = VocWriter

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        task: str | None = None,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        classes: Sequence[str] | None = None,
        **common: Any,
    ) -> None:
        if task not in (None, *_TASKS):
            raise ValueError(f"task must be one of {_TASKS}, got {task!r}")
        super().__init__(root, split, **common)
        place = _place(self.root, split, images, annotations)
        self.folder, image_folder, self._xml = place.folder, place.images, place.annotations
        needed_folder(image_folder, "image")
        self._xmls = xmls_of(place)
        self._spelled = Names(self._xmls)
        self._maps = {kind: map_folder(self.folder, kind) for kind in ("SegmentationClass", "SegmentationObject")}
        mapped = {kind: stems_of(folder, (".png",), deep=True) for kind, folder in self._maps.items()}
        unnamed = not self._xmls and annotations is None
        self.task = task or ("segmentation" if unnamed and mapped["SegmentationClass"] else "detection")
        self._bare = self.task in ("instances", "all") and unnamed and bool(mapped["SegmentationObject"])
        if self.task != "segmentation" and not self._bare:
            needed_folder(self._xml, "annotation")
        alone = place.listed or images is not None or annotations is not None
        table = class_table(
            classes,
            list(dict.fromkeys([self.folder, self.root, self._xml, image_folder])),
            [place] if alone else set(find_folders(self.root).values()),
            self.folder.absolute().parents[:2] if self._in_color(mapped["SegmentationClass"]) else (),
        )
        self.classes, self._colors, self.label_map = table.names, table.colors, table.file
        self._segmented = False  # whether the list is that of the images with maps
        self._names = self._find_names(place, mapped)
        whole = bool(self._names) and set(mapped["SegmentationClass"]).issuperset(self._names)
        self.has_masks = self.task in ("instances", "all")
        self.has_instances = self.task != "segmentation"
        needed = (self._segmented or self.task == "all") and bool(mapped["SegmentationClass"])
        self.has_semantic = self.task == "segmentation" or whole or needed or self._bare
        if self.has_semantic and not table.stated:
            raise DatasetError(
                f"{self.folder}: SegmentationClass holds class numbers, but nothing says which number is which of "
                f"{sorted(self.classes[1:])}; give classes= or a classes.txt with one name a line, background first"
            )
        rivals: dict[str, list[str]] = {}
        present = stems_of(image_folder, PICTURE_SUFFIXES, deep=image_folder != self.folder, rivals=rivals)
        pictures = Names(present)
        stems = [pictures.find(name) or name for name in self._names]
        for index, stem in enumerate(stems):
            if stem in rivals:
                present[stem] = self._chosen(index, present[stem], rivals[stem])
        self._images = [image_folder / present.get(stem, f"{stem}.jpg") for stem in stems]
        if not place.listed:
            self._note_unread_lists()
            used = set(stems)
            self._note_unlabelled(image_folder, [name for stem, name in present.items() if stem not in used])
        self._labels = {name: label for label, name in enumerate(self.classes) if label}

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the lists in `ImageSets/Main`, or of `ImageSets/Segmentation` where that is all there is.

        Without lists: the names of the folders that hold pictures with their XML files, or "all".
        """
        return sorted(find_folders(root))

    @classmethod
    def whole(cls, root: Path, split: str) -> dict[str, Any]:
        """The task that reads all a split has: "instances" where there are polygons or every image has an object map.

        "all" where some images have maps; else "detection", or "segmentation" where there are maps of classes alone.
        """
        return {"task": _whole_task(root, split)}

    def __len__(self) -> int:
        return len(self._names)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        self._check_name(index)
        return self._images[index]

    def picture(self, index: int) -> PictureInfo:
        """Name of the picture, and what its XML file says of it: source, owner and so on."""
        path = self.image_path(index)
        name = f"{self._names[index]}{path.suffix}"
        xml = self._xml_path(index)
        if self.task == "segmentation" or not os.path.isfile(xml):
            return PictureInfo(name)
        with blaming(xml):
            return PictureInfo(name, picture_details(parse_xml(xml)))

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        name, path = self._names[index], self.image_path(index)
        drawn: Path | None = self._maps["SegmentationClass"] / f"{name}.png" if self.has_semantic else None
        if self.task == "all" and drawn is not None and not os.path.isfile(drawn):
            drawn = None
        if self.task == "segmentation" or self._bare:
            image = self.read_image(path, _size_of_map(drawn, path), "its map")
        else:
            tree = parse_xml(self._xml_path(index))
            stated = stated_size(tree)
            image = self.read_image(path, stated or _size_of_map(drawn, path), self._xml_path(index).name)
        size = (image.shape[1], image.shape[2])
        semantic = self._semantic(drawn, size) if drawn is not None else None
        if semantic is None and self.has_semantic:
            semantic = np.full(size, 255, dtype=np.uint8)
        if self.task == "segmentation":
            return image, {"image_id": name, "semantic": semantic}
        if self._bare:
            return image, self._target_of_maps(name, size, np.asarray(semantic))
        rows, numbers = self._rows(index, tree)
        boxes = np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4)
        labels = np.array([row.label for row in rows], dtype=np.int64)
        masks, has_mask = self._masks(index, size, rows, (boxes, labels, numbers), semantic)
        target = instance_target(
            name,
            size,
            boxes,
            labels,
            difficult=np.array([row.difficult for row in rows], dtype=bool),
            masks=masks,
            has_mask=has_mask,
            semantic=semantic,
            details=[row.details() for row in rows] if self.details else None,
        )
        return image, target

    def _rows(self, index: int, tree: Any) -> tuple[list[Row], list[int]]:
        """The objects of a file that can be read, and their numbers in it."""
        path = self._xml_path(index)
        rows, numbers, reasons = [], [], []
        for number, row in enumerate(rows_of(tree, self._labels), 1):
            if isinstance(row, Row):
                rows.append(row)
                numbers.append(number)
                if row.remark:
                    self.note(path, f"object {number}: {row.remark}")
                if row.polygons and not self.has_masks:
                    self.note(path, "objects have polygons, which are left out; task='instances' reads them as masks")
            else:
                reasons.append(str(row))
        if reasons and not rows:
            raise SampleError(path, reasons[0])
        for reason in reasons:
            self.note(path, f"{reason}; it is left out")
        return rows, numbers

    def _masks(
        self,
        index: int,
        size: tuple[int, int],
        rows: Sequence[Row],
        found: tuple[np.ndarray, np.ndarray, list[int]],
        semantic: np.ndarray | None,
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Masks (N, H, W) and which of them are stated (N,), of polygons and of the object map."""
        if not self.has_masks:
            return None, None
        path, xml = self._maps["SegmentationObject"] / f"{self._names[index]}.png", self._xml_path(index)
        if os.path.isfile(path) or (self._segmented and not any(row.polygons for row in rows)):
            boxes, labels, numbers = found
            kinds = None if semantic is None or (semantic == 255).all() else semantic
            masks, shown, left = match_masks(path, self._indices(path, size), kinds, boxes, labels, numbers)
            for reason in left:
                self.note(path, reason)
        else:
            with blaming(xml):
                check_room("masks", len(rows), size)
            masks, shown = np.zeros((len(rows), *size), dtype=bool), np.zeros(len(rows), dtype=bool)
        for i, row in enumerate(rows):
            if row.polygons:
                try:
                    masks[i], shown[i] = decode_segmentation(row.polygons, size), True
                except ValueError as error:
                    self.note(xml, f"object {found[2][i]}: {error}; it is read without a mask")
                    continue
                if not masks[i].any():
                    self.note(xml, f"object {found[2][i]}: its mask has no pixel")
        return masks, shown

    def _target_of_maps(self, name: str, size: tuple[int, int], semantic: np.ndarray) -> dict[str, Any]:
        path = self._maps["SegmentationObject"] / f"{name}.png"
        boxes, labels, masks, left = masks_alone(path, self._indices(path, size), semantic)
        for reason in left:
            self.note(path, reason)
        count = len(labels)
        return instance_target(
            name,
            size,
            boxes,
            labels,
            difficult=np.zeros(count, dtype=bool),
            masks=masks,
            has_mask=np.ones(count, dtype=bool),
            semantic=semantic,
            details=[{} for _ in range(count)] if self.details else None,
        )

    def _semantic(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """The map of classes, 255 = ignore; SampleError for a number that is no class."""
        if self._colors and _has_colors(path):
            return read_color_classes(path, size, self._colors)
        ids = self._indices(path, size)
        strays = [int(value) for value in np.unique(ids) if len(self.classes) <= value < 255]
        if strays:
            raise SampleError(
                path,
                f"holds {', '.join(map(str, strays[:5]))}, but there are {len(self.classes)} classes, 0 … "
                f"{len(self.classes) - 1}; name all of them with classes= or in a classes.txt",
            )
        return ids

    def _indices(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """The map of indices, or of VOC's colours of them."""
        if not _has_colors(path, palette=False):
            return read_indices(path, size, most=255)
        flat = voc_palette()
        colors = {(flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]): i for i in range(256)}
        return read_color_classes(path, size, colors)

    def map_form(self) -> tuple[bytes, bool]:
        """The colours of the classes' ids in the maps, (768,) as a palette's, and whether maps are RGB."""
        palette = np.frombuffer(voc_palette(), dtype=np.uint8).reshape(256, 3).copy()
        if self.label_map is not None:
            for color, label in self._colors.items():
                palette[label] = color
        maps = stems_of(self._maps["SegmentationClass"], (".png",), deep=True)
        return palette.tobytes(), self._in_color(maps)

    def _find_names(self, place: VocFolders, mapped: dict[str, dict[str, str]]) -> list[str]:
        if place.listed:
            path = list_file(self.folder, self.split, segmented=self.task != "detection")
            if self.task in ("instances", "all"):
                main = list_file(self.folder, self.split, segmented=False)
                xmls = [self._xml / name for name in self._xmls.values()]
                if main.is_file() and (self.task == "all" or not path.is_file() or has_polygons(xmls)):
                    path = main
            self._segmented = path.parent.name == "Segmentation"
            return read_list(path, place.images, self.classes)
        if self.task == "segmentation":
            return sorted(mapped["SegmentationClass"])
        return sorted(mapped["SegmentationObject"] if self._bare else self._xmls)

    def _in_color(self, maps: dict[str, str]) -> bool:
        """Whether the first map of classes is one of colours."""
        try:
            return bool(maps) and _has_colors(
                self._maps["SegmentationClass"] / next(iter(maps.values())), palette=False
            )
        except SampleError:
            return False

    def _xml_path(self, index: int) -> Path:
        name = self._names[index]
        return self._xml / self._xmls.get(self._spelled.find(name) or name, f"{name}.xml")

    def _chosen(self, index: int, usual: str, names: Sequence[str]) -> str:
        """Which of several pictures of one stem a sample shows: the one that `<filename>` says, else the usual one."""
        path = self._xml_path(index)
        with suppress(SampleError):  # said when that sample is read
            said = (parse_xml(path).findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2].lower()
            meant = [name for name in names if name.rpartition("/")[2].lower() == said]
            if len(meant) == 1:
                return meant[0]
        others = ", ".join(name for name in names if name != usual)
        self.note(path, f"{usual} is taken for its picture, {others} lies there, too, and <filename> doesn't say which")
        return usual

    def _note_unlabelled(self, folder: Path, names: Sequence[str]) -> None:
        if names:
            what = "map" if self.task == "segmentation" or self._bare else "XML file"
            self.note(folder, f"{len(names)} pictures have no {what}, as {names[0]}; they are no samples")

    def _note_unread_lists(self) -> None:
        lists = next((self.root / "ImageSets").rglob("*.txt"), None)
        if lists is not None:
            self.note(lists, "is not read: lists of splits lie in ImageSets/Main, ImageSets/Segmentation or ImageSets")

    def _check_name(self, index: int) -> None:
        try:
            inside(self.folder, self._names[index])
        except ValueError as error:
            raise SampleError(self.folder / "ImageSets", str(error)) from error


def _place(root: Path, split: str, images: str | Path | None, annotations: str | Path | None) -> VocFolders:
    """Where a split lies; what is given goes before what is found."""
    found = find_folders(root)
    name = names_in(found, split)
    if any(place.listed for place in found.values()) or voc_folders(root):
        listed = any(place.listed for place in found.values())
        if listed or name is None:
            folder = voc_folder(root)
            place = VocFolders(folder, folder / "JPEGImages", folder / "Annotations", True)
        else:
            place = found[name]
    elif name is not None:
        place = found[name]
    elif images is None and annotations is None:
        raise DatasetError(
            f"{root}: not PASCAL VOC, no ImageSets folder in it, in VOC*/ or in VOCdevkit/VOC*/, and "
            + (
                f"no split {split!r} (splits found: {', '.join(sorted(found))})"
                if found
                else "no XML files beside pictures"
            )
        )
    else:
        given = Path(annotations if annotations is not None else images)  # type: ignore[arg-type]
        place = VocFolders(root, given, given, False)
    if images is not None:
        place = place._replace(images=Path(images))
    if annotations is not None:
        place = place._replace(annotations=Path(annotations))
    return place


def _size_of_map(drawn: Path | None, path: Path) -> tuple[int, int] | None:
    """(H, W) of a map, if it was drawn on the picture as it is stored, whatever its EXIF orientation."""
    if drawn is None or not os.path.isfile(drawn):
        return None
    size = picture_size(drawn)
    return size if size == picture_size(path) else None


def _has_colors(path: Path, *, palette: bool = True) -> bool:
    """Whether a map shows its ids by colours: RGB, or by the colours of a palette."""
    with opened(path) as image:
        return image.mode in ("RGB", "RGBA") or (palette and image.mode == "P")


def _whole_task(root: Path, split: str) -> str:
    found = find_folders(root)
    name = names_in(found, split)
    if name is None:
        return "detection"
    place = found[name]
    if place.listed:
        place = _place(root, split, None, None)
    objects = stems_of(map_folder(place.folder, "SegmentationObject"), (".png",), deep=True)
    xmls = xmls_of(place)
    if has_polygons([place.annotations / file for file in xmls.values()]):
        return "instances"
    if not place.listed:
        if not xmls:
            return "instances" if objects else "segmentation"
        return "all" if objects.keys() & xmls.keys() else "detection"
    lists = [list_file(place.folder, name, segmented=each) for each in (False, True)]
    main, segmented = (set(read_list(path, place.images)) if path.is_file() else set() for path in lists)
    if lists[0] == lists[1]:  # of one kind alone
        main, segmented = (set(), segmented) if lists[0].parent.name == "Segmentation" else (main, set())
    if not xmls and segmented:
        return "instances" if objects.keys() >= segmented else "segmentation"
    strays = segmented - main
    if main and strays:
        warnings.warn(
            f"{lists[1]}: {len(strays)} of its images aren't in the list of that name in Main, which is read",
            DataWarning,
            stacklevel=2,
        )
    if main and main == segmented and objects.keys() >= main:
        return "instances"
    maps = stems_of(map_folder(place.folder, "SegmentationClass"), (".png",), deep=True)
    if objects.keys() & main or (maps.keys() & main and not maps.keys() >= main):
        return "all"
    return "detection" if main or lists[0].is_file() else "segmentation"
