"""Smooth noise made in the Fourier domain: blurred white noise, and spectra that fall with frequency."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.arrays.broadcast import along

__all__ = ["Band", "Fields", "bands_of_blur", "bands_of_decay", "blurred", "falling_amplitude"]

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


def blurred(noise: Float[Tensor, "b *frequencies 2"], sigma: Float[Tensor, " b"], bands: Sequence[Band]) -> Tensor:
    """Spectra (b, *frequencies) of white noise blurred by a Gaussian; up to a constant factor.

    Args:
        noise: normal numbers for every frequency of ``bands``: real and imaginary part.
        sigma: sigma of each blur, pixels; at least the ``weakest`` of ``bands``. In double precision.
        bands: the band of every axis.

    Example:
        >>> bands = bands_of_blur((32, 48), margin=18, weakest=4.0)
        >>> noise = torch.randn(1, *(len(band.frequencies) for band in bands), 2)
        >>> (spectrum,) = blurred(noise, torch.tensor([4.0]), bands)
        >>> Fields(bands, (32, 48))(spectrum).shape
        torch.Size([32, 48])
    """
    last, strength = len(bands) - 1, (math.pi * sigma).float()[:, None]
    for axis, (_, line) in enumerate(bands):
        passed = (-2 * (strength * line) ** 2).exp()
        if axis == last:  # these two frequencies use only the real part of the draws
            passed = torch.where((line == 0) | (line == 0.5), math.sqrt(2) * passed, passed)
        noise = noise * passed.reshape(-1, *(len(line) if other == axis else 1 for other in range(last + 1)), 1)
    return torch.view_as_complex(noise)


class Fields:
    """Transforms spectra of given frequencies back to fields, one after the other: their buffers are made once.

    Args:
        bands: the band of every axis.
        frame: size of a field; at most the periods.

    Example:
        >>> bands = [Band(4, torch.fft.fftfreq(4)), Band(6, torch.fft.rfftfreq(6)[:2])]
        >>> spectrum = torch.zeros(4, 2, dtype=torch.complex64)
        >>> spectrum[0, 0] = 24.0
        >>> Fields(bands, (2, 3))(spectrum).tolist()  # frequency 0 alone
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, bands: Sequence[Band], frame: tuple[int, ...]) -> None:
        self._bands, self._frame = bands, frame
        size = [len(line) for _, line in bands]
        self._padded = []
        for axis, (period, _) in enumerate(bands):
            size[axis] = period if axis < len(bands) - 1 else period // 2 + 1
            self._padded.append(torch.zeros(size, dtype=torch.complex64, device="cpu"))
            size[axis] = frame[axis]

    def __call__(self, spectrum: Tensor) -> Float[Tensor, "*frame"]:
        """The field of a spectrum, which holds the frequencies of the bands."""
        last = len(self._bands) - 1
        for axis, ((period, line), padded) in enumerate(zip(self._bands, self._padded)):
            behind = 0 if axis == last else len(line) // 2
            ahead = len(line) - behind
            padded.narrow(axis, 0, ahead).copy_(spectrum.narrow(axis, 0, ahead))
            padded.narrow(axis, period - behind if behind else 0, behind).copy_(spectrum.narrow(axis, ahead, behind))
            if axis < last:
                spectrum = torch.fft.ifft(padded, dim=axis).narrow(axis, 0, self._frame[axis])
        return torch.fft.irfft(padded, n=period, dim=last).narrow(last, 0, self._frame[last])


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
    squares = [along(line**2, axis, len(bands)) for axis, (_, line) in enumerate(bands)]
    least = 1 / max(period for period, _ in bands)
    logarithm = -decay * sum(squares, torch.zeros((), **_HERE)).sqrt().clamp(min=least).log()
    return (logarithm - logarithm.max()).exp()


def _fast_length(least: int) -> int:
    """The next length with no prime factors but 2, 3 and 5, for fast Fourier transforms."""
    # such a length divides 30 to the power of its number of bits
    return next(length for length in itertools.count(least) if 30 ** length.bit_length() % length == 0)
