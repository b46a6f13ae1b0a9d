"""Rows of Hugging Face data sets that describe the objects of an image: where the columns are, and what a row means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.masks import box_of_segmentation, check_room, decode_segmentation, stated_segmentation
from cutmix_dense.data.readers.base import finite, instance_target
from cutmix_dense.data.readers.box_formats import StatedBox, check_sides_and_corners, corners_of

OWN = frozenset({"file_name", "height", "id", "image_id", "width"})
"""Keys of an image and of its objects that each layout makes anew."""

_BOXES = ("bbox", "bboxes", "boxes", "box")
_CATEGORIES = (
    *("category", "categories", "label", "labels", "category_id", "category_ids", "class", "classes", "class_id"),
    *("class_ids", "class_label", "class_labels", "name", "names"),
)
_MASKS = ("segmentation", "segmentations")
_AREAS = ("area", "areas")
_CROWDS = ("iscrowd", "is_crowd", "iscrowds")
_USUAL = ("objects", "annotations", "faces", "litter")

_MOST_CLASSES = 100_000


class Columns(NamedTuple):
    """Where a row states what of its objects.

    Attributes:
        holder: the column whose value is a dict of lists, or a list of dicts; None where the row itself is.
        boxes: key of the boxes.
        category: key of the classes; None where there is one class only.
        masks: key of COCO segmentations, if there are any.
        area: key of the areas.
        crowd: key of COCO's crowd flag.
    """

    holder: str | None
    boxes: str
    category: str | None
    masks: str | None = None
    area: str | None = None
    crowd: str | None = None


def find_columns(rows: Iterable[Mapping[str, Any]], holder: str | None = None) -> Columns | None:
    """The columns of objects, told by the first row that has some; None where none has.

    Args:
        rows: of the data set.
        holder: the column that holds them, if it is known.
    """
    for row in rows:
        names = [holder] if holder is not None else [*_USUAL, *(name for name in row if name not in _USUAL)]
        for name in names:
            keys = _keys_of(row.get(name))
            boxes = _first(keys, _BOXES)
            if boxes is not None:
                return _columns(name, keys, boxes)
        lists = [name for name, value in row.items() if isinstance(value, list)]
        boxes = _first(lists, _BOXES)
        if holder is None and boxes is not None:
            return _columns(None, lists, boxes)
    return None


def _keys_of(value: Any) -> list[Any]:
    """The keys of a dict, or of the first dict of a list."""
    if isinstance(value, list):
        value = value[0] if value else None
    return list(value) if isinstance(value, Mapping) else []


def _first(keys: Iterable[Any], known: Sequence[str]) -> str | None:
    there = {key.lower(): key for key in keys if isinstance(key, str)}
    return next((there[name] for name in known if name in there), None)


def _columns(holder: str | None, keys: list[str], boxes: str) -> Columns:
    return Columns(holder, boxes, *(_first(keys, known) for known in (_CATEGORIES, _MASKS, _AREAS, _CROWDS)))


class Objects:
    """What the rows of all splits say of their objects, and how one of them becomes a target.

    Args:
        columns: where it is said.
        box_format: one of ``BOX_FORMATS``.
        names: of the classes, where something states them: a number `i` in a row means `names[i]`. Default: the words
            that `values` holds, sorted; or for numbers "0" … the largest.
        values: of the category column, of all splits.
        where: for messages.

    Raises:
        DatasetError: names that are the same, or a number that is no class.

    Attributes:
        classes: label `i` means `classes[i]`, 0 is "background".
    """

    def __init__(
        self, columns: Columns, box_format: str, names: Sequence[str] | None, values: Iterable[Any], where: object
    ) -> None:
        self.columns, self.box_format = columns, box_format
        self._shift = 1
        if names is None:
            names = _names_of(values, where) if columns.category is not None else ["object"]
        elif names and str(names[0]).strip("_").lower() == "background":
            names, self._shift = names[1:], 0
        if len(set(names)) < len(names):
            raise DatasetError(f"{where}: class names must differ, got {list(names)}")
        self.classes = ("background", *map(str, names))
        self._labels = {name: label for label, name in enumerate(self.classes) if label}

    def items(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One dict for each object of a row; ValueError where its lists are of different lengths."""
        return items_of(row, self.columns)

    def boxes(self, image: int, row: Mapping[str, Any], size: tuple[int, int]) -> list[StatedBox]:
        """What a row says of the extent of its objects; ValueError where its lists are of different lengths.

        Args:
            image: number of the row.
            row: as the data set has it.
            size: (H, W) of its image.
        """
        names = (self.columns.area, self.columns.masks)
        return [
            StatedBox(image, item.get(self.columns.boxes), size, *(item.get(name) if name else None for name in names))
            for item in self.items(row)
        ]

    def target(
        self,
        image_id: int | str,
        row: Mapping[str, Any],
        size: tuple[int, int],
        note: Callable[[str], None],
        *,
        masks: bool,
        some_without: bool,
        details: bool,
    ) -> dict[str, Any]:
        """The target of a row.

        Args:
            image_id: of its image.
            row: as the data set has it.
            size: (H, W) of its image.
            note: is told what is left out.
            masks: whether targets have `masks`.
            some_without: whether they have `has_mask`.
            details: whether they have `details`.

        Raises:
            ValueError: a row that makes no sense, or none of whose objects does.
        """
        found, reasons = [], []
        items = self.items(row)
        check_room("masks", len(items) * masks, size)
        for number, item in enumerate(items):
            try:
                found.append((item, *self._object(item, size)))
            except (ValueError, TypeError, OverflowError) as error:
                reasons.append(f"object {number} of {image_id}: {error}")
        if reasons and not found:
            raise ValueError(reasons[0])
        for reason in reasons:
            note(f"{reason}; it is left out")
        stated = np.array([mask is not None for _, _, _, mask, _, _ in found], dtype=bool)
        return instance_target(
            image_id,
            size,
            np.array([box for _, box, *_ in found], dtype=np.float64).reshape(-1, 4),
            np.array([label for _, _, label, *_ in found], dtype=np.int64),
            iscrowd=np.array([crowd for *_, crowd in found], dtype=np.int64),
            area=np.array([area for *_, area, _ in found], dtype=np.float32),
            masks=[mask for _, _, _, mask, _, _ in found] if masks else None,
            has_mask=stated if some_without else None,
            details=[self._details(item) for item, *_ in found] if details else None,
        )

    def _object(
        self, item: Mapping[str, Any], size: tuple[int, int]
    ) -> tuple[list[float], int, np.ndarray | None, float, int]:
        columns = self.columns
        label = self._label(item.get(columns.category)) if columns.category is not None else 1
        segmentation = stated_segmentation(item.get(columns.masks)) if columns.masks else None
        given = item.get(columns.boxes)
        if given is None and segmentation is not None:
            box = box_of_segmentation(segmentation, size)
        else:
            box = corners_of(given, self.box_format, size)
        area = item.get(columns.area) if columns.area else None
        crowd = item.get(columns.crowd) if columns.crowd else None
        return (
            box,
            label,
            None if segmentation is None else decode_segmentation(segmentation, size),
            float("nan") if area is None or area != area else finite(area),
            int(finite(crowd or 0) != 0),
        )

    def _label(self, value: Any) -> int:
        """The label of a class that a row names; ValueError for one that isn't known."""
        number = _number(value)
        if isinstance(value, str) and value.strip() in self._labels:
            return self._labels[value.strip()]
        if number is not None and 0 < number + self._shift < len(self.classes) and number >= 0:
            return number + self._shift
        raise ValueError(f"class {value!r} is not among {self.classes[1:]}; classes= can name more")

    def _details(self, item: Mapping[str, Any]) -> dict[str, Any]:
        own = [name for name in self.columns[1:] if name is not None]
        said = {key: value for key, value in item.items() if key not in own and key not in OWN and value is not None}
        return {**said, STATED: dict(item)}


