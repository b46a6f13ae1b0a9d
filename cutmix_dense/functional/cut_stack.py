"""Instance masks of a whole pool on a CUDA device, cut by one launch that measures them, too.

The masks of each image lie in a tensor of their own; the kernel finds them by their distance in memory from the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from cutmix_dense.functional.entries import Entries
from cutmix_dense.functional.fields import STATED
from cutmix_dense.functional.masks import LayerMasks, MixedMasks, mask_sizes
from cutmix_dense.functional.table import FieldTable
from cutmix_dense.functional.wrapping import as_plain
from cutmix_dense.kernels.device import serves
from cutmix_dense.kernels.table import sent_beside
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.moving import sent_beside_plan

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
    memory = None if STATED in table.instances or plan.ndim != 2 else _Memory.of(stacks)
    if memory is None:
        return None
    if plan.opacity is not None:  # translucent layers don't hide the base's masks
        return None
    if {*mask_sizes(stacks, plan, padded)} != {tuple(plan.frame)}:
        return None
    from cutmix_dense.kernels.triton_masks import cut_rows  # needs triton, which is optional

    entries = Entries.of(table.counts, table.ignored_counts, plan.facts.source)
    base, places = memory.read_at(entries.image, entries.position)
    rows = torch.from_numpy(np.stack([places, entries.output, entries.layer]))
    row, output, layer = sent_beside_plan(rows, plan, base.device)
    return CutStack(*cut_rows(base, plan.to(base.device), row, output, layer))


class _Memory(NamedTuple):
    """Masks of several tensors that kernels find by their distance from the first.

    Attributes:
        first: the first tensor with masks.
        starts: address of the masks of each image; 0 for none.
    """

    first: Shaped[Tensor, "n h w"]
    starts: Int[np.ndarray, " p"]

    @classmethod
    def of(cls, stacks: Sequence[Shaped[Tensor, "_n *_size"] | None]) -> _Memory | None:
        """Where masks lie; None but for whole numbers of one dtype, size and device in rows without gaps."""
        given = [stack for stack in stacks if stack is not None and stack.shape[0]]
        if not given or not serves(given[0].device):
            return None
        first = given[0]
        forms = {(stack.shape[1:], stack.dtype, stack.device, stack.ndim, stack.is_contiguous()) for stack in given}
        if len(forms) > 1 or not first.is_contiguous() or first.ndim != 3 or 0 in first.shape:
            return None
        if first.is_floating_point() or first.is_complex():
            return None
        starts = [0 if stack is None or not stack.shape[0] else stack.data_ptr() for stack in stacks]
        return cls(first, np.array(starts, dtype=np.int64))

    def read_at(
        self, image: Int[np.ndarray, " n"], row: Int[np.ndarray, " n"]
    ) -> tuple[Shaped[Tensor, "1 h w"], Int[np.ndarray, " n"]]:
        """A view from which kernels read, and the place of each mask along its first axis."""
        (height, width), item, start = self.first.shape[1:], self.first.element_size(), self.first.data_ptr()
        distance = self.starts[image] - start + row * (height * width * item)
        unit = _TOGETHER if not (distance % _TOGETHER).any() and start % _TOGETHER == 0 else item
        return self.first.as_strided((1, height, width), (unit // item, width, 1)), distance // unit


def union_at_once(
    masks: Sequence[Shaped[Tensor, "_n *_size"] | None],
    image: Int[np.ndarray, " b"],
    chosen: Bool[np.ndarray, "b n"],
    sizes: Int[np.ndarray, "b 2"],
    frame: tuple[int, ...],
) -> Bool[Tensor, "b *frame"] | None:
    """Pixels of each output that some chosen mask of its image covers, in one launch; None where it doesn't serve.

    It serves masks of the frame's size, as ``cut_at_once`` does.

    Args:
        masks: those of every image.
        image: the image of each output.
        chosen: which of its masks are taken.
        sizes: (height, width) beyond which they don't count.
        frame: size of the outputs.
    """
    memory = _Memory.of(masks)
    if memory is None or not memory.first.is_cuda or tuple(memory.first.shape[1:]) != tuple(frame):
        return None
    from cutmix_dense.kernels.triton_masks import unite_rows  # needs triton, which is optional

    output, row = (chosen & (memory.starts[image] > 0)[:, None]).nonzero()
    base, places = memory.read_at(image[output], row)
    first = np.searchsorted(output, np.arange(len(image) + 1))
    table = np.concatenate([np.stack([first[:-1], first[1:], *sizes.T], axis=1).reshape(-1), places])
    there = sent_beside([torch.from_numpy(table).view(torch.uint8)], None, base.device)
    return unite_rows(base, there.view(torch.int64), len(image))


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
