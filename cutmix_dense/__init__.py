"""Mixing augmentations for object detection and segmentation.

One plan says who owns each output pixel; images, boxes, masks, keypoints, semantic maps and labels follow it.
"""

from __future__ import annotations

from cutmix_dense import functional, pairing, regions
from cutmix_dense.functional import FilterRule, MixReport
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms import CutMix, MixTransform

__version__ = "0.1.0"

__all__ = [
    "CutMix",
    "FilterRule",
    "MixPlan",
    "MixReport",
    "MixTransform",
    "__version__",
    "functional",
    "pairing",
    "regions",
]