def items_of(row: Mapping[str, Any], columns: Columns) -> list[dict[str, Any]]:
    """One dict for each object of a row; ValueError where its lists are of different lengths."""
    holder = row if columns.holder is None else row.get(columns.holder)
    if holder is None:
        return []
    if isinstance(holder, list):
        if not all(isinstance(item, dict) for item in holder):
            raise ValueError(f"{columns.holder!r} must be a dict of lists or a list of dicts")
        return [dict(item) for item in holder]
    if not isinstance(holder, Mapping):
        raise ValueError(f"{columns.holder!r} must be a dict of lists, got {type(holder).__name__}")
    boxes = holder.get(columns.boxes)
    if boxes is None:
        boxes = []
    if not isinstance(boxes, list):
        raise ValueError(f"{columns.boxes!r} must be a list of boxes, got {type(boxes).__name__}")
    named = {name: holder.get(name) for name in columns[2:] if name is not None}
    for name, values in named.items():
        if values is not None and (not isinstance(values, list) or len(values) != len(boxes)):
            count = len(values) if isinstance(values, list) else repr(values)
            raise ValueError(f"{len(boxes)} in {columns.boxes!r}, but {count} in {name!r}")
    lists = {name: values for name, values in named.items() if values is not None}
    if columns.holder is not None:  # of a row itself, another list of that length may be about anything
        lists |= {name: each for name, each in holder.items() if isinstance(each, list) and len(each) == len(boxes)}
    return [{columns.boxes: box, **{name: values[i] for name, values in lists.items()}} for i, box in enumerate(boxes)]


