"""Panoptic maps of targets: checked, and read in other forms."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

from cutmix_dense.arrays.broadcast import everywhere
from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.functional.wrapping import as_plain

MAP_KEY, INFO_KEY = "panoptic", "segments_info"
PANOPTIC_KEYS = (MAP_KEY, INFO_KEY)
"""Keys of a panoptic map in a target: ids (H, W), 0 is void, and a dict for each segment."""

_NEEDED = ("id", "category_id", "isthing")

Info = dict[str, Any]
"""The dict of a segment."""


@dataclass(frozen=True)
class Part:
    """A map and its segments before any check, and their names in messages."""

    ids: Any
    infos: Any
    map_name: str
    info_name: str


def panoptic_targets(
    panoptic: Int[Tensor, "h w"],
    segments_info: Sequence[Mapping[str, Any]],
    *,
    labels: Mapping[int, int] | None = None,
    crowd: bool = False,
) -> dict[str, Tensor]:
    """A mask and a class per segment: the targets of mask classifiers (MaskFormer, Mask2Former, OneFormer).

    Args:
        panoptic: id of each pixel's segment, 0 for void.
        segments_info: the segments, as ``mix_panoptic`` takes and returns them; those without a pixel are left out.
        labels: class of each ``category_id``, default the ``category_id`` itself; Mask2Former counts from 0.
        crowd: whether to include crowds; Mask2Former's own training doesn't.

    Returns:
        ``mask_labels`` (N, H, W) float32 of 0 and 1, and ``class_labels`` (N,) int64, in the segments' order: the keys
        of transformers' ``Mask2FormerForUniversalSegmentation``.

    Raises:
        TypeError: the map isn't an integer tensor.
        ValueError: an id has no segment, or a category has no label; the message names it.

    Source: Cheng et al., Mask2Former (2022), ``MaskFormerPanopticDatasetMapper``.

    Example:
        >>> segments = [{"id": 5, "category_id": 3, "isthing": True}, {"id": 9, "category_id": 1, "isthing": False}]
        >>> targets = panoptic_targets(torch.tensor([[5, 5, 9, 0]]), segments)
        >>> targets["mask_labels"].tolist(), targets["class_labels"].tolist()
        ([[[1.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0, 0.0]]], [3, 1])
    """
    infos, codes = coded(Part(panoptic, segments_info, MAP_KEY, INFO_KEY))
    shown = set(codes.unique().tolist())
    rows = [row for row, info in enumerate(infos) if row + 1 in shown and (crowd or not info["iscrowd"])]
    categories = [infos[row]["category_id"] for row in rows]
    missing = sorted(set(categories) - set(labels)) if labels is not None else []
    if missing:
        raise ValueError(f"labels must name the class of every category, got none for {missing}")
    classes = categories if labels is None else [labels[category] for category in categories]
    return {"mask_labels": _masks_of(codes, rows).float(), "class_labels": _whole(classes, codes.device)}


def has_segments(target: Mapping[str, Any]) -> bool:
    """Whether a target holds a panoptic map."""
    return MAP_KEY in target and INFO_KEY in target


def has_segments_only(target: Mapping[str, Any]) -> bool:
    """Whether a target holds a panoptic map and no boxes or masks."""
    return has_segments(target) and target.get("boxes") is None and target.get("masks") is None


def segments_as_instances(target: Mapping[str, Any]) -> Mapping[str, Any]:
    """A target with its segments as instances, in their order: ``masks``, ``labels``, ``iscrowd``, ``isthing``.

    A target without a panoptic map, or with boxes or masks beside it, is returned unchanged.

    Raises:
        TypeError, ValueError: as in ``mix_panoptic``.
    """
    if not has_segments_only(target):
        return target
    infos, codes = coded(Part(target[MAP_KEY], target[INFO_KEY], MAP_KEY, INFO_KEY))
    return {
        "masks": _masks_of(codes, range(len(infos))),
        "labels": _whole([info["category_id"] for info in infos], codes.device),
        "iscrowd": _whole([info["iscrowd"] for info in infos], codes.device),
        "isthing": _whole([bool(info["isthing"]) for info in infos], codes.device).bool(),
    }


def category_map(target: Mapping[str, Any]) -> Integer[Tensor, "h w"]:
    """The category of every pixel of a target's panoptic map, -1 for void.

    Raises:
        TypeError, ValueError: as in ``mix_panoptic``.
    """
    infos, codes = coded(Part(target[MAP_KEY], target[INFO_KEY], MAP_KEY, INFO_KEY))
    table = _whole([-1, *(info["category_id"] for info in infos)], codes.device)
    return table[codes.long()]


def part_of(target: Mapping[str, Any], where: str) -> Part | None:
    """The panoptic map and segments of a dict; None if it has neither key."""
    found = [key for key in PANOPTIC_KEYS if key in target]
    if not found:
        return None
    if len(found) == 1:
        other = next(key for key in PANOPTIC_KEYS if key not in found)
        raise ValueError(f"{where} holds {found[0]!r} but no {other!r}: a panoptic map needs both")
    return Part(target[MAP_KEY], target[INFO_KEY], f"{where}['{MAP_KEY}']", f"{where}['{INFO_KEY}']")


def coded(part: Part) -> tuple[list[Info], Int[Tensor, "*size"]]:
    """Check a panoptic map: its segments as plain dicts, and 1 + the index of each pixel's segment (0 for void)."""
    infos = _infos(part.infos, part.info_name)
    ids = part.ids
    if not isinstance(ids, Tensor):
        raise TypeError(f"{part.map_name} must be a tensor, got {type(ids).__name__}")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"{part.map_name} must hold integer ids of segments, got {ids.dtype}")
    if ids.ndim not in (2, 3):
        raise ValueError(f"{part.map_name} must have shape (H, W), got {tuple(ids.shape)}")
    given = as_plain(ids).detach().long().contiguous()
    numbers = np.array([info["id"] for info in infos], dtype=np.int64)
    order = numbers.argsort()
    known = sent(np.append(numbers[order], np.iinfo(np.int64).max), given.device)  # a sentinel that no id reaches
    code = sent(np.append(order + 1, 0).astype(np.int32), given.device)
    place = torch.searchsorted(known, given)
    found = known[place] == given
    stray = ~found & (given != 0)
    if bool(stray.any()):
        unknown = given[stray].unique().tolist()
        shown = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        raise ValueError(f"{part.map_name} holds ids that {part.info_name} doesn't list: {shown}")
    return infos, torch.where(found, code[place], 0)


