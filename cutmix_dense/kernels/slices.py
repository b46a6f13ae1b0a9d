"""Rectangular plans by slices: copies whole runs of cells, no mask of the image's size. For plans on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.arrays.blocks import spatial
from cutmix_dense.arrays.host import in_numpy
from cutmix_dense.kernels.numpy_pixels import note_writing
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.memo import Once

__all__ = ["MOST_CELLS", "blocks", "mix_slices", "suits"]

MOST_CELLS = 1024
"""Beyond this many cells per output a copy per cell costs more than a pass over the pixels."""

_SHARED_BYTES = 2**18
"""From so many bytes per image on, torch's threads copy its blocks faster than numpy does alone."""


def suits(plan: MixPlan) -> bool:
    """Whether slices are the way to apply ``plan``: on the host, unscaled, hard, of few cells."""
    cells = math.prod(plan.owner.shape[1:])
    return plan.device.type == "cpu" and bool(plan.unscaled) and plan.weight is None and cells <= MOST_CELLS


class _Patches(NamedTuple):
    """Blocks of the canvas that one layer owns, or fill.

    Attributes:
        output: (N,) index of the output.
        source: (N,) pool index of the image that shows, -1 for fill.
        start: (N, D) first pixel on the canvas.
        stop: (N, D) one past the last.
        offset: (N, D) where the source's pixel 0 lies on the canvas; None if nowhere else than there.
    """

    output: np.ndarray
    source: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    offset: np.ndarray | None


_Step = tuple[Any, Any, Any, Any]
"""A block to copy: into which output, where there, from which pool image (-1 for fill), and where there.

Of whole bases that are copied together a slice of both.
"""


def _patches(plan: MixPlan, moved: bool) -> _Patches:
    """Every block of every output; together they tile the canvas.

    Args:
        plan: one that ``suits``.
        moved: leave out the blocks that show layer 0 where it lay.
    """
    images, extent, shift, ndim = plan.source.numpy(), plan.extent.numpy(), plan.shift.numpy(), plan.ndim
    whole = ((shift == 0) & (extent[..., :ndim] == 0) & (extent[..., ndim:] >= plan.canvas.numpy()[:, None])).all(
        axis=2
    )
    home = whole[:, 0] & (images[:, 0] == np.arange(len(images))) if moved else None
    output, start, stop, layer = _cells(plan, [False] * len(plan) if home is None else home.tolist())
    shown = (output, np.maximum(layer, 0))
    source = np.where(layer < 0, -1, images[shown])
    if whole.all():
        return _Patches(output, source, start, stop, None)
    offset = shift[shown].astype(np.int64)
    low = np.maximum(start, extent[shown][:, :ndim] + offset)
    high = np.minimum(stop, extent[shown][:, ndim:] + offset)
    filled = (layer < 0) | (low >= high).any(axis=1)
    rims = [
        (output[row], *block)
        for row in np.flatnonzero(~filled & ((low != start) | (high != stop)).any(axis=1)).tolist()
        for block in _rim(start[row].tolist(), stop[row].tolist(), low[row].tolist(), high[row].tolist())
    ]
    low[filled], high[filled], offset[filled] = start[filled], stop[filled], 0
    source = np.where(filled, -1, source)
    if moved:
        away = (source != output) | (layer != 0) | offset.any(axis=1)
        output, source, low, high, offset = (values[away] for values in (output, source, low, high, offset))
    if rims:
        places, starts, stops = (np.array(values, dtype=np.int64) for values in zip(*rims))
        output, source = np.append(output, places), np.append(source, np.full(len(rims), -1))
        low, high = np.concatenate([low, starts]), np.concatenate([high, stops])
        offset = np.concatenate([offset, np.zeros_like(starts)])
    return _Patches(output, source, low, high, offset)


class _Cells(NamedTuple):
    """Runs of cells: output (N,), start and stop (N, D), layer (N,), -1 for fill."""

    output: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    layer: np.ndarray


