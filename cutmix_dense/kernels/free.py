"""Free-form plans on a device: which batches the kernel of free forms serves, and its launch."""

from __future__ import annotations

import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.kernels.device import current, serves
from cutmix_dense.kernels.patches import VECTORS, group_of, pattern, planes_of, words_of
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.fields import facts_of
from cutmix_dense.plan.memo import Once

_MOST_LAYERS = 4
_OWNERS = {1: torch.int32, 2: torch.int16}
"""How the owners of a word's pixels are read, by the bytes of a pixel."""


@Once
def _fits(plan: MixPlan) -> bool:
    """Whether all layers of a free-form plan cover the frame where they are, as far as that is known on the host."""
    known = facts_of.known(plan)
    facts = plan.facts if plan.device.type == "cpu" else known[0] if known else None
    if facts is None or not plan.free_form or plan.weight is not None or plan.ndim != 2 or not plan.unscaled:
        return False
    if tuple(plan.owner.shape[1:]) != tuple(plan.frame) or plan.owner.dtype != torch.int8:
        return False
    source, _, shift, extent, canvas = facts
    covers = (shift == 0).all(axis=2) & (extent[..., :2] == 0).all(axis=2) & (extent[..., 2:] >= plan.frame).all(axis=2)
    return bool((covers | (source < 0)).all() and (canvas == plan.frame).all())


def suits_free(pool: Tensor, plan: MixPlan, fill: Tensor | None, out: Tensor | None) -> bool:
    """Whether the kernel mixes a pool: layers of the frame's size that lie where they are, planes of whole vectors.

    Arguments as of ``patches_for``.
    """
    if is_compiling() or not plan.free_form or not serves(pool.device) or pool.is_complex() or 0 in pool.shape:
        return False
    if tuple(pool.shape[-2:]) != tuple(plan.frame) or not 0 < len(plan) < 2**16 or plan.layers > _MOST_LAYERS:
        return False
    if fill is not None and (not fill.is_cpu or fill.numel() != 1):
        return False
    if torch.is_grad_enabled() and (pool.requires_grad or (out is not None and out.requires_grad)):
        return False
    planes = planes_of(pool)
    if planes is None or planes.behind or planes.words != 4 or (out is not None and planes_of(out) != planes):
        return False
    return _fits(plan)


def mix_free(pool: Tensor, plan: MixPlan, fill: Tensor | None, out: Tensor) -> None:
    """Mix ``pool`` into ``out`` by a plan that ``suits_free``; pixels are those of ``mix_gather``, bit for bit."""
    from cutmix_dense.kernels.triton_free import free_kernel  # needs triton, which is optional

    planes, there = planes_of(pool), plan.to(pool.device)
    assert planes is not None
    group, vectors = group_of(planes), planes.plane // 16
    owner = there.owner.contiguous()
    owner = owner.clone() if owner.storage_offset() % 4 else owner  # whose words it is read by
    with current(pool.device):
        free_kernel[(-(-vectors // VECTORS), len(plan))](
            words_of(out, planes),
            words_of(pool, planes),
            owner.flatten().view(_OWNERS.get(planes.item, torch.int8)),
            there.source.contiguous(),
            vectors,
            planes.planes // group,
            *((0, 0) if fill is None else pattern(fill)),
            ITEM=planes.item,
            GROUP=group,
            LAYERS=plan.layers,
            VECTORS=VECTORS,
            num_warps=VECTORS // 32,
        )
