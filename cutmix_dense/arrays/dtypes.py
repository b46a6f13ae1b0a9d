"""Dtypes in which pixels are weighed and moved."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

_SIGNED = {
    getattr(torch, f"uint{bits}"): getattr(torch, f"int{bits}")
    for bits in (16, 32, 64)
    if hasattr(torch, f"uint{bits}")  # they came with torch 2.3
}


WIDE_UNSIGNED = frozenset(_SIGNED)
"""Unsigned dtypes of more than a byte, for which torch has few operations."""

_has_autocast = getattr(torch.amp, "is_autocast_available", {"cpu", "cuda"}.__contains__)  # it came with torch 2.4

_AUTOCAST = frozenset(filter(_has_autocast, ("cpu", "cuda", "mps", "xpu", "hpu", "xla")))
"""Types of devices that have an autocast."""


def counted_in(dtype: torch.dtype) -> torch.dtype:
    """The floating dtype in which pixels of ``dtype`` are weighed and summed.

    float64 for itself and for integers of more than a byte: on an image of 2000 pixels, positions in float32 would move
    a 16-bit value by up to 9 levels. Integers beyond 2⁵³ lose their last bits. float32 for all others.

    Example:
        >>> counted_in(torch.uint8), counted_in(torch.int16)
        (torch.float32, torch.float64)
    """
    wide = not dtype.is_floating_point and dtype.itemsize > 1
    return torch.float64 if wide or dtype == torch.float64 else torch.float32


def exact_dtype(device: torch.device) -> torch.dtype:
    """Double precision where the device has it: equal results on every device, areas without cancellation."""
    return torch.float32 if device.type == "mps" else torch.float64


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """While it is on, products of matrices and convolutions keep their dtype within a user's ``torch.autocast``.

    Example:
        >>> one = torch.full((1, 1), 1 + 2**-10)
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(one.device):
        ...     (one @ one).dtype
        torch.float32
    """
    return torch.autocast(device.type, enabled=False) if device.type in _AUTOCAST else nullcontext()


def limits_of(dtype: torch.dtype) -> tuple[float, float]:
    """The smallest and the largest float64 that fit an integer dtype."""
    bounds = torch.iinfo(dtype)
    spare = 2 ** max(0, bounds.bits - (bounds.min < 0) - 53) - 1  # float64 is coarser than 1 near the maximum
    return float(bounds.min), float(bounds.max - spare)


def as_signed(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The same bits as signed integers, if the dtype is one of ``WIDE_UNSIGNED``; else the tensor itself."""
    signed = _SIGNED.get(tensor.dtype)
    return tensor if signed is None else tensor.view(signed)
