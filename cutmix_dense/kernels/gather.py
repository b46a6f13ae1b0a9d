"""Any plan, all outputs at once, on any device, without a host sync, and in one graph when compiled.

Under nearest sampling pixels are taken by index: the reference of all other ways. Filtered ones are matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cutmix_dense.arrays.broadcast import along, everywhere, within
from cutmix_dense.arrays.dtypes import counted_in, exact_dtype, full_precision
from cutmix_dense.kernels.resample import Interpolation, in_dtype, round_into, triangle_weights
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import inside_of, keeps_padding


def mix_gather(pool: Tensor, plan: MixPlan, fill: Tensor | None, interpolation: Interpolation = "nearest") -> Tensor:
    """The mixed outputs (B, …, *frame) of a pool (P, …, *size).

    Args:
        pool: images or maps of one size.
        plan: a hard one, on the pool's device.
        fill: value of pixels without owner; None: zero, for plans that have none.
        interpolation: how scaled layers are read.
    """
    owner = _over_planes(plan.owner_map(), pool, plan)
    out = _ground(pool, plan, fill)
    for layer, pixels in enumerate(_layers_of(pool, plan, interpolation)):
        out = torch.where(owner == layer, in_dtype(pixels, pool.dtype), out)
    return out


def blend_gather(pool: Tensor, plan: MixPlan, fill: Tensor | None, interpolation: Interpolation = "nearest") -> Tensor:
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
    for layer, pixels in enumerate(_layers_of(exact, plan, interpolation)):
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


def _layers_of(pool: Tensor, plan: MixPlan, interpolation: Interpolation) -> Iterator[Tensor]:
    """What each layer would show at every pixel of the frame, (B, …, *frame); filtered, in the dtype of the sums."""
    ndim, lead = plan.ndim, len(_lead(pool, plan))
    front, behind = tuple(range(1, 1 + lead)), tuple(range(-lead, 0))
    space_last = torch.movedim(pool, front, behind) if lead else pool
    for layer in range(plan.layers):
        index = [everywhere(plan.source[:, layer].clamp(min=0), ndim)]
        for axis in range(ndim):
            pixel = plan.source_pixels(axis)[:, layer].clamp(max=pool.shape[pool.ndim - ndim + axis] - 1)
            index.append(along(pixel, axis, ndim))
        pixels = space_last[tuple(index)]
        pixels = torch.movedim(pixels, behind, front) if lead else pixels
        if interpolation != "nearest":
            moves = (plan.scale[:, layer] == 1) & (plan.shift[:, layer] == plan.shift[:, layer].round())
            filtered = _filtered(pool[index[0].flatten()], plan, layer, interpolation)
            pixels = torch.where(everywhere(moves.all(dim=1), pool.ndim - 1), pixels, filtered)
        yield pixels


def _filtered(images: Tensor, plan: MixPlan, layer: int, interpolation: Interpolation) -> Tensor:
    """One layer of each output (B, …, *size) as its filter shows it over the frame: a product of matrices per axis.

    If torch may use TF32 in products, they are as coarse as that.
    """
    ndim, real, exact = plan.ndim, counted_in(images.dtype), exact_dtype(images.device)
    with full_precision(images.device):
        pixels = images.to(real)
        for axis in range(ndim):
            line = torch.arange(plan.frame[axis], device=images.device)
            tap = torch.arange(pixels.shape[axis - ndim], device=images.device)
            scale, shift = (values[:, layer, axis, None].to(exact) for values in (plan.scale, plan.shift))
            low, high = (plan.extent[:, layer, end, None, None] for end in (axis, ndim + axis))
            position = (line.to(exact) + 0.5 - shift) / scale
            reach = (1 / scale.abs()).clamp(min=1)[..., None] if interpolation == "antialias" else 1.0
            weight = triangle_weights(tap, position, reach, (low, high)).to(real)
            rows = torch.movedim(pixels, axis - ndim, -1)
            rows = torch.bmm(rows.flatten(1, -2), weight.transpose(1, 2)).reshape(*rows.shape[:-1], -1)
            pixels = torch.movedim(rows, -1, axis - ndim)
    return pixels


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
