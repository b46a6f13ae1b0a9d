"""What a layout says of an instance besides its class, box and mask, and what of it a mix leaves true."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

STATED = "_stated"
"""Key of an instance's `details` under which its layout keeps what it measures, word for word: true of an instance that
a mix left as it was, and written back for that alone."""

_OF_THE_OLD = frozenset({"confidence", "num_keypoints", "score", "scores"})
"""What was found out by looking at the instance as it was."""


def still_true(details: dict[str, Any], *, untouched: bool, same_layout: bool, lost: Counter[str]) -> dict[str, Any]:
    """The details that hold after a mix.

    Where a mix cut, moved or covered an instance, scores and lists of numbers, as coordinates are, would be false. Each
    is left out and counted by its path; what stands beside it stays. What `finite_fields` drops is left out always.

    Args:
        details: of one instance.
        untouched: whether it shows as it was, where it was.
        same_layout: whether they are written in the layout they were read from.
        lost: counts what is left out, by name.
    """
    kept: dict[str, Any] = {}
    stated = {STATED: details[STATED]} if STATED in details else {}
    others = finite_fields({key: value for key, value in details.items() if key != STATED}, lost)
    for key, value in (stated | others).items():
        if key == STATED:
            if untouched and same_layout:
                kept[key] = value
        elif untouched:
            kept[key] = value
        elif key in _OF_THE_OLD:
            lost[f"{key} of instances that were changed"] += 1
        else:
            gone: list[str] = []
            left = _without_geometry(value, key, gone)
            if left is not _NOTHING:
                kept[key] = left
            for path in dict.fromkeys(gone):
                lost[f"{path} of instances that were changed"] += 1
    return kept


def finite_fields(fields: Mapping[str, Any], lost: Counter[str], path: str = "") -> dict[str, Any]:
    """The fields that JSON can hold: those with a NaN or an infinity are left out, one by one, and counted.

    Args:
        fields: parsed JSON; dicts in it lose the fields concerned alone, a list with such a number is left out whole.
        lost: counts ``NaN in <path>``.
        path: of the fields, before their names.
    """
    kept: dict[str, Any] = {}
    for key, value in fields.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            kept[key] = finite_fields(value, lost, f"{name}.")
        elif _is_finite(value):
            kept[key] = value
        else:
            lost[f"NaN in {name}"] += 1
    return kept


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, (list, tuple)) else True


_NOTHING = object()


def _without_geometry(value: Any, path: str, gone: list[str]) -> Any:
    """A value without the lists of numbers in its dicts, whose paths are added to ``gone``; `_NOTHING` if none is left.

    A list is left out whole: a part without its place says little.
    """
    if isinstance(value, dict):
        parts = {key: _without_geometry(item, f"{path}.{key}", gone) for key, item in value.items()}
        left = {key: item for key, item in parts.items() if item is not _NOTHING}
        return left if left or not value else _NOTHING
    if _is_geometric(value):
        gone.append(path)
        return _NOTHING
    return value


def _is_geometric(value: Any) -> bool:
    """Whether a list is made of two numbers or more, or of lists that are, or dicts that hold such."""
    if isinstance(value, dict):
        return any(map(_is_geometric, value.values()))
    if not isinstance(value, (list, tuple)) or not value:
        return False
    if all(isinstance(item, (list, tuple, dict)) for item in value):
        return any(map(_is_geometric, value))
    return len(value) > 1 and all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value)
