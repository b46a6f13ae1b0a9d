"""Instance masks on the host: only the window round each mask is looked at, so cost grows with the object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.blocks import Block, as_bytes, filled, joined
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import copies_of

__all__ = ["Piece", "SourceMasks", "StackMasks", "WindowCutter", "tight_boxes"]

Array = np.ndarray


class Piece(NamedTuple):
    """What is visible of one mask: a block of the canvas, and the values there."""

    block: Block
    values: Shaped[Array, "*block"]


class SourceMasks:
    """The masks of one image, and the window round each.

    Args:
        stack: (N, *size) on the host, not 0 is inside.
        wanted: which of them matter (default all); the others are taken for empty ones.

    Attributes:
        array: the stack's memory.
        low: per mask and axis the first pixel.
        high: one past the last pixel; 0, as ``low``, for an empty mask.
    """

    def __init__(self, stack: Shaped[Tensor, "n *size"], wanted: Bool[Array, " n"] | None = None) -> None:
        self.array = stack.detach().numpy()
        rows = range(len(self.array)) if wanted is None else np.flatnonzero(wanted).tolist()
        windows, counts = _windows(self.array, rows, counted=True)
        self.low, self.high = windows[:, 0], windows[:, 1]
        self._counts: Int[Array, " n"] = np.array(counts, dtype=np.int64)

    def counts(self, low: Int[Array, "n d"], high: Int[Array, "n d"]) -> Int[Array, " n"]:
        """Pixels of each within a part of its window."""
        counts = self._counts.copy()
        parts = np.flatnonzero(((low != self.low) | (high != self.high)).any(axis=1))
        for row, block in zip(parts.tolist(), _blocks(low[parts], high[parts])):
            counts[row] = np.count_nonzero(self.array[row][block])
        return counts


class StackMasks:
    """The masks of one layer of one output, kept as pieces until they are asked for.

    Attributes:
        visible: visible pixels of each.
        whole: pixels of each within its source's extent as mapped onto the canvas, before anything was cut.
        boxes: tight box of what is visible, (min col, min row, max col + 1, max row + 1); zeros for nothing.
    """

    def __init__(
        self,
        pieces: list[Piece],
        visible: Int[Array, " n"],
        whole: Shaped[Array, " n"],
        boxes: Int[Array, "n ends"],
        size: Sequence[int],
        dtype: np.dtype,
    ) -> None:
        self._pieces, self._size, self._dtype = pieces, tuple(size), dtype
        self.visible: Int[Tensor, " n"] = torch.from_numpy(visible.astype(np.int32))
        self.whole: Float[Tensor, " n"] = torch.from_numpy(whole.astype(np.float64))
        self.boxes: Float[Tensor, "n ends"] = torch.from_numpy(boxes.astype(np.float64))

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
            block, values = self._pieces[row]
            mask[block] = values


class WindowCutter:
    """A plan on the host, ready to cut masks window by window.

    Where the windows of a layer lie is found for all at once; only masks on which layers meet are looked at one by one.

    Args:
        plan: on the host.
        sizes: size of each output's masks, at least its canvas.
    """

    def __init__(self, plan: MixPlan, sizes: Sequence[Sequence[int]]) -> None:
        self.plan, self.sizes = plan, sizes
        self._owner = plan.owner.numpy()
        self._edges = [edge.numpy() for edge in plan.edges]
        self._low, self._high = (bound.numpy() for bound in plan.pixel_ranges())
        self._extent, self._shift = plan.extent.numpy(), plan.shift.numpy()
        self._nothing: Block = (slice(0, 0),) * plan.ndim
        self._taken: list[Array] | None = None

    def cut(self, source: SourceMasks, output: int, layer: int, carried: Bool[Array, " n"] | None = None) -> StackMasks:
        """The masks of a layer of an output; of those that aren't carried nothing."""
        extent, masks = self._extent[output, layer], source.array
        first = extent[: self.plan.ndim]
        low, high = _clip(source.low, source.high, first, extent[self.plan.ndim :])
        if carried is not None:
            low, high = low * carried[:, None], high * carried[:, None]
        if self.plan.unscaled:
            whole = source.counts(low, high)
            offset = self._shift[output, layer].astype(np.int64)
            start, stop = _clip(low + offset, high + offset, self._low[output, layer], self._high[output, layer])
            shown = [mask[block] for mask, block in zip(masks, _blocks(start - offset, stop - offset))]
            complete = ((start - offset == source.low) & (stop - offset == source.high)).all(axis=1)
        else:
            copies = [copies_of(self.plan, output, layer, axis).astype(np.float64) for axis in range(self.plan.ndim)]
            windows = zip(masks, _blocks(low, high))
            whole = np.array([_weighted(mask[window], window, first.tolist(), copies) for mask, window in windows])
            start, stop, shown = self._scaled(masks, low, high, output, layer)
            complete = np.zeros(len(masks), dtype=bool)
        visible, boxes = whole.astype(np.int64), np.concatenate([start[:, ::-1], stop[:, ::-1]], axis=1)
        blocks = _blocks(start, stop)
        pieces = list(map(Piece, blocks, shown))
        for row, owned in enumerate(self._owns(start, stop, blocks, output, layer)):
            if owned is False:
                pieces[row] = Piece(self._nothing, shown[row][self._nothing])
                visible[row], boxes[row] = 0, 0
            elif not (owned is True and complete[row]):
                values = shown[row] if owned is True else _cut(shown[row], owned)
                pieces[row] = Piece(blocks[row], values)
                visible[row] = np.count_nonzero(values)
                if not (complete[row] and visible[row] == whole[row]):  # else the window is still tight
                    boxes[row] = _tight(values, blocks[row])
        return StackMasks(pieces, visible, whole, boxes, self.sizes[output], masks.dtype)

    def _scaled(
        self, masks: Array, low: Int[Array, "n d"], high: Int[Array, "n d"], output: int, layer: int
    ) -> tuple[Int[Array, "n d"], Int[Array, "n d"], list[Array]]:
        """Where on the canvas the windows come to lie, and the pixels there."""
        if self._taken is None:
            self._taken = [self.plan.source_pixels(axis).numpy() for axis in range(self.plan.ndim)]
        taken = [pixels[output, layer] for pixels in self._taken]
        start, stop = np.zeros_like(low), np.zeros_like(high)
        for axis, source in enumerate(taken):
            reach = slice(int(self._low[output, layer, axis]), int(self._high[output, layer, axis]))
            inside = (source[reach] >= low[:, axis, None]) & (source[reach] < high[:, axis, None])
            start[:, axis], stop[:, axis] = (end + reach.start for end in _ends(inside))
        start, stop = _clip(start, stop, start, stop)  # nothing on one axis is nothing on all
        blocks = _blocks(start, stop)
        shown = [mask[np.ix_(*(line[part] for line, part in zip(taken, block)))] for mask, block in zip(masks, blocks)]
        return start, stop, shown

    def _owns(
        self, start: Int[Array, "n d"], stop: Int[Array, "n d"], blocks: list[Block], output: int, layer: int
    ) -> list[bool | Bool[Array, "*block"]]:
        """Whether a layer owns each block of the canvas: all of it, nothing, or which pixels."""
        plan, owner = self.plan, self._owner[output]
        if plan.weight is not None:
            return [bool(plan.weight[output, layer] > 0)] * len(blocks)
        if plan.free_form:  # one cell per pixel
            parts = [owner[block] == layer for block in blocks]
            counts = map(np.count_nonzero, parts)
            return [part if 0 < count < part.size else bool(count) for part, count in zip(parts, counts)]
        owned = owner == layer
        ends = zip((edge[output] for edge in self._edges), start.T[..., None], stop.T[..., None])
        lengths = [(np.minimum(high, edge[1:]) - np.maximum(low, edge[:-1])).clip(min=0) for edge, low, high in ends]
        pixels = np.einsum("ni,nj,ij->n" if plan.ndim == 2 else "ni,nj,nk,ijk->n", *lengths, owned)
        whole = (stop - start).prod(axis=1)
        return [
            _spread(owned, [length[row] for length in lengths]) if some and not every else some
            for row, (every, some) in enumerate(zip((pixels == whole).tolist(), (pixels > 0).tolist()))
        ]


