"""Synthetic images with boxes, instance masks and a class map: the same ones for every contender."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

_CLASSES = 19


@dataclass
class Batch:
    """A batch on its device.

    Attributes:
        images: (B, 3, H, W).
        targets: list of dicts with boxes, labels and, if wanted, masks.
        boxes: (B, N, 4), the same boxes padded.
        labels: (B, N), the same labels.
        semantic: (B, H, W) uint8.
        classes: (B,), one class per image for peers that mix nothing else.
    """

    images: Tensor
    targets: list[dict[str, Tensor]]
    boxes: Tensor
    labels: Tensor
    semantic: Tensor
    classes: Tensor

    @cached_property
    def floats(self) -> Tensor:
        """The images as peers that need floating point take them, in [0, 1]; made once, untimed."""
        return self.images.float() / (1 if self.images.is_floating_point() else 255)


def make_batches(
    ring: int,
    batch: int,
    size: int,
    objects: int,
    *,
    masks: bool = False,
    dtype: torch.dtype = torch.uint8,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> list[Batch]:
    """As many batches as the ring has places; non-overlapping memory, one seed."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(ring):
        images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator)
        boxes = draw_boxes(batch * objects, size, generator).reshape(batch, objects, 4).to(device)
        labels = torch.randint(0, 80, (batch, objects), generator=generator).to(device)
        targets = [{"boxes": boxes[index].clone(), "labels": labels[index].clone()} for index in range(batch)]
        if masks:
            for target in targets:
                target["masks"] = ellipses(target["boxes"], size)
        semantic = torch.randint(0, _CLASSES, (batch, size // 16 + 1, size // 16 + 1), generator=generator)
        semantic = semantic.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, :size, :size].to(torch.uint8)
        images = images.to(device) if dtype == torch.uint8 else (images.to(device).float() / 255).to(dtype)
        classes = torch.randint(0, _CLASSES, (batch,), generator=generator)
        batches.append(Batch(images, targets, boxes, labels, semantic.contiguous().to(device), classes.to(device)))
    return batches


def make_samples(count: int, size: int, objects: int, *, masks: bool = False, seed: int = 0) -> list[dict[str, Any]]:
    """Samples as numpy arrays: image (H, W, 3), boxes (N, 4) float32, labels (N,), semantic (H, W), masks (N, H, W)."""
    samples = []
    for batch in make_batches(count, 1, size, objects, masks=masks, seed=seed):
        sample = {
            "image": batch.images[0].permute(1, 2, 0).contiguous().numpy(),
            "boxes": batch.boxes[0].numpy(),
            "labels": batch.labels[0].numpy(),
            "semantic": batch.semantic[0].numpy(),
        }
        if masks:
            sample["masks"] = batch.targets[0]["masks"].numpy()
        samples.append(sample)
    return samples


def draw_boxes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Boxes (count, 4) inside the image, sides between 1/40 and 1/4 of it."""
    low = torch.rand(count, 2, generator=generator) * 0.87 * size
    sides = (torch.rand(count, 2, generator=generator) * 0.225 + 0.025) * size
    return torch.cat([low, (low + sides.clamp(min=2)).clamp(max=size)], dim=1)


def ellipses(boxes: Tensor, size: int) -> Tensor:
    """A uint8 mask (N, size, size) per box: the ellipse in it."""
    masks = torch.zeros((len(boxes), size, size), dtype=torch.uint8, device=boxes.device)
    at = np.arange(size) + 0.5
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist()):
        u, v = (at - (x0 + x1) / 2) / (x1 - x0) * 2, (at - (y0 + y1) / 2) / (y1 - y0) * 2
        mask.copy_(torch.from_numpy((u[None] ** 2 + v[:, None] ** 2 <= 1).astype(np.uint8)))
    return masks


def nbytes(batch: Batch, masks: bool = False) -> int:
    """Bytes of a batch's images, and of its masks if asked for."""
    images = batch.images.numel() * batch.images.element_size()
    return images + (sum(target["masks"].numel() for target in batch.targets) if masks else 0)
