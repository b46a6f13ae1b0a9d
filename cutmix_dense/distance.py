"""Masks made larger or smaller by their distance to the border."""

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
    """Where the signed distance to a mask's border is below ``amount`` times the mask's depth.

    The distance of a pixel inside is −(distance to the nearest pixel outside), of one outside the distance to the
    nearest inside; the depth is the largest distance inside. Only the window round the mask is looked at. A mask
    without a pixel inside, or outside, comes back as it is.

    Args:
        mask: of any number of axes.
        amount: below 0 the mask shrinks, above 0 it grows; 0 gives the mask itself.
        spacing: size of a pixel along each axis, in array order; default 1.

    Raises:
        ImportError: without scipy.
    """
    edt = require("scipy.ndimage", "volumes", distribution="scipy").distance_transform_edt
    steps = [1.0] * mask.ndim if spacing is None else list(spacing)
    window = filled(mask)
    if window is None or amount == 0:
        return mask.copy()
    near = _widened(window, [1] * mask.ndim, mask.shape)  # holds the nearest pixel outside, for every one inside
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
        result |= mask  # less than a pixel's growth
    return result


def _widened(window: Block, by: Sequence[int], size: Sequence[int]) -> Block:
    """A window made larger on both sides of each axis, as far as the mask goes."""
    return tuple(slice(max(part.start - n, 0), min(part.stop + n, most)) for part, n, most in zip(window, by, size))
