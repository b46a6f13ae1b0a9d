"""Losses that know what an instance weighs: by how much of it shows, by its share of a blend, or by a teacher's score.

Recipes in torch alone. ``weigh_losses`` changes torchvision's detectors; ``weighted_set_loss`` is the loss of the DETR
family; both leave ignored instances and crowds out.
"""

from __future__ import annotations

from cutmix_dense.losses.instances import Weighing, instance_weights
from cutmix_dense.losses.torchvision import weigh_losses

__all__ = ["Weighing", "instance_weights", "weigh_losses"]
