"""One demo scene: things laid on a background, with soft shadows and exact masks of what is visible."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from cutmix_dense.data.demo.backgrounds import paint_background
from cutmix_dense.data.demo.shapes import CLASSES, distance
from cutmix_dense.data.demo.textures import PALETTES, blend, colour, noise, pattern
from cutmix_dense.data.extras import opencv

__all__ = ["Scene", "draw_scene"]

_DIFFICULT_SHARE = 0.4  # less of a thing to be seen makes it difficult …
_DIFFICULT_PIXELS = 24  # … and so do so few pixels

# Fewest and most things, and the radius of the largest as a share of the scene's shorter side.
_STYLES = {"empty": (0, 0, 0.1), "few": (1, 4, 0.48), "some": (5, 11, 0.30), "many": (12, 24, 0.18)}


@dataclass(frozen=True)
class Scene:
    """A picture and the truth about it.

    Attributes:
        image: the picture.
        masks: visible pixels of each thing, never empty, no two overlap.
        labels: index into `CLASSES`, plus one.
        iscrowd: 1 for a swarm of small things that is annotated as a whole.
        difficult: mostly hidden or very small.
        stuff: what lies behind the things, an index of `backgrounds.STUFF`.
    """

    image: UInt8[np.ndarray, "h w 3"]
    masks: Bool[np.ndarray, "n h w"]
    labels: Int[np.ndarray, " n"]
    iscrowd: Int[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]
    stuff: Int[np.ndarray, "h w"]


@dataclass(frozen=True)
class _Thing:
    """A shape at a place, `group` being the annotation it belongs to."""

    kind: int
    x: float
    y: float
    radius: float
    turn: float
    form: float
    group: int


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Draw one scene of (H, W) pixels; all of it follows from the generator."""
    quiet, lively = PALETTES[int(rng.integers(len(PALETTES)))]
    canvas, stuff = paint_background(rng, size, quiet, lively[int(rng.integers(len(lively)))])
    things, crowds = _arrange(rng, size)
    towards = rng.uniform(0.6, 2.5) * np.pi / 2  # where the light comes from, always from above
    light = (math.cos(towards), -abs(math.sin(towards)) - 0.2)
    owner = np.full(size, -1, dtype=np.int64)
    whole = np.zeros(max((thing.group for thing in things), default=-1) + 1)
    for thing in things:
        inside = _paint_thing(rng, canvas, thing, [colour(code) for code in lively], light)
        owner[inside] = thing.group
        whole[thing.group] += inside.sum()
    masks = owner[None] == np.arange(len(whole)).reshape(-1, 1, 1)
    seen = masks.sum(axis=(1, 2))
    kept = np.flatnonzero(seen > 0)
    kinds = {thing.group: thing.kind for thing in things}
    hidden = (seen < _DIFFICULT_SHARE * whole) | (seen < _DIFFICULT_PIXELS)
    return Scene(
        image=_develop(rng, canvas, light),
        masks=masks[kept],
        labels=np.array([kinds[group] + 1 for group in kept.tolist()], dtype=np.int64),
        iscrowd=np.array([group in crowds for group in kept.tolist()], dtype=np.int64),
        difficult=hidden[kept],
        stuff=stuff,
    )


def _arrange(rng: np.random.Generator, size: tuple[int, int]) -> tuple[list[_Thing], set[int]]:
    """Things from the one below to the one on top, and the groups that are crowds."""
    height, width = size
    unit = min(size)
    style = rng.choice(list(_STYLES), p=[0.05, 0.25, 0.45, 0.25])
    fewest, most, largest = _STYLES[str(style)]
    radii = unit * np.exp(rng.uniform(np.log(0.02), np.log(largest), int(rng.integers(fewest, most + 1))))
    if style == "few":
        radii = np.maximum(radii, unit * 0.13)
    things: list[_Thing] = []
    crowds: set[int] = set()
    for group, radius in enumerate(np.sort(radii)[::-1].tolist()):
        x, y = rng.uniform(-0.02, 1.02) * width, rng.uniform(0.02, 1.02) * height
        for _ in range(12):  # some room for each, not a heap
            gaps = [np.hypot(x - t.x, y - t.y) - 0.6 * (radius + t.radius) for t in things]
            if all(gap > 0 for gap in gaps) or rng.random() < 0.12:
                break
            x, y = rng.uniform(-0.02, 1.02) * width, rng.uniform(0.02, 1.02) * height
        kind = int(rng.integers(len(CLASSES)))
        things.append(_Thing(kind, x, y, radius, rng.uniform(0, 2 * np.pi), rng.random(), group))
    if style != "empty" and rng.random() < 0.09:
        kind, group = int(rng.integers(len(CLASSES))), len(radii)
        crowds.add(group)
        x, y = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
        for _ in range(int(rng.integers(12, 28))):
            px, py = x + rng.normal(0, 0.11) * unit, y + rng.normal(0, 0.08) * unit
            radius = unit * rng.uniform(0.016, 0.034)
            things.append(_Thing(kind, px, py, radius, rng.uniform(0, 2 * np.pi), rng.random(), group))
    return things, crowds


