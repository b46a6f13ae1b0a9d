"""Polygons drawn as bitmaps, each in the window round it instead of on a whole canvas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped


def draw_in_windows(
    polygons: Sequence[Sequence[Any]],
    height: int,
    width: int,
    draw: Callable[[list[Any], int, int], Shaped[np.ndarray, "h w"]],
) -> Bool[np.ndarray, "n height width"]:
    """The bitmaps of instances that are given as polygons: what ``draw`` gives on the whole canvas, in less time.

    pycocotools, with which frameworks draw, rounds coordinates to whole fifths of a pixel. They are rounded to these
    before they move, so that what rounds up here does so there. What is left is an edge that passes between two pixels
    to the last bit of a double: one pixel in some thousand polygons. A polygon that reaches beyond the canvas is drawn
    on all of it.

    Args:
        polygons: the parts of each instance, each (2k,) numbers x0, y0, x1, y1 … in pixels.
        height: of the canvas, pixels.
        width: of the canvas, pixels.
        draw: draws the parts of one instance on a canvas of the height and width that it is given.

    Example:
        >>> def box(parts, height, width):
        ...     x, y = parts[0].reshape(-1, 2).T.astype(int)
        ...     bitmap = np.zeros((height, width), dtype=bool)
        ...     bitmap[y.min() : y.max(), x.min() : x.max()] = True
        ...     return bitmap
        >>> draw_in_windows([[[30.0, 10.0, 34.0, 10.0, 34.0, 13.0]]], 600, 800, box).sum().item()
        12
    """
    bitmaps = np.zeros((len(polygons), height, width), dtype=bool)
    for bitmap, parts in zip(bitmaps, polygons):
        if not len(parts):
            continue
        given = [np.asarray(part, dtype=np.float64) for part in parts]
        rounded = [np.floor(5 * part + 0.5).reshape(-1, 2) / 5 for part in given]
        corners = np.concatenate(rounded)
        low, high = corners.min(axis=0), corners.max(axis=0)
        if not ((low >= 0).all() and high[0] <= width and high[1] <= height):  # NaN, too
            bitmap[:] = draw(given, height, width)
            continue
        left, top = np.maximum(np.floor(low).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(high).astype(int) + 1, (width, height))
        moved = [(part - (left, top)).reshape(-1) for part in rounded]
        bitmap[top:bottom, left:right] = draw(moved, int(bottom - top), int(right - left))
    return bitmaps
