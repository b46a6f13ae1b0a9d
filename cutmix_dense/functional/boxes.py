"""Boxes under a plan, in closed form: what of each box is visible, and the tight rectangle round it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense import native
from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.dtypes import exact_dtype
from cutmix_dense.arrays.host import Column, as_column, as_tensor
from cutmix_dense.functional.measured import Measured, base_apart
from cutmix_dense.functional.seen import seen_whole, seen_within
from cutmix_dense.functional.wrapping import as_plain
from cutmix_dense.kernels.native_instances import measure_boxes
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import placement_of
from cutmix_dense.plan.ownership import beneath, opaque


def visible_boxes(
    boxes: Float[Column, "n ends"],
    plan: MixPlan,
    output: Int[Column, " n"],
    layer: Int[Column, " n"],
    *,
    covered: bool = True,
) -> Measured:
    """Visible part of boxes under a plan: exact for any number of overlapping patches, all boxes at once.

    With ``xo``, ``yo`` the overlaps of a box with the grid's columns and rows and ``O = (owner == layer)``, the visible
    area is ``yoᵀ · O · xo`` and the tight rectangle runs over the columns and rows where ``O · xo · yo > 0``.

    Args:
        boxes: xyxy (xyzxyz) in pixels of their source images, where the plan lies; on the host a tensor or an array,
            and so is the result.
        plan: who owns each output pixel.
        output: the output that each box is considered in.
        layer: the layer of that output that each box is part of.
        covered: whether to find out what is covered; else only the canvas cuts, for those who measure masks.
    """
    if plan.opacity is not None:
        own, base = (visible_boxes(boxes, one, output, layer, covered=covered) for one in (opaque(plan), beneath(plan)))
        return base_apart(own, base, layer)
    if isinstance(boxes, Tensor) and (boxes.device.type != "cpu" or is_compiling()):
        return _visible(boxes, plan, output, layer, covered)
    if isinstance(boxes, Tensor):
        given = (as_column(column, boxes.device) for column in (boxes, output, layer))
        seen = visible_boxes(next(given), plan, *given, covered=covered)
        return Measured(*(as_tensor(column) for column in seen))
    if native.library is not None:
        return Measured(*measure_boxes(boxes, plan, output, layer, covered))
    with torch.no_grad():
        tensors = _visible(torch.from_numpy(np.array(boxes)), plan, as_tensor(output), as_tensor(layer), covered)
    return Measured(*map(np.asarray, tensors))


def _visible(
    boxes: Float[Tensor, "n ends"], plan: MixPlan, output: Int[Tensor, " n"], layer: Int[Tensor, " n"], covered: bool
) -> Measured:
    """``visible_boxes`` in torch, one column per box."""
    columns, ndim = boxes.to(exact_dtype(boxes.device)).T, plan.ndim
    finite = columns.isfinite().all(dim=0)
    given = torch.where(finite, columns, 0.0).reshape(2, ndim, -1).flip(1)  # array order, as all in a plan
    broken = (given[1] <= given[0]).any(dim=0)
    given = torch.where(given[1] < given[0], given[0], given)

    scale, shift, first, last, range_low, range_high = placement_of(plan, output, layer, columns.dtype)
    inner = torch.minimum(torch.maximum(given, first), last)
    mapped = scale * inner + shift
    mapped = torch.stack([torch.minimum(mapped[0], mapped[1]), torch.maximum(mapped[0], mapped[1])])
    whole = (mapped[1] - mapped[0]).prod(dim=0)
    cut = torch.minimum(torch.maximum(mapped, range_low), range_high)

    seen = seen_within(plan, cut, output, layer) if covered else seen_whole(cut)
    unmoved = ((scale == 1) & (shift == 0) & (cut == mapped)).reshape(2 * ndim, -1).all(dim=0)
    shows = seen.area > 0
    tight = torch.stack([torch.maximum(seen.low, cut[0]), torch.minimum(seen.high, cut[1])])
    return Measured(
        visible=seen.area,
        whole=whole,
        boxes=torch.where(shows, tight, 0.0).flip(1).reshape(2 * ndim, -1).T,
        mapped=mapped.flip(1).reshape(2 * ndim, -1).T,
        untouched=unmoved & ~seen.hidden & shows & finite & ~broken,
        broken=broken,
        outside=(whole == 0) & ~broken,
        finite=finite,
    )


def to_xyxy(boxes: Tensor, where: str = "boxes", ndim: int = 2) -> Shaped[Tensor, "n ends"]:
    """Plain xyxy boxes from a plain tensor (taken as xyxy, xyzxyz) or a tv_tensor of any axis-aligned format.

    Raises:
        TypeError: no tensor, or one of bools.
        ValueError: rows of another length, a rotated format, or tv_tensors where boxes have three axes.
    """
    if type(boxes) is Tensor and boxes.ndim == 2 and boxes.shape[1] == 2 * ndim and boxes.dtype != torch.bool:
        return boxes  # as nearly always
    if not isinstance(boxes, Tensor) or boxes.dtype == torch.bool:
        kind = boxes.dtype if isinstance(boxes, Tensor) else type(boxes).__name__
        raise TypeError(f"{where} must be a tensor of numbers, got {kind}")
    if isinstance(boxes, tv_tensors.BoundingBoxes):
        if ndim != 2:
            raise ValueError(f"{where} must be a plain tensor (N, {2 * ndim}) of volumes, got tv_tensors.BoundingBoxes")
        refuse_rotated(boxes, where)
        plain = as_plain(boxes)
        plain = plain if plain.is_floating_point() else plain.double()
        if boxes.format == tv_tensors.BoundingBoxFormat.XYXY or not len(plain):
            return plain.reshape(-1, 4)
        form = tv_tensors.BoundingBoxFormat.XYXY
        corners: Tensor = tvf.convert_bounding_box_format(plain, old_format=boxes.format, new_format=form)
        return corners
    if boxes.numel() and (boxes.ndim != 2 or boxes.shape[1] != 2 * ndim):
        raise ValueError(f"{where} must have shape (N, {2 * ndim}), got {tuple(boxes.shape)}")
    return boxes.reshape(-1, 2 * ndim)


def from_xyxy(boxes: Float[Tensor, "n ends"], like: Tensor) -> Tensor:
    """Xyxy boxes in the format and dtype of ``like``, as a plain tensor; integer boxes are rounded."""
    if isinstance(like, tv_tensors.BoundingBoxes) and like.format != tv_tensors.BoundingBoxFormat.XYXY and len(boxes):
        boxes = tvf.convert_bounding_box_format(
            boxes, old_format=tv_tensors.BoundingBoxFormat.XYXY, new_format=like.format
        )
    return boxes.to(like.dtype) if like.dtype.is_floating_point else boxes.round().to(like.dtype)


def refuse_rotated(boxes: tv_tensors.BoundingBoxes, where: str) -> None:
    """Raise ValueError for rotated boxes, which are no rectangles along the axes."""
    if boxes.format.name not in ("XYXY", "XYWH", "CXCYWH"):
        raise ValueError(f"{where} must be of format XYXY, XYWH or CXCYWH, got the rotated format {boxes.format.name}")
