"""Finished runs as numbers: by variant, metric and seed, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cutmix_dense.study.folders import StudyFolder
from cutmix_dense.study.published import six_digits
from cutmix_dense.study.settings import Study
from cutmix_dense.study.statistics import Difference, Spread, paired_difference, spread

COUNTS = 3.0
"""Least ratio of the baseline's metric to the untrained model's for a table to count."""

Pick = Callable[[dict[str, Any]], "float | None"]
"""What takes a number out of a run's result; None where it has none."""


@dataclass(frozen=True)
class Finished:
    """What a study has so far.

    Attributes:
        study: its settings.
        options: changes to all configs from the command line.
        results: by variant, by seed.
        untrained: what the model before training measured, None if that isn't done.
        states: of the runs that aren't finished, by name.
        first_seed_published: whether the first seed's results are those of a published report.
    """

    study: Study
    options: dict[str, Any]
    results: dict[str, dict[int, dict[str, Any]]]
    untrained: dict[str, Any] | None
    states: dict[str, str]
    first_seed_published: bool = False

    @property
    def others(self) -> list[str]:
        """The variants that are compared with the baseline, in the study's order."""
        return [name for name in self.study.variants if name != self.study.baseline]

    @property
    def compared(self) -> list[str]:
        """All variants, the baseline first."""
        return [self.study.baseline, *self.others]

    @property
    def all_results(self) -> list[dict[str, Any]]:
        """Results in the order of variants and seeds."""
        return [self.results[name][seed] for name in self.compared for seed in sorted(self.results[name])]

    @property
    def every_result(self) -> list[dict[str, Any]]:
        """All results, the untrained model's first."""
        return ([self.untrained] if self.untrained else []) + self.all_results

    def by_seed(self, variant: str, pick: str | Pick) -> dict[int, float]:
        """A metric's value by seed, of the runs that have it.

        Args:
            variant: its name.
            pick: the metric's name, or a function of a result.
        """
        values = {
            seed: result["metrics"].get(pick) if isinstance(pick, str) else pick(result)
            for seed, result in sorted(self.results[variant].items())
        }
        return {seed: value for seed, value in values.items() if value is not None}

    def spread(self, variant: str, pick: str | Pick) -> Spread | None:
        """Mean and deviation over seeds; None without runs."""
        values = self.by_seed(variant, pick)
        return spread(list(values.values())) if values else None

    def difference(self, variant: str, pick: str | Pick) -> Difference | None:
        """To the baseline, paired by seed; None without a common seed."""
        return paired_difference(self.by_seed(variant, pick), self.by_seed(self.study.baseline, pick))

    def classes(self) -> list[str]:
        """Names of the classes that have a value of their own, in the dataset's order."""
        start = self.study.per_class
        if not start:
            return []
        results = self.all_results
        found = {name[len(start) :] for r in results for name in r["metrics"] if name.startswith(start)}
        order = [name for result in results[:1] for name in result["classes"]]
        return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))

    def conditions(self) -> list[tuple[str, float]]:
        """Occlusions that were measured: (kind, share), in the study's order."""
        return [(occlusion.kind, occlusion.share) for occlusion in self.study.measuring.occlusions]

    def occluded(self, kind: str, share: float) -> Pick:
        """A function of a result: its main metric under one occlusion."""

        def pick(result: dict[str, Any]) -> float | None:
            for condition in result["occlusion"]:
                if condition["kind"] == kind and condition["share"] == share:
                    return condition["metrics"].get(self.study.metric)
            return None

        return pick

    def under_shift(self, metric: str, kind: str, strength: float) -> Pick:
        """A function of a result: a metric under one shift; None in results that were measured without it."""

        def pick(result: dict[str, Any]) -> float | None:
            for condition in result.get("shifts", ()):
                if condition["kind"] == kind and condition["strength"] == strength:
                    return condition["metrics"].get(metric)
            return None

        return pick

    def untrained_metric(self) -> float | None:
        """The main metric before training."""
        return None if self.untrained is None else self.untrained["metrics"].get(self.study.metric)

    def counts(self) -> tuple[bool | None, str]:
        """Whether the table counts (None: can't be said yet), and why, in words."""
        untrained, baseline = self.untrained_metric(), self.spread(self.study.baseline, self.study.metric)
        if untrained is None or baseline is None:
            lacking = "the baseline has not been measured"
            if untrained is None:
                known = self.untrained is not None  # no detections, say, have no precision
                lacking = f"the untrained model has {f'no {self.study.metric}' if known else 'not been measured'}"
            return None, f"It can't be said yet whether this table counts: {lacking}."
        ratio = f"{baseline.mean / untrained:.1f}×" if untrained > 0 else ""
        good = baseline.mean > 0 and baseline.mean >= COUNTS * untrained
        reached = f"The untrained model has {self.study.metric} {untrained:.2f}, the baseline {baseline.mean:.2f}"
        reached += f": {ratio} that." if untrained > 0 else "."
        if good:
            return (
                True,
                f"{reached} **The table counts**: the baseline has learned (at least {COUNTS:g}× is asked for).",
            )
        return False, (
            f"{reached} **The table does not count**: at least {COUNTS:g}× is asked for, so the baseline has learned "
            "too little for a comparison."
        )


