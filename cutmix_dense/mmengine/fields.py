"""Keys of MMDetection, MMSegmentation and MMPose that a mix can't carry, each with the reason and the remedy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from cutmix_dense.functional.fields import COORDINATES

_CAPTION = (
    "ties the words of one caption to the objects of one image, and a mix shows objects of several images: put the mix "
    "before RandomSamplingNegPos and LoadTextAnnotations where all samples share one list of classes, and train on "
    "captions without mixing"
)
_ENCODED = "is made of the keypoints of one image: put the mix before GenerateTarget and BottomupGetHeatmapMask"
_PERSON = (
    "belongs to the crop of one person: put the mix before GetBBoxCenterScale. Whole images are mixed, so the dataset "
    "needs data_mode='bottomup'"
)
_SPACE = "holds positions in space, which a mix of pictures can't move: leave it out of the pipeline"
_PROPOSALS = "holds boxes that are no annotations: leave LoadProposals out of the pipeline"
_IMAGE_LABEL = "is a label of the whole image, which isn't mixed here: leave it out of the pipeline"
_PANOPTIC = "is mixed by its parts, the masks and the semantic map of LoadPanopticAnnotations: leave it out itself"

_REASONS = {
    key: reason
    for reason, keys in {
        _CAPTION: (
            "caption captions gt_caption phrase_ids phrases positive_maps sentences text_token_mask tokens_positive"
        ),
        _ENCODED: (
            "bbox_labels displacement_weights displacements field_mapping_table heatmap_mask heatmap_weights heatmaps "
            "instance_coords instance_heatmaps keypoint_indices keypoint_labels keypoint_weights "
            "keypoints_visible_weights label_mapping_table pafs"
        ),
        _PERSON: (
            "bbox_center bbox_centers bbox_rotation bbox_scale bbox_scales input_center input_scale "
            "transformed_keypoints"
        ),
        _SPACE: "keypoints_3d keypoints_cam lifting_target lifting_target_visible",
        _PROPOSALS: "proposals proposals_scores",
        _IMAGE_LABEL: "gt_label gt_score",
        _PANOPTIC: "gt_panoptic_seg",
    }.items()
    for key in keys.split()
}

_LOADED = {
    key: setting
    for setting, keys in {
        "with_bbox": "gt_bboxes bboxes",
        "with_keypoints": "gt_keypoints",
        "with_label": "gt_bboxes_labels labels",
        "with_mask": "gt_masks masks",
    }.items()
    for key in keys.split()
}
"""Keys of instances, and the setting of LoadAnnotations that makes them."""

_SHARED = ("text", "texts", "stuff_text", "caption_prompt", "custom_entities")
"""What says which words the labels stand for; a mix can carry it where all images have the same."""

IMAGE_KEYS = frozenset(
    {
        "batch_shape",
        "crop_size",
        "dataset_keypoint_weights",
        "flip_indices",
        "flip_pairs",
        "homography_matrix",
        "img_shape",
        "input_size",
        "instances",
        "invalid_segs",
        "ori_shape",
        "pad_param",
        "pad_shape",
        "raw_ann_info",
        "scale",
        "scale_factor",
        "segmentation",
        "segments_info",
        "skeleton_links",
        "warp_mat",
    }
)
"""Keys of the image, and records of an annotation file, which stay the base's though they may hold arrays."""


def reason_against(key: str) -> str | None:
    """Why a key can't be mixed, and what to do; None for one of which nothing is known."""
    return _REASONS.get(key)


def check_key_list(name: str, keys: Any) -> None:
    """Raise TypeError for one key where a list of keys belongs, which would be read letter by letter."""
    if isinstance(keys, str):
        raise TypeError(f"{name} must be a list of keys, got {keys!r}: write {name}=[{keys!r}]")


def check_instance_keys(instance_keys: Iterable[str]) -> None:
    """Raise ValueError for keys that instances can't carry unchanged, TypeError for a lone string."""
    check_key_list("instance_keys", instance_keys)
    for key in instance_keys:
        if key in COORDINATES - {"bbox", "bboxes"}:  # which are mixed
            raise ValueError(f"instance_keys can't name {key!r}, which holds coordinates: they would stay unmixed")
        if key in _REASONS:
            raise ValueError(f"instance_keys can't name {key!r}, which {_REASONS[key]}")


def check_image_keys(image_keys: Iterable[str], mixed: Iterable[str]) -> None:
    """Raise ValueError for keys that can't stay the base image's: those that are mixed, and most that can't be.

    A lone string in place of a list is a TypeError.
    """
    check_key_list("image_keys", image_keys)
    for key in image_keys:
        if key in mixed:
            raise ValueError(f"image_keys can't name {key!r}, which is mixed")
        if _REASONS.get(key, _IMAGE_LABEL) != _IMAGE_LABEL:
            raise ValueError(f"image_keys can't name {key!r}, which {_REASONS[key]}")


def check_same_keys(holder: str, images: Sequence[tuple[int, Collection[str]]]) -> None:
    """Raise ValueError where some instances have a key that those of another image lack.

    Args:
        holder: what holds the instances.
        images: per image, how many instances it has, and the keys of them.
    """
    for key in dict.fromkeys(key for _, keys in images for key in keys):
        lacking = sum(key not in keys for count, keys in images if count)
        if lacking:
            setting = _LOADED.get(key)
            remedy = f"give LoadAnnotations the same {setting}" if setting else "give it"
            raise ValueError(
                f"{holder} of {lacking} of {len(images)} images lack {key!r}, which those of the others have: {remedy} "
                "in all data sets that are mixed"
            )


def check_texts(samples: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError where the labels of several images stand for other words."""
    for key in _SHARED:
        first = samples[0].get(key)
        for sample in samples[1:]:
            given = sample.get(key)
            if given is not first and not _equal(given, first):
                raise ValueError(
                    f"{key!r} differs between the images of a mix, whose objects would share one text: put the mix "
                    "before the transforms that make it (RandomSamplingNegPos), and train on captions without mixing"
                )


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):  # a pipeline may turn one into the other
        return list(one) == list(other)
    return bool(one == other)


def holds_arrays(value: Any) -> bool:
    """Whether a value is an array, or boxes or masks of a framework, or a list of some."""
    if isinstance(value, (str, int, float, dict)):
        return False
    if isinstance(value, (list, tuple)):
        return any(holds_arrays(item) for item in value)
    if isinstance(value, (np.ndarray, Tensor)):
        return value.ndim > 0
    return any(hasattr(value, name) for name in ("convert_to", "to_bitmap"))
