"""Reshape values so that they broadcast over all spatial axes of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor


def along(values: Shaped[Any, "*lead n"], axis: int, ndim: int) -> Shaped[Any, "*lead *ones"]:
    """Values along one spatial axis, a tensor or array, broadcast over all ``ndim``: (…, n) to (…, 1, n, 1)."""
    lead = values.shape[:-1]
    return values.reshape(*lead, *(1,) * axis, values.shape[-1], *(1,) * (ndim - 1 - axis))


def everywhere(values: Shaped[Tensor, "*lead"], ndim: int) -> Shaped[Tensor, "*lead *ones"]:
    """One value per grid, broadcast over its ``ndim`` axes: (…) to (…, 1, 1)."""
    return values.reshape(*values.shape, *(1,) * ndim)


def within(sizes: Int[Tensor, "b d"], frame: Sequence[int]) -> Bool[Tensor, "b *frame"]:
    """Which pixels of a frame lie within each sample's valid size, measured from the origin.

    Example:
        >>> within(torch.tensor([[1, 2]]), (2, 3)).int().tolist()
        [[[1, 1, 0], [0, 0, 0]]]
    """
    inside = torch.ones((len(sizes), *frame), dtype=torch.bool, device=sizes.device)
    for axis, length in enumerate(frame):
        pixel = torch.arange(length, device=sizes.device)
        inside &= along(pixel < sizes[:, axis, None], axis, len(frame))
    return inside
