"""Colours of classes, and of the text on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]

# Far apart from each other on photographs, light enough for lines on dark ground. Index 0 is most often "background".
_PALETTE: tuple[Color, ...] = (
    (140, 148, 160),
    (255, 92, 92),
    (56, 176, 255),
    (82, 214, 112),
    (255, 190, 40),
    (186, 120, 255),
    (38, 222, 206),
    (255, 128, 208),
    (255, 140, 56),
    (170, 220, 40),
    (112, 136, 255),
    (230, 214, 110),
)

_BRIGHT: dict[str, Color] = {
    "person": (240, 60, 90),
    "rider": (255, 110, 40),
    "car": (80, 130, 255),
    "truck": (40, 200, 255),
    "bus": (255, 205, 60),
    "train": (40, 205, 160),
    "motorcycle": (176, 110, 255),
    "bicycle": (255, 130, 200),
    "caravan": (150, 170, 255),
    "trailer": (130, 220, 240),
    "license plate": (210, 220, 255),
}

IGNORED: Color = (176, 180, 188)

HATCHED: Color = (124, 127, 134)
"""In a legend, what is hatched in drawings: pixels of a map that have no class."""

INK: Color = (24, 28, 36)

GREY_INK: Color = (96, 104, 116)

PAPER: Color = (250, 250, 252)


def class_colors(classes: Sequence[str] | int) -> list[Color]:
    """One colour per class; the same class at the same place always has the same colour.

    Cityscapes' class names get the colours its users know, brightened for what has instances: lines of the official
    dark blues could hardly be seen, nor told apart.

    Args:
        classes: the class names, or how many classes there are.

    Returns:
        A list of (red, green, blue), each 0–255.
    """
    count = classes if isinstance(classes, int) else len(classes)
    if not isinstance(classes, int):
        official = _cityscapes_colors()
        if count >= 8 and all(name in official for name in classes):
            return [official[name] for name in classes]
    return [color_at(index) for index in range(count)]


def color_at(index: int) -> Color:
    """Colour of a class index of any size: the palette first, then whatever lies farthest from all before it."""
    index %= _MOST
    return (_PALETTE if index < len(_PALETTE) else _palette())[index]


_MOST = 256


@lru_cache(maxsize=1)
def _palette() -> tuple[Color, ...]:
    """Each further colour is the one of a grid whose nearest colour so far is farthest, as eyes see it (CIE Lab)."""
    steps = np.linspace(24, 255, 14).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    places = lab(grid)
    grid, places = grid[places[:, 0] > 52], places[places[:, 0] > 52]  # lighter than that, for lines on dark ground
    nearest = np.full(len(grid), np.inf)
    chosen = [tuple(map(float, color)) for color in _PALETTE]
    for number in range(_MOST):
        if number >= len(chosen):
            chosen.append(tuple(grid[nearest.argmax()].tolist()))
        nearest = np.minimum(nearest, np.linalg.norm(places - lab(np.array([chosen[number]])), axis=1))
    return tuple((round(red), round(green), round(blue)) for red, green, blue in chosen)


def lab(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) of sRGB colours (N, 3) of 0–255: distances there are about as large as they look."""
    linear = np.where(colors > 10.31, ((colors / 255 + 0.055) / 1.055) ** 2.4, colors / 255 / 12.92)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(matrix).T / [0.9505, 1.0, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root[:, 0], root[:, 1], root[:, 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@lru_cache(maxsize=1)
def _cityscapes_colors() -> dict[str, Color]:
    from torchvision.datasets import Cityscapes

    return {**{entry.name: tuple(entry.color) for entry in Cityscapes.classes}, **_BRIGHT}


def _luminance(color: Color) -> float:
    """Perceived brightness, 0–1 (Rec. 601 weights)."""
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255


def line_color_for(color: Color) -> Color:
    """The colour, lightened until a line of it can be seen on dark ground."""
    mixed = color
    for _ in range(8):
        if _luminance(mixed) >= 0.42:
            break
        mixed = (mixed[0] + (255 - mixed[0]) // 5, mixed[1] + (255 - mixed[1]) // 5, mixed[2] + (255 - mixed[2]) // 5)
    return mixed


def text_color_on(background: Color) -> Color:
    """Black or white, whichever reads better on the background."""
    return (16, 18, 24) if _luminance(background) > 0.5 else (255, 255, 255)
