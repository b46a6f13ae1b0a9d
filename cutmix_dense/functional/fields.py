"""Every known key of a target: what it belongs to, and what a mix does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchvision import tv_tensors

Scaling = Literal["unchanged", "length", "area", "inverse"]
"""How a number of an instance changes when its image is scaled by (sx, sy).

``unchanged``: not at all. ``length``, in pixels: by √|sx · sy|. ``area``, in square pixels: by |sx · sy|. ``inverse``,
such as a depth: by 1 / √|sx · sy|, so that it grows as the picture shrinks.
"""


@dataclass(frozen=True)
class Field:
    """The meaning of a key.

    Attributes:
        of: what it belongs to: ``"instance"``, one row each; ``"image"``, a value that stays the base's; ``"pixel"``, a
            map of class ids.
        change: what a mix does to its rows: ``"follows"``: they go with their instance; ``"measured"``: they are
            computed anew; else see ``Scaling``.
        rank: number of dimensions of its tensor, if nothing else checks it.
        tensor: whether it must be a tensor, not a list of items.
        listed: dtype of the tensor that a list of numbers becomes; None: a list stays one, or is refused.
    """

    of: Literal["instance", "image", "pixel"]
    change: Literal["follows", "measured", "length", "area", "inverse"] = "follows"
    rank: int | None = None
    tensor: bool = False
    listed: torch.dtype | None = None


STATED = "has_mask"
"""Key that says which rows of ``masks`` are masks; instances without one are judged by their box. Default all."""

IGNORED = "ignored"
"""Key of the nested dict of instances that a loss should neither reward nor punish; ``boxes`` are enough."""

BEFORE = "origin_before"
"""Key under which the transforms of a chain hand on where an instance was before the first of them."""

FIELDS: Mapping[str, Field] = {
    "area": Field("instance", "area", rank=1, tensor=True, listed=torch.float32),
    "boxes": Field("instance", "measured", tensor=True),
    "category_id": Field("instance"),
    "class_labels": Field("instance"),
    "details": Field("instance"),
    "difficult": Field("instance"),
    STATED: Field("instance", rank=1, tensor=True),
    "iscrowd": Field("instance", rank=1, tensor=True, listed=torch.int64),
    "keypoints": Field("instance", "measured", tensor=True),
    "keypoints_visible": Field("instance", "measured", rank=2, tensor=True),
    "labels": Field("instance"),
    "masks": Field("instance", "measured", tensor=True),
    "occluded": Field("instance"),
    "origin": Field("instance", "measured"),
    BEFORE: Field("instance"),
    "scores": Field("instance"),
    "track_id": Field("instance"),
    "truncated": Field("instance"),
    "visibility": Field("instance", "measured", rank=1, tensor=True),
    "weight": Field("instance", "measured", rank=1, tensor=True),
    "file_name": Field("image"),
    "height": Field("image"),
    "image_id": Field("image"),
    "orig_size": Field("image"),
    "path": Field("image"),
    "size": Field("image"),
    "spacing": Field("image"),
    "width": Field("image"),
    "sem_seg": Field("pixel"),
    "semantic": Field("pixel"),
    "semantic_mask": Field("pixel"),
}
"""The keys of a detection target that are known without being named."""


def _keys(of: str) -> frozenset[str]:
    """The known keys of one kind."""
    return frozenset(key for key, field in FIELDS.items() if field.of == of)


INSTANCE_KEYS, IMAGE_KEYS, SEMANTIC_KEYS = _keys("instance"), _keys("image"), _keys("pixel")

LABEL_KEYS = frozenset({"class", "classes", "label", "labels", "target", "targets", "y"})
"""Keys that hold an image-level label if a target isn't a list of instances."""

COORDINATES = frozenset({"bbox", "bboxes", "box", "polygons", "segmentation"})
"""Keys of coordinates in forms that aren't read: unchanged, they would be wrong after a mix."""

RAW_ANNOTATIONS = (
    "raw COCO annotations ('bbox', 'segmentation'): wrap the dataset by "
    "torchvision.datasets.wrap_dataset_for_transforms_v2, which gives 'boxes', 'labels' and 'masks'"
)
"""What messages say of annotations as pycocotools gives them."""


def are_dicts(targets: Any) -> bool:
    """Whether targets are a sequence of mappings."""
    if type(targets) in (list, tuple) and set(map(type, targets)) == {dict}:  # as nearly always
        return True
    return isinstance(targets, Sequence) and all(isinstance(target, Mapping) for target in targets)


def is_annotations(value: Any) -> bool:
    """Whether a value is a list of annotations in the form of COCO's files and ``CocoDetection``."""
    return isinstance(value, (list, tuple)) and any(isinstance(row, Mapping) and "bbox" in row for row in value)


def check_instance_keys(instance_keys: Sequence[str] | Mapping[str, Scaling]) -> None:
    """Raise ValueError for keys of coordinates, which would stay unchanged, and for an unknown ``Scaling``."""
    for key in COORDINATES.intersection(instance_keys):
        raise ValueError(
            f"instance_keys can't carry coordinates, got {key!r}: give boxes as 'boxes', polygons as 'masks'"
        )
    for key, scaling in instance_keys.items() if isinstance(instance_keys, Mapping) else ():
        if scaling not in get_args(Scaling):
            raise ValueError(f"instance_keys[{key!r}] must be one of {get_args(Scaling)}, got {scaling!r}")


_COUNTED = ("boxes", "masks", "labels", "class_labels")


def count_instances(row: Mapping[str, Any], where: str) -> int:
    """Number of instances, from the first key that has one row per instance."""
    boxes = row.get(_COUNTED[0])
    if type(boxes) is Tensor and boxes.ndim:  # the usual case
        return boxes.shape[0]
    others = (key for key, value in row.items() if key not in IMAGE_KEYS | SEMANTIC_KEYS and not is_map(value))
    for key in chain(_COUNTED, others):
        value = row.get(key)
        if isinstance(value, Tensor) and value.ndim == 0:
            raise ValueError(f"{where}[{key!r}] must have one row per instance, got a single number")
        if isinstance(value, Tensor):
            return value.shape[0]
        if isinstance(value, (list, tuple)):
            return len(value)
    return 0


def is_map(value: Any) -> bool:
    """Whether a value is a two-dimensional tv_tensors.Mask, which is a semantic map."""
    return isinstance(value, tv_tensors.Mask) and value.ndim == 2
