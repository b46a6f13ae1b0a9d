"""Boxes and keypoints of a call and its partners: rows as Albumentations keeps them, all in one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from albumentations.core.keypoints_utils import convert_keypoints_to_albumentations
from jaxtyping import Float, Shaped

WIDTHS = {"bboxes": 4, "keypoints": 5}
"""Number of columns before those of labels."""
_BOXES = ("albumentations", "coco", "pascal_voc", "yolo")
"""Formats of boxes."""


@dataclass
class Rows:
    """Boxes or keypoints of all samples of a call, sample by sample.

    Attributes:
        values: coordinates as Albumentations keeps them, then a column per label field.
        counts: number of rows of each sample.
        fields: names of the label fields.
        known: what Albumentations knows of each field's labels.
    """

    values: Shaped[np.ndarray, "n k"]
    counts: list[int]
    fields: Sequence[str]
    known: Mapping[str, Any]

    def column(self, field: str) -> int | None:
        """The column that holds a label field; None if there is no such field or no row."""
        if field not in self.fields or not self.values.shape[0]:
            return None
        return self.values.shape[1] - len(self.fields) + self.fields.index(field)

    def numeric(self, field: str) -> bool:
        """Whether a label field holds numbers (known once some sample has rows)."""
        return field in self.known and bool(self.known[field].is_numerical)

    @property
    def first(self) -> list[int]:
        """Index of each sample's first row."""
        return list(accumulate(self.counts, initial=0))[:-1]


def pixel_boxes(
    rows: Shaped[np.ndarray, "n k"], sizes: Sequence[tuple[int, ...]], counts: Sequence[int]
) -> Float[np.ndarray, "n 4"]:
    """Boxes in pixels; a side within single precision of a whole pixel lies on it.

    Args:
        rows: normalised xyxy and further columns, sample by sample.
        sizes: (height, width) of each sample's image.
        counts: number of rows of each sample.
    """
    scale = np.array(sizes, dtype=np.float64)[:, [1, 0, 1, 0]].repeat(counts, axis=0)
    boxes = rows[:, :4] * scale
    whole = np.rint(boxes)
    return np.where(np.abs(boxes - whole) <= scale * 2.0**-22, whole, boxes)


def read_rows(
    kind: str,
    processor: Any,
    own: Any,
    partners: Sequence[tuple[str, Mapping[str, Any]]],
    sizes: Sequence[tuple[int, ...]],
    depths: Sequence[int] | None = None,
) -> Rows:
    """The call's own rows and those of its partners, converted as ``Compose`` converts the former.

    Args:
        kind: ``"bboxes"`` or ``"keypoints"``.
        processor: of ``Compose``, of this kind.
        own: the call's own rows, converted.
        partners: what errors call each, and the dict that holds its rows.
        sizes: (height, width) of each partner's image.
        depths: of each partner's volume; None for images.

    Raises:
        ValueError: what a partner lacks, or what doesn't fit, named.
    """
    fields = processor.params.label_fields or ()
    known = processor.label_manager.metadata[kind]
    least = 4 if kind == "bboxes" else len(processor.params.format)
    own = np.asarray(own)
    if own.ndim != 2:
        own = np.zeros((0, WIDTHS[kind]), np.float32)
    counts, parts, labels = [own.shape[0]], [], []
    for where, item in partners:
        part = _part(kind, item, fields, where)
        counts += [part.shape[0]]
        if not counts[-1]:
            continue
        if part.ndim != 2 or part.shape[1] < least:
            raise ValueError(f"{where}[{kind!r}] must be rows like the image's own, got shape {part.shape}")
        parts += [part]
        labels += [[_encoded(processor, kind, field, item, counts[-1], where) for field in fields]]
    if not parts:
        return Rows(own, counts, fields, known)
    if len(parts) > 1:
        _check_widths(kind, [part.shape[1] + len(fields) for part in parts])
        parts, labels = [np.concatenate(parts)], [[np.concatenate(columns) for columns in zip(*labels)]]
    rows = np.concatenate([*parts, *labels[0]], axis=1)
    converted = _converted(rows, counts[1:], kind, processor.params, sizes, depths)
    if converted is None:
        converted = _looked_at(rows, counts, processor, [where for where, _ in partners], sizes, depths)
    if counts[0]:
        if own.shape[1] != converted.shape[1]:
            _check_widths(kind, [own.shape[1], converted.shape[1]])
        converted = np.concatenate([own, converted])
    return Rows(converted, counts, fields, known)


