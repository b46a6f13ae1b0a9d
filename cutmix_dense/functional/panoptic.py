"""Mix panoptic maps by a plan: pixels keep their segments, and segments get unique ids and new measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Integer
from torch import Tensor

from cutmix_dense.functional.fields import IGNORED, are_dicts
from cutmix_dense.functional.rules import TargetRules, takes_rules
from cutmix_dense.functional.segment_pool import MixedPanoptic, SegmentPool
from cutmix_dense.functional.segments import MAP_KEY, PANOPTIC_KEYS, Part, part_of
from cutmix_dense.plan import MixPlan


@takes_rules
def mix_panoptic(
    maps: Integer[Tensor, "p h w"] | list[Tensor],
    segments: Sequence[Sequence[Mapping[str, Any]]],
    plan: MixPlan,
    **rules: Any,
) -> MixedPanoptic:
    """Mix panoptic maps by the plan that mixed their images.

    Things are filtered like instances with masks (see ``mix_instances``); dropped ones become void, as fill does. Stuff
    is never filtered: all that shows of one category in an output is one segment. A segment keeps its id unless an
    earlier one has it; then it gets the smallest free id. Crowds stay separate crowds. Under a plan of
    clips (``frames``), an id names one segment over all frames: things are told by their layer and id, stuff by its
    category.

    Args:
        maps: (P, H, W) of an integer dtype, or a list of (Hi, Wi), which gives a list: the id of each pixel's segment,
            0 for void, as panopticapi's ``rgb2id`` gives them. Padding is void.
        segments: for each pool image the dicts of its segments: ``id`` (at least 1), ``category_id``, ``isthing``;
            optionally ``iscrowd`` (default 0), ``visibility`` (default 1) and other keys, which follow. ``area`` and
            ``bbox`` are always recomputed.
        plan: who owns each output pixel. Scaled layers are read nearest. ``carry`` counts the segments of an image in
            their order; those that aren't carried become void.
        rules: as in ``mix_instances``: ``min_visibility``, ``min_size`` or ``rule`` for things, and ``on_filtered``:
            things that fail become void (``"drop"``), move to maps of their own (``"ignore"``), or stay with
            ``iscrowd`` = 1 (``"crowd"``).

    Returns:
        ``MixedPanoptic``. Each segment has ``area`` (visible pixels), ``bbox`` (x, y, width, height round them, whole
        pixels; for volumes x, y, z and three lengths), ``visibility`` (visible pixels over those of the whole segment
        as mapped onto the canvas; for merged stuff, over all parts that show) and ``origin``, [pool image, index there]
        of each part.

    Raises:
        TypeError: maps aren't integers, or segments aren't dicts.
        ValueError: the plan is soft, an id has no segment, a segment lacks a key or repeats an id, or the maps' dtype
            can't hold a new id; the message names it.

    Source: Kirillov et al., Panoptic Segmentation (2019), and the COCO panoptic format.

    Example:
        >>> import torch
        >>> box, sizes = torch.tensor([[[0, 0, 1, 2]]]), torch.tensor([[1, 4], [1, 4]])
        >>> plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
        >>> segments = [[{"id": 1, "category_id": 3, "isthing": True}]] * 2  # one thing in each image
        >>> mix_panoptic(torch.ones(2, 1, 4, dtype=torch.int64), segments, plan).maps.tolist()
        [[[2, 2, 1, 1]]]
    """
    frames, plan = plan.frames, plan.of_frames(plan.frames)
    given = list(maps)
    if len(given) != len(segments):
        raise ValueError(f"segments must have one list per map ({len(given)}), got {len(segments)}")
    parts = [
        Part(ids, infos, f"maps[{index}]", f"segments[{index}]")
        for index, (ids, infos) in enumerate(zip(given, segments))
    ]
    pool = SegmentPool.of(parts, like=maps if isinstance(maps, Tensor) else None)
    return pool.mix(plan, TargetRules.of(rules, "mix_panoptic"), frames)


def take_panoptic(
    targets: Sequence[Mapping[str, Any]], named: Sequence[str] = ()
) -> tuple[Sequence[Mapping[str, Any]], SegmentPool | None]:
    """Targets without their panoptic keys, and the pool of these; None if no target has them.

    Args:
        targets: one dict per pool image.
        named: keys that the caller gave another meaning.

    Raises:
        TypeError: as in ``mix_panoptic``.
        ValueError: a target holds only one of the two keys, or neither though others do; or as in ``mix_panoptic``.
    """
    keys = set(PANOPTIC_KEYS) - set(named)
    if not are_dicts(targets) or keys.isdisjoint(set().union(*targets)):  # what aren't dicts the reader refuses
        return targets, None
    holding = sum(not keys.isdisjoint(target) for target in targets)
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
