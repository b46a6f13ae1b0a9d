"""Arguments that many methods share, checked in one way."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Set

__all__ = ["finite", "interval", "positive"]


def finite(value: float) -> bool:
    """Whether a number is one that a float can hold; an int may be larger, and ``float`` of it is an OverflowError."""
    return -sys.float_info.max <= value <= sys.float_info.max


def positive(value: float, name: str) -> float:
    """``value`` as a float; ValueError unless it is finite and above 0."""
    if not (finite(value) and value > 0):
        raise ValueError(f"{name} must be above 0, got {value!r}")
    return float(value)


def interval(value: Iterable[float], name: str, most: float = math.inf) -> tuple[float, float]:
    """``value`` as (low, high); ValueError unless 0 < low <= high <= most and both are finite."""
    try:
        ordered = not isinstance(value, (str, Mapping, Set))
        low, high = map(float, value if ordered else ())
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
    if not (0 < low <= high <= most and finite(high)):
        limit = "" if math.isinf(most) else f" <= {most:g}"
        raise ValueError(f"{name} must be (low, high) with 0 < low <= high{limit}, got {value!r}")
    return low, high
