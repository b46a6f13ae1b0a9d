"""MixPlan: who owns each output pixel, and where it comes from.

A plan is data. It is drawn once (pairing and samplers), applied as often as wanted (``cutmix_dense.functional``) and
holds nothing random. Every per-axis quantity is in **array order**: (y, x) for images and clips, (z, y, x) for volumes.
"""

from __future__ import annotations

from cutmix_dense.plan.fields import PlanFacts
from cutmix_dense.plan.plan import MixPlan

__all__ = ["MixPlan", "PlanFacts"]
