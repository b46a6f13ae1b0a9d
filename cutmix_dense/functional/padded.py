"""Mix padded boxes: every image has the same number of slots, so nothing waits for the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import Column, as_column, as_tensor, module_of, sent
from cutmix_dense.functional.boxes import from_xyxy, to_xyxy, visible_boxes
from cutmix_dense.functional.broken import GivenBoxes, check_boxes, sizes_of
from cutmix_dense.functional.fields import FIELDS, INSTANCE_KEYS
from cutmix_dense.functional.report import Reason
from cutmix_dense.functional.rotated import COLUMNS, rotated_format
from cutmix_dense.functional.rules import TargetRules, takes_rules
from cutmix_dense.functional.scaling import scaled_numbers
from cutmix_dense.functional.verdict import judge
from cutmix_dense.functional.wrapping import as_plain
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import carried_by

__all__ = ["is_padded", "mix_padded", "mixed_padded"]

_NOT_PADDED = frozenset({"has_mask", "keypoints", "keypoints_visible", "masks"})


def is_padded(targets: Any) -> bool:
    """Whether targets are a dict of padded boxes, (B, N, 4)."""
    boxes = targets.get("boxes") if isinstance(targets, Mapping) else None
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
        ``origin`` (B, S·N, 2), -1 in empty slots; ``weight`` under a soft plan.

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
        raise ValueError(f"split must be 'hull' for padded boxes, whose slots are counted, got {rules.split!r}")
    boxes = targets["boxes"]
    if boxes.shape[2] in COLUMNS.values() or rotated_format(boxes) is not None:
        raise ValueError(
            f"targets['boxes'] must be (P, N, 4) xyxy where boxes are padded, got {tuple(boxes.shape)}: rotated boxes "
            "need a list of dicts"
        )
    pool, slots = boxes.shape[:2]
    known = (INSTANCE_KEYS | {"valid"} | set(rules.instance_keys)) - _NOT_PADDED
    for key, value in targets.items():
        if key not in known:
            raise ValueError(f"targets hold {key!r} beside padded boxes: give a list of dicts, or name it otherwise")
        if not isinstance(value, Tensor) or tuple(value.shape[:2]) != (pool, slots):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"targets[{key!r}] must have one row per slot, ({pool}, {slots}, …), got {shape}")
    if plan.free_form and rules.boxes == "exact":
        raise ValueError("boxes without masks can't be told exactly under a free-form mask: accept boxes='estimate'")
    device = boxes.device
    here = device.type == "cpu" and not is_compiling()  # numpy, which a compiled graph can't hold

    def column(values: Any) -> Column:
        return as_column(values, device) if here else sent(values, device)

    if plan.device.type == "cpu" and not is_compiling() and plan.facts.source.max(initial=-1) >= pool:
        raise ValueError(f"targets must hold {plan.facts.source.max() + 1} images for this plan, got {pool}")
    plan = plan.to(device)
    batch, layers = plan.source.shape
    shape = (batch, layers * slots)
    count = batch * layers * slots
    slot = np.arange(count) if here else torch.arange(count, device=device)
    output, layer, index = slot // (layers * slots), slot // slots % layers, slot % slots
    xp = module_of(slot)
    source = column(plan.source).reshape(-1)
    image = source.repeat(slots) if xp is np else source.repeat_interleave(slots)
    images = as_tensor(source * (source >= 0))

    def rows_of(key: str) -> Tensor:
        return as_plain(targets[key]).index_select(0, images).flatten(0, 1)

    given = column(to_xyxy(rows_of("boxes"), "targets['boxes']", plan.ndim))
    measured = visible_boxes(given, plan, output, layer)
    if xp is np and not (measured.finite | (image < 0)).all():
        raise ValueError("targets['boxes'] must be finite, got a NaN or infinite coordinate")
    if xp is np:
        filled_in = (image >= 0) & (
            column(rows_of("valid").bool()) if "valid" in targets else (given != given[:, :1]).any(axis=1)
        )
        _check_given(given, filled_in, plan, output, layer, measured)
    at = (as_tensor(output), as_tensor(layer))
    before = column(rows_of("visibility").float()) if "visibility" in targets else None
    carried = None if plan.carry is None else column(carried_by(plan, *at, as_tensor(index)))
    verdict = judge(measured, rules.filter, layer, before=before, carried=carried)
    stays = (verdict.reason == Reason.KEPT.value) & (image >= 0)
    if "valid" in targets:
        stays = stays & column(rows_of("valid").bool())

    mixed: dict[str, Tensor] = {}
    untouched = as_tensor(measured.untouched)
    for key in targets:
        if key in ("valid", "visibility", "weight"):
            continue
        value = rows_of(key)
        if key == "boxes":
            value = torch.where(untouched[:, None], value, from_xyxy(as_tensor(measured.boxes), value))
        scaling = rules.scaling.get(key) or (FIELDS[key].change if key in FIELDS else "follows")
        if scaling in ("length", "area", "inverse"):
            share = as_tensor(verdict.share) if key == "area" else None
            value = scaled_numbers(value, scaling, plan.scale[at], untouched, share)
        mixed[key] = value
    mixed["visibility"] = as_tensor(verdict.visibility)
    if plan.weight is not None or "weight" in targets:
        weight = torch.ones_like(mixed["visibility"])
        if plan.weight is not None:
            weight = (plan.weight / plan.weight.sum(dim=1, keepdim=True)).float().flatten().repeat_interleave(slots)
        mixed["weight"] = weight * rows_of("weight") if "weight" in targets else weight
    filled = as_tensor(stays)
    empty = ~filled
    mixed["origin"] = as_tensor(xp.stack([image, index], axis=1))
    shaped = {
        key: value.masked_fill(empty.reshape(-1, *(1,) * (value.ndim - 1)), -1 if key == "origin" else 0).reshape(
            *shape, *value.shape[1:]
        )
        for key, value in mixed.items()
    }
    shaped["valid"] = filled.reshape(shape)
    return shaped


def _check_given(
    given: np.ndarray, filled: np.ndarray, plan: MixPlan, output: np.ndarray, layer: np.ndarray, measured: Any
) -> None:
    """Warn of broken boxes in filled slots, and refuse boxes that are broken as a whole; see ``check_boxes``."""
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
