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

__all__ = ["Band", "bands_of_blur", "blurred", "falling_amplitude"]

_HERE: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
"""Dtype and device of all noise."""

_REACH = 6.0
"""Standard deviations of a blur's spectrum; the blur passes less than 2e-8 of anything beyond."""


class Band(NamedTuple):
    """The frequencies of one axis that a blur passes.

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
        if axis == len(frame) - 1:
            line = torch.fft.rfftfreq(period, **_HERE)[: most + 1]
        else:
            line = torch.fft.fftfreq(period, **_HERE)
            if 2 * most + 1 < period:
                line = torch.cat([line[: most + 1], line[-most:]])
        bands.append(Band(period, line))
    return bands


def blurred(
    noise: Float[Tensor, "*frequencies 2"], sigma: float, bands: Sequence[Band], frame: tuple[int, ...]
) -> Float[Tensor, "*frame"]:
    """White noise, drawn as a spectrum, blurred by a Gaussian; up to a constant factor.

    Args:
        noise: normal numbers for every frequency of ``bands``: real and imaginary part.
        sigma: sigma of the blur, pixels; at least the ``weakest`` of ``bands``.
        bands: the band of every axis.
        frame: size of the result; at most the periods.

    Example:
        >>> bands = bands_of_blur((32, 48), margin=18, weakest=4.0)
        >>> noise = torch.randn(*(len(band.frequencies) for band in bands), 2)
        >>> blurred(noise, 4.0, bands, (32, 48)).shape
        torch.Size([32, 48])
    """
    last = len(frame) - 1
    spectrum = torch.view_as_complex(noise)
    for axis, (_, line) in enumerate(bands):
        passed = (-2 * (math.pi * sigma * line) ** 2).exp()
        if axis == last:  # these two frequencies use only the real part of the draws
            passed = torch.where((line == 0) | (line == 0.5), math.sqrt(2) * passed, passed)
        spectrum = spectrum * along(passed, axis, len(frame))
    for axis, (period, line) in enumerate(bands[:last]):
        ahead, behind = spectrum.split([(len(line) + 1) // 2, len(line) // 2], dim=axis)
        gap = [*spectrum.shape]
        gap[axis] = period - len(line)
        spectrum = torch.cat([ahead, spectrum.new_zeros(gap), behind], dim=axis)
        spectrum = torch.fft.ifft(spectrum, dim=axis).narrow(axis, 0, frame[axis])
    return torch.fft.irfft(spectrum, n=bands[last].period, dim=last).narrow(last, 0, frame[last])


def falling_amplitude(frame: Sequence[int], decay: float) -> Float[Tensor, "*half"]:
    """Amplitudes 1 / frequency^decay of a real transform, scaled to a maximum of 1; constant below 1 cycle per frame.

    Example:
        >>> falling_amplitude((4, 4), decay=1.0)[0]
        tensor([1.0000, 1.0000, 0.5000])
    """
    lines = [torch.fft.fftfreq(length, **_HERE) for length in frame[:-1]]
    lines.append(torch.fft.rfftfreq(frame[-1], **_HERE))
    squares = [along(line**2, axis, len(frame)) for axis, line in enumerate(lines)]
    logarithm = -decay * sum(squares, torch.zeros((), **_HERE)).sqrt().clamp(min=1 / max(frame)).log()
    return (logarithm - logarithm.max()).exp()


def _fast_length(least: int) -> int:
    """The next length with no prime factors but 2, 3 and 5, for fast Fourier transforms."""
    # such a length divides 30 to the power of its number of bits
    return next(length for length in itertools.count(least) if 30 ** length.bit_length() % length == 0)
