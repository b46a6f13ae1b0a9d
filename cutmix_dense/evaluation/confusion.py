"""Confusion matrices of class maps: one per image, kept as its few counts above zero, and their sum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torchmetrics.functional.classification import multiclass_confusion_matrix

Counts = tuple[Any, Any]
"""Positions above zero in the flattened matrix, and the pixels counted there."""


def confusion(
    prediction: Int[np.ndarray, "h w"], target: Int[np.ndarray, "h w"], classes: int, ignore_index: int | None = None
) -> Counts:
    """The confusion matrix of one image; rows are the target's classes.

    Args:
        prediction: (H, W) ids in 0..classes - 1.
        target: (H, W), the same, or `ignore_index`.
        classes: how many there are.
        ignore_index: pixels of the target with this value aren't counted.
    """
    matrix = multiclass_confusion_matrix(
        torch.from_numpy(prediction.astype(np.int64)),
        torch.from_numpy(target.astype(np.int64)),
        num_classes=classes,
        ignore_index=ignore_index,
        validate_args=False,  # ids are checked where they are read
    )
    flat = matrix.flatten().numpy()
    where = np.flatnonzero(flat)
    return where.astype(np.int32), flat[where]


def total(counts: Iterable[Counts], classes: int) -> Int[np.ndarray, "k k"]:
    """The sum of the images' matrices, int64 (classes, classes)."""
    matrix = np.zeros(classes * classes, dtype=np.int64)
    for where, pixels in counts:
        matrix[where] += pixels
    return matrix.reshape(classes, classes)
