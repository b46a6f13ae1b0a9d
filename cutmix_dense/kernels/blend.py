"""Soft plans on a device: which batches the kernel of blends serves, and its launch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.kernels.device import MOST, current, serves
from cutmix_dense.kernels.table import table_of, table_on
from cutmix_dense.plan import MixPlan

_DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)
_MOST_LAYERS = 4
_BYTES, _WARPS = 32, 4
"""Per thread, and per block."""


def suits_blend(pool: Tensor, plan: MixPlan, out: Tensor | None) -> bool:
    """Whether the kernel blends a pool: a soft plan on the host whose layers all cover the frame, pixels in one run.

    It weighs bytes and floating point of up to 32 bits.
    """
    if is_compiling() or not serves(pool.device) or pool.dtype not in _DTYPES or pool.numel() == 0:
        return False
    if tuple(pool.shape[-2:]) != tuple(plan.frame) or not 0 < len(plan) < 2**16 or plan.layers > _MOST_LAYERS:
        return False
    batches = [pool] if out is None else [pool, out]
    if torch.is_grad_enabled() and any(batch.requires_grad for batch in batches):
        return False
    behind = not pool.is_contiguous() and pool.ndim == 4
    layout = torch.channels_last if behind else torch.contiguous_format
    if not all(batch.is_contiguous(memory_format=layout) for batch in batches) or pool[0].numel() >= MOST:
        return False
    table = table_of(plan)
    return table is not None and table.blend


def mix_blend(pool: Tensor, plan: MixPlan, out: Tensor) -> None:
    """Blend ``pool`` into ``out``, in float32; both as ``suits_blend`` says."""
    from cutmix_dense.kernels.triton_blend import blend_kernel  # needs triton, which is optional

    table = table_of(plan)
    assert table is not None
    size = math.prod(pool.shape[1:])
    block = 32 * _WARPS * _BYTES // pool.element_size()
    with current(pool.device):
        blend_kernel[(-(-size // block), len(plan))](
            out,
            pool,
            table_on(plan, pool.device),
            table.rows.shape[1],
            size,
            LAYERS=table.layers,
            BLOCK=block,
            num_warps=_WARPS,
            enable_fp_fusion=False,
        )
