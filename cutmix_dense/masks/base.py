"""What a sampler of free-form masks is: one that cuts noise, or one that looks at the partner's map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from cutmix_dense.arrays.host import HOST


class NoiseDraws(NamedTuple):
    """Random numbers of noise masks.

    Attributes:
        noise: one spectrum per sample: frequencies along each axis, then real and imaginary part.
        numbers: further numbers per sample.
    """

    noise: Float[Tensor, "b *frequencies 2"]
    numbers: Float[Tensor, "b k"]

    def of(self, samples: Int[Tensor, " n"]) -> NoiseDraws:
        """The draws of the given samples."""
        if len(samples) == len(self.noise) and torch.equal(samples, torch.arange(len(samples), device=HOST)):
            return self
        return NoiseDraws(*[torch.from_numpy(part.numpy()[samples.numpy()]) for part in self])


class MapMask(ABC):
    """Base of the masks that look at the partner's map of classes.

    Example:
        >>> from cutmix_dense.regions import uniform
        >>> class FirstClass(MapMask):
        ...     def draw(self, batch, generator=None):
        ...         return uniform(batch, 0, generator)
        ...     def place(self, draws, maps):
        ...         return maps == 1
        >>> FirstClass().place(FirstClass().draw(1), torch.tensor([[[0, 1, 2]]])).tolist()
        [[[False, True, False]]]
    """

    @abstractmethod
    def draw(self, batch: int, generator: torch.Generator | None = None) -> Float[Tensor, "b k"]:
        """All random numbers for ``batch`` masks, on the host."""

    @abstractmethod
    def place(self, draws: Float[Tensor, "b k"], maps: Integer[Tensor, "b *size"]) -> Bool[Tensor, "b *size"]:
        """Masks from draws.

        Args:
            draws: the result of ``draw``.
            maps: class ids of the partners; -1 beyond their valid part.
        """

    def place_each(
        self, draws: Float[Tensor, "b k"], maps: Sequence[Integer[Tensor, "..."]], frame: tuple[int, ...]
    ) -> Bool[Tensor, "b *frame"]:
        """``place`` for maps of any sizes that fit the frame, which are padded with -1."""
        if all(ids.dtype == maps[0].dtype and tuple(ids.shape) == frame for ids in maps):
            whole = torch.stack([*maps])
            return self.place(draws, whole if whole.dtype == torch.uint8 else whole.long())
        padded = torch.full((len(maps), *frame), -1, dtype=torch.long, device=maps[0].device)
        for ids, row in zip(maps, padded):
            row[tuple(slice(0, length) for length in ids.shape)] = ids
        return self.place(draws, padded)


class MaskSampler(ABC):
    """Base of the noise masks.

    Example:
        >>> from cutmix_dense.regions import uniform
        >>> class Speckle(MaskSampler):
        ...     def draw(self, batch, frame, generator=None):
        ...         return NoiseDraws(torch.rand(batch, *frame, 2, generator=generator), uniform(batch, 0, generator))
        ...     def place(self, draws, sizes, frame):
        ...         return draws.noise[..., 0] < 0.5
        >>> Speckle().place(Speckle().draw(2, (4, 6)), torch.tensor([[4, 6]] * 2), (4, 6)).shape
        torch.Size([2, 4, 6])
    """

    @abstractmethod
    def draw(self, batch: int, frame: tuple[int, ...], generator: torch.Generator | None = None) -> NoiseDraws:
        """All random numbers for ``batch`` masks of size ``frame``, on the host."""

    @abstractmethod
    def place(self, draws: NoiseDraws, sizes: Int[Tensor, "b d"], frame: tuple[int, ...]) -> Bool[Tensor, "b *frame"]:
        """Masks from draws; each reaches its share of pixels within ``sizes``.

        Args:
            draws: the result of ``draw`` for the same frame.
            sizes: the area that base and partner share, pixels; on the host.
            frame: size of a mask, pixels.
        """
