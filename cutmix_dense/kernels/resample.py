"""Scaled layers under a filter: one layer of one output at a time, only where it shows."""

from __future__ import annotations

import math
from typing import Any, Literal

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
        image: (…, *size), any dtype; integer images are filtered in float32 and rounded (uint8 on the host in torch's
            fixed point, as torchvision's resize: within one level of that).
        scale: per axis, ``canvas = scale * source + shift``.
        shift: per axis, pixels.
        extent: valid part of the image, lows and highs; pixels outside have no weight.
        window: lows and highs on the canvas.
        interpolation: see ``Interpolation``.

    Returns:
        (…, *window size) in the image's dtype; a view of it where nothing is scaled.
    """
    dtype = image.dtype
    unscaled = all(s == 1 and t == round(t) for s, t in zip(scale, shift))
    if unscaled:
        block: Any = (..., *(slice(int(a - t), int(b - t)) for a, b, t in zip(*window, shift)))
        return image[block]
    filtered = interpolation != "nearest"
    if filtered and _resizes(image, scale, shift, extent):
        return _resized(image, scale, shift, extent[1], window, interpolation)
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
    return _as_dtype(pixels, dtype)


def _resizes(image: Tensor, scale: list[float], shift: list[float], extent: tuple[list[int], list[int]]) -> bool:
    """Whether the map is what torch's own resize does: an image from its origin, not mirrored, to a whole pixel."""
    whole = all(s > 0 and t == round(t) for s, t in zip(scale, shift))
    return whole and len(scale) == 2 and image.ndim >= 2 and not any(extent[0]) and image.numel() > 0


def _resized(
    image: Tensor,
    scale: list[float],
    shift: list[float],
    size: list[int],
    window: tuple[list[int], list[int]],
    interpolation: Interpolation,
) -> Tensor:
    """The whole image resized by torch, and the window of it."""
    dtype = image.dtype
    target = [max(1, math.ceil(n * s - 0.5)) for n, s in zip(size, scale)]
    # torch takes bytes of one row or column for another memory format, and gives other pixels or an internal error.
    bytewise = dtype == torch.uint8 and not image.is_cuda and min(*size, *target) > 1
    native = bytewise or dtype in (torch.float32, torch.float64)
    pixels = (image if native else image.float())[..., : size[0], : size[1]]
    pixels = pixels.reshape(1, -1, *size) if image.ndim != 3 else pixels[None]
    resize = (
        torch.ops.aten._upsample_bilinear2d_aa if interpolation == "antialias" else torch.ops.aten.upsample_bilinear2d
    )
    resized = resize(pixels, target, False, *scale)
    low, high = ([int(at - t) for at, t in zip(end, shift)] for end in window)
    part = resized[0, :, low[0] : high[0], low[1] : high[1]]
    return _as_dtype(part.reshape(*image.shape[:-2], *part.shape[-2:]), dtype)


def _as_dtype(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    if pixels.dtype == dtype:
        return pixels
    if not dtype.is_floating_point:
        bounds = torch.iinfo(dtype)
        pixels = pixels.round().clamp(bounds.min, bounds.max)
    return pixels.to(dtype)
