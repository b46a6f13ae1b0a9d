"""CutMix: the partner's pixels replace a region of each image."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from cutmix_dense.arrays.host import sent
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import BetaBox, ObjectBoxes, RegionSampler
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.layout import has_frames
from cutmix_dense.transforms.pool import Pool

_beta_box = lru_cache(BetaBox)


class CutMix(MixTransform):
    """Replace a region of each image, and its annotations, by the same region of the partner.

    A pixel of the region shows the partner's pixel at the same coordinates. With images of different sizes, the region
    lies in the area that both share. Image-level labels count by the pixels that each image owns.

    For clips, all frames share one region, a tube (the spatial VideoMix of Yun et al., 2020); ``regions.PathBox`` moves
    it from frame to frame. For a cuboid that also ends in time, give clips (B, C, T, H, W) as ``layout="BCDHW"``.

    Args:
        alpha: λ ~ Beta(α, α) of the default region, > 0.
        p: probability that an image is mixed, per sample.
        region: a sampler of ``cutmix_dense.regions`` instead of ``BetaBox(alpha)``.
        same_region: draw one region for the whole batch, as the official code does, instead of one per sample.
        common: arguments of ``MixTransform``.

    Raises:
        TypeError: ``region`` isn't a sampler.
        ValueError: an argument is out of range, or a region moves though the layout has no frames.

    Source: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features (2019).

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> quarter = cd.regions.AreaBox(area=(0.25, 0.25), aspect=(1, 1))
        >>> mix = cd.CutMix(region=quarter, p=1.0, num_classes=2)
        >>> images, labels = mix(torch.rand(2, 3, 32, 48), torch.tensor([0, 1]))
        >>> labels.tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        p: float = 0.5,
        region: RegionSampler | None = None,
        same_region: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        if region is not None and not isinstance(region, RegionSampler):
            raise TypeError(f"region must be a sampler of cutmix_dense.regions, got {region!r}")
        if region is not None and region.moves and not has_frames(self.layout):
            raise ValueError(
                f"region must stay at its place for layout {self.layout!r}, which has no frames (layout='BTCHW' has): "
                f"got {region!r}"
            )
        self.alpha = alpha
        self.region = region
        self.same_region = same_region
        BetaBox(alpha)  # checks alpha

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw one or several rectangles per sample, in the area that base and partner share."""
        sampler = _beta_box(self.alpha) if self.region is None else self.region
        source, leader = self.draw_pairs(pool, generator)
        if self.same_region:
            draws = sampler.draw(1, generator, pool.ndim).expand(pool.outputs, -1)
        else:
            draws = sampler.draw(pool.outputs, generator, pool.ndim).index_select(0, leader)
        sizes, shared = pool.sizes, pool.shared(source)
        objects: tuple[ObjectBoxes, ...] = ()
        if sampler.needs_objects:
            every = pool.objects()
            device = every.boxes.device
            draws, shared = sent(draws, device), sent(shared, device)
            images = sent(source.clamp(min=0).T, device)
            objects = tuple(ObjectBoxes(every.boxes[index], every.present[index]) for index in images)
        placed: Any = {"mode": sampler.mode, "frame": pool.frame}
        if sampler.moves:
            rectangles = sampler.place_frames(draws, shared, pool.frames, *objects).flatten(0, 1)
            source, sizes = MixPlan.frame_sources(source, pool.frames), sizes.repeat_interleave(pool.frames, dim=0)
            return MixPlan.from_rectangles(source, rectangles, sizes, frames=pool.frames, **placed)
        return MixPlan.from_rectangles(source, sampler.place(draws, shared, *objects), sizes, **placed)
