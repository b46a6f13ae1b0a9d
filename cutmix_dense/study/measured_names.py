"""Whether the metrics that a study names are among those that its runs measure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from cutmix_dense.study.settings import Study, StudyError


def check_names(study: Study, measured: Mapping[str, Any]) -> None:
    """Refuse names of metrics that nothing measures, before hours of training lead to a table without them.

    Args:
        study: its ``metric``, ``per_class`` and ``reliability`` are looked at.
        measured: the result of a run, most often of the model before training: ``metrics`` by name, whose values
            aren't looked at, and ``classes``.

    Raises:
        StudyError: names of the study that aren't measured, each with the nearest that is.
    """
    names: list[str] = list(measured["metrics"])
    found = [(key, name) for key, name in _named(study) if name not in names]
    slips = [f"{key}: {name!r} isn't measured, {_near(name, names)}" for key, name in found]
    start, starts = study.per_class, _starts(names, measured["classes"])
    if start and start not in starts:
        slips.append(f"per_class: no metric is named {start!r} and a class, {_near(start, sorted(starts))}")
    if slips:
        raise StudyError(
            f"{study.path.name}: {'; '.join(slips)}; mend the name, or add the metric that gives it to val_evaluator"
        )


def _named(study: Study) -> list[tuple[str, str]]:
    return [("metric", study.metric), *(("reliability", name) for name in study.reliability)]


def _starts(names: Collection[str], classes: Collection[str]) -> set[str]:
    """What stands before the classes in the names of metrics; before any last word, where the classes have no names."""
    if not classes:
        return {name[: name.rindex("/") + 1] for name in names if "/" in name}
    return {name.removesuffix(one) for name in names for one in classes if name.endswith(f"/{one}")}


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"these are: {', '.join(known) or 'none'}"
