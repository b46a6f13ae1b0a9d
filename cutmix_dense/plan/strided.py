"""A plan of pixels as one of feature maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from cutmix_dense.plan.makers import PlanMakers

Plan = TypeVar("Plan", bound=PlanMakers)


def strided(plan: Plan, stride: int) -> Plan:
    """The plan for features of that stride; see ``MixPlan.at_stride``."""
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(f"stride must be a whole number of at least 1, got {stride!r}")
    if stride == 1:
        return plan
    if plan.free_form:
        raise ValueError("at_stride needs a plan of cells, got a free-form one: take at_stride(…) before inverse()")
    if not plan.unscaled:
        raise ValueError("at_stride needs an unscaled plan, got one that scales its layers")
    shift, ndim = plan.shift.long(), plan.ndim
    inner = [torch.where(edge < end[:, None], edge, 0) for edge, end in zip(plan.edges, plan.canvas.T)]
    numbers: dict[str, Tensor] = {"shift": shift, "extent": plan.extent[..., :ndim]}
    numbers |= {f"edges[{axis}]": edge for axis, edge in enumerate(inner)}
    for name, value in numbers.items():
        if bool((value % stride != 0).any()):
            wrong = value[value % stride != 0].unique().tolist()
            raise ValueError(f"{name} must be multiples of the stride {stride}, got {wrong[:5]}: draw larger tiles")

    def up(pixels: Tensor) -> Tensor:
        return (pixels + stride - 1) // stride

    return replace(
        plan,
        check=False,
        shift=(shift // stride).to(plan.shift.dtype),
        extent=up(plan.extent),
        canvas=up(plan.canvas),
        edges=tuple(map(up, plan.edges)),
        frame=tuple((length + stride - 1) // stride for length in plan.frame),
    )
