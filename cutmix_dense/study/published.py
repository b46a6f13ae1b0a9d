"""The runs of a published report, so that a study goes on where their folders are gone."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.study.occlusion import OcclusionKind
from cutmix_dense.study.settings import StudyError

RESULTS, RUNS = "results.csv", "runs.json"
"""File names in a published report: every metric of every run, and all else that a report needs of them."""

_MEASURED = ("metrics", "occlusion", "shifts")
"""What ``results.csv`` holds of a run's result."""


@dataclass(frozen=True)
class Published:
    """What a published report holds of its runs.

    Attributes:
        results: by variant and seed, as runs write them.
        plans: what the study's folder said of its plan, as ``read_plans`` gives it.
        options: changes to all configs from the command line; of the data's folders the last name only.
    """

    results: Mapping[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    plans: Sequence[Mapping[str, Any]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def write_runs(
    results: Sequence[Mapping[str, Any]], plans: Sequence[Mapping[str, Any]], options: Mapping[str, Any], out: Path
) -> None:
    """Write ``runs.json`` into a folder: what ``results.csv`` beside it doesn't hold.

    Args:
        results: of the finished runs, the untrained model's among them.
        plans: see ``Published``.
        options: see ``Published``.
        out: the folder.
    """
    runs = [{key: value for key, value in result.items() if key not in _MEASURED} for result in results]
    head, *lines = (dump_json(one).rstrip() for one in ({"options": options, "plans": list(plans)}, *runs))
    write_atomic(out / RUNS, head[:-1] + b',"runs":[\n' + b",\n".join(lines) + b"\n]}\n")  # a line per run


def six_digits(value: Any) -> Any:
    """A run's result with all its numbers as they are published, so that a report of either is the same."""
    if isinstance(value, dict):
        return {key: six_digits(one) for key, one in value.items()}
    if isinstance(value, list):
        return [six_digits(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def read_published(folder: Path) -> Published:
    """The runs of a published report.

    Raises:
        StudyError: a file is missing, or both don't hold the same runs.
    """
    lacking = [name for name in (RESULTS, RUNS) if not (folder / name).is_file()]
    if lacking:
        raise StudyError(f"{folder} isn't a published report: it has no {' and no '.join(lacking)}")
    written = json.loads((folder / RUNS).read_text(encoding="utf-8"))
    measured: dict[tuple[str, int], dict[tuple[str, str], dict[str, float | None]]] = {}
    with (folder / RESULTS).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            conditions = measured.setdefault((row["variant"], int(row["seed"])), {})
            metrics = conditions.setdefault((row["condition"], row["strength"]), {})
            metrics[row["metric"]] = float(row["value"]) if row["value"] else None
    results = {(run["variant"], run["seed"]): run for run in written["runs"]}
    if results.keys() != measured.keys():
        names = ", ".join(f"{variant} seed {seed}" for variant, seed in sorted(results.keys() ^ measured.keys()))
        raise StudyError(f"{folder}: {RUNS} and {RESULTS} must hold the same runs, only one of them has {names}")
    whole = {key: {**run, **_measured(measured[key])} for key, run in results.items()}
    return Published(whole, written["plans"], written["options"])


def _measured(conditions: Mapping[tuple[str, str], dict[str, float | None]]) -> dict[str, Any]:
    found: dict[str, Any] = {"metrics": {}, "occlusion": [], "shifts": []}
    for (kind, strength), metrics in conditions.items():
        if kind == "none":
            found["metrics"] = metrics
        elif kind in get_args(OcclusionKind):
            found["occlusion"].append({"kind": kind, "share": float(strength), "metrics": metrics})
        else:
            found["shifts"].append({"kind": kind, "strength": float(strength), "metrics": metrics})
    return found
