"""Accuracy of image classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from cutmix_dense.evaluation.base import ImageMetric
from cutmix_dense.evaluation.samples import in_range, read
from cutmix_dense.mmengine.scope import METRICS


@METRICS.register_module()
class Accuracy(ImageMetric):
    """The share of images whose class is among the k of the highest scores: `top1`, `top5` …, in percent.

    Reads `scores` (K,) of the prediction and `label`, an integer scalar, of the target.

    Args:
        topk: one k or several, from 1 to the number of classes.
        collect: as in `ImageMetric`.

    Raises:
        ValueError: no k, or one below 1; on evaluation, one above the number of classes.

    Source: `torchmetrics.functional.classification.multiclass_accuracy`, average "micro".
    """

    default_prefix = "classification"

    def __init__(self, topk: int | Sequence[int] = (1,), **collect: Any) -> None:
        super().__init__(**collect)
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if not self.topk or min(self.topk) < 1:
            raise ValueError(f"topk must be one k or several, all at least 1, got {topk!r}")

    def measure(self, sample: dict[str, Any]) -> tuple[np.ndarray, int]:
        """Scores and label of one image."""
        scores = read(sample, "prediction", "scores", (len(self.classes),)).astype(np.float32)
        label = read(sample, "target", "label", (), integer=True)
        in_range(label, f"target['label'] of image {sample['image_id']!r}", 0, len(self.classes) - 1)
        return scores, int(label)

    def summarize(self, results: list[tuple[np.ndarray, int]]) -> dict[str, float]:
        """The accuracy for each k."""
        count = len(self.classes)
        if max(self.topk) > count:
            raise ValueError(f"topk must be at most the number of classes, {count}, got {self.topk}")
        scores = torch.from_numpy(np.stack([result[0] for result in results]))
        labels = torch.tensor([result[1] for result in results])
        return {
            f"top{k}": 100 * multiclass_accuracy(scores, labels, num_classes=count, average="micro", top_k=k).item()
            for k in self.topk
        }
