"""Checks of arguments that many methods share."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Set

__all__ = ["finite", "interval", "positive"]


def finite(value: float) -> bool:
    """Whether a number is finite and fits a float; ``float`` of a larger int raises OverflowError.

    Example:
        >>> finite(1.5), finite(float("nan")), finite(10**400)
        (True, False, False)
    """
    return -sys.float_info.max <= value <= sys.float_info.max


def positive(value: float, name: str) -> float:
    """``value`` as a float.

    Raises:
        ValueError: it isn't finite and above 0.

    Example:
        >>> positive(2, "alpha")
        2.0
    """
    if not (finite(value) and value > 0):
        raise ValueError(f"{name} must be above 0, got {value!r}")
    return float(value)


def interval(value: Iterable[float], name: str, most: float = math.inf) -> tuple[float, float]:
    """``value`` as a pair of floats (low, high).

    Raises:
        ValueError: it isn't an ordered pair of finite numbers with 0 < low <= high <= most.

    Example:
        >>> interval([1, 2], "scale")
        (1.0, 2.0)
    """
    try:
        ordered = not isinstance(value, (str, Mapping, Set))
        low, high = map(float, value if ordered else ())
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
    if not (0 < low <= high <= most and finite(high)):
        limit = "" if math.isinf(most) else f" <= {most:g}"
        raise ValueError(f"{name} must be (low, high) with 0 < low <= high{limit}, got {value!r}")
    return low, high
