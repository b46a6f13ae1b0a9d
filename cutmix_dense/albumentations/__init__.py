"""Albumentations transforms of the whole family: ``A.Compose([CutMix(p=0.5)], bbox_params=…)``.

Import this module before loading a saved pipeline that holds them.
"""

from __future__ import annotations

from cutmix_dense.extras import require

require("albumentations", "albumentations")

from cutmix_dense.albumentations.pasting import CopyPaste  # noqa: E402
from cutmix_dense.albumentations.transforms import (  # noqa: E402
    RICAP,
    CarveMix,
    ClassMix,
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
    StripeMix,
    close,
)

__all__ = [
    "RICAP",
    "CarveMix",
    "ClassMix",
    "CopyPaste",
    "CowMix",
    "CutMix",
    "FMix",
    "GridMix",
    "MixTransform",
    "MixUp",
    "Mosaic",
    "RandomMix",
    "ResizeMix",
    "SaliencyMix",
    "StripeMix",
    "close",
]
