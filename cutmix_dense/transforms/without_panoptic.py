"""Methods that can't mix panoptic maps: refused by name before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cutmix_dense.functional.segments import MAP_KEY, PANOPTIC_KEYS


def refuse_panoptic(mix: Any, given: Any) -> None:
    """Raise ValueError for panoptic maps, if a method, or one that it may draw, can't mix them.

    Args:
        mix: the method, a ``MixTransform``.
        given: targets, or a batch with its targets, in any form that a call takes.
    """
    if mix.mixes_panoptic or given is None:
        return
    unable = [member for member in mix.members if not member.mixes_panoptic and not _named(member)]
    if not unable or not _holds_panoptic(given):
        return
    names = " and ".join(dict.fromkeys(type(member).__name__ for member in unable))
    who = names if unable[0] is mix else f"{type(mix).__name__} holds {names}, which"
    raise ValueError(
        f"{who} can't mix panoptic maps, got targets with {MAP_KEY!r}: leave {names} out, or give 'masks' and 'labels' "
        "instead, which functional.panoptic_targets makes of a map"
    )


def _named(member: Any) -> bool:
    """Whether a method was told that the keys of a panoptic map mean something else."""
    return not set(PANOPTIC_KEYS).isdisjoint((*member.instance_keys, *member.image_keys, *member.semantic_keys))


def _holds_panoptic(given: Any) -> bool:
    """Whether there is a panoptic map in nested lists and dicts."""
    if isinstance(given, Mapping):
        return all(key in given for key in PANOPTIC_KEYS) or any(map(_holds_panoptic, given.values()))
    return isinstance(given, (list, tuple)) and any(map(_holds_panoptic, given))
