"""CutMix: a region of each image is replaced by the same region of its partner."""

from __future__ import annotations

from typing import Any

import torch

from cutmix_dense.arrays.host import sent
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import BetaBox, ObjectBoxes, RegionSampler
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.layout import has_frames
from cutmix_dense.transforms.pool import Pool

__all__ = ["CutMix"]


class CutMix(MixTransform):
    """CutMix for every kind of target: what lies in the region comes from the partner, images and annotations alike.

    Args:
        alpha: λ ~ Beta(α, α) of the default region, > 0.
        p: probability that an image is mixed, per sample.
        region: a sampler of ``cutmix_dense.regions`` in place of ``BetaBox(alpha)``.
        same_region: draw one region for the whole batch, as the official code does, not one per sample.
        common: arguments of ``MixTransform``.

    Region and partner keep their place: a pixel of the region shows the partner's pixel of the same coordinates. With
    images of different sizes the region lies in the area that both share. Image-level labels count by the pixels that
    each image really owns.

    Of clips all frames share one region, a tube (the spatial VideoMix of Yun et al., 2020); with ``regions.PathBox`` it
    moves from frame to frame. A cuboid, which ends in time as well, comes of clips (B, C, T, H, W) and ``"BCDHW"``.

    Raises:
        TypeError: ``region`` is no sampler.
        ValueError: an argument out of range; a region that moves, of another layout than clips.

    Source: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features (2019).
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
                f"region must stay at its place for layout {self.layout!r}, which has no frames: {region!r}"
            )
        self.alpha = alpha
        self.region = region
        self.same_region = same_region
        BetaBox(alpha)  # refuses a wrong alpha at once

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """A rectangle (or several) per sample, in the area that base and partner share."""
        sampler = BetaBox(self.alpha) if self.region is None else self.region
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
