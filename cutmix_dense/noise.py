"""Smooth noise by way of its spectrum: what a blur leaves of white noise, and how a spectrum falls."""

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
"""Where noise is made, and in which dtype."""

_REACH = 6.0
"""Standard deviations of a blur's spectrum; less than 2e-8 of what lies beyond gets through."""


class Band(NamedTuple):
    """What of one axis a blur lets through.

    Attributes:
        period: of the noise, pixels.
        frequencies: cycles per pixel: from 0 on, then the negative ones, which the last axis, a real one, hasn't.
    """

    period: int
    frequencies: Float[Tensor, " n"]


def bands_of_blur(frame: Sequence[int], margin: int, weakest: float) -> list[Band]:
    """The band of every axis of a frame.

    Args:
        frame: pixels of each axis.
        margin: how much longer the period is at least; opposite borders are that far from each other.
        weakest: sigma of the weakest blur, pixels; it lets the most through.
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
    """White noise that was drawn as a spectrum, blurred by a Gaussian; at some scale.

    Args:
        noise: normal numbers for every frequency of ``bands``: real and imaginary part.
        sigma: of the blur, pixels, not weaker than the one that ``bands`` are for.
        bands: of every axis.
        frame: what of the period is wanted.
    """
    last = len(frame) - 1
    spectrum = torch.view_as_complex(noise)
    for axis, (_, line) in enumerate(bands):
        passed = (-2 * (math.pi * sigma * line) ** 2).exp()
        if axis == last:  # of what was drawn for these two only the real part is used
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
    """Amplitudes 1 / frequency^decay of a real transform, the largest 1; constant below 1 cycle per frame."""
    lines = [torch.fft.fftfreq(length, **_HERE) for length in frame[:-1]]
    lines.append(torch.fft.rfftfreq(frame[-1], **_HERE))
    squares = [along(line**2, axis, len(frame)) for axis, line in enumerate(lines)]
    logarithm = -decay * sum(squares, torch.zeros((), **_HERE)).sqrt().clamp(min=1 / max(frame)).log()
    return (logarithm - logarithm.max()).exp()


def _fast_length(least: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5, which Fourier transforms like."""
    # such a length divides a power of 30, and none of its factors comes more often than it has bits
    return next(length for length in itertools.count(least) if 30 ** length.bit_length() % length == 0)
