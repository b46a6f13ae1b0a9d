"""Boxes under a plan, in closed form: what of each box is visible, and the tight rectangle round it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense.host import Column, as_column, as_tensor, module_of
from cutmix_dense.plan import MixPlan, Patch

__all__ = ["VisibleBoxes", "exact_dtype", "from_xyxy", "to_xyxy", "visible_boxes"]


_MANY = 2**17
"""Up to so many pairs of a box and a cell, all are looked at on the host; beyond, only the cells that a box meets.

There the arrays outgrow the cache: two to three times slower at twice the number, measured with up to nine patches.
"""

_CELLS_AT_ONCE = 2**20
"""So many of those at a time, which take some 100 MB."""


class VisibleBoxes(NamedTuple):
    """What is visible of boxes: tensors, or arrays for those who gave arrays.

    Attributes:
        boxes: tight rectangle of the visible part, xyxy on the canvas; zeros where nothing shows.
        mapped: the box within its source's extent as mapped onto the canvas, before anything was cut.
        visible: visible area, square pixels of the canvas.
        whole: area of ``mapped``.
        untouched: every part of it shows, under the identity map.
        finite: False where a coordinate is NaN or infinite.
        broken: the box has no area (zero or inverted sides).
    """

    boxes: Float[Column, "n 2*d"]
    mapped: Float[Column, "n 2*d"]
    visible: Float[Column, " n"]
    whole: Float[Column, " n"]
    untouched: Bool[Column, " n"]
    finite: Bool[Column, " n"]
    broken: Bool[Column, " n"]


def visible_boxes(
    boxes: Float[Column, "n 2*d"],
    plan: MixPlan,
    output: Int[Column, " n"],
    layer: Int[Column, " n"],
    *,
    covered: bool = True,
) -> VisibleBoxes:
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
    if isinstance(boxes, Tensor) and boxes.device.type == "cpu":
        given = (as_column(column, boxes.device) for column in (boxes, output, layer))
        seen = visible_boxes(next(given), plan, *given, covered=covered)
        return VisibleBoxes(*(as_tensor(column) for column in seen))
    xp = module_of(boxes)
    columns: Column
    columns = np.ascontiguousarray(boxes.T, dtype=np.float64) if xp is np else boxes.to(exact_dtype(boxes.device)).T
    seen_within: Callable[[Column], _Seen]
    if not covered:
        seen_within = partial(_seen_whole, xp)
    elif plan.free_form:
        seen_within = partial(_seen_by_sums, plan, output=as_tensor(output), layer=as_tensor(layer))
    elif xp is np and plan.patch is not None:
        seen_within = partial(_seen_round_patch, plan.patch, output=output, layer=layer)
    elif xp is np and plan.weight is None and plan.most_cells * len(output) > _MANY:
        seen_within = partial(_seen_by_touched, plan, output=output, layer=layer)
    else:
        seen_within = partial(_seen_by_cells, xp, *plan.cells_of(output, layer, columns.dtype))
    return _visible(xp, columns, plan.placement(output, layer, columns.dtype), seen_within)


def _visible(xp: Any, boxes: Column, placement: Column, seen_within: Callable[[Column], _Seen]) -> VisibleBoxes:
    """The same in arrays of ``xp``, numpy or torch, one column per box: (2·D, n) ``boxes``, (6, D, n) ``placement``.

    ``seen_within`` measures intervals (2, D, n) of the canvas: lows, then highs.
    """
    ndim = len(boxes) // 2
    finite = xp.isfinite(boxes).all(axis=0)
    if xp is torch or not finite.all():
        boxes = xp.where(finite, boxes, 0.0)
    given = _flipped(boxes.reshape(2, ndim, -1), 1)  # array order, as all in a plan
    broken = (given[1] <= given[0]).any(axis=0)
    if xp is torch or broken.any():
        given = xp.where(given[1] < given[0], given[0], given)

    scale, shift, first, last, range_low, range_high = placement
    inner = xp.minimum(xp.maximum(given, first), last)
    mapped = scale * inner + shift
    if xp is torch or (scale < 0).any():
        mapped = xp.stack([xp.minimum(mapped[0], mapped[1]), xp.maximum(mapped[0], mapped[1])])
    whole = (mapped[1] - mapped[0]).prod(axis=0)
    cut = xp.minimum(xp.maximum(mapped, range_low), range_high)

    seen = seen_within(cut)
    unmoved = ((scale == 1) & (shift == 0) & (cut == mapped)).reshape(2 * ndim, -1).all(axis=0)
    shows = seen.area > 0
    tight = xp.stack([xp.maximum(seen.low, cut[0]), xp.minimum(seen.high, cut[1])])
    return VisibleBoxes(
        boxes=_flipped(xp.where(shows, tight, 0.0), 1).reshape(2 * ndim, -1).T,
        mapped=_flipped(mapped, 1).reshape(2 * ndim, -1).T,
        visible=seen.area,
        whole=whole,
        untouched=unmoved & ~seen.hidden & shows & finite & ~broken,
        finite=finite,
        broken=broken,
    )


def _flipped(column: Column, axis: int = 0) -> Column:
    """In the other order along an axis."""
    return column.flip(axis) if isinstance(column, Tensor) else column[(slice(None),) * axis + (slice(None, None, -1),)]


class _Seen(NamedTuple):
    """What is owned within intervals: area, whether some part is not, and the outer edges of the lines that show."""

    area: Float[Column, " n"]
    hidden: Bool[Column, " n"]
    low: Float[Column, "d n"]
    high: Float[Column, "d n"]


def _seen_whole(xp: Any, cut: Column) -> _Seen:
    """As if nothing covered anything."""
    low, high = cut
    area = (high - low).prod(axis=0)
    return _Seen(area, xp.zeros_like(area, dtype=xp.bool_ if xp is np else xp.bool), low, high)


def _seen_round_patch(patch: Patch, cut: np.ndarray, *, output: np.ndarray, layer: np.ndarray) -> _Seen:
    """The same for one rectangle per output: layer 1 shows within it, the base round it."""
    low, high = cut
    inner_low = np.maximum(low, patch.low.take(output, axis=1))
    inner_high = np.minimum(high, patch.high.take(output, axis=1))
    lengths, inner = high - low, np.maximum(inner_high - inner_low, 0)
    before, behind = inner_low - low, high - inner_high  # what is left on either side
    sides = before + behind
    pasted, meets, spanned = layer > 0, (inner > 0).all(axis=0), sides == 0
    # a sum of what is left, since a difference of areas would lose slivers
    left, shared, whole = sides[0], inner[0], lengths[0]
    for axis in range(1, len(low)):
        left = left * lengths[axis] + shared * sides[axis]
        shared, whole = shared * inner[axis], whole * lengths[axis]
    round_low, round_high = low.copy(), high.copy()
    for axis in range(len(low)):
        across = meets
        for other in range(len(low)):
            across = across if other == axis else across & spanned[other]
        np.copyto(round_low[axis], inner_high[axis], where=across & (before[axis] == 0))
        np.copyto(round_high[axis], inner_low[axis], where=across & (behind[axis] == 0))
    return _Seen(
        area=np.where(pasted, shared, np.where(meets, left, whole)),
        hidden=np.where(pasted, ~spanned.all(axis=0), meets),
        low=np.where(pasted, inner_low, round_low),
        high=np.where(pasted, inner_high, round_high),
    )


def _seen_by_cells(xp: Any, owned: Column, edges: Column, cut: Column) -> _Seen:
    """The closed form, over the cells of the grid: owned (G, …, G, n) by the box's layer, edges (D, G+1, n)."""
    axes = range(len(edges))
    low, high = edges[:, :-1], edges[:, 1:]
    lengths = xp.minimum(cut[1][:, None], high) - xp.maximum(cut[0][:, None], low)
    meets = lengths > 0
    area: Column = 1.0
    touched: Column = True
    for axis in axes:
        shape = [lengths.shape[1] if other == axis else 1 for other in axes]
        area, touched = area * lengths[axis].reshape(*shape, -1), touched & meets[axis].reshape(*shape, -1)
    shown = owned & touched
    lines = []
    for axis in axes:
        line = shown
        for other in reversed(axes):
            line = line if other == axis else line.any(axis=other)
        lines.append(line)
    shows = xp.stack(lines)
    flat = (lengths.shape[1] ** len(edges), -1)
    return _Seen(
        area=(area * shown).reshape(flat).sum(axis=0),
        hidden=(shown != touched).reshape(flat).any(axis=0),
        low=xp.amin(xp.where(shows, low, xp.inf), axis=1),
        high=xp.amax(xp.where(shows, high, -xp.inf), axis=1),
    )


