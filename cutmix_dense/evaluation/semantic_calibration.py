"""Whether the confidence of a class map can be trusted: its calibration error, and whether doubt finds the mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from cutmix_dense.evaluation.base import ImageMetric
from cutmix_dense.evaluation.reliability import (
    SURE_BINS,
    as_confidence,
    auroc,
    binned,
    calibration_error,
    uncertainty_bin,
)
from cutmix_dense.evaluation.samples import in_range, read, semantic_maps
from cutmix_dense.mmengine.scope import METRICS

Tallies = tuple[Float[np.ndarray, "3 m"], Any]
"""The reliability table, and (bin of uncertainty, wrong pixels, right pixels) of the bins that have any."""


@METRICS.register_module()
class SemanticCalibration(ImageMetric):
    """Calibration error and uncertainty AUROC of class maps, over all pixels of the dataset at once.

    Reads `semantic` (H, W) and `confidence` (H, W), the probability of the predicted class, of the prediction, and
    `semantic` of the target. `Segmenter(confidence=True)` gives the confidence.

    Gives, in percent: `ECE`, how far confidence and accuracy lie apart, averaged over the pixels by bins of confidence
    (0 is best; l1 norm); `AUROC`, the chance that a wrong pixel is less confident than a right one (100 is best, 50 is
    chance), nan where all pixels are right or all wrong. ECE alone praises a map that is half wrong and half sure;
    AUROC alone doesn't see a confidence that is too high everywhere.

    Args:
        bins: of equal width, for the ECE. A confidence of exactly 1 has a bin for itself, as in torchmetrics.
        ignore_index: pixels of the target with this value aren't counted.
        collect: as in `ImageMetric`.

    Raises:
        ValueError: no bin.

    Source: Guo et al. 2017; `torchmetrics.functional.classification.multiclass_calibration_error(norm="l1")` gives the
        same ECE, and `binary_auroc` of 1 - confidence against "wrong" the AUROC, but for ties: uncertainties that
        differ by less than a hundredth of themselves may count as equal.

    Example:
        >>> import torch
        >>> metric = SemanticCalibration()
        >>> metric.dataset_meta = {"classes": ("road", "sky")}
        >>> prediction = {"semantic": torch.tensor([[0, 1]]), "confidence": torch.tensor([[0.9, 0.6]])}
        >>> sample = {"image_id": 1, "prediction": prediction, "target": {"semantic": torch.tensor([[0, 0]])}}
        >>> metric.process(None, [sample])
        >>> {name: round(value, 1) for name, value in metric.evaluate(1).items()}
        {'calibration/ECE': 35.0, 'calibration/AUROC': 100.0}
    """

    default_prefix = "calibration"

    def __init__(self, bins: int = 15, ignore_index: int = 255, **collect: Any) -> None:
        super().__init__(**collect)
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins!r}")
        self.bins, self.ignore_index = bins, ignore_index

    def measure(self, sample: dict[str, Any]) -> Tallies:
        """The counts of one image: kilobytes where the confidences are megabytes."""
        prediction, target = semantic_maps(sample)
        if "confidence" not in sample["prediction"]:
            raise ValueError(
                f"prediction['confidence'] of image {sample['image_id']!r} is missing, there are only "
                f"{list(sample['prediction'])}: set confidence=True in the Segmenter"
            )
        last, image = len(self.classes) - 1, f"of image {sample['image_id']!r}"
        in_range(prediction, f"prediction['semantic'] {image}", 0, last)
        in_range(target, f"target['semantic'] {image}", 0, last, (self.ignore_index,))
        confidence = as_confidence(
            read(sample, "prediction", "confidence", target.shape), f"prediction['confidence'] {image}"
        )
        counted = target != self.ignore_index
        confidence, right = confidence[counted].astype(np.float32), (prediction == target)[counted]
        places = uncertainty_bin(confidence)
        wrong, hits = (np.bincount(places[part], minlength=SURE_BINS) for part in (~right, right))
        where = np.flatnonzero(wrong + hits)
        doubts = (where.astype(np.int16), wrong[where].astype(np.int32), hits[where].astype(np.int32))
        return binned(confidence, right, self.bins), doubts

    def summarize(self, results: list[Tallies]) -> dict[str, float]:
        """Both scores of the summed counts."""
        wrong, right = np.zeros(SURE_BINS, dtype=np.int64), np.zeros(SURE_BINS, dtype=np.int64)
        for _, (where, misses, hits) in results:
            wrong[where] += misses
            right[where] += hits
        table = np.sum([table for table, _ in results], axis=0)
        return {"ECE": 100 * calibration_error(table), "AUROC": 100 * auroc(wrong, right)}
