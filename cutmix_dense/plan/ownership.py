"""Which layer owns a pixel or a cell, how much each layer owns, and whether anything is left for fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.broadcast import along, everywhere
from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import Column
from cutmix_dense.plan.fields import PlanFields
from cutmix_dense.plan.geometry import covers_frame, inside_of, pixel_ranges
from cutmix_dense.plan.memo import Once

Plan = TypeVar("Plan", bound=PlanFields)


def carried_by(
    plan: PlanFields, output: Int[Tensor, " n"], layer: Int[Tensor, " n"], position: Int[Tensor, " n"]
) -> Bool[Tensor, " n"]:
    """Whether instances come along with their layer; ``position`` is their index in their image."""
    if plan.carry is None or not plan.carry.shape[2]:
        return torch.ones_like(position, dtype=torch.bool)
    most = plan.carry.shape[2]
    return plan.carry[output, layer, position.clamp(max=most - 1)] | (position >= most)


# ------------------------------------------------------------------------------------------------ translucent layers


def opaque(plan: Plan) -> Plan:
    """The plan with every layer's opacity taken for 1: what its pasted layers are measured by."""
    return plan if plan.opacity is None else replace(plan, check=False, opacity=None)


@Once
def beneath(plan: Any) -> Any:
    """The hard plan that the base is measured by: layers of an opacity below 1 don't hide it."""
    return _without_lighter(plan, 1.0)


@Once
def of_ids(plan: Any) -> Any:
    """The hard plan of what can't blend, such as maps of ids: layers of an opacity below 0.5 leave them the base's."""
    return _without_lighter(plan, 0.5)


def base_alone(plan: Plan) -> Plan:
    """The hard plan that shows the base everywhere that it reaches."""
    return replace(plan, check=False, owner=torch.zeros_like(plan.owner), opacity=None)


def _without_lighter(plan: Plan, least: float) -> Plan:
    """The hard plan with the pixels of layers of an opacity below ``least`` given to the base."""
    if plan.opacity is None:
        return plan
    owner = plan.owner.flatten(1).long()
    light = (plan.opacity < least).gather(1, owner.clamp(min=0)) & (owner >= 0)
    owner = torch.where(light, 0, owner).view_as(plan.owner).to(plan.owner.dtype)
    return replace(plan, check=False, owner=owner, opacity=None)


def weighs(plan: PlanFields) -> bool:
    """Whether instances of different layers may have different weights."""
    return plan.weight is not None or plan.opacity is not None


def instance_weights(plan: PlanFields) -> Float[Tensor, "b s"]:
    """The weight of the instances of each layer: its share of a soft plan, or its opacity."""
    if plan.weight is not None:
        return (plan.weight / plan.weight.sum(dim=1, keepdim=True)).float()
    assert plan.opacity is not None
    return plan.opacity.float()


# ---------------------------------------------------------------------------------------------------------------- cells


def cell_at(pixels: Int[Tensor, "m n"], edges: Int[Tensor, "m _edges"]) -> Int[Tensor, "m n"]:
    """Cell that holds each pixel; the last cell for pixels beyond the canvas."""
    cell = torch.searchsorted(edges[:, 1:].contiguous(), pixels.contiguous(), right=True)
    return cell.clamp(max=edges.shape[1] - 2)


def shows_in(plan: PlanFields, output: Int[Tensor, " n"], layer: Int[Tensor, " n"]) -> Bool[Tensor, "*g n"]:
    """Cells that each layer shows in, within its extent: those it owns, or all if it has a weight."""
    if plan.weight is None:
        return plan.owner.movedim(0, -1)[..., output] == layer
    return (plan.weight[output, layer] > 0).expand(*plan.owner.shape[1:], -1)


