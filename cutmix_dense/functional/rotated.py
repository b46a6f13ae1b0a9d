"""Rotated boxes under a plan: their exact visible area, and the box that is returned.

torchvision has three formats since 0.23: XYXYXYXY (four corners, clockwise on the screen), CXCYWHR and XYWHR (angle in
degrees, counter-clockwise on the screen). All work is done on four corners, on the host, in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.functional.boxes import to_xyxy
from cutmix_dense.functional.entries import Entries
from cutmix_dense.functional.masks import LayerMasks
from cutmix_dense.functional.measured import Measured, base_apart
from cutmix_dense.functional.polygons import clipped_areas, clipped_points, signed_areas, smallest_rectangles
from cutmix_dense.functional.wrapping import as_plain
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import placement_of
from cutmix_dense.plan.ownership import beneath, opaque, shows_in

COLUMNS = {"XYWHR": 5, "CXCYWHR": 5, "XYXYXYXY": 8}
"""Numbers per box of torchvision's rotated formats; by name, since older versions lack them."""

_NOTHING = 1e-9
"""A smaller share of a box's area is a rounding error."""

Array = np.ndarray


def rotated_format(boxes: Any) -> Any:
    """The ``BoundingBoxFormat`` of rotated boxes; None for others."""
    if not isinstance(boxes, tv_tensors.BoundingBoxes):
        return None
    return boxes.format if boxes.format.name in COLUMNS else None


def as_rotated(boxes: Tensor, form: Any, where: str = "boxes") -> Float[Tensor, "n c"]:
    """Rotated boxes as plain rows in a given rotated format; float64, on the host.

    Raises:
        ValueError: the boxes are upright, or their rows don't have the length of their format.
    """
    given = rotated_format(boxes)
    if not boxes.numel():
        return torch.zeros((0, COLUMNS[form.name]), dtype=torch.float64, device=HOST)
    if given is None:
        raise ValueError(
            f"{where} must be of a rotated format ({', '.join(COLUMNS)}) as those of other targets, got "
            f"{'the format ' + boxes.format.name if hasattr(boxes, 'format') else 'a plain tensor'}"
        )
    plain = as_plain(boxes).detach().to("cpu", torch.float64)
    if plain.ndim != 2 or plain.shape[1] != COLUMNS[given.name]:
        raise ValueError(
            f"{where} of format {given.name} must have shape (N, {COLUMNS[given.name]}), got {tuple(plain.shape)}"
        )
    return plain if given == form else tvf.convert_bounding_box_format(plain, old_format=given, new_format=form)


def bounds_of(boxes: Tensor, where: str = "boxes", ndim: int = 2) -> Float[Tensor, "n ends"]:
    """Boxes as xyxy, like ``to_xyxy``; for rotated boxes, the upright boxes round them."""
    form = rotated_format(boxes)
    if form is None:
        return to_xyxy(boxes, where, ndim)
    corners = _corners(as_rotated(boxes, form, where), form)
    return sent(np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1), boxes.device)