def blocks(plan: MixPlan) -> Iterator[tuple[int, list[int], list[int], int]]:
    """The cells that hold something, neighbours of one layer joined: output, start, stop and layer."""
    yield from zip(*(values.tolist() for values in _cells(plan, [False] * len(plan))))


def _cells(plan: MixPlan, home: Sequence[bool]) -> _Cells:
    """The cells that hold something, joined with neighbours of the same layer.

    Cells of layer 0 are left out in outputs that hold it already, ``home``.
    """
    edges = [edge.tolist() for edge in plan.edges]
    found = [
        (output, start, stop, layer)
        for output, owner in enumerate(plan.owner.tolist())
        for start, stop, layer in _joined(owner, [edge[output] for edge in edges])
        if not (layer == 0 and home[output])
    ]
    output, start, stop, layer = zip(*found) if found else ((), (), (), ())
    low, high = (np.array(values, dtype=np.int64).reshape(-1, plan.ndim) for values in (start, stop))
    return _Cells(np.array(output, dtype=np.int64), low, high, np.array(layer, dtype=np.int64))


def _steps(plan: MixPlan, moved: bool) -> list[_Step]:
    """What is to be copied, see ``_patches``."""
    return (_steps_moved if moved else _steps_all)(plan)


def _find_steps(plan: MixPlan, moved: bool) -> list[_Step]:
    patches = _patches(plan, moved)
    parts = (patches.output.tolist(), _blocks(patches), patches.source.tolist(), _blocks(patches, within_source=True))
    return list(zip(*parts))


_steps_moved, _steps_all = (Once(partial(_find_steps, moved=moved)) for moved in (True, False))


def mix_slices(
    pool: Tensor | Sequence[Tensor],
    plan: MixPlan,
    outputs: Tensor | Sequence[Tensor],
    fill: Tensor | None,
    *,
    held: bool,
    bases: Sequence[int] = (),
) -> None:
    """Write every patch into ``outputs``.

    Args:
        pool: tensor (P, …, *frame) or list of (…, *size).
        plan: one that ``suits``.
        outputs: as many as the plan has; may be ``pool`` itself, which is then read before anything is written.
        fill: value of pixels without owner, broadcastable against a block; None where the plan has none.
        held: ``outputs`` holds each base where it lies: only what moves is copied.
        bases: the pool image that each output is yet to get whole before (of a tensor the one of its own number);
            ``held`` is true of them, too.
    """
    inplace = outputs is pool
    read, written, copy = _holders(pool, outputs, fill)
    steps = _steps(plan, held)
    if inplace and copy is not Tensor.copy_ and (pairs := _exchanges(steps)) is not None:
        _exchange(read, pairs, copy)
        note_writing(outputs)
        return
    if bases:
        steps = sorted([*_whole(pool, bases, copy), *steps], key=_first_output)
    taken: list[Any] = []
    if inplace:
        own = Tensor.clone if isinstance(read, Tensor) else np.array
        taken = [None if source == -1 else own(read[source][block]) for _, _, source, block in steps]
    ground = None if fill is None else _readable(fill, copy)
    for number, (output, block, source, there) in enumerate(steps):
        assert source != -1 or ground is not None, "a plan with fill was applied without a fill value"
        pixels = ground if source == -1 else taken[number] if inplace else read[source][there]
        # a view older than the first copy would not know of the gradient that came with it
        copy(written[output][block], pixels)
    if copy is not Tensor.copy_:
        note_writing(outputs)


def _whole(pool: Tensor | Sequence[Tensor], bases: Sequence[int], copy: Callable[[Any, Any], Any]) -> Iterator[_Step]:
    """Copies of whole bases, each right before its patches; where a gradient flows of the batch, by one copy."""
    if copy is Tensor.copy_ and isinstance(pool, Tensor):  # autograd would take every copy for one of the whole batch
        yield slice(0, len(bases)), ..., slice(0, len(bases)), ...
        return
    yield from ((output, ..., base, ...) for output, base in enumerate(bases))


