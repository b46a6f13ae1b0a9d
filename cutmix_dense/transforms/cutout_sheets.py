"""Cut-outs behind a batch: with its keys and dtypes, each a picture of its own or several on a sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.arrays.blocks import spatial
from cutmix_dense.arrays.host import HOST
from cutmix_dense.functional.boxes import from_xyxy
from cutmix_dense.functional.fields import BEFORE, IGNORED, IMAGE_KEYS, INSTANCE_KEYS, STATED
from cutmix_dense.functional.instances import mix_instances
from cutmix_dense.functional.pixels import mix_images
from cutmix_dense.functional.wrapping import rewrap
from cutmix_dense.plan import MixPlan


class BankedBatch(NamedTuple):
    """A batch followed by pictures of cut-outs.

    Attributes:
        images: a tensor if the batch is one (cut-outs then lie on sheets of its size), else a list.
        targets: one dict each, with the masks of cut-outs.
        sizes: valid size of every image; None for a list.
        maskless: the same targets, without masks where the batch has none.
        shrunk: of each image the scale at which its cut-outs lie there; None: 1.
    """

    images: Any
    targets: list[dict[str, Any]]
    sizes: Tensor | None
    maskless: list[dict[str, Any]]
    shrunk: Sequence[Float[np.ndarray, " _n"]] | None = None


class Sheet(NamedTuple):
    """A picture of cut-outs.

    Attributes:
        image: (C, H, W).
        target: its rows, one per cut-out.
        shrunk: the scale of each.
    """

    image: Tensor
    target: dict[str, Any]
    shrunk: Float[np.ndarray, " n"]


_FILLED = {"iscrowd": 0, "difficult": 0, "truncated": 0, "occluded": 0, "visibility": 1, "weight": 1}
"""Rows that a cut-out may lack, and what it gets then."""


def area_of(target: Mapping[str, Tensor]) -> Float[Tensor, " n"]:
    """Pixels of the masks of cut-outs; of those without one the area of their boxes."""
    masks, boxes = target.get("masks"), target["boxes"]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) if masks is None else (masks != 0).flatten(1).sum(dim=1)
    return area.to(torch.float32)


def completed(target: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> dict[str, Tensor]:
    """The rows of a cut-out, with those of a batch's that follow from others or are the same for all."""
    found, boxes = dict(target), target["boxes"]
    for key in wanted.keys() - target.keys():
        if key == "class_labels":
            found[key] = target["labels"]
        elif key == "area":
            found[key] = area_of(target)
        elif key in _FILLED:
            found[key] = torch.full((len(boxes),), _FILLED[key], dtype=wanted[key].dtype, device=boxes.device)
        elif key == BEFORE:  # of the batch that came into a chain, which the cut-out isn't from
            found[key] = torch.full((len(boxes), 2), -1, device=boxes.device)
    return found


