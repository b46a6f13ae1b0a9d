"""Which tensors the fused kernels serve, and how a plan gets to where they lie."""

from __future__ import annotations

import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.compiling import is_compiling
from cutmix_dense.kernels.resample import Interpolation
from cutmix_dense.plan import MixPlan

__all__ = ["current", "plan_to_device", "serves", "suits_fused"]

# Triton is looked for, not imported. The kernels need its third version, which came with torch 2.4 and its operators.
_HAS_TRITON = importlib.util.find_spec("triton") is not None and hasattr(torch.library, "custom_op")
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_ALIGNMENT = 16  # bytes: a kernel is compiled for pointers of this alignment, so all are given it


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
    filtered = interpolation != "nearest" and not plan.unscaled
    if filtered and not (pool.is_floating_point() or pool.dtype == torch.uint8):
        return False
    needs_gradient = torch.is_grad_enabled() and any(batch.requires_grad for batch in batches)
    return not needs_gradient and all(_has_even_planes(batch) for batch in batches)


def _has_even_planes(batch: Tensor) -> bool:
    """Whether all that lies between batch and space can be walked with one stride."""
    lead = range(1, batch.ndim - 3)
    return all(batch.stride(axis) == batch.stride(axis + 1) * batch.shape[axis + 1] for axis in lead)


def plan_to_device(plan: MixPlan, device: torch.device) -> MixPlan:
    """The plan on ``device``: its small tensors packed into one buffer, sent by one copy, once.

    To CUDA the copy is asynchronous; to the host it is waited for.

    Args:
        plan: anywhere; returned if it is there already.
        device: with its index, as ``tensor.device`` gives it.
    """
    if plan.device == device:
        return plan
    if device.type != "cuda" or is_compiling():
        return plan.kept(f"on {device}", lambda: _moved(plan, device))
    if torch.cuda.is_current_stream_capturing():  # what is captured holds nothing before it is replayed
        return _moved(plan, device)
    stream = torch.cuda.current_stream(device).cuda_stream  # others don't wait for its copy
    return plan.kept(f"on {device}, {stream}", lambda: _moved(plan, device))


def _moved(plan: MixPlan, device: torch.device) -> MixPlan:
    if plan.device.type == "cpu" and device.type == "cuda":
        return _unpack(plan, _pack(plan, pinned=True).to(device, non_blocking=True))
    if device.type == "cpu":
        return _unpack(plan, _pack(plan, pinned=False).to(device))
    return plan.to(device, non_blocking=plan.device.type == "cpu" and device.type != "mps")


def _parts(plan: MixPlan) -> dict[str, tuple[Tensor, ...]]:
    """The tensors of every field that holds some."""
    values = {field.name: getattr(plan, field.name) for field in fields(plan)}
    parts = {name: value if isinstance(value, tuple) else (value,) for name, value in values.items()}
    return {name: part for name, part in parts.items() if all(isinstance(item, Tensor) for item in part)}


def _starts(tensors: list[Tensor]) -> list[int]:
    """Where each tensor begins in the buffer, in bytes; and, last, how long the buffer is."""
    lengths = (-(-tensor.numel() * tensor.element_size() // _ALIGNMENT) * _ALIGNMENT for tensor in tensors)
    return list(accumulate(lengths, initial=0))


def _pack(plan: MixPlan, *, pinned: bool) -> Tensor:
    """All tensors of a plan, one after the other, as bytes, where it lies."""
    tensors = [tensor for part in _parts(plan).values() for tensor in part]
    starts = _starts(tensors)
    buffer = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=pinned, device=plan.device)
    for start, tensor in zip(starts, tensors):
        data = tensor.contiguous().flatten().view(torch.uint8)
        buffer[start : start + len(data)].copy_(data)
    return buffer


def _unpack(plan: MixPlan, buffer: Tensor) -> MixPlan:
    """``plan`` with every tensor a view into ``buffer``."""
    parts = _parts(plan)
    tensors = [tensor for part in parts.values() for tensor in part]
    views = iter(
        buffer[start : start + tensor.numel() * tensor.element_size()].view(tensor.dtype).reshape(tensor.shape)
        for start, tensor in zip(_starts(tensors), tensors)
    )
    moved: dict[str, Any] = {name: tuple(next(views) for _ in part) for name, part in parts.items()}
    whole = replace(plan, check=False, **{name: part if name == "edges" else part[0] for name, part in moved.items()})
    plan.tell(whole)
    return whole
