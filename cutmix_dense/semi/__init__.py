"""Semi-supervised segmentation and detection: a teacher's pseudo-labels move with their pixels. Pure torch.

Lines of sources are those of ZhenZHAO/AugSeg (7ead870), ZhenZHAO/iMAS (96e57e0), JongMokKim/mix-unmix (7cecefb),
Czm369/MixPL (9f2176a) and LiheYoung/UniMatch-V2 (f6afb4d).
"""

from __future__ import annotations

from cutmix_dense.semi.adaptive import adaptive_consistency, agreement, certainty
from cutmix_dense.semi.consistency import Consistency
from cutmix_dense.semi.detection import DetectionView, MakesViews, MixedDetection, mixed_detection
from cutmix_dense.semi.mixpl import MixPL
from cutmix_dense.semi.pseudo_boxes import pseudo_boxes
from cutmix_dense.semi.pseudo_labels import PseudoLabels, given_labels, mix_pseudo, pseudo_labels
from cutmix_dense.semi.step import MixedConsistency, mixed_consistency
from cutmix_dense.semi.teacher import MeanTeacher
from cutmix_dense.semi.tiles import TileSwap, unmixed_features
from cutmix_dense.semi.views import MixedViews, complementary_dropout, mixed_views
from cutmix_dense.transforms import Cutout

__all__ = [
    "Consistency",
    "Cutout",
    "DetectionView",
    "MakesViews",
    "MeanTeacher",
    "MixPL",
    "MixedConsistency",
    "MixedDetection",
    "MixedViews",
    "PseudoLabels",
    "TileSwap",
    "adaptive_consistency",
    "agreement",
    "certainty",
    "complementary_dropout",
    "given_labels",
    "mix_pseudo",
    "mixed_consistency",
    "mixed_detection",
    "mixed_views",
    "pseudo_boxes",
    "pseudo_labels",
    "unmixed_features",
]
