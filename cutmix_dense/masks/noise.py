"""Noise cut at a threshold: patches like a cow's, and Fourier blobs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.blocks import block_of
from cutmix_dense.arrays.host import HOST
from cutmix_dense.arrays.spread import lying_between, mean_and_spread
from cutmix_dense.checks import finite, interval, positive
from cutmix_dense.masks.base import MaskSampler, NoiseDraws
from cutmix_dense.native.threads import split
from cutmix_dense.noise import Band, bands_of_blur, bands_of_decay, falling_amplitude, field_of, passed_by_blur
from cutmix_dense.regions import beta, uniform

_MOST_SIGMA = 1024


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
        if not (finite(low) and finite(high) and 0 < low <= high < 1):
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
        spreads = (math.sqrt(2) * torch.erfinv(2 * proportion.float() - 1)).tolist()
        bands = self._bands(frame)
        passed = [factors.numpy() for factors in passed_by_blur(sigma, bands)]

        def blurred(sample: int, noise: Float[np.ndarray, "*frequencies 2"]) -> None:
            for factors in passed:
                np.multiply(noise, factors[sample, ..., None], out=noise)

        def cut(sample: int, values: Float[np.ndarray, "*size"], mask: Bool[np.ndarray, "*size"]) -> None:
            mean, deviation = mean_and_spread(values)
            np.less_equal(values, np.float32(mean + spreads[sample] * deviation), out=mask)

        return _untraced_masks(draws.noise, bands, frame, sizes, blurred, cut)


@dataclass(frozen=True)
class FourierMask(MaskSampler):
    """Low-frequency Fourier noise, thresholded to an exact area: a few smooth blobs.

    Args:
        alpha: λ ~ Beta(α, α), the share of the base, whose pixels have the highest values; > 0.
        decay: the spectrum falls as 1 / frequency^decay.

    Frequencies that add nothing visible aren't drawn; see ``noise.bands_of_decay``.

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
        counts = [len(band.frequencies) for band in bands_of_decay(frame, self.decay)]
        noise = torch.randn((batch, *counts, 2), generator=generator, dtype=torch.float32, device=HOST)
        return NoiseDraws(noise, torch.cat([beta(batch, self.alpha, generator), uniform(batch, 1, generator)], dim=1))

    def place(self, draws: NoiseDraws, sizes: Int[Tensor, "b d"], frame: tuple[int, ...]) -> Bool[Tensor, "b *frame"]:
        """Transform back; the lowest pixels show the partner."""
        bands = bands_of_decay(frame, self.decay)
        amplitude = falling_amplitude(bands, self.decay).numpy()[..., None]
        count = sizes.prod(dim=1)
        base = draws.numbers[:, 0] * count
        number = count - torch.where(draws.numbers[:, 1] > 0.5, base.ceil(), base.floor()).long()
        partners = number.tolist()

        def falling(_: int, noise: Float[np.ndarray, "*frequencies 2"]) -> None:
            np.multiply(noise, amplitude, out=noise)

        def cut(sample: int, values: Float[np.ndarray, "*size"], mask: Bool[np.ndarray, "*size"]) -> None:
            _mark_lowest(values, partners[sample], mask)

        return _untraced_masks(draws.noise, bands, frame, sizes, falling, cut)


def _masks(
    noise: Float[Tensor, "b *frequencies 2"],
    bands: Sequence[Band],
    frame: tuple[int, ...],
    sizes: Int[Tensor, "b d"],
    weigh: Callable[[int, Float[np.ndarray, "*frequencies 2"]], None],
    cut: Callable[[int, Float[np.ndarray, "*size"], Bool[np.ndarray, "*size"]], None],
) -> Bool[Tensor, "b *frame"]:
    """Masks of noise, the samples shared among threads.

    Args:
        noise: the spectra drawn.
        bands: their frequencies.
        frame: size of a mask, pixels.
        sizes: the area of each mask that counts; nothing beyond is in it.
        weigh: multiplies the noise of a sample in place.
        cut: writes the mask of a sample from its field, both within the area that counts.
    """
    drawn, areas = noise.numpy(), sizes.tolist()
    masks = np.empty((len(areas), *frame), dtype=bool)

    def make(first: int, last: int) -> None:
        for sample in range(first, last):
            spectrum, mask, valid = drawn[sample].copy(), masks[sample], block_of(areas[sample])
            weigh(sample, spectrum)
            field = field_of(spectrum.view(np.complex64)[..., 0], bands, frame)
            if mask.shape != tuple(areas[sample]):
                mask.fill(False)
            cut(sample, field[valid], mask[valid])

    split(make, len(areas), 4 * masks.nbytes)
    return torch.from_numpy(masks)


_untraced_masks: Callable[..., Tensor] = torch.compiler.disable(_masks)
"""Torch's compiler can't trace numpy's memory, nor the library."""


def _mark_lowest(values: Float[np.ndarray, "*size"], number: int, mask: Bool[np.ndarray, "*size"]) -> None:
    """Mark the ``number`` lowest values; among equal ones, the first."""
    if number == 0:
        mask.fill(False)
        return
    limit = _ranked(values.reshape(-1), number - 1)
    np.less_equal(values, limit, out=mask)
    surplus = int(np.count_nonzero(mask)) - number
    if surplus:
        mask[tuple(np.argwhere(values == limit)[-surplus:].T)] = False


_SAMPLE = 4096
"""Values that are sorted to guess where a rank lies."""


def _ranked(values: Float[np.ndarray, " n"], rank: int) -> Any:
    """The value of a rank, 0 that of the lowest, looked for among those between two guesses: one pass is enough."""
    guess = np.sort(values[:: max(1, len(values) // _SAMPLE)])
    at, margin = rank * len(guess) // len(values), len(guess) // 64
    low, high = guess[max(at - margin, 0)], guess[min(at + margin, len(guess) - 1)]
    below, between = lying_between(values, float(low), float(high))
    if not below <= rank < below + len(between):
        between, below = values, 0
    return np.partition(between, rank - below)[rank - below]
