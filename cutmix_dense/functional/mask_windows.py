"""Instance masks on the host: only the window round each mask is looked at, so cost grows with the object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.host import in_numpy
from cutmix_dense.kernels import native
from cutmix_dense.kernels.native.instances import CutMasks, Stacks
from cutmix_dense.plan import MixPlan

__all__ = ["StackMasks", "cut_windows", "put_masks", "suits_windows"]


def suits_windows(stacks: Sequence[Shaped[Tensor, "n *size"]]) -> bool:
    """Whether the compiled library looks at masks: it is there, they lie on the host, of two or three axes."""
    if native.library is None:
        return False
    return in_numpy(*[stack.detach() for stack in stacks]) and all(
        stack.ndim in (3, 4) and not stack.is_complex() for stack in stacks
    )


class StackMasks:
    """The masks of one layer of one output, which are written where they are asked for.

    Args:
        cut: the masks of all layers.
        start: the first row that is of this layer.
        like: the masks of its image.
        size: of those of its output.

    Attributes:
        dtype: of the masks.
        visible: visible pixels of each.
        whole: pixels of each within its source's extent as mapped onto the canvas, before anything was cut.
        boxes: tight box of what is visible, (min col, min row, max col + 1, max row + 1); zeros for nothing.
    """

    def __init__(self, cut: CutMasks, start: int, like: Shaped[Tensor, "n *source"], size: Sequence[int]) -> None:
        self.cut, self.start, self._size, self.dtype = cut, start, tuple(size), like.dtype
        self._count = len(like)
        rows = slice(start, start + self._count)
        self.visible: Int[Tensor, " n"] = torch.from_numpy(cut.visible[rows].astype(np.int32))
        self.whole: Float[Tensor, " n"] = torch.from_numpy(cut.whole[rows])
        self.boxes: Float[Tensor, "n 2*d"] = torch.from_numpy(cut.boxes[rows])

    @property
    def masks(self) -> Shaped[Tensor, "n *size"]:
        """All of them."""
        return self.take(range(self._count))

    def take(self, rows: Sequence[int]) -> Shaped[Tensor, "n *size"]:
        """Some of them, in the input's dtype."""
        stack = self.blank(len(rows))
        put_masks([(self, np.asarray(rows, dtype=np.int64), stack)])
        return stack

    def blank(self, count: int) -> Shaped[Tensor, "count *size"]:
        """A stack of zeros for masks like these; numpy's, whose pages are only made where they are written."""
        zeros = np.zeros((count, *self._size), dtype=f"i{self.dtype.itemsize}")
        return torch.from_numpy(zeros).view(self.dtype)


def put_masks(parts: Iterable[tuple[Any, Int[np.ndarray, " n"], Shaped[Tensor, "n *size"]]]) -> None:
    """Write some masks of several layers into stacks of zeros; those of the library in one call.

    Args:
        parts: ``StackMasks`` or ``masks.MixedMasks``, the rows that are wanted, and where they go.
    """
    tables: dict[int, tuple[CutMasks, Int[np.ndarray, " n"]]] = {}
    for masks, rows, stack in parts:
        if not isinstance(masks, StackMasks) or stack.dtype != masks.dtype:  # images may differ in their masks' dtype
            stack.copy_(masks.take(rows))
            continue
        key = id(masks.cut)
        if key not in tables:
            tables[key] = masks.cut, np.zeros(len(masks.cut.visible), dtype=np.int64)
        step = stack.stride(0) * stack.element_size()
        tables[key][1][rows + masks.start] = stack.data_ptr() + step * np.arange(len(rows))
    for cut, into in tables.values():
        cut.write(into)


def cut_windows(
    stacks: Sequence[Shaped[Tensor, "n *source"]],
    plan: MixPlan,
    sizes: Sequence[Sequence[int]],
    jobs: Sequence[tuple[int, int, int]],
    carried: Bool[np.ndarray, " e"] | None,
) -> dict[tuple[int, int], Any]:
    """The ``StackMasks`` of each layer that has some, which ``suits_windows``.

    Args:
        stacks: the masks of each job.
        plan: on the host.
        sizes: size of each output's masks.
        jobs: output, layer and pool image of each.
        carried: which rows, one job after another, come along (default all); the others come out empty.
    """
    number: dict[int, int] = {}
    pool: list[Tensor] = []
    first: list[int] = []  # of each job's masks among those of all images
    starts, masks, rows = [], 0, 0
    begin: list[int] = []
    for stack, (*_, image) in zip(stacks, jobs):
        if image not in number:
            number[image] = len(pool)
            pool.append(stack)
            begin.append(masks)
            masks += len(stack)
        first.append(begin[number[image]])
        starts.append(rows)
        rows += len(stack)
    wanted = None
    if carried is not None:
        carried = np.ascontiguousarray(carried)
        wanted = np.zeros(masks, dtype=bool)
        for stack, at, start in zip(stacks, first, starts):
            wanted[at : at + len(stack)] |= carried[start : start + len(stack)]
    source = Stacks(pool, wanted)
    cut = CutMasks(plan, source, [(output, layer, number[image]) for output, layer, image in jobs], sizes, carried)
    return {
        (output, layer): StackMasks(cut, start, stack, sizes[output])
        for (output, layer, _), start, stack in zip(jobs, starts, stacks)
    }
