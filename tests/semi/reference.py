"""The published losses, written plainly from the authors' programs, pixel by pixel in the float64 of Python."""

from __future__ import annotations

import math

from torch import Tensor


def softmax(scores: list[float]) -> list[float]:
    exponents = [math.exp(score) for score in scores]
    return [e / sum(exponents) for e in exponents]


def pixels(logits: Tensor) -> list[list[float]]:
    return logits.movedim(1, -1).reshape(-1, logits.shape[1]).tolist()


def french(student: Tensor, teacher: Tensor, valid: Tensor, threshold: float, per_pixel: bool) -> float:
    """``(consistency_loss * loss_mask).mean()``: squared differences, over all pixels."""
    ours, theirs = [softmax(p) for p in pixels(student)], [softmax(p) for p in pixels(teacher)]
    sure = [float(max(p) >= threshold) for p in theirs]
    mean = sum(sure) / len(sure)
    total = 0.0
    for a, b, ok, confident in zip(ours, theirs, valid.flatten().tolist(), sure):
        total += sum((x - y) ** 2 for x, y in zip(a, b)) * ok * (confident if per_pixel else mean)
    return total / len(ours)


def classmix(student: Tensor, teacher: Tensor, valid: Tensor, threshold: float) -> float:
    """``mean(CE(ignored → 0) * share of confident pixels)``."""
    theirs = [softmax(p) for p in pixels(teacher)]
    share = sum(max(p) >= threshold for p in theirs) / len(theirs)
    total = 0.0
    for a, b, ok in zip(pixels(student), theirs, valid.flatten().tolist()):
        if ok:
            total += -math.log(softmax(a)[b.index(max(b))]) * share
    return total / len(theirs)


def unimatch(student: Tensor, teacher: Tensor, valid: Tensor, threshold: float) -> float:
    """``sum(CE * (conf >= t & valid)) / sum(valid)``."""
    total, count = 0.0, 0
    for a, b, ok in zip(pixels(student), pixels(teacher), valid.flatten().tolist()):
        p = softmax(b)
        if ok:
            count += 1
            if max(p) >= threshold:
                total += -math.log(softmax(a)[p.index(max(p))])
    return total / count
