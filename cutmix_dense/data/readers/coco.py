"""COCO instances: boxes, masks, crowds and keypoints of a JSON file, with labels from 1 on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.extras import coco_masks
from cutmix_dense.data.masks import (
    box_of_segmentation,
    check_room,
    check_segmentation,
    decode_segmentation,
    odd_parts,
    stated_segmentation,
)
from cutmix_dense.data.pictures import PictureInfo, picture_size
from cutmix_dense.data.readers.base import DenseDataset, finite, instance_target, needed_folder
from cutmix_dense.data.readers.box_formats import StatedBox, check_sides_and_corners
from cutmix_dense.data.readers.coco_files import (
    categories_named,
    categories_of,
    check_in_pixels,
    find_annotations,
    header_of,
    picture_of,
    read_coco_json,
    splits_of,
    stated_size,
)
from cutmix_dense.data.readers.lvis import looked_for
from cutmix_dense.data.readers.picture_files import NamedFiles, find_images
from cutmix_dense.data.writers.coco import CocoWriter

_MEASURED = ("bbox", "area", "segmentation", "keypoints", "num_keypoints", "iscrowd")
_KNOWN = frozenset({*_MEASURED, "id", "image_id", "category_id"})
_CHECKED = 50
"""So many pictures are measured of a file that states no sizes."""


class CocoDataset(DenseDataset):
    """COCO instances from the official layout, any export with one COCO JSON per split, or explicit paths.

    Every target has `image_id`, `boxes`, `labels`, `iscrowd`, `area`; `masks` if any annotation of the file states a
    segmentation, and `has_mask` if only some do; `keypoints` if any states some. An annotation without a `bbox` has the
    one round its segmentation. A mask, keypoints or an area that make no sense cost themselves alone: the instance is
    kept without them, and that is noted. One whose class or whose place is unknown is left out and noted, unless no
    other of its image is left. A mask that only its picture's size shows to be wrong adds `has_mask` to that sample,
    where the file has a mask for every other. `classes[0]` is "background", the others follow the ids of the
    categories, and `category_ids[label]` is the file's id (-1 for the background).

    Args:
        root: the dataset folder.
        split: "train", "val", "train2017" …; of a single JSON file its name.
        images: image folder, if it is not one of `<split>/`, `images/<split>/`, `JPEGImages/`, `images/`, beside the
            JSON file, or the one whose name shares a word with the split's, as `images_val`.
        annotations: JSON file, if it is not `annotations/instances_<split>.json`, `annotations/<split>.json`,
            `<split>/_annotations.coco.json`, or the only COCO JSON of that name in the folder or one below.
        classes: names of the classes from 1 on, a leading "background" allowed, so that splits whose files list other
            categories have the same labels. Default: the file's, by their ids.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        DatasetError: no annotation file or image folder, or several that may be meant; a JSON that is not COCO; boxes
            that are shares of the image's sides, or corners; `classes` without a category that has annotations.
        SampleError: on access, an image that cannot be read or whose annotations make no sense.
    """

    layout = "coco"
    title = "COCO"
    options: ClassVar = {
        "images": "image folder, if it is not <split>/, images/<split>/, images/ or beside the JSON file",
        "annotations": "JSON file, if it is not annotations/instances_<split>.json or another in the folder",
        "classes": "names of the classes, from 1 on",
    }
    writer = CocoWriter

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        classes: Sequence[str] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(root, split, **common)
        coco_masks()  # the ImportError that names the extra
        self.annotations = Path(annotations) if annotations is not None else find_annotations(self.root, split)
        told: list[str] = []
        content = read_coco_json(self.annotations, told=told)
        if content["annotations"] and not any("category_id" in each for each in content["annotations"]):
            raise DatasetError(f"{self.annotations}: not COCO instances, no annotation has a category_id")
        check_in_pixels((each.get("bbox") for each in content["annotations"]), self.annotations)
        names = [str(image["file_name"]) for image in content["images"]]
        folder = Path(images) if images is not None else find_images(self.root, split, self.annotations, names)
        self._folder = needed_folder(folder, "image")
        self._images: list[dict[str, Any]] = sorted(content["images"], key=lambda image: image["id"])
        self._files = NamedFiles(self._folder, (image["file_name"] for image in self._images), self.annotations)
        self._found: dict[int | str, list[dict[str, Any]]] = {image["id"]: [] for image in self._images}
        for annotation in content["annotations"]:
            self._found.get(annotation["image_id"], []).append(annotation)
        categories = categories_of(content, told)
        if classes is not None:
            used = {each["category_id"] for each in content["annotations"] if "category_id" in each}
            categories = categories_named(categories, classes, used, self.annotations)
        self.categories: tuple[dict[str, Any], ...] = ({}, *categories)
        self.classes = ("background", *(str(category["name"]) for category in categories))
        self.category_ids: tuple[int | str, ...] = (-1, *(category["id"] for category in categories))
        self.header = header_of(content, told)
        self.notes.update({(str(self.annotations), reason): 1 for reason in told})
        sizes = {image["id"]: _size_or_none(image, self.annotations) for image in self._images}
        check_sides_and_corners(self._sized(content["annotations"], sizes), self.annotations)
        states = [
            check_segmentation(annotation.get("segmentation"), sizes.get(annotation["image_id"]))
            for annotation in content["annotations"]
        ]
        self.has_masks, self._some_without = any(states), any(states) and not all(states)
        self._points = max((_count_points(annotation) for annotation in content["annotations"]), default=0)
        if self._points:
            self.flip_pairs = flip_pairs_of([category.get("keypoints") for category in categories])
        self._labels = {category: label for label, category in enumerate(self.category_ids) if label}

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the splits whose annotations are found under `root`."""
        return splits_of(root)

    def __len__(self) -> int:
        return len(self._images)

    def _sized(
        self, annotations: Sequence[Mapping[str, Any]], sizes: Mapping[Any, tuple[int, int] | None]
    ) -> Iterator[StatedBox]:
        """The `bbox` of each annotation that states one, of images of known size.

        If the file states no sizes, the first pictures are measured.
        """
        known = dict(sizes)
        if not any(known.values()):
            for index, image in enumerate(self._images[:_CHECKED]):
                with suppress(SampleError, OSError):  # said when it is read
                    known[image["id"]] = picture_size(self.image_path(index))
        for each in annotations:
            size = known.get(each["image_id"])
            if size is not None and each.get("bbox"):
                yield StatedBox(each["image_id"], each["bbox"], size, each.get("area"), each.get("segmentation"))

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        return self._files.path(index)

    def picture(self, index: int) -> PictureInfo:
        """Name, sub-folders included, and further fields of the image's entry in the file."""
        return picture_of(self._images[index], self.image_path(index).relative_to(self._folder).as_posix())

    def picture_of_mix(
        self, sources: Sequence[tuple[int | None, Collection[int]]], labels: Collection[int], lost: Counter[str]
    ) -> PictureInfo:
        """The base's fields, those of LVIS as they hold for all pictures that show."""
        picture = super().picture_of_mix(sources, labels, lost)
        ids = [[self.category_ids[label] for label in each] for each in (labels, *(found for _, found in sources))]
        entries = [{} if index is None else self._images[index] for index, _ in sources]
        fields = looked_for(entries, ids[1:], ids[0], lost)
        return picture._replace(details={**picture.details, **fields})

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        entry, path = self._images[index], self.image_path(index)
        image = self.read_image(path, stated_size(entry, self.annotations), self.annotations.name)
        size = (image.shape[1], image.shape[2])
        found = self._found[entry["id"]]
        with blaming(path):
            check_room("masks", len(found) * self.has_masks, size)
        rows: list[_Row] = []
        reasons: list[tuple[Any, Exception]] = []
        for annotation in found:
            try:
                rows.append(self._row(annotation, size))
            except (ValueError, TypeError, OverflowError) as error:
                reasons.append((annotation.get("id"), error))
        if reasons and not rows:
            number, why = reasons[0]
            raise SampleError(path, f"annotation {number} in {self.annotations}: {why}") from why
        for number, why in reasons:
            self.note(self.annotations, f"annotation {number} of {path.name} is left out: {why}")
        for row in rows:
            for reason in row.odd:
                self.note(self.annotations, f"annotation {row.stated.get('id')} of {path.name}: {reason}")
        shown = np.array([row.mask is not None for row in rows], dtype=bool)
        some_without = self._some_without or (self.has_masks and not shown.all())
        target = instance_target(
            entry["id"],
            size,
            np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4),
            np.array([row.label for row in rows], dtype=np.int64),
            iscrowd=np.array([row.crowd for row in rows], dtype=np.int64),
            area=np.array([row.area for row in rows], dtype=np.float32),
            masks=[row.mask for row in rows] if self.has_masks else None,
            has_mask=shown if some_without else None,
            keypoints=np.array([row.points for row in rows]).reshape(-1, self._points, 3) if self._points else None,
            details=[_details(row.stated, row.unread) for row in rows] if self.details else None,
        )
        return image, target

    def _row(self, annotation: dict[str, Any], size: tuple[int, int]) -> _Row:
        """One annotation, checked; ValueError, TypeError or OverflowError for what makes no sense."""
        label = self._labels.get(annotation.get("category_id", -1), 0)
        if not label:
            raise ValueError(f"category_id {annotation.get('category_id')} is not among the categories")
        odd: list[str] = []
        unread: set[str] = set()

        def reading(name: str, read: Callable[[], Any], otherwise: Any, then: str) -> Any:
            """A field of the annotation, or what stands for it where it makes no sense."""
            try:
                return read()
            except (ValueError, TypeError, OverflowError) as error:
                odd.append(f"its {name} {then}: {error}")
                unread.add(name)
                return otherwise

        mask, segmentation = reading(
            "segmentation", lambda: _mask(annotation.get("segmentation"), size), (None, None), "is left out"
        )
        if mask is not None and not mask.any():
            odd.append("its mask has no pixel")
        parts = odd_parts(annotation.get("segmentation"))
        if parts:
            odd.append(f"parts of its segmentation that hold half a point are left out ({parts})")
        bbox = annotation.get("bbox")
        box: list[float] | None = None
        if segmentation is None:
            if bbox is None or bbox == []:
                raise ValueError("; ".join([*odd, "has neither a bbox nor a segmentation"]))
            box = _box(bbox)
        elif bbox is not None and bbox != []:
            box = reading("bbox", lambda: _box(bbox), None, "is measured round its segmentation")
        if box is None:
            box = box_of_segmentation(segmentation, size)
        points = reading("keypoints", lambda: self._pose(annotation), np.zeros((self._points, 3)), "are left out")
        area = reading("area", lambda: _area(annotation.get("area")), float("nan"), "is measured")
        crowd = reading("iscrowd", lambda: _crowd(annotation.get("iscrowd")), 0, "is taken for 0")
        return _Row(annotation, box, label, crowd, area, mask, points, odd, unread)

    def _pose(self, annotation: dict[str, Any]) -> np.ndarray:
        """(K, 3) keypoints; zeros, "not labelled", for those that the annotation doesn't state."""
        points = np.zeros((self._points, 3))
        given = _flat_points(annotation.get("keypoints"))
        if not isinstance(given, (list, tuple)) or len(given) % 3:
            raise ValueError("must be x, y, flag for each point")
        values = np.array([finite(value) for value in given]).reshape(-1, 3)
        points[: len(values)] = values
        return points


