"""Track ids after a mix of clips: one id per object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from cutmix_dense.arrays.host import fetched
from cutmix_dense.functional import MixReport
from cutmix_dense.functional.fields import IGNORED
from cutmix_dense.functional.report import Outcome

KEY = "track_id"

_ALLOWED = "whole numbers or text, or in a list None (no track), one per instance"

_REMEDY = "give a tensor (N,) of int64"


def check_tracks(clips: Sequence[Sequence[Mapping[str, Any]]], layers: int, name: str = "targets") -> None:
    """Refuse track ids that a mix of clips couldn't keep apart, whether or not two clips share one.

    Args:
        clips: for each clip of the pool, one dict per frame.
        layers: number of layers of an output: in each but the first, all tracks of a clip may need new ids.
        name: how messages name the clips.

    Raises:
        TypeError: an id is neither a number nor text.
        ValueError: ids aren't (N,), a number from 0 on isn't whole, or the dtype has no room for new ids.
    """
    given: list[tuple[int, str, Any]] = []
    for index, clip in enumerate(clips):
        for time, frame in enumerate(clip):
            for part, where in ((frame, ""), (frame.get(IGNORED), f"['{IGNORED}']")):
                if part and KEY in part:
                    given.append((index, f"{name}[{index}][{time}]{where}['{KEY}']", part[KEY]))
    tracks: list[set[Any]] = [set() for _ in clips]
    limits: dict[int, tuple[int, Any, str]] = {}  # up to where types count, their highest id, and where it is
    for (index, where, _), value in zip(given, _on_host([value for _, _, value in given])):
        found = _tracks_of(value, where)
        tracks[index].update(found)
        for kind in _kinds_of(value):
            last, top = _last_of(kind), _highest(found)
            if last not in limits or top > limits[last][0]:
                limits[last] = top, kind, where
    highest = max(map(_highest, tracks), default=0)
    most = max((sum(isinstance(track, int) and track >= 0 for track in of) for of in tracks), default=0)
    needed = (layers - 1) * most
    for last, (_, kind, where) in limits.items():
        if highest + needed > last:
            remedy = _REMEDY if last < 2**63 - 1 else f"give ids of int64 up to {last - needed}"
            raise ValueError(
                f"{where} must leave room for {needed} new ids, got ids up to {highest} in {kind}, which counts "
                f"to {last}: {remedy}"
            )


def separate_tracks(
    clips: Sequence[Sequence[dict[str, Any]]], report: MixReport, apart: Bool[np.ndarray, " n"]
) -> None:
    """Give new ids to tracks of mixed clips that share an id with another clip's track; changes the dicts.

    The base's tracks keep their ids, and so do others whose id is free. Any other track gets one new id for the whole
    clip: the next whole number above all in use, in the type that was given; for text a suffix ``"-2"``, ``"-3"`` …
    Negative numbers and None mean "no track" and stay.

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
            (layer, track)
            for part, layer_of in parts
            if part
            for layer, track in zip(layer_of, _tracks_of(part.get(KEY)))
        ]
        new = _new_ids(rows)
        if not new:
            continue
        for part, layer_of in parts:
            if part and KEY in part:
                part[KEY] = _renumbered(part[KEY], layer_of, new)


def _new_ids(rows: Sequence[tuple[int, Any]]) -> dict[tuple[int, Any], Any]:
    """New ids by (layer, id), for tracks that clash with an earlier layer's."""
    used: dict[Any, int] = {}
    clashing: dict[tuple[int, Any], None] = {}
    for layer, track in sorted(dict.fromkeys(rows), key=lambda pair: pair[0]):
        if track is None or (not isinstance(track, str) and track < 0):
            continue
        if used.setdefault(track, layer) != layer:
            clashing[layer, track] = None
    new: dict[tuple[int, Any], Any] = {}
    taken = set(used)
    highest = _highest(taken)
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


def _on_host(values: Sequence[Any]) -> list[Any]:
    """The values, with tensors of a device brought to the host, by one copy if they are of one kind."""
    away = [value for value in values if isinstance(value, Tensor) and not value.is_cpu]
    if len({(value.dtype, value.device, value.ndim) for value in away}) != 1 or away[0].ndim != 1:
        return list(values)
    there = iter(fetched(away))
    return [next(there) if isinstance(value, Tensor) and not value.is_cpu else value for value in values]


def _tracks_of(value: Any, where: str = KEY) -> list[Any]:
    """The track of each row: a whole number, a text, or None or a negative number for no track."""
    if isinstance(value, Tensor):
        if value.dtype == torch.bool or value.is_complex():
            raise TypeError(f"{where} must hold {_ALLOWED}, got {value.dtype}: {_REMEDY}")
        if value.ndim != 1 and value.numel():
            raise ValueError(f"{where} must hold {_ALLOWED}, got the shape {tuple(value.shape)}: {_REMEDY}")
        value = value.flatten().tolist()
    return [_track_of(item, where) for item in value] if isinstance(value, (list, tuple)) else []


def _track_of(item: Any, where: str) -> Any:
    """The track of one row, as a plain number, a text or None."""
    if isinstance(item, (Tensor, np.ndarray, np.generic)) and item.ndim == 0:
        item = item.item()
    if item is None or isinstance(item, str):
        return item
    if isinstance(item, bool) or not isinstance(item, (int, float)):
        raise TypeError(f"{where} must hold {_ALLOWED}, got {item!r}: {_REMEDY}")
    if item < 0:
        return item
    if not math.isfinite(item) or item != int(item):
        raise ValueError(f"{where} must hold {_ALLOWED}, got {item!r}: {_REMEDY}")
    return int(item)


def _highest(tracks: Iterable[Any]) -> int:
    """The highest whole number among tracks; 0 if there is none."""
    return max((track for track in tracks if isinstance(track, int)), default=0)


def _kinds_of(value: Any) -> set[Any]:
    """The dtypes in which numbers are given; a whole number of Python has none."""
    items = (
        [value] if isinstance(value, Tensor) and value.numel() else value if isinstance(value, (list, tuple)) else ()
    )
    kinds = {item.dtype for item in items if isinstance(item, (Tensor, np.ndarray, np.number))}
    kinds |= {np.dtype(np.float64) for item in items if type(item) is float}
    return {kind for kind in kinds if isinstance(kind, torch.dtype) or kind.kind in "iuf"}


def _last_of(kind: Any) -> int:
    """The number up to which a dtype holds every whole number."""
    if isinstance(kind, torch.dtype):
        return int(2 / torch.finfo(kind).eps) if kind.is_floating_point else torch.iinfo(kind).max
    return int(2 / np.finfo(kind).eps) if kind.kind == "f" else int(np.iinfo(kind).max)


def _renumbered(value: Any, layers: Sequence[int], new: Mapping[tuple[int, Any], Any]) -> Any:
    """Track ids in the form of ``value``, those in ``new`` changed."""
    items = value.tolist() if isinstance(value, Tensor) else list(value)
    pairs = zip(layers, _tracks_of(value))
    ids = [_in_type(new[pair], item) if pair in new else item for pair, item in zip(pairs, items)]
    return torch.tensor(ids, dtype=value.dtype, device=value.device) if isinstance(value, Tensor) else ids


def _in_type(track: Any, like: Any) -> Any:
    """A new id in the type of an old one."""
    if isinstance(like, Tensor):
        return torch.tensor(track, dtype=like.dtype, device=like.device)
    if isinstance(like, np.ndarray):
        return np.asarray(track, dtype=like.dtype)
    return type(like)(track) if isinstance(like, (np.number, float)) else track
