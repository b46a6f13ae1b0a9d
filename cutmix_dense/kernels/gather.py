"""Any plan under nearest sampling, by index: batched, on any device, without a host sync. The reference of the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from cutmix_dense.arrays.broadcast import along, everywhere, within
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import keeps_padding

__all__ = ["mix_gather"]


def mix_gather(pool: Tensor, plan: MixPlan, fill: Tensor | None) -> Tensor:
    """The mixed outputs (B, …, *frame) of a pool (P, …, *size).

    Args:
        pool: images or maps of one size.
        plan: on the pool's device.
        fill: value of pixels without owner; None: zero, for plans that have none.
    """
    ndim = plan.ndim
    lead = pool.shape[1 : pool.ndim - ndim]
    owner = plan.owner_map().reshape(len(plan), *(1,) * len(lead), *plan.frame)
    out = pool.new_zeros((len(plan), *lead, *plan.frame))
    if fill is not None:
        out = out + fill
    out = _keep_padding(pool, plan, out)
    space_last = torch.movedim(pool, tuple(range(1, 1 + len(lead))), tuple(range(-len(lead), 0))) if lead else pool
    for layer in range(plan.layers):
        index = [everywhere(plan.source[:, layer].clamp(min=0), ndim)]
        for axis in range(ndim):
            pixel = plan.source_pixels(axis)[:, layer].clamp(max=pool.shape[pool.ndim - ndim + axis] - 1)
            index.append(along(pixel, axis, ndim))
        pixels = space_last[tuple(index)]
        if lead:
            pixels = torch.movedim(pixels, tuple(range(-len(lead), 0)), tuple(range(1, 1 + len(lead))))
        out = torch.where(owner == layer, pixels, out)
    return out


def _keep_padding(pool: Tensor, plan: MixPlan, out: Tensor) -> Tensor:
    """Padding beyond the canvas stays the base's."""
    space = pool.shape[pool.ndim - plan.ndim :]
    if tuple(space) != tuple(plan.frame):
        return out
    lead = (1,) * (pool.ndim - plan.ndim - 1)
    kept = ~within(plan.canvas, plan.frame) & everywhere(keeps_padding(plan, space), plan.ndim)
    base = pool[plan.source[:, 0].clamp(min=0)]
    return torch.where(kept.reshape(len(plan), *lead, *plan.frame), base, out)
