"""What became of an instance in words: what a partner doesn't bring along is left out, which is no loss of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LEFT_OUT = "left out"
"""The outcome of a partner's instance that isn't in the part of the partner that is pasted."""

_UNSEEN = frozenset({"covered", "outside", "not carried"})
"""Reasons of ``MixReport`` for which an instance of a partner is left out, not dropped."""

_WHY = "not in the pasted part"


def named(side: str, outcome: str, reason: str) -> tuple[str, str, str]:
    """Side, outcome and reason as reports and pages name them; those that are named already stay.

    Args:
        side: "base", "partner" or "cut-out".
        outcome: of ``MixReport.rows()``.
        reason: of the same.
    """
    if side == "partner" and outcome == "dropped" and reason in _UNSEEN:
        return side, LEFT_OUT, _WHY
    return side, outcome, reason


def without_repeats(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of one sample, in which a partner's instance that is left out has one row, and none where it does show.

    Under a plan with a layer for each pasted instance, every layer names all other instances of its image, too.

    Args:
        rows: of ``MixReport.rows()``.
    """
    unseen: dict[tuple[int, int, int], Mapping[str, Any]] = {}
    shown: list[Mapping[str, Any]] = []
    for row in rows:
        if row["layer"] > 0 and row["outcome"] == "dropped" and row["reason"] in _UNSEEN:
            unseen[_instance(row)] = row
        else:
            shown.append(row)
    for row in shown:
        if row["layer"] > 0:
            unseen.pop(_instance(row), None)
    return [*shown, *unseen.values()]


def _instance(row: Mapping[str, Any]) -> tuple[int, int, int]:
    return row.get("output", 0), row["source"], row["instance"]
