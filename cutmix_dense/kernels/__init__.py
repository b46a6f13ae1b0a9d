"""The fast ways to do one hot thing, and the one place that chooses among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.dtypes import WIDE_UNSIGNED, as_signed
from cutmix_dense.kernels.device import suits_fused
from cutmix_dense.kernels.gather import mix_gather
from cutmix_dense.kernels.layered import mix_layered
from cutmix_dense.kernels.layers import background, blank
from cutmix_dense.kernels.numpy_pixels import note_writing
from cutmix_dense.kernels.resample import Interpolation
from cutmix_dense.kernels.slices import mix_slices, suits
from cutmix_dense.kernels.soft import mix_soft
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import keeps_padding

__all__ = ["Interpolation", "mix_batch", "mix_list"]


def mix_batch(
    pool: Tensor,
    plan: MixPlan,
    *,
    fill: Tensor | None,
    interpolation: Interpolation,
    feather: float = 0.0,
    out: Tensor | None = None,
    inplace: bool = False,
) -> Tensor:
    """Mix a pool of one size into a padded batch (B, …, *frame).

    Padding beyond a canvas of the base's size stays the base's; beyond any other canvas is fill.

    Args:
        pool: (P, …, *size).
        plan: on the pool's device, or on the host.
        fill: value of pixels without owner, broadcastable against (…, *frame); None if the plan has none.
        interpolation: how scaled layers are read.
        feather: softness of the borders between layers: sigma of a Gaussian, pixels; 0 for hard ones.
        out: written to and returned, if given; shares no memory with ``pool``.
        inplace: the result is written into ``pool``, whose layer 0 lies at its own place; see ``mix_slices``.
    """
    if pool.dtype in WIDE_UNSIGNED and _only_moves(plan, interpolation, feather):
        own = None if out is None else as_signed(out)
        value = None if fill is None else as_signed(fill)
        moved = mix_batch(
            as_signed(pool), plan, fill=value, interpolation=interpolation, feather=feather, out=own, inplace=inplace
        )
        return moved.view(pool.dtype)
    if feather > 0 or plan.weight is not None:
        shape = (len(plan), *pool.shape[1 : pool.ndim - plan.ndim], *plan.frame)
        result = pool.new_empty(shape) if out is None or inplace else out
        mix_soft(pool, plan, fill, interpolation, feather, framed=True, out=result)
        if result is out:
            note_writing(out)
            return out
    elif suits_fused(pool, plan, out, interpolation):
        from cutmix_dense.kernels.triton_mix import mix_fused  # needs triton, which is optional

        plan = plan.to(pool.device)
        return mix_fused(pool, plan, fill, interpolation, out=out, inplace=inplace)
    elif is_compiling() and (plan.unscaled or interpolation == "nearest"):  # the host's ways can't be traced
        result = mix_gather(pool, plan.to(pool.device), fill)
    elif pool.device.type == "cpu" and suits(plan) and not (inplace and _takes_padding(plan)):
        if inplace:
            mix_slices(pool, plan, pool, fill, held=True)
            return pool
        result, held = _prepared(pool, plan, fill, out)
        mix_slices(pool, plan, result, fill, held=held, bases=range(len(plan)) if held else ())
        return result
    elif pool.device.type != "cpu" and (plan.unscaled or interpolation == "nearest"):
        result = mix_gather(pool, plan.to(pool.device), fill)
    else:
        shape = (len(plan), *pool.shape[1 : pool.ndim - plan.ndim], *plan.frame)
        result = pool.new_empty(shape) if out is None or inplace else out
        mix_layered(pool, plan, fill, interpolation, framed=True, out=result)
        if result is out:
            note_writing(out)
            return out
    target = pool if inplace else out
    return result if target is None else target.copy_(result)


def mix_list(
    pool: Sequence[Tensor], plan: MixPlan, *, fill: Tensor | None, interpolation: Interpolation, feather: float = 0.0
) -> list[Tensor]:
    """Mix images of different sizes into (…, *canvas) each; ``plan`` is on the host. Arguments as ``mix_batch``."""
    if pool[0].dtype in WIDE_UNSIGNED and _only_moves(plan, interpolation, feather):
        value = None if fill is None else as_signed(fill)
        moved = mix_list(list(map(as_signed, pool)), plan, fill=value, interpolation=interpolation, feather=feather)
        return [image.view(pool[0].dtype) for image in moved]
    if feather > 0 or plan.weight is not None:
        return mix_soft(pool, plan, fill, interpolation, feather, framed=False)
    if pool[0].device.type == "cpu" and suits(plan):
        sources, sizes = [layers[0] for layers in plan.source.tolist()], plan.canvas.tolist()
        bases = [max(index, 0) for index in sources]
        shapes = [pool[base].shape for base in bases]
        space = pool[0].ndim - plan.ndim
        held = sources == list(range(len(plan))) and all(list(s[space:]) == size for s, size in zip(shapes, sizes))
        outputs = [blank(pool[base], (*shape[:space], *size)) for base, shape, size in zip(bases, shapes, sizes)]
        mix_slices(pool, plan, outputs, fill, held=held, bases=bases if held else ())
        return outputs
    return mix_layered(pool, plan, fill, interpolation, framed=False)


def _only_moves(plan: MixPlan, interpolation: Interpolation, feather: float) -> bool:
    """Whether pixels are moved as they are, none weighed."""
    return interpolation == "nearest" and feather == 0 and plan.weight is None


def _takes_padding(plan: MixPlan) -> bool:
    """Whether some output gets the padding of another image than the one of its own number."""
    return bool((~_own_bases(plan) & (plan.facts.canvas != plan.frame).any(axis=1)).any())


def _own_bases(plan: MixPlan) -> Bool[np.ndarray, " b"]:
    """Whether the base of each output is the pool image of its own number."""
    return plan.facts.source[:, 0] == np.arange(len(plan))


def _prepared(pool: Tensor, plan: MixPlan, fill: Tensor | None, out: Tensor | None) -> tuple[Tensor, bool]:
    """A tensor for the outputs, and whether they are the pool's images, padding included, with few patches on top.

    One long copy beats many short ones then; else the pixels beyond the canvas are set.
    """
    shape = (len(plan), *pool.shape[1 : pool.ndim - plan.ndim], *plan.frame)
    if out is None:
        out = torch.empty_like(pool) if tuple(pool.shape) == shape else pool.new_empty(shape)
    if tuple(pool.shape) == shape and _own_bases(plan).all() and bool(keeps_padding(plan, plan.frame).all()):
        return out, True
    padded = (plan.canvas != torch.tensor(plan.frame, device=plan.device)).any(dim=1)
    for output in padded.nonzero()[:, 0].tolist():
        out[output].copy_(background(pool, plan, output, fill, plan.frame))
    return out, False
