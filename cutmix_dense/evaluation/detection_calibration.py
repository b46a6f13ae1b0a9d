"""Whether the scores of detections can be trusted: D-ECE by precision, LaECE by precision and overlap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torchvision.ops import box_area, box_iou

from cutmix_dense.evaluation.base import ImageMetric
from cutmix_dense.evaluation.reliability import as_confidence, binned, calibration_error
from cutmix_dense.evaluation.samples import Arrays, first_label, instances, read
from cutmix_dense.mmengine.scope import METRICS


@METRICS.register_module()
class DetectionCalibration(ImageMetric):
    """Calibration errors of detections: how far their scores are from their precision.

    Reads `boxes`, `labels`, `scores` (probabilities) of the prediction, `boxes` and `labels` of the target, and
    `iscrowd`, `difficult` and `ignored` (a dict with `boxes`) where it has them. In every image and class the
    detections, by falling score, take the free object that they overlap most, as COCO assigns them. What takes none
    and overlaps a difficult object, or lies by that share of its area in a crowd of its class or in an ignored region
    of any class, counts neither way; else it is false.

    Gives, in percent, 0 is best: `D-ECE`, the mean distance of score and precision over the detections of all classes,
    by bins of the score (Küppers et al. 2020, by the score alone); `LaECE`, the mean over classes of the distance of
    score and precision × mean IoU of the true ones (Oksuz et al. 2023), and `LaECE/<class>`. A class without objects
    or without a detection that counts is nan and leaves the mean.

    Args:
        min_score: detections below aren't looked at. Most detections have low scores and are right to have them:
            without a threshold both errors say little of those that anybody uses. Errors compare at one threshold only.
        dece_iou: IoU from which a detection is true, for the D-ECE.
        dece_bins: of the score, of equal width; each holds its lower border, the last one 1 as well.
        laece_iou: likewise, for the LaECE.
        laece_bins: likewise.
        per_class: also give every class.
        collect: as in `ImageMetric`.

    Raises:
        ValueError: a threshold or number out of range.

    Source: Küppers, Kronenberger, Shantia, Haselhoff 2020, Multivariate Confidence Calibration for Object Detection;
        Oksuz, Joy, Dokania 2023, Towards Building Self-Aware Object Detectors via Reliable Uncertainty Quantification
        and Calibration. `netcal.metrics.ECE(detection=True)` gives the same D-ECE of assigned detections.
    """

    default_prefix = "calibration"

    def __init__(
        self,
        min_score: float = 0.3,
        *,
        dece_iou: float = 0.5,
        dece_bins: int = 10,
        laece_iou: float = 0.1,
        laece_bins: int = 25,
        per_class: bool = True,
        **collect: Any,
    ) -> None:
        super().__init__(**collect)
        if not 0 <= min_score < 1:
            raise ValueError(f"min_score must be at least 0 and below 1, got {min_score!r}")
        for name, value in (("dece_iou", dece_iou), ("laece_iou", laece_iou)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {value!r}")
        for name, value in (("dece_bins", dece_bins), ("laece_bins", laece_bins)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        self.min_score, self.per_class = min_score, per_class
        self.dece_iou, self.dece_bins = dece_iou, dece_bins
        self.laece_iou, self.laece_bins = laece_iou, laece_bins

    def measure(self, sample: dict[str, Any]) -> Arrays:
        """What happened to the detections of one image.

        Returns:
            `labels`, `scores` (N,) of the detections that are looked at, `dece` and `laece` (N,) their IoU with the
            object they take, 0 for none, nan where they count neither way; `objects`, the classes to be found.
        """
        prediction = instances(sample, "prediction", self.classes)
        target = instances(sample, "target", self.classes)
        scores = as_confidence(prediction["scores"], f"prediction['scores'] of image {sample['image_id']!r}")
        looked_at = scores >= self.min_score
        boxes, labels, scores = prediction["boxes"][looked_at], prediction["labels"][looked_at], scores[looked_at]
        crowd, difficult = (_flags(sample, key, len(target["boxes"])) for key in ("iscrowd", "difficult"))
        ignored = sample["target"].get("ignored")
        regions = np.zeros((0, 4))
        if ignored:
            regions = read({**sample, "ignored": ignored}, "ignored", "boxes", (None, 4)).astype(np.float64)
        found: Arrays = {"labels": labels, "scores": scores}
        for name, iou in (("dece", self.dece_iou), ("laece", self.laece_iou)):
            found[name] = np.zeros(len(boxes))
            for label in np.unique(labels):
                mine, there = labels == label, target["labels"] == label
                spared = _within(boxes[mine], np.concatenate([target["boxes"][there & crowd], regions])) >= iou
                spared |= _overlap(boxes[mine], target["boxes"][there & difficult & ~crowd]) >= iou
                objects = target["boxes"][there & ~crowd & ~difficult]
                found[name][mine] = assign(boxes[mine], scores[mine], objects, spared, iou)
        found["objects"] = np.unique(target["labels"][~crowd & ~difficult])
        return found

    def summarize(self, results: list[Arrays]) -> dict[str, float]:
        """Both errors over all images."""
        found = {key: np.concatenate([result[key] for result in results]) for key in results[0]}
        true = np.where(np.isnan(found["dece"]), np.nan, found["dece"] > 0)
        labels = range(first_label(self.classes), len(self.classes))
        to_find = set(found["objects"].tolist())
        by_class = dict.fromkeys(labels, math.nan)
        for label in to_find:
            mine = found["labels"] == label
            by_class[label] = _error(found["scores"][mine], found["laece"][mine], self.laece_bins)
        known = [value for value in by_class.values() if not math.isnan(value)]
        scores = {
            "D-ECE": _error(found["scores"], true, self.dece_bins),
            "LaECE": sum(known) / len(known) if known else math.nan,
        }
        if self.per_class:
            scores |= {f"LaECE/{self.classes[label]}": value for label, value in by_class.items()}
        return scores


def assign(
    boxes: Float[np.ndarray, "n 4"],
    scores: Float[np.ndarray, " n"],
    objects: Float[np.ndarray, "m 4"],
    spared: Bool[np.ndarray, " n"],
    iou: float,
) -> Float[np.ndarray, " n"]:
    """The IoU of every detection with the object that it takes: 0 for none, nan for none where it is spared.

    By falling score each takes the free object that it overlaps most, if by at least `iou`. (`voc.match` asks another
    question: there the object overlapped most is the only one that a detection can take.)

    Args:
        boxes: (N, 4) detections of one class in one image, xyxy.
        scores: (N,); equal ones are taken in their order.
        objects: (M, 4) those to be found.
        spared: (N,) which detections count neither way where they take none.
        iou: threshold, itself enough.

    Source: `pycocotools.cocoeval.COCOeval.evaluateImg`.

    Example:
        >>> objects, boxes = np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 10, 8], [0, 0, 10, 10]])
        >>> assign(boxes, np.array([0.9, 0.5]), objects, np.array([False, False]), 0.5).tolist()
        [0.8, 0.0]
    """
    taken = np.where(spared, np.nan, 0.0)
    overlaps = _ious(boxes, objects)
    for i in np.argsort(-scores, kind="stable") if len(objects) else ():
        j = overlaps[i].argmax()
        if overlaps[i, j] >= iou:
            taken[i] = overlaps[i, j]
            overlaps[:, j] = -1.0
    return taken


def _ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    return box_iou(torch.from_numpy(boxes), torch.from_numpy(others)).nan_to_num(0.0).numpy()


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The highest IoU of every box with one of the others; 0 without any."""
    return _ious(boxes, others).max(axis=1, initial=0.0)


def _within(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The largest share of every box's area that lies in one of the regions; 0 without any."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = box_area(torch.from_numpy(boxes)).numpy()[:, None]
    return np.divide(shared, area, out=np.zeros_like(shared), where=area > 0).max(axis=1, initial=0.0)


def _flags(sample: dict[str, Any], key: str, count: int) -> np.ndarray:
    if key not in sample["target"]:
        return np.zeros(count, dtype=bool)
    return read(sample, "target", key, (count,), integer=True) != 0


def _error(scores: np.ndarray, outcome: np.ndarray, bins: int) -> float:
    """The calibration error in percent of the detections that count; nan without any."""
    counted = ~np.isnan(outcome)
    table = binned(scores[counted], outcome[counted], bins)
    table[:, -2] += table[:, -1]  # the last bin holds 1
    return 100 * calibration_error(table[:, :-1])
