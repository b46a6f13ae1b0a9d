"""The surroundings of the demo scenes: what they look like, and which stuff each pixel is."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from cutmix_dense.data.demo.textures import blend, colour, edge, fraction, noise

Picture = Float[np.ndarray, "3 h w"]
Regions = UInt8[np.ndarray, "h w"]
Colours = list[np.ndarray]
Painter = Callable[[np.random.Generator, tuple[int, int], Colours], Picture]


def paint_background(
    rng: np.random.Generator, size: tuple[int, int], quiet: tuple[str, ...], tint: str
) -> tuple[Picture, Regions]:
    """A picture in 0–1 and, per pixel, an index of `STUFF`.

    Args:
        rng: draws everything.
        size: (H, W).
        quiet: four colours from light to dark.
        tint: a lively colour, of which the sky takes a breath.
    """
    colours = [colour(code) for code in quiet]
    kind = rng.choice(["hills", "room", "flat"], p=[0.3, 0.35, 0.35])
    if kind == "hills":
        return _hills(rng, size, colours, colour(tint))
    if kind == "room":
        return _room(rng, size, colours)
    name = str(rng.choice(["wall", "fence", "sidewalk", "building", "road", "terrain"]))
    return _PAINTERS[name](rng, size, colours), np.full(size, STUFF.index(name), dtype=np.uint8)


def _grid(size: tuple[int, int]) -> tuple[Float[np.ndarray, "h 1"], Float[np.ndarray, "1 w"]]:
    """The centres of the rows and of the columns, which broadcast against each other."""
    ys, xs = (np.arange(side, dtype=np.float32) + np.float32(0.5) for side in size)
    return ys[:, None], xs[None]


def _hills(
    rng: np.random.Generator, size: tuple[int, int], colours: Colours, tint: np.ndarray
) -> tuple[Picture, Regions]:
    """Ridges one before the other, each with a soft shadow on the one behind."""
    height = size[0]
    ys, xs = _grid(size)
    glow = 0.55 * colours[0] + 0.45 * tint
    picture = _sky(rng, size, [glow, *colours[1:]])
    regions = np.full(size, STUFF.index("sky"), dtype=np.uint8)
    count = int(rng.integers(2, 5))
    line = rng.uniform(0.3, 0.45) * height
    for layer in range(count):
        share = (layer + 1) / count
        waves = sum(
            rng.uniform(0.02, 0.06) * height * np.sin(xs / size[1] * np.pi * 2 * f + rng.uniform(0, 7))
            for f in rng.uniform((0.3, 0.9, 2.0), (0.9, 2.0, 4.0)).tolist()
        )
        crest = line + waves
        top = min(max(0, int(crest.min()) - 40), height - 1)  # its shadow reaches no higher
        behind, below = picture[:, top:], ys[top:] - crest
        ground = colours[1] + (colours[3] - colours[1]) * np.float32(share)
        ground = ground + (glow - ground) * np.float32(0.35 * (1 - share))  # what is far fades into the sky
        depth = np.maximum(below, 0)
        grain = 0.05 * noise(rng, (height - top, size[1]), (9, 30), 3) - (0.16 / height) * depth
        lit = (1 + grain) * (1 + 0.14 * np.exp(depth / -5))  # light on the crest
        behind *= 1 - 0.22 * np.exp(np.minimum(below, 0) / 9)
        behind[:] = blend(behind, ground * lit, np.clip(below + 0.5, 0, 1))
        regions[top:][below > 0] = STUFF.index("vegetation" if layer < count - 1 else "terrain")
        line += rng.uniform(0.5, 1.2) * (height * 0.95 - line) / (count - layer)
    return picture, regions


def _room(rng: np.random.Generator, size: tuple[int, int], colours: Colours) -> tuple[Picture, Regions]:
    """A wall above, a floor below, the wall's shadow between."""
    ys, xs = _grid(size)
    above, below = str(rng.choice(["wall", "building"])), str(rng.choice(["fence", "sidewalk", "road", "terrain"]))
    height, width = size
    line = rng.uniform(0.42, 0.68) * height + rng.uniform(-0.08, 0.08) * (xs - width / 2)
    first, last = max(0, int(line.min()) - 1), min(height, int(line.max()) + 2)  # the rows that have both
    deeper = [colours[1], colours[2], 0.4 * colours[2] + 0.6 * colours[3], colours[3]]
    under = ys - line
    top = _PAINTERS[above](rng, (last, width), colours)
    top *= 1 - 0.14 * np.exp(np.minimum(under[:last], 0) / 20)
    floor = _PAINTERS[below](rng, (height - first, width), deeper)
    floor *= 1 - 0.28 * np.exp(np.maximum(under[first:], 0) / -14)
    seam = blend(top[:, first:], floor[:, : last - first], np.clip(under[first:last] + 0.5, 0, 1))
    picture = np.concatenate([top[:, :first], seam, floor[:, last - first :]], axis=1)
    return picture, np.where(ys > line, np.uint8(STUFF.index(below)), np.uint8(STUFF.index(above)))