def check_boxes(boxes: Sequence[Any], box_format: str, sized: Sequence[StatedBox], where: object) -> None:
    """Refuse boxes that are of another format as a whole, as relative ones or corners.

    Args:
        boxes: all of a split, as the file states them.
        box_format: what they are said to be.
        sized: some of them, with the sizes of their images.
        where: for the message.

    Raises:
        DatasetError: they are, with the format that fits.
    """
    values = [value for box in boxes if isinstance(box, (list, tuple)) for value in box if _is_finite(value)]
    relative = box_format.startswith("relative_")
    if values and not relative and max(values) <= 1 and min(values) >= 0 and max(values) > 0:
        raise DatasetError(
            f"{where}: no number of its {len(boxes)} boxes is above 1, so they look relative to the image's sides; "
            f'box_format="relative_{box_format}" reads them so (or relative_xyxy, relative_cxcywh)'
        )
    if values and relative and max(values) > 2:
        raise DatasetError(
            f"{where}: the boxes go up to {max(values):g}, so they are not relative to the image's sides; "
            f'box_format="{box_format.removeprefix("relative_")}" reads pixels'
        )
    usual = ("xywh", "xyxy")
    if box_format in usual:
        other = usual[1 - usual.index(box_format)]
        check_sides_and_corners(sized, where, box_format, f'box_format="{other}" reads them so')


def _is_finite(value: Any) -> bool:
    """Whether a value is a number, and not an absurd one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e18


def _number(value: Any) -> int | None:
    """The whole number that a value is, or spells; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:
        return int(value)
    return int(value) if isinstance(value, (int, float)) and _is_finite(value) and value == int(value) else None


def _names_of(values: Iterable[Any], where: object) -> list[str]:
    """The names of classes that rows name by words, sorted, or by numbers: "0" … the largest."""
    words: set[str] = set()
    largest = -1
    for value in values:
        if isinstance(value, str) and value.strip():
            words.add(value.strip())
        elif (number := _number(value)) is not None:
            largest = max(largest, number)
    if words and not all(word.isdecimal() and len(word) < 10 for word in words):
        return sorted(
            words | ({str(number) for number in range(largest + 1)} if 0 <= largest < _MOST_CLASSES else set())
        )
    largest = max([largest, *map(int, words)])
    if largest >= _MOST_CLASSES:
        raise DatasetError(
            f"{where}: a class number of {largest} is beyond {_MOST_CLASSES}; name the classes with classes="
        )
    return [str(number) for number in range(largest + 1)]
