"""Rectangular plans by slices: copies whole runs of cells, no mask of the image's size. For plans on the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor

from cutmix_dense.plan import MixPlan

__all__ = ["Patch", "mix_slices", "patches", "spatial", "suits"]

_MOST_CELLS = 1024
"""Beyond this many cells per output a copy per cell costs more than a pass over the pixels."""


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
    target_block: tuple[slice, ...]
    source_block: tuple[slice, ...]
    in_place: bool


def suits(plan: MixPlan) -> bool:
    """Whether slices are the way to apply ``plan``: on the host, unscaled, hard, of few cells."""
    cells = plan.owner[0].numel() if len(plan) else 0
    return plan.device.type == "cpu" and bool(plan.unscaled) and plan.weight is None and cells <= _MOST_CELLS


def patches(plan: MixPlan) -> Iterator[Patch]:
    """Every block of every output, fill included; together they tile the canvas."""
    source, shift = plan.source.tolist(), plan.shift.long().tolist()
    low, high = (bound.tolist() for bound in plan.pixel_ranges())
    owner = plan.owner.tolist()
    edges = [edge.tolist() for edge in plan.edges]
    for output in range(len(plan)):
        for start, stop, layer in _blocks(owner[output], [edge[output] for edge in edges]):
            if layer < 0:
                yield _fill(output, start, stop)
                continue
            inner_start = [max(a, b) for a, b in zip(start, low[output][layer])]
            inner_stop = [min(a, b) for a, b in zip(stop, high[output][layer])]
            if any(a >= b for a, b in zip(inner_start, inner_stop)):
                yield _fill(output, start, stop)
                continue
            yield from _rim(output, start, stop, inner_start, inner_stop)
            offset = shift[output][layer]
            image = source[output][layer]
            yield Patch(
                output,
                layer,
                image,
                tuple(slice(a, b) for a, b in zip(inner_start, inner_stop)),
                tuple(slice(a - o, b - o) for a, b, o in zip(inner_start, inner_stop, offset)),
                layer == 0 and image == output and not any(offset),
            )


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
    wanted = [patch for patch in patches(plan) if not (held and patch.in_place)]
    taken = [None if p.layer < 0 else pool[p.source][spatial(p.source_block)] for p in wanted]
    if outputs is pool:
        taken = [None if pixels is None else pixels.clone() for pixels in taken]
    for patch, pixels in zip(wanted, taken):
        _write(outputs[patch.output][spatial(patch.target_block)], pixels, fill)


def spatial(block: Iterable[slice]) -> Any:
    """Index of a block of the last axes, whatever lies before them."""
    return (..., *block)


def _write(block: Tensor, pixels: Tensor | None, fill: Tensor | None) -> None:
    if pixels is not None:
        block.copy_(pixels)
    else:
        assert fill is not None, "a plan with fill was applied without a fill value"
        block.copy_(fill.expand_as(block))


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


def _blocks(owner: list, edges: list[list[int]]) -> list[tuple[list[int], list[int], int]]:
    """Blocks (start, stop, layer) of one output's nested grid; neighbours of one layer are merged."""
    axis_edges, rest = edges[0], edges[1:]
    merged: list[tuple[list[int], list[int], int]] = []
    open_blocks: dict[tuple, tuple[int, int]] = {}  # an inner block -> the run along this axis that it grows
    previous = None
    for cell, (low, high) in enumerate(pairwise(axis_edges)):
        if low == high:
            continue
        inner = (
            [((), (), owner[cell])] if not rest else [(tuple(a), tuple(b), s) for a, b, s in _blocks(owner[cell], rest)]
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
