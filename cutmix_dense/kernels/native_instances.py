"""Instances on the host by the compiled library: what of boxes and masks shows, in one call per batch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from cutmix_dense import native
from cutmix_dense.plan import MixPlan

_measure_boxes = native.declare("cutmix_dense_measure_boxes", "pqpppqpp", "q")
_judge = native.declare("cutmix_dense_judge", "pqqpqpppp")
_windows = native.declare("cutmix_dense_windows", "pqpp", "q")
_cut_masks = native.declare("cutmix_dense_cut_masks", "ppqppqpppqpp", "q")

Array = np.ndarray

_Plan = ctypes.c_int64 * 19
"""``Plan`` of ``instances.c``."""

_JUDGED = (*(np.float64,) * 3, *(bool,) * 4, np.int64, np.float32, *(bool,) * 3, np.int64, np.float32, np.float64, bool)
"""Dtypes of the columns that are judged, and of the verdict on them."""

_DTYPES = (np.float32, np.float32, np.int64, np.int64, np.int64, np.int8, np.int64, np.int64, np.int64)
"""Dtypes of scale, shift, extent, source, canvas, owner and the edges of up to three axes."""


def _table(plan: MixPlan) -> tuple[Any, list[Array]]:
    """A plan on the host as the library reads it, and the arrays whose addresses that holds."""
    owner, edges = plan.owner, plan.edges
    places = [place.detach() if place.requires_grad else place for place in (plan.scale, plan.shift)]
    fields = (*places, plan.extent, plan.source, plan.canvas, owner, *edges)
    narrow = owner.dtype == torch.int8
    dtypes = _DTYPES if narrow else (*_DTYPES[:5], np.int16, *_DTYPES[6:])
    numbers, arrays = _pointers([*map(Tensor.numpy, fields)], dtypes)
    weighs = 0
    if plan.weight is not None:
        arrays += [np.ascontiguousarray(plan.weight.detach().numpy() > 0)]
        weighs = address_of(arrays[-1])
    axes = len(edges)
    flat, none = (1,) * (3 - axes), (0,) * (3 - axes)
    kind = (*plan.source.shape, axes, plan.free_form, 1 if narrow else 2, bool(plan.unscaled))
    return _Plan(*kind, *numbers[:6], *flat, *owner.shape[1:], *none, *numbers[6:], weighs), arrays


def address_of(array: Array) -> int:
    """Where an array lies in memory."""
    address: int = array.__array_interface__["data"][0]  # ctypes.data takes several calls
    return address


def measure_boxes(
    boxes: Float[Array, "n ends"], plan: MixPlan, output: Int[Array, " n"], layer: Int[Array, " n"], covered: bool
) -> tuple[Array, ...]:
    """The fields of ``functional.measured.Measured``, in order, of boxes under a plan on the host.

    Args:
        boxes: xyxy (xyzxyz) in pixels of their source images.
        plan: who owns each output pixel.
        output: the output that each box is considered in.
        layer: the layer of that output that each box is part of.
        covered: whether layers cover each other; else only the canvas cuts.

    Raises:
        IndexError: a layer that the plan hasn't.
    """
    count, width = boxes.shape
    table, _arrays = _table(plan)
    found, flags = np.empty((2 * (width + 1), count)), np.empty((4, count), bool)
    columns = (boxes, output, layer, found, flags)
    addresses, _given = _pointers(columns, (np.float64, np.int64, np.int64, np.float64, bool))
    _done(_measure_boxes(table, count, *addresses[:3], covered, *addresses[3:]), count)
    tight, mapped = found[2:].reshape(2, count, width)
    untouched, broken, outside, finite = flags
    return found[0], found[1], tight, mapped, untouched, broken, outside, finite


def judge_rows(
    columns: Sequence[Array | None], limits: Sequence[Sequence[float]], max_aspect: float, strict: bool
) -> tuple[Array, ...]:
    """The fields of ``functional.verdict.Verdict``, in order.

    Args:
        columns: one row per instance, None for what is unknown: ``visible``, ``whole``, ``boxes`` (n, 2D),
            ``untouched``, ``broken``, ``outside`` and ``finite`` of ``Measured``, then ``layer``, ``before``,
            ``carried``, ``empty`` and ``exempt`` of ``functional.verdict.judge``.
        limits: see ``FilterRule``.
        max_aspect: see ``FilterRule``.
        strict: see ``FilterRule``.
    """
    layer: Any = columns[7]
    count, ends = layer.shape[0], 0 if columns[2] is None else columns[2].shape[1]
    reason, visibility = np.empty(count, np.int64), np.empty(count, np.float32)
    share, complete = np.empty(count), np.empty(count, bool)
    addresses, _given = _pointers((*columns, reason, visibility, share, complete), _JUDGED)
    numbers = (ctypes.c_double * 5)(*limits[0], *limits[1], max_aspect)
    _judge((ctypes.c_int64 * 12)(*addresses[:12]), count, ends, numbers, strict, *addresses[12:])
    return reason, visibility, complete, share


def _pointers(columns: Sequence[Array | None], dtypes: Sequence[Any]) -> tuple[list[int], list[Array]]:
    """Where columns of these dtypes without gaps lie in memory, 0 for None; and those columns, which must live on."""
    addresses, laid = [], []
    for array, dtype in zip(columns, dtypes):
        if array is None:
            addresses += [0]
            continue
        if array.dtype != dtype or not array.flags.c_contiguous:
            array = np.ascontiguousarray(array, dtype)
        addresses += [array.__array_interface__["data"][0]]
        laid += [array]
    return addresses, laid


def _done(rows: int, wanted: int) -> None:
    """Raise where the library stopped before the last row."""
    if rows < 0:
        raise MemoryError("no memory for a line of pixels")
    if rows < wanted:
        raise IndexError(f"output and layer must be some of the plan, row {rows}'s aren't")


class Stacks:
    """Masks on the host as the library reads them, and the window round each.

    Args:
        stacks: (N, *size) of each image, of two or three axes; not 0 is inside. None is complex.
        wanted: which of all their masks matter (default all); the others are taken for empty ones.

    Attributes:
        windows: of all masks: the first pixel of three axes, one past the last one, and how many pixels are inside;
            zeros for an empty mask.
    """

    def __init__(self, stacks: Sequence[Shaped[Tensor, "_n *_size"]], wanted: Bool[Array, " n"] | None = None) -> None:
        self.stacks = [stack.detach().contiguous() for stack in stacks]
        numbers: list[int] = []
        for stack in self.stacks:
            flat = (1,) * (4 - stack.ndim)
            kind = (stack.element_size(), stack.is_floating_point())
            numbers += (stack.data_ptr(), stack.shape[0], *flat, *stack.shape[1:], *kind)
        self.table = (ctypes.c_int64 * len(numbers))(*numbers)
        self.windows: Int[Array, "n 7"] = np.empty((sum(numbers[1::7]), 7), np.int64)
        some = 0 if wanted is None else address_of(wanted)
        if not _windows(self.table, len(stacks), some, address_of(self.windows)):
            raise MemoryError("no memory for a line of pixels")


def windows_of(masks: Shaped[Tensor, "n *size"]) -> Int[Array, "n 2 d"]:
    """First pixel and one past the last one of each mask along its axes; zeros for an empty one."""
    return Stacks([masks]).windows[:, :6].reshape(-1, 2, 3)[..., 4 - masks.ndim :]


class CutMasks:
    """The masks of some layers under a plan, measured at once; what shows of them is written where it is wanted.

    Args:
        plan: on the host.
        stacks: the masks of the pool.
        jobs: (output, layer, stack) of each layer; the rows of one follow those of the one before.
        sizes: size of each output's masks.
        carried: which rows come along (default all); of the others nothing shows.

    Attributes:
        visible: per row, pixels that show.
        whole: pixels within the source's extent as mapped onto the canvas, before anything was cut.
        boxes: tight box of what shows, x first; zeros for nothing.
    """

    def __init__(
        self,
        plan: MixPlan,
        stacks: Stacks,
        jobs: Sequence[tuple[int, int, int]],
        sizes: Sequence[Sequence[int]],
        carried: Bool[Array, " n"] | None = None,
    ) -> None:
        (self._table, self._arrays), self._frame = _table(plan), plan.frame
        self._stacks, self._carried = stacks, carried
        flat = (1,) * (3 - plan.ndim)
        numbers = [number for job in jobs for number in (*job, *flat, *sizes[job[0]])]
        self._jobs, self._count = (ctypes.c_int64 * len(numbers))(*numbers), len(jobs)
        self._taken: list[Tensor] = []
        if not plan.unscaled:
            self._taken = [plan.source_pixels(axis).contiguous() for axis in range(plan.ndim)]
        rows = sum([stacks.stacks[stack].shape[0] for *_, stack in jobs])
        found = np.empty((2 + 2 * plan.ndim) * rows)
        self._rows = rows
        self._cut(address_of(found), 0)
        self.visible, self.whole = found[: 2 * rows].reshape(2, rows)
        self.boxes: Float[Array, "n ends"] = found[2 * rows :].reshape(rows, 2 * plan.ndim)

    def write(self, into: Int[Array, " n"]) -> None:
        """Write what shows of each row into the mask of zeros at an address; 0 for none."""
        self._cut(0, address_of(into))

    def _cut(self, found: int, into: int) -> None:
        flat = [0] * (3 - len(self._frame))
        taken = (ctypes.c_int64 * 3)(*flat, *[pixels.data_ptr() for pixels in self._taken])
        frame = (ctypes.c_int64 * 3)(*flat, *self._frame)
        carried = 0 if self._carried is None else address_of(self._carried)
        stacks, windows = self._stacks, address_of(self._stacks.windows)
        where = (self._table, stacks.table, len(stacks.stacks), windows, self._jobs, self._count, carried, taken, frame)
        _done(_cut_masks(*where, self._rows, found, into), self._rows)