def visible_rotated(
    rows: Float[Array, "n c"],
    form: Any,
    plan: MixPlan,
    output: Int[Array, " n"],
    layer: Int[Array, " n"],
    *,
    covered: bool = True,
    refit: bool | Bool[Array, " n"] = False,
) -> Measured:
    """Measure rotated boxes, as ``visible_boxes`` does upright ones.

    The visible area is the sum of the polygon's exact areas (``polygons.clipped_areas``) within the rectangles that its
    layer owns. Less than a billionth of a box counts as nothing.

    Args:
        rows: boxes in pixels of their source images.
        form: their ``BoundingBoxFormat``.
        plan: who owns each output pixel.
        output: output of each box.
        layer: layer of each box in that output.
        covered: whether other layers cut the boxes; if False only the canvas does, for callers that measure masks.
        refit: whether changed boxes become the smallest rectangle round their visible part; for all, or for each.

    Returns:
        Arrays; ``boxes`` and ``mapped`` hold four corners, (n, 8).

    Raises:
        ValueError: the plan has three axes.
    """
    if plan.ndim != 2:
        raise ValueError(f"rotated boxes need images of 2 axes, got a plan of {plan.ndim}")
    plan = plan.to(HOST)
    if plan.opacity is not None:
        given: Any = {"covered": covered, "refit": refit}
        own, base = (visible_rotated(rows, form, one, output, layer, **given) for one in (opaque(plan), beneath(plan)))
        return base_apart(own, base, layer)
    finite = np.isfinite(rows).all(axis=1)
    rows = np.where(finite[:, None], rows, 0.0)
    corners = _corners(torch.from_numpy(rows), form)
    broken = ~_is_simple(corners) if form.name == "XYXYXYXY" else (rows[:, 2:4] <= 0).any(axis=1)

    placed = np.moveaxis(placement_of(plan, output, layer, torch.float64), 1, 2)[..., ::-1]  # (6, n, 2), x first
    scale, shift, first, last, range_low, range_high = placed
    mapped = corners * scale[:, None] + shift[:, None]
    # a mirrored box runs the other way round: reorder its corners as torchvision's flips do
    mapped = np.where((scale.prod(axis=1) < 0)[:, None, None], mapped[:, [1, 0, 3, 2]], mapped)
    total = np.abs(signed_areas(mapped))
    ends = first * scale + shift, last * scale + shift
    low, high = np.minimum(*ends), np.maximum(*ends)
    whole = clipped_areas(mapped, low, high)
    whole = np.where(whole > _NOTHING * total, whole, 0.0)

    low, high = np.maximum(low, range_low), np.minimum(high, range_high)
    which = np.arange(len(rows))
    if covered:
        which, low, high = _owned_rectangles(plan, output, layer, mapped, low, high)
    areas = clipped_areas(mapped[which], low, high)
    counts = areas > _NOTHING * total[which]
    which, low, high, areas = which[counts], low[counts], high[counts], areas[counts]
    visible = np.bincount(which, weights=areas, minlength=len(rows))
    visible = np.where(visible >= whole * (1 - _NOTHING), whole, visible)
    identity = ((scale == 1) & (shift == 0)).all(axis=1)

    boxes = _rectangles(mapped, form, scale)
    if np.any(refit):
        cut = (visible > 0) & (visible < total * (1 - _NOTHING)) & refit
        chosen = cut[which]
        points, group = clipped_points(mapped[which[chosen]], low[chosen], high[chosen])
        boxes = _refitted(boxes, points, which[chosen][group])
    return Measured(
        visible=visible,
        whole=whole,
        boxes=boxes.reshape(-1, 8),
        mapped=mapped.reshape(-1, 8),
        untouched=identity & (visible == whole) & (visible > 0) & finite & ~broken,
        broken=broken,
        outside=(whole == 0) & ~broken,
        finite=finite,
    )


def refitted_to_masks(
    boxes: Float[Array, "n 8"],
    masks: Mapping[tuple[int, int], LayerMasks],
    changed: Bool[Array, " n"],
    entries: Entries,
) -> Float[Array, "n 8"]:
    """Replace boxes whose mask changed by the smallest rectangle round their visible mask.

    Args:
        boxes: corners on the canvas of the uncut boxes.
        masks: visible masks from ``mix_masks``.
        changed: which boxes to replace; part of each must show.
        entries: the row of each box.
    """
    points, group = [np.zeros((0, 2))], [np.zeros(0, dtype=np.int64)]
    for row in np.flatnonzero(changed).tolist():
        output, layer, position = (int(part[row]) for part in (entries.output, entries.layer, entries.position))
        points.append(_outline(masks[output, layer].take([position])[0].to("cpu").numpy() != 0))
        group.append(np.full(len(points[-1]), row))
    return _refitted(boxes.reshape(-1, 4, 2), np.concatenate(points), np.concatenate(group)).reshape(-1, 8)


def rotated_like(
    corners: Float[Tensor, "n 8"], rows: Shaped[Tensor, "n c"], form: Any, scale: Float[Tensor, "n 2"]
) -> Shaped[Tensor, "n c"]:
    """Corners converted to the format and dtype of the input boxes.

    Angles keep their turn (multiple of 360): ``r`` becomes ``-r`` where the layer is mirrored left to right and
    ``180 - r`` where it is mirrored top to bottom, as in torchvision's flips, plus the rotation by a refit.

    Args:
        corners: corners on the canvas.
        rows: the boxes in their source images.
        form: the format of the boxes.
        scale: scale of each box's layer, (y, x).
    """
    if form.name == "XYXYXYXY":
        return corners.to(rows.dtype)
    corner = corners.unflatten(1, (4, 2))
    width, height = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 1]
    angle = torch.rad2deg(torch.atan2(-width[:, 1], width[:, 0]))
    before = rows[:, 4].to(corners.dtype)
    before = torch.where(scale[:, 1] < 0, -before, before)
    before = torch.where(scale[:, 0] < 0, 180 - before, before)
    angle = angle + 360 * ((before - angle) / 360).round()
    place = corner[:, 0] if form.name == "XYWHR" else (corner[:, 0] + corner[:, 2]) / 2
    sides = torch.stack([torch.linalg.vector_norm(side, dim=1) for side in (width, height)], dim=1)
    return torch.cat([place, sides, angle[:, None]], dim=1).to(rows.dtype)


def _corners(rows: Float[Tensor, "n c"], form: Any) -> Float[Array, "n 4 2"]:
    """Four corners (x, y), in torchvision's order."""
    if form.name != "XYXYXYXY" and len(rows):
        corners = tv_tensors.BoundingBoxFormat["XYXYXYXY"]
        rows = tvf.convert_bounding_box_format(rows, old_format=form, new_format=corners)
    return rows.numpy().reshape(-1, 4, 2)


