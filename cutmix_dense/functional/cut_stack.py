"""Instance masks of a whole pool on a CUDA device, cut by one launch that measures them, too.

The masks of each image lie in a tensor of their own; the kernel finds them by their distance in memory from the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.host import sent
from cutmix_dense.functional.entries import Entries
from cutmix_dense.functional.fields import STATED
from cutmix_dense.functional.masks import LayerMasks, MixedMasks, mask_sizes
from cutmix_dense.functional.table import FieldTable
from cutmix_dense.functional.wrapping import as_plain
from cutmix_dense.kernels.device import serves
from cutmix_dense.plan import MixPlan

__all__ = ["CutStack", "cut_at_once", "layers_of"]

_TOGETHER = 16
"""Bytes that the kernel moves at once, where all masks begin at multiples of so many."""


class CutStack(NamedTuple):
    """What a plan shows of the masks of every entry, in the order of ``Entries``.

    Attributes:
        masks: where the targets lie.
        facts: as ``triton_masks.cut_rows`` gives them.
    """

    masks: Shaped[Tensor, "e *frame"]
    facts: Int[Tensor, "e 6"]


def cut_at_once(table: FieldTable, plan: MixPlan, padded: bool | None) -> CutStack | None:
    """The masks of a table, cut; None where the kernel doesn't serve them.

    It serves whole numbers of one dtype, size and device in rows without gaps, of images of one size, all stated.

    Args:
        table: its masks lie on the device.
        plan: of two axes, anywhere.
        padded: see ``masks.mask_sizes``.
    """
    stacks = [None if value is None else as_plain(value) for value in table.instances["masks"]]
    given = [stack for stack in stacks if stack is not None and stack.shape[0]]
    if not given or not serves(given[0].device) or STATED in table.instances or plan.ndim != 2:
        return None
    first = given[0]
    forms = {(stack.shape[1:], stack.dtype, stack.device, stack.ndim, stack.is_contiguous()) for stack in given}
    if len(forms) > 1 or not first.is_contiguous() or first.ndim != 3 or 0 in first.shape:
        return None
    if first.is_floating_point() or first.is_complex() or {*mask_sizes(stacks, plan, padded)} != {tuple(plan.frame)}:
        return None
    from cutmix_dense.kernels.triton_masks import cut_rows  # needs triton, which is optional

    entries = Entries.of(table.counts, table.ignored_counts, plan.facts.source)
    starts = np.array([0 if stack is None else stack.data_ptr() for stack in stacks], dtype=np.int64)
    one, item = first[0].nbytes, first.element_size()
    distance = starts[entries.image] - first.data_ptr() + entries.position * one
    unit = _TOGETHER if not (distance % _TOGETHER).any() and first.data_ptr() % _TOGETHER == 0 else item
    rows = np.stack([distance // unit, entries.output, entries.layer])
    row, output, layer = sent(rows, first.device)
    height, width = first.shape[1:]
    base = first.as_strided((1, height, width), (unit // item, width, 1))
    return CutStack(*cut_rows(base, plan.to(first.device), row, output, layer))


def layers_of(
    cut: CutStack, plan: MixPlan, masks: Sequence[Shaped[Tensor, "_n *_size"] | None]
) -> dict[tuple[int, int], LayerMasks]:
    """The masks of each (output, layer), as ``mix_masks`` gives them, with facts on the host.

    Args:
        cut: with its facts on the host.
        plan: the plan.
        masks: those of every pool image.
    """
    (height, width), facts = plan.frame, cut.facts.numpy()
    visible, whole = facts[:, 0], facts[:, 1].astype(np.float64)
    boxes = np.stack([width - facts[:, 2], height - facts[:, 3], facts[:, 4], facts[:, 5]], axis=1)
    boxes = np.where(visible[:, None] > 0, boxes, 0).astype(np.float64)
    places, counts = [], []
    for output, layers in enumerate(plan.facts.source.tolist()):
        for layer, image in enumerate(layers):
            stack = masks[image] if image >= 0 else None
            if stack is not None and stack.shape[0]:
                places.append((output, layer))
                counts.append(stack.shape[0])
    columns = (cut.masks, *(torch.from_numpy(column) for column in (visible.copy(), whole, boxes)))
    parts = zip(*(column.split_with_sizes(counts) for column in columns))
    return {place: MixedMasks(*part) for place, part in zip(places, parts)}