def seconds_per_step(result: dict[str, Any]) -> float | None:
    """Processor time of training an epoch (an iteration, where a config counts these); None of older results."""
    seconds, steps = result.get("training_cpu_seconds"), result.get("steps")
    return seconds / steps if seconds and steps else None


def collect(folder: StudyFolder) -> Finished:
    """Read the finished runs of a study, numbers with six digits; what isn't finished is named with its state."""
    results: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in folder.study.variants}
    states = {}
    published: list[bool] = []  # of the first seed
    first, *runs = folder.runs()
    untrained = six_digits(first.result())
    if untrained is None:
        states[first.name] = first.state()
    for run in runs:
        result = run.result()
        if result is None:
            states[run.name] = run.state()
        else:
            results[run.variant][run.seed] = six_digits(result)
            published += [result is run.published] * (run.seed == folder.study.seeds[0])
    first_seed_published = bool(published) and all(published)
    return Finished(folder.study, folder.options, results, untrained, states, first_seed_published)


def results_csv(finished: Finished) -> str:
    """One row per run, condition and metric."""
    rows: list[Sequence[object]] = []
    for result in finished.every_result:
        run = (result["variant"], result["seed"])
        rows += [(*run, "none", "", name, _exact(value)) for name, value in sorted(result["metrics"].items())]
        for condition in result["occlusion"]:
            where = (condition["kind"], f"{condition['share']:g}")
            rows += [(*run, *where, name, _exact(value)) for name, value in sorted(condition["metrics"].items())]
        for condition in result.get("shifts", ()):
            where = (condition["kind"], f"{condition['strength']:g}")
            rows += [(*run, *where, name, _exact(value)) for name, value in sorted(condition["metrics"].items())]
    return _csv(("variant", "seed", "condition", "strength", "metric", "value"), rows)


def summary_csv(finished: Finished) -> str:
    """One row per variant, condition and metric: mean, deviation, paired difference and its interval."""
    picks: list[tuple[str, str, str, str | Pick]] = [("none", "", finished.study.metric, finished.study.metric)]
    picks += [("none", "", finished.study.per_class + c, finished.study.per_class + c) for c in finished.classes()]
    picks.append(("none", "", "training_cpu_seconds_per_step", seconds_per_step))
    for kind, share in finished.conditions():
        picks.append((kind, f"{share:g}", finished.study.metric, finished.occluded(kind, share)))
    picks += [("none", "", name, name) for name in finished.study.reliability]
    for shift in finished.study.measuring.shifts:
        for name in (finished.study.metric, *finished.study.reliability):
            shifted = finished.under_shift(name, shift.kind, shift.strength)
            picks.append((shift.kind, f"{shift.strength:g}", name, shifted))
    rows: list[Sequence[object]] = []
    for occlusion, share_text, metric, pick in picks:
        for variant in finished.compared:
            summary = finished.spread(variant, pick)
            if summary is None:
                continue
            numbers: list[object] = [_exact(summary.mean), _exact(summary.sd), summary.n]
            difference = None if variant == finished.study.baseline else finished.difference(variant, pick)
            if difference is None:
                numbers += [""] * 9
            else:
                ends = (difference.mean, difference.low, difference.high, difference.p_value)
                won = (difference.wins, difference.losses)  # positive and negative
                won = won[::-1] if finished.study.reliability.get(metric) == "lower" else won
                numbers += [len(difference.values), *map(_exact, ends), *won]
                numbers += map(_exact, difference.bootstrap or (None, None))
            rows.append((variant, occlusion, share_text, metric, *numbers))
    head = ("variant", "condition", "strength", "metric", "mean", "sd", "n")
    return _csv(
        (*head, "pairs", "difference", "low95", "high95", "p", "wins", "losses", "bootstrap_low95", "bootstrap_high95"),
        rows,
    )


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