def _paint_thing(
    rng: np.random.Generator, canvas: np.ndarray, thing: _Thing, lively: list[np.ndarray], light: tuple[float, float]
) -> Bool[np.ndarray, "h w"]:
    """Paint one thing and its shadow on the canvas, in place; the pixels whose centres it covers."""
    cv2 = opencv()
    height, width = canvas.shape[1:]
    radius = thing.radius
    reach = int(1.06 * radius) + 3
    left, top = math.floor(thing.x) - reach, math.floor(thing.y) - reach
    ys, xs = np.mgrid[top : top + 2 * reach + 1, left : left + 2 * reach + 1].astype(np.float32) + np.float32(0.5)
    dx, dy = (xs - thing.x) / radius, (ys - thing.y) / radius
    cos, sin = math.cos(thing.turn), math.sin(thing.turn)
    u, v = dx * cos + dy * sin, dy * cos - dx * sin
    depth = distance(CLASSES[thing.kind], u, v, thing.form) * np.float32(radius)
    cover = np.clip(0.5 - depth, 0, 1)

    first, second = rng.permutation(len(lively))[:2]
    skin = blend(lively[first], lively[second], 0.85 * pattern(rng, u, v, 1 / radius))
    skin = skin * (1 + 0.03 * noise(rng, (u.shape[0], u.shape[1]), (3, 3), 1))
    skin = _shade(rng, skin, depth, radius, light)

    # The shadow needs a wider square: it moves away from the light and is soft.
    blur, far = 1.2 + 0.10 * radius, rng.uniform(0.10, 0.16) * radius + 1.5
    more = int(far + 3 * blur) + 2
    wide = cv2.copyMakeBorder(cover, more, more, more, more, cv2.BORDER_CONSTANT, value=0)
    move = np.array([[1, 0, -light[0] * far], [0, 1, -light[1] * far]])
    cast = cv2.GaussianBlur(cv2.warpAffine(wide, move, wide.shape[::-1], flags=cv2.INTER_LINEAR), (0, 0), blur)
    shade, here = _common((height, width), top - more, left - more, len(wide))
    canvas[:, shade[0], shade[1]] *= 1 - 0.42 * cast[here] - 0.22 * cv2.GaussianBlur(wide, (0, 0), 1.2)[here]

    (rows, columns), here = _common((height, width), top, left, len(u))
    canvas[:, rows, columns] = blend(canvas[:, rows, columns], skin[:, here[0], here[1]], cover[here])
    inside = np.zeros((height, width), dtype=bool)
    inside[rows, columns] = depth[here] < 0
    return inside


def _common(size: tuple[int, int], top: int, left: int, side: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What a square at (top, left) shares with the canvas, as slices of the canvas and of the square."""
    there, here = [], []
    for low, limit in ((top, size[0]), (left, size[1])):
        start, stop = min(max(low, 0), limit), min(max(low + side, 0), limit)
        there.append(slice(start, stop))
        here.append(slice(start - low, stop - low))
    return (there[0], there[1]), (here[0], here[1])


def _shade(
    rng: np.random.Generator, skin: np.ndarray, depth: np.ndarray, radius: float, light: tuple[float, float]
) -> Float[np.ndarray, "3 h w"]:
    """Round off the edge over some width and light the relief: pillow, candy or card."""
    finish = rng.choice(["pillow", "candy", "card"], p=[0.45, 0.35, 0.2])
    width = {"pillow": 0.85, "candy": 0.45, "card": 0.0}[finish] * radius + 1.5
    rise = np.clip(-depth / width, 0, 1)
    relief = width * np.sqrt(1 - (1 - rise) ** 2) * (0.75 if finish == "pillow" else 0.6)
    gy, gx = np.gradient(opencv().GaussianBlur(relief, (0, 0), 0.6 + 0.02 * radius))
    steep = 1 / np.sqrt(1 + gx**2 + gy**2)
    sun = _unit(light[0], light[1], 1.1)
    lit = (-gx * sun[0] - gy * sun[1] + sun[2]) * steep
    shaded = skin * (0.50 + 0.62 * np.clip(lit, 0, 1))
    half = _unit(sun[0], sun[1], sun[2] + 1)
    strength, power = {"pillow": (0.12, 12), "candy": (0.5, 45), "card": (0.0, 0)}[str(finish)]
    if strength:
        gloss = np.clip((-gx * half[0] - gy * half[1] + half[2]) * steep, 0, 1)
        shaded += strength * gloss**power
    return shaded


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = math.hypot(x, y, z)
    return x / length, y / length, z / length


def _develop(rng: np.random.Generator, canvas: np.ndarray, light: tuple[float, float]) -> UInt8[np.ndarray, "h w 3"]:
    """Light over the whole scene, a vignette, a little grain."""
    height, width = canvas.shape[1:]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    x, y = xs / width - 0.5, ys / height - 0.5
    glow = 1.03 + 0.16 * (x * light[0] + y * light[1]) - 0.28 * (x**2 + y**2)
    grain = 0.007 * rng.standard_normal((height, width), dtype=np.float32)
    pixels = np.clip(canvas * glow + grain, 0, 1) * 255 + 0.5
    return np.ascontiguousarray(pixels.astype(np.uint8).transpose(1, 2, 0))
