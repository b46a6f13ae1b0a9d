"""Demo aerial scenes: ships, planes and vehicles from above, at every angle, with the tight box round each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from cutmix_dense.data.demo.aerial_things import FLAT, Placed, cast_shadow, paint_thing
from cutmix_dense.data.demo.textures import blend, colour, edge, fraction, noise
from cutmix_dense.data.extras import opencv

Plane = Float[np.ndarray, "h w"]
Picture = Float[np.ndarray, "3 h w"]


@dataclass(frozen=True)
class Aerial:
    """A scene and what is in it; no two things overlap."""

    image: UInt8[np.ndarray, "h w 3"]
    things: tuple[Placed, ...]


def draw_aerial(rng: np.random.Generator, size: tuple[int, int], number: int = 0) -> Aerial:
    """Draw a scene; all of it follows from the arguments.

    Args:
        rng: draws everything.
        size: (H, W), pixels.
        number: 0 for a port, 1 for an airfield, 2 for a town, and so on.
    """
    ground = _Ground(rng, size)
    things = tuple(_apart((_port, _airfield, _town)[number % 3](rng, ground), size))
    light = rng.uniform(0, 2 * np.pi)
    shadow = np.zeros(size, np.float32)
    for thing in things:
        if thing.kind not in FLAT:
            far = 0.9 + 0.22 * thing.half[1]
            cast_shadow(shadow, thing, (far * math.cos(light), far * math.sin(light)))
    ground.picture *= 1 - 0.45 * opencv().blur(shadow, (3, 3))
    for thing in things:
        paint_thing(ground.picture, thing)
    picture = ground.picture * 255 + 2.2 * rng.standard_normal(size, dtype=np.float32)
    return Aerial(opencv().merge(list(np.clip(picture + 0.5, 0, 255).astype(np.uint8))), things)


class _Ground:
    """Fields to build on: a picture, and the coordinates of its pixels."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng, self.size = rng, size
        ys, xs = (np.arange(side, dtype=np.float32) + np.float32(0.5) for side in size)
        self.ys, self.xs = ys[:, None], xs[None]
        self.turn = float(rng.uniform(0, 2 * np.pi))
        soft, fine = noise(rng, size, (90, 90), 4), noise(rng, size, (3, 3), 2)
        self.picture = blend(colour("8a9a62"), colour("b7a878"), np.clip(0.5 + 0.6 * soft, 0, 1)) * (1 + 0.07 * fine)
        # fields, each tilled in its own direction
        for _ in range(int(rng.integers(3, 7))):
            u, v = self.along(self.turn + rng.choice([0, np.pi / 2]), *rng.uniform(0, 1, 2) * size[::-1])
            inside = edge(rng.uniform(50, 120) - np.abs(u), 2) * edge(rng.uniform(35, 80) - np.abs(v), 2)
            rows = 0.5 + 0.5 * np.sin(v * rng.uniform(0.5, 1.1))
            field = blend(colour(str(rng.choice(["6f8a4c", "a9985c", "93a860"]))), colour("c9bb85"), 0.35 * rows)
            self.picture = blend(self.picture, field * (1 + 0.05 * fine), 0.85 * inside)

    def along(self, turn: float, x: float, y: float) -> tuple[Plane, Plane]:
        """Coordinates along and across a direction, from a point on."""
        dx, dy = self.xs - np.float32(x), self.ys - np.float32(y)
        cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
        return dx * cos + dy * sin, dy * cos - dx * sin

    def cover(self, layer: Picture, share: Plane) -> None:
        self.picture = blend(self.picture, layer, share)

    def strip(self, turn: float, place: np.ndarray, half: float, paved: str, dashed: bool) -> None:
        """A road or a runway through a point."""
        u, v = self.along(turn, float(place[0]), float(place[1]))
        layer = colour(paved) * (1 + 0.04 * noise(self.rng, self.size, (4, 4), 2))
        line = edge(0.9 - np.abs(v), 1) * (edge(np.abs(fraction(u / 26) - 0.5) - 0.25, 0.05) if dashed else 1)
        layer = blend(layer, colour("efe9d8"), np.maximum(line, edge(0.8 - np.abs(np.abs(v) - half + 3), 1)) * 0.8)
        self.cover(layer, edge(half - np.abs(v), 1.5))