def tight_boxes(masks: Shaped[Tensor, "n *size"]) -> Float[Tensor, "n ends"]:
    """(min col, min row, max col + 1, max row + 1) of each mask on the host; zeros for an empty one."""
    windows, _ = _windows(masks.detach().numpy(), range(len(masks)))
    return torch.from_numpy(windows[..., ::-1].reshape(len(masks), 2 * (masks.ndim - 1)).astype(np.float64))


def _windows(
    stack: Shaped[Array, "n *size"], rows: Sequence[int], counted: bool = False
) -> tuple[Int[Array, "n 2 d"], list[int]]:
    """First pixel and one past the last one of masks along each axis; zeros for an empty one, and one not asked for.

    Each is passed once for its lines along the first axis, all together if all are asked for; the other axes are looked
    at within these.

    Args:
        stack: not 0 is inside.
        rows: the masks that are asked for.
        counted: whether the pixels of each are counted too, while they are in the cache.
    """
    counts = [0] * len(stack)
    windows = [[[0] * (stack.ndim - 1)] * 2] * len(stack)
    stack = as_bytes(stack)
    axes = tuple(range(1, stack.ndim - 1))
    together = len(rows) == len(stack) and stack.size
    lines = joined(stack, tuple(axis + 1 for axis in axes)) if together else None
    for row in rows if stack.size else ():
        mask = stack[row]
        block = filled(mask, joined(mask, axes) if lines is None else lines[row])
        if block is None:
            continue
        windows[row] = [[part.start for part in block], [part.stop for part in block]]
        if counted:
            counts[row] = int(np.count_nonzero(mask[block]))
    return np.array(windows, dtype=np.int64).reshape(len(stack), 2, stack.ndim - 1), counts