def _seen_by_touched(plan: MixPlan, cut: np.ndarray, *, output: np.ndarray, layer: np.ndarray) -> _Seen:
    """The same over the cells that each interval meets: for grids of many cells, of which a box meets few."""
    axes = range(plan.ndim)
    low, high = cut
    owner = plan.owner.numpy()
    edges = [edge.numpy().astype(np.float64) for edge in plan.edges]
    first = np.stack([(edge[:, 1:].T[:, output] <= low[axis]).sum(axis=0) for axis, edge in enumerate(edges)])
    last = np.stack([(edge[:, :-1].T[:, output] < high[axis]).sum(axis=0) for axis, edge in enumerate(edges)])
    counts = np.maximum(last - first, 0)
    total = counts.prod(axis=0)
    seen = _Seen(
        np.zeros(len(output)), np.zeros(len(output), bool), np.full(low.shape, np.inf), np.full(low.shape, -np.inf)
    )
    some = np.flatnonzero(total)
    share = total[some].cumsum() // _CELLS_AT_ONCE
    for boxes in np.split(some, np.flatnonzero(np.diff(share)) + 1):
        if not len(boxes):
            continue
        begin = total[boxes].cumsum() - total[boxes]
        box = boxes.repeat(total[boxes])
        rest = np.arange(len(box)) - begin.repeat(total[boxes])
        area, touched = np.ones(len(box)), np.ones(len(box), bool)
        cells: list[np.ndarray] = []
        starts: list[np.ndarray] = []
        stops: list[np.ndarray] = []
        for axis in reversed(axes):
            rest, step = np.divmod(rest, counts[axis, box])
            cells.insert(0, first[axis, box] + step)
            starts.insert(0, edges[axis][output[box], cells[0]])
            stops.insert(0, edges[axis][output[box], cells[0] + 1])
            length = np.minimum(high[axis, box], stops[0]) - np.maximum(low[axis, box], starts[0])
            area, touched = area * length, touched & (length > 0)
        at: Any = (output[box], *cells)
        shown = touched & (owner[at] == layer[box])
        seen.area[boxes] = np.add.reduceat(area * shown, begin)
        seen.hidden[boxes] = np.logical_or.reduceat(touched & ~shown, begin)
        for axis in axes:
            seen.low[axis, boxes] = np.minimum.reduceat(np.where(shown, starts[axis], np.inf), begin)
            seen.high[axis, boxes] = np.maximum.reduceat(np.where(shown, stops[axis], -np.inf), begin)
    return seen


