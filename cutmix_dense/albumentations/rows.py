"""Boxes and keypoints of a call and its partners: rows as Albumentations keeps them, all in one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from albumentations.core.bbox_utils import convert_bboxes_to_albumentations
from albumentations.core.keypoints_utils import convert_keypoints_to_albumentations
from jaxtyping import Float, Shaped

__all__ = ["WIDTHS", "Rows", "pixel_boxes", "read_rows"]

WIDTHS = {"bboxes": 4, "keypoints": 5}
"""Number of columns before those of labels."""


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
    def first(self) -> Shaped[np.ndarray, " samples"]:
        """Index of each sample's first row."""
        counts = np.array(self.counts)
        return counts.cumsum() - counts


def pixel_boxes(
    rows: Shaped[np.ndarray, "n k"], sizes: Sequence[tuple[int, int]], counts: Sequence[int]
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
    shapes: Sequence[Mapping[str, int]],
) -> Rows:
    """The call's own rows and those of its partners, converted as ``Compose`` converts the former.

    Args:
        kind: ``"bboxes"`` or ``"keypoints"``.
        processor: of ``Compose``, of this kind.
        own: the call's own rows, converted.
        partners: what errors call each, and the dict that holds its rows.
        shapes: of each partner's image, as Albumentations says it.

    Raises:
        ValueError: what a partner lacks, or what doesn't fit, named.
    """
    fields = processor.params.label_fields or ()
    known = processor.label_manager.metadata[kind]
    own = np.asarray(own)
    if own.ndim != 2:
        own = np.zeros((0, WIDTHS[kind]), np.float32)
    counts = [own.shape[0], *[0] * len(partners)]
    parts, labels = [], []
    for index, (where, item) in enumerate(partners):
        value = item.get(kind)
        if value is None or not len(value):
            orphan = [field for field in fields if item.get(field) is not None and len(item[field])]
            if orphan:
                raise ValueError(f"{where} has {orphan[0]!r} but no {kind}")
            continue
        missing = [field for field in fields if item.get(field) is None]
        if missing:
            raise ValueError(f"{where} has {kind} but not their label fields {missing}")
        part = value if isinstance(value, np.ndarray) else np.array(value, dtype=np.float32)
        if part.ndim != 2 or part.shape[1] < len(processor.params.format if kind == "keypoints" else "xyxy"):
            raise ValueError(f"{where}[{kind!r}] must be rows like the image's own, got shape {part.shape}")
        columns = [_encoded(processor, kind, field, item[field], where) for field in fields]
        for field, column in zip(fields, columns):
            if len(column) != len(part):
                raise ValueError(
                    f"{where}: The lengths of {kind} and {field} do not match. Got {len(part)} and {len(column)} "
                    "respectively."
                )
        counts[index + 1] = part.shape[0]
        parts.append(part)
        labels.append(columns)
    if not parts:
        return Rows(own, counts, fields, known)
    if len(parts) > 1:
        _check_widths(kind, [part.shape[1] + len(fields) for part in parts])
        parts, labels = [np.concatenate(parts)], [[np.concatenate(columns) for columns in zip(*labels)]]
    rows = np.concatenate([*parts, *labels[0]], axis=1)
    rows = _converted(rows, counts, kind, processor, [where for where, _ in partners], shapes)
    if counts[0]:
        _check_widths(kind, [own.shape[1], rows.shape[1]])
        rows = np.concatenate([own, rows])
    return Rows(rows, counts, fields, known)


def _check_widths(kind: str, widths: Sequence[int]) -> None:
    if min(widths) < max(widths):
        raise ValueError(f"{kind} of the image and its partners must have as many columns, got {sorted(set(widths))}")


def _converted(
    rows: Shaped[np.ndarray, "n k"],
    counts: list[int],
    kind: str,
    processor: Any,
    names: Sequence[str],
    shapes: Sequence[Mapping[str, int]],
) -> Shaped[np.ndarray, "n k"]:
    """Rows of all partners in Albumentations' own form; ``counts`` loses those that it drops.

    All are converted at once, unless Albumentations has to look at each partner's: to drop, or to say what is wrong.
    """
    params = processor.params
    sizes = np.array([(shape["height"], shape["width"]) for shape in shapes]).repeat(counts[1:], axis=0)
    height, width = sizes[:, :1], sizes[:, 1:]
    each: Any = {"height": height, "width": width}
    if kind == "keypoints":
        found = convert_keypoints_to_albumentations(rows, params.format, each, False, params.angle_in_degrees)
        x, y, angle = found[:, :1], found[:, 1:2], found[:, 3:4]
        valid = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (angle >= 0) & (angle < 2 * np.pi)
        if not params.remove_invisible or ("depth" not in shapes[0] and valid.all()):
            return found
    elif not params.clip and not params.filter_invalid_bboxes:
        found = rows
        if params.format != "albumentations":
            found = convert_bboxes_to_albumentations(rows, params.format, each)
        valid = (found[:, :4] >= 0) & (found[:, :4] <= 1)
        valid[:, 2:] &= found[:, 2:4] > found[:, :2]
        if valid.all():
            return found
    converted, start = [], 0
    for index, (where, shape) in enumerate(zip(names, shapes), 1):
        part = rows[start : start + counts[index]]
        start += counts[index]
        if len(part):
            try:
                part = processor.check_and_convert(part, shape, "to")
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            counts[index] = len(part)
            converted.append(part)
    return np.concatenate(converted)


def _encoded(processor: Any, kind: str, field: str, labels: Any, where: str) -> Shaped[np.ndarray, "n 1"]:
    """A partner's labels as ``Compose`` would encode them, which words may be longer than the image's own.

    Raises:
        ValueError: labels that the encoding of the image's own would falsify.
    """
    manager = processor.label_manager
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
    return manager.process_field(kind, field, labels)
