"""Rectangular plans by slices: copies whole runs of cells, no mask of the image's size. For plans on the host."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from cutmix_dense.broadcast import along
from cutmix_dense.compiling import is_compiling
from cutmix_dense.kernels.block import Block, spatial
from cutmix_dense.plan import MixPlan

__all__ = ["MOST_CELLS", "Patch", "blocks", "mix_slices", "patches", "suits"]

MOST_CELLS = 1024
"""Beyond this many cells per output a copy per cell costs more than a pass over the pixels."""

_FEW_CELLS = 16
"""Up to so many cells per output, looking for neighbours to join costs more than a copy for each."""


_SHARED_BYTES = 2**18
"""From so many bytes per image on, torch's threads copy its blocks faster than numpy does alone."""


class Patch(NamedTuple):
    """A block of pixels that one layer owns.

    Attributes:
        output: index of the output.
        layer: the layer that owns the block, -1 for fill.
        source: pool index of the layer's image, -1 for fill.
        target_block: slices of the canvas, one per axis.
        source_block: slices of the source, one per axis; empty for fill.
        in_place: whether the block shows layer 0 where it lay: output and source are the same pixels.
    """

    output: int
    layer: int
    source: int
    target_block: Block
    source_block: Block
    in_place: bool


def suits(plan: MixPlan) -> bool:
    """Whether slices are the way to apply ``plan``: on the host, unscaled, hard, of few cells."""
    cells = plan.owner[0].numel() if len(plan) else 0
    return plan.device.type == "cpu" and bool(plan.unscaled) and plan.weight is None and cells <= MOST_CELLS


def patches(plan: MixPlan, *, moved: bool = False) -> Iterator[Patch]:
    """Every block of every output, fill included; together they tile the canvas.

    Args:
        plan: one that ``suits``.
        moved: leave out the blocks that show layer 0 where it lay.
    """
    output, start, stop, layer = _cells(plan, moved)
    shown = (output, layer.clip(min=0))
    source, extent = plan.source.numpy()[shown], plan.extent.numpy()[shown]
    offset = plan.shift.numpy()[shown].astype(np.int64)
    inner_start = np.maximum(start, extent[:, : plan.ndim] + offset)
    inner_stop = np.minimum(stop, extent[:, plan.ndim :] + offset)
    empty = (layer < 0) | (inner_start >= inner_stop).any(axis=1)
    cut = (inner_start != start).any(axis=1) | (inner_stop != stop).any(axis=1)
    shifted = offset.any(axis=1)
    in_place = (layer == 0) & (source == output) & ~shifted
    facts = zip(*(values.tolist() for values in (output, layer, source, empty, cut, shifted, in_place)))
    for row, (image, owner, taken_from, is_empty, is_cut, is_shifted, stays) in enumerate(facts):
        if is_empty:
            yield _fill(image, start[row].tolist(), stop[row].tolist())
            continue
        low, high = inner_start[row].tolist(), inner_stop[row].tolist()
        if is_cut:
            yield from _rim(image, start[row].tolist(), stop[row].tolist(), low, high)
        if moved and stays:
            continue
        target = taken = tuple(map(slice, low, high))
        if is_shifted:
            taken = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, offset[row].tolist()))
        yield Patch(image, owner, taken_from, target, taken, stays)


class _Cells(NamedTuple):
    """Runs of cells: output (N,), start and stop (N, D), layer (N,), -1 for fill."""

    output: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    layer: np.ndarray


def blocks(plan: MixPlan) -> Iterator[tuple[int, list[int], list[int], int]]:
    """The cells that hold something, neighbours of one layer joined: output, start, stop and layer."""
    yield from zip(*(values.tolist() for values in _cells(plan, moved=False)))


def _cells(plan: MixPlan, moved: bool) -> _Cells:
    """The cells that hold something; with ``moved`` without those that certainly show layer 0 where it lay."""
    if moved and math.prod(plan.owner.shape[1:]) <= _FEW_CELLS:
        return _moved_cells(plan)
    return _joined_cells(plan, moved)


