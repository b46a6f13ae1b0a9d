"""Separable Gaussian blur, for soft edges and for noise."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.arrays.dtypes import full_precision


def gaussian_blur(values: Float[Tensor, "n *size"], sigma: float) -> Float[Tensor, "n *size"]:
    """Blur each of n fields by a Gaussian cut off at three sigma; the border is repeated.

    Args:
        values: n fields of any number of axes.
        sigma: pixels, > 0.

    Example:
        >>> gaussian_blur(torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]]), 0.5).round(decimals=2)
        tensor([[0.0000, 0.1100, 0.7900, 0.1100, 0.0000]])
    """
    reach = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).reshape(1, 1, -1)
    for axis in range(1, values.ndim):
        lines = values.movedim(axis, -1)
        flat = lines.reshape(-1, 1, lines.shape[-1])
        padded = torch.nn.functional.pad(flat, (reach, reach), mode="replicate")
        with full_precision(values.device):
            values = torch.nn.functional.conv1d(padded, kernel).reshape(lines.shape).movedim(-1, axis)
    return values