def _sky(rng: np.random.Generator, size: tuple[int, int], colours: Colours) -> Picture:
    ys, _ = _grid(size)
    clouds = edge(noise(rng, size, (size[0] / 4, size[1] / 3), 4) - 0.1, 0.9)
    base = blend(colours[2], colours[0], np.clip(ys / size[0] * 1.7, 0, 1))
    return blend(base, np.minimum(colours[0] * 1.12, 1), 0.65 * clouds)


def _terrain(rng: np.random.Generator, size: tuple[int, int], colours: Colours) -> Picture:
    soft = noise(rng, size, (size[0] / 2, size[1] / 2), 4)
    return blend(colours[1], colours[2], np.clip(0.5 + 0.6 * soft, 0, 1)) * (1 + 0.05 * noise(rng, size, (3, 3), 1))


def _wall(rng: np.random.Generator, size: tuple[int, int], colours: Colours) -> Picture:
    """Wallpaper with stripes."""
    ys, xs = _grid(size)
    turn = rng.choice([0.0, 0.0, np.pi / 4, -np.pi / 4, np.pi / 2])
    step = rng.uniform(16, 44)
    across = xs * math.cos(turn) + ys * math.sin(turn)
    bands = edge(np.abs(fraction(across / step) - 0.5) - 0.25, 1.6 / step)
    picture = blend(colours[0], colours[1], bands * rng.uniform(0.45, 1.0))
    return picture * (1 + 0.03 * noise(rng, size, (4, 4), 2))


def _fence(rng: np.random.Generator, size: tuple[int, int], colours: Colours) -> Picture:
    """Boards with grain."""
    ys, _ = _grid(size)
    board = rng.uniform(26, 46)
    number = np.floor(ys / board).astype(int)
    tone = rng.uniform(-0.13, 0.13, number.max() + 1).astype(np.float32)[number]
    shift = rng.uniform(0, 40, number.max() + 1).astype(np.float32)[number]
    rough = noise(rng, size, (5, size[1] / 2), 3)
    grain = np.sin((ys + shift + 5 * noise(rng, size, (30, size[1] / 1.5), 2)) * 0.75) * 0.5 + rough
    picture = blend(colours[1], colours[2], np.clip(0.45 + 0.28 * grain + tone, 0, 1))
    gap = np.abs(fraction(ys / board + 0.5) - 0.5) * board
    return picture * (1 - 0.42 * np.exp(-gap / 1.1) + 0.10 * np.exp(-np.abs(gap - 2.6)))


def _sidewalk(rng: np.random.Generator, size: tuple[int, int], colours: Colours) -> Picture:
    """Tiles with joints, lit from above."""
    ys, xs = _grid(size)
    side = rng.uniform(28, 48)
    turn = rng.choice([0.0, 0.0, np.pi / 4])
    u, v = xs * math.cos(turn) + ys * math.sin(turn) + 500, ys * math.cos(turn) - xs * math.sin(turn) + 500
    u = u + side / 2 * (np.floor(v / side) % 2) * (turn == 0)
    tones = rng.random((64, 64), dtype=np.float32)
    tone = tones[np.floor(v / side).astype(int) % 64, np.floor(u / side).astype(int) % 64]
    picture = blend(colours[0], colours[2], 0.25 + 0.4 * tone + 0.12 * noise(rng, size, (7, 7), 3))
    du, dv = (np.abs(fraction(axis / side + 0.5) - 0.5) * side for axis in (u, v))
    joint = np.minimum(du, dv)
    return picture * (1 - 0.35 * np.exp(-((joint / 1.3) ** 2)) + 0.07 * np.exp(-((joint - 3) ** 2) / 2))


def _building(rng: np.random.Generator, size: tuple[int, int], colours: Colours) -> Picture:
    """Plaster: a soft fade with fine fibres."""
    ys, xs = _grid(size)
    turn = rng.uniform(0, 2 * np.pi)
    ramp = (xs / size[1] - 0.5) * math.cos(turn) + (ys / size[0] - 0.5) * math.sin(turn)
    fibres = noise(rng, size, (3, 11), 2) + noise(rng, size, (11, 3), 2)
    picture = blend(colours[0], colours[2], np.clip(0.4 + 0.8 * ramp + 0.1 * noise(rng, size, (60, 60), 3), 0, 1))
    return picture * (1 + 0.035 * fibres)


def _road(rng: np.random.Generator, size: tuple[int, int], colours: Colours) -> Picture:
    """Rough ground with chips of stone."""
    picture = blend(colours[2], colours[3], np.clip(0.5 + 0.35 * noise(rng, size, (70, 70), 3), 0, 1))
    picture = picture * (1 + 0.09 * noise(rng, size, (2.2, 2.2), 1))
    chips = noise(rng, size, (6, 6), 1)
    light = edge(chips - 0.52, 0.25)
    return blend(picture, colours[0], 0.55 * light) * (1 - 0.18 * edge(-chips - 0.55, 0.25))


_PAINTERS: dict[str, Painter] = {
    "sky": _sky,
    "terrain": _terrain,
    "wall": _wall,
    "fence": _fence,
    "sidewalk": _sidewalk,
    "building": _building,
    "road": _road,
}

STUFF: tuple[str, ...] = (*_PAINTERS, "vegetation")
