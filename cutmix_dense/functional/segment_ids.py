"""New ids of segments: unique within an output, and over all frames of a clip one segment has one id."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from cutmix_dense.functional.entries import Entries

Groups = dict[Hashable, list[int]]
"""The entries of each segment of an output, in their order: several for stuff, which is merged."""


def grouped(
    rows: Int[np.ndarray, " n"], entries: Entries, infos: Sequence[dict[str, Any]], aside: Bool[np.ndarray, " e"]
) -> Groups:
    """The entries of one output by the segment that they become.

    A thing is told by its layer and id, stuff by its category, so that keys name the same segment in every frame.

    Args:
        rows: the entries that show.
        entries: those of all outputs.
        infos: the segment of each entry.
        aside: which entries go to the map of ignored segments.
    """
    groups: Groups = {}
    for row in rows.tolist():
        info = infos[row]
        key: tuple[Any, ...] = ("stuff", bool(aside[row]), info["category_id"], info["iscrowd"])
        if info["isthing"]:
            key = ("thing", int(entries.layer[row]), info["id"], 0)
            if key in groups:  # among the ignored segments again
                key = (*key[:3], 1)
        groups.setdefault(key, []).append(row)
    return groups


def new_ids(frames: Sequence[Groups], entries: Entries, infos: Sequence[dict[str, Any]]) -> list[dict[Hashable, int]]:
    """The id of each segment in each frame of a clip, or of one image.

    Segments of the base keep their ids. Any other keeps its own if no other segment of the clip has it, else it gets
    the smallest free one, the same in all frames. Stuff of the base's category gets the base's id.
    """
    order = sorted(
        (int(entries.layer[rows[0]]), time, place, key)
        for time, groups in enumerate(frames)
        for place, (key, rows) in enumerate(groups.items())
    )
    ids = {row: infos[row]["id"] for groups in frames for rows in groups.values() for row in rows}
    wanted = set(ids.values())
    free = (number for number in itertools.count(1) if number not in wanted)
    owners: dict[int, dict[Hashable, None]] = {}
    for layer, time, _, key in order:
        if layer == 0:
            owners.setdefault(ids[frames[time][key][0]], {})[key] = None
    of_base = {next(iter(keys)): number for number, keys in reversed(owners.items()) if len(keys) == 1}
    taken, chosen = set(owners), dict[Hashable, int]()
    numbers: list[dict[Hashable, int]] = [{} for _ in frames]
    used: list[set[int]] = [set() for _ in frames]
    for layer, time, _, key in order:
        number = ids[frames[time][key][0]]
        if layer > 0 or number in used[time]:
            if key not in chosen:
                fresh = next(free) if number in taken and key not in of_base else number
                chosen[key] = of_base.get(key, fresh)
                taken.add(chosen[key])
            number = chosen[key]
        numbers[time][key] = number
        used[time].add(number)
    return numbers
