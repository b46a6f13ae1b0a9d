"""Boxes under a plan, in closed form: what of each box is visible, and the tight rectangle round it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense.plan import MixPlan

__all__ = ["VisibleBoxes", "from_xyxy", "to_xyxy", "visible_boxes"]


class VisibleBoxes(NamedTuple):
    """What is visible of boxes.

    Attributes:
        boxes: tight rectangle of the visible part, xyxy on the canvas; zeros where nothing shows.
        visible: visible area, square pixels of the canvas.
        whole: area of the box within its source's extent as mapped onto the canvas, before anything was cut.
        untouched: every part of it shows, under the identity map.
        finite: False where a coordinate is NaN or infinite.
        broken: the box has no area (zero or inverted sides).
    """

    boxes: Float[Tensor, "n 2*d"]
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
    boxes = boxes.to(_exact(boxes.device))
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

    owned = plan.shows(output, layer)
    overlaps = [plan.cell_lengths(cut_low[:, axis], cut_high[:, axis], output, axis) for axis in range(ndim)]
    area, touched = owned.to(boxes.dtype), torch.ones_like(owned)
    for axis, overlap in enumerate(overlaps):
        along = overlap.reshape(len(boxes), *(1,) * axis, overlap.shape[1], *(1,) * (ndim - 1 - axis))
        area = area * along
        touched = touched & (along > 0)
    shown = owned & touched
    visible = area.flatten(1).sum(dim=1)
    hidden = (touched & ~owned).flatten(1).any(dim=1)
    whole_in_range = ((cut_low == mapped_low) & (cut_high == mapped_high)).all(dim=1)
    identity = ((scale == 1) & (shift == 0)).all(dim=1)

    tight = []
    for axis in range(ndim):
        others = [1 + other for other in range(ndim) if other != axis]
        line = shown.sum(dim=others) > 0
        edges = plan.edges[axis][output].to(boxes.dtype)
        first = torch.where(line, edges[:, :-1], torch.inf).amin(dim=1)
        last = torch.where(line, edges[:, 1:], -torch.inf).amax(dim=1)
        tight.append((torch.maximum(first, cut_low[:, axis]), torch.minimum(last, cut_high[:, axis])))
    shows = visible > 0
    lows = torch.stack([t[0] for t in tight], dim=1).flip(1)
    highs = torch.stack([t[1] for t in tight], dim=1).flip(1)
    return VisibleBoxes(
        boxes=torch.where(shows[:, None], torch.cat([lows, highs], dim=1), 0),
        visible=visible,
        whole=whole,
        untouched=identity & whole_in_range & ~hidden & shows & finite & ~broken,
        finite=finite,
        broken=broken,
    )


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


def _exact(device: torch.device) -> torch.dtype:
    """Double precision where the device has it: equal results on every device, areas without cancellation."""
    return torch.float32 if device.type == "mps" else torch.float64
