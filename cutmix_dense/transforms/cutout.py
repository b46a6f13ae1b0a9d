"""Cutout: erase the region that CutMix would paste."""

from __future__ import annotations

from typing import Any

import torch

from cutmix_dense.arrays.host import HOST
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import AreaBox, RegionSampler, uniform
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.pool import Pool


class Cutout(MixTransform):
    """Erase a region of every image: its pixels become ``fill``, and no label counts there.

    It is the control for experiments on CutMix: from the same generator it draws the regions of
    ``CutMix(region=region, p=p)``, so only the paste differs. It needs no partners and works on a batch of one.

    Args:
        region: a sampler of ``cutmix_dense.regions``, default ``AreaBox.french()``.
        p: probability that an image is cut, per sample.
        common: arguments of ``MixTransform``. For normalised images, the default ``fill`` of 0 is the mean colour.

    Raises:
        TypeError: ``region`` isn't a sampler.
        ValueError: the region looks at objects or moves, or an argument is out of range.

    Source: DeVries, Taylor, Cutout (2017). For semi-supervised segmentation French et al. (2020), who keep the inside
    of the drawn box and erase the rest.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> cut = cd.Cutout(region=cd.regions.AreaBox(area=(0.25, 0.25), aspect=(1, 1)))
        >>> image, semantic = cut(torch.ones(1, 3, 32, 48), torch.zeros(1, 32, 48, dtype=torch.long))
        >>> float(image.mean()), semantic.unique().tolist()  # a quarter is erased, and ignored
        (0.75, [0, 255])
    """

    def __init__(self, *, region: RegionSampler | None = None, p: float = 1.0, **common: Any) -> None:
        super().__init__(p=p, **common)
        region = AreaBox.french() if region is None else region
        if not isinstance(region, RegionSampler):
            raise TypeError(f"region must be a sampler of cutmix_dense.regions, got {region!r}")
        if region.needs_objects:
            raise ValueError(f"region must not look at objects, got {region!r}")
        if region.moves:
            raise ValueError(f"region must stay at its place, as every other sampler of regions does, got {region!r}")
        self.region = region

    @property
    def partners(self) -> int:
        """No other image is needed."""
        return 0

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw the base alone, with cells without an owner."""
        own = torch.arange(pool.outputs, device=HOST)
        chance = uniform(pool.outputs, 1, generator)[:, 0]  # CutMix's order of draws
        draws = self.region.draw(pool.outputs, generator, pool.ndim)
        rectangles = self.region.place(draws, pool.shared(own[:, None]))
        cut = torch.from_numpy(chance.numpy() < self._chance(pool, own.numpy()))
        rectangles = torch.where(cut[:, None, None], rectangles, 0)
        no_owner = torch.full(rectangles.shape[:2], -1, dtype=torch.long, device=HOST)
        placed: Any = {"mode": self.region.mode, "frame": pool.frame}
        return MixPlan.from_rectangles(own[:, None], rectangles, pool.sizes, layer=no_owner, **placed)
