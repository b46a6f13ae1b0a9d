"""A run as a page in Markdown, written into ``page.md``, and as JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from cutmix_dense.cli.benchmarking.loader import share_of_loading
from cutmix_dense.cli.benchmarking.promises import Check, checks_of, on_threads
from cutmix_dense.cli.benchmarking.results import Result, Settings
from cutmix_dense.cli.benchmarking.timing import Timing

_BATCHES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("CutMix", "images", "CutMix, out=", ("torchvision v2.CutMix", "MONAI CutMix", "kornia RandomCutMixV2")),
    ("CutMix in place", "images", "CutMix, in place (swap)", ()),
    ("CutMix with {objects} boxes", "boxes", "CutMix + ragged boxes, out=", ()),
    ("CutMix with a class map", "semantic", "CutMix + map, out=", ("MONAI CutMix",)),
    ("CutMix with {objects} instance masks", "masks", "CutMix + masks, out=", ()),
    ("MixUp", "images", "MixUp, out=", ("torchvision v2.MixUp",)),
    ("CopyPaste with {objects} boxes", "boxes", "CopyPaste + ragged boxes, out=", ()),
    ("ClassMix with a class map", "semantic", "ClassMix + map, out=", ("kornia RandomTransplantation",)),
    ("Mosaic with {objects} boxes", "boxes", "Mosaic + ragged boxes, out=", ("kornia RandomMosaic",)),
)
_SAMPLES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("Albumentations: CutMix", "sample", "albumentations.CutMix", ("empty A.Compose",)),
    ("Albumentations: Mosaic", "sample", "albumentations.Mosaic", ("albumentations Mosaic",)),
    ("MMDetection: Mosaic", "sample", "mmengine.Mosaic", ("mmdet Mosaic",)),
    ("MMDetection: CopyPaste, {objects} masks", "sample-masks", "mmengine.CopyPaste", ("mmdet CopyPaste",)),
)
"""Rows of the first tables: what a reader calls it, job, our row's name, and the rows of peers."""


def page(results: Sequence[Result], checks: Sequence[Check], facts: dict[str, Any]) -> str:
    """The whole run as Markdown."""
    machine = {key: value for key, value in facts["machine"].items() if key != "versions"}
    lists = {"machine": machine, "versions": facts["machine"]["versions"], "settings": facts["settings"]}
    notes = [f"- {name}: {', '.join(f'{key} {value}' for key, value in of.items())}" for name, of in lists.items()]
    load, cores = machine.get("load_at_start"), machine.get("cores")
    if load and cores and load > cores / 2:
        notes.append(f"- **busy**: other programs kept {load} of {cores} cores at work when it began; don't quote it")
    if facts.get("interrupted"):
        notes.append("- **interrupted**: what follows is what was done by then")
    template = Template((Path(__file__).parent / "page.md").read_text(encoding="utf-8"))
    return template.substitute(
        summary=_summary({result.job: result for result in results}, facts["settings"]),
        promises=_promises(checks),
        command=facts["command"],
        facts="\n".join(notes),
        tables="\n".join(map(_full, results)),
    )


def _summary(results: dict[str, Result], settings: dict[str, Any]) -> str:
    """What a mix costs beside peers, in copies or milliseconds, and of loading."""
    batch = f"a batch of {settings['batch']} images of {settings['size']}×{settings['size']}"
    kinds = ((f"{batch}, {on_threads(settings['threads'][-1])}", "copies", _BATCHES), ("one image", "ms", _SAMPLES))
    tables = []
    for title, unit, rows in kinds:
        lines: list[tuple[str, ...]] = []
        for what, job, name, peers in rows:
            row = _last(results.get(job), f"ours {name}")
            if row:
                found = {peer: _last(results[job], peer) for peer in peers}
                theirs = [f"{peer} {_cost(results[job], it, unit)}" for peer, it in found.items() if it]
                lines.append((what.format(**settings), _cost(results[job], row, unit), "; ".join(theirs)))
        tables.append(_table((title, unit, f"beside it, {unit}"), lines))
    if loader := results.get("loader"):
        counts = list(dict.fromkeys(row.name.rsplit(", ", 1)[1] for row in loader.rows))
        ways = dict.fromkeys(row.name.rsplit(", ", 1)[0] for row in loader.rows if row.seconds)
        lines = [(way, *(_loaded(loader, f"{way}, {count}") for count in counts)) for way in ways]
        head = (f"a {loader.title}", *(f"images/s (share of the mix), {count}" for count in counts))
        tables.append(_table(head, lines))
    return "\n".join(filter(None, tables))


