"""Samplers that draw rectangles: the regions of CutMix and its kin.

A sampler is split in two, so that a plan can be drawn on the host while its data lies elsewhere: ``draw`` takes every
random number there is (their count depends on shapes alone), ``place`` turns them into rectangles and is pure. Sizes
are (height, width); rectangles are whole pixels, lows then highs in array order (y0, x0, y1, x1), half-open. Of volumes
sizes are (depth, height, width), and a rectangle is a cuboid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST, Column, as_column, as_tensor, module_of
from cutmix_dense.checks import finite, interval, positive

__all__ = [
    "AreaBox",
    "BetaBox",
    "MultiBox",
    "ObjectBox",
    "ObjectBoxes",
    "PathBox",
    "RegionSampler",
    "beta",
    "box_around",
    "uniform",
]


class ObjectBoxes(NamedTuple):
    """Boxes of a batch, padded to the largest count: what a sampler that looks at objects gets to see.

    Attributes:
        boxes: lows then highs in array order (y0, x0, y1, x1), pixels.
        present: False where a row is padding.
    """

    boxes: Float[Tensor, "b n 2*d"]
    present: Bool[Tensor, "b n"]


class RegionSampler(ABC):
    """Base of the region samplers."""

    mode: Literal["union", "xor"] = "union"
    """How several rectangles of a sample combine."""
    needs_objects: ClassVar[bool] = False
    """Whether ``place`` looks at the objects of base and partner."""
    moves: ClassVar[bool] = False
    """Whether the rectangles of a clip differ from frame to frame, as ``place_frames`` says."""

    @abstractmethod
    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """All random numbers for ``batch`` regions of ``ndim`` axes, on the host, in double precision."""

    @abstractmethod
    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b p 2*d"]:
        """Rectangles from draws.

        Args:
            draws: what ``draw`` gave.
            sizes: the area that base and partner share, pixels; no rectangle leaves it.
            base: objects of the base images, for samplers that need them.
            partner: objects of the partners.
        """

    def place_frames(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        frames: int,
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b t p 2*d"]:
        """Rectangles of every frame of clips from draws: those of ``place`` in all of them, unless the sampler moves.

        Args:
            draws: see ``place``, as the others.
            sizes: of the clips' frames.
            frames: number of frames T of each clip, >= 1.
            base: objects of all frames of the base clips.
            partner: objects of all frames of the partners.
        """
        return self.place(draws, sizes, base, partner)[:, None].expand(-1, frames, -1, -1)


def uniform(batch: int, count: int, generator: torch.Generator | None) -> Float[Tensor, "b k"]:
    """``count`` numbers per sample from U[0, 1)."""
    return torch.rand((batch, count), generator=generator, dtype=torch.float64, device=HOST)


def beta(batch: int, alpha: float, generator: torch.Generator | None) -> Float[Tensor, "b 1"]:
    """One number per sample from Beta(α, α)."""
    # torch.distributions.Beta takes no generator; this is the function it calls
    concentration = torch.full((batch, 2), alpha, dtype=torch.float64, device=HOST)
    return torch._sample_dirichlet(concentration, generator=generator)[:, :1]


def box_around(
    centre: Int[Column, "b d"], side: Float[Column, "b 1"], sizes: Int[Column, "b d"]
) -> Int[Tensor, "b 1 2*d"]:
    """A rectangle of sides ``side · sizes`` round each centre, clipped at the border, as in CutMix's official code."""
    xp = module_of(centre)
    half = 0.5 * side * sizes
    half = half.long() if isinstance(half, Tensor) else half.astype(np.int64)
    low, high = xp.maximum(centre - half, 0 * half), xp.minimum(centre + half, sizes)
    return as_tensor(xp.concatenate([low, high], axis=1)[:, None])