def _joined_cells(plan: MixPlan, moved: bool) -> _Cells:
    """Cells joined with their neighbours of the same layer."""
    edges = [edge.tolist() for edge in plan.edges]
    home = _at_home(plan).tolist() if moved else [False] * len(plan)
    found = [
        (output, start, stop, layer)
        for output, owner in enumerate(plan.owner.tolist())
        for start, stop, layer in _joined(owner, [edge[output] for edge in edges])
        if not (layer == 0 and home[output])
    ]
    output, start, stop, layer = zip(*found) if found else ((), (), (), ())
    low, high = (np.array(values, dtype=np.int64).reshape(-1, plan.ndim) for values in (start, stop))
    return _Cells(np.array(output, dtype=np.int64), low, high, np.array(layer, dtype=np.int64))


def _moved_cells(plan: MixPlan) -> _Cells:
    """The cells that hold something else than layer 0 where it lay, found without a loop over the others."""
    owner, edges = plan.owner.numpy(), [edge.numpy() for edge in plan.edges]
    wanted = owner != 0
    home = _at_home(plan)
    if not home.all():
        wanted |= ~home.reshape(-1, *(1,) * plan.ndim)
    for axis, edge in enumerate(edges):
        wanted &= along(edge[:, 1:] > edge[:, :-1], axis, plan.ndim)
    output, *cells = wanted.nonzero()
    start, stop = (np.array([edge[output, cell + more] for edge, cell in zip(edges, cells)]).T for more in (0, 1))
    return _Cells(output, start, stop, owner[wanted])


def _at_home(plan: MixPlan) -> Bool[np.ndarray, " b"]:
    """Whether layer 0 of each output is the output's own image, whole and in its place."""
    extent = plan.extent[:, 0].numpy()
    moved = (plan.shift[:, 0].numpy() != 0) | (extent[:, : plan.ndim] != 0)
    moved |= extent[:, plan.ndim :] < plan.canvas.numpy()
    return (plan.source[:, 0].numpy() == np.arange(len(plan))) & ~moved.any(axis=1)


def mix_slices(
    pool: Tensor | Sequence[Tensor],
    plan: MixPlan,
    outputs: Tensor | Sequence[Tensor],
    fill: Tensor | None,
    *,
    held: bool,
) -> None:
    """Write every patch into ``outputs``.

    Args:
        pool: tensor (P, …, *frame) or list of (…, *size).
        plan: one that ``suits``.
        outputs: as many as the plan has; may be ``pool`` itself, which is then read before anything is written.
        fill: value of pixels without owner, broadcastable against a block; None where the plan has none.
        held: ``outputs`` already holds each base where it lies: only what moves is copied.
    """
    wanted = list(patches(plan, moved=held))
    inplace = outputs is pool
    read, written, ground = _as_arrays(pool, outputs, fill)
    if inplace and not (isinstance(read, Tensor) and (read.requires_grad or is_compiling())):
        wanted = _exchange(read, wanted)
    taken = [None if p.layer < 0 else read[p.source][spatial(p.source_block)] for p in wanted]
    if inplace:
        own = Tensor.clone if isinstance(read, Tensor) else np.array
        taken = [None if pixels is None else own(pixels) for pixels in taken]
    for patch, pixels in zip(wanted, taken):
        assert pixels is not None or ground is not None, "a plan with fill was applied without a fill value"
        written[patch.output][spatial(patch.target_block)] = ground if pixels is None else pixels


def _as_arrays(
    pool: Tensor | Sequence[Tensor], outputs: Tensor | Sequence[Tensor], fill: Tensor | None
) -> tuple[Any, Any, Any]:
    """Numpy's views of all, whose copies of blocks cost least on one thread; themselves where torch's serve better.

    That is where a gradient flows, and where several threads share the copy of a large block.
    """
    tensors = [t for part in (pool, outputs) for t in ([part] if isinstance(part, Tensor) else part)]
    tensors += [] if fill is None else [fill]
    image = pool[0]
    shared = torch.get_num_threads() > 1 and image.numel() * image.element_size() >= _SHARED_BYTES
    if shared or any(t.requires_grad for t in tensors) or is_compiling():
        return pool, outputs, fill

    def array(part: Any) -> Any:
        if not isinstance(part, Tensor):
            return None if part is None else [array(tensor) for tensor in part]
        return (part.view(torch.int16) if part.dtype == torch.bfloat16 else part).numpy()

    return array(pool), array(outputs), array(fill)