def _last(result: Result | None, name: str) -> Timing | None:
    """The row on the most threads, if it was timed."""
    return next((row for row in reversed(result.rows if result else ()) if row.name == name and row.seconds), None)


def _cost(result: Result, row: Timing, unit: str) -> str:
    return _number(result.ratio(row) if unit == "copies" else row.median * 1e3)


def _loaded(loader: Result, name: str) -> str:
    row, share = loader.row(name), share_of_loading(loader, name)
    return f"{1 / row.median:.0f}{f' ({share:.0%})' if share > 0 else ''}" if row else "–"


def _promises(checks: Sequence[Check]) -> str:
    lines = []
    for check in checks:
        limit = f"{'≥' if check.at_least else '≤'} {check.limit:g} {check.unit}"
        lines.append((check.what, _number(check.measured), limit, check.verdict))
    return _table(("promise", "measured", "limit", "kept"), lines)


def _full(result: Result) -> str:
    lines = []
    for row in result.rows:
        remarks = [row.problem, row.does]
        if row.host:
            remarks.insert(0, f"host {_time(statistics.median(row.host))}, waits {row.waits} times")
        if len(row.seconds) < row.runs:
            remarks.insert(0, f"{len(row.seconds)} of {row.runs} runs ({len(row.seconds) / row.runs:.0%})")
        low, high = map(_time, row.spread)
        times = (_time(row.median), f"{low} – {high}") if row.seconds else ("–", "–")
        ratios = _number(result.ratio(row)), _number(row.slowed)
        calls = "–" if row.calls is None else str(row.calls)
        lines.append((row.name, str(row.threads), *times, *ratios, calls, "; ".join(filter(None, remarks))))
    head = ("what", "threads", "median", "quartiles", "× floor", "beside a busy loop", "calls", "remarks")
    return "\n".join([f"### {result.title}", "", _table(head, lines), *(f"- {note}" for note in result.notes), ""])


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown; the first and the last column to the left, others to the right; nothing without lines."""
    if not lines:
        return ""
    rule = ["---", *["---:"] * (len(head) - 2), "---"]
    rows = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in (head, rule, *lines)]
    return "".join(f"| {row} |\n" for row in rows)


def write(folder: Path, results: Sequence[Result], facts: dict[str, Any], settings: Settings) -> list[Check]:
    """Write ``benchmark.md`` and ``benchmark.json``; returns the checks."""
    folder.mkdir(parents=True, exist_ok=True)
    checks = checks_of(results, settings)
    (folder / "benchmark.md").write_text(page(results, checks, facts), encoding="utf-8")
    record = {**facts, "checks": [{"name": check.what, **check.__dict__, "verdict": check.verdict} for check in checks]}
    record["jobs"] = [_record(result) for result in results]
    text = json.dumps(_plain(record)).replace('{"name": ', '\n{"name": ')  # a line for each check and row
    (folder / "benchmark.json").write_text(text + "\n", encoding="utf-8")
    return checks


def _record(result: Result) -> dict[str, Any]:
    rows = []
    for row in result.rows:
        figures = {"median_s": row.median, "quartiles_s": row.spread, "ratio": result.ratio(row), "slowed": row.slowed}
        told = {key: getattr(row, key) for key in ("name", "threads", "runs", "calls", "does", "problem")}
        on_device = {"host_s": statistics.median(row.host), "waits": row.waits} if row.host else {}
        rows.append({**told, **figures, **on_device, "n": len(row.seconds)})
    return {"job": result.job, "title": result.title, "floor": result.floor, "notes": result.notes, "rows": rows}


def _plain(value: Any) -> Any:
    """Without NaN, which JSON doesn't know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
