"""The plan of a study, written before its first run: what is compared, what matters, and when to stop."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Plan:
    """What is decided before looking at a result.

    Attributes:
        written: the day it was written, ``YYYY-MM-DD``.
        smallest: the smallest effect that matters, in points of the study's metric; above 0.
        compare: the variants of the primary comparisons, each with the baseline. Others are secondary.
        power: probability, in (0, 1), of finding an effect of ``smallest``, with an error rate of 5% for all primary
            comparisons together (Holm).
        pilot: seeds, the first of the study, whose differences say how many seeds are needed; at least 2.
        note: why these figures, in a sentence.
    """

    written: str
    smallest: float
    compare: tuple[str, ...]
    power: float = 0.8
    pilot: int = 3
    note: str = ""


def plan_from(given: Mapping[str, Any], variants: Sequence[str], baseline: str, seeds: int) -> Plan:
    """The plan in a study's config.

    Args:
        given: the fields of ``Plan``; ``compare`` may be left out for all variants but the baseline.
        variants: names of the study's variants.
        baseline: the one that the others are compared with.
        seeds: how many seeds the study has.

    Raises:
        ValueError: a field is missing, unknown or out of range; the message names it.
    """
    known = [field.name for field in fields(Plan)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"plan knows {', '.join(known)}, got {', '.join(unknown)}")
    missing = [name for name in ("written", "smallest") if name not in given]
    if missing:
        raise ValueError(f"plan needs {' and '.join(missing)}")
    others = [name for name in variants if name != baseline]
    plan = Plan(**{**given, "compare": tuple(given.get("compare", others))})
    strange = [name for name in plan.compare if name not in others]
    if strange or not plan.compare or len(set(plan.compare)) < len(plan.compare):
        raise ValueError(f"plan.compare must name different variants among {', '.join(others)}, got {plan.compare}")
    try:
        datetime.date.fromisoformat(plan.written)
    except (TypeError, ValueError):
        raise ValueError(f"plan.written must be a day as YYYY-MM-DD, got {plan.written!r}") from None
    if not plan.smallest > 0:
        raise ValueError(f"plan.smallest must be above 0 points, got {plan.smallest!r}")
    if not 0 < plan.power < 1:
        raise ValueError(f"plan.power must lie between 0 and 1, both excluded, got {plan.power!r}")
    if not (type(plan.pilot) is int and 2 <= plan.pilot <= seeds):
        raise ValueError(f"plan.pilot must be a whole number from 2 to the {seeds} seeds, got {plan.pilot!r}")
    return plan
