"""The rows of one key of a target: checked, joined with those of ignored instances, and alike in all images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.functional.fields import FIELDS, STATED
from cutmix_dense.functional.table import boxes_like
from cutmix_dense.functional.wrapping import as_plain, numpy_remedy

_GEOMETRIC = tuple(
    getattr(tv_tensors, name) for name in ("BoundingBoxes", "Mask", "KeyPoints") if hasattr(tv_tensors, name)
)


def rows_of_key(row: Mapping[str, Any], key: str, count: int, where: str) -> Any:
    """The rows of a key, one for each instance, as a tensor or a list; None for a key that has none.

    Lists of numbers become tensors where the key needs one, as torchvision's datasets give ``iscrowd`` and ``area``.

    Raises:
        TypeError: a value of a kind that the key can't have.
        ValueError: the key is missing, or hasn't one row per instance.
    """
    if key not in row:
        if count and key == STATED:
            return torch.ones(count, dtype=torch.bool, device=_device_of_row(row))
        if count:
            empty = f"; objects without a mask have a row of zeros and a False in {STATED!r}" if key == "masks" else ""
            raise ValueError(
                f"{where} has {count} instances but no {key!r}, which other targets have: give it for all, or for "
                f"none{empty}"
            )
        return None
    value = row[key]
    known = FIELDS.get(key)
    if known is not None and known.listed is not None and isinstance(value, (list, tuple)):
        value = _tensor_of(value, row, known.listed, f"{where}[{key!r}]")
    if known is not None and known.tensor and not isinstance(value, Tensor):
        raise TypeError(f"{where}[{key!r}] must be a tensor, got {type(value).__name__}{numpy_remedy(value)}")
    if not isinstance(value, (Tensor, list, tuple)):
        raise TypeError(f"{where}[{key!r}] must be a tensor or a list, got {type(value).__name__}{numpy_remedy(value)}")
    if key == STATED and isinstance(value, Tensor) and value.numel() and value.dtype != torch.bool:
        raise TypeError(f"{where}[{key!r}] must hold bools, got {value.dtype}")
    if isinstance(value, _GEOMETRIC) and key not in ("boxes", "masks", "keypoints"):
        raise ValueError(
            f"{where}[{key!r}] is a {type(value).__name__}, which would have to be mapped: only 'boxes', 'masks' and "
            "'keypoints' are"
        )
    if isinstance(value, Tensor) and value.ndim == 0:
        raise ValueError(f"{where}[{key!r}] must have one row per instance, got a single number")
    length = value.shape[0] if isinstance(value, Tensor) else len(value)
    if length != count and not (count == 0 and isinstance(value, Tensor) and value.numel() == 0):
        raise ValueError(f"{where}[{key!r}] must have one row per instance ({count}), got {shape_of(value)}")
    rank = None if known is None else known.rank
    if count and rank is not None and isinstance(value, Tensor) and value.ndim != rank:
        raise ValueError(f"{where}[{key!r}] must have {rank} dimensions, got {tuple(value.shape)}")
    if count or (isinstance(value, Tensor) and not length):
        return value
    return value[:0] if isinstance(value, Tensor) else None


def rows_joined(key: str, main: Any, more: Any) -> Any:
    """The rows of a key, followed by those of ignored instances."""
    if more is None:
        return main
    if len(more) == 0:
        return main if main is not None else more
    if main is None or len(main) == 0:
        return more
    if isinstance(main, Tensor):
        if key == "boxes" and getattr(more, "format", None) != getattr(main, "format", None):
            more = boxes_like(more, main)
        joined = torch.cat([as_plain(main), as_plain(more)])
        return tv_tensors.wrap(joined, like=main) if isinstance(main, tv_tensors.TVTensor) else joined
    return [*main, *more]


def check_rows_alike(key: str, values: list[Any]) -> None:
    """Raise TypeError or ValueError unless the rows of all images are of one kind, shape and device."""
    first_index, first, device, trailing = -1, None, None, None
    for index, value in enumerate(values):
        if value is None or not (value.shape[0] if isinstance(value, Tensor) else len(value)):
            continue
        if first is None:
            first_index, first = index, value
            if isinstance(value, Tensor):
                device, trailing = value.device, value.shape[1:]
        if isinstance(value, Tensor) != isinstance(first, Tensor):
            raise TypeError(f"targets[{index}][{key!r}] is a {type(value).__name__}, targets[{first_index}]'s is not")
        if not isinstance(value, Tensor):
            continue
        if value.device != device:
            raise ValueError(
                f"targets[{index}][{key!r}] lies on {value.device}, targets[{first_index}][{key!r}] on {device}"
            )
        if key != "masks" and value.shape[1:] != trailing:
            raise ValueError(
                f"targets[{index}][{key!r}] has rows of shape {tuple(value.shape[1:])}, "
                f"targets[{first_index}][{key!r}] of {tuple(first.shape[1:])}"
            )


def _tensor_of(values: Sequence[Any], row: Mapping[str, Any], dtype: torch.dtype, where: str) -> Tensor:
    """A list of numbers as a tensor beside the others of its row."""
    try:
        return torch.tensor(values, dtype=dtype, device=_device_of_row(row))
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{where} must be a tensor or a list of numbers, got {values!r}") from None


def _device_of_row(row: Mapping[str, Any]) -> torch.device | None:
    """Where the first tensor of a target lies."""
    return next((value.device for value in row.values() if isinstance(value, Tensor)), None)


def shape_of(value: Any) -> str:
    """The shape of a value in words, for messages."""
    if isinstance(value, Tensor):
        return f"tensor of shape {tuple(value.shape)}"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"array of shape {tuple(shape)}"
    return f"{type(value).__name__} of length {len(value)}" if hasattr(value, "__len__") else type(value).__name__
