"""A rectangle that moves over the frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.regions.base import ObjectBoxes, RegionSampler, uniform
from cutmix_dense.regions.boxes import AreaBox, MultiBox

__all__ = ["PathBox"]


@dataclass(frozen=True)
class PathBox(RegionSampler):
    """A rectangle that moves over the frames of a clip, in a straight line from where it is drawn to another place.

    ``box`` draws the rectangle of the first frame. In the last frame it lies at a uniformly drawn place within the area
    that base and partner share; between them it moves at constant speed, to the nearest whole pixel of every frame. Its
    size is the same in all frames: that of the first, where the border has clipped it already if ``box`` clips
    (``BetaBox``), so that nothing more is lost on the way. A clip of one frame has the first.

    Both clips run on in step: the region in frame t shows the partner's frame t at the same coordinates, so what lies
    still in the partner lies still in the mix, appears at the region's front and goes at its back. Every frame has its
    own boxes and visibilities, and a track keeps its id wherever enough of it shows. The label of a clip counts the
    pixels of all frames. For layout ``"BTCHW"`` only; several boxes with ways of their own are
    ``MultiBox(PathBox(), n)``.

    Args:
        box: the sampler of the first frame's rectangle; of one rectangle, which doesn't move itself.

    Raises:
        TypeError: ``box`` is no sampler.
        ValueError: ``box`` moves itself or draws several rectangles.

    Source: VideoMix (Yun et al., 2020) inserts a part of another video as a tube that stays (``CutMix`` of clips with
    any other region) or as a cuboid that ends in time, too; this is the tube along a path.
    """

    box: RegionSampler = field(default_factory=AreaBox)

    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.box, RegionSampler):
            raise TypeError(f"box must be a region sampler, got {self.box!r}")
        if self.box.moves:
            raise ValueError(f"box must not move itself, got {self.box!r}")
        if isinstance(self.box, MultiBox):
            raise ValueError(f"box must draw one rectangle, got {self.box!r}; use MultiBox(PathBox(), n) for several")

    @property
    def needs_objects(self) -> bool:  # type: ignore[override]
        """As its box."""
        return self.box.needs_objects

    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """The draws of the box, then the last frame's corner (up to three axes)."""
        return torch.cat([self.box.draw(batch, generator, ndim), uniform(batch, 3, generator)], dim=1)

    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b 1 ends"]:
        """The first frame's rectangle of each sample."""
        rectangles = self.box.place(draws[:, :-3], sizes, base, partner)
        if rectangles.shape[1] != 1:
            raise ValueError(f"box must draw one rectangle, got {rectangles.shape[1]} from {self.box!r}")
        return rectangles

    def place_frames(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        frames: int,
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b t 1 ends"]:
        """One rectangle per sample and frame."""
        ndim = sizes.shape[1]
        first, high = self.place(draws, sizes, base, partner)[:, 0].chunk(2, dim=1)
        side = high - first
        last = (draws[:, -3:][:, :ndim] * (sizes - side + 1)).long()
        way = torch.arange(frames, device=draws.device, dtype=draws.dtype) / max(frames - 1, 1)
        low = first[:, None] + ((last - first)[:, None] * way[:, None]).round().long()
        return torch.cat([low, low + side[:, None]], dim=2)[:, :, None]
