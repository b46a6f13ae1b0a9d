"""Noise, patterns and palettes: everything in the demo set that is colour and not shape."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from cutmix_dense.data.extras import opencv

Plane = Float[np.ndarray, "h w"]

# (quiet colours of the surroundings, from light to dark; lively colours of the objects)
PALETTES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("f4ede0", "e3d5bd", "c9b79a", "8d99a6"), ("e4572e", "17bebb", "ffc914", "2e5077", "76b041", "f2f0e8")),
    (("dce9ec", "b7d0d6", "8fb0b9", "557a87"), ("f25f5c", "ffe066", "247ba0", "70c1b3", "f7a072", "50514f")),
    (("f6e7e1", "e8cbc0", "d1a396", "8a6f7d"), ("355070", "6d597a", "b56576", "eaac8b", "3a7d7c", "fff1e6")),
    (("e6ead9", "c8d1ae", "9fae83", "667a58"), ("d1495b", "edae49", "00798c", "30638e", "f4f1de", "7b2d26")),
    (("e4e1ef", "c5bfdc", "9d96c0", "645d8a"), ("ffb400", "f6511d", "00a6ed", "7fb800", "f9f5ff", "c2185b")),
    (("7187a3", "5d7089", "4a5a70", "364354"), ("ff9f1c", "2ec4b6", "e71d36", "fdfffc", "8ac6d1", "ffcb77")),
    (("eadfd0", "d6b88f", "b98b5e", "7c5a3c"), ("1b998b", "f46036", "2e294e", "e0ca3c", "f7f3e9", "c5283d")),
    (("d7ede5", "a9d6c6", "74b49b", "3f7d6b"), ("ef476f", "ffd166", "118ab2", "073b4c", "f78c6b", "fffdf7")),
    (("f2f2ef", "d8d9d6", "b3b6b7", "74787c"), ("e63946", "f4a261", "2a9d8f", "264653", "e9c46a", "457b9d")),
    (("8d7ba3", "76668b", "5f5173", "463b57"), ("f9c80e", "f86624", "ea3546", "43bccd", "f7ede2", "b8f2e6")),
)


def colour(code: str) -> Float[np.ndarray, "3 1 1"]:
    """A hexadecimal colour as RGB in 0–1; pictures are (3, H, W) while they are painted."""
    return np.array([[[int(code[i : i + 2], 16) / 255]] for i in (0, 2, 4)], dtype=np.float32)


def blend(a: np.ndarray, b: np.ndarray, share: Plane) -> Float[np.ndarray, "3 h w"]:
    """From colour `a` (share 0) to colour `b` (share 1)."""
    mixed = (b - a) * np.asarray(share, dtype=np.float32)
    mixed += a
    return mixed


def edge(value: Plane, width: float) -> Plane:
    """A smooth step from 0 to 1 as `value` crosses zero, `width` wide."""
    t = np.clip(value / max(width, 1e-6) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def fraction(value: Plane) -> Plane:
    """What is above the next whole number below: `value % 1`, several times as fast."""
    return value - np.floor(value)


def noise(rng: np.random.Generator, size: tuple[int, int], cell: tuple[float, float], octaves: int = 3) -> Plane:
    """Smooth noise in about −1 … 1, its coarsest grains `cell` = (height, width) pixels large."""
    cv2 = opencv()
    total = np.zeros(size, dtype=np.float32)
    for octave in range(octaves):
        rows, columns = (max(2, math.ceil(size[i] * 2**octave / cell[i]) + 1) for i in (0, 1))
        grid = (rng.random((rows, columns), dtype=np.float32) - np.float32(0.5)) * np.float32(0.55**octave / 0.65)
        total += cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return total


def pattern(rng: np.random.Generator, x: Plane, y: Plane, pixel: float) -> Plane:
    """A pattern in 0–1 over the coordinates of an object, one of several kinds.

    Args:
        rng: draws the kind and its numbers.
        x: coordinates, the object reaching from −1 to 1.
        y: coordinates, like `x`.
        pixel: side of a pixel in these coordinates, for smooth edges.
    """
    kind = rng.choice(["plain", "plain", "fade", "stripes", "dots", "checks", "rings", "marble"])
    turn = rng.uniform(0, np.pi)
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    step = rng.uniform(0.32, 0.6)
    if kind == "fade":
        return np.clip(0.5 + 0.5 * u, 0, 1)
    if kind == "stripes":
        return edge(np.abs(fraction(u / step) - 0.5) - rng.uniform(0.2, 0.33), pixel / step * 1.5)
    if kind == "dots":
        shifted = u / step + 0.5 * (np.floor(v / step) % 2)
        dx, dy = fraction(shifted) - 0.5, fraction(v / step) - 0.5
        return edge(rng.uniform(0.22, 0.32) - np.sqrt(dx * dx + dy * dy), pixel / step * 1.5)
    if kind == "checks":
        wave = np.sin(u * (np.pi / step)) * np.sin(v * (np.pi / step))
        return edge(wave, pixel / step * 6)
    if kind == "rings":
        return edge(np.sin(np.sqrt(x * x + y * y) * (np.pi / (0.5 * step))), pixel / step * 9)
    if kind == "marble":
        warp = 0.35 * noise(rng, (x.shape[0], x.shape[1]), (x.shape[0] / 2.5, x.shape[1] / 2.5))
        return 0.5 + 0.5 * np.sin((u + warp) * (np.pi / step))
    return np.zeros_like(x)
