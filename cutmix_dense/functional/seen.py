"""What of boxes a plan shows: one question, asked in the way that costs least for the plan at hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cutmix_dense.arrays.blocks import filled
from cutmix_dense.arrays.host import Column, as_tensor, module_of
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import cells_of, shows_in

__all__ = ["Seen", "measure_of", "seen_whole"]

_MANY = 2**17
"""Up to so many pairs of a box and a cell, all are looked at on the host; beyond, only the cells that a box meets.

There the arrays outgrow the cache: two to three times slower at twice the number, measured with up to nine patches.
"""

_PIXELS_OF_A_BOX = 400
"""Summing up so many pixels of every layer takes as long as a look at one box does: with more boxes sums are faster."""

_CELLS_AT_ONCE = 2**20
"""So many of those at a time, which take some 100 MB."""


class Seen(NamedTuple):
    """What is owned within intervals: area, whether some part is not, and the outer edges of the lines that show."""

    area: Float[Column, " n"]
    hidden: Bool[Column, " n"]
    low: Float[Column, "d n"]
    high: Float[Column, "d n"]


def measure_of(plan: MixPlan, output: Column, layer: Column, like: Column) -> Callable[[Column], Seen]:
    """What measures boxes, given as intervals (2, D, n) of the canvas, lows then highs, under a plan.

    Args:
        plan: who owns each output pixel.
        output: the output that each box is considered in.
        layer: the layer of that output that each box is part of.
        like: an array or a tensor of the kind and dtype in which boxes will come.
    """
    xp = module_of(like)
    if plan.free_form:
        few = len(output) * _PIXELS_OF_A_BOX < plan.layers * plan.owner.numel()
        return partial(_seen_by_windows if xp is np and few else _seen_by_sums, plan, output=output, layer=layer)
    if xp is np and plan.weight is None and max(plan.owner.shape[1:]) ** plan.ndim * len(output) > _MANY:
        return partial(_seen_by_touched, plan, output=output, layer=layer)
    return partial(_seen_by_cells, xp, *cells_of(plan, output, layer, like.dtype))


def seen_whole(xp: Any, cut: Column) -> Seen:
    """As if nothing covered anything."""
    low, high = cut
    area = (high - low).prod(axis=0)
    return Seen(area, xp.zeros_like(area, dtype=xp.bool_ if xp is np else xp.bool), low, high)


def _seen_by_cells(xp: Any, owned: Column, edges: Column, cut: Column) -> Seen:
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
    return Seen(
        area=(area * shown).reshape(flat).sum(axis=0),
        hidden=(shown != touched).reshape(flat).any(axis=0),
        low=xp.amin(xp.where(shows, low, xp.inf), axis=1),
        high=xp.amax(xp.where(shows, high, -xp.inf), axis=1),
    )


def _seen_by_touched(plan: MixPlan, cut: np.ndarray, *, output: np.ndarray, layer: np.ndarray) -> Seen:
    """The same over the cells that each interval meets: for grids of many cells, of which a box meets few."""
    axes = range(plan.ndim)
    low, high = cut
    owner = plan.owner.numpy()
    edges = [edge.numpy().astype(np.float64) for edge in plan.edges]
    first = np.stack([(edge[:, 1:].T[:, output] <= low[axis]).sum(axis=0) for axis, edge in enumerate(edges)])
    last = np.stack([(edge[:, :-1].T[:, output] < high[axis]).sum(axis=0) for axis, edge in enumerate(edges)])
    counts = np.maximum(last - first, 0)
    total = counts.prod(axis=0)
    seen = Seen(
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


def _seen_by_windows(plan: MixPlan, cut: np.ndarray, *, output: np.ndarray, layer: np.ndarray) -> Seen:
    """The same for one cell per pixel, box by box: only the pixels that it meets are looked at."""
    low, high = cut
    first, last = np.floor(low).astype(np.int64), np.ceil(high).astype(np.int64)
    before, behind = low - first, last - high  # how much of its outer pixels a box leaves out
    inner = (before == 0).all(axis=0) & (behind == 0).all(axis=0)
    some = (low < high).all(axis=0)
    seen = Seen(np.zeros(len(some)), some.copy(), np.full(low.shape, np.inf), np.full(low.shape, -np.inf))
    owner = plan.owner.numpy()
    if plan.weight is not None:  # every pixel is layer 0's then, and those show that have a weight
        layer = np.where(plan.weight.detach().numpy()[output, layer] > 0, 0, -1)
    for box in some.nonzero()[0].tolist():
        window = tuple(map(slice, first[:, box].tolist(), last[:, box].tolist()))
        shown = owner[output[box]][window] == layer[box]
        block = filled(shown)
        if block is None:
            continue
        for axis, part in enumerate(block):
            seen.low[axis, box], seen.high[axis, box] = first[axis, box] + part.start, first[axis, box] + part.stop
        pixels = np.count_nonzero(shown)
        seen.hidden[box] = pixels < shown.size
        seen.area[box] = pixels if inner[box] else _weighed(shown, before[:, box], behind[:, box])
    return seen


def _weighed(shown: Bool[np.ndarray, "*size"], before: Float[np.ndarray, " d"], behind: Float[np.ndarray, " d"]) -> Any:
    """The area of pixels of which the outer ones count in part: less what lies before and behind, per axis."""
    total: Any = shown
    for length, start, stop in zip(reversed(shown.shape), before[::-1], behind[::-1]):
        weight = np.ones(length)
        weight[0] -= start
        weight[-1] -= stop
        total = total @ weight
    return total


def _seen_by_sums(plan: MixPlan, cut: Column, *, output: Column, layer: Column) -> Seen:
    """The same from summed-area tables: no tensor of boxes × pixels, and on a device nothing to wait for."""
    if isinstance(cut, np.ndarray):
        tensors = _seen_by_sums(plan, as_tensor(cut), output=as_tensor(output), layer=as_tensor(layer))
        return Seen(*(tensor.numpy() for tensor in tensors))
    ndim = plan.ndim
    low, high = cut[0].T, cut[1].T
    which = output * plan.layers + layer
    if which.device.type == "cpu":
        slot, which = torch.unique(which, return_inverse=True)
    else:  # how many there are would have to be waited for
        slot = torch.arange(len(plan) * plan.layers, device=which.device)
    sums = shows_in(plan, slot // plan.layers, slot % plan.layers).movedim(-1, 0).to(torch.int32)
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
    area = torch.where(count > 0, area.clamp(min=0), 0)  # what is left of a difference is no area
    return Seen(area, count < pixels, *_outer(torch, lines))


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
