"""MixUp: two images share every pixel."""

from __future__ import annotations

from typing import Any

import torch

from cutmix_dense.checks import positive
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import beta
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.pool import Pool

__all__ = ["MixUp"]


class MixUp(MixTransform):
    """A weighted mean of two images; boxes united, each instance with its image's ``weight``.

    Args:
        alpha: weight of the base λ ~ Beta(α, α); detectors use 1.5.
        lam: a fixed weight of the base in [0, 1] instead.
        same_weight: draw one λ for the whole batch, as torchvision does, not one per sample.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Semantic maps are never blended: they come as ``SemanticPair`` (map a, map b, weight of a), or as probabilities
    (``soft_semantic="probabilities"``, with ``num_classes``); ignored pixels count nothing. Where the partner doesn't
    reach, the base counts whole.

    Raises:
        ValueError: an argument out of range.

    Source: Zhang et al., mixup (2018); Zhang et al., Bag of Freebies (2019) for detection: Beta(1.5, 1.5).
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        lam: float | None = None,
        same_weight: bool = False,
        p: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        if lam is not None and not 0 <= lam <= 1:
            raise ValueError(f"lam must lie in [0, 1], got {lam!r}")
        self.alpha = positive(alpha, "alpha")
        self.lam = lam
        self.same_weight = same_weight

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """A weight per sample."""
        source, leader = self.draw_pairs(pool, generator)
        lam = beta(1 if self.same_weight else pool.outputs, self.alpha, generator).expand(pool.outputs, 1)[leader]
        if self.lam is not None:
            lam = torch.full_like(lam, self.lam)
        lam = torch.where(source[:, 1:] < 0, 1.0, lam)
        return MixPlan.blend(source, torch.cat([lam, 1 - lam], dim=1), pool.sizes, frame=pool.frame)
