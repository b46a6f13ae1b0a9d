"""The inverse of a plan: mixed pixels back to the images they came from."""

from __future__ import annotations

import math
from typing import TypeVar

import torch

from cutmix_dense.arrays.blocks import block_of
from cutmix_dense.arrays.broadcast import along, everywhere, within
from cutmix_dense.plan.geometry import source_pixels
from cutmix_dense.plan.makers import PlanMakers
from cutmix_dense.plan.ownership import owner_map

Plan = TypeVar("Plan", bound=PlanMakers)


def inverted(plan: Plan) -> Plan:
    """The inverse of a plan, see ``MixPlan.inverse``: output i is pool image i, put together again."""
    if plan.weight is not None or plan.opacity is not None:
        raise ValueError("inverse needs a hard plan, got one that blends its layers")
    if not plan.unscaled:
        raise ValueError("inverse needs an unscaled plan, got one that scales its layers")
    if plan.frames > 1:
        raise ValueError(f"inverse needs a plan of single images, got clips of {plan.frames} frames")
    pool, ndim, device = int(plan.source.max()) + 1, plan.ndim, plan.device
    outputs = everywhere(torch.arange(len(plan), device=device), ndim)
    owner = owner_map(plan).long()
    layer = owner.clamp(min=0)
    inside = within(plan.canvas, plan.frame)
    if bool((inside & (owner < 0)).any()):
        raise ValueError("inverse needs a plan whose pixels all have an owner, got one that leaves fill")
    sizes = torch.zeros((pool, ndim), dtype=torch.int64, device=device)
    for image, extent in zip(plan.source.flatten().tolist(), plan.extent.flatten(0, 1)[:, ndim:]):
        if image >= 0:
            sizes[image] = torch.maximum(sizes[image], extent)
    frame = tuple(sizes.amax(dim=0).tolist())
    place = plan.source[outputs, layer]  # flat index in the pool of each mixed pixel's source
    for axis, length in enumerate(frame):
        line = along(torch.arange(plan.frame[axis], device=device)[None], axis, ndim)
        place = place * length + source_pixels(plan, axis)[outputs, layer, line]
    shown = torch.bincount(place[inside], minlength=pool * math.prod(frame)).reshape(pool, *frame)
    wrong = (within(sizes, frame) & (shown != 1)).flatten(1).sum(dim=1)
    if bool(wrong.any()):
        image, count = int(wrong.argmax()), int(wrong.max())
        raise ValueError(
            f"inverse needs a plan that shows every pixel once; of image {image} it loses or repeats {count}"
        )
    # each (output, layer) that shows pixels of a pool image becomes a layer of the inverse, with its shift negated
    slot = torch.zeros(shown.numel(), dtype=torch.int64, device=device)
    slot[place[inside]] = (outputs * plan.layers + layer)[inside]
    slot = slot.reshape(shown.shape)
    used = [slots[block].unique() for slots, block in zip(slot, map(block_of, sizes.tolist()))]
    most = max(map(len, used))
    source = torch.full((pool, most), -1, dtype=torch.int64, device=device)
    shift = torch.zeros((pool, most, ndim), dtype=torch.float32, device=device)
    for image, slots in enumerate(used):
        source[image, : len(slots)] = slots // plan.layers
        shift[image, : len(slots)] = -plan.shift.flatten(0, 1)[slots]
        slot[image] = torch.searchsorted(slots, slot[image]).clamp(max=len(slots) - 1)
    return type(plan).from_map(source, slot, plan.canvas, scale=torch.ones_like(shift), shift=shift, canvas=sizes)