def cells_of(
    plan: PlanFields, output: Int[Tensor, " n"], layer: Int[Tensor, " n"], dtype: torch.dtype
) -> tuple[Bool[Tensor, "*g n"], Float[Tensor, "d _edges n"]]:
    """Cells that n layers show in, and the edges of the cells; axes with fewer cells are padded with empty ones.

    Args:
        plan: on the device of the columns.
        output: output of each layer.
        layer: index of each layer within its output.
        dtype: of the edges.
    """
    grid, most = plan.owner.shape[1:], max(plan.owner.shape[1:])
    shows = shows_in(plan, output, layer)
    stacked = [edge.T for edge in plan.edges]
    if min(grid) < most:
        behind = [amount for cells in reversed(grid) for amount in (0, most - cells)]
        shows = torch.nn.functional.pad(shows, (0, 0, *behind))
        stacked = [torch.cat([edge, edge[-1:].expand(most + 1 - len(edge), -1)]) for edge in stacked]
    return shows, torch.stack(stacked).to(dtype)[:, :, output]


def _counted(plan: PlanFields) -> Float[Tensor, "b s"]:
    """Number of pixels of each layer of a plan on the host with a cell per pixel, counted where the layer reaches."""
    owner, (low, high) = plan.owner.numpy(), (bound.tolist() for bound in pixel_ranges(plan))
    counts = np.zeros((len(plan), plan.layers))
    for output, layer in np.ndindex(*counts.shape):
        reached = tuple(slice(*ends) for ends in zip(low[output][layer], high[output][layer]))
        counts[output, layer] = np.count_nonzero(owner[output][reached] == layer)
    return torch.from_numpy(counts)


def _layer_cells(
    xp: Any, edges: Sequence[Int[Column, "b _edges"]], low: Int[Column, "b d"], high: Int[Column, "b d"]
) -> Int[Column, "b *g"]:
    """Number of pixels of every cell in the pixel range of one layer, whoever owns them; ``xp`` is numpy or torch."""
    area: Any = 1
    for axis, edge in enumerate(edges):
        ends = xp.minimum(xp.maximum(edge, low[:, axis, None]), high[:, axis, None])
        area = area * along(ends[:, 1:] - ends[:, :-1], axis, len(edges))
    return area


def owned_pixels(plan: PlanFields) -> Float[Tensor, "b s"]:
    """Number of canvas pixels that belong to each layer."""
    if plan.weight is not None:
        low, high = pixel_ranges(plan)
        layers = [_layer_cells(torch, plan.edges, low[:, s], high[:, s]) for s in range(plan.layers)]
        cells = torch.stack(layers, dim=1)
        weight = everywhere(plan.weight.double(), plan.ndim) * (cells > 0)
        return (cells * weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-300)).flatten(2).sum(2)
    pixels = _owned_pixels(plan)
    if plan.opacity is None:
        return pixels
    shows = pixels * plan.opacity
    return torch.cat([shows[:, :1] + (pixels - shows).sum(dim=1, keepdim=True), shows[:, 1:]], dim=1)


def _owned_pixels(plan: PlanFields) -> Float[Tensor, "b s"]:
    """Number of pixels that each layer of a hard plan owns."""
    fields: Any = (*pixel_ranges(plan), plan.owner, *plan.edges)
    host = plan.device.type == "cpu" and not is_compiling()
    if host and plan.free_form and tuple(plan.owner.shape[1:]) == tuple(plan.frame):
        return _counted(plan)
    if host:  # numpy is cheaper for a few cells
        fields = map(Tensor.numpy, fields)
    low, high, owner, *edges = fields
    xp, space = np if host else torch, tuple(range(1, plan.ndim + 1))
    owned = [
        (_layer_cells(xp, edges, low[:, layer], high[:, layer]) * (owner == layer)).sum(space)
        for layer in range(plan.layers)
    ]
    pixels = xp.stack(owned, 1)
    return torch.from_numpy(pixels.astype(np.float64)) if host else pixels.double()


@Once
def has_fill(plan: PlanFields) -> bool:
    """Whether some canvas pixel belongs to no layer."""
    owned = owned_pixels(plan).sum(dim=1)
    return bool((owned.round() < plan.canvas.prod(dim=1)).any())


# --------------------------------------------------------------------------------------------------------------- pixels


