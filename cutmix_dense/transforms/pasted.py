"""What a partner's instances cover as one layer: its rectangles, its masks, and which of its rows may be pasted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.blocks import block_of
from cutmix_dense.arrays.broadcast import along
from cutmix_dense.arrays.host import HOST, fetched, sent, tensor_of
from cutmix_dense.functional import mix_semantic
from cutmix_dense.functional.cut_stack import union_at_once
from cutmix_dense.functional.fields import FIELDS, STATED, count_instances
from cutmix_dense.functional.masks import mark_masks
from cutmix_dense.functional.row_values import rows_of_key
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import ranges_of
from cutmix_dense.transforms.pool import Pool


def with_tensors(targets: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Targets with tensors for the lists of numbers that a mix reads, as torchvision's datasets give ``iscrowd``."""
    found = list(targets)
    for index, target in enumerate(targets):
        lists = [key for key, value in target.items() if isinstance(value, (list, tuple)) and _may_be_listed(key)]
        if lists:
            where = f"targets[{index}]"
            count = count_instances(target, where)
            found[index] = {**target, **{key: rows_of_key(target, key, count, where) for key in lists}}
    return found


def _may_be_listed(key: str) -> bool:
    return key in FIELDS and FIELDS[key].listed is not None


def check_rows(targets: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> None:
    """Raise TypeError or ValueError unless every key that pasting needs has one row per instance."""
    for index, (target, count) in enumerate(zip(targets, counts)):
        if count and target.get("boxes") is None and target.get("masks") is None:
            raise ValueError(f"targets[{index}] has {count} instances but neither 'boxes' nor 'masks'")
        for key in ("boxes", "masks", STATED, "iscrowd"):
            value = target.get(key)
            if value is None:
                continue
            if not isinstance(value, Tensor):
                raise TypeError(f"targets[{index}][{key!r}] must be a tensor, got {type(value).__name__}")
            if value.numel() and (not value.ndim or value.shape[0] != count):
                got = tuple(value.shape)
                raise ValueError(f"targets[{index}][{key!r}] must have one row per instance ({count}), got {got}")


def may_be_pasted(targets: Sequence[Mapping[str, Any]], counts: Sequence[int], crowd: bool) -> Bool[np.ndarray, "b n"]:
    """Which instances of each image may be pasted: no stuff, and no crowds unless allowed."""
    may = np.arange(max(counts)) < np.array(counts)[:, None]
    columns: dict[int, Tensor] = {}
    for index, target in enumerate(targets):
        if "iscrowd" in target and target["iscrowd"] is not None and counts[index] and not crowd:
            columns[index] = target["iscrowd"] == 0
        if "isthing" in target and target["isthing"] is not None:
            things = tensor_of(target["isthing"]).bool()
            columns[index] = sent(columns[index], things.device) & things if index in columns else things
    device = next((column.device for column in columns.values() if column.device.type != "cpu"), HOST)
    for index, fits in zip(columns, fetched([sent(column, device) for column in columns.values()])):
        may[index, : counts[index]] = fits.numpy()
    return may


def unstated(targets: Sequence[Mapping[str, Any]], most: int) -> Bool[Tensor, "b n"]:
    """Which instances of each image have no mask, by ``has_mask``; on the host."""
    unstated = torch.zeros((len(targets), most), dtype=torch.bool, device=HOST)
    given = [(index, target[STATED]) for index, target in enumerate(targets) if target.get(STATED) is not None]
    given = [(index, stated) for index, stated in given if len(stated)]
    for (index, _), stated in zip(given, fetched([stated for _, stated in given])):
        unstated[index, : len(stated)] = (stated == 0).reshape(len(stated), -1).any(dim=1)
    return unstated


def rectangles_of(
    chosen: Bool[Tensor, "b n"],
    pool: Pool,
    source: Int[Tensor, "b 2"],
    scale: Float[Tensor, "b 2 d"],
    shift: Float[Tensor, "b 2 d"],
    *,
    fetch: bool = False,
) -> Int[Tensor, "b n ends"]:
    """Canvas pixels that the boxes of pasted instances meet, on the boxes' device; empty for other instances.

    With ``fetch`` the boxes are brought to the host, and the rectangles lie there.
    """
    objects, images = pool.objects(fetch=fetch), source.numpy()
    at, ndim = objects.boxes.device, pool.ndim
    partner = sent(torch.from_numpy(np.maximum(images[:, 1], 0)), at)
    boxes, present = objects.boxes.index_select(0, partner), objects.present.index_select(0, partner)
    sizes = pool.sizes.numpy()[np.maximum(images, 0)]
    extent = np.concatenate([np.zeros_like(sizes), sizes], axis=2)
    factor, offset = scale[:, 1:], shift[:, 1:]
    absent = (images[:, 1:] < 0)[..., None]
    ranges = ranges_of(np, factor.numpy(), offset.numpy(), extent[:, 1:], sizes[:, :1], absent)
    least, most = sent(ranges[0], at), sent(ranges[1], at)  # a box may extend beyond its image
    factor, offset = sent(factor, at), sent(offset, at)
    ends = (boxes[..., :ndim] * factor + offset, boxes[..., ndim:] * factor + offset)
    low = torch.maximum(torch.minimum(*ends).floor().long(), least)
    high = torch.minimum(torch.maximum(*ends).ceil().long(), most)
    return torch.cat([low, torch.maximum(low, high)], dim=2) * (sent(chosen, at) & present)[..., None]


def paint(owner: Int[Tensor, "b *frame"], rectangles: Int[Tensor, "b n ends"], boxed: Bool[Tensor, "b n"]) -> None:
    """Write 1 into the rectangles of the instances in ``boxed``, without waiting for a device."""
    ndim = owner.ndim - 1
    for output, row in boxed.nonzero().tolist():
        ends = rectangles[output, row]
        inside: Any = True
        for axis, length in enumerate(owner.shape[1:]):
            pixel = torch.arange(length, device=owner.device)
            inside = inside & along((pixel >= ends[axis]) & (pixel < ends[ndim + axis]), axis, ndim)
        owner[output].masked_fill_(inside, 1)


def by_masks(
    chosen: Bool[Tensor, "b n"], targets: Sequence[Mapping[str, Any]], pool: Pool, source: Int[Tensor, "b 2"]
) -> Int[Tensor, "b *frame"]:
    """Owners before the partner is moved: 1 inside pasted masks, else 0."""
    device = next(target["masks"].device for target in targets if target.get("masks") is not None)
    partner, sizes = source[:, 1].clamp(min=0), pool.sizes.tolist()
    stacks = [None if target.get("masks") is None else target["masks"].as_subclass(Tensor) for target in targets]
    at = partner.numpy()
    united = union_at_once(stacks, at, chosen.numpy(), pool.sizes.numpy()[at], pool.frame)
    if united is not None:
        return united.view(torch.int8)
    union = torch.zeros((len(source), *pool.frame), dtype=torch.bool, device=device)
    for output, image in enumerate(partner.tolist()):
        stack, rows = stacks[image], chosen[output].nonzero()[:, 0].tolist()
        if stack is None or not rows:
            continue
        block = block_of(map(min, stack.shape[1:], sizes[image]))
        mark_masks(union[output][block], [stack[row][block] for row in rows])
    return union.view(torch.int8)


def moved(
    owner: Int[Tensor, "b *frame"],
    pool: Pool,
    source: Int[Tensor, "b 2"],
    scale: Float[Tensor, "b 2 d"],
    shift: Float[Tensor, "b 2 d"],
) -> Int[Tensor, "b *frame"]:
    """Owners on the canvas: 1 inside pasted masks, mapped exactly as the masks themselves will be."""
    canvas = pool.sizes[source[:, 0]]
    alone = MixPlan.from_grid(
        torch.arange(len(source), device=HOST)[:, None],
        tuple(torch.stack([torch.zeros_like(size), size], dim=1) for size in canvas.T),
        torch.zeros((len(source), *(1,) * pool.ndim), dtype=torch.long, device=HOST),
        pool.sizes[source[:, 1].clamp(min=0)],
        frame=pool.frame,
        scale=scale[:, 1:],
        shift=shift[:, 1:],
        canvas=canvas,
    )
    return mix_semantic(owner, alone, ignore_index=0)
