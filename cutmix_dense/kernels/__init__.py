"""One contract, several ways to keep it, and the one place that asks where things lie and chooses.

The reference in plain torch is the definition: ``gather`` by index, ``layered`` layer by layer, ``soft`` by weights. On
the host the compiled library (``native``) does the same in one pass. On CUDA, Triton's kernels do: fast ones for
whole-pixel cells (``patches``), free forms (``free``) and blends of one size (``blend``), and a general one for other
hard plans (``triton_mix``). Layers with an opacity are mixed as opaque ones, then weighed (``translucent``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.dtypes import WIDE_UNSIGNED, as_signed
from cutmix_dense.arrays.memory import in_large_pages
from cutmix_dense.kernels.blend import mix_blend, suits_blend
from cutmix_dense.kernels.device import serves, suits_fused
from cutmix_dense.kernels.free import mix_free, suits_free
from cutmix_dense.kernels.gather import blend_gather, mix_gather
from cutmix_dense.kernels.layered import mix_layered
from cutmix_dense.kernels.layers import blank, empty_batch
from cutmix_dense.kernels.native_pixels import mix_native, suits_native
from cutmix_dense.kernels.patches import exchange, joined_launches, mix_patches, patches_for, sent_with_plan
from cutmix_dense.kernels.resample import Interpolation
from cutmix_dense.kernels.soft import mix_soft
from cutmix_dense.kernels.translucent import blend_below, blended
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import base_alone, has_fill, opaque

__all__ = ["Interpolation", "joined_launches", "mix_batch", "mix_list", "sent_with_plan"]


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
        fill: value of pixels without owner, broadcastable against (…, *frame), one number on the pool's device or on
            the host; None if the plan has none.
        interpolation: how scaled layers are read.
        feather: softness of the borders between layers: sigma of a Gaussian, pixels; 0 for hard ones.
        out: written to and returned, if given; shares no memory with ``pool``.
        inplace: the result is written into ``pool``.
    """
    if plan.opacity is not None and feather == 0:
        return _mix_translucent(pool, plan, fill, interpolation, out, inplace)
    if pool.dtype in WIDE_UNSIGNED and _only_moves(plan, interpolation, feather):
        own = None if out is None else as_signed(out)
        value = None if fill is None else as_signed(fill)
        moved = mix_batch(
            as_signed(pool), plan, fill=value, interpolation=interpolation, feather=feather, out=own, inplace=inplace
        )
        return moved.view(pool.dtype)
    soft, moves = feather > 0 or plan.weight is not None, plan.unscaled or interpolation == "nearest"
    if serves(pool.device):
        mixed = _mix_on_device(pool, plan, fill, interpolation, feather, out, inplace)
        if mixed is not None:
            return mixed
    if fill is not None and fill.device != pool.device:
        fill = _there(fill, pool.device)
    compiling = is_compiling()
    by_index = mix_gather if plan.weight is None else blend_gather
    counts = (plan.weight is None and moves) or pool.dtype not in WIDE_UNSIGNED
    if feather == 0 and counts and (compiling or (moves and not pool.is_cpu)):
        result = by_index(pool, plan.to(pool.device), fill, "nearest" if moves else interpolation)
        target = pool if inplace else out
        return result if target is None else target.copy_(result)
    native = feather == 0 and not compiling and suits_native(pool, plan, fill, out, interpolation)
    if inplace and native and not soft:
        result = pool
    elif out is not None:
        result = out
    else:
        shape = (len(plan), *pool.shape[1 : pool.ndim - plan.ndim], *plan.frame)
        result = torch.empty_like(pool) if pool.shape == shape else pool.new_empty(shape)
        result = in_large_pages(result) if native else result
    if native:
        mix_native(pool, plan, result, fill, interpolation)
    elif soft:
        mix_soft(pool, plan, fill, interpolation, feather, framed=True, out=result)
    else:
        mix_layered(pool, plan, fill, interpolation, framed=True, out=result)
    if inplace and result is not pool:
        return pool.copy_(result)
    if (inplace or out is not None) and not result.is_inference():
        result[:0].zero_()  # nothing is written, but counted, in case a backward has saved the tensor
    return result


