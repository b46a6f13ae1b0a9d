"""Semi-supervised segmentation by mixing: a teacher's pseudo-labels move with their pixels. Pure torch."""

from __future__ import annotations

from cutmix_dense.semi.consistency import Consistency
from cutmix_dense.semi.pseudo_labels import PseudoLabels, given_labels, mix_pseudo, pseudo_labels
from cutmix_dense.semi.step import MixedConsistency, mixed_consistency
from cutmix_dense.semi.teacher import MeanTeacher
from cutmix_dense.transforms import Cutout

__all__ = [
    "Consistency",
    "Cutout",
    "MeanTeacher",
    "MixedConsistency",
    "PseudoLabels",
    "given_labels",
    "mix_pseudo",
    "mixed_consistency",
    "pseudo_labels",
]
