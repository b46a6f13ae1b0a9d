"""Instance masks on the host: only the window round each mask is looked at, so cost grows with the object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from cutmix_dense.kernels.block import Block, any_along, filled, overlap
from cutmix_dense.plan import MixPlan

__all__ = ["Piece", "SourceMasks", "StackMasks", "WindowCutter", "tight_boxes"]

Array = np.ndarray


class Piece(NamedTuple):
    """What is visible of one mask: a block of the canvas, and the values there."""

    block: Block
    values: Shaped[Array, "*block"]


class SourceMasks:
    """The masks of one image, and the window of each.

    Args:
        stack: (N, *size) on the host, not 0 is inside.
    """

    def __init__(self, stack: Shaped[Tensor, "n *size"]) -> None:
        self.array = stack.detach().numpy()
        count = len(self.array)
        lines = (
            any_along(self.array.reshape(count, self.array.shape[1], -1), axis=2) if self.array.size else [None] * count
        )
        self.windows = [_window(mask, line) for mask, line in zip(self.array, lines)]

    def cut_to(self, extent: Block) -> list[Block]:
        """The windows within an extent; empty ones where nothing is inside."""
        return [_overlap(window, extent) for window in self.windows]


class StackMasks:
    """The masks of one layer of one output, kept as pieces until they are asked for.

    Attributes:
        visible: visible pixels of each.
        whole: pixels of each within its source's extent as mapped onto the canvas, before anything was cut.
        boxes: tight box of what is visible, (min col, min row, max col + 1, max row + 1); zeros for nothing.
    """

    def __init__(self, pieces: list[Piece], whole: Float[Tensor, " n"], size: Sequence[int], dtype: np.dtype) -> None:
        self._pieces, self._size, self._dtype = pieces, tuple(size), dtype
        tight = [_window(piece.values) for piece in pieces]
        self.visible = torch.tensor([np.count_nonzero(piece.values) for piece in pieces], dtype=torch.int32)
        self.whole = whole
        ends = [
            [part.start + within.start for part, within in zip(piece.block, window)][::-1]
            + [part.start + within.stop for part, within in zip(piece.block, window)][::-1]
            if window[0].stop
            else [0] * 2 * len(window)
            for piece, window in zip(pieces, tight)
        ]
        self.boxes = torch.tensor(ends, dtype=torch.float64).reshape(len(pieces), 2 * len(self._size))

    def __len__(self) -> int:
        """Number of masks."""
        return len(self._pieces)

    @property
    def masks(self) -> Shaped[Tensor, "n *size"]:
        """All of them."""
        return self.take(range(len(self)))

    def take(self, rows: Sequence[int]) -> Shaped[Tensor, "n *size"]:
        """Some of them, in the input's dtype."""
        stack = self.blank(len(rows))
        self.put(rows, stack)
        return stack

    def blank(self, count: int) -> Shaped[Tensor, "count *size"]:
        """A stack of zeros for masks like these; numpy's, whose pages are only made where they are written."""
        return torch.from_numpy(np.zeros((count, *self._size), dtype=self._dtype))

    def put(self, rows: Sequence[int], stack: Shaped[Tensor, "n *size"]) -> None:
        """Write some of them into a stack of zeros."""
        for mask, row in zip(stack.numpy(), rows):
            piece = self._pieces[row]
            mask[piece.block] = piece.values


