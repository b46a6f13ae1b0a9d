"""What a study's plan decides: how many seeds, and what each primary comparison shows."""

from __future__ import annotations

from dataclasses import dataclass

from cutmix_dense.study.plan import Plan
from cutmix_dense.study.statistics import Difference, holm, paired_difference, seeds_needed, spread
from cutmix_dense.study.tables import Finished

ERROR_RATE = 0.05
"""Error rate of all primary comparisons together."""


@dataclass(frozen=True)
class Decision:
    """One primary comparison under the plan.

    Attributes:
        variant: its name.
        difference: to the baseline, over all seeds.
        p_value: adjusted by Holm's method over the primary comparisons; None where there is none.
        needed: seeds that the pilot's deviation asks for; None before the pilot is finished.
        plan: the plan.
    """

    variant: str
    difference: Difference
    p_value: float | None
    needed: int | None
    plan: Plan

    @property
    def verdict(self) -> str:
        """``"better"``, ``"worse"``, ``"no effect that matters"`` or ``"undecided"``."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return "undecided"
        # equal differences have no p-value, and no doubt
        if low > 0 or high < 0 if self.p_value is None else self.p_value < ERROR_RATE:
            return "better" if self.difference.mean > 0 else "worse"
        smallest = self.plan.smallest
        return "no effect that matters" if -smallest < low and high < smallest else "undecided"

    @property
    def is_narrow(self) -> bool:
        """Whether the interval is narrow enough to decide: half of it is at most the smallest effect that matters."""
        return self.difference.half_width is not None and self.difference.half_width <= self.plan.smallest


def pilot_seeds(finished: Finished) -> tuple[int, ...]:
    """The seeds of the plan's pilot, all seeds of a study without a plan."""
    plan = finished.study.plan
    return finished.study.seeds if plan is None else finished.study.seeds[: plan.pilot]


def seeds_to_run(finished: Finished) -> tuple[int, ...]:
    """The seeds that the plan asks for, the pilot's first.

    Until the pilot is finished these are its own. Then the largest of the numbers of seeds that the primary
    comparisons need is taken, once and for all, so that no later result decides when to stop; the study's seeds bound
    it.
    """
    plan, pilot = finished.study.plan, pilot_seeds(finished)
    if plan is None:
        return pilot
    needed = [_needed(finished, plan, name) for name in plan.compare]
    counts = [count for count in needed if count is not None]
    return finished.study.seeds[: max(len(pilot), *counts)] if len(counts) == len(needed) else pilot


def decisions(finished: Finished) -> list[Decision]:
    """The primary comparisons that can be told of so far, in the plan's order; empty for a study without a plan."""
    plan = finished.study.plan
    if plan is None:
        return []
    found = {name: finished.difference(name, finished.study.metric) for name in plan.compare}
    differences = {name: difference for name, difference in found.items() if difference is not None}
    p_values = {name: found.p_value for name, found in differences.items() if found.p_value is not None}
    adjusted = holm(p_values)
    return [
        Decision(name, difference, adjusted.get(name), _needed(finished, plan, name), plan)
        for name, difference in differences.items()
    ]


def _needed(finished: Finished, plan: Plan, variant: str) -> int | None:
    """Seeds that one comparison needs by the deviation of the pilot; None before all of the pilot's are there."""
    study = finished.study
    values = [finished.by_seed(name, study.metric) for name in (variant, study.baseline)]
    pilot = pilot_seeds(finished)
    first, second = ({seed: found[seed] for seed in pilot if seed in found} for found in values)
    difference = paired_difference(first, second)
    if difference is None or len(difference.values) < len(pilot):
        return None
    deviation = spread(list(difference.values.values())).sd or 0.0
    return seeds_needed(deviation, plan.smallest, power=plan.power, comparisons=len(plan.compare))
