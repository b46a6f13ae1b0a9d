"""Drawn shapes in ten classes: what a classifier can learn where no real images are."""

from __future__ import annotations

import math

import torch
from jaxtyping import UInt8
from torch import Tensor

CLASSES = ("disk", "square", "triangle", "cross", "ring", "rows", "columns", "diagonals", "checks", "dots")


def draw_shape(generator: torch.Generator, side: int = 32) -> tuple[UInt8[Tensor, "3 side side"], int]:
    """A shape of a random class, place, size and colour on a noisy ground, and its class.

    Args:
        generator: source of the draws.
        side: height and width, pixels.
    """
    label = int(torch.randint(len(CLASSES), (), generator=generator))
    draws = torch.rand(10, generator=generator)
    radius = (0.22 + 0.16 * draws[0]) * side
    center = side / 2 + (draws[1:3] - 0.5) * (side - 2 * radius)
    axis = torch.arange(side) + 0.5
    y, x = (axis - center[0])[:, None], (axis - center[1])[None, :]
    y, x = torch.broadcast_tensors(y, x)
    inside = _inside(CLASSES[label], x / radius, y / radius)
    front, back = draws[3:6], draws[6:9]
    if (front - back).abs().max() < 0.35:  # tell the shape from its ground
        front = (back + 0.5) % 1.0
    image = torch.where(inside, front[:, None, None], back[:, None, None])
    image = image + 0.06 * torch.randn(3, side, side, generator=generator)
    return (image.clamp(0, 1) * 255).to(torch.uint8), label


def _inside(name: str, x: Tensor, y: Tensor) -> Tensor:
    """Whether a point belongs to a shape of radius 1 round the origin."""
    distance, box = torch.hypot(x, y), torch.maximum(x.abs(), y.abs()) < 1
    stripes = {"rows": y, "columns": x, "diagonals": (x + y) / math.sqrt(2)}
    if name in stripes:
        return box & (torch.floor(stripes[name] * 2.5) % 2 == 0)
    return {
        "disk": distance < 1,
        "square": torch.maximum(x.abs(), y.abs()) < 0.85,
        "triangle": (y < 0.8) & (y > 2 * x.abs() - 1),
        "cross": box & (torch.minimum(x.abs(), y.abs()) < 0.3),
        "ring": (distance < 1) & (distance > 0.55),
        "checks": box & ((torch.floor(x * 2) + torch.floor(y * 2)) % 2 == 0),
        "dots": box & (torch.hypot((x * 1.5) % 1 - 0.5, (y * 1.5) % 1 - 0.5) < 0.3),
    }[name]
