"""The shapes of the demo set as signed distances, from which exact masks and smooth edges both follow."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Plane = Float[np.ndarray, "h w"]


def _length(x: Plane, y: Plane) -> Plane:
    return np.sqrt(x * x + y * y)  # several times as fast as np.hypot


def _disc(x: Plane, y: Plane, form: float) -> Plane:
    return _length(x, y) - 1


def _star(x: Plane, y: Plane, form: float) -> Plane:
    """Folded at its axes, a star is one edge, from a point of the star to the notch beside it."""
    points = 5 + int(form * 3)
    radius, turn = _length(x, y), np.arctan2(y, x) * np.float32(points / (2 * np.pi))
    turn = np.abs(turn - np.rint(turn)) * np.float32(2 * np.pi / points)
    wx, wy = radius * np.cos(turn) - 0.93, radius * np.sin(turn)
    ex, ey = 0.52 * math.cos(math.pi / points) - 0.93, 0.52 * math.sin(math.pi / points)
    along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
    return np.copysign(_length(wx - ex * along, wy - ey * along), wx * ey - wy * ex) - 0.07


def _ring(x: Plane, y: Plane, form: float) -> Plane:
    width = 0.16 + 0.12 * form
    return np.abs(_length(x, y) - (1 - width)) - width


def _cross(x: Plane, y: Plane, form: float) -> Plane:
    """Folded at its axes, a cross is the corner at (0.9, arm), and the notch at (arm, arm) seen from within."""
    arm = 0.24 + 0.1 * form
    x, y = np.abs(x), np.abs(y)
    far, near = np.maximum(x, y), np.minimum(x, y)
    outside = _length(np.maximum(far - 0.9, 0), np.maximum(near - arm, 0))
    inside = np.minimum(0.9 - far, _length(np.maximum(arm - far, 0), arm - near))
    return np.where((far < 0.9) & (near < arm), -inside, outside) - 0.08


def _crescent(x: Plane, y: Plane, form: float) -> Plane:
    return np.maximum(_length(x, y) - 1, 0.80 - _length(x - 0.42 - 0.12 * form, y))


def _leaf(x: Plane, y: Plane, form: float) -> Plane:
    offset = 0.55 + 0.35 * form
    radius = math.hypot(1.0, offset)
    return np.maximum(_length(x, y + offset), _length(x, y - offset)) - radius


def _flower(x: Plane, y: Plane, form: float) -> Plane:
    petals = 5 + int(form * 3)
    return (_length(x, y) - (0.8 + 0.17 * np.cos(petals * np.arctan2(y, x)))) * 0.85


def _twin(x: Plane, y: Plane, form: float) -> Plane:
    small = 0.26 + 0.1 * form
    return np.minimum(_length(x + 0.48, y) - 0.5, _length(x - 0.98 + small, y) - small)


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
