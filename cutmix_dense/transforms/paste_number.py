"""How many instances are pasted."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

Number = Literal["random", "all"] | int | float | tuple[int, int]
"""What ``CopyPaste(instances=…)`` takes."""


def checked_number(instances: Any) -> Number:
    """``instances`` if it is a number of instances; a range as a tuple.

    Raises:
        ValueError: it is none.
    """
    if isinstance(instances, (tuple, list)) and len(instances) == 2 and all(map(_is_whole, instances)):
        low, high = instances
        if 0 <= low <= high and high:
            return int(low), int(high)
    is_share = isinstance(instances, float) and 0 < instances < 1
    if not (is_share or (_is_whole(instances) and instances >= 1)) and instances not in ("random", "all"):
        raise ValueError(
            "instances must be 'random', 'all', a count, a range (least, most) of them or a fraction in (0, 1), "
            f"got {instances!r}"
        )
    number: Number = instances
    return number


def most_of(instances: Number, count: int) -> int:
    """The most that may be wanted of ``count`` candidates."""
    if isinstance(instances, tuple):
        return instances[1]
    return instances if isinstance(instances, int) else count


def wanted_of(instances: Number, draws: Float[np.ndarray, " b"], count: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
    """How many are wanted of each output's candidates; may be more than there are.

    Args:
        instances: of ``checked_number``.
        draws: uniform in [0, 1).
        count: number of candidates.

    Example:
        >>> wanted_of((1, 3), np.array([0.0, 0.5, 0.9]), np.array([9, 9, 9])).tolist()
        [1, 2, 3]
    """
    wanted: Any = count
    if isinstance(instances, tuple):
        low, high = instances
        wanted = low + (draws * (high - low + 1)).astype(np.int64)
    elif instances == "random":
        wanted = 1 + (draws * count).astype(np.int64)
    elif isinstance(instances, float):
        wanted = np.ceil(count.astype(np.float32) * np.float32(instances)).astype(np.int64)
    elif isinstance(instances, int):
        wanted = np.full_like(count, instances)
    return np.asarray(wanted)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
