"""What the results of a pipeline hold: which keys a mix moves, which stay, and which it must refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from cutmix_dense.mmengine.fields import IMAGE_KEYS, check_same_keys, check_texts, holds_arrays, reason_against
from cutmix_dense.transforms import MixTransform, MixUp

FLAGS = "gt_ignore_flags"
"""Key that marks instances to be ignored."""

CLASS_MAPS = ("gt_seg_map", "gt_edge_map")
"""Keys of maps of class ids."""

VALUE_MAPS = {"gt_depth_map": 0, "heatmap_mask": False}
"""Keys of other maps, read nearest, and what pixels that nobody owns get: no depth, no heatmap."""

_DETECTION = ("gt_bboxes", "gt_bboxes_labels", "gt_masks", "gt_keypoints")
_POSE = ("bbox", "bbox_score", "category_id", "keypoints", "keypoints_visible", "area")

_RECORDS = ("id", "iscrowd", "num_keypoints", "raw_ann_info")
"""MMPose's lists with an item per instance, until its FilterAnnotations shortens the arrays beside them only."""

MIXED_KEYS = frozenset({"img", FLAGS, *CLASS_MAPS, *VALUE_MAPS, *_DETECTION, *_POSE})
"""All keys that are mixed wherever they are."""


def instance_columns(samples: Sequence[Mapping[str, Any]], instance_keys: Sequence[str]) -> tuple[str, ...]:
    """The keys of some sample that have a row per instance.

    Raises:
        ValueError: two keys of the same meaning; the results of a top-down dataset.
    """
    pose = any(key in sample for sample in samples for key in ("bbox", "keypoints"))
    wanted = (*_DETECTION, *(_POSE if pose else ()), *instance_keys)
    columns = [key for key in dict.fromkeys(wanted) if any(key in sample for sample in samples)]
    for one, other in (("gt_bboxes", "bbox"), ("gt_keypoints", "keypoints")):
        if one in columns and other in columns:
            raise ValueError(f"results hold both {one!r} and {other!r}, of which a mix can't make one: leave one out")
    if not pose:
        return tuple(columns)
    for key in ("area", "category_id"):
        if any(key in sample and not np.ndim(sample[key]) for sample in samples):
            raise ValueError(
                f"results hold one person ({key!r} is a single number), as top-down datasets give them: whole images "
                "are mixed, so the dataset needs data_mode='bottomup'"
            )
    in_step = [key for key in _RECORDS if all(_in_step(sample, key) for sample in samples)]
    return (*columns, *in_step)


def _in_step(sample: Mapping[str, Any], key: str) -> bool:
    rows = next((sample[name] for name in ("keypoints", "bbox") if name in sample), ())
    return isinstance(sample.get(key), list) and len(sample[key]) == len(rows)


def flip_pairs_of(samples: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, int], ...] | None:
    """The (left, right) keypoints that MMPose's ``flip_indices`` exchange; None without them.

    Raises:
        ValueError: samples of other keypoints.
    """
    given = [list(map(int, sample["flip_indices"])) for sample in samples if "flip_indices" in sample]
    if any(indices != given[0] for indices in given[1:]):
        raise ValueError("flip_indices must be those of all partners: datasets of other keypoints can't be mixed")
    return tuple((left, right) for left, right in enumerate(given[0]) if left < right) if given else None