def _port(rng: np.random.Generator, ground: _Ground) -> Iterator[Placed]:
    """A quay at some angle: piers with ships beside them, tanks and trucks ashore."""
    height, width = ground.size
    turn = ground.turn
    _, v = ground.along(turn, width / 2 + rng.uniform(-30, 30), height / 2 + rng.uniform(-30, 30))
    waves = noise(rng, ground.size, (60, 60), 4) + 0.5 * np.sin(v / 3 + 4 * noise(rng, ground.size, (50, 50), 2))
    water = blend(colour("1f5c7a"), colour("3f8ea3"), np.clip(0.4 + 0.25 * waves, 0, 1))
    shore = v + 6 * noise(rng, ground.size, (70, 70), 2)
    ground.cover(colour("cfc6b0") * np.ones_like(water), edge(shore + 22, 3))
    ground.cover(water, edge(shore, 3))
    middle = np.array([width / 2, height / 2])
    along = np.array([math.cos(turn), math.sin(turn)])
    out = np.array([-along[1], along[0]])
    step = rng.uniform(95, 130)
    for number in range(-4, 5):
        length = rng.uniform(50, 75)
        foot = middle + along * step * number + out * (length + 6)
        yield _placed("harbor", foot, (length, rng.uniform(6, 8)), turn + np.pi / 2, 0)
        for side in (-1, 1):
            for far in (-0.45, 0.35, 1.0):
                if rng.random() < 0.62:
                    half = (rng.uniform(17, 34), rng.uniform(5.5, 8.5))
                    place = foot + along * side * (half[1] + 13) + out * far * length
                    heading = turn + np.pi / 2 + rng.choice([0, np.pi]) + rng.normal(0, 0.04)
                    yield _placed("ship", place, half, heading, int(rng.integers(9)))
    for _ in range(7):
        place = middle + along * rng.uniform(-0.7, 0.7) * width + out * rng.uniform(190, 420)
        half = (rng.uniform(24, 52), rng.uniform(7, 11))
        yield _placed("ship", place, half, rng.uniform(0, 2 * np.pi), int(rng.integers(9)))
    for _ in range(10):
        place = middle + along * rng.uniform(-0.6, 0.6) * width - out * rng.uniform(75, 240)
        radius = rng.uniform(11, 24)
        yield _placed("storage-tank", place, (radius, radius), 0.0, int(rng.integers(9)))
    for _ in range(12):
        place = middle + along * rng.uniform(-0.6, 0.6) * width - out * rng.uniform(36, 62)
        yield _vehicle(rng, place, turn + rng.choice([0, np.pi]), 0.6)


def _airfield(rng: np.random.Generator, ground: _Ground) -> Iterator[Placed]:
    """An apron with planes in a row, a runway, some trucks."""
    height, width = ground.size
    turn, middle = ground.turn, np.array([width / 2, height / 2]) + rng.uniform(-40, 40, 2)
    along = np.array([math.cos(turn), math.sin(turn)])
    out = np.array([-along[1], along[0]])
    _, v = ground.along(turn, *middle.tolist())
    apron = colour("a9a8a3") * (1 + 0.05 * noise(ground.rng, ground.size, (5, 5), 3))
    joints = np.maximum(*(edge(0.6 - np.abs(fraction(axis / 44) - 0.5) * 44, 1) for axis in ground.along(turn, 0, 0)))
    ground.cover(apron * (1 - 0.12 * joints), edge(118 - np.abs(v - 20), 2))
    ground.strip(turn, middle - out * 190, 34, "6f7276", True)
    for row, nose in ((-40, 1), (78, -1)):
        step, start = rng.uniform(84, 104), rng.uniform(-20, 20)
        for number in range(-6, 7):
            if rng.random() < 0.78:
                half = rng.uniform(26, 38)
                place = middle + along * (start + step * number) + out * row
                heading = turn + nose * (np.pi / 2 + 0.3) + rng.normal(0, 0.03)
                yield _placed("plane", place, (half, half * rng.uniform(0.9, 1.05)), heading, int(rng.integers(9)))
    if rng.random() < 0.6:
        place = middle - out * 190 + along * rng.uniform(-150, 150)
        yield _placed("plane", place, (34, 32), turn, int(rng.integers(9)))
    for _ in range(14):
        place = middle + along * rng.uniform(-0.6, 0.6) * width + out * rng.uniform(12, 28)
        yield _vehicle(rng, place, turn + rng.choice([0, np.pi]) + rng.normal(0, 0.1), 0.4)