def _first_output(step: _Step) -> int:
    return step[0].start if isinstance(step[0], slice) else step[0]


def _blocks(patches: _Patches, within_source: bool = False) -> list[Any]:
    """Index of each patch, whatever lies before the spatial axes: in its output, or in its source."""
    start, stop = patches.start, patches.stop
    if within_source and patches.offset is not None:
        start, stop = start - patches.offset, stop - patches.offset
    return [spatial(map(slice, a, b)) for a, b in zip(start.tolist(), stop.tolist())]


def _holders(
    pool: Tensor | Sequence[Tensor], outputs: Tensor | Sequence[Tensor], fill: Tensor | None
) -> tuple[Any, Any, Callable[[Any, Any], Any]]:
    """What is read and written, and how a block is copied.

    Numpy's views, which cost least to make, and its copies, unless several threads share that of a large block; the
    tensors themselves where a gradient flows.
    """
    tensors = [tensor for part in (pool, outputs) for tensor in ([part] if isinstance(part, Tensor) else part)]
    tensors += [] if fill is None else [fill]
    if not in_numpy(*tensors):
        return pool, outputs, Tensor.copy_
    shared = False
    if len(pool) and torch.get_num_threads() > 1:
        shared = (pool.nbytes // len(pool) if isinstance(pool, Tensor) else pool[0].nbytes) >= _SHARED_BYTES
    copy = _copy_together if shared else np.copyto
    return _readable(pool, copy), _readable(outputs, copy), copy


def _readable(part: Any, copy: Callable[[Any, Any], Any]) -> Any:
    """Tensors as ``copy`` takes them: arrays, or as they are."""
    if copy is Tensor.copy_:
        return part
    if not isinstance(part, Tensor):
        return [_readable(tensor, copy) for tensor in part]
    return (part.view(torch.int16) if part.dtype == torch.bfloat16 else part).numpy()


def _copy_together(target: np.ndarray, pixels: np.ndarray) -> None:
    """Copy by all threads of torch."""
    torch.from_numpy(target).copy_(torch.from_numpy(pixels))


def _exchanges(steps: Sequence[_Step]) -> list[tuple[int, int, Any]] | None:
    """The blocks that two images each take from each other at the same place; None unless all steps are such.

    Then no block is read that another one writes.
    """
    takers: dict[int, tuple[int, list[Any]]] = {}
    for output, block, source, there in steps:
        mate, blocks = takers.setdefault(output, (source, []))
        if source != mate or source in (output, -1) or there != block:
            return None
        blocks.append(block)
    if any(takers.get(mate) != (output, blocks) for output, (mate, blocks) in takers.items()):
        return None
    return [(output, mate, block) for output, (mate, blocks) in takers.items() if output < mate for block in blocks]


def _exchange(images: np.ndarray, pairs: Sequence[tuple[int, int, Any]], copy: Callable[[Any, Any], Any]) -> None:
    """Swap blocks of two images each; one small buffer serves all."""
    views = [(images[one][block], images[other][block]) for one, other, block in pairs]
    buffer = np.empty(max((mine.size for mine, _ in views), default=0), dtype=images.dtype)
    for mine, theirs in views:
        held = buffer[: mine.size].reshape(mine.shape)
        copy(held, mine)
        copy(mine, theirs)
        copy(theirs, held)


def _rim(
    start: list[int], stop: list[int], inner_start: Sequence[int], inner_stop: Sequence[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """What lies in a block but not in the inner one, as blocks."""
    for axis in range(len(start)):
        if start[axis] < inner_start[axis]:
            yield list(start), [*stop[:axis], inner_start[axis], *stop[axis + 1 :]]
        if inner_stop[axis] < stop[axis]:
            yield [*start[:axis], inner_stop[axis], *start[axis + 1 :]], list(stop)
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
