"""Mix detection targets by a plan: boxes, masks, keypoints and every field that follows an instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cutmix_dense.arrays.host import as_tensor, sent
from cutmix_dense.functional.assembly import Form, assemble
from cutmix_dense.functional.boxes import exact_dtype
from cutmix_dense.functional.fate import BoxesFrom, Entries, Verdict, judge, outcomes_of
from cutmix_dense.functional.fields import IGNORED, STATED, read_fields
from cutmix_dense.functional.filtering import FilterRule, OnFiltered, Reason, check_on_filtered, rule_of
from cutmix_dense.functional.panoptic import take_panoptic
from cutmix_dense.functional.report import MixReport, Outcome
from cutmix_dense.functional.rotated import Rotated
from cutmix_dense.functional.semantic import SoftSemantic, mix_maps
from cutmix_dense.plan import MixPlan

__all__ = ["Boxes", "BoxesFrom", "mix_instances", "object_pixels"]

Target = dict[str, Any]
Boxes = Literal["exact", "estimate"]
"""Whether boxes without masks may be guessed under a free-form mask."""


def mix_instances(
    targets: Sequence[Mapping[str, Any]],
    plan: MixPlan,
    *,
    min_visibility: float | tuple[float, float] = 0.1,
    min_size: float | tuple[float, float] = 1.0,
    on_filtered: OnFiltered = "drop",
    boxes_from: BoxesFrom = "auto",
    rule: FilterRule | str | None = None,
    instance_keys: Sequence[str] = (),
    image_keys: Sequence[str] = (),
    semantic_keys: Sequence[str] = (),
    ignore_index: int = 255,
    boxes: Boxes = "exact",
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    instance_weights: bool = False,
    soft_semantic: SoftSemantic = "pair",
    num_classes: int | None = None,
    padded: bool | None = None,
    rotated: Rotated = "keep",
    return_report: bool = False,
) -> Any:
    """Targets of the mixed images: what is visible of every instance, and all that belongs to it.

    The visibility of an instance is its visible area over its whole area within its source image (pixels of its mask
    where it has one, else the area of its box), whatever took the rest: the source's border, the canvas, another layer.
    An instance that kept all of it under the identity map comes back bit-identical and unfiltered. The box of any other
    is made tight round what is visible, and it is kept if it reaches the thresholds.

    No mask is not an empty mask. A row of ``masks`` where ``has_mask`` is False states none: the instance is judged and
    boxed by its box, and its row comes back empty whatever it held. A mask that is stated and holds no pixel shows
    nothing: the instance is dropped, unless its whole box (without boxes the whole of its image) shows under the
    identity map, where nothing touched it.

    Args:
        targets: one dict per pool image, as torchvision's detectors take them: ``boxes`` (N, 4) xyxy in pixels, or a
            tv_tensor of any format, rotated ones too; ``labels`` (N,); optionally ``masks`` (N, H, W), ``keypoints``
            (N, K, 2 | 3), ``iscrowd``, ``area``, ``ignored`` (a nested dict of instances; their ``boxes`` are enough)
            …; ``has_mask`` (N,) bool, which rows of ``masks`` state one: all in a target that lacks it. An image
            without instances may lack any of them. For volumes boxes are (N, 6) xyzxyz, masks (N, D, H, W). With
            ``panoptic`` (H, W) and ``segments_info`` a panoptic map; see ``mix_panoptic``. For clips one per frame,
            clip after clip.
        plan: who owns each output pixel; where clips have one plan for all frames ``plan.of_frames``.
        min_visibility: least visibility, in [0, 1]; for all, or (base, pasted). The product with an incoming
            ``visibility`` counts.
        min_size: least length of a box's sides, pixels; for all, or (base, pasted).
        on_filtered: ``"drop"`` what fails; ``"ignore"``: move what still shows to ``target["ignored"]``; ``"crowd"``:
            keep it with ``iscrowd`` = 1.
        boxes_from: what a changed instance's box encloses; see ``BoxesFrom``.
        rule: a ``FilterRule`` or the name of a peer's (``filtering.RULES``) in place of the two thresholds.
        instance_keys: further keys with one row (tensor) or item (list) per instance, which follow it unchanged.
        image_keys: further keys that stay the base image's.
        semantic_keys: further keys that hold a map of class ids, mixed by ``mix_semantic``.
        ignore_index: id of a semantic map's pixels that nobody owns.
        boxes: ``"exact"``: boxes without masks under a free-form mask are refused, since the pixels owned inside a box
            include background; ``"estimate"``: take those pixels as the object's. Rows without a mask among others are
            refused only where a free-form mask cuts their box.
        flip_pairs: (left, right) keypoints that change names where their image is mirrored; needed there.
        instance_weights: whether instances carry ``weight`` (N,) under a hard plan too, where it is 1; under a soft
            plan it is their layer's share. An incoming one is multiplied.
        soft_semantic: form of semantic maps under a soft plan; see ``mix_maps``.
        num_classes: number of semantic classes, for ``soft_semantic="probabilities"``.
        padded: whether the images are one padded tensor, so that masks of its size stay so; None: told by masks that
            are larger than their image.
        rotated: what boxes of rotated formats become that aren't untouched. ``"keep"``: where anything of it stays,
            the whole object's box, mapped with its image; ``"refit"``: the smallest rotated rectangle round what is
            visible. Unequal scales turn a rectangle into a parallelogram: XYXYXYXY holds it, the formats with an angle
            get the smallest rectangle round it either way. Sides, for ``min_size``, are the rotated box's own.
        return_report: also return what happened to each input instance; where no target holds any, to each segment of
            the panoptic maps.

    Warns:
        UserWarning: a box without area, inverted or wholly outside of its image, which is dropped; once per process, of
            the first. ``check_boxes`` says from when on boxes count as broken as a whole.

    Returns:
        A list with one new dict per output; with ``return_report`` (list, ``MixReport``). Instances stand layer by
        layer, the base's first, and carry ``visibility`` (N,) and ``origin`` (N, 2): pool image and index there.
        Keypoints of (x, y) rows get ``keypoints_visible`` (N, K).

    Raises:
        ValueError: an unknown key of tensor shape, rows or masks that don't match, rows that have neither a mask nor a
            box, NaN or infinite boxes, boxes that are broken as a whole, rotated boxes beside upright ones or of
            volumes, an argument out of range; each named.
        TypeError: targets that aren't dicts, a value of a kind that its key can't have.
    """
    filter_rule = rule_of(rule, min_visibility, min_size)
    check_on_filtered(on_filtered)
    if boxes_from not in get_args(BoxesFrom):
        raise ValueError(f"boxes_from must be one of {get_args(BoxesFrom)}, got {boxes_from!r}")
    if boxes not in get_args(Boxes):
        raise ValueError(f"boxes must be one of {get_args(Boxes)}, got {boxes!r}")
    if rotated not in get_args(Rotated):
        raise ValueError(f"rotated must be one of {get_args(Rotated)}, got {rotated!r}")
    plan = plan.of_frames(plan.frames)
    targets, segments = take_panoptic(targets, (*instance_keys, *image_keys, *semantic_keys))
    table = read_fields(targets, instance_keys, image_keys, semantic_keys, plan.ndim, partial(_size_of, plan))
    if segments is not None and table.instances and plan.carry is not None:
        raise ValueError(
            "plan.carry counts instances, and which segments of 'panoptic' they are isn't known: give the panoptic "
            "keys without instances, so that it counts segments, or the instances without them"
        )
    source = plan.facts.source
    if source.max(initial=-1) >= len(targets):
        raise ValueError(f"targets must hold {source.max() + 1} images for this plan, got {len(targets)}")

    base = source[:, 0].tolist()
    mixed: list[Target] = [dict(table.image[index]) for index in base]
    for key, maps in table.semantic.items():
        mixed_maps = mix_maps(maps, plan, ignore_index=ignore_index, soft=soft_semantic, num_classes=num_classes)
        for target, value in zip(mixed, mixed_maps):
            target[key] = value
    if (
        "keypoints" in table.instances
        and flip_pairs is None
        and ((plan.facts.scale[..., -1] < 0) & (source >= 0)).any()
    ):
        raise ValueError("flip_pairs must be given for keypoints under a plan that mirrors, got None (may be empty)")
    entries = Entries.of(table, source)
    if not table.instances:
        nothing = np.zeros(0)
        report = MixReport.of(entries, Verdict(nothing, nothing, nothing), nothing)
        if segments is not None:
            report = segments.mix_into(mixed, plan, filter_rule, on_filtered)
        return (mixed, report) if return_report else mixed

    guess = plan.free_form and "boxes" in table.instances and ("masks" not in table.instances or boxes_from == "box")
    if guess and boxes == "exact":
        raise ValueError(
            "boxes without masks can't be told exactly under a free-form mask: give 'masks', or accept boxes='estimate'"
        )
    fate = judge(table, plan, entries, filter_rule, boxes_from, padded, rotated)
    guessed = fate.verdict.guessed
    guessed = guessed[~entries.ignored[guessed]]  # of ignore regions a box is all there is
    if plan.free_form and boxes == "exact" and len(guessed):
        image, position = int(entries.image[guessed[0]]), int(entries.position[guessed[0]])
        raise ValueError(
            f"targets[{image}]['has_mask'][{position}] is False, so only its box tells the instance, and what shows of "
            "one that a free-form mask cuts can't be told exactly from that: give its mask, or accept boxes='estimate'"
        )
    form = Form(flip_pairs or (), instance_weights or plan.weight is not None)
    outcome = outcomes_of(fate.verdict, entries, on_filtered)
    showing = outcome != Outcome.DROPPED.value
    if on_filtered != "crowd":
        showing &= outcome != Outcome.IGNORED.value
    else:
        showing &= (outcome != Outcome.IGNORED.value) | ~entries.ignored
    for target, rows in zip(mixed, assemble(table, plan, entries, fate, np.flatnonzero(showing), form)):
        target.update(rows)
    if table.has_ignored or on_filtered == "ignore":
        aside = np.flatnonzero((outcome == Outcome.IGNORED.value) & ~showing)
        for target, rows in zip(mixed, assemble(table, plan, entries, fate, aside, form)):
            target[IGNORED] = {key: value for key, value in rows.items() if key not in table.bare}
    if on_filtered == "crowd":
        _mark_crowds(mixed, entries, outcome == Outcome.IGNORED.value, showing)
    if table.states_none:
        for target in mixed:
            del target[STATED]
            target.get(IGNORED, {}).pop(STATED, None)
    if segments is not None:
        segments.mix_into(mixed, plan, filter_rule, on_filtered)
    return (mixed, MixReport.of(entries, fate.verdict, outcome)) if return_report else mixed


def _size_of(plan: MixPlan, index: int) -> tuple[int, ...]:
    """The part of a pool image that the plan may show, from its origin."""
    used = plan.facts.source == index
    return tuple(plan.facts.extent[used][:, plan.ndim :].max(axis=0, initial=1).tolist())


def object_pixels(
    targets: Sequence[Mapping[str, Any]],
    plan: MixPlan,
    *,
    instance_keys: Sequence[str] = (),
    image_keys: Sequence[str] = (),
    semantic_keys: Sequence[str] = (),
) -> Float[Tensor, "b s"]:
    """Visible pixels of objects per layer: what a layer shows of its instances (masks where there are, else boxes).

    As weights of ``mix_labels`` they make a patch without an object give no label (cf. OA-CutMix). Overlapping
    instances count each for itself. Of panoptic maps without instances the things count.

    Args:
        targets: as for ``mix_instances``.
        plan: who owns each output pixel; where its outputs are frames of clips, so are the rows.
        instance_keys: as for ``mix_instances``.
        image_keys: as for ``mix_instances``.
        semantic_keys: as for ``mix_instances``.
    """
    plan = plan.of_frames(plan.frames)
    targets, segments = take_panoptic(targets, (*instance_keys, *image_keys, *semantic_keys))
    table = read_fields(targets, instance_keys, image_keys, semantic_keys, plan.ndim, partial(_size_of, plan))
    if segments is not None and not table.instances:
        return segments.thing_pixels(plan)
    total = torch.zeros(len(plan) * plan.layers, dtype=exact_dtype(table.device), device=table.device)
    if table.instances:
        entries = Entries.of(table, plan.facts.source)
        fate = judge(table, plan, entries, FilterRule(0.0, 0.0), "auto")
        counted = as_tensor(fate.visible).to(total.dtype) * sent(fate.verdict.reason == Reason.KEPT.value, total.device)
        total.index_add_(0, sent(entries.output * plan.layers + entries.layer, total.device), counted)
    return total.reshape(len(plan), plan.layers)


def _mark_crowds(
    mixed: list[Target], entries: Entries, crowd: Bool[np.ndarray, " e"], showing: Bool[np.ndarray, " e"]
) -> None:
    for output, target in enumerate(mixed):
        mark = sent(crowd[showing & (entries.output == output)], target["visibility"].device)
        given = target.get("iscrowd")
        if given is None:
            target["iscrowd"] = mark.long()
        else:
            target["iscrowd"] = torch.where(mark, torch.ones((), dtype=given.dtype, device=given.device), given)
        if IGNORED in target:  # the same keys there
            target[IGNORED].setdefault("iscrowd", torch.zeros_like(target[IGNORED]["visibility"]).long())
