"""Where a layer lies: the canvas pixels that it covers, and the source pixel behind each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import Column
from cutmix_dense.plan.fields import PlanFields
from cutmix_dense.plan.memo import Once


@Once
def pixel_ranges(plan: PlanFields) -> tuple[Int[Tensor, "b s d"], Int[Tensor, "b s d"]]:
    """First canvas pixel, and one past the last, whose pre-image lies in each layer's extent."""
    if plan.device.type != "cpu" or is_compiling():
        absent = (plan.source < 0)[..., None]
        return ranges_of(torch, plan.scale, plan.shift, plan.extent, plan.canvas[:, None], absent)
    source, scale, shift, extent, canvas = plan.facts
    low, high = ranges_of(np, scale, shift, extent, canvas[:, None], (source < 0)[..., None])
    return torch.from_numpy(low), torch.from_numpy(high)


def ranges_of(xp: Any, scale: Any, shift: Any, extent: Any, canvas: Any, absent: Any) -> tuple[Any, Any]:
    """Pixel ranges from the fields of a plan: arrays if ``xp`` is numpy, tensors if it is torch."""
    ndim = scale.shape[2]
    if xp is np:  # numpy would promote to double precision
        extent, canvas = extent.astype(scale.dtype), canvas.astype(scale.dtype)
    a, b = scale * extent[..., :ndim] + shift, scale * extent[..., ndim:] + shift
    limits = canvas if xp is np else canvas.to(a.dtype)
    clip: Any = _clip if xp is np else torch.clip
    low = clip(xp.ceil(xp.minimum(a, b) - 0.5), 0 * limits, limits)
    high = clip(xp.ceil(xp.maximum(a, b) - 0.5), low, limits)
    high = xp.where(absent, low, high)
    return (low.astype(np.int64), high.astype(np.int64)) if xp is np else (low.long(), high.long())


def _clip(values: Any, low: Any, high: Any) -> Any:
    """What ``np.clip`` gives, in fewer calls."""
    return np.minimum(np.maximum(values, low), high)


def source_pixels(plan: PlanFields, axis: int) -> Int[Tensor, "b s length"]:
    """Source pixel of every frame pixel along ``axis``, per layer; clamped into the layer's extent."""
    centre = torch.arange(plan.frame[axis], dtype=torch.float32, device=plan.device) + 0.5
    position = (centre - plan.shift[..., axis, None]) / plan.scale[..., axis, None]
    low = plan.extent[..., axis, None]
    high = plan.extent[..., plan.ndim + axis, None] - 1
    return torch.maximum(torch.minimum(position.floor().long(), high), low).clamp(min=0)


def copies_of(plan: PlanFields, output: int, layer: int, axis: int) -> Int[np.ndarray, " length"]:
    """How many pixels of an unbounded canvas show each source pixel of a layer's extent along ``axis``."""
    _, scales, shifts, extents, _ = plan.facts
    scale, shift = scales[output, layer, axis], shifts[output, layer, axis]
    low, high = extents[output, layer, axis], extents[output, layer, plan.ndim + axis]
    ends = np.array([low, high], dtype=scale.dtype) * scale + shift
    pixel = np.arange(int(np.ceil(ends.min() - np.float32(0.5))), int(np.ceil(ends.max() - np.float32(0.5))))
    index = np.floor((pixel.astype(scale.dtype) + np.float32(0.5) - shift) / scale).astype(np.int64)
    return np.bincount(np.maximum(np.minimum(index, high - 1), low) - low, minlength=int(high - low))


def placement_of(
    plan: PlanFields, output: Int[Column, " n"], layer: Int[Column, " n"], dtype: Any
) -> Float[Column, "6 d n"]:
    """Scale, shift, low and high of the extent, and first and last bound of ``pixel_ranges`` of n layers.

    Args:
        plan: on the device of the columns.
        output: output of each layer: an array on the host, or a tensor. The result has the same type.
        layer: index of each layer within its output.
        dtype: of the result; arrays are always float64.
    """
    slot, ranges = output * plan.layers + layer, pixel_ranges(plan)
    if isinstance(slot, np.ndarray):
        (_, scale, shift, extent, _), ndim = plan.facts, plan.ndim
        parts = (scale, shift, extent[..., :ndim], extent[..., ndim:], *(bound.numpy() for bound in ranges))
        columns = np.empty((6, ndim, len(plan), plan.layers))
        for column, part in zip(columns, parts):
            column[...] = part.transpose(2, 0, 1)
        return columns.reshape(6, ndim, -1).take(slot, axis=2)
    table = torch.cat([plan.scale, plan.shift, plan.extent, *ranges], dim=2).to(dtype)
    return table.flatten(0, 1).T.index_select(1, slot).unflatten(0, (6, plan.ndim))


def inside_of(plan: PlanFields) -> list[Bool[Tensor, "b s length"]]:
    """For each axis, which frame pixels lie in each layer's extent."""
    low, high = pixel_ranges(plan)
    pixels = [torch.arange(size, device=plan.device) for size in plan.frame]
    return [(pixel >= low[..., axis, None]) & (pixel < high[..., axis, None]) for axis, pixel in enumerate(pixels)]


def covers_frame(plan: PlanFields) -> bool:
    """Whether every present layer covers the whole frame; waits for the device."""
    low, high = pixel_ranges(plan)
    covers = ((low == 0) & (high == torch.tensor(plan.frame, device=plan.device))).all(dim=2)
    return bool((covers | (plan.source < 0)).all())


def keeps_padding(plan: PlanFields, size: tuple[int, ...]) -> Bool[Tensor, " b"]:
    """Which outputs of a pool padded to ``size`` keep the padding of their base: those with the base's size."""
    here = plan.device.type == "cpu" and not is_compiling()
    fields: Any = plan.facts if here else plan.small
    source, _, _, extent, canvas = fields
    if tuple(size) != tuple(plan.frame):
        keeps = source[:, 0] < -1  # none
    else:
        keeps = (source[:, 0] >= 0) & (canvas == extent[:, 0, plan.ndim :]).all(1)
    return torch.from_numpy(keeps) if here else keeps