def _exchange(pool: Shaped[Tensor, "pool ..."] | Shaped[np.ndarray, "pool ..."], wanted: list[Patch]) -> list[Patch]:
    """Swap the blocks that two images take from each other; returns what is left to do.

    Only if all blocks are such: then no block is read that another one writes. One small buffer serves all.
    """
    taken = {(p.output, p.source, _corner(p.target_block)): p for p in wanted if p.target_block == p.source_block}
    pairs = []
    for patch in wanted:
        other = taken.get((patch.source, patch.output, _corner(patch.target_block)))
        if patch.layer < 0 or other is None or other.target_block != patch.target_block:
            return wanted
        if patch.output < patch.source:
            pairs.append(patch)
    if not pairs:
        return wanted
    views = [(pool[p.output][spatial(p.target_block)], pool[p.source][spatial(p.target_block)]) for p in pairs]
    sizes = [math.prod(mine.shape) for mine, _ in views]
    copy: Any
    copy, buffer = (
        (Tensor.copy_, pool.new_empty(max(sizes)))
        if isinstance(pool, Tensor)
        else (np.copyto, np.empty(max(sizes), dtype=pool.dtype))
    )
    for (mine, theirs), size in zip(views, sizes):
        held = buffer[:size].reshape(mine.shape)
        copy(held, mine)
        copy(mine, theirs)
        copy(theirs, held)
    return []


def _corner(block: Block) -> tuple[int, ...]:
    return tuple(part.start for part in block)


def _fill(output: int, start: Sequence[int], stop: Sequence[int]) -> Patch:
    return Patch(output, -1, -1, tuple(slice(a, b) for a, b in zip(start, stop)), (), False)


def _rim(
    output: int, start: Sequence[int], stop: Sequence[int], inner_start: Sequence[int], inner_stop: Sequence[int]
) -> Iterator[Patch]:
    """What lies in a block but not in the inner one, as fill."""
    start, stop = list(start), list(stop)
    for axis in range(len(start)):
        if start[axis] < inner_start[axis]:
            yield _fill(output, start, [*stop[:axis], inner_start[axis], *stop[axis + 1 :]])
        if inner_stop[axis] < stop[axis]:
            yield _fill(output, [*start[:axis], inner_stop[axis], *start[axis + 1 :]], stop)
        start[axis], stop[axis] = inner_start[axis], inner_stop[axis]


def _joined(owner: list, edges: list[list[int]]) -> list[tuple[list[int], list[int], int]]:
    """Blocks (start, stop, layer) of one output's nested grid; neighbours of one layer are merged."""
    axis_edges, rest = edges[0], edges[1:]
    merged: list[tuple[list[int], list[int], int]] = []
    open_blocks: dict[tuple, tuple[int, int]] = {}  # an inner block -> the run along this axis that it grows
    previous = None
    for cell, (low, high) in enumerate(pairwise(axis_edges)):
        if low == high:
            continue
        inner = (
            [((), (), owner[cell])] if not rest else [(tuple(a), tuple(b), s) for a, b, s in _joined(owner[cell], rest)]
        )
        if previous is not None and inner != previous:
            merged += [([a, *key[0]], [b, *key[1]], key[2]) for key, (a, b) in open_blocks.items()]
            open_blocks = {}
        for key in inner:
            begun = open_blocks.get(key)
            open_blocks[key] = (low if begun is None else begun[0], high)
        previous = inner
    merged += [([a, *key[0]], [b, *key[1]], key[2]) for key, (a, b) in open_blocks.items()]
    return merged
