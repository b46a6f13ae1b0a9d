"""What of boxes a plan shows: the definition, in torch.

The compiled library (``instances.c``) does the same on the host, where it is there.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import cells_of, shows_in

_PAIRS = 2**20
"""So many pairs of a box and a cell are looked at together on the host, which takes some 100 MB."""


class Seen(NamedTuple):
    """What is owned within intervals: area, whether some part is not, and the outer edges of the lines that show."""

    area: Float[Tensor, " n"]
    hidden: Bool[Tensor, " n"]
    low: Float[Tensor, "d n"]
    high: Float[Tensor, "d n"]


def seen_within(
    plan: MixPlan, cut: Float[Tensor, "2 d n"], output: Int[Tensor, " n"], layer: Int[Tensor, " n"]
) -> Seen:
    """What a plan shows of boxes, given as intervals of the canvas, lows then highs.

    Args:
        plan: who owns each output pixel.
        cut: the intervals.
        output: the output that each box is considered in.
        layer: the layer of that output that each box is part of.
    """
    if plan.free_form:
        return _seen_by_sums(plan, cut, output, layer)
    most = max(1, _PAIRS // max(plan.owner.shape[1:]) ** plan.ndim)
    if cut.device.type != "cpu" or is_compiling() or len(output) <= most:
        return _seen_by_cells(plan, cut, output, layer)
    parts = zip(cut.split(most, dim=2), output.split(most), layer.split(most))
    return Seen(*(torch.cat(columns, dim=-1) for columns in zip(*(_seen_by_cells(plan, *part) for part in parts))))


def seen_whole(cut: Float[Tensor, "2 d n"]) -> Seen:
    """As if nothing covered anything."""
    low, high = cut
    area = (high - low).prod(dim=0)
    return Seen(area, torch.zeros_like(area, dtype=torch.bool), low, high)


def _seen_by_cells(plan: MixPlan, cut: Tensor, output: Tensor, layer: Tensor) -> Seen:
    """The closed form, over the cells of the grid."""
    owned, edges = cells_of(plan, output, layer, cut.dtype)
    axes = range(len(edges))
    low, high = edges[:, :-1], edges[:, 1:]
    lengths = torch.minimum(cut[1][:, None], high) - torch.maximum(cut[0][:, None], low)
    meets = lengths > 0
    area: Any = 1.0
    touched: Any = True
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
    shows = torch.stack(lines)
    areas = (area * shown).flatten(0, -2)
    return Seen(
        # on the host one after another, as the library adds: the same bits
        area=areas.cumsum(dim=0)[-1] if areas.device.type == "cpu" else areas.sum(dim=0),
        hidden=(shown != touched).flatten(0, -2).any(dim=0),
        low=torch.where(shows, low, torch.inf).amin(dim=1),
        high=torch.where(shows, high, -torch.inf).amax(dim=1),
    )


def _seen_by_sums(plan: MixPlan, cut: Tensor, output: Tensor, layer: Tensor) -> Seen:
    """The same from summed-area tables: no tensor of boxes × pixels, and on a device nothing to wait for."""
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
    return Seen(area, count < pixels, *_outer(lines))


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


def _outer(lines: list[tuple[Tensor, Tensor]]) -> tuple[Float[Tensor, "d n"], Float[Tensor, "d n"]]:
    """Per axis, the first low edge and the last high edge of the lines that show."""
    low = [torch.where(line, edges[:-1], torch.inf).amin(dim=0) for line, edges in lines]
    high = [torch.where(line, edges[1:], -torch.inf).amax(dim=0) for line, edges in lines]
    return torch.stack(low), torch.stack(high)
