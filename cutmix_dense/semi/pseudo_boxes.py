"""Pseudo-labels of detectors: which of a teacher's boxes a student learns from, and which it ignores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.functional.fields import IGNORED

_ROWS = ("boxes", "labels", "scores", "masks", "keypoints")
"""What is taken of detections."""


def pseudo_boxes(
    detections: Sequence[Mapping[str, Tensor]],
    *,
    threshold: float | Sequence[float] | Tensor = 0.7,
    ignore_above: float | None = None,
    min_side: float = 0.01,
    background: int | None = None,
    weigh: bool = False,
) -> list[dict[str, Any]]:
    """Targets from a teacher's detections, without gradients: those with a score above a threshold.

    The targets are those of any mix: boxes, labels, scores, masks and keypoints follow their pixels. Other keys of the
    detections are left out.

    Args:
        detections: as torchvision's detectors return them: ``boxes`` (N, 4) xyxy in pixels, ``labels`` (N,), ``scores``
            (N,); ``masks`` (N, 1, H, W) of probabilities, or (N, H, W); ``keypoints`` (N, K, 3).
        threshold: a box counts if its score is greater; one in [0, 1] for all classes, or one per class, indexed by the
            label. Unbiased Teacher and MixPL's Faster R-CNN use 0.7, MixPL's FCOS 0.3.
        ignore_above: boxes with a score greater than this, and not greater than their threshold, go to
            ``target["ignored"]``: a loss that knows ignore regions needn't punish finding them. At most the least
            threshold of a class that isn't ``background``. None: they are dropped.
        min_side: boxes with a side not longer than this are dropped, pixels; 0.01 in MMDetection.
        background: a label that is never a pseudo-label: 0 for torchvision's FCOS and RetinaNet, which have a score for
            it. None: all labels count.
        weigh: whether targets carry ``weight``, the scores, for losses that read it.

    Raises:
        KeyError: detections lack boxes, labels or scores.
        ValueError: a threshold isn't in [0, 1], there is none for a label, or ``ignore_above`` is greater than one.

    Source: Unbiased Teacher, ``ubteacher/engine/trainer.py``, line 422 (``scores > thres``); MMDetection,
    ``semi_base.py``, ``loss_by_pseudo_instances`` and ``project_pseudo_instances``.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 4, 4], [2, 2, 8, 8], [1, 1, 9, 5]])
        >>> found = [{"boxes": boxes, "labels": torch.tensor([1, 2, 1]), "scores": torch.tensor([0.9, 0.6, 0.4])}]
        >>> (target,) = pseudo_boxes(found, threshold=[1.0, 0.7, 0.5], ignore_above=0.3)
        >>> target["labels"].tolist(), target["ignored"]["boxes"].tolist()
        ([1, 2], [[1.0, 1.0, 9.0, 5.0]])
    """
    limits = torch.as_tensor(threshold, dtype=torch.float64, device="cpu").detach()
    if limits.ndim > 1 or limits.numel() == 0 or not bool(((limits >= 0) & (limits <= 1)).all()):
        raise ValueError(f"threshold must lie in [0, 1], one for all classes or one per class, got {threshold!r}")
    if ignore_above is not None:
        _check_ignore_above(ignore_above, limits, background)
    targets = []
    for index, found in enumerate(detections):
        rows = {key: found[key].detach() for key in _ROWS if key in found or key in _ROWS[:3]}
        if "masks" in rows:
            rows["masks"] = _hard(rows["masks"])
        scores, labels = rows["scores"], rows["labels"]
        wide = (rows["boxes"][:, 2:] - rows["boxes"][:, :2] > min_side).all(dim=1)
        if background is not None:
            wide &= labels != background
        sure = scores > _limits_of(labels, limits, f"detections[{index}]").to(scores)
        target: dict[str, Any] = _chosen(rows, wide & sure)
        if weigh:
            target["weight"] = target["scores"].clone()
        if ignore_above is not None:
            target[IGNORED] = {"boxes": rows["boxes"][wide & ~sure & (scores > ignore_above)]}
        targets.append(target)
    return targets


def _check_ignore_above(ignore_above: float, limits: Float[Tensor, "..."], background: int | None) -> None:
    """Raise ValueError if boxes of a class could count though they aren't above ``ignore_above``."""
    counts = torch.ones(limits.numel(), dtype=torch.bool, device=limits.device)
    if limits.ndim and background is not None and 0 <= background < len(limits):
        counts[background] = False
    least, label = torch.where(counts, limits.flatten(), 1.0).min(dim=0)
    if not 0 <= ignore_above <= float(least):
        whose = f" (that of label {int(label)})" if limits.ndim else ""
        raise ValueError(
            f"ignore_above must lie between 0 and the least threshold, {float(least):g}{whose}, got {ignore_above!r}: "
            "lower it, or raise the threshold"
        )


def _chosen(rows: Mapping[str, Tensor], keep: Bool[Tensor, " n"]) -> dict[str, Tensor]:
    return {key: value[keep] for key, value in rows.items()}


def _hard(masks: Tensor) -> Bool[Tensor, "n h w"]:
    """Masks as the mix takes them, from probabilities with an axis of one channel."""
    masks = masks[:, 0] if masks.ndim == 4 else masks
    return masks > 0.5 if masks.is_floating_point() else masks.bool()


def _limits_of(labels: Int[Tensor, " n"], limits: Float[Tensor, "..."], where: str) -> Float[Tensor, "..."]:
    """The threshold of every detection."""
    if limits.ndim == 0:
        return limits
    if len(labels) and int(labels.max()) >= len(limits):
        raise ValueError(
            f"threshold must have an entry for each label, indexed by it: {len(limits)} are given, "
            f"{where}['labels'] has {int(labels.max())}"
        )
    return limits.to(labels.device)[labels]
