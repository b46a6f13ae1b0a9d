"""Instance masks on the host: only the window round each mask is looked at, so cost grows with the object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from cutmix_dense import native
from cutmix_dense.arrays.host import in_numpy
from cutmix_dense.kernels.native_instances import CutMasks, Stacks
from cutmix_dense.plan import MixPlan


def suits_windows(stacks: Sequence[Shaped[Tensor, "_n *_size"]]) -> bool:
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
        dtype: of the masks.
        size: of those of its output.
        visible: visible pixels of each.
        whole: pixels of each within its source's extent as mapped onto the canvas, before anything was cut.
        boxes: tight box of what is visible, (min col, min row, max col + 1, max row + 1); zeros for nothing.
    """

    def __init__(
        self,
        cut: CutMasks,
        start: int,
        dtype: torch.dtype,
        size: Sequence[int],
        visible: Int[Tensor, " n"],
        whole: Float[Tensor, " n"],
        boxes: Float[Tensor, "n ends"],
    ) -> None:
        self.cut, self.start, self.dtype, self._size = cut, start, dtype, tuple(size)
        self.visible, self.whole, self.boxes = visible, whole, boxes

    @property
    def masks(self) -> Shaped[Tensor, "n *size"]:
        """All of them."""
        return self.take(range(self.visible.shape[0]))

    def take(self, rows: Sequence[int] | Int[np.ndarray, " k"]) -> Shaped[Tensor, "n *size"]:
        """Some of them, in the input's dtype."""
        stack = self.blank(len(rows))
        put_masks([(self, np.asarray(rows, dtype=np.int64), stack)])
        return stack

    def blank(self, count: int) -> Shaped[Tensor, "count *size"]:
        """A stack of zeros for masks like these; numpy's, whose pages are only made where they are written."""
        zeros = np.zeros((count, *self._size), dtype=f"i{self.dtype.itemsize}")
        return torch.from_numpy(zeros).view(self.dtype)


def put_masks(parts: Iterable[tuple[Any, Int[np.ndarray, " _n"], Shaped[Tensor, "_n *_size"]]]) -> None:
    """Write some masks of several layers into stacks of zeros; those of the library in one call.

    Args:
        parts: ``StackMasks`` or ``masks.MixedMasks``, the rows that are wanted, and where they go.
    """
    tables: dict[CutMasks, Int[np.ndarray, " n"]] = {}
    for masks, rows, stack in parts:
        if not isinstance(masks, StackMasks) or stack.dtype != masks.dtype:  # images may differ in their masks' dtype
            stack.copy_(masks.take(rows))
            continue
        if masks.cut not in tables:
            tables[masks.cut] = np.zeros(len(masks.cut.visible), dtype=np.int64)
        places = np.arange(rows.size) * (stack.nbytes // max(rows.size, 1))
        tables[masks.cut][rows + masks.start] = stack.data_ptr() + places
    for cut, into in tables.items():
        cut.write(into)


def cut_windows(
    pool: Mapping[int, Shaped[Tensor, "n *source"]],
    plan: MixPlan,
    sizes: Sequence[Sequence[int]],
    jobs: Sequence[tuple[int, int, int]],
    carried: Bool[np.ndarray, " e"] | None,
) -> dict[tuple[int, int], Any]:
    """The ``StackMasks`` of each layer that has some, which ``suits_windows``.

    Args:
        pool: the masks of each image that has some.
        plan: on the host.
        sizes: size of each output's masks.
        jobs: output, layer and pool image of each.
        carried: which rows, one job after another, come along (default all); the others come out empty.
    """
    number = {image: index for index, image in enumerate(pool)}
    counts = [pool[image].shape[0] for *_, image in jobs]
    wanted = None
    if carried is not None:
        carried = np.ascontiguousarray(carried)
        of_image = {image: np.zeros(stack.shape[0], dtype=bool) for image, stack in pool.items()}
        for (*_, image), rows in zip(jobs, np.split(carried, np.cumsum(counts)[:-1])):
            of_image[image] |= rows
        wanted = np.concatenate([*of_image.values()])
    source = Stacks([*pool.values()], wanted)
    cut = CutMasks(plan, source, [(output, layer, number[image]) for output, layer, image in jobs], sizes, carried)
    columns = (cut.visible.astype(np.int32), cut.whole, cut.boxes)
    found = zip(*[torch.from_numpy(column).split_with_sizes(counts) for column in columns])
    mixed, start = {}, 0
    for (output, layer, image), count, parts in zip(jobs, counts, found):
        mixed[output, layer] = StackMasks(cut, start, pool[image].dtype, sizes[output], *parts)
        start += count
    return mixed