class WindowCutter:
    """A plan on the host, ready to cut masks window by window.

    Args:
        plan: on the host.
        sizes: size of each output's masks, at least its canvas.
    """

    def __init__(self, plan: MixPlan, sizes: Sequence[Sequence[int]]) -> None:
        self.plan, self.sizes = plan, sizes
        self._owner = plan.owner.numpy()
        self._edges = [edge.numpy() for edge in plan.edges]
        self._low, self._high = (bound.tolist() for bound in plan.pixel_ranges())
        self._cells: dict[int, list[Array]] = {}
        self._wholes: dict[tuple[int, ...], Tensor] = {}
        self._taken: list[Array] | None = None

    def cut(self, image: int, source: SourceMasks, output: int, layer: int) -> StackMasks:
        """The masks of a layer of an output."""
        plan = self.plan
        extent = plan.extent[output, layer].tolist()
        valid = tuple(slice(a, b) for a, b in zip(extent[: plan.ndim], extent[plan.ndim :]))
        windows = source.cut_to(valid)
        reach = tuple(slice(a, b) for a, b in zip(self._low[output][layer], self._high[output][layer]))
        if plan.unscaled:
            key = (image, *extent)  # an image serves several outputs
            if key not in self._wholes:
                counts = [np.count_nonzero(mask[window]) for mask, window in zip(source.array, windows)]
                self._wholes[key] = torch.tensor(counts, dtype=torch.float64)
            whole = self._wholes[key]
            offset = [int(o) for o in plan.shift[output, layer].tolist()]
            pieces = [
                self._unscaled(mask, window, offset, reach, output, layer)
                for mask, window in zip(source.array, windows)
            ]
        else:
            copies = [plan.copies(output, layer, axis).double().numpy() for axis in range(plan.ndim)]
            whole = torch.tensor(
                [_weighted(mask[window], window, valid, copies) for mask, window in zip(source.array, windows)],
                dtype=torch.float64,
            )
            taken = [pixels[output, layer] for pixels in self._source_pixels()]
            pieces = [
                self._scaled(mask, window, taken, reach, output, layer) for mask, window in zip(source.array, windows)
            ]
        return StackMasks(pieces, whole, self.sizes[output], source.array.dtype)

    def _unscaled(
        self, mask: Array, window: Block, offset: Sequence[int], reach: Block, output: int, layer: int
    ) -> Piece:
        moved = tuple(slice(part.start + o, part.stop + o) for part, o in zip(window, offset))
        block = _overlap(moved, reach)
        taken = tuple(slice(part.start - o, part.stop - o) for part, o in zip(block, offset))
        return Piece(block, self._owned(mask[taken], block, output, layer))

    def _scaled(
        self, mask: Array, window: Block, taken: Sequence[Array], reach: Block, output: int, layer: int
    ) -> Piece:
        block, index = [], []
        for part, source, within in zip(window, taken, reach):
            shown = source[within]
            inside = np.flatnonzero((shown >= part.start) & (shown < part.stop))
            first, last = (within.start + inside[0], within.start + inside[-1] + 1) if len(inside) else (0, 0)
            block.append(slice(int(first), int(last)))
            index.append(source[first:last])
        if any(part.start >= part.stop for part in block):
            return Piece(_nothing(len(block)), mask[_nothing(len(block))])
        return Piece(tuple(block), self._owned(mask[np.ix_(*index)], tuple(block), output, layer))

    def _owned(self, values: Array, block: Block, output: int, layer: int) -> Array:
        """Values of a block, 0 where the layer doesn't show."""
        plan = self.plan
        if plan.weight is not None:
            return values if plan.weight[output, layer] > 0 else np.zeros_like(values)
        if plan.free_form:  # one cell per pixel
            owned = self._owner[output][block] == layer
        else:
            if not values.size:
                return values
            cells = self._cells_of(output)
            first = tuple(cell[part.start] for cell, part in zip(cells, block))
            if first == tuple(cell[part.stop - 1] for cell, part in zip(cells, block)):  # all in one cell
                return values if self._owner[output][first] == layer else np.zeros_like(values)
            owned = self._owner[output][np.ix_(*(cell[part] for cell, part in zip(cells, block)))] == layer
        return values if owned.all() else np.where(owned, values, np.zeros((), dtype=values.dtype))

    def _source_pixels(self) -> list[Array]:
        if self._taken is None:
            self._taken = [self.plan.source_pixels(axis).numpy() for axis in range(self.plan.ndim)]
        return self._taken

    def _cells_of(self, output: int) -> list[Array]:
        """Per axis, the cell of each pixel of the frame."""
        if output not in self._cells:
            self._cells[output] = [
                np.searchsorted(edge[output][1:], np.arange(size), side="right").clip(max=edge.shape[1] - 2)
                for edge, size in zip(self._edges, self.plan.frame)
            ]
        return self._cells[output]


def tight_boxes(masks: Shaped[Tensor, "n *size"]) -> Float[Tensor, "n 2*d"]:
    """(min col, min row, max col + 1, max row + 1) of each mask on the host; zeros for an empty one."""
    windows = SourceMasks(masks).windows
    ends = [[part.start for part in window][::-1] + [part.stop for part in window][::-1] for window in windows]
    return torch.tensor(ends, dtype=torch.float64).reshape(len(windows), 2 * (masks.ndim - 1))


def _nothing(ndim: int) -> Block:
    return (slice(0, 0),) * ndim


def _overlap(one: Block, other: Block) -> Block:
    return overlap(one, other) or _nothing(len(one))


def _window(mask: Array, lines: Bool[Array, " n"] | None = None) -> Block:
    return filled(mask, lines) or _nothing(mask.ndim)


def _weighted(values: Array, window: Block, valid: Block, copies: Sequence[Array]) -> float:
    """Pixels of a mask, each counted as often as the canvas without end shows it."""
    total: Any = (values != 0).astype(np.float64)
    for part, extent, count in reversed(list(zip(window, valid, copies))):
        total = total @ count[part.start - extent.start : part.stop - extent.start]
    return float(total)
