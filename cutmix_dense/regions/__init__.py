"""Samplers that draw rectangles: the regions of CutMix and related methods.

``draw`` takes every random number, on the host; their count depends on shapes alone. ``place`` turns them into
rectangles on the device of the data and is pure. Sizes are (height, width); rectangles are whole pixels, lows then
highs in array order (y0, x0, y1, x1), half-open. For volumes, sizes are (depth, height, width) and rectangles cuboids.
"""

from __future__ import annotations

from cutmix_dense.regions.base import ObjectBoxes, RegionSampler, beta, box_around, uniform
from cutmix_dense.regions.boxes import AreaBox, BetaBox
from cutmix_dense.regions.objects import ObjectBox
from cutmix_dense.regions.path import PathBox
from cutmix_dense.regions.several import MultiBox, SideBox

__all__ = [
    "AreaBox",
    "BetaBox",
    "MultiBox",
    "ObjectBox",
    "ObjectBoxes",
    "PathBox",
    "RegionSampler",
    "SideBox",
    "beta",
    "box_around",
    "uniform",
]
