"""Samplers that draw rectangles: the regions of CutMix and its kin.

A sampler is split in two, so that a plan can be drawn on the host while its data lies elsewhere: ``draw`` takes every
random number there is (their count depends on shapes alone), ``place`` turns them into rectangles and is pure. Sizes
are (height, width); rectangles are whole pixels, lows then highs in array order (y0, x0, y1, x1), half-open. Of volumes
sizes are (depth, height, width), and a rectangle is a cuboid.
"""

from __future__ import annotations

from cutmix_dense.regions.base import ObjectBoxes, RegionSampler, beta, box_around, uniform
from cutmix_dense.regions.boxes import AreaBox, BetaBox, MultiBox
from cutmix_dense.regions.objects import ObjectBox
from cutmix_dense.regions.path import PathBox

__all__ = [
    "AreaBox",
    "BetaBox",
    "MultiBox",
    "ObjectBox",
    "ObjectBoxes",
    "PathBox",
    "RegionSampler",
    "beta",
    "box_around",
    "uniform",
]
