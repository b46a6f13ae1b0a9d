"""Track ids after a mix of clips: one id per object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from cutmix_dense.functional import MixReport
from cutmix_dense.functional.fields import IGNORED
from cutmix_dense.functional.report import Outcome

__all__ = ["separate_tracks"]

KEY = "track_id"


def separate_tracks(
    clips: Sequence[Sequence[dict[str, Any]]], report: MixReport, apart: Bool[np.ndarray, " n"]
) -> None:
    """Give new ids to tracks of mixed clips that share an id with another clip's track; changes the dicts.

    The base's tracks keep their ids, and so do others whose id is free. Any other track gets one new id for the whole
    clip: the next above all in use, or for ids that aren't whole numbers a suffix ``"-2"``, ``"-3"`` … Negative ids
    mean "no track" and stay.

    Args:
        clips: for each output, one dict per frame; a track of one layer has one id.
        report: gives the layer of each row.
        apart: which rows of the report are among the ignored instances, if they show.
    """
    frames = [frame for clip in clips for frame in clip]
    layers = _layers(len(frames), report, apart)
    start = 0
    for clip in clips:
        paired = list(zip(clip, layers[start : start + len(clip)]))
        start += len(clip)
        parts = [(part, rows) for frame, pair in paired for part, rows in zip((frame, frame.get(IGNORED)), pair)]
        rows = [
            (layer, track) for part, layer_of in parts if part for layer, track in zip(layer_of, _ids(part.get(KEY)))
        ]
        new = _new_ids(rows)
        if not new:
            continue
        for part, layer_of in parts:
            if part and KEY in part:
                ids = _ids(part[KEY])
                part[KEY] = _like(part[KEY], [new.get(pair, pair[1]) for pair in zip(layer_of, ids)])


def _new_ids(rows: Sequence[tuple[int, Any]]) -> dict[tuple[int, Any], Any]:
    """New ids by (layer, id), for tracks that clash with an earlier layer's."""
    used: dict[Any, int] = {}
    clashing: dict[tuple[int, Any], None] = {}
    for layer, track in sorted(dict.fromkeys(rows), key=lambda pair: pair[0]):
        if isinstance(track, int) and track < 0:
            continue
        if used.setdefault(track, layer) != layer:
            clashing[layer, track] = None
    new: dict[tuple[int, Any], Any] = {}
    taken = set(used)
    highest = max((track for track in taken if isinstance(track, int)), default=0)
    for layer, track in clashing:
        if isinstance(track, int):
            highest += 1
            new[layer, track] = highest
            continue
        count = 2
        while f"{track}-{count}" in taken:
            count += 1
        new[layer, track] = f"{track}-{count}"
        taken.add(new[layer, track])
    return new


def _layers(count: int, report: MixReport, apart: Bool[np.ndarray, " n"]) -> list[tuple[list[int], list[int]]]:
    """For each frame, the layers of its rows and of its ignored rows."""
    layer = report.layer.numpy()
    shows = report.outcome.numpy() != int(Outcome.DROPPED)
    output = report.output.numpy()
    return [
        (layer[mine & ~apart].tolist(), layer[mine & apart].tolist())
        for mine in ((output == index) & shows for index in range(count))
    ]


def _ids(value: Any) -> list[Any]:
    """Track ids as a list."""
    if value is None:
        return []
    return value.tolist() if isinstance(value, Tensor) else list(value)


def _like(value: Any, ids: list[Any]) -> Any:
    """Track ids in the form of ``value``."""
    if isinstance(value, Tensor):
        return torch.tensor(ids, dtype=value.dtype, device=value.device)
    return ids
