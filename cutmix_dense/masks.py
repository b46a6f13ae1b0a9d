"""Samplers that draw free-form masks: cow patterns, Fourier blobs, classes and lesions of a map.

As for regions, ``draw`` takes every random number (their count depends on shapes alone) and ``place`` is pure. A mask
is True where the partner shows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST, in_numpy, sent
from cutmix_dense.checks import finite, interval, positive
from cutmix_dense.distance import carved
from cutmix_dense.noise import Band, bands_of_blur, blurred, falling_amplitude
from cutmix_dense.regions import beta, uniform

__all__ = ["CarveMask", "ClassMask", "CowMask", "FourierMask", "MapMask", "MaskSampler", "NoiseDraws"]

_MOST_SIGMA = 1024


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
        return NoiseDraws(self.noise.index_select(0, samples), self.numbers.index_select(0, samples))


class MapMask(ABC):
    """Base of the masks that look at the partner's map of classes.

    Example:
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
    def place(self, draws: Float[Tensor, "b k"], maps: Int[Tensor, "b *size"]) -> Bool[Tensor, "b *size"]:
        """Masks from draws.

        Args:
            draws: the result of ``draw``.
            maps: class ids of the partners; -1 beyond their valid part.
        """


class MaskSampler(ABC):
    """Base of the noise masks.

    Example:
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


@dataclass(frozen=True)
class CowMask(MaskSampler):
    """Blurred normal noise cut at a threshold: patches like a cow's.

    The threshold is mean + √2 · erfinv(2p − 1) · standard deviation of the noise, as in the official code. That code
    blurs pixels; here the noise is drawn in the Fourier domain, which has the same law, with only the frequencies that
    the weakest blur passes. Its period is 4.5 sigma longer than the frame: opposite borders correlate by less than 1%.

    Args:
        proportion: expected share p of the partner, in (0, 1), or (low, high) to draw it uniformly.
        sigma: strength of the blur, pixels, log-uniform in (low, high), at most 1024.

    Source: French, Oliver, Salimans, Milking CowMask for Semi-Supervised Image Classification (2020); σ of 8–32 as used
    for segmentation by ClassMix's authors.

    Example:
        >>> mask, sizes = CowMask(proportion=0.3, sigma=(4.0, 4.0)), torch.tensor([[64, 96]])
        >>> cow = mask.place(mask.draw(1, (64, 96), torch.Generator().manual_seed(0)), sizes, (64, 96))
        >>> 0.2 < float(cow.double().mean()) < 0.4
        True
    """

    proportion: float | tuple[float, float] = 0.5
    sigma: tuple[float, float] = (8.0, 32.0)

    def __post_init__(self) -> None:
        low, high = self._proportions()
        if not 0 < low <= high < 1:
            raise ValueError(f"proportion must lie in (0, 1), got {self.proportion!r}")
        interval(self.sigma, "sigma", _MOST_SIGMA)

    def _proportions(self) -> tuple[float, float]:
        given = self.proportion
        return given if isinstance(given, tuple) else (given, given)

    def draw(self, batch: int, frame: tuple[int, ...], generator: torch.Generator | None = None) -> NoiseDraws:
        """Spectra of normal noise, strength of the blur, proportion."""
        counts = [len(band.frequencies) for band in self._bands(frame)]
        noise = torch.randn((batch, *counts, 2), generator=generator, dtype=torch.float32, device=HOST)
        return NoiseDraws(noise, uniform(batch, 2, generator))

    def _bands(self, frame: tuple[int, ...]) -> list[Band]:
        return bands_of_blur(frame, margin=math.ceil(4.5 * self.sigma[1]), weakest=self.sigma[0])

    def place(self, draws: NoiseDraws, sizes: Int[Tensor, "b d"], frame: tuple[int, ...]) -> Bool[Tensor, "b *frame"]:
        """Blur the noise and cut it at the threshold."""
        low, high = self._proportions()
        sigma = self.sigma[0] * (self.sigma[1] / self.sigma[0]) ** draws.numbers[:, 0]
        proportion = low + draws.numbers[:, 1] * (high - low)
        spreads = math.sqrt(2) * torch.erfinv(2 * proportion.float() - 1)
        bands = self._bands(frame)
        masks = np.zeros((len(sizes), *frame), dtype=bool)
        for mask, noise, blur, spread, size in zip(
            masks, draws.noise, sigma.tolist(), spreads.tolist(), sizes.tolist()
        ):
            valid = tuple(slice(0, length) for length in size)
            values = blurred(noise, blur, bands, frame).numpy()[valid]
            np.less_equal(values, values.mean() + spread * values.std(), out=mask[valid])
        return torch.from_numpy(masks)


@dataclass(frozen=True)
class FourierMask(MaskSampler):
    """Low-frequency Fourier noise, thresholded to an exact area: a few smooth blobs.

    Args:
        alpha: λ ~ Beta(α, α), the share of the base, whose pixels have the highest values; > 0.
        decay: the spectrum falls as 1 / frequency^decay.

    Source: Harris et al., FMix (2020): α = 1, decay 3, ``max_soft`` 0 (soft edges would need soft labels).

    Example:
        >>> mask, sizes = FourierMask(), torch.tensor([[32, 48]] * 2)
        >>> mask.place(mask.draw(2, (32, 48), torch.Generator().manual_seed(0)), sizes, (32, 48)).shape
        torch.Size([2, 32, 48])
    """

    alpha: float = 1.0
    decay: float = 3.0

    def __post_init__(self) -> None:
        positive(self.alpha, "alpha")
        if not finite(self.decay):
            raise ValueError(f"decay must be finite, got {self.decay!r}")

    def draw(self, batch: int, frame: tuple[int, ...], generator: torch.Generator | None = None) -> NoiseDraws:
        """Spectrum (real and imaginary part), λ and its rounding."""
        half = (*frame[:-1], frame[-1] // 2 + 1)
        noise = torch.randn((batch, *half, 2), generator=generator, dtype=torch.float32, device=HOST)
        return NoiseDraws(noise, torch.cat([beta(batch, self.alpha, generator), uniform(batch, 1, generator)], dim=1))

    def place(self, draws: NoiseDraws, sizes: Int[Tensor, "b d"], frame: tuple[int, ...]) -> Bool[Tensor, "b *frame"]:
        """Transform back; the lowest pixels show the partner."""
        amplitude = falling_amplitude(frame, self.decay)
        count = sizes.prod(dim=1)
        base = draws.numbers[:, 0] * count
        number = count - torch.where(draws.numbers[:, 1] > 0.5, base.ceil(), base.floor()).long()
        masks = np.zeros((len(sizes), *frame), dtype=bool)
        for mask, noise, partners, size in zip(masks, draws.noise, number.tolist(), sizes.tolist()):
            valid = tuple(slice(0, length) for length in size)
            field = torch.fft.irfftn(torch.view_as_complex(noise) * amplitude, s=frame)
            mask[valid] = _lowest(field.numpy()[valid], partners)
        return torch.from_numpy(masks)


@dataclass(frozen=True)
class ClassMask(MapMask):
    """Half of the classes of the partner's map, drawn for each image.

    Args:
        rounding: of half an odd number of classes: ``"floor"`` (ClassMix) or ``"ceil"`` (DACS).
        ignore_index: id of pixels without a class; neither counted nor pasted.
        max_classes: ids must be below this; they needn't be contiguous.

    Source: Olsson et al., ClassMix (2021); Tranheden et al., DACS (2021).

    Example:
        >>> mask, maps = ClassMask(), torch.tensor([[[0, 0, 3], [7, 7, 255]]])
        >>> pasted = mask.place(mask.draw(1, torch.Generator().manual_seed(0)), maps)
        >>> len(maps[pasted].unique())  # one of three classes
        1
    """

    rounding: Literal["floor", "ceil"] = "floor"
    ignore_index: int = 255
    max_classes: int = 256

    def __post_init__(self) -> None:
        if self.rounding not in ("floor", "ceil"):
            raise ValueError(f"rounding must be 'floor' or 'ceil', got {self.rounding!r}")
        if self.max_classes < 1:
            raise ValueError(f"max_classes must be at least 1, got {self.max_classes!r}")

    def draw(self, batch: int, generator: torch.Generator | None = None) -> Float[Tensor, "b k"]:
        """A score for every class of every image; the lowest are pasted."""
        return uniform(batch, self.max_classes, generator)

    def place(self, draws: Float[Tensor, "b k"], maps: Int[Tensor, "b *size"]) -> Bool[Tensor, "b *size"]:
        """Where the chosen classes of each map lie.

        Args:
            draws: the result of ``draw``.
            maps: labels or pseudo-labels of the partners.

        Raises:
            ValueError: an id isn't below ``max_classes`` (checked on the host).
        """
        ids = maps if maps.dtype == torch.uint8 else maps.long()
        if ids.device.type == "cpu" and ids.numel() and int(ids.max()) >= self.max_classes:
            large = ids[(ids >= self.max_classes) & ~_are(ids, self.ignore_index)]
            if large.numel():
                raise ValueError(f"maps must hold ids below max_classes = {self.max_classes}, got {int(large.max())}")
        if in_numpy(ids) and len(ids):
            return self._place_on_host(draws, ids)
        columns = self._columns(ids.long()).flatten(1)
        occurs = torch.zeros((len(ids), self._spare + 1), dtype=torch.bool, device=ids.device)
        occurs = occurs.scatter(1, columns, torch.ones_like(columns, dtype=torch.bool))
        return self._chosen(occurs, sent(draws, ids.device)).gather(1, columns).reshape(ids.shape)

    def _place_on_host(self, draws: Float[Tensor, "b k"], ids: Int[Tensor, "b *size"]) -> Bool[Tensor, "b *size"]:
        """``place`` in numpy, map by map; bytes index the table directly, since every byte has a column."""
        columns = [one if one.dtype == torch.uint8 else self._columns(one) for one in ids]
        counts = torch.stack([torch.bincount(column.flatten(), minlength=self._spare + 1) for column in columns])
        masks = np.empty(ids.shape, dtype=bool)
        for mask, column, row in zip(masks, columns, self._chosen(counts > 0, draws).numpy()):
            row.take(column.numpy(), out=mask, mode="clip")  # numpy's other modes copy first
        return torch.from_numpy(masks)

    @property
    def _spare(self) -> int:
        """The column of a table of ids for pixels without a class; behind the columns of all bytes."""
        return max(self.max_classes, 256)

    def _columns(self, ids: Int[Tensor, "*size"]) -> Int[Tensor, "*size"]:
        """The column of each id; ids are int64."""
        return torch.where((ids >= 0) & (ids != self.ignore_index), ids, self._spare).clamp_(max=self._spare)

    def _chosen(self, occurs: Bool[Tensor, "b columns"], draws: Float[Tensor, "b k"]) -> Bool[Tensor, "b columns"]:
        """The half of the classes that occur with the lowest scores."""
        present = occurs[:, : self.max_classes].clone()
        if 0 <= self.ignore_index < self.max_classes:
            present[:, self.ignore_index] = False
        count = present.sum(dim=1, keepdim=True)
        wanted = count // 2 if self.rounding == "floor" else (count + 1) // 2
        rank = torch.where(present, draws, torch.inf).argsort(dim=1).argsort(dim=1)
        chosen = torch.zeros_like(occurs)
        chosen[:, : self.max_classes] = present & (rank < wanted)
        return chosen


@dataclass(frozen=True)
class CarveMask(MapMask):
    """The lesion of the partner's map, shrunk by up to half of its depth or grown by up to all of it.

    With d the signed distance to the lesion's border (negative inside) and D its largest magnitude inside, the mask is
    d < λ, λ ~ ½ U(−D/2, 0) + ½ U(0, D), drawn for each image.

    Args:
        classes: ids of the lesion; None: all but 0 and ``ignore_index``.
        ignore_index: id of pixels without a class.
        spacing: size of a pixel along each axis, in array order; default 1.

    Source: Zhang et al., CarveMix: A Simple Data Augmentation Method for Brain Lesion Segmentation (2021). Their later
    code draws λ ~ U(−D/2, D) and counts distances from the border pixels themselves.

    Example:
        >>> maps = torch.zeros(1, 9, 9, dtype=torch.long)
        >>> maps[:, 3:6, 3:6] = 1
        >>> CarveMask().place(torch.tensor([[1.0, 0.9]]), maps).sum()  # grown
        tensor(25)
    """

    classes: tuple[int, ...] | None = None
    ignore_index: int = 255
    spacing: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and not self.classes:
            raise ValueError("classes must name at least one id, got none")
        if self.spacing is not None and (not self.spacing or not all(finite(s) and s > 0 for s in self.spacing)):
            raise ValueError(f"spacing must be above 0 along each axis, got {self.spacing!r}")

    def draw(self, batch: int, generator: torch.Generator | None = None) -> Float[Tensor, "b 2"]:
        """Whether the lesion shrinks or grows, and by how much."""
        return uniform(batch, 2, generator)

    def place(self, draws: Float[Tensor, "b 2"], maps: Int[Tensor, "b *size"]) -> Bool[Tensor, "b *size"]:
        """The carved lesion of each map.

        Args:
            draws: the result of ``draw``.
            maps: labels of the partners; pixels of negative ids are never in a mask.

        Raises:
            ValueError: the spacing has another number of axes than the maps.
            ImportError: scipy isn't installed.
        """
        device, maps = maps.device, maps.cpu()
        if self.spacing is not None and len(self.spacing) != maps.ndim - 1:
            raise ValueError(f"spacing must have one size per axis ({maps.ndim - 1}), got {self.spacing!r}")
        if self.classes is None:
            lesion = (maps > 0) & ~_are(maps, self.ignore_index)
        else:
            lesion = torch.zeros(maps.shape, dtype=torch.bool, device=HOST)
            for index in self.classes:
                lesion |= _are(maps, index)
        amounts = torch.where(draws[:, 0] < 0.5, -draws[:, 1] / 2, draws[:, 1])
        masks = [carved(mask, amount, self.spacing) for mask, amount in zip(lesion.numpy(), amounts.tolist())]
        carved_out = torch.stack([torch.from_numpy(mask) for mask in masks])
        return sent(carved_out if maps.dtype == torch.uint8 else carved_out & (maps >= 0), device)


def _are(ids: Int[Tensor, "*n"], number: int) -> Bool[Tensor, "*n"]:
    """Where ids equal a number; among bytes, torch would take 256 for 0."""
    bounds = torch.iinfo(torch.uint8 if ids.dtype == torch.bool else ids.dtype)
    if not bounds.min <= number <= bounds.max:
        return torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
    return ids == number


def _lowest(values: Float[np.ndarray, "*size"], number: int) -> Bool[np.ndarray, "*size"]:
    """Mark the ``number`` lowest values; among equal ones, the first."""
    if number == 0:
        return np.zeros(values.shape, dtype=bool)
    limit = np.partition(values, number - 1, axis=None)[number - 1]
    lowest = values <= limit
    surplus = int(np.count_nonzero(lowest)) - number
    if surplus:
        lowest[tuple(np.argwhere(values == limit)[-surplus:].T)] = False
    return lowest
