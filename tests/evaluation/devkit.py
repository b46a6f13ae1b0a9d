"""VOC's `VOCevaldet.m` and `VOCap.m`, written out plainly: 1-based inclusive boxes, one list of detections by score."""

from __future__ import annotations

from fractions import Fraction
from typing import Any


def average_precision(images: dict[Any, dict[str, Any]], detections: list[tuple], mode: str, minoverlap=0.5) -> float:
    """AP of one class.

    `images`: {id: {"BB": [(x1, y1, x2, y2)], "diff": [bool]}}; `detections`: (confidence, id, (x1, y1, x2, y2)).
    """
    npos = sum(not hard for image in images.values() for hard in image["diff"])
    if npos == 0:
        return float("nan")
    taken = {key: [False] * len(image["BB"]) for key, image in images.items()}
    tp, fp = [], []
    for _, key, bb in sorted(detections, key=lambda detection: -detection[0]):
        ovmax, jmax = -1.0, -1
        for j, bbgt in enumerate(images[key]["BB"]):
            iw = min(bb[2], bbgt[2]) - max(bb[0], bbgt[0]) + 1
            ih = min(bb[3], bbgt[3]) - max(bb[1], bbgt[1]) + 1
            if iw > 0 and ih > 0:
                ua = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1) + (bbgt[2] - bbgt[0] + 1) * (bbgt[3] - bbgt[1] + 1)
                ov = iw * ih / (ua - iw * ih)
                if ov > ovmax:
                    ovmax, jmax = ov, j
        hit = miss = 0
        if ovmax >= minoverlap:
            if not images[key]["diff"][jmax]:
                if not taken[key][jmax]:
                    hit = 1
                    taken[key][jmax] = True
                else:
                    miss = 1
        else:
            miss = 1
        tp.append((tp[-1] if tp else 0) + hit)
        fp.append((fp[-1] if fp else 0) + miss)
    rec = [Fraction(hits, npos) for hits in tp]
    prec = [Fraction(hits, hits + misses) if hits + misses else Fraction(0) for hits, misses in zip(tp, fp)]
    if mode == "11points":
        levels = [Fraction(k, 10) for k in range(11)]
        return float(sum(max((p for r, p in zip(rec, prec) if r >= t), default=0) for t in levels) / Fraction(11))
    mrec, mpre = [Fraction(0), *rec, Fraction(1)], [Fraction(0), *prec, Fraction(0)]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    return float(sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)) if mrec[i] != mrec[i - 1]))


def of_class(samples: list[dict[str, Any]], label: int, mode: str, minoverlap=0.5) -> float:
    """AP of our samples' class, written in the kit's coordinates."""
    images: dict[Any, dict[str, Any]] = {}
    detections = []
    for sample in sorted(samples, key=lambda sample: sample["image_id"]):
        target, prediction = sample["target"], sample["prediction"]
        there = (target["labels"] == label).nonzero().flatten().tolist()
        images[sample["image_id"]] = {
            "BB": [inclusive(target["boxes"][i]) for i in there],
            "diff": [bool(target["difficult"][i]) for i in there],
        }
        for i in (prediction["labels"] == label).nonzero().flatten().tolist():
            box = inclusive(prediction["boxes"][i])
            detections.append((float(prediction["scores"][i]), sample["image_id"], box))
    return average_precision(images, detections, mode, minoverlap)


def inclusive(box: Any) -> tuple[float, float, float, float]:
    """Half-open from 0 to inclusive from 1."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1 + 1, y1 + 1, x2, y2
