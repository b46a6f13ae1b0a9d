"""The mean average precision of the PASCAL VOC development kit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torchvision.ops import box_iou

from cutmix_dense.evaluation.base import ImageMetric
from cutmix_dense.evaluation.samples import Arrays, first_label, instances, read
from cutmix_dense.mmengine.scope import METRICS

_MODES = ("area", "11points")


@METRICS.register_module()
class VocMetric(ImageMetric):
    """Mean average precision at one IoU threshold, as VOC's development kit counts.

    Reads `boxes`, `labels`, `scores` of the prediction and `boxes`, `labels` of the target, `difficult` and `iscrowd`
    where it has them. Every detection, by falling score, belongs to the object of its class that it overlaps most: if
    the IoU is below the threshold it is false; if the object is difficult it counts neither way; if the object is
    taken already it is false; else it is true. Difficult objects needn't be found. A crowd (other layouts have them)
    is treated as difficult.

    The kit's boxes are inclusive pixels, so it adds 1 to every side. Ours are half-open and continuous, and readers
    turn the kit's (xmin, ymin, xmax, ymax) into (xmin - 1, ymin - 1, xmax, ymax): the side `x2 - x1` is the kit's
    `xmax - xmin + 1`, and nothing is added. For predictions written to the kit's files likewise the IoU is the same.

    Gives `AP50` (after the threshold) and `AP50/<class>`, in percent. A class without objects to find is nan and
    leaves the mean.

    Args:
        iou: threshold, above 0 and at most 1.
        mode: "area", under the curve whose precision never rises again (2010 and later), or "11points", the mean
            of 11 precisions at recall 0, 0.1 … 1 (2007).
        per_class: also give every class.
        collect: as in `ImageMetric`.

    Raises:
        ValueError: a threshold or mode out of range.

    Source: Everingham et al. 2010; `VOCevaldet.m` of the development kit.
    """

    default_prefix = "voc"

    def __init__(self, iou: float = 0.5, mode: str = "area", *, per_class: bool = True, **collect: Any) -> None:
        super().__init__(**collect)
        if not 0 < iou <= 1:
            raise ValueError(f"iou must be above 0 and at most 1, got {iou!r}")
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {_MODES}, got {mode!r}")
        self.iou, self.mode, self.per_class = float(iou), mode, per_class

    def measure(self, sample: dict[str, Any]) -> dict[str, Arrays]:
        """Boxes, labels, scores and which objects are difficult, of one image."""
        prediction = instances(sample, "prediction", self.classes)
        target = instances(sample, "target", self.classes)
        target["difficult"] = np.zeros(len(target["boxes"]), dtype=bool)
        for key in ("difficult", "iscrowd"):
            if key in sample["target"]:
                target["difficult"] |= read(sample, "target", key, target["difficult"].shape, integer=True) != 0
        return {"prediction": prediction, "target": target}

    def summarize(self, results: list[dict[str, Arrays]]) -> dict[str, float]:
        """One average precision per class, and their mean."""
        name = f"AP{100 * self.iou:g}"
        labels = range(first_label(self.classes), len(self.classes))
        values = [100 * self._one_class(results, label) for label in labels]
        known = [value for value in values if not math.isnan(value)]
        scores = {name: sum(known) / len(known) if known else math.nan}
        if self.per_class:
            scores |= {f"{name}/{self.classes[label]}": value for label, value in zip(labels, values)}
        return scores

    def _one_class(self, results: list[dict[str, Arrays]], label: int) -> float:
        parts, count = [], 0
        for result in results:
            prediction, target = result["prediction"], result["target"]
            found, there = prediction["labels"] == label, target["labels"] == label
            difficult = target["difficult"][there]
            count += int((~difficult).sum())
            scores = prediction["scores"][found]
            true, false = match(prediction["boxes"][found], scores, target["boxes"][there], difficult, self.iou)
            parts.append((scores, true, false))
        scores, true, false = (np.concatenate(column) for column in zip(*parts))
        order = np.argsort(-scores, kind="stable")
        return average_precision(true[order], false[order], count, self.mode)


def match(
    boxes: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    objects: Float[np.ndarray, "m 4"],
    difficult: Bool[np.ndarray, " m"],
    iou: float,
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Which detections of one class in one image are true, and which are false; those of difficult objects neither.

    Args:
        boxes: (N, 4) detections, half-open xyxy.
        scores: (N,) of the detections; equal ones are taken in their order.
        objects: (M, 4) ground truth.
        difficult: (M,).
        iou: threshold, itself enough.
    """
    true, false = np.zeros(len(boxes), dtype=bool), np.zeros(len(boxes), dtype=bool)
    if not len(objects) or not len(boxes):
        return true, ~true
    overlaps = box_iou(torch.from_numpy(boxes), torch.from_numpy(objects)).nan_to_num(0.0).numpy()
    best, taken = overlaps.argmax(axis=1), np.zeros(len(objects), dtype=bool)
    for i in np.argsort(-scores, kind="stable"):
        j = best[i]
        if overlaps[i, j] < iou:
            false[i] = True
        elif not difficult[j]:
            true[i], false[i] = not taken[j], taken[j]
            taken[j] = True
    return true, false


def average_precision(true: Bool[np.ndarray, " n"], false: Bool[np.ndarray, " n"], count: int, mode: str) -> float:
    """The average precision in 0..1 of detections in the order of falling scores; nan if there is nothing to find.

    The 11 recalls k/10 are reached exactly when 10 · hits >= k · count. (In binary fractions, as other programs
    write it, 0.1 + 0.1 + 0.1 is above 3/10, and a recall of 3 out of 10 doesn't reach it.)

    Args:
        true: (N,).
        false: (N,).
        count: how many objects are to be found.
        mode: "area" or "11points".
    """
    if not count:
        return math.nan
    hits, misses = true.cumsum(), false.cumsum()
    precision = hits / np.maximum(hits + misses, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if mode == "area":
        # the recall rises by 1/count at each hit and nowhere else
        return float(envelope[true].sum() / count)
    reached = [precision[10 * hits >= level * count] for level in range(11)]
    return sum(float(part.max()) if part.size else 0.0 for part in reached) / 11
