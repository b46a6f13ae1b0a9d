"""Mixing augmentations for object detection and segmentation.

One plan says who owns each output pixel; images, boxes, masks, keypoints, semantic maps and labels follow it.
"""

from __future__ import annotations

from cutmix_dense import functional, masks, pairing, regions
from cutmix_dense.functional import FilterRule, MixReport
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms import (
    RICAP,
    CarveMix,
    ClassMix,
    CopyPaste,
    CowMix,
    CutMix,
    FMix,
    GridMix,
    MixTransform,
    MixUp,
    Mosaic,
    RandomMix,
    ResizeMix,
    SaliencyMix,
    SampleBank,
    StripeMix,
)

__version__ = "0.1.0"

__all__ = [
    "RICAP",
    "CarveMix",
    "ClassMix",
    "CopyPaste",
    "CowMix",
    "CutMix",
    "FMix",
    "FilterRule",
    "GridMix",
    "MixPlan",
    "MixReport",
    "MixTransform",
    "MixUp",
    "Mosaic",
    "RandomMix",
    "ResizeMix",
    "SaliencyMix",
    "SampleBank",
    "StripeMix",
    "__version__",
    "functional",
    "masks",
    "pairing",
    "regions",
]
