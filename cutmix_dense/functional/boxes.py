"""Boxes under a plan, in closed form: what of each box is visible, and the tight rectangle round it."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense.broadcast import along
from cutmix_dense.plan import MixPlan

__all__ = ["VisibleBoxes", "exact_dtype", "from_xyxy", "to_xyxy", "visible_boxes"]


class VisibleBoxes(NamedTuple):
    """What is visible of boxes.

    Attributes:
        boxes: tight rectangle of the visible part, xyxy on the canvas; zeros where nothing shows.
        mapped: the box within its source's extent as mapped onto the canvas, before anything was cut.
        visible: visible area, square pixels of the canvas.
        whole: area of ``mapped``.
        untouched: every part of it shows, under the identity map.
        finite: False where a coordinate is NaN or infinite.
        broken: the box has no area (zero or inverted sides).
    """

    boxes: Float[Tensor, "n 2*d"]
    mapped: Float[Tensor, "n 2*d"]
    visible: Float[Tensor, " n"]
    whole: Float[Tensor, " n"]
    untouched: Bool[Tensor, " n"]
    finite: Bool[Tensor, " n"]
    broken: Bool[Tensor, " n"]


def visible_boxes(
    boxes: Float[Tensor, "n 2*d"], plan: MixPlan, output: Int[Tensor, " n"], layer: Int[Tensor, " n"]
) -> VisibleBoxes:
    """Visible part of boxes under a plan: exact for any number of overlapping patches, all boxes at once.

    With ``xo``, ``yo`` the overlaps of a box with the grid's columns and rows and ``O = (owner == layer)``, the visible
    area is ``yoᵀ · O · xo`` and the tight rectangle runs over the columns and rows where ``O · xo · yo > 0``.

    Args:
        boxes: xyxy (xyzxyz) in pixels of their source images, on the plan's device.
        plan: who owns each output pixel.
        output: the output that each box is considered in.
        layer: the layer of that output that each box is part of.
    """
    ndim = plan.ndim
    boxes = boxes.to(exact_dtype(boxes.device))
    finite = boxes.isfinite().all(dim=1)
    boxes = torch.where(finite[:, None], boxes, 0)
    low, high = boxes[:, :ndim].flip(1), boxes[:, ndim:].flip(1)  # array order, as everything in a plan
    broken = (high <= low).any(dim=1)

    extent = plan.extent[output, layer].to(boxes.dtype)
    inner_low = torch.maximum(low, extent[:, :ndim])
    inner_high = torch.maximum(torch.minimum(high, extent[:, ndim:]), inner_low)
    scale, shift = plan.scale[output, layer].to(boxes.dtype), plan.shift[output, layer].to(boxes.dtype)
    whole = (inner_high - inner_low).prod(dim=1) * scale.abs().prod(dim=1)

    a, b = scale * inner_low + shift, scale * inner_high + shift
    mapped_low, mapped_high = torch.minimum(a, b), torch.maximum(a, b)
    range_low, range_high = (bound[output, layer].to(boxes.dtype) for bound in plan.pixel_ranges())
    cut_low, cut_high = torch.maximum(mapped_low, range_low), torch.minimum(mapped_high, range_high)

    seen = (_seen_by_sums if plan.free_form else _seen_by_cells)(plan, cut_low, cut_high, output, layer)
    whole_in_range = ((cut_low == mapped_low) & (cut_high == mapped_high)).all(dim=1)
    identity = ((scale == 1) & (shift == 0)).all(dim=1)
    shows = seen.area > 0
    tight = torch.cat([torch.maximum(seen.low, cut_low).flip(1), torch.minimum(seen.high, cut_high).flip(1)], dim=1)
    return VisibleBoxes(
        boxes=torch.where(shows[:, None], tight, 0),
        mapped=torch.cat([mapped_low.flip(1), mapped_high.flip(1)], dim=1),
        visible=seen.area,
        whole=whole,
        untouched=identity & whole_in_range & ~seen.hidden & shows & finite & ~broken,
        finite=finite,
        broken=broken,
    )


class _Seen(NamedTuple):
    """What is owned within intervals: area, whether some part is not, and the outer edges of the lines that show."""

    area: Float[Tensor, " n"]
    hidden: Bool[Tensor, " n"]
    low: Float[Tensor, "n d"]
    high: Float[Tensor, "n d"]


def _seen_by_cells(plan: MixPlan, low: Tensor, high: Tensor, output: Tensor, layer: Tensor) -> _Seen:
    """The closed form, over the cells of the grid."""
    owned = plan.shows(output, layer)
    area, touched = owned.to(low.dtype), torch.ones_like(owned)
    for axis in range(plan.ndim):
        overlap = plan.cell_lengths(low[:, axis], high[:, axis], output, axis)
        overlap = along(overlap, axis, plan.ndim)
        area = area * overlap
        touched = touched & (overlap > 0)
    shown = owned & touched
    lines = []
    for axis in range(plan.ndim):
        others = [1 + other for other in range(plan.ndim) if other != axis]
        lines.append((shown.sum(dim=others) > 0, plan.edges[axis][output].to(low.dtype)))
    return _Seen(area.flatten(1).sum(dim=1), (touched & ~owned).flatten(1).any(dim=1), *_outer(lines))


def _seen_by_sums(plan: MixPlan, low: Tensor, high: Tensor, output: Tensor, layer: Tensor) -> _Seen:
    """The same from summed-area tables, for one cell per pixel: no tensor of boxes × pixels."""
    ndim = plan.ndim
    slot, which = torch.unique(output * plan.layers + layer, return_inverse=True)
    sums = plan.shows(slot // plan.layers, slot % plan.layers).to(torch.int32)
    for axis in range(1, ndim + 1):
        sums = sums.cumsum(dim=axis, dtype=torch.int32)
    sums = torch.nn.functional.pad(sums, (1, 0) * ndim)

    nothing = (high <= low).any(dim=1, keepdim=True)
    low, high = torch.where(nothing, 0, low), torch.where(nothing, 0, high)
    area = torch.zeros_like(low[:, 0])
    first, last = low.floor().long(), high.ceil().long()
    count = torch.zeros_like(which)
    for corner in product((0, 1), repeat=ndim):
        sign = (-1) ** (ndim - sum(corner))
        ends = [(high if end else low)[:, axis] for axis, end in enumerate(corner)]
        area = area + sign * _interpolated(sums, which, ends)
        at = (which, *((last if end else first)[:, axis] for axis, end in enumerate(corner)))
        count = count + sign * sums[at]
    lines = []
    for axis in range(ndim):
        others = [other for other in range(ndim) if other != axis]
        profile = torch.zeros((len(low), sums.shape[axis + 1]), dtype=torch.long, device=low.device)
        for corner in product((0, 1), repeat=ndim - 1):
            at_line: list[Any] = [slice(None)] * ndim
            for other, end in zip(others, corner):
                at_line[other] = (last if end else first)[:, other]
            moved = sums.movedim(axis + 1, -1)
            index = (which, *(at_line[other] for other in others))
            profile = profile + (-1) ** (ndim - 1 - sum(corner)) * moved[index]
        per_line = profile.diff(dim=1)
        position = torch.arange(per_line.shape[1], device=low.device)
        within = (position >= first[:, axis, None]) & (position < last[:, axis, None])
        lines.append(
            ((per_line > 0) & within, torch.arange(sums.shape[axis + 1], device=low.device).to(low.dtype)[None])
        )
    pixels = (last - first).prod(dim=1)
    return _Seen(area.clamp(min=0), count < pixels, *_outer(lines))


def _interpolated(sums: Tensor, which: Tensor, point: list[Tensor]) -> Tensor:
    """A summed-area table between its nodes; exact, since ownership is constant within a pixel."""
    total = torch.zeros_like(point[0])
    for corner in product((0, 1), repeat=len(point)):
        index, weight = [which], torch.ones_like(total)
        for axis, end in enumerate(corner):
            node = point[axis].floor()
            index.append((node.long() + end).clamp(max=sums.shape[axis + 1] - 1))
            weight = weight * (point[axis] - node if end else 1 - (point[axis] - node))
        total = total + weight * sums[tuple(index)]
    return total


def _outer(lines: list[tuple[Tensor, Tensor]]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """Per axis, the first low edge and the last high edge of the lines that show."""
    low = [torch.where(line, edges[:, :-1], torch.inf).amin(dim=1) for line, edges in lines]
    high = [torch.where(line, edges[:, 1:], -torch.inf).amax(dim=1) for line, edges in lines]
    return torch.stack(low, dim=1), torch.stack(high, dim=1)


def to_xyxy(boxes: Tensor, where: str = "boxes") -> Float[Tensor, "n 4"]:
    """Plain xyxy boxes from a plain tensor (taken as xyxy) or a tv_tensor of any axis-aligned format.

    Raises:
        ValueError: rows of another length, or a rotated format.
    """
    if isinstance(boxes, tv_tensors.BoundingBoxes):
        refuse_rotated(boxes, where)
        plain = boxes.as_subclass(Tensor)
        plain = plain if plain.is_floating_point() else plain.double()
        if boxes.format == tv_tensors.BoundingBoxFormat.XYXY or not len(plain):
            return plain.reshape(-1, 4)
        return tvf.convert_bounding_box_format(
            plain, old_format=boxes.format, new_format=tv_tensors.BoundingBoxFormat.XYXY
        )
    if boxes.numel() and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise ValueError(f"{where} must have shape (N, 4), got {tuple(boxes.shape)}")
    return boxes.reshape(-1, 4)


def from_xyxy(boxes: Float[Tensor, "n 4"], like: Tensor, canvas_size: tuple[int, int]) -> Tensor:
    """Xyxy boxes in the format, dtype and class of ``like``; integer boxes are rounded."""
    if not isinstance(like, tv_tensors.BoundingBoxes):
        return _as_dtype(boxes, like.dtype)
    if like.format != tv_tensors.BoundingBoxFormat.XYXY and len(boxes):
        boxes = tvf.convert_bounding_box_format(
            boxes, old_format=tv_tensors.BoundingBoxFormat.XYXY, new_format=like.format
        )
    return tv_tensors.wrap(_as_dtype(boxes, like.dtype), like=like, canvas_size=canvas_size)


def refuse_rotated(boxes: tv_tensors.BoundingBoxes, where: str) -> None:
    """Raise ValueError for rotated boxes, which are no rectangles along the axes."""
    if boxes.format.name not in ("XYXY", "XYWH", "CXCYWH"):
        raise ValueError(f"{where} must be of format XYXY, XYWH or CXCYWH, got the rotated format {boxes.format.name}")


def _as_dtype(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype) if dtype.is_floating_point else values.round().to(dtype)


def exact_dtype(device: torch.device) -> torch.dtype:
    """Double precision where the device has it: equal results on every device, areas without cancellation."""
    return torch.float32 if device.type == "mps" else torch.float64