def check_pose_method(mix: MixTransform, samples: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for what a method can't do to MMPose's keys."""
    factors = any(np.ndim(sample.get("keypoints_visible", ())) == 3 for sample in samples)
    for member in mix.members:
        if member.on_filtered == "ignore" and not any(FLAGS in sample for sample in samples):
            raise ValueError(
                "on_filtered must be 'drop' for MMPose's keys, which can't say that an instance is to be ignored"
            )
        flip: Any = getattr(member, "flip", 0)
        if factors and flip:
            raise ValueError(
                f"flip must be 0 for keypoints_visible of (N, K, 2), whose weights aren't mirrored, got {flip!r}"
            )


def check_value_map(mix: MixTransform, key: str, samples: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for a map that isn't of its image's size, and for a method that would blend it."""
    if any(isinstance(member, MixUp) for member in mix.members):
        raise ValueError(f"{key} can't be blended: use methods without MixUp")
    for sample in samples:
        if key in sample and np.shape(sample[key]) != sample["img"].shape[:2]:
            reason = f", or {key} {why}" if (why := reason_against(key)) else ""
            raise ValueError(
                f"{key} must be an array of the image's size {sample['img'].shape[:2]}, got "
                f"{type(sample[key]).__name__} of {np.shape(sample[key])}{reason}"
            )


def check_results(
    samples: Sequence[Mapping[str, Any]], columns: Sequence[str], maps: Sequence[str], image_keys: Sequence[str]
) -> None:
    """Raise for what belongs to pixels or instances and would stay unmixed, and for what is no sample.

    Args:
        samples: the sample and its partners.
        columns: keys that are mixed as instances.
        maps: keys that are mixed as maps.
        image_keys: keys that the user leaves to the base.

    Raises:
        TypeError: no image.
        ValueError: a key that can't be mixed, with the reason and the remedy.
    """
    for sample in samples:
        _check_image(sample)
    first = samples[0]["img"]
    for image in (sample["img"] for sample in samples[1:]):
        if (image.shape[2:] or (1,)) != (first.shape[2:] or (1,)) or image.dtype != first.dtype:
            raise ValueError(
                f"img must have the channels and the dtype of its partners, got {first.shape} of {first.dtype} and "
                f"{image.shape} of {image.dtype}: give LoadImageFromFile one color_type, and keep the mix out of "
                "branches that change the colours of some samples only"
            )
    check_texts(samples)
    check_same_keys("the instances", [(_count(sample, columns), sample.keys() & {*columns}) for sample in samples])
    for key in maps:
        for sample in samples:
            if key not in VALUE_MAPS and key in sample and np.shape(sample[key])[:2] != sample["img"].shape[:2]:
                size, given = sample["img"].shape[:2], np.shape(sample[key])
                raise ValueError(
                    f"{key} must have the size of its image {size}, got {given}: put the mix before SegRescale"
                )
    known = {*columns, *maps, *image_keys, *IMAGE_KEYS, FLAGS, "img"}
    for sample in samples:
        for key, value in sample.items():
            if key not in known and value is not None:
                _check_key(sample, key, value)
        loaded = any(key.startswith("gt_") or key in _POSE for key in sample)
        if sample.get("instances") and not loaded:
            raise ValueError("results hold annotations that are not loaded yet: put the mix behind LoadAnnotations")
        if sample.get("seg_map_path") and "gt_seg_map" not in sample and not any(key in sample for key in columns):
            raise ValueError("results hold a seg_map_path that is not loaded yet: put the mix behind LoadAnnotations")
        if sample.get("invalid_segs") and "heatmap_mask" not in sample:
            raise ValueError(
                "results hold 'invalid_segs', polygons of the whole image that a mix can't move: put "
                "BottomupGetHeatmapMask before the mix, which mixes the mask that it makes"
            )


def _count(sample: Mapping[str, Any], columns: Sequence[str]) -> int:
    """How many instances a sample has."""
    return max((len(sample[key]) for key in (*_DETECTION, *_POSE) if key in columns and key in sample), default=0)


def _check_image(sample: Any) -> None:
    image = sample.get("img") if isinstance(sample, Mapping) else None
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or not image.size:
        given = f"an array of {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"img must be an array (H, W) or (H, W, C) in the sample and in all its partners, got {given}")


def _check_key(sample: Mapping[str, Any], key: str, value: Any) -> None:
    reason = reason_against(key)
    if reason is not None:
        raise ValueError(f"results hold {key!r}, which {reason}")
    if not holds_arrays(value) and not key.startswith("gt_"):
        return
    size = tuple(sample["img"].shape[:2])
    shape = tuple(value.shape) if isinstance(value, (np.ndarray, Tensor)) else ()
    if len(shape) >= 2 and size in (shape[:2], shape[-2:]):
        means = "a map of class ids (H, W) goes into semantic_keys"
    else:
        means = "what has one row per instance, and no coordinates, goes into instance_keys"
    raise ValueError(
        f"results hold {key!r}, which a mix doesn't know: {means}, what stays the base image's into image_keys; leave "
        "anything else out of the pipeline"
    )
