"""Losses that know what an instance weighs: by how much of it shows, by its share of a blend, or by a teacher's score.

Recipes in torch alone. ``weigh_losses`` changes torchvision's detectors; ``weighted_set_loss`` is the loss of the DETR
family; both leave ignored instances and crowds out.
"""

from __future__ import annotations

from cutmix_dense.losses.detectors import weigh_losses
from cutmix_dense.losses.instances import Weighing, instance_weights
from cutmix_dense.losses.queries import match_queries, pair_weights, query_weights, weighted_matching_cost
from cutmix_dense.losses.set_loss import SetLoss, weighted_set_loss

__all__ = [
    "SetLoss",
    "Weighing",
    "instance_weights",
    "match_queries",
    "pair_weights",
    "query_weights",
    "weigh_losses",
    "weighted_matching_cost",
    "weighted_set_loss",
]
