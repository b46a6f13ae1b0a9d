"""What the fields of a plan must be: their shapes, and every value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from cutmix_dense.plan import MixPlan

__all__ = ["check_shapes", "check_values", "is_unscaled"]

_FARTHEST = 2**23
"""Pixels; float32 knows the centres of pixels, which are half-integers, so far."""


def check_shapes(plan: MixPlan) -> None:
    """Check kinds, shapes and places of a plan's fields.

    Raises:
        TypeError: a field that is no tensor.
        ValueError: a field of the wrong shape or dtype, or on another device, named.
    """
    given = {name: getattr(plan, name) for name in ("source", "scale", "shift", "extent", "canvas", "owner")}
    given |= {f"edges[{axis}]": edge for axis, edge in enumerate(plan.edges)}
    given |= {name: getattr(plan, name) for name in ("carry", "weight") if getattr(plan, name) is not None}
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if plan.source.ndim != 2:
        raise ValueError(f"source must have shape (B, S), got {tuple(plan.source.shape)}")
    if plan.canvas.ndim != 2 or plan.canvas.shape[1] not in (2, 3):
        raise ValueError(f"canvas must have shape (B, 2) or (B, 3), got {tuple(plan.canvas.shape)}")
    batch, layers = plan.source.shape
    ndim = plan.canvas.shape[1]
    if plan.frames < 1 or batch % plan.frames:
        raise ValueError(f"frames must divide the {batch} outputs into clips, got {plan.frames!r}")
    if len(plan.edges) != ndim:
        raise ValueError(f"edges must hold one tensor per axis: {ndim}, got {len(plan.edges)}")
    if plan.source.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"source must be int64 or int32, got {plan.source.dtype}")
    if plan.carry is not None and plan.carry.dtype != torch.bool:
        raise ValueError(f"carry must be bool, got {plan.carry.dtype}")
    if len(plan.frame) != ndim:
        raise ValueError(f"frame must hold one size per axis: {ndim}, got {plan.frame!r}")
    expected = {
        "scale": (plan.scale, (batch, layers, ndim)),
        "shift": (plan.shift, (batch, layers, ndim)),
        "extent": (plan.extent, (batch, layers, 2 * ndim)),
        "canvas": (plan.canvas, (batch, ndim)),
        "owner": (plan.owner, (batch, *(edge.shape[-1] - 1 for edge in plan.edges))),
    }
    for axis, edge in enumerate(plan.edges):
        expected[f"edges[{axis}]"] = (edge, (batch, edge.shape[-1]))
    if plan.weight is not None:
        expected["weight"] = (plan.weight, (batch, layers))
    if plan.carry is not None:
        expected["carry"] = (plan.carry, (batch, layers, plan.carry.shape[-1]))
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
        if tensor.device != plan.source.device:
            raise ValueError(f"{name} lies on {tensor.device}, source on {plan.source.device}: one device is needed")
        floating = name in ("scale", "shift", "weight")
        if tensor.is_floating_point() != floating:
            raise ValueError(f"{name} must be {'floating point' if floating else 'integer'}, got {tensor.dtype}")


def check_values(plan: MixPlan) -> None:
    """Check every value of a plan whose shapes are right.

    Raises:
        ValueError: the field, the first output where it is wrong, and what is allowed.
    """

    def check(ok: Tensor, name: str, rule: str, value: Tensor) -> None:
        if not bool(ok.all()):
            output = int((~ok).nonzero()[0, 0])
            raise ValueError(f"{name} of output {output} must {rule}, got {value[output].tolist()}")

    present = plan.source >= 0
    present_d = present[..., None]
    low, high = plan.extent[..., : plan.ndim], plan.extent[..., plan.ndim :]
    check(plan.source >= -1, "source", "be a pool index or -1", plan.source)
    check(~present_d | (plan.scale.isfinite() & (plan.scale != 0)), "scale", "be finite and not 0", plan.scale)
    check(~present_d | plan.shift.isfinite(), "shift", "be finite", plan.shift)
    check(~present_d | ((low >= 0) & (low <= high)), "extent", "hold 0 <= low <= high", plan.extent)
    reach = plan.scale.abs() * high + plan.shift.abs()
    rule = f"place its image within {_FARTHEST} pixels of the canvas"  # beyond, float32 has no half pixels
    check(~present_d | (reach <= _FARTHEST), "scale and shift", rule, torch.stack([plan.scale, plan.shift], dim=-1))
    check(plan.canvas >= 1, "canvas", "be at least 1 pixel", plan.canvas)
    frame = torch.tensor(plan.frame, device=plan.device)
    check(plan.canvas <= frame, "canvas", f"fit the frame {plan.frame}", plan.canvas)
    for axis, edge in enumerate(plan.edges):
        check(edge[:, 1:] >= edge[:, :-1], f"edges[{axis}]", "never decrease", edge)
        check(edge[:, :1] == 0, f"edges[{axis}]", "start at 0", edge)
        check(edge[:, -1:] == plan.canvas[:, axis, None], f"edges[{axis}]", "end at the canvas", edge)
    if plan.unscaled and not is_unscaled(plan.source, plan.scale, plan.shift):
        raise ValueError("unscaled must be None or False for layers that are scaled, got True")
    owner = plan.owner.flatten(1)
    if owner.numel() and not -1 <= int(owner.min()) <= int(owner.max()) < plan.layers:
        check((owner >= -1) & (owner < plan.layers), "owner", f"be -1 or a layer below {plan.layers}", owner)
    if not bool(present.all()):
        shown = torch.gather(present, 1, owner.long().clamp(min=0)) | (owner < 0)
        check(shown, "owner", "show only layers that are present (source >= 0)", owner)

    if plan.weight is not None:
        check((plan.weight >= 0) & plan.weight.isfinite(), "weight", "be at least 0", plan.weight)
        check(plan.owner.flatten(1) == 0, "owner", "be 0 in a soft plan", owner)


def is_unscaled(source: Int[Tensor, "b s"], scale: Float[Tensor, "b s d"], shift: Float[Tensor, "b s d"]) -> bool:
    """Whether every present layer has scale 1 and a whole-pixel shift."""
    whole = (scale == 1) & (shift == shift.round())
    return bool((whole | (source < 0)[..., None]).all())
