"""MixUp: a weighted mean of two images."""

from __future__ import annotations

from typing import Any

import torch

from cutmix_dense.checks import interval, positive, share
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import beta, uniform
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.pool import Pool


class MixUp(MixTransform):
    """Blend two images by weight; instances of both stay, each with its image's ``weight``.

    Semantic maps are never blended: they become a ``SemanticPair`` (map a, map b, weight of a), or probabilities
    (``soft_semantic="probabilities"`` with ``num_classes``); ignored pixels don't count. Beyond the partner's border,
    the base counts fully.

    Args:
        alpha: weight of the base λ ~ Beta(α, α), > 0; detectors use 1.5.
        lam: a fixed weight of the base, in [0, 1], instead.
        weight: weight of the base λ ~ U(low, high), with 0 < low <= high <= 1, instead; DEIM uses (0.45, 0.55).
        same_weight: draw one λ for the whole batch, as torchvision does, instead of one per sample.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range; panoptic targets in a call.

    Source: Zhang et al., mixup (2018); Zhang et al., Bag of Freebies (2019) for detection: Beta(1.5, 1.5); Huang et
    al., DEIM (2025) for a uniform weight.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> mix = cd.MixUp(lam=0.75, p=1.0, num_classes=2)
        >>> images, labels = mix(torch.rand(2, 3, 32, 48), torch.tensor([0, 1]))
        >>> labels.tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """

    mixes_panoptic = False

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        lam: float | None = None,
        weight: tuple[float, float] | None = None,
        same_weight: bool = False,
        p: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        if lam is not None and weight is not None:
            raise ValueError(f"weight and lam both set the weight of the base: give one, got {weight!r} and {lam!r}")
        self.alpha = positive(alpha, "alpha")
        self.lam = None if lam is None else share(lam, "lam")
        self.weight = None if weight is None else interval(weight, "weight", most=1)
        self.same_weight = same_weight

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw a weight per sample."""
        source, leader = self.draw_pairs(pool, generator)
        count = 1 if self.same_weight else pool.outputs
        if self.weight is None:
            lam = beta(count, self.alpha, generator)
        else:
            low, high = self.weight
            lam = low + (high - low) * uniform(count, 1, generator)
        lam = lam.expand(pool.outputs, 1)[leader]
        if self.lam is not None:
            lam = torch.full_like(lam, self.lam)
        lam = torch.where(source[:, 1:] < 0, 1.0, lam)
        return MixPlan.blend(source, torch.cat([lam, 1 - lam], dim=1), pool.sizes, frame=pool.frame, check=False)
