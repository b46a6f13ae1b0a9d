"""Every known key of a target: what it is of, and what a mix does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, get_args

from torch import Tensor
from torchvision import tv_tensors

__all__ = [
    "COORDINATES",
    "FIELDS",
    "IGNORED",
    "IMAGE_KEYS",
    "INSTANCE_KEYS",
    "LABEL_KEYS",
    "RAW_ANNOTATIONS",
    "SEMANTIC_KEYS",
    "STATED",
    "Field",
    "Scaling",
    "check_instance_keys",
    "count_instances",
    "is_annotations",
    "is_map",
]

Scaling = Literal["unchanged", "length", "area", "inverse"]
"""What a mix does to a number of an instance whose image it scales.

``unchanged``: nothing. ``length``, in pixels: it grows by the square root of |sx · sy|. ``area``, in square pixels: by
|sx · sy|. ``inverse``, a distance from the camera (a depth): it grows as the picture shrinks.
"""


@dataclass(frozen=True)
class Field:
    """What a key means.

    Attributes:
        of: whether it has a row per ``"instance"``, is a value of the ``"image"``, which stays the base's, or a map of
            class ids, a value per ``"pixel"``.
        change: what a mix does to its rows: ``"follows"``: they go with their instance; ``"measured"``: they are worked
            out anew; otherwise see ``Scaling``.
        rank: number of dimensions of its tensor, where nothing else checks it.
        tensor: whether it must be a tensor; a list has an item per instance.
    """

    of: Literal["instance", "image", "pixel"]
    change: Literal["follows", "measured", "length", "area", "inverse"] = "follows"
    rank: int | None = None
    tensor: bool = False


STATED = "has_mask"
"""Key that says which rows of ``masks`` state one. A row that doesn't is judged by its box; without the key all do."""

IGNORED = "ignored"
"""Key of the nested dict of instances that a loss should neither reward nor punish.

Ignore regions may lack any field but the geometry by which they are judged: ``boxes`` is enough.
"""

FIELDS: Mapping[str, Field] = {
    "area": Field("instance", "area", rank=1, tensor=True),
    "boxes": Field("instance", "measured", tensor=True),
    "category_id": Field("instance"),
    "class_labels": Field("instance"),
    "details": Field("instance"),
    "difficult": Field("instance"),
    STATED: Field("instance", rank=1, tensor=True),
    "iscrowd": Field("instance", rank=1, tensor=True),
    "keypoints": Field("instance", "measured", tensor=True),
    "keypoints_visible": Field("instance", "measured", rank=2, tensor=True),
    "labels": Field("instance"),
    "masks": Field("instance", "measured", tensor=True),
    "occluded": Field("instance"),
    "origin": Field("instance", "measured"),
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
"""Every key of a detection target that needs no naming."""


def _keys(of: str) -> frozenset[str]:
    return frozenset(key for key, field in FIELDS.items() if field.of == of)


INSTANCE_KEYS, IMAGE_KEYS, SEMANTIC_KEYS = _keys("instance"), _keys("image"), _keys("pixel")

LABEL_KEYS = frozenset({"class", "classes", "label", "labels", "target", "targets", "y"})
"""Keys that hold an image-level label, where a target is not a list of instances."""

COORDINATES = frozenset({"bbox", "bboxes", "box", "polygons", "segmentation"})
"""Keys that hold coordinates under names that aren't read: carried unchanged, they would be wrong after a mix."""

RAW_ANNOTATIONS = (
    "raw COCO annotations ('bbox', 'segmentation'): wrap the dataset by "
    "torchvision.datasets.wrap_dataset_for_transforms_v2, which gives 'boxes', 'labels' and 'masks'"
)
"""What is said of a list of annotations as pycocotools gives them."""


def is_annotations(value: Any) -> bool:
    """Whether a value is a list of annotations as COCO's files and ``CocoDetection`` have them."""
    return isinstance(value, (list, tuple)) and any(isinstance(row, Mapping) and "bbox" in row for row in value)


def check_instance_keys(instance_keys: Sequence[str] | Mapping[str, Scaling]) -> None:
    """Raise ValueError for keys of coordinates, which would be carried as they are, and for an unknown ``Scaling``."""
    for key in COORDINATES.intersection(instance_keys):
        raise ValueError(
            f"instance_keys can't carry coordinates, got {key!r}: give boxes as 'boxes', polygons as 'masks'"
        )
    for key, scaling in instance_keys.items() if isinstance(instance_keys, Mapping) else ():
        if scaling not in get_args(Scaling):
            raise ValueError(f"instance_keys[{key!r}] must be one of {get_args(Scaling)}, got {scaling!r}")


_COUNTED = ("boxes", "masks", "labels", "class_labels")


def count_instances(row: Mapping[str, Any], where: str) -> int:
    """Number of instances, told by the first key whose rows are beyond doubt."""
    boxes = row.get(_COUNTED[0])
    if type(boxes) is Tensor and boxes.ndim:  # as nearly always
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
    """A two-dimensional tv_tensors.Mask says by its class that it is a semantic map."""
    return isinstance(value, tv_tensors.Mask) and value.ndim == 2
