"""Mean intersection over union of class maps, from one confusion matrix of the whole dataset."""

from __future__ import annotations

from typing import Any

import numpy as np

from cutmix_dense.evaluation.base import ImageMetric
from cutmix_dense.evaluation.confusion import Counts, confusion, total
from cutmix_dense.evaluation.samples import in_range, semantic_maps
from cutmix_dense.mmengine.scope import METRICS


@METRICS.register_module()
class IoUMetric(ImageMetric):
    """Intersection over union and accuracy of every class, over all pixels of the dataset at once.

    Reads `semantic` (H, W) of the prediction and of the target, class ids of equally large maps. (Averages over
    images, as torchmetrics' `segmentation.MeanIoU` takes them, are another metric.)

    Gives, in percent: `mIoU`, the mean over the classes that occur in the target or in the prediction; `mAcc`, the
    mean share of right pixels over the classes that occur in the target; `aAcc`, the share of right pixels of all;
    `IoU/<class>`, nan for a class that occurs in neither map.

    Args:
        ignore_index: pixels of the target with this value aren't counted, whatever was predicted there. Predictions
            must be classes everywhere.
        per_class: also give every class.
        collect: as in `ImageMetric`.

    Source: `mmseg.evaluation.IoUMetric` counts the same.
    """

    default_prefix = "semantic"

    def __init__(self, ignore_index: int = 255, *, per_class: bool = True, **collect: Any) -> None:
        super().__init__(**collect)
        self.ignore_index, self.per_class = ignore_index, per_class

    def measure(self, sample: dict[str, Any]) -> Counts:
        """The confusion matrix of one image."""
        prediction, target = semantic_maps(sample)
        last = len(self.classes) - 1
        in_range(prediction, f"prediction['semantic'] of image {sample['image_id']!r}", 0, last)
        in_range(target, f"target['semantic'] of image {sample['image_id']!r}", 0, last, (self.ignore_index,))
        return confusion(prediction, target, len(self.classes), self.ignore_index)

    def summarize(self, results: list[Counts]) -> dict[str, float]:
        """The scores of the summed matrix."""
        matrix = total(results, len(self.classes))
        right, there, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
        iou, accuracy = _share(right, there + predicted - right), _share(right, there)
        scores = {
            "mIoU": _mean(iou),
            "mAcc": _mean(accuracy),
            "aAcc": float(_share(right.sum(), there.sum())),
        }
        if self.per_class:
            scores |= {f"IoU/{name}": float(value) for name, value in zip(self.classes, iou)}
        return scores


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """100 · part / whole, nan where the whole is 0."""
    return np.where(whole > 0, 100.0 * part / np.maximum(whole, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    """The mean of what is not nan; nan if nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
