"""Demo volumes: a body with an organ and lesions in it, as a scanner with thick slices would see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int16, UInt8

from cutmix_dense.extras import require

LABELS = ("background", "organ", "lesion")


@dataclass(frozen=True)
class Volume:
    """Intensities and labels, axes z, y, x.

    Attributes:
        values: intensities, as of a magnetic resonance image: air near 0, tissue in the hundreds.
        labels: 0 background, 1 organ, 2 lesion; every pixel.
        spacing: millimetres along z, y, x.
    """

    values: Int16[np.ndarray, "d h w"]
    labels: UInt8[np.ndarray, "d h w"]
    spacing: tuple[float, float, float]


def draw_volume(rng: np.random.Generator) -> Volume:
    """Draw a volume; its size, its spacing and all in it follow from the generator."""
    spacing = (float(rng.choice([2.5, 3.0, 4.0])), 1.0, 1.0)
    shape = (int(rng.integers(20, 30)), int(rng.integers(84, 105)), int(rng.integers(100, 129)))
    extent = np.array(shape) * spacing
    z, y, x = (
        ((np.arange(side) + 0.5) * step - length / 2).astype(np.float32)
        for side, step, length in zip(shape, spacing, extent)
    )
    grid = (z[:, None, None], y[None, :, None], x[None, None, :])

    def blob(middle: np.ndarray, radii: np.ndarray, turn: float, rough: float) -> Float[np.ndarray, "d h w"]:
        """About the distance to the surface of an uneven ellipsoid, in its radii: below 0 inside."""
        u = (grid[2] - middle[2]) * np.cos(turn) + (grid[1] - middle[1]) * np.sin(turn)
        v = (grid[1] - middle[1]) * np.cos(turn) - (grid[2] - middle[2]) * np.sin(turn)
        far = ((grid[0] - middle[0]) / radii[0]) ** 2 + (v / radii[1]) ** 2 + (u / radii[2]) ** 2
        return np.sqrt(far) - 1 + rough * _smooth(rng, shape, (14 / spacing[0], 18, 18))

    half = extent / 2
    body = blob(np.zeros(3), half * (3.0, 0.88, 0.9), 0.0, 0.05)
    spine = blob(np.array([0, 0.5 * half[1], 0]), np.array([9 * half[0], 9.0, 10.0]), 0.0, 0.1)
    middle = rng.uniform(-0.22, 0.22, 3) * extent * (0.6, 0.6, 1)
    radii = half * rng.uniform((0.55, 0.32, 0.34), (0.85, 0.48, 0.52))
    organ = blob(middle, radii, rng.uniform(-0.6, 0.6), 0.22)
    labels = np.zeros(shape, np.uint8)
    labels[organ < 0] = 1
    values = np.where(body < 0, 330 + 60 * _smooth(rng, shape, (6, 12, 12)), 12.0)
    skin = (body > -0.07) & (body < 0)
    values[skin] = 620
    values[spine < 0] = 140
    values[organ < 0] = (520 + 45 * _smooth(rng, shape, (3, 7, 7)))[organ < 0]
    inside = np.argwhere(organ < -0.25)
    for _ in range(int(rng.integers(1, 4))):
        if not len(inside):
            break
        place = (inside[int(rng.integers(len(inside)))] + 0.5) * spacing - half
        size = rng.uniform(4.5, 11) * rng.uniform(0.75, 1.25, 3)
        spot = (blob(place, size, rng.uniform(0, np.pi), 0.25) < 0) & (organ < 0)
        labels[spot] = 2
        values[spot] = (rng.choice([250, 800]) + 50 * _smooth(rng, shape, (2, 4, 4)))[spot]
    values += rng.normal(0, 16, shape)
    return Volume(np.clip(values, 0, 2000).astype(np.int16), labels, spacing)


def _smooth(
    rng: np.random.Generator, shape: tuple[int, ...], cell: tuple[float, float, float]
) -> Float[np.ndarray, "d h w"]:
    """Smooth noise in about −1 … 1, its grains `cell` voxels large."""
    ndimage = require("scipy.ndimage", "volumes")
    rough = [max(2, int(np.ceil(side / grain)) + 1) for side, grain in zip(shape, cell)]
    grid = rng.uniform(-1, 1, rough)
    places = np.meshgrid(*(np.linspace(0, few - 1, side) for few, side in zip(rough, shape)), indexing="ij")
    return ndimage.map_coordinates(grid, places, order=3, mode="nearest").astype(np.float32)
