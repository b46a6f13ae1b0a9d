"""What of boxes, rotated boxes and keypoints lies in the picture, for layouts whose users refuse what doesn't."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_MOVED = 0.01
"""Pixels; edges that move by less are rounded, not clipped."""


def box_in_picture(box: Float[np.ndarray, "4"], size: tuple[int, int]) -> tuple[Float[np.ndarray, "4"] | None, bool]:
    """The part of an xyxy box in a picture of (H, W), None if it has no area, and whether it was clipped.

    A box that is inverted or lies outside of the picture has no part in it.
    """
    clipped = np.clip(box, 0, [size[1], size[0]] * 2)
    has_area = clipped[2] > clipped[0] and clipped[3] > clipped[1]
    return (clipped if has_area else None), bool(np.abs(clipped - box).max() > _MOVED)


def rotated_in_picture(
    corners: Float[np.ndarray, "8"], size: tuple[int, int]
) -> tuple[Float[np.ndarray, "8"] | None, bool]:
    """A rotated box as trainers take it in a picture of (H, W), None if none of it shows, and whether it was changed.

    The upright box round it must have its centre in the picture and sides that are no longer. A rotated box may hang
    over the edge so far, and is left as it is. Beyond that it becomes the smallest rectangle round what shows of it, or
    the upright one where that still goes too far.
    """
    from cutmix_dense.functional.polygons import clipped_areas, clipped_points, smallest_rectangles  # with torch

    points = corners.reshape(1, 4, 2).astype(np.float64)
    if not np.isfinite(smallest_rectangles(points[0], np.zeros(4, dtype=np.int64), points)).all():
        return None, False  # its corners lie on one line
    if _is_taken(points[0], size):
        return corners, False
    low, high = np.zeros((1, 2)), np.array([[size[1], size[0]]], dtype=np.float64)
    shown, group = clipped_points(points, low, high)
    if not len(shown) or not clipped_areas(points, low, high)[0] > 0:
        return None, False
    fitted = smallest_rectangles(shown, group, points)[0]
    if not np.isfinite(fitted).all() or not _is_taken(fitted, size):
        (x1, y1), (x2, y2) = shown.min(axis=0), shown.max(axis=0)
        fitted = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    return fitted.reshape(8), True


def is_in_picture(x: float, y: float, size: tuple[int, int]) -> bool:
    """Whether a point lies in a picture of (H, W), its edges included."""
    return 0 <= x <= size[1] and 0 <= y <= size[0]


def _is_taken(corners: Float[np.ndarray, "4 2"], size: tuple[int, int]) -> bool:
    """Whether the upright box round corners has its centre in the picture and sides that are no longer than its."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    centre, sides = (low + high) / 2, high - low
    within = (centre >= 0) & (centre <= size[::-1]) & (sides <= np.asarray(size[::-1]) + _MOVED)
    return bool(within.all())
