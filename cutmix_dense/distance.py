"""Grow or shrink masks by a signed distance to their border."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from cutmix_dense.arrays.blocks import Block, filled
from cutmix_dense.extras import require

__all__ = ["carved"]


def carved(
    mask: Bool[np.ndarray, "*size"], amount: float, spacing: Sequence[float] | None = None
) -> Bool[np.ndarray, "*size"]:
    """Grow or shrink a mask: True where the signed distance to its border is below ``amount`` times its depth.

    Inside, the distance is minus that to the nearest pixel outside; outside, that to the nearest pixel inside. The
    depth is the largest distance inside. An empty or full mask is returned unchanged.

    Args:
        mask: any number of axes.
        amount: below 0 shrinks, above 0 grows; 0 copies the mask.
        spacing: size of a pixel along each axis, in array order; default 1.

    Raises:
        ImportError: scipy isn't installed.

    Example:
        >>> mask = np.array([[0, 0, 1, 1, 1, 0, 0]], dtype=bool)
        >>> carved(mask, 1.0).astype(int).tolist()
        [[0, 1, 1, 1, 1, 1, 0]]
    """
    edt = require("scipy.ndimage", "volumes", distribution="scipy").distance_transform_edt
    steps = [1.0] * mask.ndim if spacing is None else list(spacing)
    window = filled(mask)
    if window is None or amount == 0:
        return mask.copy()
    near = _widened(window, [1] * mask.ndim, mask.shape)  # holds, for every pixel inside, the nearest one outside
    if mask[near].all():
        return mask.copy()
    inside = edt(mask[near], sampling=steps)
    limit = amount * float(inside.max())
    result = np.zeros_like(mask)
    if amount < 0:
        result[near] = inside > -limit
    else:
        far = _widened(window, [math.ceil(limit / step) for step in steps], mask.shape)
        result[far] = edt(~mask[far], sampling=steps) < limit
        result |= mask  # keeps the mask where it grows by less than a pixel
    return result


def _widened(window: Block, by: Sequence[int], size: Sequence[int]) -> Block:
    """A window widened on both sides of each axis, within the mask."""
    return tuple(slice(max(part.start - n, 0), min(part.stop + n, most)) for part, n, most in zip(window, by, size))
