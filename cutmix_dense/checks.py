"""Checks of arguments that many methods share."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Set
from typing import Any

__all__ = ["finite", "interval", "listed", "positive", "share", "sides", "whole", "zoom"]

_ZOOM = (0.01, 30.0)
"""The least and the most that images are zoomed: a picture of 20,000 pixels at its own size on a canvas of 670."""


def finite(value: Any) -> bool:
    """Whether a value is a number that is finite and fits a float; ``float`` of a larger int raises OverflowError.

    Example:
        >>> finite(1.5), finite(float("nan")), finite(10**400), finite("1.5"), finite(None)
        (True, False, False, False, False)
    """
    try:
        return bool(-sys.float_info.max <= value <= sys.float_info.max)
    except (TypeError, ValueError, RuntimeError):  # of text, of several numbers in an array, in a tensor
        return False


def share(value: Any, name: str) -> float:
    """``value`` as a float.

    Raises:
        ValueError: it isn't a number in [0, 1].

    Example:
        >>> share(1, "p")
        1.0
    """
    if not (finite(value) and 0 <= value <= 1):
        raise ValueError(f"{name} must lie in [0, 1], got {value!r}")
    return float(value)


def whole(value: Any, name: str, least: int | None = 1) -> int:
    """``value`` as an int.

    Raises:
        ValueError: it isn't a whole number (True and False aren't), or is below ``least``.

    Example:
        >>> whole(2.0, "num_classes")
        2
    """
    truth = str(getattr(value, "dtype", type(value).__name__)).endswith("bool")  # of Python, numpy or torch
    if truth or not (finite(value) and value == int(value) and (least is None or value >= least)):
        limit = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name} must be a whole number{limit}, got {value!r}")
    return int(value)


def sides(value: Any, name: str, what: str) -> tuple[int, int]:
    """``value`` as two ints.

    Args:
        value: as it was given.
        name: of the argument.
        what: the pair and its unit, such as ``"(height, width) in pixels"``.

    Raises:
        ValueError: it isn't a pair of whole numbers of at least 1.

    Example:
        >>> sides([32, 48], "size", "(height, width) in pixels")
        (32, 48)
    """
    try:
        first, second = value
        return whole(first, name), whole(second, name)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {what}, each at least 1, got {value!r}") from None


def listed(value: Any, name: str, what: str) -> list[Any]:
    """``value`` as a list.

    Args:
        value: as it was given; text isn't a list.
        name: of the argument.
        what: what it must be, such as ``"a sequence of class ids"``.

    Raises:
        TypeError: it can't be iterated, or is text.

    Example:
        >>> listed((1, 2), "classes", "a sequence of class ids")
        [1, 2]
    """
    try:
        if not isinstance(value, (str, bytes)):
            return list(value)
    except TypeError:  # a tensor of no dimension is an Iterable, too
        pass
    raise TypeError(f"{name} must be {what}, got {value!r}")


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


def zoom(value: Iterable[float], name: str, remedy: str) -> tuple[float, float]:
    """``value`` as a pair of floats (low, high): a range of factors that change the size of an image.

    Args:
        value: as it was given.
        name: of the argument.
        remedy: what to write where the factors are too small or too large, which sizes in pixels or percent are.

    Raises:
        ValueError: it isn't an ordered pair of finite numbers, or a factor is below 0.01 or above 30.

    Example:
        >>> zoom([0.5, 2], "scale", "a factor of 1 keeps the size")
        (0.5, 2.0)
    """
    low, high = interval(value, name)
    least, most = _ZOOM
    if low < least or high > most:
        raise ValueError(f"{name} must be factors with {least:g} <= low <= high <= {most:g}, got {value!r}: {remedy}")
    return low, high
