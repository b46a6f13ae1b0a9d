"""The plan on disk: when it was recorded, and every later change of it."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.study.folders import StudyFolder


def record_plan(folder: StudyFolder, today: datetime.date | None = None) -> None:
    """Write the study's plan with the day into ``plan.json``, or add it there if it has changed since.

    Args:
        folder: of the study; one without a plan, and without a record, is left alone.
        today: the day, default that of the machine's clock.
    """
    records = read_plans(folder.out)
    plan = None if folder.study.plan is None else json.loads(json.dumps(asdict(folder.study.plan)))
    if plan == (records[-1]["plan"] if records else None):
        return
    finished = sum(run.result() is not None for run in folder.runs()[1:])
    records.append({"recorded": str(today or datetime.date.today()), "finished": finished, "plan": plan})
    folder.out.mkdir(parents=True, exist_ok=True)
    write_atomic(folder.out / "plan.json", dump_json(records))


def adopt_plans(folder: StudyFolder) -> None:
    """Write what a published report says of the plan into the study's folder, if that has no record of its own."""
    if folder.published.plans and not read_plans(folder.out):
        folder.out.mkdir(parents=True, exist_ok=True)
        write_atomic(folder.out / "plan.json", dump_json(list(folder.published.plans)))


def read_plans(out: Path) -> list[dict[str, Any]]:
    """The plans of a study's folder, the first first: ``recorded`` (the day), ``finished`` (runs then), ``plan``."""
    try:
        found: list[dict[str, Any]] = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return found