def owner_map(plan: PlanFields) -> Int[Tensor, "b *frame"]:
    """The layer of every frame pixel; -1 for fill and beyond the canvas."""
    if plan.device.type == "cpu" and not is_compiling():
        return torch.from_numpy(_painted_owner(plan))
    outputs = everywhere(torch.arange(len(plan), device=plan.device), plan.ndim)
    cells, pixels = [], []
    for axis, edges in enumerate(plan.edges):
        pixel = torch.arange(plan.frame[axis], device=plan.device).expand(len(plan), -1)
        cells.append(along(cell_at(pixel, edges), axis, plan.ndim))
        pixels.append(along(pixel, axis, plan.ndim))
    at = (outputs, *cells)
    owner = plan.owner[at].long()
    layer = owner.clamp(min=0)
    valid = owner >= 0
    for axis, inside in enumerate(inside_of(plan)):
        valid = valid & inside[outputs, layer, pixels[axis]]
    return torch.where(valid, owner, -1).to(plan.owner.dtype)


def _painted_owner(plan: PlanFields) -> Int[np.ndarray, "b *frame"]:
    """The owner map of a plan on the host: cells painted as blocks, cleared outside of their layer's extent."""
    cells, edges = plan.owner.numpy(), [edge.numpy() for edge in plan.edges]
    owner = np.full((len(plan), *plan.frame), -1, dtype=cells.dtype)
    low, high = (bound.tolist() for bound in pixel_ranges(plan))
    for output, canvas in enumerate(plan.canvas.tolist()):
        inner = tuple(slice(0, n) for n in canvas)
        pixels = cells[output]
        if plan.free_form:
            pixels = pixels[inner]
        else:
            for axis in reversed(range(plan.ndim)):
                pixels = pixels.repeat(np.diff(edges[axis][output]), axis=axis)
        owner[output][inner] = pixels
        pixels = owner[output]
        for layer, image in enumerate(plan.source[output].tolist()):
            reach = tuple(slice(a, b) for a, b in zip(low[output][layer], high[output][layer]))
            if image >= 0 and reach != inner:
                lost = pixels == layer
                lost[reach] = False
                pixels[lost] = -1
    return owner


def shared_weights(plan: PlanFields) -> Float[Tensor, "b s *frame"]:
    """Weight of each layer at every frame pixel; they sum to 1, or to 0 for fill and beyond the canvas.

    The result is expanded, not copied, where all pixels of an output have equal weights.
    """
    if plan.weight is None:
        layers = everywhere(torch.arange(plan.layers, device=plan.device), plan.ndim)
        shows = (owner_map(plan)[:, None] == layers).float()
        if plan.opacity is None:
            return shows
        part = shows * everywhere(plan.opacity.float(), plan.ndim)
        return torch.cat([part[:, :1] + (shows - part).sum(dim=1, keepdim=True), part[:, 1:]], dim=1)
    weight = everywhere(plan.weight.float(), plan.ndim)
    if plan.device.type == "cpu" and not is_compiling() and covers_frame(plan):
        weight = torch.where(everywhere(plan.source < 0, plan.ndim), 0, weight)
    else:
        for axis, inside in enumerate(inside_of(plan)):
            weight = weight * along(inside, axis, plan.ndim)
    weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return weight.expand(-1, -1, *plan.frame)


def shows_at(
    plan: PlanFields, points: Float[Tensor, "n d"], output: Int[Tensor, " n"], layer: Int[Tensor, " n"]
) -> Bool[Tensor, " n"]:
    """Whether a layer owns the pixel that holds each point.

    Args:
        plan: on the device of the points.
        points: canvas coordinates in array order, continuous pixels.
        output: output of each point.
        layer: layer of each point.
    """
    pixel = points.floor()
    within = ((pixel >= 0) & (pixel < plan.canvas[output])).all(dim=1)
    pixel = torch.where(within[:, None], pixel, 0).long()
    low, high = pixel_ranges(plan)
    inside = ((pixel >= low[output, layer]) & (pixel < high[output, layer])).all(dim=1)
    if plan.weight is not None:
        return within & inside & (plan.weight[output, layer] > 0)
    cells = [cell_at(pixel[:, axis, None], edges[output])[:, 0] for axis, edges in enumerate(plan.edges)]
    at = (output, *cells)
    owner = plan.owner[at]
    owned = owner == layer
    if plan.opacity is not None:  # the base shows below translucent layers
        owned |= (layer == 0) & (owner >= 0) & (plan.opacity[output, owner.clamp(min=0).long()] < 1)
    return within & inside & owned
