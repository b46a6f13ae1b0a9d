"""Targets of the DETR family, with boxes in shares of their image: what the adapters that mix them have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

LARGEST_SHARE = 2.0
"""No coordinate of a normalised box is nearly as large; one of pixels nearly always is."""


def plain_boxes(boxes: Any) -> TypeGuard[Tensor]:
    """Whether boxes are numbers that don't say what they count in.

    Example:
        >>> plain_boxes(torch.rand(3, 4)), plain_boxes([[0.1, 0.1, 0.3, 0.4]])
        (True, False)
    """
    return (
        isinstance(boxes, Tensor)
        and not isinstance(boxes, tv_tensors.TVTensor)
        and boxes.is_floating_point()
        and boxes.ndim == 2
    )


def refuse_pixels(values: Sequence[Tensor], rule: str, remedy: str) -> None:
    """Raise ValueError if most rows, or most numbers of one image, aren't shares of an image.

    Read as such, each box would be the whole image.

    Args:
        values: rows of coordinates, a tensor per image.
        rule: what they must be.
        remedy: what to do.

    Example:
        >>> refuse_pixels([torch.tensor([[0.5, 0.5, 0.2, 0.4]])], "boxes must be shares", "divide them")
    """
    found = [rows for rows in values if rows.numel()]
    if not found:
        return
    large = [rows.abs() > LARGEST_SHARE for rows in found]
    rows = torch.cat([each.any(dim=1) for each in large]).float().mean()
    numbers = torch.stack([each.float().mean() for each in large]).max()
    largest = torch.stack([each.abs().max() for each in found]).max()
    outside, inside_one, most = torch.stack([rows, numbers, largest.to(rows)]).tolist()
    if max(outside, inside_one) > 0.5:
        raise ValueError(f"{rule}, got values up to {most:g}, which look like pixels: {remedy}")


def refuse_integers(rows: Sequence[Mapping[str, Any]], name: str, keys: Sequence[str]) -> None:
    """Raise TypeError for plain boxes or keypoints of integers, which can't be shares of an image.

    Args:
        rows: a target per image.
        name: how the caller names the targets.
        keys: of the values that must be shares.

    Example:
        >>> refuse_integers([{"boxes": torch.rand(3, 4)}], "targets", ["boxes"])
    """
    for index, row in enumerate(rows):
        for key in keys:
            value = row.get(key)
            if type(value) is Tensor and value.numel() and not value.is_floating_point():
                raise TypeError(
                    f"{name}[{index}][{key!r}] must hold shares of the image in floating point, got {value.dtype}: "
                    "normalise them, or wrap them in tv_tensors"
                )


def size_like(size: Any, given: tuple[int, int]) -> Any:
    """(height, width) in the form of a target's ``size``.

    Example:
        >>> size_like(np.array([24, 36]), (30, 40))
        array([30, 40])
    """
    if isinstance(size, Tensor):
        return torch.tensor(given, dtype=size.dtype, device=size.device)
    if isinstance(size, np.ndarray):
        return np.array(given, dtype=size.dtype)
    return size._make(given) if hasattr(size, "_make") else type(size)(given)
