"""Data samples with known faults: targets, predictions made from them, and a metric run over both."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

CLASSES = ("background", "ant", "bee", "cow")


def evaluate(metric: Any, samples: list[dict[str, Any]], classes: tuple[str, ...] = CLASSES) -> dict[str, float]:
    """The metrics of these samples, in batches of three as a loop would hand them over."""
    metric.dataset_meta = {"classes": classes}
    for start in range(0, len(samples), 3):
        metric.process(None, samples[start : start + 3])
    return metric.evaluate(len(samples))


def objects(boxes: Any, labels: Any, **fields: Any) -> dict[str, Any]:
    """A target of these boxes, as readers give it."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    target = {
        "boxes": boxes,
        "labels": torch.as_tensor(labels, dtype=torch.int64).reshape(-1),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
        "area": (boxes[:, 2:] - boxes[:, :2]).prod(dim=1),
    }
    return target | {key: torch.as_tensor(value) for key, value in fields.items()}


def found(boxes: Any, labels: Any, scores: Any, **fields: Any) -> dict[str, Any]:
    """A prediction of these boxes."""
    return {
        "boxes": torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.as_tensor(labels, dtype=torch.int64).reshape(-1),
        "scores": torch.as_tensor(scores, dtype=torch.float32).reshape(-1),
        **fields,
    }


def sample(image_id: Any, prediction: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    return {"image_id": image_id, "prediction": prediction, "target": target}


def rectangles(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Masks (N, H, W) of the whole pixels of boxes."""
    masks = torch.zeros((len(boxes), *size), dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist()):
        mask[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = True
    return masks


def random_target(rng: np.random.Generator, size: tuple[int, int] = (200, 260), masks: bool = True) -> dict[str, Any]:
    """Up to 9 objects of whole pixels, of three classes and all area ranges; some crowds, some difficult."""
    count = int(rng.integers(0, 10))
    low = rng.integers(0, [size[1] - 8, size[0] - 8], (count, 2))
    high = np.minimum(low + rng.integers(4, 160, (count, 2)), [size[1], size[0]])
    boxes = np.concatenate([low, high], axis=1)
    target = objects(boxes, rng.integers(1, 4, count), iscrowd=(rng.random(count) < 0.1).astype(np.int64))
    target["difficult"] = torch.from_numpy(rng.random(count) < 0.25)
    if masks:
        target["masks"] = rectangles(target["boxes"], size)
    return target


def noisy(rng: np.random.Generator, target: dict[str, Any], classes: int = 4) -> dict[str, Any]:
    """A detector's kind of faults: boxes moved, left out, named wrongly, found twice, and found where nothing is."""
    kept = np.repeat(np.arange(len(target["boxes"])), rng.choice(3, len(target["boxes"]), p=[0.1, 0.7, 0.2]))
    boxes = target["boxes"].numpy()[kept]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + rng.normal(0, 0.08, boxes.shape) * sides
    stray = rng.integers(0, 5)
    corners = rng.uniform(0, 90, (stray, 2))
    boxes = np.concatenate([boxes, np.concatenate([corners, corners + rng.uniform(5, 60, (stray, 2))], axis=1)])
    labels = np.concatenate([target["labels"].numpy()[kept], rng.integers(1, classes, stray)])
    wrong = rng.random(len(labels)) < 0.1
    labels = np.where(wrong, rng.integers(1, classes, len(labels)), labels)
    prediction = found(boxes, labels, rng.random(len(labels)))
    if "masks" in target:
        masks = [np.roll(target["masks"][i].numpy(), rng.integers(-3, 4, 2), (0, 1)) for i in kept]
        masks += list(rectangles(prediction["boxes"][len(kept) :], target["masks"].shape[1:]).numpy())
        prediction["masks"] = torch.from_numpy(np.array(masks, dtype=bool).reshape(-1, *target["masks"].shape[1:]))
    return prediction


def random_samples(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Detection samples; the ids are in no order."""
    rng = np.random.default_rng(seed)
    targets = [random_target(rng) for _ in range(count)]
    return [sample(int(i), noisy(rng, target), target) for i, target in zip(rng.permutation(count) * 7, targets)]
