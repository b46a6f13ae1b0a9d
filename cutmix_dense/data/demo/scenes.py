"""One demo scene: things laid on a background, with soft shadows and exact masks of what is visible."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from cutmix_dense.data.demo.backgrounds import paint_background
from cutmix_dense.data.demo.shapes import CLASSES, distance
from cutmix_dense.data.demo.textures import PALETTES, blend, colour, edge, noise, pattern
from cutmix_dense.data.extras import opencv

_DIFFICULT_SHARE = 0.4  # less of a thing to be seen makes it difficult …
_DIFFICULT_PIXELS = 24  # … and so do so few pixels

# Fewest and most things, and the radius of the largest as a share of the scene's shorter side.
_STYLES = {"empty": (0, 0, 0.1), "few": (1, 4, 0.48), "some": (5, 11, 0.30), "many": (12, 24, 0.18)}


@dataclass(frozen=True)
class Scene:
    """A picture and the truth about it.

    Attributes:
        image: the picture.
        things: the label of what each pixel shows, 0 for none.
        masks: visible pixels of each thing, never empty, no two overlap.
        labels: index into `CLASSES`, plus one.
        iscrowd: 1 for a swarm of small things that is annotated as a whole.
        difficult: mostly hidden or very small.
        stuff: what lies behind the things, an index of `backgrounds.STUFF`.
    """

    image: UInt8[np.ndarray, "h w 3"]
    things: UInt8[np.ndarray, "h w"]
    masks: Bool[np.ndarray, "n h w"]
    labels: Int[np.ndarray, " n"]
    iscrowd: Int[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]
    stuff: UInt8[np.ndarray, "h w"]


@dataclass(frozen=True)
class Thing:
    """A shape at a place, `group` being the annotation it belongs to."""

    kind: int
    x: float
    y: float
    radius: float
    turn: float
    form: float
    group: int

    @property
    def reach(self) -> float:
        """Half the side of a square that holds it and its smooth edge."""
        return 1.06 * self.radius + 3

    def meets(self, size: tuple[int, int]) -> bool:
        """Whether any of it may be seen in a picture of (H, W) pixels."""
        height, width = size
        return -self.reach < self.x < width + self.reach and -self.reach < self.y < height + self.reach


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Draw one scene of (H, W) pixels; all of it follows from the generator."""
    quiet, lively = PALETTES[int(rng.integers(len(PALETTES)))]
    canvas, stuff = paint_background(rng, size, quiet, lively[int(rng.integers(len(lively)))])
    things, crowds = _arrange(rng, size)
    light = light_from(rng)
    groups = max((thing.group for thing in things), default=-1) + 1
    labels = np.zeros(groups + 1, dtype=np.uint8)
    for thing in things:
        labels[thing.group] = thing.kind + 1
    grain = 1 + 0.03 * noise(rng, size, (3, 3), 1)
    owner, whole = lay_things(lambda thing: rng, canvas, things, [colour(code) for code in lively], light, grain)
    seen = np.bincount(owner.ravel(), minlength=groups + 1)[:groups]
    kept = np.flatnonzero(seen)
    hidden = (seen < _DIFFICULT_SHARE * whole) | (seen < _DIFFICULT_PIXELS)
    return Scene(
        image=develop(rng, canvas, light),
        things=labels[owner],
        masks=owner == kept.astype(np.uint8).reshape(-1, 1, 1),
        labels=labels[kept].astype(np.int64),
        iscrowd=np.array([group in crowds for group in kept.tolist()], dtype=np.int64),
        difficult=hidden[kept],
        stuff=stuff,
    )


def light_from(rng: np.random.Generator) -> tuple[float, float]:
    """The direction (x, y) that the light comes from, always from above."""
    towards = rng.uniform(0.6, 2.5) * np.pi / 2
    return math.cos(towards), -abs(math.sin(towards)) - 0.2


