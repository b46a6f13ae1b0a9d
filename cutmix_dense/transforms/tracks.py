"""Ids of tracks after a mix of clips: one id, one object."""

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
    """Give tracks new ids where the clips that were mixed use one id for different objects; changes the dicts.

    The base's tracks keep their ids, and so does any other whose id is free. Else a track gets one id for the whole
    clip, the least above all that are in use. A negative id says that there is no track: it is left alone, as are ids
    that are no whole numbers and don't clash; those that do get ``"-2"``, ``"-3"`` … behind them.

    Args:
        clips: per output one dict per frame; those of one layer's track have one id.
        report: which layer each row is of.
        apart: which rows of the report stand among the ignored instances, if they show at all.
    """
    frames = [frame for clip in clips for frame in clip]
    layers = _layers(len(frames), report, apart)
    start = 0
    for clip in clips:
        held = list(zip(clip, layers[start : start + len(clip)]))
        start += len(clip)
        parts = [(part, rows) for frame, pair in held for part, rows in zip((frame, frame.get(IGNORED)), pair)]
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
    """New ids by (layer, id) of those that clash with an earlier layer's."""
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
    """Per frame the layer of each row, and of each of its ignored rows."""
    layer = report.layer.numpy()
    shows = report.outcome.numpy() != int(Outcome.DROPPED)
    output = report.output.numpy()
    return [
        (layer[mine & ~apart].tolist(), layer[mine & apart].tolist())
        for mine in ((output == index) & shows for index in range(count))
    ]


def _ids(value: Any) -> list[Any]:
    if value is None:
        return []
    return value.tolist() if isinstance(value, Tensor) else list(value)


def _like(value: Any, ids: list[Any]) -> Any:
    if isinstance(value, Tensor):
        return torch.tensor(ids, dtype=value.dtype, device=value.device)
    return ids
