"""Which tensors the fused kernels serve."""

from __future__ import annotations

import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.kernels.resample import Interpolation
from cutmix_dense.plan import MixPlan

# Triton is looked for, not imported. The kernels need its third version, which came with torch 2.4 and its operators.
_HAS_TRITON = importlib.util.find_spec("triton") is not None and hasattr(torch.library, "custom_op")
MOST = 2**31 - 2**16
"""Numbers of an image, or cells of a plan, that the kernels count in 32 bits; beyond, plain torch does the work."""

_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def serves(device: torch.device) -> bool:
    """Whether Triton kernels run on tensors there: on CUDA, or interpreted (``TRITON_INTERPRET=1``) on the CPU."""
    return _HAS_TRITON and (device.type == "cuda" or (_INTERPRETED and device.type == "cpu"))


def current(device: torch.device) -> AbstractContextManager[Any]:
    """A context for launches on tensors there: Triton launches on the current device, whatever its tensors lie on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def suits_fused(
    pool: Tensor, plan: MixPlan, out: Tensor | None = None, interpolation: Interpolation = "nearest"
) -> bool:
    """Whether the fused kernel can mix ``pool``: hard plans of images that need no gradient, on a device it serves.

    It moves any dtype, but filters floating point and uint8 only.
    """
    if not serves(pool.device) or plan.ndim != 2 or plan.weight is not None or plan.scale.dtype != torch.float32:
        return False
    if pool.is_complex() or pool.numel() == 0 or len(plan) == 0 or 0 in plan.frame:
        return False
    batches = [pool] if out is None else [pool, out]
    if plan.owner.numel() >= MOST or any(batch.numel() // len(batch) >= MOST for batch in batches):
        return False
    filtered = interpolation != "nearest" and not plan.unscaled
    if filtered and not (pool.is_floating_point() or pool.dtype == torch.uint8):
        return False
    needs_gradient = torch.is_grad_enabled() and any(batch.requires_grad for batch in batches)
    return not needs_gradient and all(_has_even_planes(batch) for batch in batches)


def _has_even_planes(batch: Tensor) -> bool:
    """Whether all that lies between batch and space can be walked with one stride."""
    lead = range(1, batch.ndim - 3)
    return all(batch.stride(axis) == batch.stride(axis + 1) * batch.shape[axis + 1] for axis in lead)