def _seen_by_sums(plan: MixPlan, cut: Column, *, output: Tensor, layer: Tensor) -> _Seen:
    """The same from summed-area tables, for one cell per pixel: no tensor of boxes × pixels."""
    if isinstance(cut, np.ndarray):
        tensors = _seen_by_sums(plan, torch.from_numpy(cut), output=output, layer=layer)
        return _Seen(*(tensor.numpy() for tensor in tensors))
    ndim = plan.ndim
    low, high = cut[0].T, cut[1].T
    which = output * plan.layers + layer
    if which.device.type == "cpu":
        slot, which = torch.unique(which, return_inverse=True)
    else:  # how many there are would have to be waited for
        slot = torch.arange(len(plan) * plan.layers, device=which.device)
    sums = plan.shows(slot // plan.layers, slot % plan.layers).movedim(-1, 0).to(torch.int32)
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
        edges = torch.arange(sums.shape[axis + 1], device=low.device).to(low.dtype)
        lines.append((((per_line > 0) & within).T, edges[:, None]))
    pixels = (last - first).prod(dim=1)
    return _Seen(area.clamp(min=0), count < pixels, *_outer(torch, lines))


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


def _outer(xp: Any, lines: list[tuple[Column, Column]]) -> tuple[Float[Column, "d n"], Float[Column, "d n"]]:
    """Per axis, the first low edge and the last high edge of the lines that show."""
    low = [xp.amin(xp.where(line, edges[:-1], xp.inf), axis=0) for line, edges in lines]
    high = [xp.amax(xp.where(line, edges[1:], -xp.inf), axis=0) for line, edges in lines]
    return xp.stack(low), xp.stack(high)


def to_xyxy(boxes: Tensor, where: str = "boxes", ndim: int = 2) -> Float[Tensor, "n 2*d"]:
    """Plain xyxy boxes from a plain tensor (taken as xyxy, xyzxyz) or a tv_tensor of any axis-aligned format.

    Raises:
        TypeError: no tensor, or one of bools.
        ValueError: rows of another length, a rotated format, or tv_tensors where boxes have three axes.
    """
    if not isinstance(boxes, Tensor) or boxes.dtype == torch.bool:
        kind = boxes.dtype if isinstance(boxes, Tensor) else type(boxes).__name__
        raise TypeError(f"{where} must be a tensor of numbers, got {kind}")
    if isinstance(boxes, tv_tensors.BoundingBoxes):
        if ndim != 2:
            raise ValueError(f"{where} must be a plain tensor (N, {2 * ndim}) of volumes, got tv_tensors.BoundingBoxes")
        refuse_rotated(boxes, where)
        plain = boxes.as_subclass(Tensor)
        plain = plain if plain.is_floating_point() else plain.double()
        if boxes.format == tv_tensors.BoundingBoxFormat.XYXY or not len(plain):
            return plain.reshape(-1, 4)
        return tvf.convert_bounding_box_format(
            plain, old_format=boxes.format, new_format=tv_tensors.BoundingBoxFormat.XYXY
        )
    if boxes.numel() and (boxes.ndim != 2 or boxes.shape[1] != 2 * ndim):
        raise ValueError(f"{where} must have shape (N, {2 * ndim}), got {tuple(boxes.shape)}")
    return boxes.reshape(-1, 2 * ndim)


def from_xyxy(boxes: Float[Tensor, "n 2*d"], like: Tensor) -> Tensor:
    """Xyxy boxes in the format and dtype of ``like``, as a plain tensor; integer boxes are rounded."""
    if isinstance(like, tv_tensors.BoundingBoxes) and like.format != tv_tensors.BoundingBoxFormat.XYXY and len(boxes):
        boxes = tvf.convert_bounding_box_format(
            boxes, old_format=tv_tensors.BoundingBoxFormat.XYXY, new_format=like.format
        )
    return boxes.to(like.dtype) if like.is_floating_point() else boxes.round().to(like.dtype)


def refuse_rotated(boxes: tv_tensors.BoundingBoxes, where: str) -> None:
    """Raise ValueError for rotated boxes, which are no rectangles along the axes."""
    if boxes.format.name not in ("XYXY", "XYWH", "CXCYWH"):
        raise ValueError(f"{where} must be of format XYXY, XYWH or CXCYWH, got the rotated format {boxes.format.name}")


def exact_dtype(device: torch.device) -> torch.dtype:
    """Double precision where the device has it: equal results on every device, areas without cancellation."""
    return torch.float32 if device.type == "mps" else torch.float64
