"""Fields of noise on the host by the compiled library: their mean and spread in one pass."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from cutmix_dense import native

__all__ = ["mean_and_spread"]

_moments = native.declare("cutmix_dense_moments", "pppp")


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