def _town(rng: np.random.Generator, ground: _Ground) -> Iterator[Placed]:
    """Two roads that cross, cars on them, a car park, courts and pools."""
    height, width = ground.size
    turn = ground.turn
    middle = np.array([width / 2, height / 2]) + rng.uniform(-60, 60, 2)
    other = turn + rng.uniform(1.2, 1.9)
    for heading in (turn, other):
        ground.strip(heading, middle, 24, "71716f", True)
    for heading in (turn, other):
        along = np.array([math.cos(heading), math.sin(heading)])
        out = np.array([-along[1], along[0]])
        for lane in (-1, 1):
            far = -0.7 * width
            while far < 0.7 * width:
                far += rng.uniform(26, 90)
                if abs(far) > 44:
                    yield _vehicle(rng, middle + along * far + out * lane * 11, heading + (lane > 0) * np.pi, 0.25)
    along = np.array([math.cos(turn), math.sin(turn)])
    out = np.array([-along[1], along[0]])
    for side in (-1, 1):
        for number in range(-3, 4):
            place = middle + along * (number * 105 + rng.uniform(-12, 12)) + out * side * rng.uniform(86, 104)
            what = rng.random()
            if what < 0.3:
                yield _placed("tennis-court", place, (38, 20), turn + np.pi / 2, int(rng.integers(9)))
            elif what < 0.55:
                half = (rng.uniform(15, 24), rng.uniform(8, 12))
                yield _placed("swimming-pool", place, half, turn + rng.uniform(-0.5, 0.5), 0)
            elif what < 0.85:
                for slot in range(6):
                    spot = place + along * (slot - 2.5) * 14
                    if rng.random() < 0.8:
                        yield _vehicle(rng, spot, turn + np.pi / 2 + rng.normal(0, 0.05), 0.0)


def _placed(kind: str, place: np.ndarray, half: tuple[float, float], turn: float, tint: int) -> Placed:
    return Placed(kind, float(place[0]), float(place[1]), half, turn, tint)


def _vehicle(rng: np.random.Generator, place: np.ndarray, turn: float, trucks: float) -> Placed:
    tint = int(rng.integers(9))
    if rng.random() < trucks:
        half = (rng.uniform(15, 22), rng.uniform(4.5, 5.5))
        return _placed("large-vehicle", place, half, turn, tint)
    return _placed("small-vehicle", place, (rng.uniform(8, 10), rng.uniform(3.8, 4.6)), turn, tint)


def _apart(things: Iterator[Placed], size: tuple[int, int]) -> Iterator[Placed]:
    """Those whose middle lies in the picture and whose boxes leave room to all before them."""
    boxes: list[Float[np.ndarray, "4 2"]] = []
    for thing in things:
        if not (4 < thing.x < size[1] - 4 and 4 < thing.y < size[0] - 4):
            continue
        grown = (thing.corners - (thing.x, thing.y)) * (1 + 2.5 / np.array(thing.half).mean()) + (thing.x, thing.y)
        box = grown.astype(np.float32)
        if all(not opencv().intersectConvexConvex(box, before)[0] > 0 for before in boxes):
            boxes.append(box)
            yield thing
