"""What belongs to an image must have its size: masks, maps, and the canvas that boxes state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.functional.fields import IGNORED, INSTANCE_KEYS, SEMANTIC_KEYS
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.functional.segments import MAP_KEY
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms.pool import Pool
from cutmix_dense.warned import warn_caller

_ROUNDING = 2
"""Pixels by which a stated canvas may differ: torchvision rounds those of rotated images otherwise than the images."""

_warned = False
"""Whether this process has warned of a canvas."""


def check_extents(targets: Sequence[Mapping[str, Any]], pool: Pool, rules: TargetRules) -> None:
    """Check masks, maps and boxes in dicts.

    Args:
        targets: one dict per image; for clips one per frame, clip after clip.
        pool: their images.
        rules: which further keys hold maps.

    Raises:
        ValueError: a mask or a map has neither the valid nor the padded size of its image.

    Warns:
        MixWarning: the ``canvas_size`` of boxes is neither, once per process; (0, 0) says nothing.
    """
    given = set().union(*targets)
    kinds = {key: {type(target[key]) for target in targets if key in target} for key in given - INSTANCE_KEYS}
    keys = {key for key, types in kinds.items() if any(issubclass(kind, tv_tensors.Mask) for kind in types)}
    keys |= given & {"masks", MAP_KEY, *SEMANTIC_KEYS, *rules.semantic_keys}
    if keys or IGNORED in given:
        _check_maps(targets, pool, sorted(keys))
    boxes = {type(target["boxes"]) for target in targets if "boxes" in target}
    if any(issubclass(kind, tv_tensors.BoundingBoxes) for kind in boxes):
        _check_canvases(targets, pool)


def _check_canvases(targets: Sequence[Mapping[str, Any]], pool: Pool) -> None:
    global _warned
    for index, target in enumerate(targets):
        boxes = target.get("boxes")
        if _warned or not isinstance(boxes, tv_tensors.BoundingBoxes) or not len(boxes):
            continue
        stated, size = tuple(boxes.canvas_size), tuple(pool.sizes[index // pool.frames].tolist())
        known = ((0, 0), size, tuple(pool.frame), pool.shown)
        if stated in known or max(abs(one - other) for one, other in zip(stated, size)) <= _ROUNDING:
            continue
        _warned = True
        padded = isinstance(pool.images, Tensor) and all(one <= other for one, other in zip(stated, pool.frame))
        remedy = "where the rest is padding, give sizes=; else " * padded
        warn_caller(
            f"targets[{index}]['boxes'] state a canvas of {stated}, their image has {size}: {remedy}resize both "
            "(transforms= of a torchvision dataset does, transform= resizes the image alone), or correct it. Further "
            "ones aren't told of"
        )


def _check_maps(targets: Sequence[Mapping[str, Any]], pool: Pool, keys: Sequence[str]) -> None:
    either = {*keys, IGNORED}
    for index, target in enumerate(targets):
        held = either.intersection(target)
        if not held:
            continue
        ignored = target.get(IGNORED)
        nested = {"masks": ignored.get("masks")} if isinstance(ignored, Mapping) else {}
        for key, value in [*((key, target[key]) for key in keys if key in held), *nested.items()]:
            if isinstance(value, Tensor) and value.numel():
                check_size(value, pool, index // pool.frames, f"targets[{index}][{key!r}]")


def check_size(value: Tensor, pool: Pool, index: int, name: str) -> None:
    """Raise ValueError unless a per-pixel tensor has the valid or the padded size of an image.

    Args:
        value: height and width last; for volumes depth before them.
        pool: the images.
        index: of the image.
        name: how the error names the value.
    """
    size = pool.sizes[index].tolist()
    if list(value.shape[-pool.ndim :]) not in (size, list(pool.frame)):
        boxes = ": boxes go into a dict, {'boxes': …, 'labels': …}" if value.shape[1:] in ((4,), (5,), (6,)) else ""
        raise ValueError(f"{name} must have its image's size {tuple(size)}, got {tuple(value.shape)}{boxes}")


def check_drawn_for(plan: MixPlan, pool: Pool) -> None:
    """Raise ValueError for images larger than those that a plan was drawn for: the rest of them would be lost unsaid.

    A layer that begins within its image is a crop, and passes; one that only ends there is taken for that of a smaller
    image, so such crops go through ``cutmix_dense.functional``. A plan on a device isn't waited for.
    """
    same = isinstance(pool.images, Tensor) and tuple(plan.frame) == tuple(pool.frame)
    if same or is_compiling() or plan.frames > 1 or not plan.source.is_cpu:
        return
    source, _, _, extent, _ = plan.facts
    if source.max(initial=-1) >= len(pool):
        return  # which is refused with the images
    sizes, first, end = pool.sizes.numpy()[source], extent[..., : plan.ndim], extent[..., plan.ndim :]
    lost = (source >= 0) & (first == 0).all(axis=2) & (end < sizes).any(axis=2)
    if lost.any():
        output, layer = (int(places[0]) for places in np.nonzero(lost))
        whole, drawn = tuple(sizes[output, layer].tolist()), tuple(end[output, layer].tolist())
        raise ValueError(
            f"plan must be drawn for these images: image {source[output, layer]} is {whole}, the plan was drawn for "
            f"{drawn}; where the rest is padding, give sizes="
        )
