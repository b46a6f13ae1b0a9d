"""Translucent layers: what their opacity leaves of the base below them, added to a mix that takes them for opaque."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cutmix_dense.arrays.blocks import filled, spatial
from cutmix_dense.arrays.dtypes import as_signed, counted_in, limits_of
from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.kernels.layers import read, windows
from cutmix_dense.kernels.resample import Interpolation, round_into
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import opaque


def blend_below(
    mixed: Tensor | Sequence[Tensor], pool: Tensor | Sequence[Tensor], plan: MixPlan, interpolation: Interpolation
) -> None:
    """Blend the base into the pixels of translucent layers, in place: ``opacity · layer + (1 - opacity) · base``.

    Only the blocks where such layers show are read and written. Integers are rounded, halves to even.

    Args:
        mixed: the outputs, (…, *size) each, mixed by ``opaque(plan)``.
        pool: the images they were mixed from.
        plan: one with opacities; one that lies on a device is read back.
        interpolation: how a scaled base is read.
    """
    host = plan.to(HOST)
    solid = opaque(host)
    assert host.opacity is not None
    opacities = host.opacity.tolist()
    some = [any(opacity < 1 for opacity in row) for row in opacities]
    owners = solid.owner_map().numpy() if any(some) else None
    for output, row in enumerate(opacities):
        if not some[output]:
            continue
        assert owners is not None
        for layer, place in windows(solid, output):
            if row[layer] == 1:
                continue
            mask = owners[output][place] == layer
            within = filled(mask)
            if within is None:
                continue
            block = tuple(slice(p.start + w.start, p.start + w.stop) for p, w in zip(place, within))
            shown = mixed[output][spatial(block)]
            base = read(pool, solid, output, 0, block, interpolation)
            total = _weighed(shown, base, row[layer])
            inside = mask[within]
            if not inside.all():
                total = torch.where(sent(inside, total.device), total, shown.to(total.dtype))
            _write(shown, total)


def blended(mixed: Tensor, base: Tensor, plan: MixPlan) -> Tensor:
    """The same of whole batches, without waiting for the device or a break of a compiled graph.

    Args:
        mixed: (B, …, *frame), mixed by ``opaque(plan)``.
        base: the bases alone, likewise.
        plan: where the batches lie.
    """
    assert plan.opacity is not None
    owner = opaque(plan).owner_map()
    real = counted_in(mixed.dtype)
    opacity = plan.opacity.to(real).gather(1, owner.clamp(min=0).long().flatten(1)).reshape(owner.shape)
    opacity = torch.where(owner > 0, opacity, 1).reshape(
        len(owner), *(1,) * (mixed.ndim - owner.ndim), *owner.shape[1:]
    )
    total = _weighed(mixed, base, opacity)
    if not mixed.dtype.is_floating_point:
        total = total.round()
        total = total.clamp(*limits_of(mixed.dtype)) if mixed.element_size() == 8 else total
    return torch.where(opacity < 1, as_signed(total.to(mixed.dtype)), as_signed(mixed)).view(mixed.dtype)


def _weighed(pixels: Tensor, base: Tensor, opacity: float | Tensor) -> Tensor:
    """The sum of both by opacity, each product rounded, so that it is the same on every device."""
    real = counted_in(pixels.dtype)
    return pixels.to(real) * opacity + base.to(real) * (1 - opacity)


def _write(target: Tensor, total: Tensor) -> None:
    if target.dtype.is_floating_point:
        target.copy_(total)
    else:
        round_into(target, total)
