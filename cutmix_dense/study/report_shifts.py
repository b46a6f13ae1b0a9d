"""The report's parts about reliability, and about shifted validation sets."""

from __future__ import annotations

from cutmix_dense.study.forms import called, interval, mean, table
from cutmix_dense.study.tables import Finished, Pick

_UNITS = {"blur": " px"}
_BETTER = {"lower": "↓", "higher": "↑"}


def reliability_lines(finished: Finished) -> list[str]:
    """The section about calibration on the validation set as it is; empty for a study that asks for none."""
    metrics = finished.study.reliability
    if not metrics:
        return []
    lines = ["## Reliability", ""]
    lines += ["Whether confidences can be trusted; ↓: lower is better, ↑: higher is better. Mean ± sd:", ""]
    return lines + _both(finished, [(_head(finished, name), name) for name in metrics])


def shift_lines(finished: Finished) -> list[str]:
    """The section about shifted validation sets; empty for a study that has none."""
    study, shifts = finished.study, finished.study.measuring.shifts
    if not shifts:
        return []
    lines = ["## Shifted validation sets", ""]
    lines += [
        "The validation images in fog (share of white), with noise (standard deviation, share of the range of values) "
        "or blurred (standard deviation, pixels), the same pixels in every run; the targets stay. A variant whose "
        "training changes pictures alike has seen something like it.",
        "",
    ]
    for name in (study.metric, *study.reliability):
        columns: list[tuple[str, str | Pick]] = [("none", name)]
        for shift in shifts:
            head = f"{shift.kind} {shift.strength:g}{_UNITS.get(shift.kind, '')}"
            columns.append((head, finished.under_shift(name, shift.kind, shift.strength)))
        lines += [f"### {_head(finished, name)}", "", "Mean ± sd:", "", *_both(finished, columns)]
    return lines


def _both(finished: Finished, columns: list[tuple[str, str | Pick]]) -> list[str]:
    """The tables of means, and of paired differences."""
    heads = [head for head, _ in columns]
    rows = [[called(finished, v), *(mean(finished.spread(v, pick)) for _, pick in columns)] for v in finished.compared]
    lines = table(["variant", *heads], rows)
    lines += ["Paired difference to the baseline, with its 95% interval (bold: excludes 0):", ""]
    rows = [[v, *(interval(finished.difference(v, pick)) for _, pick in columns)] for v in finished.others]
    return lines + table(["variant", *heads], rows)


def _head(finished: Finished, name: str) -> str:
    """A metric's name with the direction in which it is better."""
    return f"{name} {_BETTER[finished.study.reliability.get(name, 'higher')]}"
