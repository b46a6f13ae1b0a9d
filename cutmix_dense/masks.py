"""Samplers that draw free-form masks: cow patterns, Fourier blobs, classes and lesions of a map.

As for regions, ``draw`` takes every random number there is (their count depends on shapes alone) and ``place`` is pure.
A mask is True where the partner shows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.broadcast import along, everywhere, within
from cutmix_dense.checks import finite, interval, positive
from cutmix_dense.distance import carved
from cutmix_dense.host import sent
from cutmix_dense.regions import beta, uniform

__all__ = ["CarveMask", "ClassMask", "CowMask", "FourierMask", "MaskSampler", "NoiseDraws"]

_MOST_SIGMA = 1024


class NoiseDraws(NamedTuple):
    """Random numbers of a noise mask.

    Attributes:
        noise: one field per sample, at least the frame's size.
        numbers: further numbers per sample.
    """

    noise: Float[Tensor, "b *size"]
    numbers: Float[Tensor, "b k"]


class MaskSampler(ABC):
    """Base of the noise masks."""

    @abstractmethod
    def draw(self, batch: int, frame: tuple[int, ...], generator: torch.Generator | None = None) -> NoiseDraws:
        """All random numbers for ``batch`` masks on a frame of some size, on the host."""

    @abstractmethod
    def place(self, draws: NoiseDraws, sizes: Int[Tensor, "b d"], frame: tuple[int, ...]) -> Bool[Tensor, "b *frame"]:
        """Masks from draws; within ``sizes``, the area that base and partner share, each has its share of pixels."""


@dataclass(frozen=True)
class CowMask(MaskSampler):
    """Blurred normal noise cut at a threshold: patches like a cow's.

    Args:
        proportion: expected share of the partner, in (0, 1), or (low, high) to draw it from uniformly.
        sigma: strength of the blur in pixels, log-uniform in (low, high), at most 1024: the noise that is blurred
            reaches three sigma beyond the image.

    The threshold is mean + √2 · erfinv(2p − 1) · standard deviation of the noise, as in the official code. The noise is
    drawn larger than the frame and blurred in the Fourier domain, so that its strength is the same up to the border.

    Source: French, Oliver, Salimans, Milking CowMask for Semi-Supervised Image Classification (2020); σ of 8–32 as used
    for segmentation by ClassMix's authors.
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
        """Normal noise with a margin of three sigma, the blur's strength, the proportion."""
        margin = math.ceil(3 * self.sigma[1])
        noise = torch.randn((batch, *(size + margin for size in frame)), generator=generator)
        return NoiseDraws(noise, uniform(batch, 2, generator))

    def place(self, draws: NoiseDraws, sizes: Int[Tensor, "b d"], frame: tuple[int, ...]) -> Bool[Tensor, "b *frame"]:
        """Blur, and cut at the threshold."""
        low, high = self._proportions()
        sigma = self.sigma[0] * (self.sigma[1] / self.sigma[0]) ** draws.numbers[:, 0]
        proportion = low + draws.numbers[:, 1] * (high - low)
        axes = tuple(range(1, draws.noise.ndim))
        frequency = _frequency(draws.noise.shape[1:], draws.noise.device)
        exponent = -2 * (math.pi * everywhere(sigma.float(), len(axes)) * frequency) ** 2
        spectrum = torch.fft.rfftn(draws.noise, dim=axes) * exponent.exp()
        smooth = torch.fft.irfftn(spectrum, s=draws.noise.shape[1:], dim=axes)
        crop = (slice(None), *(slice(0, size) for size in frame))
        smooth = smooth[crop]
        valid = within(sizes, frame)
        count = valid.flatten(1).sum(1)
        mean = (smooth * valid).flatten(1).sum(1) / count
        spread = (((smooth - everywhere(mean, len(axes))) * valid) ** 2).flatten(1).sum(1) / count
        threshold = mean + math.sqrt(2) * torch.erfinv(2 * proportion.float() - 1) * spread.sqrt()
        return (smooth <= everywhere(threshold, len(axes))) & valid


