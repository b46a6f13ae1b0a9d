"""Smooth noise made in the Fourier domain: blurred white noise, and spectra that fall with frequency."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Complex64, Float, Float32
from torch import Tensor

from cutmix_dense.arrays.broadcast import along

__all__ = ["Band", "bands_of_blur", "bands_of_decay", "falling_amplitude", "field_of", "passed_by_blur"]

_HERE: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
"""Dtype and device of all noise."""

_REACH = 6.0
"""Standard deviations of a blur's spectrum; the blur passes less than 2e-8 of anything beyond."""


_UNSEEN = 1e-7
"""About the share of the variance that may be left out of noise whose amplitudes fall."""


class Band(NamedTuple):
    """The frequencies of one axis that count.

    Attributes:
        period: period of the noise, pixels.
        frequencies: cycles per pixel: from 0 up, then the negative ones; the last axis, a real transform, has no
            negative ones.
    """

    period: int
    frequencies: Float[Tensor, " n"]


def bands_of_blur(frame: Sequence[int], margin: int, weakest: float) -> list[Band]:
    """The band of every axis of a frame.

    Args:
        frame: length of each axis, pixels.
        margin: how much longer the period must be at least, so that opposite borders don't correlate; pixels.
        weakest: sigma of the weakest blur, which passes the most; pixels.

    Example:
        >>> [(band.period, len(band.frequencies)) for band in bands_of_blur((32, 48), margin=18, weakest=4.0)]
        [(50, 25), (72, 19)]
    """
    bands = []
    for axis, size in enumerate(frame):
        period = _fast_length(size + margin)
        most = math.ceil(_REACH / (2 * math.pi * weakest) * period)
        bands.append(_band(period, most, axis == len(frame) - 1))
    return bands


def _band(period: int, most: int, is_last: bool) -> Band:
    """The frequencies of an axis up to ``most`` cycles per period."""
    if is_last:
        return Band(period, torch.fft.rfftfreq(period, **_HERE)[: most + 1])
    line = torch.fft.fftfreq(period, **_HERE)
    return Band(period, torch.cat([line[: most + 1], line[period - most :]]) if 2 * most + 1 < period else line)


def passed_by_blur(sigma: Float[Tensor, " b"], bands: Sequence[Band]) -> list[Float[Tensor, "b *lines"]]:
    """What Gaussian blurs let pass of white noise, along every axis; up to a constant factor.

    Args:
        sigma: sigma of each blur, pixels; at least the ``weakest`` of ``bands``. In double precision.
        bands: the band of every axis.

    Returns:
        a factor for each frequency of each axis: (b, n, 1), (b, 1, n).

    Example:
        >>> bands = bands_of_blur((32, 48), margin=18, weakest=4.0)
        >>> [tuple(factors.shape) for factors in passed_by_blur(torch.tensor([4.0]), bands)]
        [(1, 25, 1), (1, 1, 19)]
    """
    factors = []
    for axis, (_, line) in enumerate(bands):  # by numpy, see ``falling_amplitude``
        frequency = line.numpy().astype(np.float64)
        passed = np.exp(-2 * (math.pi * sigma.numpy()[:, None] * frequency) ** 2)
        if axis == len(bands) - 1:  # these two frequencies use only the real part of the draws
            passed[:, (frequency == 0) | (frequency == 0.5)] *= math.sqrt(2)
        factors.append(along(torch.from_numpy(passed.astype(np.float32)), axis, len(bands)))
    return factors


def field_of(
    spectrum: Complex64[np.ndarray, "*frequencies"], bands: Sequence[Band], frame: tuple[int, ...]
) -> Float32[np.ndarray, "*frame"]:
    """The field of a spectrum.

    Args:
        spectrum: an amplitude for each frequency of the bands.
        bands: the band of every axis.
        frame: size of the field; at most the periods.

    Example:
        >>> bands, spectrum = bands_of_decay((4, 6), decay=1.0), np.zeros((4, 4), dtype=np.complex64)
        >>> spectrum[0, 0] = 24.0  # frequency 0 alone
        >>> field_of(spectrum, bands, (2, 3)).tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    for axis, (period, line) in enumerate(bands[:-1]):
        padded = np.zeros((*spectrum.shape[:axis], period, *spectrum.shape[axis + 1 :]), dtype=np.complex64)
        lines, given, front = padded.swapaxes(0, axis), spectrum.swapaxes(0, axis), (len(line) + 1) // 2
        lines[:front] = given[:front]
        lines[period - len(line) + front :] = given[front:]
        spectrum = np.fft.ifft(padded, axis=axis).swapaxes(0, axis)[: frame[axis]].swapaxes(0, axis)
    field = np.fft.irfft(spectrum, n=bands[-1].period)[..., : frame[-1]]
    return np.ascontiguousarray(field, dtype=np.float32)


def bands_of_decay(frame: Sequence[int], decay: float) -> list[Band]:
    """The band of every axis for amplitudes 1 / frequency^decay, with the frame as period.

    What lies beyond the bands adds about 1e-7 of the variance: it would move borders between blobs by a hundredth of a
    pixel.

    Example:
        >>> [len(band.frequencies) for band in bands_of_decay((640, 480), decay=3.0)]
        [115, 43]
        >>> [len(band.frequencies) for band in bands_of_decay((640, 480), decay=1.0)]  # nothing can be left out
        [640, 241]
    """
    falls = 2 * decay - len(frame)  # how the variance beyond a frequency falls with it
    longest = max(frame)
    most = longest if falls <= 0 else math.ceil(min(_UNSEEN ** (-1 / falls), longest))  # cycles along the longest axis
    return [_band(length, most * length // longest, axis == len(frame) - 1) for axis, length in enumerate(frame)]


def falling_amplitude(bands: Sequence[Band], decay: float) -> Float[Tensor, "*frequencies"]:
    """Amplitudes 1 / frequency^decay, scaled to a maximum of 1; constant below 1 cycle per longest period.

    Example:
        >>> falling_amplitude(bands_of_decay((4, 4), decay=1.0), decay=1.0)[0]
        tensor([1.0000, 1.0000, 0.5000])
    """
    # by numpy: torch's logarithms and exponentials of more than a few thousand numbers wake MKL's threads
    squares = [along(line.numpy().astype(np.float64) ** 2, axis, len(bands)) for axis, (_, line) in enumerate(bands)]
    least = 1 / max(period for period, _ in bands)
    logarithm = -decay * np.log(np.maximum(np.sqrt(sum(squares)), least))
    return torch.from_numpy(np.exp(logarithm - logarithm.max()).astype(np.float32))


def _fast_length(least: int) -> int:
    """The next length with no prime factors but 2, 3 and 5, for fast Fourier transforms."""
    # such a length divides 30 to the power of its number of bits
    return next(length for length in itertools.count(least) if 30 ** length.bit_length() % length == 0)
