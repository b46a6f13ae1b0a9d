"""Fields of real numbers from spectra of low frequencies: by the compiled library, or by numpy's Fourier transforms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Complex64, Float, Float32

from cutmix_dense import native

__all__ = ["Fields"]

_field = native.declare("cutmix_dense_field", "pqpp", "q")


class Fields:
    """Transforms spectra back to fields; several threads may use one.

    Args:
        counts: frequencies along each axis: from 0 up, then as many negative ones, or one fewer; the last axis, that of
            a real transform, has no negative ones.
        periods: length of each axis's transform, pixels.
        frame: size of a field; at most the periods.

    Example:
        >>> spectrum = np.zeros((4, 2), dtype=np.complex64)
        >>> spectrum[0, 0] = 24.0
        >>> Fields((4, 2), (4, 6), (2, 3))(spectrum).tolist()  # frequency 0 alone
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, counts: Sequence[int], periods: Sequence[int], frame: tuple[int, ...]) -> None:
        behind = [count // 2 for count in counts[:-1]] + [0]
        self._frame, self._axes = frame, list(zip(counts, behind, periods))
        self._turns = [_turns(period) for period in periods]
        rows = [(*axis, size, turns.ctypes.data) for axis, size, turns in zip(self._axes, frame, self._turns)]
        self._table = np.array(rows, dtype=np.int64)  # ``Axis`` of ``fourier.c``

    def __call__(
        self, spectrum: Complex64[np.ndarray, "*frequencies"], into: Float32[np.ndarray, "*frame"] | None = None
    ) -> Float[np.ndarray, "*frame"]:
        """The field of a spectrum.

        Args:
            spectrum: the frequencies along each axis.
            into: what is written to and returned, if given; without gaps.
        """
        field = np.empty(self._frame, dtype=np.float32) if into is None else into
        if native.library is not None:
            spectrum = np.ascontiguousarray(spectrum)
            made = _field(self._table.ctypes.data, len(self._axes), spectrum.ctypes.data, field.ctypes.data)
            if made > 0:
                return field
            if made == 0:
                raise MemoryError("no memory for a field of noise")
        for axis, (count, behind, period) in enumerate(self._axes[:-1]):
            padded = np.zeros((*spectrum.shape[:axis], period, *spectrum.shape[axis + 1 :]), dtype=np.complex64)
            lines, given = padded.swapaxes(0, axis), spectrum.swapaxes(0, axis)
            lines[: count - behind] = given[: count - behind]
            lines[period - behind :] = given[count - behind :]
            spectrum = np.fft.ifft(padded, axis=axis).swapaxes(0, axis)[: self._frame[axis]].swapaxes(0, axis)
        field[...] = np.fft.irfft(spectrum, n=self._axes[-1][-1])[..., : self._frame[-1]]
        return field


@lru_cache(maxsize=64)
def _turns(period: int) -> Complex64[np.ndarray, " period"]:
    """e^(2πik / period) for every k."""
    angles = 2 * np.pi * np.arange(period) / period
    return np.asarray(np.exp(1j * angles), dtype=np.complex64)
