"""Plans of whole-pixel cells on a device: which batches the kernel of patches serves, and its launches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.kernels.device import MOST, current, serves
from cutmix_dense.kernels.table import PlanTable, sent_beside, table_of, table_on
from cutmix_dense.plan import MixPlan

VECTORS, _WARPS = 128, 4
"""Vectors, one per thread, and warps of a block."""

_MOST_OUTPUTS = 65535
"""Programs that CUDA allows along the second axis of a grid."""


class Planes(NamedTuple):
    """How a batch lies in memory.

    Attributes:
        item: bytes of a pixel; with its channels, where those lie behind.
        planes: planes of an image.
        row, plane: bytes.
        words: 32-bit words that move together: 4 where planes consist of such vectors, else 1.
        behind: whether channels lie behind.
    """

    item: int
    planes: int
    row: int
    plane: int
    words: int
    behind: bool


class Patches(NamedTuple):
    """One batch that the kernel of patches serves.

    Attributes:
        table: its plan.
        planes: how it lies.
        pieces: how many cells a vector may lie in.
        fill: what shows where no layer does, as the bits of two words.
    """

    table: PlanTable
    planes: Planes
    pieces: int
    fill: tuple[int, int]


class _Job(NamedTuple):
    """One batch to be mixed."""

    out: Tensor
    pool: Tensor
    plan: MixPlan
    patches: Patches


def patches_for(pool: Tensor, plan: MixPlan, fill: Tensor | None, out: Tensor | None) -> Patches | None:
    """How the kernel of patches serves a batch under a plan; None where it doesn't.

    It serves plans on the host of whole-pixel cells and moves, and batches of the frame's size whose planes consist of
    32-bit words, channels first or last; a fill is one number on the host.

    Args:
        pool: (P, …, *frame).
        plan: any.
        fill: as for ``mix_batch``.
        out: as for ``mix_batch``.
    """
    if is_compiling() or not serves(pool.device) or pool.is_complex() or 0 in pool.shape:
        return None
    table = table_of(plan)
    if table is None or not table.patches or len(plan) > _MOST_OUTPUTS or tuple(pool.shape[-2:]) != tuple(plan.frame):
        return None
    if torch.is_grad_enabled() and (pool.requires_grad or (out is not None and out.requires_grad)):
        return None
    planes = planes_of(pool)
    if planes is None or (out is not None and planes_of(out) != planes):
        return None
    pieces = _pieces(table, planes)
    if pieces is None:
        return None
    bits = (0, 0)
    if fill is not None and table.fill:
        if not fill.is_cpu or fill.numel() != 1 or planes.item != pool.element_size():
            return None
        bits = pattern(fill)
    return Patches(table, planes, pieces, bits)


def _pieces(table: PlanTable, planes: Planes) -> int | None:
    """How many cells a vector may lie in, up to 4; None for more."""
    if table.one:
        return 1
    reach = 4 * planes.words - 2  # bytes from the first border within a vector to the last one
    return next((borders + 1 for borders, span in enumerate(table.spans, 1) if span * planes.item > reach), None)


def planes_of(batch: Tensor) -> Planes | None:
    """How a batch lies; None where the kernel can't walk it."""
    behind = batch.ndim == 4 and batch.shape[1] > 1 and not batch.is_contiguous()
    if not (batch.is_contiguous(memory_format=torch.channels_last) if behind else batch.is_contiguous()):
        return None
    height, width = batch.shape[-2:]
    planes, item = math.prod(batch.shape[1:-2]), batch.element_size()
    if behind:
        planes, item = 1, item * planes
    row, plane = width * item, height * width * item
    words = 4 if plane % 16 == 0 and row >= 16 else 1
    if plane % 4 or row < 4 or batch.data_ptr() % 4 or planes * plane >= MOST:
        return None
    return Planes(item, planes, row, plane, words, behind)


