"""Mix detection targets by a plan: boxes, masks, keypoints and every field that follows an instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.dtypes import exact_dtype
from cutmix_dense.arrays.host import HOST, as_tensor, sent
from cutmix_dense.functional.assembly import assemble
from cutmix_dense.functional.entries import Entries
from cutmix_dense.functional.fields import IGNORED, STATED
from cutmix_dense.functional.measuring import judge_instances
from cutmix_dense.functional.panoptic import take_panoptic
from cutmix_dense.functional.reading import read_fields
from cutmix_dense.functional.report import Reason
from cutmix_dense.functional.rules import TargetRules, takes_rules
from cutmix_dense.functional.semantic import mix_maps
from cutmix_dense.functional.transfer import fetch_rows, send_rows
from cutmix_dense.functional.verdict import ASIDE, DROPPED, Verdict, outcomes_of, report_of
from cutmix_dense.plan import MixPlan

Target = dict[str, Any]


@takes_rules
def mix_instances(
    targets: Sequence[Mapping[str, Any]],
    plan: MixPlan,
    *,
    padded: bool | None = None,
    return_report: bool = False,
    **rules: Any,
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
        padded: whether the images are one padded tensor, so that masks of its size stay so; None: told by masks that
            are larger than their image.
        return_report: also return what happened to each input instance; where no target holds any, to each segment of
            the panoptic maps.
        rules: how targets are judged and returned, by name; every field of ``rules.TargetRules``, such as
            ``min_visibility``, ``on_filtered``, ``instance_keys``.

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
    return mixed_instances(targets, plan, TargetRules.of(rules, "mix_instances"), padded, return_report)


def mixed_instances(
    targets: Sequence[Mapping[str, Any]],
    plan: MixPlan,
    rules: TargetRules,
    padded: bool | None = None,
    return_report: bool = False,
    device: torch.device | None = None,
    frames: int = 1,
) -> Any:
    """See ``mix_instances``; rows that were brought to the host beforehand go back to ``device``.

    Every ``frames`` outputs are a clip, over which an id of a panoptic map names one segment.
    """
    frames = frames if plan.frames == 1 else plan.frames
    plan = plan if plan.frames == 1 else plan.of_frames(plan.frames)
    targets, segments = take_panoptic(targets, (*rules.instance_keys, *rules.image_keys, *rules.semantic_keys))
    table = read_fields(targets, rules, plan.ndim, partial(_size_of, plan))
    device = device if table.device.type == "cpu" else fetch_rows(table, plan, rules, padded)
    if device is not None and (table.cut is None or rules.boxes_from == "box"):
        plan = plan.to(HOST)
    if segments is not None and table.instances and plan.carry is not None:
        raise ValueError(
            "plan.carry is per instance, but 'panoptic' doesn't say which segments these are: give either the "
            "panoptic keys (then carry is per segment) or the instances, not both"
        )
    source = plan.source.numpy() if plan.source.is_cpu else plan.facts.source  # all facts at once take many calls
    _check_count(source, targets)

    base = source[:, 0].tolist()
    mixed: list[Target] = [dict(table.image[index]) for index in base]
    for key in table.semantic:
        form: Any = {"soft": rules.soft_semantic, "num_classes": rules.num_classes}
        mixed_maps = mix_maps(table.semantic[key], plan, ignore_index=rules.ignore_index, **form)
        for target, value in zip(mixed, mixed_maps):
            target[key] = value
    if (
        "keypoints" in table.instances
        and rules.flip_pairs is None
        and ((plan.facts.scale[..., -1] < 0) & (source >= 0)).any()
    ):
        raise ValueError("flip_pairs must be given for keypoints under a plan that mirrors, got None (may be empty)")
    entries = Entries.of(table.counts, table.ignored_counts, source)
    if not table.instances:
        nothing = np.zeros(0, dtype=np.int64)
        report = report_of(entries, Verdict(nothing, nothing, nothing, nothing), nothing)
        if segments is not None:
            report = segments.mix_into(mixed, plan, rules, frames)
        return (mixed, report) if return_report else mixed

    by_box = "boxes" in table.instances and ("masks" not in table.instances or rules.boxes_from == "box")
    exact = plan.free_form and rules.boxes == "exact"
    if exact and by_box and not entries.ignored.all():  # an ignore region has no more than a box
        raise ValueError(
            "a free-form mask cuts boxes without masks, so what is visible of them isn't exact: give 'masks', or "
            "accept boxes='estimate'"
        )
    judged = judge_instances(table, plan, entries, rules, padded)
    entries = judged.entries
    if exact and (guessed := (judged.guessed & ~entries.ignored).nonzero()[0]).size:
        image, position = int(entries.image[guessed[0]]), int(entries.position[guessed[0]])
        raise ValueError(
            f"targets[{image}]['has_mask'][{position}] is False, and a free-form mask cuts its box, so what is visible "
            "of it isn't exact: give its mask, or accept boxes='estimate'"
        )
    outcome = outcomes_of(judged.verdict, entries.ignored, rules.on_filtered)
    showing = outcome < DROPPED
    if rules.on_filtered == "crowd":
        showing |= (outcome == ASIDE) & ~entries.ignored
    for target, rows in zip(mixed, assemble(table, judged, showing.nonzero()[0], rules)):
        target |= rows
    if table.has_ignored or rules.on_filtered == "ignore":
        aside = ((outcome == ASIDE) & ~showing).nonzero()[0]
        for target, rows in zip(mixed, assemble(table, judged, aside, rules)):
            target[IGNORED] = {key: value for key, value in rows.items() if key not in table.bare}
    if rules.on_filtered == "crowd":
        _mark_crowds(mixed, entries, outcome == ASIDE, showing)
    if table.states_none:
        for target in mixed:
            del target[STATED]
            target.get(IGNORED, {}).pop(STATED, None)
    if segments is not None:
        segments.mix_into(mixed, plan, rules, frames)
    if device is not None:
        send_rows(mixed, table, plan, device)
    return (mixed, report_of(entries, judged.verdict, outcome)) if return_report else mixed


def _check_count(source: Int[np.ndarray, "b s"], targets: Sequence[Any]) -> None:
    """Raise ValueError unless there is a target for every image of a plan."""
    last = np.maximum.reduce(source, axis=None, initial=-1)
    if last >= len(targets):
        raise ValueError(f"targets must hold {last + 1} images for this plan, got {len(targets)}")


def _size_of(plan: MixPlan, index: int) -> tuple[int, ...]:
    """The part of a pool image that the plan may show, from its origin."""
    used = plan.facts.source == index
    return tuple(plan.facts.extent[used][:, plan.ndim :].max(axis=0, initial=1).tolist())


@takes_rules
def object_pixels(targets: Sequence[Mapping[str, Any]], plan: MixPlan, **rules: Any) -> Float[Tensor, "b s"]:
    """Visible pixels of objects per layer: what a layer shows of its instances (masks where there are, else boxes).

    As weights of ``mix_labels`` they make a patch without an object give no label (cf. OA-CutMix). Overlapping
    instances count each for itself, those of translucent layers by their opacity. For panoptic maps without
    instances, the things count.

    Args:
        targets: as for ``mix_instances``.
        plan: who owns each output pixel; where its outputs are frames of clips, so are the rows.
        rules: as for ``mix_instances``; only those that name keys matter.

    Raises:
        TypeError, ValueError: as for ``mix_instances``.
    """
    named = TargetRules.of(rules, "object_pixels")
    keys: Any = {name: getattr(named, name) for name in ("instance_keys", "image_keys", "semantic_keys")}
    given = TargetRules(min_visibility=0.0, min_size=0.0, **keys)
    plan = plan.of_frames(plan.frames)
    targets, segments = take_panoptic(targets, (*given.instance_keys, *given.image_keys, *given.semantic_keys))
    table = read_fields(targets, given, plan.ndim, partial(_size_of, plan))
    _check_count(plan.facts.source, targets)
    if segments is not None and not table.instances:
        return segments.thing_pixels(plan)
    total = torch.zeros(len(plan) * plan.layers, dtype=exact_dtype(table.device), device=table.device)
    if table.instances:
        entries = Entries.of(table.counts, table.ignored_counts, plan.facts.source)
        judged = judge_instances(table, plan, entries, given)
        kept = sent(judged.verdict.reason == Reason.KEPT.value, total.device)
        counted = as_tensor(judged.measured.visible).to(total.dtype) * kept
        if plan.opacity is not None:
            opacity = sent(plan.opacity, total.device, total.dtype)
            counted = counted * opacity[sent(entries.output, total.device), sent(entries.layer, total.device)]
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
