"""The shapes of the demo set as signed distances, from which exact masks and smooth edges both follow."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

__all__ = ["CLASSES", "distance"]

Plane = Float[np.ndarray, "h w"]


def _polygon(x: Plane, y: Plane, corners: np.ndarray) -> Plane:
    """Exact distance to a polygon, negative inside."""
    nearest = np.full(x.shape, np.inf, dtype=x.dtype)
    outside = np.ones(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners.tolist(), np.roll(corners, 1, axis=0).tolist(), strict=True):
        ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (wx - ex * along) ** 2 + (wy - ey * along) ** 2)
        if ay != by:  # a ray to one side crosses each edge that spans its height
            outside ^= ((y >= ay) != (y >= by)) & (x < ax + wy * (ex / ey))
    return np.where(outside, 1, -1).astype(x.dtype) * np.sqrt(nearest)


def _disc(x: Plane, y: Plane, form: float) -> Plane:
    return np.hypot(x, y) - 1


def _star(x: Plane, y: Plane, form: float) -> Plane:
    points = 5 + int(form * 3)
    turn = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2, 0.52, 0.93)
    return _polygon(x, y, np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)) - 0.07


def _ring(x: Plane, y: Plane, form: float) -> Plane:
    width = 0.16 + 0.12 * form
    return np.abs(np.hypot(x, y) - (1 - width)) - width


def _cross(x: Plane, y: Plane, form: float) -> Plane:
    arm = 0.24 + 0.1 * form
    turn = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    outer, inner = np.array([0.9, arm]), np.array([arm, arm])
    corners: list[np.ndarray] = []
    for i in range(4):  # a quarter turn at a time: outer edge, then the inner corner
        a, b = (outer, outer[::-1]) if i % 2 else (outer[::-1], outer)
        corners += [turn[i] * a, turn[i] * inner, turn[i] * b]
    return _polygon(x, y, np.array(corners)) - 0.08


def _crescent(x: Plane, y: Plane, form: float) -> Plane:
    return np.maximum(np.hypot(x, y) - 1, 0.80 - np.hypot(x - 0.42 - 0.12 * form, y))


def _leaf(x: Plane, y: Plane, form: float) -> Plane:
    offset = 0.55 + 0.35 * form
    radius = math.hypot(1.0, offset)
    return np.maximum(np.hypot(x, y + offset), np.hypot(x, y - offset)) - radius


def _flower(x: Plane, y: Plane, form: float) -> Plane:
    petals = 5 + int(form * 3)
    return (np.hypot(x, y) - (0.8 + 0.17 * np.cos(petals * np.arctan2(y, x)))) * 0.85


def _twin(x: Plane, y: Plane, form: float) -> Plane:
    small = 0.26 + 0.1 * form
    return np.minimum(np.hypot(x + 0.48, y) - 0.5, np.hypot(x - 0.98 + small, y) - small)


_SHAPES: dict[str, Callable[[Plane, Plane, float], Plane]] = {
    "disc": _disc,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "crescent": _crescent,
    "leaf": _leaf,
    "flower": _flower,
    "twin": _twin,
}

CLASSES: tuple[str, ...] = tuple(_SHAPES)


def distance(kind: str, x: Plane, y: Plane, form: float) -> Plane:
    """Signed distance (negative inside) of a shape that lies in the unit circle.

    Args:
        kind: one of `CLASSES`. A ring has a hole, a twin has two parts.
        x: coordinates, any shape.
        y: coordinates, like `x`.
        form: 0–1, varies the shape (points of a star, width of a ring …).
    """
    return _SHAPES[kind](x, y, form)
