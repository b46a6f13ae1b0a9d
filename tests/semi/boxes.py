"""Coded images with objects whose boxes a teacher reads off the pixels, and what a mixed image must show of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

H, W = 24, 36


def coded(count: int, height: int = H, width: int = W, first: int = 0) -> Tensor:
    """Images of three channels whose pixels hold (id + 1, x, y)."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([torch.stack([torch.full((height, width), first + i + 1.0), x, y]) for i in range(count)])


def detections(number: int, height: int = H, width: int = W) -> dict[str, Tensor]:
    """What a teacher finds in the image of this number: whole-pixel boxes, labels and scores of their own."""
    g = torch.Generator().manual_seed(number)
    size = torch.tensor([width, height])
    low = (torch.rand(5, 2, generator=g) * (size - 8)).long()
    high = torch.minimum(low + 4 + (torch.rand(5, 2, generator=g) * 12).long(), size)
    labels = torch.arange(5) + 10 * number
    return {"boxes": torch.cat([low, high], 1).float(), "labels": labels, "scores": torch.linspace(0.5, 0.9, 5)}


def teacher(images: list[Tensor]) -> list[dict[str, Tensor]]:
    """Finds out by its pixels which image it sees, and that it is whole."""
    found = []
    for image in images:
        number = int(image[0, 0, 0])
        assert torch.equal(image, coded(1, *image.shape[1:], first=number - 1)[0]), "the teacher sees whole images"
        found.append(detections(number, *image.shape[1:]))
    return found


def shown(image: Tensor, number: int, box: Tensor) -> Tensor:
    """Which pixels of an unscaled mixed image show that image within that box, by their codes."""
    x0, y0, x1, y1 = box.tolist()
    source, x, y = image
    return (source == number) & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def expected(image: Tensor, numbers: list[int], least: float, threshold: float = 0.6) -> dict[tuple[int, int], Any]:
    """For each label that must be there, its tight visible box and visibility, from the pixels alone."""
    rows = {}
    for number in numbers:
        found = detections(number, *image.shape[1:])
        for box, label, score in zip(found["boxes"], found["labels"].tolist(), found["scores"].tolist()):
            seen = shown(image, number, box)
            whole = float((box[2] - box[0]) * (box[3] - box[1]))
            share = float(seen.sum()) / whole
            if score > threshold and share >= least and bool(seen.any()):
                rows_of, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
                tight = [int(columns[0]), int(rows_of[0]), int(columns[-1]) + 1, int(rows_of[-1]) + 1]
                rows[label] = (tight, share, score)
    return rows


def agrees(image: Tensor, target: dict[str, Any], numbers: list[int], least: float = 0.1, threshold: float = 0.6):
    """The target is what the pixels of its image show."""
    wanted = expected(image, numbers, least, threshold)
    assert sorted(target["labels"].tolist()) == sorted(wanted)
    for row, label in enumerate(target["labels"].tolist()):
        box, share, score = wanted[label]
        assert target["boxes"][row].tolist() == box
        assert abs(float(target["visibility"][row]) - share) < 1e-5
        assert abs(float(target["scores"][row]) - score) < 1e-6
