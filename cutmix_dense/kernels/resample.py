"""Scaled layers under a filter: one layer of one output at a time, only where it shows."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from cutmix_dense.arrays.dtypes import as_signed, counted_in, limits_of
from cutmix_dense.arrays.host import in_numpy

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
        image: (…, *size), any dtype; integers are filtered as ``counted_in`` says and rounded, halves to even (uint8 on
            the host in torch's fixed point, as torchvision's resize: within one level of that).
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
    real = counted_in(dtype)
    coarse = real == torch.float64 and not dtype.is_floating_point and interpolation == "bilinear"  # torch's is to 2⁻²⁰
    if interpolation != "nearest" and not coarse and _resizes(image, scale, shift, extent):
        return _resized(image, scale, shift, extent[1], window, interpolation)
    if interpolation == "nearest":
        picked = as_signed(image)
        for axis, (start, stop, s, t, low, high) in enumerate(zip(*window, scale, shift, *extent)):
            position = (torch.arange(start, stop, dtype=torch.float32, device=image.device) + 0.5 - t) / s
            picked = picked.index_select(axis - len(scale), position.floor().long().clamp(low, high - 1))
        return picked if picked.dtype == dtype else picked.view(dtype)  # a view of the same dtype has no gradient
    positions = [
        (torch.arange(start, stop, dtype=real, device=image.device) + 0.5 - t) / s
        for start, stop, s, t in zip(*window, scale, shift)
    ]
    pixels = image.to(real)
    for axis, (position, low, high) in enumerate(zip(positions, *extent)):
        dim = axis - len(scale)
        reach = max(1.0, 1 / abs(scale[axis])) if interpolation == "antialias" else 1.0
        first = torch.ceil(position - reach - 0.5).long()
        taps = first[:, None] + torch.arange(math.ceil(2 * reach) + 1, device=image.device)
        weight = triangle_weights(taps, position, reach, (low, high))
        taps = taps.clamp(low, high - 1)
        shape = [-1] + [1] * (-dim - 1)
        total = pixels.index_select(dim, taps[:, 0]) * weight[:, 0].reshape(shape)
        for tap in range(1, taps.shape[1]):
            total = total + pixels.index_select(dim, taps[:, tap]) * weight[:, tap].reshape(shape)
        pixels = total
    return in_dtype(pixels, dtype)


def _resizes(image: Tensor, scale: list[float], shift: list[float], extent: tuple[list[int], list[int]]) -> bool:
    """Whether the map is what torch's own resize does: an image from its origin, not mirrored, to a whole pixel.

    Not if an axis has one pixel, or comes to have one: torch takes these for another memory format. Nor if a shrunk
    axis keeps its length: torch leaves it as it is then.
    """
    if len(scale) != 2 or image.ndim < 2 or any(extent[0]) or not image.numel():
        return False
    placed = all(s > 0 and t == round(t) for s, t in zip(scale, shift))
    lengths = [(n, math.ceil(n * s - 0.5), s) for n, s in zip(extent[1], scale)]
    return placed and all(min(n, scaled) > 1 and (n != scaled or s >= 1) for n, scaled, s in lengths)


def _resized(
    image: Tensor,
    scale: list[float],
    shift: list[float],
    size: list[int],
    window: tuple[list[int], list[int]],
    interpolation: Interpolation,
) -> Tensor:
    """A window of the image resized by torch: columns first, as torch does it, of the rows that show.

    Torch counts from the image's origin, so what lies before the window is resized with it along the axis; what lies
    behind is left out.
    """
    low, high = ([int(at - t) for at, t in zip(end, shift)] for end in window)
    stop = [max(2, at) for at in high]  # at least two pixels: see ``_resizes``
    start = [min(at, end - 2) for at, end in zip(low, stop)]
    reach = [max(1.0, 1 / s) if interpolation == "antialias" else 1.0 for s in scale]
    rows, columns = (
        slice(max(0, math.floor((a + 0.5) / s - r)), min(n, math.ceil((b - 0.5) / s + r) + 1))
        for a, b, n, s, r in zip(start, stop, size, scale, reach)
    )
    dtype, lead = image.dtype, image.shape[:-2]
    native = (dtype == torch.uint8 and not image.is_cuda) or dtype in (torch.float32, torch.float64)
    pixels = image if native else image.to(counted_in(dtype))
    pixels = pixels[None] if image.ndim == 3 else pixels.reshape(1, -1, *image.shape[-2:])
    pixels = pixels[..., rows, : columns.stop]
    if native and dtype == torch.uint8 and 1 < pixels.shape[1] <= 4:
        # torch resizes bytes several times faster where the channels of a pixel lie side by side, if all strides say so
        image = pixels[0]
        beside = image.permute(1, 2, 0) if image.stride(0) == 1 else torch.stack(image.unbind(), dim=-1)
        pixels = beside[None].permute(0, 3, 1, 2)
    lines = _resize_axis(pixels, 3, scale[1], stop[1], interpolation)
    if rows.start or start[1]:
        lines = torch.nn.functional.pad(lines[..., start[1] :], (0, 0, rows.start, 0))  # by lines that count nothing
    part = _resize_axis(lines, 2, scale[0], stop[0], interpolation)[0, :, low[0] : high[0]]
    part = part[..., low[1] - start[1] : high[1] - start[1]]
    return in_dtype(part.reshape(*lead, *part.shape[-2:]), dtype)


def _resize_axis(
    pixels: Shaped[Tensor, "1 c h w"], axis: int, scale: float, length: int, interpolation: Interpolation
) -> Shaped[Tensor, "1 c _h _w"]:
    """The first ``length`` rows (axis 2) or columns (axis 3) of a resized image."""
    if scale != 1:
        resize = (
            torch.ops.aten._upsample_bilinear2d_aa
            if interpolation == "antialias"
            else torch.ops.aten.upsample_bilinear2d
        )
        target, scales = list(pixels.shape[2:]), [1.0, 1.0]
        target[axis - 2], scales[axis - 2] = length + (pixels.shape[axis] == length), scale  # else torch leaves it
        pixels = resize(pixels, target, False, *scales)
    return pixels.narrow(axis, 0, length)


def triangle_weights(taps: Tensor, position: Tensor, reach: float | Tensor, valid: tuple[Any, Any]) -> Tensor:
    """What each source pixel counts for each line of a canvas, (…, lines, taps); a line's sum to 1, or are all 0.

    Args:
        taps: source pixels, (lines, taps) or the same for all lines, (taps,).
        position: where a line lies in the source, pixels, (…, lines).
        reach: half the width of the triangle, pixels.
        valid: from which tap on, and up to which, taps count.
    """
    distance = (taps.to(position.dtype) + 0.5 - position[..., None]).abs()
    weight: Tensor = (1 - distance / reach).clamp(min=0) * ((taps >= valid[0]) & (taps < valid[1]))
    total = weight.sum(dim=-1, keepdim=True)
    return weight / torch.where(total > 0, total, 1)


def in_dtype(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Weighed pixels in the dtype of the images: integers are rounded, halves to even, and clipped."""
    if pixels.dtype == dtype:
        return pixels
    if dtype.is_floating_point:
        return pixels.to(dtype)
    whole = torch.empty_like(pixels, dtype=dtype)
    round_into(whole, pixels.clamp(*limits_of(dtype)))
    return whole


def round_into(target: Shaped[Tensor, "..."], values: Float[Tensor, "..."]) -> None:
    """Write values rounded into a tensor of whole numbers that holds them; ``values`` may be overwritten.

    Of 64 bits the last numbers have no float64: they are clamped to the last one that has.
    """
    if target.element_size() == 8:
        values = values.clamp(*limits_of(target.dtype))
    if in_numpy(target, values):
        np.copyto(target.numpy(), values.round_().numpy(), casting="unsafe")
    else:
        target.copy_(values.round_())
