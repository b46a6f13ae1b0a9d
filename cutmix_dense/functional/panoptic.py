"""Mix panoptic maps by a plan: pixels keep their segments, segments have ids of their own and are measured anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor

from cutmix_dense.functional.fields import IGNORED
from cutmix_dense.functional.rules import TargetRules, takes_rules
from cutmix_dense.functional.segment_pool import MixedPanoptic, SegmentPool
from cutmix_dense.functional.segments import MAP_KEY, PANOPTIC_KEYS, Part, part_of
from cutmix_dense.plan import MixPlan

__all__ = ["MixedPanoptic", "SegmentPool", "mix_panoptic", "take_panoptic"]


@takes_rules
def mix_panoptic(
    maps: Int[Tensor, "p h w"] | list[Tensor],
    segments: Sequence[Sequence[Mapping[str, Any]]],
    plan: MixPlan,
    **rules: Any,
) -> MixedPanoptic:
    """Mix panoptic maps by the plan that mixed their images.

    A thing is filtered as an instance with a mask is (see ``mix_instances``) and what is dropped becomes void, as fill
    is. Stuff is never filtered: all that shows of one category in an output is one segment. A segment keeps its id
    unless one before it has the same; then it gets the least that is free. Crowds stay crowds, each for itself.

    Args:
        maps: (P, H, W) of an integer dtype, or a list of (Hi, Wi), which gives a list: the id of each pixel's segment,
            0 for void, as panopticapi's ``rgb2id`` gives them. Padding is void.
        segments: per pool image the dicts of its segments: ``id`` (at least 1), ``category_id``, ``isthing``; perhaps
            ``iscrowd`` (default 0), ``visibility`` (default 1) and whatever else, which follows. ``area`` and ``bbox``
            are always measured anew.
        plan: who owns each output pixel. Scaled layers are read nearest; ``carry`` counts the segments of an image in
            their order, and one that isn't carried becomes void.
        rules: as in ``mix_instances``, by name: ``min_visibility``, ``min_size`` or ``rule`` for things, and
            ``on_filtered``: ``"drop"``: what fails becomes void; ``"ignore"``: it moves to maps of their own;
            ``"crowd"``: it stays, with ``iscrowd`` = 1.

    Returns:
        ``MixedPanoptic``. Each segment has ``area`` (visible pixels), ``bbox`` (x, y, width, height round them, whole
        pixels; of volumes x, y, z and three lengths), ``visibility`` (visible pixels over those of the whole segment
        as mapped onto the canvas; of merged stuff over all parts that show) and ``origin``: [pool image, index there]
        of each part.

    Raises:
        TypeError: maps that aren't integers, segments that aren't dicts.
        ValueError: a soft plan, an id without a segment, a segment that lacks a key or repeats an id, new ids that the
            maps' dtype can't hold; each named.

    Source: Kirillov et al., Panoptic Segmentation (2019), and the COCO panoptic format.
    """
    plan = plan.of_frames(plan.frames)
    given = list(maps)
    if len(given) != len(segments):
        raise ValueError(f"segments must have one list per map ({len(given)}), got {len(segments)}")
    parts = [
        Part(ids, infos, f"maps[{index}]", f"segments[{index}]")
        for index, (ids, infos) in enumerate(zip(given, segments))
    ]
    pool = SegmentPool.of(parts, like=maps if isinstance(maps, Tensor) else None)
    return pool.mix(plan, TargetRules.of(rules, "mix_panoptic"))


def take_panoptic(
    targets: Sequence[Mapping[str, Any]], named: Sequence[str] = ()
) -> tuple[Sequence[Mapping[str, Any]], SegmentPool | None]:
    """Targets without their panoptic keys, and what these hold; None if no target has them.

    Args:
        targets: one dict per pool image.
        named: keys that the caller gave another meaning.

    Raises:
        TypeError: see ``mix_panoptic``.
        ValueError: a target that holds only one of the two keys, or neither where others hold them; see
            ``mix_panoptic``.
    """
    keys = set(PANOPTIC_KEYS) - set(named)
    if not isinstance(targets, Sequence) or any(not isinstance(target, Mapping) for target in targets):
        return targets, None  # refused by whoever reads the rest
    holding = sum(not keys.isdisjoint(target) for target in targets)
    if not holding:
        return targets, None
    rest, parts, aside = [], [], []
    for index, target in enumerate(targets):
        where = f"targets[{index}]"
        part = part_of(target, where)
        if part is None:
            raise ValueError(f"{where} must hold {MAP_KEY!r} like the others; {holding} of {len(targets)} have it")
        parts.append(part)
        others = {key: value for key, value in target.items() if key not in PANOPTIC_KEYS}
        ignored = target.get(IGNORED)
        aside.append(part_of(ignored, f"{where}['{IGNORED}']") if isinstance(ignored, Mapping) else None)
        if aside[-1] is not None:
            others[IGNORED] = {key: value for key, value in target[IGNORED].items() if key not in PANOPTIC_KEYS}
            if not others[IGNORED]:
                del others[IGNORED]
        rest.append(others)
    return rest, SegmentPool.of(parts, aside)
