"""Metrics that a study reports beside its main one, and which way they are better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

Better = Literal["lower", "higher"]
"""Whether lower or higher values of a metric are better."""


def reliability_from(given: Mapping[str, Any]) -> dict[str, Better]:
    """A study's ``reliability``, checked.

    Args:
        given: names of metrics in the validation log, with "lower" or "higher".

    Raises:
        ValueError: another word; named.

    Example:
        >>> reliability_from({"calibration/ECE": "lower"})
        {'calibration/ECE': 'lower'}
    """
    for name, better in given.items():
        if better not in get_args(Better):
            raise ValueError(f"reliability: {name} must be one of {get_args(Better)}, got {better!r}")
    return dict(given)
