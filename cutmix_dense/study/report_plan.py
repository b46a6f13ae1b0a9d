"""The report's parts about the plan: what was decided beforehand, and what the primary comparisons show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cutmix_dense.study.decision import Decision, decisions, pilot_seeds, seeds_to_run
from cutmix_dense.study.plan import Plan
from cutmix_dense.study.tables import Finished


def plan_lines(finished: Finished, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The section that states the plan; empty for a study without one.

    Args:
        finished: the runs.
        records: the plans of the study's folder, as ``read_plans`` gives them.
    """
    plan = finished.study.plan
    if plan is None:
        return []
    study, pilot = finished.study, pilot_seeds(finished)
    lines = ["## Decided beforehand", "", f"Written on {plan.written}. {_recorded(records)}".rstrip(), ""]
    lines += [f"- primary metric: `{study.metric}`; the smallest effect that matters is {plan.smallest:g} points"]
    lines += [f"- primary comparisons, each with {study.baseline}: {', '.join(plan.compare)}; all others are secondary"]
    lines += [
        "- errors: 5% for all primary comparisons together, by Holm's correction of the paired t-tests' p-values",
        f"- seeds: the first {len(pilot)} are the pilot; its deviations say how many find the smallest effect with a "
        f"probability of {plan.power:.0%}. That number is taken once, at most {len(study.seeds)}, and no later result "
        "changes it",
    ]
    lines += [f"- {plan.note}"] if plan.note else []
    return [*lines, "", *_seeds(finished), ""]


def _recorded(records: Sequence[Mapping[str, Any]]) -> str:
    told = []
    for number, record in enumerate(records):
        runs = record["finished"]
        when = "before the first run" if not runs else f"when {runs} {'run was' if runs == 1 else 'runs were'} finished"
        told.append(f"{'Recorded' if number == 0 else '**Changed**'} on {record['recorded']}, {when}.")
    return " ".join(told)


def _seeds(finished: Finished) -> list[str]:
    found = decisions(finished)
    if len(found) < len(finished.study.plan.compare if finished.study.plan else ()) or any(
        one.needed is None for one in found
    ):
        return ["The pilot isn't finished yet."]
    needed = ", ".join(f"{one.variant} {one.needed}" for one in found)
    asked, count = max(one.needed or 0 for one in found), len(seeds_to_run(finished))
    bounded = f", of which this study has {count}: what stays undecided needs more" if asked > count else ""
    return [f"Seeds that the pilot asks for: {needed}. So **{asked}**{bounded}."]


def primary_rows(finished: Finished) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of primary comparisons."""
    head = ["comparison", "difference", "95% interval", "95% bootstrap", "p, Holm", "narrow enough", "verdict"]
    rows = []
    for one in decisions(finished):
        difference = one.difference
        boot = difference.bootstrap
        rows.append(
            [
                one.variant,
                f"{difference.mean:+.2f}",
                "–" if difference.low is None else f"{difference.low:+.2f} … {difference.high:+.2f}",
                "–" if boot is None else f"{boot[0]:+.2f} … {boot[1]:+.2f}",
                "–" if one.p_value is None else f"{one.p_value:.3f}" if one.p_value >= 0.001 else "< 0.001",
                "yes" if one.is_narrow else "no",
                f"**{one.verdict}**" if one.verdict in ("better", "worse") else one.verdict,
            ]
        )
    return head, rows


def sentence(one: Decision, metric: str, baseline: str, *, title: str = "") -> str:
    """One sentence about a primary comparison.

    Args:
        one: the comparison.
        metric: name of the metric.
        baseline: name of the variant it is compared with.
        title: of the study, for pages about several.
    """
    difference, plan = one.difference, one.plan
    where = f"{title}: " if title else ""
    count = len(difference.values)
    seeds = f"{count} {'seed' if count == 1 else 'seeds'}"
    interval = "" if difference.low is None else f" (95%: {difference.low:+.1f} … {difference.high:+.1f}, {seeds})"
    said = {
        "better": f"raises {metric} by {difference.mean:.1f} points over {baseline}{interval}",
        "worse": f"lowers {metric} by {-difference.mean:.1f} points against {baseline}{interval}",
        "no effect that matters": f"changes {metric} by less than {plan.smallest:g} points{interval}",
        "undecided": f"is undecided: {difference.mean:+.1f} points of {metric}{interval or f' ({seeds})'}",
    }[one.verdict]
    more = f"; about {one.needed} seeds would decide" if one.verdict == "undecided" and _short(one, plan) else ""
    return f"{where}**{one.variant}** {said}{more}."


def _short(one: Decision, plan: Plan) -> bool:
    """Whether there are fewer seeds than the pilot asked for."""
    return one.needed is not None and len(one.difference.values) < one.needed