class _Row(NamedTuple):
    """An annotation as the parts of a target, and as the file states it."""

    stated: dict[str, Any]
    box: Sequence[float]
    label: int
    crowd: int
    area: float
    mask: np.ndarray | None
    points: np.ndarray
    odd: list[str]
    unread: set[str]


def flip_pairs_of(names: Sequence[Sequence[str] | None]) -> tuple[tuple[int, int], ...] | None:
    """(left, right) pairs of keypoints, told by their names; None where nothing names them, or two lists differ.

    Args:
        names: of the keypoints, per category; None for a category without.
    """
    found = {tuple(_mirrored(list(map(str, each)))) for each in names if each}
    return found.pop() if len(found) == 1 else None


def _mirrored(names: Sequence[str]) -> list[tuple[int, int]]:
    swaps = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("l_", "r_"), ("L_", "R_"))
    place = {name: number for number, name in enumerate(names)}
    pairs = []
    for number, name in enumerate(names):
        for left, right in swaps:
            other = re.sub(rf"^{left}" if len(left) == 2 else left, right, name)
            if other != name and other in place:
                pairs.append((number, place[other]))
                break
    return pairs


def _size_or_none(entry: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    try:
        return stated_size(entry, path)
    except SampleError:  # raised again when the image is read
        return None


def _mask(segmentation: Any, size: tuple[int, int]) -> tuple[np.ndarray | None, list[Any] | dict[str, Any] | None]:
    """A mask and its segmentation in order; None for both where none is stated."""
    stated = stated_segmentation(segmentation)
    return (None, None) if stated is None else (decode_segmentation(stated, size), stated)


def _flat_points(keypoints: Any) -> Any:
    """Keypoints as one list: some files have a list of x, y, flag for each."""
    if not keypoints or isinstance(keypoints, float):  # none; NaN in a table means the same
        return []
    if isinstance(keypoints, (list, tuple)) and all(isinstance(p, (list, tuple)) and len(p) == 3 for p in keypoints):
        return [value for point in keypoints for value in point]
    return keypoints


def _count_points(annotation: Mapping[str, Any]) -> int:
    points = _flat_points(annotation.get("keypoints"))
    return len(points) // 3 if isinstance(points, (list, tuple)) else 0


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _area(given: Any) -> float:
    """The stated area; NaN, to be measured, where none is stated."""
    return float("nan") if given is None or _is_nan(given) else finite(given)


def _crowd(given: Any) -> int:
    crowd = 0 if _is_nan(given) else int(given or 0)
    if not -(2**31) <= crowd < 2**31:
        raise ValueError(f"must be 0 or 1, got {crowd}")
    return crowd


def _box(bbox: Any) -> list[float]:
    """x0, y0, x1, y1 of a `bbox`."""
    if not isinstance(bbox, (list, tuple)) or len(bbox) != 4:
        raise ValueError(f"bbox must be [x, y, width, height], got {bbox!r}")
    x, y, width, height = (finite(value) for value in bbox)
    return [x, y, x + width, y + height]


def _details(annotation: Mapping[str, Any], unread: Collection[str]) -> dict[str, Any]:
    """What the file says of an instance besides what the target holds, and all that it measures, as it states it.

    A stated NaN, or an area or a flag that makes no sense, is a NaN there: the copy has what is measured.
    """
    details = {key: value for key, value in annotation.items() if key not in _KNOWN}
    left_out = {*unread, *(("num_keypoints",) if "keypoints" in unread else ())}
    stated = {key: annotation[key] for key in _MEASURED if key in annotation and key not in left_out}
    return {**details, STATED: {**stated, **{key: float("nan") for key in ("area", "iscrowd") if key in unread}}}