def lay_things(
    rng_of: Callable[[Thing], np.random.Generator],
    canvas: np.ndarray,
    things: Sequence[Thing],
    lively: list[np.ndarray],
    light: tuple[float, float],
    grain: np.ndarray,
) -> tuple[UInt8[np.ndarray, "h w"], Float[np.ndarray, " g"]]:
    """Paint things on the canvas, in place, one over the other; those wholly outside of it are left out.

    Returns:
        The group that each pixel shows, one more than the last for none; and the pixels that each would have alone.
    """
    groups = max((thing.group for thing in things), default=-1) + 1
    owner, whole = np.full(canvas.shape[1:], groups, dtype=np.uint8), np.zeros(groups)
    for thing in things:
        if not thing.meets((canvas.shape[1], canvas.shape[2])):
            continue
        window, inside = paint_thing(rng_of(thing), canvas, thing, lively, light, grain)
        owner[window][inside] = thing.group
        whole[thing.group] += np.count_nonzero(inside)
    return owner, whole


def _arrange(rng: np.random.Generator, size: tuple[int, int]) -> tuple[list[Thing], set[int]]:
    """Things from the one below to the one on top, and the groups that are crowds."""
    height, width = size
    unit = min(size)
    style = rng.choice(list(_STYLES), p=[0.05, 0.25, 0.45, 0.25])
    fewest, most, largest = _STYLES[str(style)]
    radii = unit * np.exp(rng.uniform(np.log(0.02), np.log(largest), int(rng.integers(fewest, most + 1))))
    if style == "few":
        radii = np.maximum(radii, unit * 0.13)
    things: list[Thing] = []
    crowds: set[int] = set()
    for group, radius in enumerate(np.sort(radii)[::-1].tolist()):
        x, y = rng.uniform(-0.02, 1.02) * width, rng.uniform(0.02, 1.02) * height
        for _ in range(12):  # some room for each, not a heap
            gaps = [np.hypot(x - t.x, y - t.y) - 0.6 * (radius + t.radius) for t in things]
            if all(gap > 0 for gap in gaps) or rng.random() < 0.12:
                break
            x, y = rng.uniform(-0.02, 1.02) * width, rng.uniform(0.02, 1.02) * height
        kind = int(rng.integers(len(CLASSES)))
        things.append(Thing(kind, x, y, radius, rng.uniform(0, 2 * np.pi), rng.random(), group))
    if style != "empty" and rng.random() < 0.09:
        kind, group = int(rng.integers(len(CLASSES))), len(radii)
        crowds.add(group)
        x, y = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
        for _ in range(int(rng.integers(12, 28))):
            px, py = x + rng.normal(0, 0.11) * unit, y + rng.normal(0, 0.08) * unit
            radius = unit * rng.uniform(0.016, 0.034)
            things.append(Thing(kind, px, py, radius, rng.uniform(0, 2 * np.pi), rng.random(), group))
    return [thing for thing in things if thing.meets(size)], crowds


def paint_thing(
    rng: np.random.Generator,
    canvas: np.ndarray,
    thing: Thing,
    lively: list[np.ndarray],
    light: tuple[float, float],
    grain: np.ndarray,
) -> tuple[tuple[slice, slice], Bool[np.ndarray, "h w"]]:
    """Paint one thing and its shadow on the canvas, in place.

    Returns:
        The window of the canvas that it lies in, and the pixels of the window whose centres it covers.
    """
    cv2 = opencv()
    height, width = canvas.shape[1:]
    radius = thing.radius
    far, soft = rng.uniform(0.10, 0.16) * radius + 1.5, 2 * round(1.5 + 0.12 * radius) + 1

    # The square round the thing, without what is so far outside that not even its shadow can be seen.
    margin = math.ceil(far) + soft
    left, right = _span(thing.x, thing.reach, width, margin)
    top, bottom = _span(thing.y, thing.reach, height, margin)
    dx = (np.arange(left, right, dtype=np.float32) + np.float32(0.5 - thing.x)) / np.float32(radius)
    dy = (np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - thing.y)) / np.float32(radius)
    cos, sin = math.cos(thing.turn), math.sin(thing.turn)
    u, v = dx * cos + dy * sin, dy * cos - dx * sin
    depth = distance(CLASSES[thing.kind], u, v, thing.form) * np.float32(radius)
    cover = np.clip(0.5 - depth, 0, 1)

    # The shadow moves away from the light and is soft; a narrow one stays where the thing touches the ground.
    more = soft - 1
    cast = cv2.copyMakeBorder(cover, more, more, more, more, cv2.BORDER_CONSTANT, value=0)
    for _ in range(2):  # two boxes are nearly a Gaussian, at a cost that does not grow with their width
        cast = cv2.blur(cast, (soft, soft))
    down, across = round(-light[1] * far), round(-light[0] * far)
    window, here = _common((height, width), top + down - more, left + across - more, cast.shape)
    canvas[:, window[0], window[1]] *= 1 - 0.42 * cast[here]
    window, here = _common((height, width), top, left, cover.shape)
    depth, cover, u, v = depth[here], cover[here], u[here], v[here]
    canvas[:, window[0], window[1]] *= 1 - 0.22 * edge(-depth, 5)

    first, second = rng.permutation(len(lively))[:2]
    skin = blend(lively[first], lively[second], 0.85 * pattern(rng, u, v, 1 / radius)) * grain[window]
    skin = _shade(rng, skin, depth, radius, light)
    canvas[:, window[0], window[1]] = blend(canvas[:, window[0], window[1]], skin, cover)
    return window, depth < 0


