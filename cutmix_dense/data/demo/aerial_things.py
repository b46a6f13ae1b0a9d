"""What the aerial scenes hold: outlines as signed distances, from which covers and tight boxes follow, and colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cutmix_dense.data.demo.textures import blend, colour, edge

Plane = Float[np.ndarray, "h w"]
Picture = Float[np.ndarray, "3 h w"]


@dataclass(frozen=True)
class Placed:
    """A thing seen from above.

    Attributes:
        kind: its class, one of DOTA's.
        x: its middle, pixels.
        y: see `x`.
        half: half its length and half its width, pixels.
        turn: where it heads, radians from x towards y.
        tint: number of its colour.
    """

    kind: str
    x: float
    y: float
    half: tuple[float, float]
    turn: float
    tint: int

    @property
    def corners(self) -> Float[np.ndarray, "4 2"]:
        """The tight box round it: front left, front right, back right, back left, as (x, y)."""
        along = np.array([math.cos(self.turn), math.sin(self.turn)]) * self.half[0]
        across = np.array([-math.sin(self.turn), math.cos(self.turn)]) * self.half[1]
        middle = np.array([self.x, self.y])
        return np.stack(
            [middle + along - across, middle + along + across, middle - along + across, middle - along - across]
        )


def _rounded(u: Plane, v: Plane, half: tuple[float, float], radius: float) -> Plane:
    """Signed distance of a rectangle with round corners."""
    du, dv = np.abs(u) - (half[0] - radius), np.abs(v) - (half[1] - radius)
    outside = np.sqrt(np.maximum(du, 0) ** 2 + np.maximum(dv, 0) ** 2)
    return outside + np.minimum(np.maximum(du, dv), 0) - radius


def _hull(u: Plane, v: Plane, half: tuple[float, float]) -> Plane:
    """A ship: straight sides, a pointed bow, a rounded stern."""
    length, width = half
    front = np.clip((u / length - 0.25) / 0.75, 0, 1)
    back = np.clip((-u / length - 0.75) / 0.25, 0, 1)
    side = width * (1 - front**2.2) * (1 - 0.3 * back**2)
    return np.maximum(np.abs(v) - side, np.abs(u) - length)


def _aeroplane(u: Plane, v: Plane, half: tuple[float, float]) -> Plane:
    """A fuselage, swept wings, a tail."""
    length, width = half
    x, y = u / length, np.abs(v) / width
    nose = np.clip((x - 0.7) / 0.3, 0, 1)
    body = np.maximum(y * width / length - 0.085 * np.sqrt(1 - nose**2), np.abs(x) - 1)
    wing = np.maximum(np.abs(x - 0.22 + 0.52 * y) - 0.17 * (1 - 0.55 * y), y - 1)
    tail = np.maximum(np.abs(x + 0.86 + 0.35 * y) - 0.10 * (1 - y), y - 0.36)
    # wings and tail end where the fuselage does
    return np.maximum(np.minimum(np.minimum(body, wing), tail), np.abs(x) - 1) * length


_Depth = Callable[[Plane, Plane, "tuple[float, float]"], Plane]

_OUTLINES: dict[str, _Depth] = {
    "ship": _hull,
    "plane": _aeroplane,
    "storage-tank": lambda u, v, half: np.sqrt(u * u + v * v) - half[0],
    "harbor": lambda u, v, half: _rounded(u, v, half, 1.0),
    "tennis-court": lambda u, v, half: _rounded(u, v, half, 0.5),
    "swimming-pool": lambda u, v, half: _rounded(u, v, half, 0.8 * half[1]),
    "small-vehicle": lambda u, v, half: _rounded(u, v, half, 0.5 * half[1]),
    "large-vehicle": lambda u, v, half: _rounded(u, v, half, 0.25 * half[1]),
}

FLAT = ("tennis-court", "swimming-pool", "harbor")

_CARS = ("e8e8e4", "30343a", "b8342f", "2f5f9e", "c9c4b8", "d9a441", "5f6a72", "f4f1ea", "7a2f2b")


def _skin(thing: Placed, u: Plane, v: Plane) -> Picture:
    """The colours of a thing over its own coordinates."""
    length, width = thing.half
    ones = np.ones_like(u)
    paint = colour(_CARS[thing.tint]) * ones
    x, y = u / length, v / width

    def patch(low: float, high: float, side: float) -> Plane:
        return edge(np.minimum(x - low, high - x) * length, 1) * edge((side - np.abs(y)) * width, 1)

    if thing.kind == "ship":
        deck = blend(colour("d8cbb0") * ones, colour("8d5a44"), ones * np.float32(thing.tint % 3 / 2))
        rim = edge(_hull(u, v, thing.half) + 1.4, 1)
        skin = blend(deck, paint, rim)
        skin = blend(skin, colour("f3f1ea"), patch(-0.75, -0.4, 0.62))
        return blend(
            skin, colour("40474f"), patch(-0.68, -0.56, 0.4) + 0.7 * patch(-0.1, 0.0, 0.3) + 0.7 * patch(0.2, 0.3, 0.3)
        )
    if thing.kind == "plane":
        skin = colour("f1f1ee") * ones * (1 - 0.25 * edge(np.abs(y) - 0.08, 0.1))
        skin = blend(skin, colour(_CARS[thing.tint]), edge(-0.72 - x, 0.05))
        return blend(skin, colour("2c3440"), patch(0.84, 0.9, 0.05))
    if thing.kind == "storage-tank":
        far = np.sqrt(u * u + v * v) / length
        skin = blend(colour("f2f0ea") * ones, colour("b9b4a6"), edge(far - 0.86, 0.06))
        return skin * (1 + 0.12 * x - 0.08 * edge(0.12 - far, 0.05))
    if thing.kind == "harbor":
        planks = 0.5 + 0.5 * np.sin(u * 1.6)
        return blend(colour("b7ab95") * ones, colour("96886f"), 0.5 * planks)
    if thing.kind == "tennis-court":
        skin = blend(
            colour(("3f7f5f", "b4623f", "3d6ea5")[thing.tint % 3]) * ones,
            colour("6fa889"),
            patch(-0.8, 0.8, 0.72) * 0.5,
        )
        lines = np.maximum(edge(0.8 - np.abs(np.abs(u) - 0.8 * length), 1), edge(0.6 - np.abs(u), 1)) * (
            np.abs(y) < 0.74
        )
        lines = np.maximum(lines, edge(0.8 - np.abs(np.abs(v) - 0.72 * width), 1) * (np.abs(x) < 0.81))
        return blend(skin, colour("f7f5ee"), 0.9 * lines)
    if thing.kind == "swimming-pool":
        rim = edge(_rounded(u, v, thing.half, 0.8 * width) + 2.2, 1)
        return blend(colour("3fb6d3") * (1 + 0.08 * np.sin(u / 2) * np.sin(v / 1.7)), colour("efe9dc"), rim)
    if thing.kind == "large-vehicle":
        box = colour(("f2efe6", "c8ccd0", "3b6ea8")[thing.tint % 3]) * ones
        skin = blend(box, paint, edge(x - 0.55, 0.03))
        return blend(skin, colour("1d2126"), patch(0.52, 0.57, 1.0) + patch(0.8, 0.88, 0.75))
    glass = np.clip(patch(0.15, 0.42, 0.78) + patch(-0.75, -0.55, 0.72), 0, 1)
    return blend(paint, colour("20262e"), 0.9 * glass)


def _local(thing: Placed, shape: tuple[int, int], margin: float) -> tuple[tuple[slice, slice], Plane, Plane]:
    """The window of the picture that a thing lies in, and the thing's own coordinates there."""
    reach = math.hypot(*thing.half) + margin
    spans = [
        (max(math.floor(place - reach), 0), min(math.ceil(place + reach), side))
        for place, side in zip((thing.y, thing.x), shape)
    ]
    rows, columns = (np.arange(low, high, dtype=np.float32) + np.float32(0.5) for low, high in spans)
    dx, dy = columns[None] - np.float32(thing.x), rows[:, None] - np.float32(thing.y)
    cos, sin = np.float32(math.cos(thing.turn)), np.float32(math.sin(thing.turn))
    return (slice(*spans[0]), slice(*spans[1])), dx * cos + dy * sin, dy * cos - dx * sin


def cast_shadow(shadow: Plane, thing: Placed, offset: tuple[float, float]) -> None:
    """Darken where the thing's shadow lies, `offset` pixels away, in place."""
    moved = Placed(thing.kind, thing.x + offset[0], thing.y + offset[1], thing.half, thing.turn, thing.tint)
    window, u, v = _local(moved, (shadow.shape[0], shadow.shape[1]), 2)
    if u.size:
        shadow[window] = np.maximum(shadow[window], np.clip(0.5 - _OUTLINES[thing.kind](u, v, thing.half), 0, 1))


def paint_thing(picture: Picture, thing: Placed) -> None:
    """Paint a thing on a picture (3, H, W), in place."""
    window, u, v = _local(thing, (picture.shape[1], picture.shape[2]), 2)
    if u.size:
        cover = np.clip(0.5 - _OUTLINES[thing.kind](u, v, thing.half), 0, 1)
        part = (slice(None), *window)
        picture[part] = blend(picture[part], np.clip(_skin(thing, u, v), 0, 1), cover)
