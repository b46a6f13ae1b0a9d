"""Scaled layers under a filter: one layer of one output at a time, only where it shows."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Interpolation", "resample"]

Interpolation = Literal["nearest", "bilinear", "antialias"]
"""How a scaled layer is read: the nearest pixel, two taps per axis, or a triangle filter as wide as a shrunk pixel."""


def resample(
    image: Tensor,
    scale: list[float],
    shift: list[float],
    extent: tuple[list[int], list[int]],
    window: tuple[list[int], list[int]],
    interpolation: Interpolation,
) -> Tensor:
    """The pixels of a canvas window, read from one image through its axis-aligned map.

    Args:
        image: (…, *size), any dtype; integer images are filtered in float32 and rounded.
        scale: per axis, ``canvas = scale * source + shift``.
        shift: per axis, pixels.
        extent: valid part of the image, lows and highs; pixels outside have no weight.
        window: lows and highs on the canvas.
        interpolation: see ``Interpolation``.

    Returns:
        (…, *window size) in the image's dtype.
    """
    dtype = image.dtype
    filtered = interpolation != "nearest" and not all(s == 1 and t == round(t) for s, t in zip(scale, shift))
    pixels = image if not filtered or dtype == torch.float64 else image.float()
    for axis in range(len(scale)):
        dim = axis - len(scale)
        low, high = extent[0][axis], extent[1][axis]
        centre = torch.arange(window[0][axis], window[1][axis], device=image.device) + 0.5
        position = (centre - shift[axis]) / scale[axis]
        if not filtered:
            pixels = pixels.index_select(dim, position.floor().long().clamp(low, high - 1))
            continue
        reach = max(1.0, 1 / abs(scale[axis])) if interpolation == "antialias" else 1.0
        first = torch.ceil(position - reach - 0.5).long()
        taps = first[:, None] + torch.arange(math.ceil(2 * reach) + 1, device=image.device)
        weight = (1 - (taps + 0.5 - position[:, None]).abs() / reach).clamp(min=0) * ((taps >= low) & (taps < high))
        weight = (weight / weight.sum(dim=1, keepdim=True)).to(pixels.dtype)
        taps = taps.clamp(low, high - 1)
        shape = [-1] + [1] * (-dim - 1)
        total = pixels.index_select(dim, taps[:, 0]) * weight[:, 0].reshape(shape)
        for tap in range(1, taps.shape[1]):
            total = total + pixels.index_select(dim, taps[:, tap]) * weight[:, tap].reshape(shape)
        pixels = total
    if pixels.dtype == dtype:
        return pixels
    if not dtype.is_floating_point:
        bounds = torch.iinfo(dtype)
        pixels = pixels.round().clamp(bounds.min, bounds.max)
    return pixels.to(dtype)
