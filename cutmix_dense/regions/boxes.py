"""Published rectangles: CutMix's own, rectangles of a drawn area, and several at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import sent
from cutmix_dense.checks import interval, positive
from cutmix_dense.regions.base import ObjectBoxes, RegionSampler, beta, box_around, uniform


@dataclass(frozen=True)
class BetaBox(RegionSampler):
    """CutMix's region: λ ~ Beta(α, α), sides √(1−λ) of the image's, uniform centre, clipped at the border.

    For volumes, the sides are the cube root of 1−λ, so the share of voxels is 1−λ before clipping. Clipping reduces it:
    for α = 1 the mean area is about 0.32, not 0.5, and corners are covered far less often than the centre. Equal λ and
    centre give the same box as ``torchvision.transforms.v2.CutMix``. Deviation: along an axis of 1 to 3 pixels, such as
    the slices of a thin slab, the paper's rounding leaves many boxes, or all, without a pixel; ours have at least one.

    Args:
        alpha: parameter of the Beta distribution, > 0.
        beta: its second parameter, > 0, default α: Beta(8, 2) cuts small boxes, as AugSeg does for labelled images.

    Source: Yun et al., CutMix (2019), and its official code.

    Example:
        >>> box, sizes = BetaBox(), torch.tensor([[32, 48]] * 4)
        >>> box.place(box.draw(4, torch.Generator().manual_seed(0)), sizes).shape
        torch.Size([4, 1, 4])
    """

    alpha: float = 1.0
    beta: float | None = None

    def __post_init__(self) -> None:
        positive(self.alpha, "alpha")
        if self.beta is not None:
            positive(self.beta, "beta")

    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """λ and the centre, relative to the image."""
        return torch.cat([beta(batch, self.alpha, generator, self.beta), uniform(batch, 3, generator)], dim=1)

    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b 1 ends"]:
        """One rectangle per sample."""
        ndim = sizes.shape[1]
        here = draws.is_cpu  # numpy is cheaper for a few numbers
        numbers, size = (draws.numpy(), sizes.numpy()) if here else (draws, sent(sizes, draws.device))
        xp: Any = np if here else torch
        centre = xp.asarray(numbers[:, 1 : 1 + ndim] * size, dtype=xp.int64)
        return box_around(centre, (1 - numbers[:, :1]) ** (1 / ndim), size)


@dataclass(frozen=True)
class AreaBox(RegionSampler):
    """A rectangle of drawn area and aspect that lies wholly inside the image.

    An aspect that doesn't fit (a side longer than the image) is drawn from the part of the range that does.

    Args:
        area: share of the image's area (or of a volume's voxels), uniform in (low, high); 0 < low <= high <= 1.
        aspect: height / width, relative to the image's, in (low, high); None: anything that fits. For cuboids, depth /
            geometric mean of height and width is drawn first, from the same range.
        aspect_law: ``"log-uniform"``, or ``"uniform"``, two axes only: boxes that seldom find room are drawn seldom, as
            by a rejection loop over uniform aspects and corners.

    Source: French et al. (2020), ``within_bounds``; UniMatch's ``obtain_cutmix_box``.

    Example:
        >>> box, sizes = AreaBox(area=(0.25, 0.25), aspect=(1, 1)), torch.tensor([[32, 48]])
        >>> low, high = box.place(box.draw(1, torch.Generator().manual_seed(0)), sizes)[0, 0].chunk(2)
        >>> (high - low).tolist()  # a quarter of the image, in its shape
        [16, 24]
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
        """The box of French et al. (2020): this area up to whole pixels, any aspect that fits, log-uniform."""
        return cls(area=(area, area), aspect=None)

    @classmethod
    def unimatch(cls) -> AreaBox:
        """UniMatch's box: area 0.02–0.4, aspect uniform in 0.3–1/0.3, so boxes tend to be tall.

        UniMatch crops squares; here the aspect is relative to the image's. Its probability of 0.5 belongs to the
        transform (``p``).
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
            # the aspect is side s over the geometric mean of the others, whose product is rest / s
            sides.append((rest * aspect**others) ** (1 / (others + 1)))
            rest = rest / sides[-1]
        side = torch.stack([*sides, rest], dim=1)
        side = torch.minimum((side * sizes).round().long().clamp(min=1), sizes)
        low_corner = (draws[:, 1 : 1 + ndim] * (sizes - side + 1)).long()
        return torch.cat([low_corner, low_corner + side], dim=1)[:, None]

    def _fitting(self, share: Float[Tensor, " b"], others: int) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The part of the aspect range in which all sides fit the image.

        Args:
            share: product of the sides still to be found.
            others: how many of them follow the one whose aspect this is.
        """
        least, most = share, share ** (-1 / others)
        if self.aspect is None:
            return least, most
        low, high = self.aspect
        return torch.minimum(least.clamp(min=low), most), torch.maximum(most.clamp(max=high), least)

    def _first_that_finds_room(self, draws: Float[Tensor, "b k"], area: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The first of many uniform aspects for which a uniform corner leaves room."""
        assert self.aspect is not None
        low, high = self.aspect
        aspect = low + draws[:, 0::2] * (high - low)
        height, width = (area[:, None] * aspect).sqrt(), (area[:, None] / aspect).sqrt()
        room = (1 - height).clamp(min=0) * (1 - width).clamp(min=0)
        accepted = draws[:, 1::2] < room
        first = torch.where(accepted.any(dim=1), accepted.long().argmax(dim=1), room.argmax(dim=1))
        return torch.gather(aspect, 1, first[:, None])[:, 0].clamp(min=area, max=1 / area)
