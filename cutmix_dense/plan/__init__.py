"""MixPlan: who owns each output pixel, and where it comes from.

A plan is data and holds nothing random: pairing and samplers draw it once, ``cutmix_dense.functional`` applies it as
often as needed. Per-axis values are in **array order**: (y, x) for images and clips, (z, y, x) for volumes.
"""

from __future__ import annotations

from cutmix_dense.plan.fields import PlanFacts
from cutmix_dense.plan.plan import MixPlan

__all__ = ["MixPlan", "PlanFacts"]
