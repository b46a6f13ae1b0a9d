"""A small plan as one table of 32-bit numbers: all that the fast kernels ask of it, sent in one copy.

It is written by numpy straight into pinned memory, of which torch keeps a pool: a block is given out again only when
the copies from it are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import HOST
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.fields import PlanFacts
from cutmix_dense.plan.geometry import keeps_padding, pixel_ranges
from cutmix_dense.plan.memo import Once
from cutmix_dense.plan.moving import PerStream

FIRST_LAYER = 3
"""A row: what lies under its cells (index of an image, -1 for fill), height and width of the canvas, then the layers,
the edges of rows and of columns, and the owners of the cells."""

LAYER, MOVE, LOW, SCALE, EXTENT, SHARE = 16, 1, 3, 7, 11, 15
"""Numbers of a layer: its image; from these on, its whole-pixel move (y, x), the canvas pixels that it reaches (lows,
highs), its scale and shift as bits of floats, its extent, and of a soft plan the bits of its share."""

_all, _any = np.logical_and.reduce, np.logical_or.reduce  # a third of the calls of ``all`` and ``any``

_MOST_CELLS = 1024
"""More cells make a plan that isn't small: the fast kernels go through them one by one."""


class PlanTable(NamedTuple):
    """A plan as numbers.

    Attributes:
        rows: one per output, see ``FIRST_LAYER``.
        layers: number of layers.
        grid: rows and columns of cells.
        one: whether all that shows over the base is layer 1 in the middle of 3 × 3 cells.
        moves: of all layers, whole pixels (y, x).
        spans: least number of pixels of a row, and on into the next, from any border of cells to the next but n.
        rests: whether some pixel of a frame shows no layer, but padding or fill.
        fill: whether some shows fill.
        patches: whether the kernel of patches serves it.
        exchanges: whether it is ``one`` whose images exchange their rectangles in pairs.
        blend: whether it is soft and the kernel of blends serves it.
    """

    rows: Int[np.ndarray, "b n"]
    layers: int
    grid: tuple[int, int]
    one: bool = False
    moves: Int[np.ndarray, "n 2"] | None = None
    spans: Sequence[int] = ()
    rests: bool = True
    fill: bool = True
    patches: bool = False
    exchanges: bool = False
    blend: bool = False


@Once
def table_of(plan: MixPlan) -> PlanTable | None:
    """The table of a plan; None for plans on a device, of other than two axes, free-form ones or of many cells."""
    if plan.device.type != "cpu" or is_compiling() or plan.ndim != 2 or plan.free_form or not len(plan):
        return None
    owner = plan.owner.numpy()
    batch, (height, width) = len(owner), owner.shape[1:]
    if height * width > _MOST_CELLS or plan.scale.dtype != torch.float32:
        return None
    facts = source, scale, shift, extent, canvas = plan.facts
    low, high = (bound.numpy() for bound in pixel_ranges(plan))
    count = source.shape[1]
    cells = FIRST_LAYER + LAYER * count
    rows = np.zeros((batch, cells + height + width + 2 + height * width), dtype=np.int32)
    layers = np.zeros((batch, count, LAYER), dtype=np.int32)
    bits = layers.view(np.float32)
    layers[..., 0] = source
    layers[..., LOW : LOW + 2], layers[..., LOW + 2 : LOW + 4] = low, high
    bits[..., SCALE : SCALE + 2], bits[..., SCALE + 2 : SCALE + 4] = scale, shift
    layers[..., EXTENT : EXTENT + 4] = extent
    blend = False
    if plan.weight is not None:
        weight = np.where(source >= 0, plan.weight.detach().numpy().astype(np.float64), 0)
        bits[..., SHARE] = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
        covers = (low == 0).all(axis=2) & (high == plan.frame).all(axis=2)
        blend = bool(plan.unscaled and (weight.max(axis=1) > 0).all() and (covers | (weight == 0)).all())
    edges = [edge.numpy() for edge in plan.edges]
    rows[:, cells : cells + height + 1], rows[:, cells + height + 1 : cells + height + width + 2] = edges
    rows[:, cells + height + width + 2 :] = owner.reshape(batch, -1)
    rows[:, 1:FIRST_LAYER] = canvas
    judged = None
    if plan.unscaled and plan.weight is None:
        if _any(shift, axis=None):
            layers[..., MOVE : MOVE + 2] = np.where(source[..., None] >= 0, shift, 0)
        judged = _judged(plan, facts, rows, low, high, edges, owner)
    rows[:, FIRST_LAYER:cells] = layers.reshape(batch, -1)
    return PlanTable(rows, count, (height, width), blend=blend) if judged is None else judged