def wanted_keys(targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys of instances in a batch, each with an example: a tensor, or a list of ``details``.

    Raises:
        TypeError: rows that aren't a tensor.
        ValueError: a key that a cut-out can't have.
    """
    wanted: dict[str, Any] = {}
    for index, target in enumerate(targets):
        for key, value in target.items():
            if key in IMAGE_KEYS or key == IGNORED:
                continue
            instances = key in INSTANCE_KEYS and key not in ("keypoints", "keypoints_visible")
            if instances and not (isinstance(value, Tensor) or key == "details"):
                raise TypeError(
                    f"targets[{index}][{key!r}] must be a tensor for a bank of cut-outs, got {type(value).__name__}"
                )
            if not instances:
                raise ValueError(
                    f"targets[{index}] must hold instances alone for a bank of cut-outs, which can't have {key!r}"
                )
            if key == "boxes" and value.ndim == 2 and value.shape[1] == 5:
                raise ValueError(f"targets[{index}]['boxes'] must be upright for a bank of cut-outs, got rotated boxes")
            if key not in wanted or len(value):
                wanted[key] = value
    if "class_labels" not in wanted and not any(map(_has_rows, targets)):  # images without objects have every key
        wanted.setdefault("labels", torch.zeros(0, dtype=torch.int64))
    return wanted


def _has_rows(target: Mapping[str, Any]) -> bool:
    return any(len(value) for key, value in target.items() if key in INSTANCE_KEYS)


def fitted(target: Mapping[str, Tensor], wanted: Mapping[str, Any], size: Sequence[int]) -> dict[str, Any]:
    """The ``completed`` rows of a cut-out, or of a sheet of them, with a batch's keys, dtypes and classes, and masks.

    A bank holds no ``details``: those of a cut-out are empty.
    """
    found: dict[str, Any] = {}
    count = len(target["labels"])
    for key, like in wanted.items():
        if key == "details":
            found[key] = [{} for _ in range(count)]
            continue
        value = target.get(key)
        if value is None and key == STATED:
            value = torch.full((count,), "masks" in target, device=like.device)
        if value is None and key != "masks":
            raise ValueError(
                f"source must hold {key!r} of every cut-out, as the batch has it; add it to the bank's rows"
            )
        if value is not None:
            made = value.to(like.dtype)
            more = {"canvas_size": tuple(size)} if hasattr(like, "canvas_size") else {}
            found[key] = rewrap(from_xyxy(made, like), like, **more) if key == "boxes" else made
    found.setdefault("boxes", target["boxes"])
    if "masks" in target:
        found["masks"] = target["masks"] if "masks" not in wanted else target["masks"].to(wanted["masks"].dtype)
    elif "masks" in wanted:
        like = wanted["masks"]
        found["masks"] = like.as_subclass(Tensor).new_zeros((count, *size))
        found[STATED] = torch.zeros(count, dtype=torch.bool, device=like.device)
    return found


def sheets(parts: Sequence[tuple[Tensor, dict[str, Tensor]]], images: Tensor, wanted: Mapping[str, Any]) -> list[Sheet]:
    """Cut-outs side by side on pictures of the batch's size, in lines of falling height."""
    height, width = images.shape[-2:]
    fits = [one for part in parts if (one := _within(part, (height, width))) is not None]
    fits.sort(key=lambda part: -part[0].shape[1])
    places: list[list[_Place]] = []
    top = left = line = 0
    for part in fits:
        tall, wide = part[0].shape[1:]
        if places and left + wide > width:
            top, left, line = top + line, 0, 0
        if not places or top + tall > height:
            places.append([])
            top = left = line = 0
        places[-1].append((top, left, part))
        left, line = left + wide, max(line, tall)
    return [_sheet(sheet, images, wanted) for sheet in places]


_Part = tuple[Tensor, dict[str, Tensor], float]
"""A cut-out, its target and its scale."""

_Place = tuple[int, int, _Part]
"""Top and left of a cut-out on its sheet."""


def _within(part: tuple[Tensor, dict[str, Tensor]], frame: tuple[int, int]) -> _Part | None:
    """A cut-out scaled down into a frame if it is larger; None if nothing of it is left."""
    image, target = part
    size = image.shape[-2:]
    factor = min(1.0, *(most / length for most, length in zip(frame, size)))
    if factor == 1:
        return image, target, 1.0
    canvas = [min(most, math.ceil(factor * length - 1e-6)) for most, length in zip(frame, size)]
    plan = MixPlan.from_grid(
        torch.zeros((1, 1), dtype=torch.int64, device=HOST),
        tuple(torch.tensor([[0, length]], device=HOST) for length in canvas),
        torch.zeros((1, 1, 1), dtype=torch.int64, device=HOST),
        torch.tensor([list(size)], device=HOST),
        scale=torch.full((1, 1, 2), factor, device=HOST),
        canvas=torch.tensor([canvas], device=HOST),
    )
    (found,) = mix_instances([target], plan, min_visibility=0.0, min_size=0.0)
    if not len(found["boxes"]):
        return None
    return mix_images([image], plan)[0], {key: found[key] for key in target}, factor


def _sheet(places: Sequence[_Place], images: Tensor, wanted: Mapping[str, Any]) -> Sheet:
    """One picture of cut-outs, and its target."""
    frame = images.shape[-2:]
    sheet = images.as_subclass(Tensor).new_zeros(images.shape[1:])
    some_masks = any("masks" in target for *_, (_, target, _) in places) or "masks" in wanted
    rows: list[dict[str, Any]] = []
    for top, left, (image, target, _) in places:
        block = tuple(slice(a, a + n) for a, n in zip((top, left), image.shape[1:]))
        sheet[spatial(block)] = image
        offset = torch.tensor([left, top, left, top], dtype=target["boxes"].dtype, device=target["boxes"].device)
        placed = {**target, "boxes": target["boxes"] + offset}
        if some_masks:
            own = target.get("masks")
            placed[STATED] = torch.tensor([own is not None], device=sheet.device)
            placed["masks"] = torch.zeros((1, *frame), dtype=torch.bool, device=sheet.device)
            if own is not None:
                placed["masks"][spatial(block)] = own != 0
        rows.append(placed)
    keys = set.intersection(*map(set, rows))
    together = {key: torch.cat([row[key] for row in rows]) for key in keys}
    found = fitted(together, wanted, frame)
    if some_masks and not bool(together[STATED].all()):
        found[STATED] = together[STATED]
    return Sheet(sheet, found, np.array([factor for *_, (*_, factor) in places]))


def joined(images: Any, targets: Sequence[Mapping[str, Any]], cuts: list[dict[str, Any]], sizes: Any) -> BankedBatch:
    """The batch with its cut-outs; rows that state no mask are named as such for all."""
    own: list[dict[str, Any]] = [dict(target) for target in targets]
    masks = any(target.get("masks") is not None for target in own)
    if masks and any(STATED in cut for cut in cuts):
        for target in (*own, *cuts):
            labels = target.get("labels", target.get("class_labels"))
            if STATED not in target and labels is not None:
                target[STATED] = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    keep = masks or not any(map(_has_rows, own))  # images without objects have every key
    bare = cuts if keep else [{k: v for k, v in cut.items() if k not in ("masks", STATED)} for cut in cuts]
    return BankedBatch(images, [*own, *cuts], sizes, [*own, *bare])
