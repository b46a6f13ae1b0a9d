"""Checks of a plan's fields: first their shapes, then every value."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.broadcast import along
from cutmix_dense.arrays.host import Column, looked_up
from cutmix_dense.plan.fields import PlanFacts, PlanFields
from cutmix_dense.plan.geometry import pixel_ranges
from cutmix_dense.plan.ownership import opaque, owned_pixels

_FARTHEST = 2**23
"""Pixels; up to here float32 holds half-integers, the centres of pixels."""


def check_shapes(plan: PlanFields) -> None:
    """Check types, shapes, dtypes and devices of a plan's fields.

    Raises:
        TypeError: a field isn't a tensor.
        ValueError: a field has the wrong shape, dtype or device; the message names it.
    """
    edges = {f"edges[{axis}]": edge for axis, edge in enumerate(plan.edges)}
    given: dict[str, Any] = {**dict(zip(PlanFacts._fields, plan.small)), "owner": plan.owner, **edges}
    given |= {} if plan.carry is None else {"carry": plan.carry}
    given |= {} if plan.weight is None else {"weight": plan.weight}
    given |= {} if plan.opacity is None else {"opacity": plan.opacity}
    for name, value in given.items():
        if type(value) is not Tensor and not isinstance(value, Tensor):
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
    expected: dict[str, tuple[int, ...]] = {
        "source": (batch, layers),
        "scale": (batch, layers, ndim),
        "shift": (batch, layers, ndim),
        "extent": (batch, layers, 2 * ndim),
        "canvas": (batch, ndim),
        "owner": (batch, *[edge.shape[-1] - 1 for edge in plan.edges]),
        "weight": (batch, layers),
        "opacity": (batch, layers),
        "carry": (batch, layers, given["carry"].shape[-1] if "carry" in given else 0),
    }
    for name, tensor in given.items():
        shape = expected[name] if name in expected else (batch, tensor.shape[-1])
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
        if tensor.device != plan.source.device:
            raise ValueError(f"{name} lies on {tensor.device}, source on {plan.source.device}: one device is needed")
        floating = name in ("scale", "shift", "weight", "opacity")
        if tensor.dtype.is_floating_point != floating:
            raise ValueError(f"{name} must be {'floating point' if floating else 'integer'}, got {tensor.dtype}")


def check_values(plan: PlanFields) -> None:
    """Check every value of a plan on the host, after ``check_shapes``.

    Raises:
        ValueError: a value is out of range; the message names the field, the first such output, and what is allowed.
    """
    (source, scale, shift, extent, canvas), owner = plan.facts, plan.owner.numpy()
    ndim, layers = plan.ndim, plan.layers

    def check(right: Bool[np.ndarray, "b ..."], name: str, rule: str, value: np.ndarray) -> None:
        if not np.logical_and.reduce(right, axis=None):
            output = int(np.argwhere(~right)[0, 0])
            raise ValueError(f"{name} of output {output} must {rule}, got {value[output].tolist()}")

    check(source >= -1, "source", "be a pool index or -1", source)
    absent = (source < 0)[..., None]
    every = not np.logical_or.reduce(absent, axis=None)
    if not every:  # the values of absent layers don't matter
        scale, shift, extent = np.where(absent, 1, scale), np.where(absent, 0, shift), np.where(absent, 0, extent)
    low, high = extent[..., :ndim], extent[..., ndim:]
    check(np.isfinite(scale) & (scale != 0), "scale", "be finite and not 0", scale)
    check(np.isfinite(shift), "shift", "be finite", shift)
    check((low >= 0) & (low <= high), "extent", "hold 0 <= low <= high", extent)
    reach = np.abs(scale).astype(np.float64) * high + np.abs(shift)
    if np.maximum.reduce(reach, axis=None, initial=0) > _FARTHEST:
        rule = f"place its image within {_FARTHEST} pixels of the canvas"  # beyond it, float32 has no half-integers
        check(reach <= _FARTHEST, "scale and shift", rule, np.stack([scale, shift], axis=-1))
    check(canvas >= 1, "canvas", "be at least 1 pixel", canvas)
    check(canvas <= plan.frame, "canvas", f"fit the frame {plan.frame}", canvas)
    for axis, edge in enumerate(map(Tensor.numpy, plan.edges)):
        check(edge[:, 1:] >= edge[:, :-1], f"edges[{axis}]", "never decrease", edge)
        check(edge[:, 0] == 0, f"edges[{axis}]", "start at 0", edge)
        check(edge[:, -1] == canvas[:, axis], f"edges[{axis}]", "end at the canvas", edge)
    if plan.unscaled and not is_unscaled(np, source, scale, shift):
        raise ValueError("unscaled must be None or False for layers that are scaled, got True")
    owner = owner.reshape(owner.shape[0], -1)
    least, most = np.minimum.reduce(owner, axis=None, initial=-1), np.maximum.reduce(owner, axis=None, initial=-1)
    if least < -1 or most >= layers:
        check((owner >= -1) & (owner < layers), "owner", f"be -1 or a layer below {layers}", owner)
    if not every:
        some = np.flatnonzero((source < 0).any(axis=1))
        fill = np.ones((len(some), 1), dtype=bool)  # -1, the last column, may show
        shown = np.ones(len(source), dtype=bool)
        shown[some] = looked_up(np.concatenate([source[some] >= 0, fill], axis=1), owner[some]).all(axis=1)
        check(shown, "owner", "show only layers that are present (source >= 0)", owner)
    if plan.weight is not None:
        weight = plan.weight.detach().numpy()
        check((weight >= 0) & np.isfinite(weight), "weight", "be at least 0", weight)
        check(owner == 0, "owner", "be 0 in a soft plan", owner)
    if plan.opacity is not None:
        if plan.weight is not None:
            raise ValueError("opacity must be None in a soft plan, whose layers have weights")
        opacity = plan.opacity.detach().numpy()
        check((opacity > 0) & (opacity <= 1), "opacity", "lie in (0, 1]", opacity)
        check(opacity[:, :1] == 1, "opacity", "be 1 for the base", opacity)
        base = np.concatenate([bound[:, 0].numpy() for bound in pixel_ranges(plan)], axis=1)
        covers = (base == np.concatenate([0 * canvas, canvas], axis=1)).all(axis=1, keepdims=True)
        check((opacity == 1) | covers, "opacity", "be 1 where the base doesn't cover the canvas", opacity)
        area, cells = np.ones((len(source),) + (1,) * ndim), plan.owner.numpy()
        for axis, edge in enumerate(map(Tensor.numpy, plan.edges)):
            area = area * along(np.diff(edge, axis=1), axis, ndim)
        wanted = np.stack([np.where(cells == s, area, 0).reshape(len(cells), -1).sum(1) for s in range(layers)], axis=1)
        reached = owned_pixels(opaque(plan)).numpy() == wanted
        check((opacity == 1) | reached, "opacity", "be 1 where the layer's cells reach beyond its extent", opacity)


def is_unscaled(
    xp: Any, source: Int[Column, "b s"], scale: Float[Column, "b s d"], shift: Float[Column, "b s d"]
) -> bool:
    """Whether every present layer has scale 1 and a whole-pixel shift; ``xp`` is numpy or torch, as the columns are."""
    whole = (scale == 1) & (shift == xp.floor(shift))
    right = whole | (source < 0)[..., None]
    return bool(np.logical_and.reduce(right, axis=None) if xp is np else right.all())