def _compact(edges: list[Any], owner: Any) -> tuple[list[Any], Any]:
    """Edges of rows and columns, and owners of cells, with columns of no pixels behind the others."""
    rows, columns = edges
    empty = columns[:, 1:] == columns[:, :-1]
    if not _any(empty[:, :-1] & ~empty[:, 1:], axis=None):
        return edges, owner
    order = np.argsort(empty, axis=1, kind="stable")
    ends = np.maximum.accumulate(np.take_along_axis(columns[:, 1:], order, axis=1), axis=1)
    return [rows, np.concatenate([columns[:, :1], ends], axis=1)], np.take_along_axis(owner, order[:, None], axis=2)


def _judged(plan: MixPlan, facts: PlanFacts, rows: Any, low: Any, high: Any, edges: Any, owner: Any) -> PlanTable:
    """A table with what lies under its cells, and whether the kernel of patches serves it."""
    source, _, shift, _, _ = facts
    (batch, height, width), layers = owner.shape, source.shape[1]
    moves = shift[source >= 0].astype(np.int64)
    full, at_home, whole, pads = _covered(plan, facts, low, high, edges, owner)
    ready, based = full & whole, full & at_home
    rows[:, 0] = np.where(pads | (based & whole), source[:, 0], -1)
    one = bool(layers > 1 and (height, width) == (3, 3) and _all(based & (whole | pads)))
    if one:
        middle = owner[:, 1, 1]
        empty = [edge[:, 1] >= edge[:, 2] for edge in edges]
        shown = (middle == 1) | (source[:, 1] < 0) | empty[0] | empty[1]
        around = owner.copy()
        around[:, 1, 1] = 0
        one = bool(_all(shown) and not _any(around, axis=None))
    if not one:
        cells = FIRST_LAYER + LAYER * layers + height + 1
        edges, owner = _compact(edges, owner)
        rows[:, cells : cells + width + 1] = edges[1]
        rows[:, cells + width + 1 :] = owner.reshape(batch, -1)
    rests = not _all(ready)
    fill = rests and not _all(full & (whole | pads))
    spans = [] if one else _spans(edges[1], plan.frame[1])
    exchanges = one and not _any(moves, axis=None) and _exchanges(source, low, high, edges)
    served = not rests or bool(_all(full | ~pads))
    return PlanTable(rows, layers, (height, width), one, moves, spans, rests, fill, served, exchanges)


def _covered(plan: MixPlan, facts: PlanFacts, low: Any, high: Any, edges: Any, owner: Any) -> tuple[Any, Any, Any, Any]:
    """Facts of each output, four columns of booleans.

    Whether all its cells show a layer; whether the base covers its canvas, unmoved; whether that is the frame; and
    whether what lies beyond it is the base's padding.
    """
    source, _, shift, _, canvas = facts
    batch, frame = len(owner), plan.frame
    absent = source < 0
    if source.shape[1] == 2 and not (_any(shift, axis=None) or _any(low, axis=None) or _any(absent[:, 0])):
        within = _all((high == frame) | absent[..., None], axis=None) and _all(canvas == frame, axis=None)
        shows_base = ~_any(owner.reshape(batch, -1), axis=1)
        if within and _all(shows_base | ~absent[:, 1]) and np.minimum.reduce(owner, axis=None) >= 0:
            every = np.full(batch, True)
            return every, every, every, ~every  # images of one size: nearly all plans of two layers
    # a cell without a layer that reaches all of it shows fill somewhere, but for those without pixels
    (top, bottom), (left, right) = ((edge[:, :-1], edge[:, 1:]) for edge in edges)
    some = (top < bottom)[:, :, None] & (left < right)[:, None]
    at = np.maximum(owner, 0).astype(np.int64)
    outputs = np.arange(batch)[:, None, None]
    (low_y, low_x), (high_y, high_x) = (np.moveaxis(bound[outputs, at], -1, 0) for bound in (low, high))
    reached = (low_y <= top[:, :, None]) & (bottom[:, :, None] <= high_y)
    reached &= (low_x <= left[:, None]) & (right[:, None] <= high_x) & (owner >= 0)
    full = (reached | ~some).all(axis=(1, 2))
    whole = (canvas == frame).all(axis=1)
    at_home = ~absent[:, 0] & (shift[:, 0] == 0).all(axis=1) & (low[:, 0] == 0).all(axis=1)
    at_home &= (high[:, 0] == canvas).all(axis=1)
    return full, at_home, whole, keeps_padding(plan, frame).numpy() & ~whole


