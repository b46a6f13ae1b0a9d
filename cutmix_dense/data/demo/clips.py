"""Demo clips: things that move over a ground, one before the other, with exact masks of what is visible."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int, UInt8

from cutmix_dense.data.demo.backgrounds import paint_background
from cutmix_dense.data.demo.scenes import Thing, develop, lay_things, light_from
from cutmix_dense.data.demo.shapes import CLASSES
from cutmix_dense.data.demo.textures import PALETTES, colour, noise


@dataclass(frozen=True)
class Clip:
    """Some frames and the truth about them.

    Attributes:
        frames: the pictures.
        masks: visible pixels of each thing in each frame; no two overlap, one that is away has none.
        labels: index into `CLASSES`, plus one.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    masks: Bool[np.ndarray, "t n h w"]
    labels: Int[np.ndarray, " n"]


def draw_clip(seed: list[int], size: tuple[int, int], frames: int) -> Clip:
    """Draw a clip; all of it follows from the seed.

    Args:
        seed: whole numbers.
        size: (H, W) of every frame.
        frames: how many.
    """
    rng = np.random.default_rng(seed)
    quiet, lively = PALETTES[int(rng.integers(len(PALETTES)))]
    pan = 24  # the camera moves so many pixels at most
    wide = (size[0] + pan, size[1] + pan)
    ground, _ = paint_background(rng, wide, quiet, lively[int(rng.integers(len(lively)))])
    ends = rng.uniform(0, pan, (2, 2))
    light, grain = light_from(rng), 1 + 0.03 * noise(rng, size, (3, 3), 1)
    paints = [colour(code) for code in lively]
    movers = [_Mover.drawn(rng, group, size) for group in range(int(rng.integers(3, 7)))]
    pictures, masks = [], []
    for frame in range(frames):
        time = frame / max(frames - 1, 1)
        top, left = (round(float(place)) for place in ends[0] + (ends[1] - ends[0]) * time)
        canvas = ground[:, top : top + size[0], left : left + size[1]].copy()
        things = [mover.at(time) for mover in movers]
        # a thing has the same skin in every frame: its own generator starts anew
        owner, _ = lay_things(
            lambda thing: np.random.default_rng([*seed, 1, thing.group]), canvas, things, paints, light, grain
        )
        masks.append(owner == np.arange(len(movers), dtype=np.uint8).reshape(-1, 1, 1))
        pictures.append(develop(np.random.default_rng([*seed, 2, frame]), canvas, light))
    labels = np.array([mover.thing.kind + 1 for mover in movers], dtype=np.int64)
    return Clip(np.stack(pictures), np.stack(masks), labels)


@dataclass(frozen=True)
class _Mover:
    """A thing at the start, and how it moves while the time goes from 0 to 1."""

    thing: Thing
    way: tuple[float, float]
    sway: float
    turns: float
    grows: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, group: int, size: tuple[int, int]) -> _Mover:
        """From a place in the frame, or just beside it, to somewhere else."""
        height, width = size
        radius = min(size) * float(rng.uniform(0.09, 0.22))
        start = rng.uniform(-0.05, 1.05, 2) * (width, height)
        end = rng.uniform(-0.1, 1.1, 2) * (width, height)
        thing = Thing(
            kind=int(rng.integers(len(CLASSES))),
            x=float(start[0]),
            y=float(start[1]),
            radius=radius,
            turn=rng.uniform(0, 2 * np.pi),
            form=rng.random(),
            group=group,
        )
        way = 0.7 * (end - start)
        return cls(thing, (float(way[0]), float(way[1])), *rng.uniform((-0.1, -1.2, -0.2), (0.1, 1.2, 0.25)).tolist())

    def at(self, time: float) -> Thing:
        bend = self.sway * math.sin(math.pi * time)
        return replace(
            self.thing,
            x=self.thing.x + self.way[0] * time - bend * self.way[1],
            y=self.thing.y + self.way[1] * time + bend * self.way[0],
            radius=self.thing.radius * (1 + self.grows * time),
            turn=self.thing.turn + self.turns * time,
        )