def pattern(fill: Tensor) -> tuple[int, int]:
    """The bits of a value repeated over two words."""
    raw = fill.reshape(1).view(torch.uint8).repeat(8 // fill.element_size())
    even, odd = raw.view(torch.int32).tolist()
    return even, odd


def mix_patches(pool: Tensor, plan: MixPlan, patches: Patches, out: Tensor) -> None:
    """Mix ``pool`` into ``out`` as ``patches_for`` says; within ``joined_launches``, at its end.

    Pixels are those of ``mix_gather``, bit for bit.
    """
    job = _Job(out, pool, plan, patches)
    waiting = _waiting.get()
    if waiting is None:
        _launch([job])
    else:
        waiting.append(job)


_waiting: ContextVar[list[_Job] | None] = ContextVar("waiting", default=None)


@contextmanager
def joined_launches() -> Iterator[None]:
    """Put off launches of patches until the end of the block, and make those of one plan together.

    What they write must not be read within the block. If it raises, they aren't made.
    """
    if is_compiling():
        yield
        return
    token = _waiting.set([])
    try:
        yield
        jobs = _waiting.get() or []
    finally:
        _waiting.reset(token)
    while jobs:
        first, *others = jobs
        beside = next((job for job in others if job.plan is first.plan and job.pool.device == first.pool.device), None)
        together = [first] if beside is None else [first, beside]
        _launch(together)
        jobs = [job for job in jobs if all(job is not done for done in together)]


def sent_with_plan(parts: Sequence[UInt8[Tensor, " _n"]], plan: MixPlan, device: torch.device) -> UInt8[Tensor, " n"]:
    """Bytes of the host on a CUDA device in one copy; within ``joined_launches``, the plan's table goes along."""
    return sent_beside(parts, None if _waiting.get() is None else plan, device)


def _launch(jobs: list[_Job]) -> None:
    """One launch for one batch, or for two of one plan."""
    from cutmix_dense.kernels.triton_patches import patches_kernel  # needs triton, which is optional

    job, beside = jobs[0], jobs[-1]
    table, device = job.patches.table, job.pool.device
    blocks, *counts = _counts(job)
    blocks_beside, *counts_beside = _counts(beside)
    two = len(jobs) > 1
    step, step_beside = _step(job.patches), _step(beside.patches)
    with current(device):
        patches_kernel[(blocks + two * blocks_beside, len(job.plan))](
            *(words_of(batch, one.patches.planes) for one in (job, beside) for batch in (one.out, one.pool)),
            table_on(job.plan, device),
            table.rows.shape[1],
            table.layers,
            *table.grid,
            blocks,
            *counts,
            *job.patches.fill,
            *counts_beside,
            *beside.patches.fill,
            ITEM=job.patches.planes.item,
            GROUP=group_of(job.patches.planes),
            PARTS=_parts(job.patches.planes),
            WORDS=job.patches.planes.words,
            STRADDLES=_straddles(job.patches.planes),
            STEP=step,
            PIECES=job.patches.pieces,
            BESIDE=beside.patches.planes.item if two else 0,
            GROUP_BESIDE=group_of(beside.patches.planes) if two else 1,
            PARTS_BESIDE=_parts(beside.patches.planes) if two else 1,
            WORDS_BESIDE=beside.patches.planes.words if two else 1,
            STRADDLES_BESIDE=two and _straddles(beside.patches.planes),
            STEP_BESIDE=step_beside if two else 0,
            PIECES_BESIDE=beside.patches.pieces if two else 1,
            RESTS=table.rests,
            ONE=table.one,
            VECTORS=VECTORS,
            num_warps=_WARPS,
        )


def exchange(pool: Tensor, plan: MixPlan, patches: Patches) -> None:
    """Mix ``pool`` in place by a plan that exchanges rectangles: only their bytes are read and written."""
    from cutmix_dense.kernels.triton_patches import exchange_kernel  # needs triton, which is optional

    planes, table = patches.planes, patches.table
    blocks, *counts = _counts(_Job(pool, pool, plan, patches))
    with current(pool.device):
        exchange_kernel[(blocks, len(plan))](
            words_of(pool, planes),
            table_on(plan, pool.device),
            table.rows.shape[1],
            table.layers,
            *counts,
            ITEM=planes.item,
            GROUP=group_of(planes),
            PARTS=_parts(planes),
            WORDS=planes.words,
            STRADDLES=_straddles(planes),
            VECTORS=VECTORS,
            num_warps=_WARPS,
        )


def _counts(job: _Job) -> tuple[int, ...]:
    """Blocks of a plane, bytes of a row and their reciprocal, vectors of a plane, and groups of planes."""
    planes = job.patches.planes
    vectors = planes.plane // (4 * planes.words)
    blocks = -(-vectors // (VECTORS * _parts(planes)))
    return blocks, planes.row, 2**32 // planes.row, vectors, planes.planes // group_of(planes)


def group_of(planes: Planes) -> int:
    """Planes that a thread has in hand at once."""
    return 3 if planes.planes % 3 == 0 else 1


def _parts(planes: Planes) -> int:
    """Vectors of each plane that a thread moves."""
    return 4 if group_of(planes) == 1 else 1


def _straddles(planes: Planes) -> bool:
    return planes.row % (4 * planes.words) > 0


def _step(patches: Patches) -> int:
    """Bytes that divide every move of a layer: 16, 4 or 1; 0 where nothing moves."""
    planes, moves = patches.planes, patches.table.moves
    if moves is None or not moves.any():
        return 0
    step = math.gcd(*(moves @ (planes.row, planes.item)).tolist())
    return 16 if step % 16 == 0 and planes.words == 4 else 4 if step % 4 == 0 else 1


def words_of(batch: Tensor, planes: Planes) -> Tensor:
    """A batch as 32-bit words in the order of its memory."""
    return (batch.permute(0, 2, 3, 1) if planes.behind else batch).flatten().view(torch.int32)
