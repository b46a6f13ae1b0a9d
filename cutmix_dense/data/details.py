"""What a layout says of an instance besides its class, box and mask, and what of it a mix leaves true."""

from __future__ import annotations

from collections import Counter
from typing import Any

__all__ = ["STATED", "still_true"]

STATED = "_stated"
"""Key of an instance's `details` under which its layout keeps what it measures, word for word: true of an instance that
a mix left as it was, and written back for that alone."""

_OF_THE_OLD = frozenset({"confidence", "num_keypoints", "score", "scores"})
"""What was found out by looking at the instance as it was."""


def still_true(details: dict[str, Any], *, untouched: bool, same_layout: bool, lost: Counter[str]) -> dict[str, Any]:
    """The details that hold after a mix.

    Of an instance that a mix cut, moved or covered, scores and whatever consists of numbers, as coordinates do, would
    be false; it is left out and counted.

    Args:
        details: of one instance.
        untouched: whether it shows as it was, where it was.
        same_layout: whether they are written in the layout they were read from.
        lost: counts what is left out, by name.
    """
    kept: dict[str, Any] = {}
    for key, value in details.items():
        if key == STATED:
            if untouched and same_layout:
                kept[key] = value
        elif untouched or not (key in _OF_THE_OLD or _is_geometric(value)):
            kept[key] = value
        else:
            lost[f"{key} of instances that were changed"] += 1
    return kept


def _is_geometric(value: Any) -> bool:
    """Whether a value is made of two numbers or more, or of lists or dicts that hold such."""
    if isinstance(value, dict):
        return any(map(_is_geometric, value.values()))
    if not isinstance(value, (list, tuple)) or not value:
        return False
    if all(isinstance(item, (list, tuple, dict)) for item in value):
        return any(map(_is_geometric, value))
    return len(value) > 1 and all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value)