def _mix_translucent(
    pool: Tensor,
    plan: MixPlan,
    fill: Tensor | None,
    interpolation: Interpolation,
    out: Tensor | None,
    inplace: bool,
) -> Tensor:
    """``mix_batch`` by a plan with opacities: as if all were opaque, then what shows below is added."""
    read: dict[str, Any] = {"fill": fill, "interpolation": interpolation}
    if is_compiling() or not pool.is_cpu:
        there = plan.to(pool.device)
        mixed, base = (mix_batch(pool, one, **read) for one in (opaque(there), base_alone(there)))
        result = blended(mixed, base, there)
        target = pool if inplace else out
        return result if target is None else target.copy_(result)
    result = mix_batch(pool, opaque(plan), **read, out=out)
    blend_below(result, pool, plan, interpolation)
    return pool.copy_(result) if inplace else result


def _mix_on_device(
    pool: Tensor,
    plan: MixPlan,
    fill: Tensor | None,
    interpolation: Interpolation,
    feather: float,
    out: Tensor | None,
    inplace: bool,
) -> Tensor | None:
    """``mix_batch`` by the fastest of Triton's kernels that serves the batch; None where none does."""
    soft, moves = feather > 0 or plan.weight is not None, plan.unscaled or interpolation == "nearest"
    patches = None if soft or not moves else patches_for(pool, plan, fill, out)
    if patches is not None and inplace and patches.table.exchanges and len(pool) == len(plan):
        exchange(pool, plan, patches)
        return pool
    mix_into: Callable[[Tensor], None] | None = None
    if patches is not None and not inplace:
        mix_into = partial(mix_patches, pool, plan, patches)
    elif not (inplace or soft) and moves and suits_free(pool, plan, fill, out):
        mix_into = partial(mix_free, pool, plan, fill)
    elif plan.weight is not None and feather == 0 and not inplace and suits_blend(pool, plan, out):
        mix_into = partial(mix_blend, pool, plan)
    if mix_into is not None:
        result = empty_batch(pool, plan) if out is None else out
        mix_into(result)
        return result
    if soft or not suits_fused(pool, plan, out, interpolation):
        return None
    from cutmix_dense.kernels.triton_mix import mix_fused  # needs triton, which is optional

    fill = None if has_fill.known(plan) == (False,) else _there(fill, pool.device)
    return mix_fused(pool, plan.to(pool.device), fill, interpolation, out=out, inplace=inplace)


def mix_list(
    pool: Sequence[Tensor], plan: MixPlan, *, fill: Tensor | None, interpolation: Interpolation, feather: float = 0.0
) -> list[Tensor]:
    """Mix images of different sizes into (…, *canvas) each; ``plan`` is on the host. Arguments as ``mix_batch``."""
    if plan.opacity is not None and feather == 0:
        mixed = mix_list(pool, opaque(plan), fill=fill, interpolation=interpolation)
        blend_below(mixed, pool, plan, interpolation)
        return mixed
    if pool[0].dtype in WIDE_UNSIGNED and _only_moves(plan, interpolation, feather):
        value = None if fill is None else as_signed(fill)
        moved = mix_list(list(map(as_signed, pool)), plan, fill=value, interpolation=interpolation, feather=feather)
        return [image.view(pool[0].dtype) for image in moved]
    if fill is not None and fill.device != pool[0].device:
        fill = _there(fill, pool[0].device)
    space = pool[0].ndim - plan.canvas.shape[1]
    if space > 1 and pool[0].is_cpu:  # stacks of pictures whose channels lie behind, as in arrays
        pool = [image.contiguous() for image in pool]
    if feather > 0 or is_compiling() or not suits_native(pool, plan, fill, None, interpolation):
        if feather > 0 or plan.weight is not None:
            return mix_soft(pool, plan, fill, interpolation, feather, framed=False)
        return mix_layered(pool, plan, fill, interpolation, framed=False)
    outputs = []
    for layers, size in zip(plan.source.tolist(), plan.canvas.tolist()):
        base = pool[layers[0] if layers[0] > 0 else 0]
        outputs += [blank(base, (*base.shape[:space], *size))]
    mix_native(pool, plan, outputs, fill, interpolation)
    return outputs


def _there(fill: Tensor | None, device: torch.device) -> Tensor | None:
    """A fill where the pixels lie; a single number is written there, so that nothing is copied or waited for."""
    if fill is None or fill.device == device:
        return fill
    return torch.full((), fill.item(), dtype=fill.dtype, device=device)


def _only_moves(plan: MixPlan, interpolation: Interpolation, feather: float) -> bool:
    """Whether pixels are moved as they are, none weighed."""
    return interpolation == "nearest" and feather == 0 and plan.weight is None