def _whole(numbers: list[Any], device: torch.device) -> Int[Tensor, " n"]:
    """Whole numbers as an int64 tensor."""
    return sent(torch.tensor(numbers, dtype=torch.long, device=HOST), device)


def _masks_of(codes: Int[Tensor, "*size"], rows: Sequence[int]) -> Bool[Tensor, "n *size"]:
    """Where the segments of some rows lie."""
    numbers = _whole([row + 1 for row in rows], codes.device).to(codes.dtype)
    return codes[None] == everywhere(numbers, codes.ndim)


def _infos(infos: Any, name: str) -> list[Info]:
    """Copies of the segments with ``id``, ``category_id`` and ``iscrowd`` as plain integers."""
    if not isinstance(infos, (list, tuple)):
        raise TypeError(f"{name} must be a list of dicts, got {type(infos).__name__}")
    read: list[Info] = []
    for row, info in enumerate(infos):
        if not isinstance(info, Mapping):
            raise TypeError(f"{name}[{row}] must be a dict, got {type(info).__name__}")
        missing = [key for key in _NEEDED if key not in info]
        if missing:
            raise ValueError(f"{name}[{row}] has no {', '.join(map(repr, missing))}; {', '.join(_NEEDED)} are needed")
        whole = {"iscrowd": info.get("iscrowd") or 0, **{key: info[key] for key in ("id", "category_id")}}
        try:
            read.append({**info, **{key: operator.index(value) for key, value in whole.items()}})
        except TypeError as error:
            raise TypeError(f"{name}[{row}] must hold whole numbers, got {whole}") from error
        if not 1 <= read[-1]["id"] < 2**63:
            raise ValueError(f"{name}[{row}]['id'] must lie in 1 … 2⁶³ − 1 (0 is void), got {read[-1]['id']}")
    numbers = [info["id"] for info in read]
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise ValueError(f"{name} lists the id {twice} twice; every segment needs its own")
    return read