def _span(middle: float, reach: float, limit: int, margin: int) -> tuple[int, int]:
    """First and last-plus-one pixel within `reach` of `middle`, no farther than `margin` outside of 0 … `limit`."""
    return max(math.floor(middle - reach), -margin), min(math.floor(middle + reach) + 1, limit + margin)


def _common(
    size: tuple[int, int], top: int, left: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What a patch at (top, left) shares with the canvas, as slices of the canvas and of the patch."""
    there, here = [], []
    for low, side, limit in zip((top, left), shape, size, strict=True):
        start, stop = min(max(low, 0), limit), min(max(low + side, 0), limit)
        there.append(slice(start, stop))
        here.append(slice(start - low, stop - low))
    return (there[0], there[1]), (here[0], here[1])


def _shade(
    rng: np.random.Generator, skin: np.ndarray, depth: np.ndarray, radius: float, light: tuple[float, float]
) -> Float[np.ndarray, "3 h w"]:
    """Round off the edge over some width and light the relief: pillow, candy or card."""
    cv2 = opencv()
    finish = rng.choice(["pillow", "candy", "card"], p=[0.45, 0.35, 0.2])
    width = {"pillow": 0.85, "candy": 0.45, "card": 0.0}[finish] * radius + 1.5
    rise = np.clip(depth * (-1 / width), 0, 1)
    relief = cv2.GaussianBlur(np.sqrt(rise * (2 - rise)), (0, 0), 0.6 + 0.02 * radius)
    steepness = 0.5 * width * (0.75 if finish == "pillow" else 0.6)
    gx, gy = (cv2.Sobel(relief, cv2.CV_32F, *axis, ksize=1, scale=steepness) for axis in ((1, 0), (0, 1)))
    normal = 1 / np.sqrt(1 + gx * gx + gy * gy)
    sun = _unit(light[0], light[1], 1.1)
    lit = (sun[2] - gx * sun[0] - gy * sun[1]) * normal
    skin *= 0.50 + 0.62 * np.clip(lit, 0, 1)
    half = _unit(sun[0], sun[1], sun[2] + 1)
    strength, power = {"pillow": (0.12, 12), "candy": (0.5, 45), "card": (0.0, 0)}[str(finish)]
    if strength:
        gloss = np.clip((half[2] - gx * half[0] - gy * half[1]) * normal, 0, 1)
        skin += strength * cv2.pow(gloss, power)
    return skin


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = math.hypot(x, y, z)
    return x / length, y / length, z / length


def develop(rng: np.random.Generator, canvas: np.ndarray, light: tuple[float, float]) -> UInt8[np.ndarray, "h w 3"]:
    """Light over the whole scene, a vignette, a little grain."""
    height, width = canvas.shape[1:]
    y, x = (np.arange(side, dtype=np.float32) / side - np.float32(0.5) for side in (height, width))
    glow = (0.16 * light[1] * y - 0.28 * y**2)[:, None] + (0.16 * light[0] * x - 0.28 * x**2) + 1.03
    canvas *= 255 * glow
    canvas += 1.8 * rng.standard_normal((height, width), dtype=np.float32) + 0.5
    np.clip(canvas, 0, 255, out=canvas)
    return opencv().merge(list(canvas.astype(np.uint8)))
