"""Mix padded boxes: every image has the same number of slots, so nothing waits for the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import as_column
from cutmix_dense.functional.boxes import from_xyxy, to_xyxy, visible_boxes
from cutmix_dense.functional.broken import GivenBoxes, check_boxes, sizes_of
from cutmix_dense.functional.fields import INSTANCE_KEYS
from cutmix_dense.functional.filters import FilterRule
from cutmix_dense.functional.report import Reason
from cutmix_dense.functional.rotated import COLUMNS, rotated_format
from cutmix_dense.functional.rules import TargetRules, takes_rules
from cutmix_dense.functional.scaling import scaled_numbers
from cutmix_dense.functional.verdict import judge
from cutmix_dense.functional.wrapping import as_plain
from cutmix_dense.kernels.boxes import Thresholds, mix_boxes, suits_boxes
from cutmix_dense.kernels.device import serves
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import carried_by, instance_weights, weighs

_KEPT, _ROTATED = int(Reason.KEPT), frozenset(COLUMNS.values())
_SCALED = ("length", "area", "inverse")
"""What makes numbers of instances change with their size."""

_NOT_PADDED = frozenset({"has_mask", "keypoints", "keypoints_visible", "masks"})


def is_padded(targets: Any) -> bool:
    """Whether targets are a dict of padded boxes, (B, N, 4)."""
    boxes = targets["boxes"] if isinstance(targets, (dict, Mapping)) and "boxes" in targets else None
    return isinstance(boxes, Tensor) and boxes.ndim == 3


@takes_rules
def mix_padded(
    targets: Mapping[str, Any],
    plan: MixPlan,
    *,
    estimate: bool = False,
    **rules: Any,
) -> dict[str, Tensor]:
    """Mix instances with padded boxes: like ``mix_instances``, but each output has the slots of all its layers.

    On a device there is no transfer, and under ``torch.compile`` no graph break: boxes then never raise, and the slot
    of a NaN comes out empty.

    Args:
        targets: ``boxes`` (P, N, 4) xyxy in pixels, or (P, N, 6) for volumes; ``valid`` (P, N) bool, the filled slots
            (default all); further instance keys (P, N, …). Masks and keypoints need a list of dicts.
        plan: who owns each output pixel; moved to the targets' device.
        estimate: the same as ``boxes="estimate"``: take the pixels that a free-form mask owns in a box as the object's.
        rules: as in ``mix_instances``; ``instance_keys`` have shape (P, N, …), and ``on_filtered`` must be ``"drop"``.

    Warns:
        UserWarning: as ``mix_instances``, on the host; slots that aren't valid, or without ``valid`` those of equal
            numbers, don't count.

    Returns:
        (B, S·N, …) for each key, base first, zeros in empty slots; ``valid`` (B, S·N), ``visibility`` (B, S·N) and
        ``origin`` (B, S·N, 2), -1 in empty slots; ``weight`` under a soft plan, or one with opacities.

    Raises:
        ValueError: shapes don't fit, a key is unknown, a free-form mask comes without ``estimate``, or (on the host)
            boxes hold NaN or are broken as a whole.

    Example:
        >>> from cutmix_dense import MixPlan
        >>> box, sizes = torch.tensor([[[0, 0, 8, 6]]]), torch.tensor([[8, 12], [8, 12]])
        >>> plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
        >>> mixed = mix_padded({"boxes": torch.tensor([[[4.0, 1.0, 8.0, 5.0]]] * 2)}, plan)
        >>> mixed["boxes"].tolist(), mixed["visibility"].tolist()  # the right half of one, the left half of the other
        ([[[6.0, 1.0, 8.0, 5.0], [4.0, 1.0, 6.0, 5.0]]], [[0.5, 0.5]])
    """
    given_rules = TargetRules.of(rules, "mix_padded")
    return mixed_padded(targets, plan, replace(given_rules, boxes="estimate") if estimate else given_rules)


def mixed_padded(targets: Mapping[str, Any], plan: MixPlan, rules: TargetRules) -> dict[str, Tensor]:
    """``mix_padded`` with its rules as one object."""
    if rules.on_filtered != "drop":
        raise ValueError(f"on_filtered must be 'drop' for padded boxes, got {rules.on_filtered!r}")
    if rules.split != "hull":
        raise ValueError(f"split must be 'hull' for padded boxes, whose number of slots is fixed, got {rules.split!r}")
    if not is_padded(targets):
        got = sorted(map(str, targets)) if isinstance(targets, Mapping) else type(targets).__name__
        raise TypeError(f"targets must be a dict with 'boxes' (P, N, 4), padded, got {got}: mix_instances takes lists")
    boxes = targets["boxes"]
    if boxes.shape[2] in _ROTATED or (type(boxes) is not Tensor and rotated_format(boxes) is not None):
        raise ValueError(
            f"targets['boxes'] must be (P, N, 4) xyxy where boxes are padded, got {tuple(boxes.shape)}: rotated boxes "
            "need a list of dicts"
        )
    pool, slots = boxes.shape[:2]
    known = (INSTANCE_KEYS | {"valid"} | set(rules.instance_keys)) - _NOT_PADDED
    for key in targets:
        if key not in known:
            raise ValueError(f"targets hold {key!r} beside padded boxes: give a list of dicts, or name it otherwise")
        value = targets[key]
        if (type(value) is not Tensor and not isinstance(value, Tensor)) or value.shape[:2] != (pool, slots):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"targets[{key!r}] must have one row per slot, ({pool}, {slots}, …), got {shape}")
    if plan.free_form and rules.boxes == "exact":
        raise ValueError(
            "a free-form mask cuts boxes without masks, so what is visible of them isn't exact: accept boxes='estimate'"
        )
    device = boxes.device
    compiling = is_compiling()
    here = device.type == "cpu" and not compiling  # numpy, which a compiled graph can't hold
    if plan.source.is_cpu and not compiling:
        needed = np.maximum.reduce(plan.source.numpy(), axis=None, initial=-1) + 1
        if needed > pool:
            raise ValueError(f"targets must hold {needed} images for this plan, got {pool}")
    if serves(device) and _suits_kernel(targets, plan, rules):
        return _mixed_by_kernel(targets, plan, rules)
    plan = plan.to(device) if plan.source.device != device else plan
    (batch, layers), shape = plan.source.shape, (plan.source.shape[0], plan.source.shape[1] * slots)
    slot = np.arange(batch * layers * slots) if here else torch.arange(batch * layers * slots, device=device)
    output, layer, index = slot // (layers * slots), slot // slots % layers, slot % slots
    source = plan.source.reshape(-1)
    images = torch.where(source < 0, 0, source)
    image = source.repeat_interleave(slots)
    rows = {
        key: (value if type(value := targets[key]) is Tensor else as_plain(value)).index_select(0, images).flatten(0, 1)
        for key in targets
    }

    column: Any = Tensor.numpy if here else _unchanged
    tensor: Any = torch.from_numpy if here else _unchanged
    given: Any = to_xyxy(rows["boxes"], "targets['boxes']", plan.ndim)
    given, present = as_column(given, device) if here else given, column(image >= 0)
    measured = visible_boxes(given, plan, output, layer)
    stated = column(rows["valid"].bool()) if "valid" in rows else None
    if here:
        _check_given(given, present, stated, plan, output, layer, measured)
    before: Any = rows["visibility"].float() if "visibility" in rows else None
    before = as_column(before, device) if here and before is not None else before
    carried = None
    if plan.carry is not None:
        carried = column(carried_by(plan, tensor(output), tensor(layer), tensor(index)))
    verdict = judge(measured, rules.filter, output, layer, before=before, carried=carried)
    filled = tensor((verdict.reason == _KEPT) & (present if stated is None else present & stated))

    mixed: dict[str, Tensor] = {}
    untouched = tensor(measured.untouched)
    for key in rows:
        if key in ("valid", "visibility", "weight"):
            continue
        value, change = rows[key], rules.changes[key]
        if key == "boxes":
            value = torch.where(untouched[:, None], value, from_xyxy(tensor(measured.boxes), value))
        elif change in _SCALED:
            share = tensor(verdict.share) if key == "area" else None
            scale = plan.scale[tensor(output), tensor(layer)]
            value = scaled_numbers(value, change, scale, untouched, share)
        mixed[key] = value
    mixed["visibility"] = tensor(verdict.visibility)
    if rules.instance_weights or weighs(plan) or "weight" in rows:
        weight = torch.ones_like(mixed["visibility"])
        if weighs(plan):
            weight = instance_weights(plan).flatten().repeat_interleave(slots)
        mixed["weight"] = weight * rows["weight"] if "weight" in rows else weight
    mixed["origin"] = torch.stack([image, tensor(index)], dim=1)
    empty = ~filled
    shaped = {}
    for key in mixed:
        value = mixed[key]
        behind = (..., *(None,) * (value.ndim - 1))
        shaped[key] = value.masked_fill(empty[behind], -1 if key == "origin" else 0).reshape(*shape, *value.shape[1:])
    shaped["valid"] = filled.reshape(shape)
    return shaped


def _unchanged(values: Tensor) -> Tensor:
    return values


def _suits_kernel(targets: Mapping[str, Any], plan: MixPlan, rules: TargetRules) -> bool:
    """Whether one launch mixes all: plain boxes under thresholds, and rows that only follow them."""
    if isinstance(targets["boxes"], tv_tensors.TVTensor) or type(rules.filter) is not FilterRule:
        return False
    if not {"visibility", "weight"}.isdisjoint(targets) or not suits_boxes(targets["boxes"], plan):
        return False
    return not any(rules.changes.get(key) in _SCALED for key in targets)


def _mixed_by_kernel(targets: Mapping[str, Any], plan: MixPlan, rules: TargetRules) -> dict[str, Tensor]:
    """``mixed_padded`` for what ``_suits_kernel``."""
    rule, slots = rules.filter, targets["boxes"].shape[1]
    rows = {key: as_plain(value) for key, value in targets.items() if key not in ("boxes", "valid")}
    beside = next((key for key, value in rows.items() if value.ndim == 2 and value.element_size() in (4, 8)), None)
    valid = targets.get("valid")
    thresholds = Thresholds(*rule.limits, rule.max_aspect, rule.strict)
    found = mix_boxes(
        targets["boxes"],
        plan,
        thresholds,
        beside=None if beside is None else rows[beside],
        valid=None if valid is None else valid.bool(),
    )
    mixed: dict[str, Tensor] = {}
    for key in targets:
        if key == "boxes":
            mixed[key] = found.boxes
        elif key == beside and found.beside is not None:
            mixed[key] = found.beside
        elif key in rows:
            place = (found.origin[..., 0] * slots + found.origin[..., 1]).clamp(min=0)
            value = rows[key].flatten(0, 1)[place]
            mixed[key] = value.masked_fill(~found.valid.reshape(*found.valid.shape, *(1,) * (value.ndim - 2)), 0)
    if rules.instance_weights:
        mixed["weight"] = found.valid.float()
    return {**mixed, "visibility": found.visibility, "origin": found.origin, "valid": found.valid}


def _check_given(
    given: np.ndarray,
    present: np.ndarray,
    stated: np.ndarray | None,
    plan: MixPlan,
    output: np.ndarray,
    layer: np.ndarray,
    measured: Any,
) -> None:
    """Refuse NaN and boxes that are broken as a whole, and warn of broken ones in filled slots; see ``check_boxes``."""
    odd = (measured.broken | measured.outside | ~measured.finite).nonzero()[0]
    if not odd.size and np.maximum.reduce(given, axis=None, initial=0) >= 2:  # as nearly always
        return
    filled = present & ((given != given[:, :1]).any(axis=1) if stated is None else stated)
    endless = (filled & ~measured.finite).nonzero()[0]
    if endless.size:
        row, slots = int(endless[0]), len(filled) // plan.source.numel()
        image = int(plan.facts.source[output[row], layer[row]])
        raise ValueError(
            f"targets['boxes'][{image}, {row % slots}] must be finite, got {given[row].tolist()}: slots without an "
            "instance need 'valid' False there"
        )
    bad = filled & (measured.broken | measured.outside)
    if not (given.max(initial=0) < 2 or bad.any()):
        return
    rows = np.flatnonzero(filled)
    sizes, whole = sizes_of(plan)
    image = plan.facts.source[output[rows], layer[rows]]
    check_boxes(
        GivenBoxes(
            given[rows],
            image,
            rows % (len(filled) // plan.source.numel()),
            sizes[image],
            measured.broken[rows],
            measured.outside[rows] & bad[rows] & whole[image],
            np.ones(len(rows), dtype=bool),
        ),
        first="targets['boxes'][{image}, {position}]",
    )
