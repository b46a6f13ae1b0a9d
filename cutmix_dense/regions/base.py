"""Base class of the region samplers, and the draws that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST, Column

_SHORT = 4
"""Axes of fewer pixels keep a pixel of every cut: of the sides of 1 and 2, rounding would leave none at all."""


class ObjectBoxes(NamedTuple):
    """Object boxes of a batch, padded to the largest count, for samplers that look at objects.

    Attributes:
        boxes: lows then highs in array order (y0, x0, y1, x1), pixels.
        present: False where a row is padding.
    """

    boxes: Float[Tensor, "b n ends"]
    present: Bool[Tensor, "b n"]


class RegionSampler(ABC):
    """Base of the region samplers: a subclass draws numbers and places rectangles.

    Example:
        >>> class Corner(RegionSampler):
        ...     def draw(self, batch, generator=None, ndim=2):
        ...         return uniform(batch, 0, generator)
        ...     def place(self, draws, sizes, base=None, partner=None):
        ...         return torch.cat([0 * sizes, sizes // 2], dim=1)[:, None]
        >>> Corner().place(Corner().draw(1), torch.tensor([[4, 6]])).tolist()
        [[[0, 0, 2, 3]]]
    """

    mode: Literal["union", "xor"] = "union"
    """How several rectangles of a sample combine."""
    needs_objects: ClassVar[bool] = False
    """Whether ``place`` looks at the objects of base and partner."""
    moves: ClassVar[bool] = False
    """Whether the rectangles of a clip differ from frame to frame; see ``place_frames``."""

    @abstractmethod
    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """All random numbers for ``batch`` regions of ``ndim`` axes: float64, on the host."""

    @abstractmethod
    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b p ends"]:
        """Rectangles from draws.

        Args:
            draws: the result of ``draw``.
            sizes: the area that base and partner share, pixels; rectangles lie within it.
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
    ) -> Int[Tensor, "b t p ends"]:
        """Rectangles of every frame of clips from draws; by default, those of ``place`` in all frames.

        Args:
            draws: the result of ``draw``.
            sizes: the area that base and partner share in every frame, pixels.
            frames: number of frames T of each clip, >= 1.
            base: objects of all frames of the base clips.
            partner: objects of all frames of the partners.
        """
        return self.place(draws, sizes, base, partner)[:, None].expand(-1, frames, -1, -1)


def uniform(batch: int, count: int, generator: torch.Generator | None) -> Float[Tensor, "b k"]:
    """``count`` float64 numbers per sample from U[0, 1), on the host.

    Example:
        >>> uniform(2, 3, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
    """
    return torch.rand((batch, count), generator=generator, dtype=torch.float64, device=HOST)


def beta(
    batch: int, alpha: float, generator: torch.Generator | None, other: float | None = None
) -> Float[Tensor, "b 1"]:
    """One float64 number per sample from Beta(α, α), or Beta(α, ``other``), on the host.

    Example:
        >>> beta(2, 1.0, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1])
    """
    # torch.distributions.Beta takes no generator; this is the function that it calls
    concentration = torch.full((batch, 2), alpha, dtype=torch.float64, device=HOST)
    if other is not None:
        concentration[:, 1] = other
    return torch._sample_dirichlet(concentration, generator=generator)[:, :1]


def reach(
    xp: Any, side: Float[Column, "b 1"], sizes: Int[Column, "b d"]
) -> tuple[Int[Column, "b d"], Int[Column, "b d"]]:
    """How many pixels of a rectangle of sides ``side · sizes`` lie before its centre, and how many from there on.

    Half the side each, rounded down as in CutMix's official code. Deviation: along an axis shorter than 4 pixels, a
    side that only rounding made empty is one pixel. Arrays if ``xp`` is numpy, tensors if it is torch.

    Example:
        >>> reach(torch, torch.tensor([[0.5]]), torch.tensor([[2, 3, 4, 12]]))
        (tensor([[0, 0, 1, 3]]), tensor([[1, 1, 1, 3]]))
    """
    exact = 0.5 * side * sizes
    half = exact.long() if xp is torch else exact.astype(np.int64)
    return half, half + ((sizes < _SHORT) & (exact > 0) & (exact < 1))


def box_around(
    centre: Int[Column, "b d"], side: Float[Column, "b 1"], sizes: Int[Column, "b d"]
) -> Int[Tensor, "b 1 ends"]:
    """A rectangle of sides ``side · sizes`` round each centre, as far as ``reach`` says, clipped at the border.

    Example:
        >>> box_around(torch.tensor([[2, 1]]), torch.tensor([[0.5]]), torch.tensor([[8, 12]])).tolist()
        [[[0, 0, 4, 4]]]
    """
    xp: Any = np if isinstance(centre, np.ndarray) else torch
    before, behind = reach(xp, side, sizes)
    low, high = xp.maximum(centre - before, 0 * before), xp.minimum(centre + behind, sizes)
    ends = xp.concatenate([low, high], axis=1)[:, None]
    return torch.from_numpy(ends) if xp is np else ends