def _spread(owned: Bool[Array, "*g"], lengths: Sequence[Int[Array, " g"]]) -> Bool[Array, "*block"]:
    """The pixels of a block, given how many of them lie in each cell along every axis."""
    for axis, length in enumerate(lengths):
        owned = owned.repeat(length, axis=axis)
    return owned


def _ends(lines: Bool[Array, "n l"]) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
    """First True and one past the last one of each row; zeros for a row without."""
    if not lines.size:
        return np.zeros(len(lines), dtype=np.int64), np.zeros(len(lines), dtype=np.int64)
    some = lines.any(axis=1)
    return lines.argmax(axis=1), (lines.shape[1] - lines[:, ::-1].argmax(axis=1)) * some


def _clip(low: Array, high: Array, least: Array, most: Array) -> tuple[Int[Array, "n d"], Int[Array, "n d"]]:
    """What intervals along each axis share with others; zeros where it is nothing."""
    low, high = np.maximum(low, least), np.minimum(high, most)
    some = (low < high).all(axis=1, keepdims=True)
    return low * some, high * some


def _blocks(low: Int[Array, "n d"], high: Int[Array, "n d"]) -> list[Block]:
    """Each row as a block."""
    return [tuple(map(slice, *ends)) for ends in zip(low.tolist(), high.tolist())]


def _cut(values: Shaped[Array, "*block"], owned: Bool[Array, "*block"]) -> Shaped[Array, "*block"]:
    """The values where they are owned, else 0."""
    if values.dtype.itemsize > 1:
        return values * owned
    # factors of one type multiply several times faster
    return (values.view(np.uint8) * owned.view(np.uint8)).view(values.dtype)


def _tight(values: Array, block: Block) -> list[int]:
    """Tight box of what isn't 0 in a block, (min col, min row, max col + 1, max row + 1); zeros for nothing."""
    window = filled(values)
    if window is None:
        return [0] * 2 * len(block)
    ends = [(part.start + at.start, part.start + at.stop) for part, at in zip(block, window)]
    return [end for side in zip(*reversed(ends)) for end in side]


def _weighted(values: Array, window: Block, first: Sequence[int], copies: Sequence[Array]) -> float:
    """Pixels of a mask, each counted as often as the canvas without end shows it; ``copies`` begin at ``first``."""
    total: Any = (values != 0).astype(np.float64)
    for part, begin, count in reversed(list(zip(window, first, copies))):
        total = total @ count[part.start - begin : part.stop - begin]
    return float(total)
