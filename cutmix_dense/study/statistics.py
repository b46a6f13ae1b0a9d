"""Means over seeds and differences paired by seed, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cutmix_dense.extras import require

__all__ = ["Difference", "Spread", "paired_difference", "spread"]


@dataclass(frozen=True)
class Spread:
    """Some numbers in short.

    Attributes:
        mean: their mean.
        sd: their sample standard deviation (n − 1 below), None for one number.
        n: how many.
    """

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """A variant less the baseline, seed by seed.

    Attributes:
        values: the difference of every seed that both have, by seed.
        mean: of the differences.
        half_width: of the t-interval about the mean; None for fewer than two seeds.
        level: of the interval, 0.95 for 95%.
        p_value: of the two-sided paired t-test, None where it isn't defined (fewer than two seeds, or all differences
            equal).
    """

    values: dict[int, float]
    mean: float
    half_width: float | None
    level: float
    p_value: float | None

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half_width is None else self.mean + self.half_width

    @property
    def wins(self) -> int:
        """Seeds in which the variant is better."""
        return sum(value > 0 for value in self.values.values())

    @property
    def losses(self) -> int:
        """Seeds in which the baseline is better."""
        return sum(value < 0 for value in self.values.values())

    @property
    def verdict(self) -> str:
        """``"better"``, ``"worse"``, ``"not significant"`` or ``"too few seeds"``, by whether the interval holds 0."""
        if self.low is None or self.high is None:
            return "too few seeds"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not significant"


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation.

    Raises:
        ValueError: no numbers.
    """
    if not values:
        raise ValueError("values must hold at least one number, got none")
    mean = math.fsum(values) / len(values)
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else None
    return Spread(mean, sd, len(values))


def paired_difference(
    variant: Mapping[int, float], baseline: Mapping[int, float], level: float = 0.95
) -> Difference | None:
    """The difference paired by seed, with the interval of Student's t over n − 1 degrees of freedom.

    Args:
        variant: metric by seed.
        baseline: metric by seed; seeds that only one of the two has don't count.
        level: of the interval, in (0, 1).

    Returns:
        The difference, or None where no seed is common.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    seeds = sorted(set(variant) & set(baseline))
    if not seeds:
        return None
    values = {seed: variant[seed] - baseline[seed] for seed in seeds}
    summary = spread(list(values.values()))
    if summary.sd is None:
        return Difference(values, summary.mean, None, level, None)
    student = require("scipy.stats", "train").t(df=summary.n - 1)
    error = summary.sd / math.sqrt(summary.n)
    p_value = float(2 * student.sf(abs(summary.mean) / error)) if error > 0 else None
    return Difference(values, summary.mean, float(student.ppf((1 + level) / 2)) * error, level, p_value)