@dataclass(frozen=True)
class BetaBox(RegionSampler):
    """The paper's region: λ ~ Beta(α, α), sides √(1−λ) of the image's, uniform centre, clipped at the border.

    Of a volume the sides are the cube root of 1−λ, so that the share of the voxels is 1−λ before clipping.
    Clipping makes it smaller than 1−λ: for α = 1 the mean area is about 0.32, not 0.5, and a corner is covered far less
    often than the centre. As in ``torchvision.transforms.v2.CutMix``: equal λ and centre give the equal box.

    Args:
        alpha: parameter of the Beta distribution, > 0.

    Source: Yun et al., CutMix (2019), and its official code.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(self.alpha, "alpha")

    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """λ and the centre, relative to the image."""
        return torch.cat([beta(batch, self.alpha, generator), uniform(batch, 3, generator)], dim=1)

    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b 1 2*d"]:
        """One rectangle per sample."""
        ndim = sizes.shape[1]
        numbers, size = as_column(draws, draws.device), as_column(sizes, draws.device)
        centre = module_of(numbers).asarray(numbers[:, 1 : 1 + ndim] * size, dtype=module_of(numbers).int64)
        return box_around(centre, (1 - numbers[:, :1]) ** (1 / ndim), size)


@dataclass(frozen=True)
class AreaBox(RegionSampler):
    """A rectangle of a drawn area and aspect that lies inside the image wholly.

    Args:
        area: share of the image's area (of a volume's voxels), uniform in (low, high); 0 < low <= high <= 1.
        aspect: height / width, relative to the image's, in (low, high); None: whatever fits the image. Of a cuboid a
            second one is drawn before it from the same range: depth / geometric mean of height and width.
        aspect_law: ``"log-uniform"``, or ``"uniform"`` with tall and wide boxes that seldom find room drawn seldom,
            as a rejection loop over uniform aspects and uniform corners would; of two axes only.

    An aspect that doesn't fit (a side longer than the image) is drawn from the part of the range that fits.

    Source: French et al. (2020), ``within_bounds``; UniMatch's ``obtain_cutmix_box``.
    """

    area: tuple[float, float] = (0.02, 0.4)
    aspect: tuple[float, float] | None = (0.3, 1 / 0.3)
    aspect_law: Literal["log-uniform", "uniform"] = "log-uniform"

    _TRIES: ClassVar[int] = 64

    def __post_init__(self) -> None:
        interval(self.area, "area", most=1)
        if self.aspect is not None:
            interval(self.aspect, "aspect")
        if self.aspect_law not in ("log-uniform", "uniform"):
            raise ValueError(f"aspect_law must be 'log-uniform' or 'uniform', got {self.aspect_law!r}")
        if self.aspect is None and self.aspect_law == "uniform":
            raise ValueError("aspect_law 'uniform' needs an aspect range, got aspect=None")

    @classmethod
    def french(cls, area: float = 0.5) -> AreaBox:
        """The box of French et al. (2020): area exactly 0.5, any aspect that fits, log-uniform."""
        return cls(area=(area, area), aspect=None)

    @classmethod
    def unimatch(cls) -> AreaBox:
        """UniMatch's box: area 0.02–0.4, aspect uniform in 0.3–1/0.3, so that boxes tend to be tall.

        UniMatch crops squares; here the aspect is relative to the image's. Its probability of 0.5 is the transform's.
        """
        return cls(area=(0.02, 0.4), aspect=(0.3, 1 / 0.3), aspect_law="uniform")

    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """Area, corner (up to three axes) and aspects."""
        if self.aspect_law == "uniform" and ndim != 2:
            raise ValueError(f"aspect_law 'uniform' is one of two axes, got {ndim}: use 'log-uniform'")
        aspects = 2 * self._TRIES if self.aspect_law == "uniform" else ndim - 1
        return uniform(batch, 4 + aspects, generator)

    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b 1 2*d"]:
        """One rectangle per sample."""
        ndim = sizes.shape[1]
        rest = self.area[0] + draws[:, 0] * (self.area[1] - self.area[0])
        sides = []
        for axis in range(ndim - 1):
            others = ndim - 1 - axis
            if self.aspect_law == "uniform":
                aspect = self._first_that_finds_room(draws[:, 4:], rest)
            else:
                low, high = self._fitting(rest, others)
                aspect = low * (high / low) ** draws[:, 4 + axis]
            # of a side s over the geometric mean of the others, whose product is rest / s
            sides.append((rest * aspect**others) ** (1 / (others + 1)))
            rest = rest / sides[-1]
        side = torch.stack([*sides, rest], dim=1)
        side = torch.minimum((side * sizes).round().long().clamp(min=1), sizes)
        low_corner = (draws[:, 1 : 1 + ndim] * (sizes - side + 1)).long()
        return torch.cat([low_corner, low_corner + side], dim=1)[:, None]

    def _fitting(self, share: Float[Tensor, " b"], others: int) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The part of the aspect range in which neither the side nor all others together are longer than the image.

        Args:
            share: what the sides that are left multiply to.
            others: how many of them follow the one that the aspect is of.
        """
        least, most = share, share ** (-1 / others)
        if self.aspect is None:
            return least, most
        low, high = self.aspect
        return torch.minimum(least.clamp(min=low), most), torch.maximum(most.clamp(max=high), least)

    def _first_that_finds_room(self, draws: Float[Tensor, "b 2*t"], area: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The first of many uniform aspects that a uniform corner would leave room for."""
        assert self.aspect is not None
        low, high = self.aspect
        aspect = low + draws[:, 0::2] * (high - low)
        height, width = (area[:, None] * aspect).sqrt(), (area[:, None] / aspect).sqrt()
        room = (1 - height).clamp(min=0) * (1 - width).clamp(min=0)
        accepted = draws[:, 1::2] < room
        first = torch.where(accepted.any(dim=1), accepted.long().argmax(dim=1), room.argmax(dim=1))
        return torch.gather(aspect, 1, first[:, None])[:, 0].clamp(min=area, max=1 / area)


@dataclass(frozen=True)
class MultiBox(RegionSampler):
    """Several rectangles per sample, as their union or as their exclusive or.

    Args:
        box: the sampler of each rectangle.
        n: how many, >= 1.
        mode: ``"union"``, or ``"xor"``: what an odd number of rectangles covers.

    Source: French et al. (2020) XOR the boxes of a mask.
    """

    box: RegionSampler = field(default_factory=AreaBox)
    n: int = 3
    mode: Literal["union", "xor"] = "union"

    def __post_init__(self) -> None:
        if not isinstance(self.box, RegionSampler):
            raise TypeError(f"box must be a region sampler, got {self.box!r}")
        if self.n < 1:
            raise ValueError(f"n must be at least 1, got {self.n!r}")
        if self.mode not in ("union", "xor"):
            raise ValueError(f"mode must be 'union' or 'xor', got {self.mode!r}")

    @classmethod
    def french(cls, n: int = 3, area: float = 0.5) -> MultiBox:
        """The n boxes of French et al. (2020): each takes area / n, XORed; three boxes cover 0.287 on average."""
        return cls(AreaBox(area=(area / n, area / n), aspect=(area, 1 / area)), n, "xor")

    @property
    def needs_objects(self) -> bool:  # type: ignore[override]
        """As its boxes."""
        return self.box.needs_objects

    @property
    def moves(self) -> bool:  # type: ignore[override]
        """As its boxes."""
        return self.box.moves

    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """The draws of every box."""
        return torch.cat([self.box.draw(batch, generator, ndim) for _ in range(self.n)], dim=1)

    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b p 2*d"]:
        """The rectangles of every box."""
        return torch.cat([self.box.place(part, sizes, base, partner) for part in draws.chunk(self.n, dim=1)], dim=1)

    def place_frames(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        frames: int,
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b t p 2*d"]:
        """The rectangles of every box, each with a way of its own if the boxes move."""
        parts = draws.chunk(self.n, dim=1)
        return torch.cat([self.box.place_frames(part, sizes, frames, base, partner) for part in parts], dim=2)


@dataclass(frozen=True)
class ObjectBox(RegionSampler):
    """A rectangle chosen to cut few objects while it carries whole ones of the partner.

    Of ``candidates`` rectangles (half of them drawn like ``AreaBox``, half round an object of the partner with a random
    margin) it takes the one that carries a whole object, if any does, and cuts the fewest objects of base and partner.
    Among equals the first drawn wins. An object is cut when the rectangle covers it in part. Without objects it is a
    plain ``AreaBox``.

    Args:
        area: share of the image's area that the drawn half takes, (low, high); no candidate is larger than high unless
            none is smaller.
        aspect: see ``AreaBox``.
        margin: largest margin round a partner's object, a fraction of the object's side; a small one gets as much room
            as the least area asks for.
        candidates: how many rectangles to choose from, >= 2.
    """

    area: tuple[float, float] = (0.02, 0.4)
    aspect: tuple[float, float] | None = (0.3, 1 / 0.3)
    margin: float = 0.25
    candidates: int = 32

    needs_objects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        AreaBox(self.area, self.aspect)
        if not (finite(self.margin) and self.margin >= 0):
            raise ValueError(f"margin must be at least 0, got {self.margin!r}")
        if self.candidates < 2:
            raise ValueError(f"candidates must be at least 2, got {self.candidates!r}")

    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """The draws of every candidate."""
        anchored = self.candidates // 2
        free = MultiBox(AreaBox(self.area, self.aspect), self.candidates - anchored).draw(batch, generator, ndim)
        return torch.cat([uniform(batch, anchored * (1 + 2 * ndim), generator), free], dim=1)

    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b 1 2*d"]:
        """One rectangle per sample."""
        if base is None or partner is None:
            raise ValueError("ObjectBox needs the objects of base and partner; got none")
        anchored, ndim = self.candidates // 2, sizes.shape[1]
        split = anchored * (1 + 2 * ndim)
        free = MultiBox(AreaBox(self.area, self.aspect), self.candidates - anchored).place(draws[:, split:], sizes)
        anchors = draws[:, :split].reshape(len(draws), anchored, 1 + 2 * ndim)
        round_objects = self._round_objects(anchors, sizes, partner, free[:, :1])
        candidates = torch.cat([round_objects, free], dim=1)

        _, base_cut = self._covered(candidates, base)
        whole, partner_cut = self._covered(candidates, partner)
        limit = self.area[1] * sizes.prod(dim=1, keepdim=True)
        too_large = (candidates[..., ndim:] - candidates[..., :ndim]).prod(dim=-1) > limit
        most = base.present.shape[1] + partner.present.shape[1] + 1
        cost = base_cut + partner_cut + most * (whole == 0) + 2 * most * too_large
        first = torch.arange(self.candidates, dtype=torch.float32, device=cost.device)
        best = (cost + first / self.candidates).argmin(dim=1)  # ties: the first drawn
        return candidates[torch.arange(len(draws), device=best.device), best][:, None]

    def _round_objects(
        self,
        draws: Float[Tensor, "b m 1+2*d"],
        sizes: Int[Tensor, "b d"],
        partner: ObjectBoxes,
        spare: Int[Tensor, "b 1 2*d"],
    ) -> Int[Tensor, "b m 2*d"]:
        """Rectangles round random objects of the partner; ``spare`` for a partner that has none."""
        if partner.present.shape[1] == 0:
            return spare.expand(-1, draws.shape[1], -1)
        count = partner.present.sum(dim=1, keepdim=True)
        order = partner.present.long().argsort(dim=1, descending=True, stable=True)
        pick = torch.gather(order, 1, (draws[..., 0] * count).long().clamp(max=partner.present.shape[1] - 1))
        ndim = sizes.shape[1]
        box = torch.gather(partner.boxes.to(draws.dtype), 1, pick[..., None].expand(-1, -1, 2 * ndim))
        side = box[..., ndim:] - box[..., :ndim]
        limit = sizes[:, None]
        low = box[..., :ndim] - draws[..., 1 : 1 + ndim] * self.margin * side
        high = box[..., ndim:] + draws[..., 1 + ndim :] * self.margin * side
        least = self.area[0] * limit.prod(dim=2) / (high - low).prod(dim=2).clamp(min=1)
        grown = (least.clamp(min=1) ** (1 / ndim) - 1)[..., None] * (high - low) / 2
        low, high = (low - grown).floor().clamp(min=0).long(), (high + grown).ceil().clamp(min=0).long()
        rectangle = torch.cat([torch.minimum(low, limit), torch.minimum(high, limit)], dim=-1)
        usable = ((rectangle[..., ndim:] - rectangle[..., :ndim]) > 0).all(dim=-1) & (count > 0)
        return torch.where(usable[..., None], rectangle, spare)

    @staticmethod
    def _covered(
        rectangles: Int[Tensor, "b m 2*d"], objects: ObjectBoxes
    ) -> tuple[Int[Tensor, "b m"], Int[Tensor, "b m"]]:
        """How many objects each rectangle covers wholly, and how many in part."""
        boxes = objects.boxes[:, None]
        rectangle = rectangles[:, :, None].to(boxes.dtype)
        (box_low, box_high), (low, high) = (part.chunk(2, dim=-1) for part in (boxes, rectangle))
        touched = (torch.minimum(high, box_high) > torch.maximum(low, box_low)).all(dim=-1) & objects.present[:, None]
        inside = (low <= box_low) & (box_high <= high)
        whole = touched & inside.all(dim=-1)
        return whole.sum(dim=2), (touched & ~whole).sum(dim=2)


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
    ) -> Int[Tensor, "b 1 2*d"]:
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
    ) -> Int[Tensor, "b t 1 2*d"]:
        """One rectangle per sample and frame."""
        ndim = sizes.shape[1]
        first, high = self.place(draws, sizes, base, partner)[:, 0].chunk(2, dim=1)
        side = high - first
        last = (draws[:, -3:][:, :ndim] * (sizes - side + 1)).long()
        way = torch.arange(frames, device=draws.device, dtype=draws.dtype) / max(frames - 1, 1)
        low = first[:, None] + ((last - first)[:, None] * way[:, None]).round().long()
        return torch.cat([low, low + side[:, None]], dim=2)[:, :, None]
