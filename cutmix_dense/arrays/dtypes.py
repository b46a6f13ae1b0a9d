"""In which dtype pixels are counted and moved."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor

__all__ = ["WIDE_UNSIGNED", "as_signed", "counted_in", "limits_of"]

_SIGNED = {
    getattr(torch, f"uint{bits}"): getattr(torch, f"int{bits}")
    for bits in (16, 32, 64)
    if hasattr(torch, f"uint{bits}")  # they came with torch 2.3
}


WIDE_UNSIGNED = frozenset(_SIGNED)
"""Dtypes for which torch has few operations."""


def counted_in(dtype: torch.dtype) -> torch.dtype:
    """The floating point in which pixels of a dtype are weighed and added up.

    float64 for itself and for integers of more than a byte: on an image of 2000 pixels, positions in float32 would move
    a 16-bit value by up to 9 levels. It holds integers up to 2⁵³; larger ones lose their last bits. float32 for all
    else.
    """
    wide = not dtype.is_floating_point and dtype.itemsize > 1
    return torch.float64 if wide or dtype == torch.float64 else torch.float32


def limits_of(dtype: torch.dtype) -> tuple[float, float]:
    """The least and the largest float64 that an integer dtype holds."""
    bounds = torch.iinfo(dtype)
    spare = 2 ** max(0, bounds.bits - (bounds.min < 0) - 53) - 1  # below the maximum there is a float64 only so often
    return float(bounds.min), float(bounds.max - spare)


def as_signed(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The same bits as signed integers, if the dtype is one of ``WIDE_UNSIGNED``; else the tensor itself."""
    signed = _SIGNED.get(tensor.dtype)
    return tensor if signed is None else tensor.view(signed)
