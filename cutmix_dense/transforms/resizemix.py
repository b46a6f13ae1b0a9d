"""ResizeMix: the whole partner, resized into a region of the image."""

from __future__ import annotations

from typing import Any

import torch

from cutmix_dense.arrays.host import HOST
from cutmix_dense.checks import interval
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import uniform
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.pool import Pool


class ResizeMix(MixTransform):
    """Resize the whole partner into a region, so that none of its objects is cut.

    Boxes, masks and maps are resized with the image. Deviation for dense targets: the region has whole-pixel sides, and
    τ and place are drawn per sample.

    Args:
        scope: τ ~ U(low, high), the region's sides as a fraction of the image's, in (0, 1].
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range.

    Source: Qin et al., ResizeMix (2020): τ ~ U(0.1, 0.8).

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> mix = cd.ResizeMix(scope=(0.5, 0.5), p=1.0, num_classes=2)
        >>> images, labels = mix(torch.rand(2, 3, 32, 48), torch.tensor([0, 1]))
        >>> labels.tolist()  # half of each side is a quarter of the area
        [[0.75, 0.25], [0.25, 0.75]]
    """

    def __init__(self, *, scope: tuple[float, float] = (0.1, 0.8), p: float = 0.5, **common: Any) -> None:
        super().__init__(p=p, **common)
        self.scope = interval(scope, "scope", most=1)

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw a region per sample, anywhere in the image, and scale the partner into it."""
        source, leader = self.draw_pairs(pool, generator)
        draws = uniform(pool.outputs, 1 + pool.ndim, generator)[leader]
        sizes = pool.sizes[source.clamp(min=0)]
        tau = self.scope[0] + draws[:, :1] * (self.scope[1] - self.scope[0])
        sides = torch.minimum((tau * sizes[:, 0]).round().long().clamp(min=1), sizes[:, 0])
        low = (draws[:, 1:] * (sizes[:, 0] - sides + 1)).long()
        scale = torch.ones(pool.outputs, 2, pool.ndim, dtype=torch.float32, device=HOST)
        shift = torch.zeros_like(scale)
        scale[:, 1] = sides.float() / sizes[:, 1]
        shift[:, 1] = low.float()
        rectangles = torch.cat([low, low + sides], dim=1)[:, None]
        return MixPlan.from_rectangles(source, rectangles, pool.sizes, frame=pool.frame, scale=scale, shift=shift)
