"""Rectangles of the papers: CutMix's own, of a drawn area, and several at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import as_column, module_of
from cutmix_dense.checks import interval, positive
from cutmix_dense.regions.base import ObjectBoxes, RegionSampler, beta, box_around, uniform

__all__ = ["AreaBox", "BetaBox", "MultiBox"]


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
    ) -> Int[Tensor, "b 1 ends"]:
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
    ) -> Int[Tensor, "b 1 ends"]:
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

    def _first_that_finds_room(self, draws: Float[Tensor, "b k"], area: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
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
    ) -> Int[Tensor, "b p ends"]:
        """The rectangles of every box."""
        return torch.cat([self.box.place(part, sizes, base, partner) for part in draws.chunk(self.n, dim=1)], dim=1)

    def place_frames(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        frames: int,
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b t p ends"]:
        """The rectangles of every box, each with a way of its own if the boxes move."""
        parts = draws.chunk(self.n, dim=1)
        return torch.cat([self.box.place_frames(part, sizes, frames, base, partner) for part in parts], dim=2)
