"""Several rectangles at once, and the small ones that MixPL erases by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.checks import finite
from cutmix_dense.regions.base import ObjectBoxes, RegionSampler, uniform
from cutmix_dense.regions.boxes import AreaBox


@dataclass(frozen=True)
class SideBox(RegionSampler):
    """A rectangle with the image's aspect ratio, scaled by a drawn share, inside the image.

    For volumes, a cuboid alike. Sides are rounded down, so that a small share may give none.

    Args:
        side: share of each side, uniform in (low, high); 0 <= low <= high <= 1.

    Source: MixPL, ``projects/MixPL/mixpl/mixpl.py``, lines 194 to 200 (``erase_ratio``).

    Example:
        >>> box, sizes = SideBox((0.5, 0.5)), torch.tensor([[32, 48]])
        >>> low, high = box.place(box.draw(1), sizes)[0, 0].chunk(2)
        >>> (high - low).tolist()
        [16, 24]
    """

    side: tuple[float, float] = (0.0, 0.1)

    def __post_init__(self) -> None:
        is_pair = isinstance(self.side, (tuple, list)) and len(self.side) == 2 and all(map(finite, self.side))
        if not (is_pair and 0 <= self.side[0] <= self.side[1] <= 1):
            raise ValueError(f"side must be (low, high) with 0 <= low <= high <= 1, got {self.side!r}")

    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """The share, and the corner (up to three axes)."""
        return uniform(batch, 4, generator)

    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b 1 ends"]:
        """One rectangle per sample."""
        low, high = self.side
        side = ((low + draws[:, :1] * (high - low)) * sizes).long()
        corner = (draws[:, 1 : 1 + sizes.shape[1]] * (sizes - side + 1)).long()
        return torch.cat([corner, corner + side], dim=1)[:, None]


@dataclass(frozen=True)
class MultiBox(RegionSampler):
    """Several rectangles per sample, combined by union or exclusive or.

    Args:
        box: the sampler of each rectangle.
        n: number of rectangles, >= 1; or (low, high), drawn per sample, each number equally often.
        mode: ``"union"``, or ``"xor"``: the pixels that an odd number of rectangles covers.

    Source: French et al. (2020) XOR the boxes of a mask.

    Example:
        >>> boxes, sizes = MultiBox(n=3), torch.tensor([[32, 48]] * 4)
        >>> boxes.place(boxes.draw(4, torch.Generator().manual_seed(0)), sizes).shape
        torch.Size([4, 3, 4])
    """

    box: RegionSampler = field(default_factory=AreaBox)
    n: int | tuple[int, int] = 3
    mode: Literal["union", "xor"] = "union"

    def __post_init__(self) -> None:
        if not isinstance(self.box, RegionSampler):
            raise TypeError(f"box must be a region sampler, got {self.box!r}")
        ends = list(self.n) if isinstance(self.n, (tuple, list)) else [self.n] * 2
        if len(ends) != 2 or not all(isinstance(end, int) for end in ends) or not 1 <= ends[0] <= ends[1]:
            raise ValueError(f"n must be at least 1, or (low, high) with 1 <= low <= high, got {self.n!r}")
        if self.mode not in ("union", "xor"):
            raise ValueError(f"mode must be 'union' or 'xor', got {self.mode!r}")

    @classmethod
    def french(cls, n: int = 3, area: float = 0.5) -> MultiBox:
        """The n boxes of French et al. (2020), XORed, each of area / n; three boxes cover 0.287 on average."""
        return cls(AreaBox(area=(area / n, area / n), aspect=(area, 1 / area)), n, "xor")

    @classmethod
    def mixpl(cls) -> MultiBox:
        """The patches that MixPL (2023) erases: 1 to 19, their sides up to a tenth of the image's.

        Its configs say ``erase_patches=(1, 20)``, whose end its code (``np.random.randint``) leaves out.

        Source: ``mixpl_faster-rcnn_r50-caffe_fpn_180k_coco-s1-p10.py``, lines 45 and 46; ``mixpl.py``, line 191.
        """
        return cls(SideBox((0.0, 0.1)), (1, 19))

    @property
    def _range(self) -> tuple[int, int]:
        """Least and greatest number of rectangles."""
        return (self.n, self.n) if isinstance(self.n, int) else (self.n[0], self.n[1])

    @property
    def needs_objects(self) -> bool:  # type: ignore[override]
        """Whether its boxes need the objects of base and partner."""
        return self.box.needs_objects

    @property
    def moves(self) -> bool:  # type: ignore[override]
        """Whether its boxes move."""
        return self.box.moves

    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """The draws of every box, then of their number if it is drawn."""
        low, high = self._range
        boxes = [self.box.draw(batch, generator, ndim) for _ in range(high)]
        return torch.cat([*boxes, uniform(batch, int(low < high), generator)], dim=1)

    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b p ends"]:
        """The rectangles of every box; those beyond a drawn number are empty."""
        parts = self._parts(draws)
        return self._counted(torch.cat([self.box.place(part, sizes, base, partner) for part in parts], dim=1), draws)

    def place_frames(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        frames: int,
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b t p ends"]:
        """The rectangles of every box; boxes that move each take their own path."""
        parts = self._parts(draws)
        placed = [self.box.place_frames(part, sizes, frames, base, partner) for part in parts]
        return self._counted(torch.cat(placed, dim=2), draws)

    def _parts(self, draws: Float[Tensor, "b k"]) -> tuple[Float[Tensor, "b _k"], ...]:
        """The draws of each box."""
        low, high = self._range
        return draws[:, : draws.shape[1] - (low < high)].chunk(high, dim=1)

    def _counted(self, rectangles: Int[Tensor, "b *t p ends"], draws: Float[Tensor, "b k"]) -> Tensor:
        """The rectangles, emptied beyond the drawn number of boxes."""
        low, high = self._range
        if low == high:
            return rectangles
        count = low + (draws[:, -1] * (high - low + 1)).long()
        box = torch.arange(rectangles.shape[-2], device=draws.device) * high // rectangles.shape[-2]
        shown = box < count[:, None]
        shape = (len(shown), *[1] * (rectangles.ndim - 3), len(box), 1)
        return torch.where(shown.reshape(shape), rectangles, 0)
