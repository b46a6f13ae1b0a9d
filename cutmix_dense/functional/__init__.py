"""Apply a plan to one kind of data. No function draws random numbers or changes its input."""

from __future__ import annotations

from cutmix_dense.functional.filters import RULES, FilterRule, OcclusionRule
from cutmix_dense.functional.instances import mix_instances, object_pixels
from cutmix_dense.functional.keypoints import mix_keypoints
from cutmix_dense.functional.labels import mix_labels
from cutmix_dense.functional.padded import mix_padded
from cutmix_dense.functional.panoptic import mix_panoptic
from cutmix_dense.functional.pixels import mix_pixels
from cutmix_dense.functional.report import MixReport, Outcome, Reason
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.functional.segment_pool import MixedPanoptic
from cutmix_dense.functional.segments import panoptic_targets
from cutmix_dense.functional.semantic import SemanticPair, mix_semantic, mix_semantic_pair, mix_semantic_soft

__all__ = [
    "RULES",
    "FilterRule",
    "MixReport",
    "MixedPanoptic",
    "OcclusionRule",
    "Outcome",
    "Reason",
    "SemanticPair",
    "TargetRules",
    "mix_instances",
    "mix_keypoints",
    "mix_labels",
    "mix_padded",
    "mix_panoptic",
    "mix_pixels",
    "mix_semantic",
    "mix_semantic_pair",
    "mix_semantic_soft",
    "object_pixels",
    "panoptic_targets",
]