@dataclass(frozen=True)
class FourierMask(MaskSampler):
    """Low-frequency Fourier noise, its highest λ of the pixels: a few smooth blobs of an exact area.

    Args:
        alpha: λ ~ Beta(α, α), the share of the base.
        decay: the spectrum falls as 1 / frequency^decay.

    Source: Harris et al., FMix (2020): α = 1, decay 3, ``max_soft`` 0 (soft edges would need soft labels).
    """

    alpha: float = 1.0
    decay: float = 3.0

    def __post_init__(self) -> None:
        positive(self.alpha, "alpha")
        if not finite(self.decay):
            raise ValueError(f"decay must be finite, got {self.decay!r}")

    def draw(self, batch: int, frame: tuple[int, ...], generator: torch.Generator | None = None) -> NoiseDraws:
        """Real and imaginary part of the spectrum, and λ."""
        half = (*frame[:-1], frame[-1] // 2 + 1)
        noise = torch.randn((batch, *half, 2), generator=generator)
        return NoiseDraws(noise, torch.cat([beta(batch, self.alpha, generator), uniform(batch, 1, generator)], dim=1))

    def place(self, draws: NoiseDraws, sizes: Int[Tensor, "b d"], frame: tuple[int, ...]) -> Bool[Tensor, "b *frame"]:
        """Back from the Fourier domain, and the highest pixels."""
        frequency = _frequency(frame, draws.noise.device).clamp(min=1 / max(frame))
        spectrum = torch.view_as_complex(draws.noise.contiguous()) / frequency**self.decay
        field = torch.fft.irfftn(spectrum, s=frame, dim=tuple(range(1, len(frame) + 1)))
        valid = within(sizes, frame)
        count = valid.flatten(1).sum(1)
        base = draws.numbers[:, 0] * count
        number = count - torch.where(draws.numbers[:, 1] > 0.5, base.ceil(), base.floor()).long()
        ordered = torch.where(valid, field, -torch.inf).flatten(1).argsort(dim=1)  # what isn't valid comes first
        rank = torch.empty_like(ordered).scatter_(1, ordered, torch.arange(ordered.shape[1]).expand_as(ordered))
        lowest = rank.shape[1] - count + number  # of the valid pixels, those below belong to the partner
        return (rank < lowest[:, None]).reshape(field.shape) & valid


@dataclass(frozen=True)
class ClassMask:
    """Half of the classes of the partner's map, drawn anew for each image.

    Args:
        rounding: half of an odd number of classes, ``"floor"`` (ClassMix) or ``"ceil"`` (DACS).
        ignore_index: never counted and never pasted as a class.
        max_classes: ids must be below it; they needn't be contiguous.

    Source: Olsson et al., ClassMix (2021); Tranheden et al., DACS (2021).
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
        """A score for every class of every image."""
        return uniform(batch, self.max_classes, generator)

    def place(self, draws: Float[Tensor, "b k"], maps: Int[Tensor, "b *size"]) -> Bool[Tensor, "b *size"]:
        """Where the chosen classes of each map lie.

        Args:
            draws: what ``draw`` gave.
            maps: labels or pseudo-labels of the images that classes are taken from.
        """
        ids = maps.long().flatten(1)
        known = (ids != self.ignore_index) & (ids >= 0)
        spare = self.max_classes  # one column more takes what isn't a class
        if ids.device.type == "cpu" and bool((known & (ids >= spare)).any()):
            raise ValueError(f"maps must hold ids below max_classes = {spare}, got {int(ids[known].max())}")
        column = torch.where(known, ids, spare).clamp(max=spare)
        present = torch.zeros((len(ids), spare + 1), dtype=torch.bool, device=ids.device)
        present = present.scatter(1, column, torch.ones_like(known))[:, :spare]
        count = present.sum(dim=1, keepdim=True)
        wanted = count // 2 if self.rounding == "floor" else (count + 1) // 2
        score = torch.where(present, sent(draws, ids.device), torch.inf)
        rank = score.argsort(dim=1).argsort(dim=1)
        chosen = torch.cat([present & (rank < wanted), torch.zeros_like(present[:, :1])], dim=1)
        return chosen.gather(1, column).reshape(maps.shape)


@dataclass(frozen=True)
class CarveMask:
    """The lesion of the partner's map, shrunk by up to half of its depth or grown by up to the whole of it.

    With d the signed distance to the lesion's border (negative inside) and D its largest magnitude inside, the mask is
    d < λ, λ ~ ½ U(−D/2, 0) + ½ U(0, D), drawn anew for each image.

    Args:
        classes: ids that are the lesion; None: all but 0 and ``ignore_index``.
        ignore_index: no class.
        spacing: size of a pixel along each axis, in array order; default 1.

    Source: Zhang et al., CarveMix: A Simple Data Augmentation Method for Brain Lesion Segmentation (2021). Their later
    code draws λ ~ U(−D/2, D) and counts distances from the border pixels themselves.
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
        """Whether the lesion shrinks or grows, and how much."""
        return uniform(batch, 2, generator)

    def place(self, draws: Float[Tensor, "b 2"], maps: Int[Tensor, "b *size"]) -> Bool[Tensor, "b *size"]:
        """The carved lesion of each map.

        Args:
            draws: what ``draw`` gave.
            maps: labels of the images that lesions are taken from, on the host; negative ids are no class.

        Raises:
            ValueError: a spacing of another number of axes.
            ImportError: without scipy.
        """
        if self.spacing is not None and len(self.spacing) != maps.ndim - 1:
            raise ValueError(f"spacing must have one size per axis ({maps.ndim - 1}), got {self.spacing!r}")
        if self.classes is None:
            lesion = (maps > 0) & (maps != self.ignore_index)
        else:
            lesion = torch.isin(maps, torch.tensor(self.classes, dtype=maps.dtype))
        amounts = torch.where(draws[:, 0] < 0.5, -draws[:, 1] / 2, draws[:, 1])
        masks = [carved(mask, amount, self.spacing) for mask, amount in zip(lesion.numpy(), amounts.tolist())]
        return torch.stack([torch.from_numpy(mask) for mask in masks])


def _frequency(shape: Any, device: torch.device) -> Float[Tensor, "*half"]:
    """Distance from zero frequency in cycles per pixel, for a real transform."""
    squares = []
    for axis, size in enumerate(shape):
        line = torch.fft.rfftfreq(size) if axis == len(shape) - 1 else torch.fft.fftfreq(size)
        squares.append(along(line**2, axis, len(shape)))
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return total.sqrt().to(device)