def _part(kind: str, item: Mapping[str, Any], fields: Sequence[str], where: str) -> np.ndarray:
    """A partner's rows as they are given, with all label fields or without any."""
    value = item.get(kind)
    if value is None or not len(value):
        for field in fields:
            if item.get(field) is not None and len(item[field]):
                raise ValueError(f"{where} has {field!r} but no {kind}")
        return np.zeros((0, WIDTHS[kind]), np.float32)
    for field in fields:
        if field not in item or item[field] is None:
            missing = [field for field in fields if item.get(field) is None]
            raise ValueError(f"{where} has {kind} but not their label fields {missing}")
    return value if isinstance(value, np.ndarray) else np.array(value, dtype=np.float32)


def _check_widths(kind: str, widths: list[int]) -> None:
    if min(widths) < max(widths):
        raise ValueError(f"{kind} of the image and its partners must have as many columns, got {sorted(set(widths))}")


def _converted(
    rows: Shaped[np.ndarray, "n k"],
    counts: Sequence[int],
    kind: str,
    params: Any,
    sizes: Sequence[tuple[int, ...]],
    depths: Sequence[int] | None,
) -> Shaped[np.ndarray, "n k"] | None:
    """Rows of all partners in Albumentations' own form; None if it may have to drop some, or say what is wrong."""
    each = np.array(sizes).repeat(counts, axis=0)
    if kind == "keypoints":
        height, width = each[:, :1], each[:, 1:]
        shape: Any = {"height": height, "width": width}
        found = convert_keypoints_to_albumentations(rows, params.format, shape, False, params.angle_in_degrees)
        x, y, angle = found[:, :1], found[:, 1:2], found[:, 3:4]
        valid = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (angle >= 0) & (angle < 2 * np.pi)
        return found if not params.remove_invisible or (depths is None and valid.all()) else None
    if params.clip or params.filter_invalid_bboxes or params.format not in _BOXES:
        return None
    found = rows
    if params.format != "albumentations":
        found = rows.astype(np.float32)
        if params.format == "coco":
            found[:, 2:4] += found[:, :2]
        elif params.format == "yolo":
            half = found[:, 2:4] / 2
            found[:, 2:4] = found[:, :2] + half
            found[:, :2] -= half
        if params.format != "yolo":
            found[:, :4] = found[:, :4] / each[:, [1, 0, 1, 0]]  # in double precision
    valid = (found[:, :4] >= 0) & (found[:, :4] <= 1)
    valid[:, 2:] &= found[:, 2:4] > found[:, :2]
    return found if np.logical_and.reduce(valid, axis=None) else None


def _looked_at(
    rows: Shaped[np.ndarray, "n k"],
    counts: list[int],
    processor: Any,
    names: Sequence[str],
    sizes: Sequence[tuple[int, ...]],
    depths: Sequence[int] | None,
) -> Shaped[np.ndarray, "n k"]:
    """Rows as Albumentations converts those of each partner; ``counts`` loses those that it drops.

    Raises:
        ValueError: what Albumentations finds wrong, with the partner's name.
    """
    converted, start = [], 0
    for index, (where, (height, width)) in enumerate(zip(names, sizes), 1):
        part = rows[start : start + counts[index]]
        start += counts[index]
        if len(part):
            shape = {"height": height, "width": width}
            if depths is not None:
                shape["depth"] = depths[index - 1]
            try:
                part = processor.check_and_convert(part, shape, "to")
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            counts[index] = len(part)
            converted.append(part)
    return np.concatenate(converted)


def _encoded(
    processor: Any, kind: str, field: str, item: Mapping[str, Any], count: int, where: str
) -> Shaped[np.ndarray, "n 1"]:
    """A partner's labels as ``Compose`` would encode them; words may be longer than the image's own.

    Raises:
        ValueError: labels that the encoding of the image's own would falsify, or another number than ``count``.
    """
    manager, labels = processor.label_manager, item[field]
    known = manager.metadata[kind].get(field)
    if known is not None:
        array = np.asarray(labels)
        numbers = known.is_numerical or known.encoder.is_numerical
        if array.size and numbers != (array.dtype.kind in "iufcb"):
            held = "numbers" if numbers else "words"
            raise ValueError(f"{where}[{field!r}] must hold {held} like the image's own")
        if known.dtype is None or (array.dtype == known.dtype and array.dtype.kind in "iub"):
            pass
        elif known.dtype.kind in "US" and array.dtype.kind == known.dtype.kind:
            known.dtype = np.promote_types(known.dtype, array.dtype)
        elif known.is_numerical and not np.array_equal(array.astype(known.dtype), array):
            raise ValueError(
                f"{where}[{field!r}] must hold values that fit {known.dtype}, the dtype of the image's own"
            )
    if len(labels) != count:
        raise ValueError(
            f"{where}: The lengths of {kind} and {field} do not match. Got {count} and {len(labels)} respectively."
        )
    return manager.process_field(kind, field, labels)
