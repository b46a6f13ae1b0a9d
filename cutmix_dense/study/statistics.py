"""Means over seeds, differences paired by seed with their intervals, and how many seeds they need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cutmix_dense.extras import require

_BOOTSTRAP_SEEDS = 5
"""Fewer differences than these get no bootstrap interval: there are too few different samples of them."""
_MOST_SEEDS = 1000


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
    def bootstrap(self) -> tuple[float, float] | None:
        """Ends of the bias-corrected and accelerated bootstrap interval of the mean, worked out when asked for.

        It doesn't take the differences for normal. None for fewer than five seeds, or if all differences are equal.
        """
        return _bootstrapped(list(self.values.values()), self.level)

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
    half_width = float(student.ppf((1 + level) / 2)) * error
    return Difference(values, summary.mean, half_width, level, p_value)


def _bootstrapped(values: list[float], level: float) -> tuple[float, float] | None:
    if len(values) < _BOOTSTRAP_SEEDS or len(set(values)) == 1:
        return None
    import numpy as np

    stats = require("scipy.stats", "train")
    draws = np.random.default_rng(0)  # the same report for the same runs
    found = stats.bootstrap((values,), np.mean, confidence_level=level, method="BCa", random_state=draws)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values adjusted for being several, by Holm's step-down method.

    Args:
        p_values: by name, each in [0, 1].

    Returns:
        The adjusted ones, by name: below ``1 - level`` where the comparison holds at that level for all together.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).

    Example:
        >>> holm({"cutmix": 0.01, "mosaic": 0.04, "mixup": 0.03})
        {'cutmix': 0.03, 'mosaic': 0.06, 'mixup': 0.06}
    """
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def seeds_needed(sd: float, smallest: float, level: float = 0.95, power: float = 0.8, comparisons: int = 1) -> int:
    """The least number of seeds with which a paired t-test finds an effect with the wanted probability.

    Args:
        sd: standard deviation of the differences between seeds, at least 0.
        smallest: the effect to find, in the same unit, above 0.
        level: of the intervals; the test's error rate is ``(1 - level) / comparisons``.
        power: the probability, in (0, 1).
        comparisons: how many comparisons share the error rate (Bonferroni, so at least what Holm needs).

    Returns:
        At least 2, at most 1,000.

    Raises:
        ValueError: an argument out of range, named.

    Example:
        >>> seeds_needed(sd=2.0, smallest=3.0), seeds_needed(sd=2.0, smallest=1.0)
        (6, 34)
    """
    if not (sd >= 0 and smallest > 0 and comparisons >= 1):
        raise ValueError(f"sd, smallest and comparisons must be ≥ 0, > 0 and ≥ 1, got {sd}, {smallest}, {comparisons}")
    if not (0 < level < 1 and 0 < power < 1):
        raise ValueError(f"level and power must lie between 0 and 1, both excluded, got {level}, {power}")
    if sd == 0:
        return 2
    stats = require("scipy.stats", "train")
    for seeds in range(2, _MOST_SEEDS):
        effect = smallest / sd * math.sqrt(seeds)
        critical = stats.t(df=seeds - 1).isf((1 - level) / comparisons / 2)
        noncentral = stats.nct(df=seeds - 1, nc=effect)
        if noncentral.sf(critical) + noncentral.cdf(-critical) >= power:
            return seeds
    return _MOST_SEEDS
