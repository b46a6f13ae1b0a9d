"""A rectangle that moves over the frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.regions.base import ObjectBoxes, RegionSampler, uniform
from cutmix_dense.regions.boxes import AreaBox
from cutmix_dense.regions.several import MultiBox


@dataclass(frozen=True)
class PathBox(RegionSampler):
    """A rectangle that moves over the frames of a clip in a straight line at constant speed.

    ``box`` draws the rectangle of the first frame; in the last frame it lies at a uniformly drawn place within the area
    that base and partner share. Positions are whole pixels. The size never changes: a ``box`` that clips (``BetaBox``)
    clips in the first frame, and nothing more is lost on the way. A clip of one frame shows the first rectangle.

    In frame t the region shows the partner's frame t at the same coordinates, so what rests in the partner rests in the
    mix: it appears at the region's front and vanishes at its back. Every frame has its own boxes and visibilities, a
    track keeps its id wherever enough of it shows, and the label of a clip counts the pixels of all frames. For layout
    ``"BTCHW"`` only; ``MultiBox(PathBox(), n)`` moves several boxes, each on its own path.

    Args:
        box: the sampler of the first frame's rectangle; it must draw one that doesn't move itself.

    Raises:
        TypeError: ``box`` isn't a sampler.
        ValueError: ``box`` moves itself or draws several rectangles.

    Source: VideoMix (Yun et al., 2020) inserts part of another video as a tube at rest (``CutMix`` of clips with any
    other region) or as a cuboid that also ends in time; here the tube follows a path.

    Example:
        >>> path, sizes = PathBox(), torch.tensor([[32, 48]])
        >>> rectangles = path.place_frames(path.draw(1, torch.Generator().manual_seed(0)), sizes, frames=5)
        >>> rectangles.shape, (rectangles[..., 2:] - rectangles[..., :2]).unique(dim=1).shape[1]  # one size
        (torch.Size([1, 5, 1, 4]), 1)
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
        """Whether its box needs the objects of base and partner."""
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
        progress = torch.arange(frames, device=draws.device, dtype=draws.dtype) / max(frames - 1, 1)
        low = first[:, None] + ((last - first)[:, None] * progress[:, None]).round().long()
        return torch.cat([low, low + side[:, None]], dim=2)[:, :, None]