def _exchanges(source: Any, low: Any, high: Any, edges: Any) -> bool:
    """Whether the base of each output is its own image, and its mate's mate is itself, with the same rectangle."""
    outputs, mate = np.arange(len(source)), source[:, 1]
    if _any(source[:, 0] != outputs) or np.maximum.reduce(mate, initial=-1) >= len(source):
        return False
    pairs = outputs[mate >= 0]
    if not _all(mate[mate[pairs]] == pairs):
        return False
    start = np.maximum(np.stack([edge[:, 1] for edge in edges], axis=1), low[:, 1])
    stop = np.minimum(np.stack([edge[:, 2] for edge in edges], axis=1), high[:, 1])
    block = np.concatenate([start, stop], axis=1)
    return bool(_all(block[mate[pairs]] == block[pairs], axis=None))


def _spans(edges: Int[np.ndarray, "b _edges"], width: int) -> list[int]:
    """``PlanTable.spans`` for n of 0, 1, 2 and 3, from the edges of columns; cells without pixels count, inside."""
    far = 8 * width
    last = edges == edges[:, -1:]
    last[:, 1:] &= last[:, :-1]
    borders = np.concatenate([np.where(last, far, edges), np.full((len(edges), 1), width)], axis=1)
    if (edges[:, -1] == width).any():
        borders[:, -1][edges[:, -1] == width] = far
    borders.sort(axis=1)
    again = borders[:, :4] + np.where(borders[:, :4] < far, width, far)  # on in the next row
    again[again == width] = far  # which begins where this one ends
    borders = np.sort(np.concatenate([borders, again], axis=1), axis=1)
    return [int(np.where(borders[:, n:] < far, borders[:, n:] - borders[:, :-n], far).min()) for n in (1, 2, 3, 4)]


@PerStream
def table_on(plan: MixPlan, device: torch.device) -> Tensor:
    """The rows of ``table_of`` on a device, sent once for each stream."""
    table = table_of(plan)
    assert table is not None
    if device.type != "cuda":
        return torch.from_numpy(table.rows).to(device)
    return _sent_pinned([torch.from_numpy(table.rows).flatten().view(torch.uint8)], device).view(torch.int32)


def sent_beside(
    parts: Sequence[UInt8[Tensor, " _n"]], plan: MixPlan | None, device: torch.device
) -> UInt8[Tensor, " n"]:
    """Bytes of the host on a CUDA device, one part behind the other, in one copy that nothing waits for.

    The rows of a plan that has a table go with them, unless they are there: ``table_on`` finds them.
    """
    table = None if plan is None or table_on.known(plan, device) else table_of(plan)
    if table is None:
        return _sent_pinned(parts, device)
    rows = torch.from_numpy(table.rows).flatten().view(torch.uint8)
    size = sum(map(len, parts))
    gap = rows.new_empty(-size % 16)  # kernels are compiled for tables at such addresses
    there = _sent_pinned([*parts, gap, rows], device)
    table_on.put(plan, device, there[size + len(gap) :].view(torch.int32))
    return there[:size]


def _sent_pinned(parts: Sequence[UInt8[Tensor, " _n"]], device: torch.device) -> UInt8[Tensor, " n"]:
    pinned = torch.empty(sum(map(len, parts)), dtype=torch.uint8, pin_memory=True, device=HOST)
    torch.cat([*parts], out=pinned)
    return pinned.to(device, non_blocking=True)
