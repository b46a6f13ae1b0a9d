"""Any plan under nearest sampling, by index: batched, on any device, without a host sync. The reference of the rest."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cutmix_dense.arrays.broadcast import along, everywhere, within
from cutmix_dense.arrays.dtypes import counted_in, exact_dtype
from cutmix_dense.kernels.numpy_pixels import round_into
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import inside_of, keeps_padding

__all__ = ["blend_gather", "mix_gather"]


def mix_gather(pool: Tensor, plan: MixPlan, fill: Tensor | None) -> Tensor:
    """The mixed outputs (B, …, *frame) of a pool (P, …, *size).

    Args:
        pool: images or maps of one size.
        plan: a hard one, on the pool's device.
        fill: value of pixels without owner; None: zero, for plans that have none.
    """
    owner = _over_planes(plan.owner_map(), pool, plan)
    out = _ground(pool, plan, fill)
    for layer, pixels in enumerate(_layers_of(pool, plan)):
        out = torch.where(owner == layer, pixels, out)
    return out


def blend_gather(pool: Tensor, plan: MixPlan, fill: Tensor | None) -> Tensor:
    """``mix_gather`` for a plan with weights: the sum of its layers, in the order and precision of ``mix_soft``."""
    assert plan.weight is not None
    weight = everywhere(plan.weight.to(exact_dtype(pool.device)), plan.ndim)
    for axis, inside in enumerate(inside_of(plan)):
        weight = weight * along(inside, axis, plan.ndim)
    total = weight.sum(dim=1)
    shared = _over_planes((total > 0).expand(-1, *plan.frame), pool, plan)
    total = torch.where(total > 0, total, 1)
    exact = pool.to(counted_in(pool.dtype))
    mixed = exact.new_zeros(())
    for layer, pixels in enumerate(_layers_of(exact, plan)):
        share = (weight[:, layer] / total).to(exact.dtype).expand(-1, *plan.frame)
        mixed = mixed + pixels * _over_planes(share, pool, plan)
    out = _ground(pool, plan, fill)
    if pool.is_floating_point():
        return torch.where(shared, mixed.to(pool.dtype), out)
    rounded = torch.empty_like(out)
    round_into(rounded, mixed)
    return torch.where(shared, rounded, out)


def _lead(pool: Tensor, plan: MixPlan) -> tuple[int, ...]:
    """The axes of a pool between its batch and its space."""
    return tuple(pool.shape[1 : pool.ndim - plan.ndim])


def _over_planes(values: Tensor, pool: Tensor, plan: MixPlan) -> Tensor:
    """(B, *frame) broadcast over the planes of a pool."""
    return values.reshape(len(plan), *(1,) * len(_lead(pool, plan)), *plan.frame)


def _layers_of(pool: Tensor, plan: MixPlan) -> Iterator[Tensor]:
    """What each layer would show at every pixel of the frame, (B, …, *frame)."""
    ndim, lead = plan.ndim, len(_lead(pool, plan))
    front, behind = tuple(range(1, 1 + lead)), tuple(range(-lead, 0))
    space_last = torch.movedim(pool, front, behind) if lead else pool
    for layer in range(plan.layers):
        index = [everywhere(plan.source[:, layer].clamp(min=0), ndim)]
        for axis in range(ndim):
            pixel = plan.source_pixels(axis)[:, layer].clamp(max=pool.shape[pool.ndim - ndim + axis] - 1)
            index.append(along(pixel, axis, ndim))
        pixels = space_last[tuple(index)]
        yield torch.movedim(pixels, behind, front) if lead else pixels


def _ground(pool: Tensor, plan: MixPlan, fill: Tensor | None) -> Tensor:
    """Outputs before any layer is put on them: fill, and beyond the canvas the base's own padding."""
    out = pool.new_zeros((len(plan), *_lead(pool, plan), *plan.frame))
    if fill is not None:
        out = out + fill
    space = pool.shape[pool.ndim - plan.ndim :]
    if tuple(space) != tuple(plan.frame):
        return out
    kept = ~within(plan.canvas, plan.frame) & everywhere(keeps_padding(plan, space), plan.ndim)
    return torch.where(_over_planes(kept, pool, plan), pool[plan.source[:, 0].clamp(min=0)], out)
