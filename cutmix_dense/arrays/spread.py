"""Values of fields of noise on the host by the compiled library: mean, spread and ranks in one pass each."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32

from cutmix_dense import native

_moments = native.declare("cutmix_dense_moments", "pppp")
_between = native.declare("cutmix_dense_between", "pqddpp", "q")


def mean_and_spread(values: Float[np.ndarray, "*size"]) -> tuple[float, float]:
    """Mean and standard deviation, summed in double precision.

    Args:
        values: float32, of two or three axes; at least one.
    """
    if native.library is None or values.strides[-1] != values.itemsize:
        return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    flat = 3 - values.ndim
    shape = np.array([*(1,) * flat, *values.shape, *(0,) * flat, *values.strides[:-1]], dtype=np.int64)
    sums = np.empty(2)
    _moments(values.ctypes.data, shape.ctypes.data, shape[3:].ctypes.data, sums.ctypes.data)
    mean, square = (sums / values.size).tolist()
    return mean, math.sqrt(max(square - mean * mean, 0.0))


def lying_between(values: Float32[np.ndarray, " n"], low: float, high: float) -> tuple[int, Float32[np.ndarray, " m"]]:
    """How many values lie below ``low``, and those that lie in [low, high], in their order."""
    if native.library is None or not values.flags.c_contiguous:
        return int(np.count_nonzero(values < low)), values[(values >= low) & (values <= high)]
    below, found = np.zeros(1, dtype=np.int64), np.empty(len(values), dtype=np.float32)
    count = _between(values.ctypes.data, len(values), low, high, below.ctypes.data, found.ctypes.data)
    return int(below[0]), found[:count]
