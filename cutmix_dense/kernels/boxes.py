"""Padded boxes on a device: which ones the kernel of boxes serves, and its launch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.kernels.device import current, serves
from cutmix_dense.kernels.table import table_of, table_on
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import weighs

_BLOCK = 128


class Thresholds(NamedTuple):
    """The numbers of a ``FilterRule``; pairs are for base and pasted boxes."""

    min_visibility: tuple[float, float]
    min_size: tuple[float, float]
    max_aspect: float
    strict: bool


class MixedBoxes(NamedTuple):
    """Boxes after a plan, S·N slots per output; zeros, or -1 in ``origin``, in empty ones.

    Attributes:
        boxes: xyxy.
        beside: the rows that were given with them.
        valid: which slots are filled.
        visibility: visible share of each.
        origin: pool index, and index there.
    """

    boxes: Float[Tensor, "b sn 4"]
    beside: Shaped[Tensor, "b sn"] | None
    valid: Bool[Tensor, "b sn"]
    visibility: Float[Tensor, "b sn"]
    origin: Int[Tensor, "b sn 2"]


def suits_boxes(boxes: Tensor, plan: MixPlan) -> bool:
    """Whether the kernel measures boxes under a plan: float32 ones on a device it serves, hard plans on the host."""
    if is_compiling() or not serves(boxes.device) or boxes.dtype != torch.float32 or boxes.shape[2:] != (4,):
        return False
    if boxes.numel() == 0 or weighs(plan) or plan.carry is not None or boxes.requires_grad:
        return False
    count = len(plan) * plan.layers * boxes.shape[1]
    return count < 2**29 and table_of(plan) is not None


def mix_boxes(
    boxes: Float[Tensor, "p n 4"],
    plan: MixPlan,
    rule: Thresholds,
    *,
    beside: Shaped[Tensor, "p n"] | None = None,
    valid: Bool[Tensor, "p n"] | None = None,
) -> MixedBoxes:
    """Boxes measured and judged in one launch, as ``visible_boxes`` and ``judge`` do it on the host, bit for bit.

    Args:
        boxes: xyxy of every image, that ``suits_boxes``.
        plan: the plan.
        rule: the thresholds.
        beside: a further number per box, of 4 or 8 bytes.
        valid: which slots are filled; None: all.
    """
    from cutmix_dense.kernels.triton_boxes import boxes_kernel  # needs triton, which is optional

    table = table_of(plan)
    assert table is not None
    slots, device = boxes.shape[1], boxes.device
    shape = (len(plan), table.layers * slots)
    mixed = MixedBoxes(
        torch.empty((*shape, 4), dtype=boxes.dtype, device=device),
        None if beside is None else torch.empty(shape, dtype=beside.dtype, device=device),
        torch.empty(shape, dtype=torch.bool, device=device),
        torch.empty(shape, dtype=torch.float32, device=device),
        torch.empty((*shape, 2), dtype=torch.int64, device=device),
    )
    count = shape[0] * shape[1]
    words = 0 if beside is None else beside.element_size() // 4
    with current(device):
        boxes_kernel[(-(-count // _BLOCK),)](
            mixed.boxes,
            mixed.boxes if mixed.beside is None else mixed.beside.view(torch.int32),
            mixed.valid.view(torch.uint8),
            mixed.visibility,
            mixed.origin,
            boxes.contiguous(),
            boxes if beside is None else beside.contiguous().view(torch.int32),
            boxes if valid is None else valid.contiguous().view(torch.uint8),
            table_on(plan, device),
            table.rows.shape[1],
            table.layers,
            *table.grid,
            slots,
            count,
            BESIDE=words,
            HAS_VALID=valid is not None,
            LEAST_SHARE=float(rule.min_visibility[0]),
            LEAST_SHARE_PASTED=float(rule.min_visibility[1]),
            LEAST_SIDE=float(rule.min_size[0]),
            LEAST_SIDE_PASTED=float(rule.min_size[1]),
            MOST_ASPECT=0.0 if rule.max_aspect == float("inf") else float(rule.max_aspect),
            STRICT=rule.strict,
            BLOCK=_BLOCK,
            num_warps=4,
            enable_fp_fusion=False,
        )
    return mixed