def _is_simple(corners: Float[Array, "n 4 2"]) -> Bool[Array, " n"]:
    """Whether quadrilaterals have an area and no crossing edges; crossing ones turn left twice and right twice."""
    side = np.roll(corners, -1, axis=1) - corners
    after = np.roll(side, -1, axis=1)
    turns = np.sign(side[..., 0] * after[..., 1] - side[..., 1] * after[..., 0]).sum(axis=1)
    simple: Array = (turns != 0) & (signed_areas(corners) != 0)
    return simple


def _rectangles(mapped: Float[Array, "n 4 2"], form: Any, scale: Float[Array, "n 2"]) -> Float[Array, "n 4 2"]:
    """Boxes that their format can hold: unequal scales make parallelograms, which only XYXYXYXY holds."""
    stretched = ~np.isclose(np.abs(scale[:, 0]), np.abs(scale[:, 1]), rtol=1e-6, atol=0)
    if form.name == "XYXYXYXY" or not stretched.any():
        return mapped
    return _refitted(mapped, mapped[stretched].reshape(-1, 2), np.flatnonzero(stretched).repeat(4))


def _refitted(
    boxes: Float[Array, "n 4 2"], points: Float[Array, "m 2"], group: Int[Array, " m"]
) -> Float[Array, "n 4 2"]:
    """Boxes replaced by the smallest rectangles round their points, if they have any."""
    fitted = smallest_rectangles(points, group, boxes)
    return np.where(np.isfinite(fitted), fitted, boxes)


def _outline(mask: Bool[Array, "h w"]) -> Float[Array, "m 2"]:
    """Corners of the first and the last pixel in every line of a mask."""
    lines = np.flatnonzero(mask.any(axis=1))
    left = mask[lines].argmax(axis=1)
    right = mask.shape[1] - mask[lines, ::-1].argmax(axis=1)
    ends = [(x, y) for x in (left, right) for y in (lines, lines + 1)]
    return np.concatenate([np.stack(pair, axis=1) for pair in ends]).astype(np.float64)


def _owned_rectangles(
    plan: MixPlan,
    output: Int[Array, " n"],
    layer: Int[Array, " n"],
    polygons: Float[Array, "n 4 2"],
    low: Float[Array, "n 2"],
    high: Float[Array, "n 2"],
) -> tuple[Int[Array, " m"], Float[Array, "m 2"], Float[Array, "m 2"]]:
    """Rectangles that layers own within the bounds of their polygons; runs of cells in a row are joined.

    Args:
        plan: on the host.
        output: output of each polygon.
        layer: layer of each polygon.
        polygons: corners on the canvas.
        low: (x, y) where the layer's valid part starts.
        high: (x, y) where it ends.

    Returns:
        The polygon of each rectangle, and its low and high ends.
    """
    if not len(output):
        return output, low, high
    low, high = np.maximum(low, polygons.min(axis=1)), np.minimum(high, polygons.max(axis=1))
    edges = [np.take(edge.numpy(), output, axis=0) for edge in (plan.edges[1], plan.edges[0])]
    if not plan.free_form:
        shown = shows_in(plan, torch.from_numpy(output), torch.from_numpy(layer)).movedim(-1, 0).numpy()
        for axis, edge in enumerate(edges):
            near = np.minimum(high[:, axis, None], edge[:, 1:]) > np.maximum(low[:, axis, None], edge[:, :-1])
            shown = shown & (near[:, None, :] if axis == 0 else near[:, :, None])
        which, row, start, stop = _runs(shown)
    else:  # one cell per pixel: only look within the bounds
        found = []
        owner = plan.owner.numpy()
        first, last = np.floor(low).astype(np.int64), np.ceil(high).astype(np.int64)
        for index in np.flatnonzero((high > low).all(axis=1)).tolist():
            (left, top), (right, bottom) = first[index].tolist(), last[index].tolist()
            shown = owner[output[index], top:bottom, left:right] == layer[index]
            one, row, start, stop = _runs(shown[None])
            found.append(np.stack([one + index, row + top, start + left, stop + left]))
        which, row, start, stop = np.concatenate(found, axis=1) if found else np.zeros((4, 0), dtype=np.int64)
    begins = np.stack([edges[0][which, start], edges[1][which, row]], axis=1)
    ends = np.stack([edges[0][which, stop], edges[1][which, row + 1]], axis=1)
    return which, np.maximum(low[which], begins), np.minimum(high[which], ends)


def _runs(shown: Bool[Array, "n h w"]) -> tuple[Array, Array, Array, Array]:
    """Runs of True along the lines of arrays: index of the array, line, first column, one past the last."""
    padded = np.pad(shown, ((0, 0), (0, 0), (1, 1)))
    which, row, start = np.nonzero(padded[..., 1:] & ~padded[..., :-1])
    return which, row, start, np.nonzero(padded[..., :-1] & ~padded[..., 1:])[2]
