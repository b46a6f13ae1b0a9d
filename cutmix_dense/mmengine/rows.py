"""Instances between the fields of a framework and the core's targets, one row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.arrays.host import sent
from cutmix_dense.functional.fields import STATED
from cutmix_dense.mmengine.structures import as_boxes, as_masks, as_tensor, masks_like, rows_of, stated_masks

_NAMES = {
    "areas": "area",
    "bbox": "boxes",
    "bboxes": "boxes",
    "gt_bboxes": "boxes",
    "gt_bboxes_labels": "labels",
    "gt_keypoints": "keypoints",
    "gt_masks": "masks",
}

_FACTORS = "keypoints_visible_factors"
"""What stands behind the first column of ``keypoints_visible`` (N, K, C)."""

_CROWDS = "iscrowd_list"
"""MMPose's list; the core's ``iscrowd`` is a tensor."""

EXTRA_KEYS = ("bbox_score", "bbox_scores", "id", "num_keypoints", "raw_ann_info", _CROWDS, _FACTORS)
"""Instance keys that the core must be told of."""


def name_of(key: str, value: Any = None) -> str:
    """The core's name of a field of instances."""
    return _CROWDS if key == "iscrowd" and isinstance(value, list) else _NAMES.get(key, key)


def read_rows(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The core's target for fields of instances: tensors, or lists as they are.

    Raises:
        TypeError: an array of something else than numbers.
        ValueError: a shape that a field can't have.
    """
    rows: dict[str, Any] = {}
    for key, value in fields.items():
        name = name_of(key, value)
        if name == "boxes":
            if getattr(value, "ndim", 2) == 3:
                raise ValueError(
                    f"{key} must be (N, 4) xyxy, got {tuple(value.shape)}: set bbox_keep_corner=False in "
                    "BottomupRandomAffine"
                )
            rows[name] = as_boxes(value)
        elif name == "masks":
            rows[name] = as_masks(value)
            stated = stated_masks(value)
            if stated is not None:
                rows[STATED] = stated
        elif name == "keypoints_visible":
            value = as_tensor(value)
            rows[name] = value[..., 0] if value.ndim == 3 else value
            if value.ndim == 3:  # MMPose: whether it shows, and what weight that has in a loss
                rows[_FACTORS] = value[..., 1:]
        elif isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
            raise TypeError(f"{key} must hold numbers, or be a list, got an array of {value.dtype}")
        else:
            rows[name] = value if isinstance(value, (list, tuple)) else as_tensor(value)
        if key == "gt_keypoints" and rows[name].shape[-1] != 3:
            raise ValueError(f"gt_keypoints must be (N, K, 3), x, y and flag, got {tuple(rows[name].shape)}")
    return rows


def split_rows(rows: Mapping[str, Any], aside: np.ndarray) -> dict[str, Any]:
    """A target whose marked rows are to be ignored."""
    if not aside.any():
        return dict(rows)
    own = {name: _chosen(value, ~aside) for name, value in rows.items()}
    return {**own, "ignored": as_ignored({name: _chosen(value, aside) for name, value in rows.items()})}


def as_ignored(rows: dict[str, Any]) -> dict[str, Any]:
    """Rows to be ignored, of which an empty mask states none.

    MMDetection marks objects whose annotation has no polygon by that and the flag, and a region is left by their boxes.
    """
    if "masks" not in rows:
        return rows
    stated = (rows["masks"].flatten(1) != 0).any(dim=1)
    return {**rows, STATED: stated} if STATED in rows or not bool(stated.all()) else rows


def _chosen(value: Any, chosen: np.ndarray) -> Any:
    if isinstance(value, Tensor):
        return rows_of(value, torch.from_numpy(chosen))
    return [item for item, wanted in zip(value, chosen) if wanted]


def written_rows(
    examples: Mapping[str, Any],
    target: Mapping[str, Any],
    aside: Mapping[str, Any],
    boxes_of: Callable[[Any, Tensor], Any],
) -> Iterator[tuple[str, Any, bool]]:
    """Mixed instances in the form that each field had.

    Args:
        examples: per field a value of the form that is wanted.
        target: the core's rows.
        aside: those to be ignored; they may lack fields.
        boxes_of: makes boxes in the form of an example.

    Yields:
        The field, its values (ignored ones behind the others), whether the ignored ones have it.
    """
    for key, example in examples.items():
        name = name_of(key, example)
        if name not in target:
            continue
        value = _joined(name, target, aside)
        if name == "boxes":
            value = boxes_of(example, value)
        elif name == "masks":
            value = masks_like(example, value)
        elif name == "keypoints_visible" and _FACTORS in target and example.ndim == 3:
            value = torch.cat([value[..., None], _joined(_FACTORS, target, aside)], dim=2)
        if isinstance(example, np.ndarray):
            value = value.cpu().numpy() if isinstance(value, Tensor) else value
        elif hasattr(example, "device"):  # a tensor, or boxes that hold one
            value = sent(value, torch.device(example.device))
        yield key, value, name in aside


def _joined(name: str, target: Mapping[str, Any], aside: Mapping[str, Any]) -> Any:
    parts = [target[name], *([aside[name]] if name in aside else [])]
    return torch.cat(parts) if isinstance(parts[0], Tensor) else [item for part in parts for item in part]
