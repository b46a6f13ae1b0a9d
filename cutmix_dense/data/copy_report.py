"""What a finished mixed copy consists of, and the file beside the data that says so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutmix_dense.data.copy_work import Job
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.outcomes import named


@dataclass(frozen=True)
class CopyReport:
    """What a finished copy consists of.

    Attributes:
        root: where it lies.
        path: the JSON file that says the same in full.
        written: how many samples are listed.
        unmixed: how many of them show their base alone, as the transform's `p` or an empty region left them.
        skipped: samples that were left out, as {"sample", "file", "reason"}.
        broken: files that could not be read, as {"file", "reason", "as_base", "as_partner"}: how many samples that
            cost, and in how many another partner took their place.
        outcomes: what became of the instances, ("base", "partner" or "cut-out", outcome, reason) -> how many. Those of
            a partner that aren't in the part of it that is pasted are "left out", not "dropped".
        not_kept: what the layout of the copy has no place for, or what a mix falsified, and how often it occurred.
        made_anew: what the copy numbers by itself.
        notes: what was left out of files that were read otherwise, as {"file", "reason"}.
        resumed: how many samples an earlier run had made already.
        source: the folder of the data set that was copied.
        absent: splits that trainers of the copy's layout need and that it doesn't have yet, and what the data set calls
            its own for each, "" where it has none.
    """

    root: Path
    path: Path
    written: int
    unmixed: int
    skipped: list[dict[str, Any]]
    broken: list[dict[str, Any]]
    outcomes: dict[tuple[str, str, str], int]
    not_kept: dict[str, int]
    made_anew: list[str]
    notes: list[dict[str, str]]
    resumed: int = 0
    source: Path | None = None
    absent: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, resumed: int = 0) -> CopyReport:
        """The report of a finished copy, from its JSON file."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            outcomes: Counter[tuple[str, str, str]] = Counter()
            for row in content["outcomes"]:  # older versions call dropped what is left out
                outcomes[named(row["side"], row["outcome"], row["reason"])] += row["count"]
            return cls(
                root=path.parent,
                path=path,
                written=content["written"],
                unmixed=content["unmixed"],
                skipped=content["skipped"],
                broken=content["broken"],
                outcomes=dict(outcomes),
                not_kept=dict(content.get("not_kept", {})),
                made_anew=list(content.get("made_anew", [])),
                notes=list(content.get("notes", [])),
                resumed=resumed,
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DatasetError(f"{path}: is not the report of a mixed copy ({error})") from error


def summary(
    parameters: dict[str, Any],
    jobs: Sequence[Job],
    done: Mapping[str, dict[str, Any]],
    skipped: Sequence[dict[str, Any]],
    made_anew: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of the report's file. It depends on the samples alone, not on the order in which they were made.

    Args:
        parameters: all that the bytes of the copy depend on.
        jobs: every sample that was to be made, in order.
        done: records of those that are listed, by key.
        skipped: records of those that were left out.
        made_anew: what the copy numbers by itself.
    """
    not_kept: Counter[str] = Counter()
    notes: dict[tuple[str, str], dict[str, str]] = {}
    outcomes: Counter[tuple[str, str, str]] = Counter()
    broken: dict[str, dict[str, Any]] = {}

    def blame(entry: dict[str, str], role: str) -> None:
        row = broken.setdefault(entry["file"], {**entry, "as_base": 0, "as_partner": 0})
        row[role] += 1

    by_key = {record["sample"]: record for record in skipped}
    for job in jobs:
        record = done.get(job.key) or by_key.get(job.key) or {}
        not_kept.update(record.get("not_kept", {}))
        notes.update({(note["file"], note["reason"]): note for note in record.get("notes", [])})
        for side, outcome, reason, count in record.get("outcomes", []):
            outcomes[named(side, outcome, reason)] += count
        for entry in record.get("replaced", []):
            blame(entry, "as_partner")
        if "skipped" in record:
            blame(record["skipped"], "as_base")
    return {
        "parameters": parameters,
        "finished": True,
        "written": len(done),
        "unmixed": sum(not record.get("mixed", True) for record in done.values()),
        "outcomes": [
            {"side": side, "outcome": outcome, "reason": reason, "count": count}
            for (side, outcome, reason), count in sorted(outcomes.items())
        ],
        "skipped": [
            {"sample": job.key, **by_key[job.key]["skipped"]}
            for job in jobs
            if job.key in by_key and job.key not in done
        ],
        "broken": sorted(broken.values(), key=lambda row: row["file"]),
        "not_kept": dict(sorted(not_kept.items())),
        "made_anew": list(made_anew),
        "notes": [notes[key] for key in sorted(notes)],
        "samples": [
            {"sample": job.key, "base": done[job.key]["base"], "partners": done[job.key].get("partners", [])}
            for job in jobs
            if job.key in done
        ],
    }
