"""Cutout: the region that CutMix would paste is erased instead."""

from __future__ import annotations

from typing import Any

import torch

from cutmix_dense.arrays.host import HOST
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import AreaBox, RegionSampler, uniform
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.pool import Pool

__all__ = ["Cutout"]


class Cutout(MixTransform):
    """A region of every image is erased: nobody owns its pixels, they are ``fill`` and no label counts there.

    The control of an experiment on CutMix: from the same generator it draws the regions that
    ``CutMix(region=region, p=p)`` draws, so the paste alone differs. It needs no partners and works on one image.

    Args:
        region: a sampler of ``cutmix_dense.regions``.
        p: probability that an image is cut, per sample.
        common: arguments of ``MixTransform``; of normalised images the default ``fill`` of 0 is the mean colour.

    Raises:
        TypeError: ``region`` is no sampler.
        ValueError: a region that looks at objects or that moves, an argument out of range.

    Source: DeVries, Taylor, Cutout (2017); for semi-supervised segmentation French et al. (2020), who keep what lies
    inside of the drawn box and erase the rest.
    """

    def __init__(self, *, region: RegionSampler | None = None, p: float = 1.0, **common: Any) -> None:
        super().__init__(p=p, **common)
        region = AreaBox.french() if region is None else region
        if not isinstance(region, RegionSampler):
            raise TypeError(f"region must be a sampler of cutmix_dense.regions, got {region!r}")
        if region.needs_objects:
            raise ValueError(f"region must not look at objects, got {region!r}")
        if region.moves:
            raise ValueError(f"region must stay at its place, got {region!r}")
        self.region = region

    @property
    def partners(self) -> int:
        """None are needed."""
        return 0

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """The base alone, with cells that nobody owns."""
        own = torch.arange(pool.outputs, device=HOST)
        chance = uniform(pool.outputs, 1, generator)[:, 0]  # CutMix's order of draws
        draws = self.region.draw(pool.outputs, generator, pool.ndim)
        rectangles = self.region.place(draws, pool.shared(own[:, None]))
        cut = chance < (0.0 if self.closed else self.p)
        rectangles = torch.where(cut[:, None, None], rectangles, 0)
        nobody = torch.full(rectangles.shape[:2], -1, dtype=torch.long, device=HOST)
        placed: Any = {"mode": self.region.mode, "frame": pool.frame}
        return MixPlan.from_rectangles(own[:, None], rectangles, pool.sizes, layer=nobody, **placed)
