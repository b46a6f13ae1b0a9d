"""Results as a Markdown table, as JSON and as a plot, and each acceptance line beside what was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tools.benchmarking.growth import FIXED_PATCH, Curve
from tools.benchmarking.jobs import Result, Settings

__all__ = ["Check", "checks_of", "markdown", "write"]


@dataclass(frozen=True)
class Check:
    """One line of what the project promises.

    Attributes:
        what: the promise.
        measured: the figure, None if its rows weren't timed.
        limit: what it must not exceed (or must reach, if ``at_least``).
        unit: of both.
        at_least: whether more is better.
        judged: False for a quick run, whose sizes are not those of the promise.
    """

    what: str
    measured: float | None
    limit: float
    unit: str = "×"
    at_least: bool = False
    judged: bool = True

    @property
    def verdict(self) -> str:
        """``"yes"``, ``"no"``, ``"not measured"`` or ``"too small to tell"``."""
        if not self.judged:
            return "too small to tell"
        if self.measured is None:
            return "not measured"
        return "yes" if (self.measured >= self.limit if self.at_least else self.measured <= self.limit) else "no"

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.__dict__, "verdict": self.verdict}


_TO_FLOOR = (
    ("images", "ours CutMix, out=", 1.8),
    ("boxes", "ours CutMix + padded boxes, out=", 2.3),
    ("boxes", "ours CutMix + ragged boxes, out=", 2.8),
    ("images", "ours CutMix, in place (swap)", 0.7),
    ("boxes", "ours CutMix + ragged boxes, in place (swap)", 1.2),
)


def checks_of(results: Sequence[Result], settings: Settings, curves: Sequence[Curve] = ()) -> list[Check]:
    """The promises that these results can tell of: those for the CPU, or for CUDA devices."""
    checks = (
        _cuda_checks(results) if settings.device.startswith("cuda") else _cpu_checks(results) + _growth_checks(curves)
    )
    return [replace(check, judged=not settings.quick) for check in checks]


def _cpu_checks(results: Sequence[Result]) -> list[Check]:
    checks = []
    for job, name, limit in _TO_FLOOR:
        result = next((r for r in results if r.job == job and "B=16," in r.title), None)
        if any(r.job == job for r in results):
            what = f"{name[5:]}: B=16, times the copy"
            checks.append(Check(what, _ratio(result, name, result.floor) if result else None, limit))
    for result in results:
        if result.job == "boxes-only":
            for name, limit in (("ours, 1 patch", 3.0), ("ours, 5 patches", 8.0)):
                checks.append(Check(f"{result.title}: {name[6:]}", _milliseconds(result, name), limit, "ms"))
        elif result.job == "sample":
            checks += _sample_checks(result)
        elif result.job == "sample-masks":
            gain = _ratio(result, "mmdet CopyPaste", "ours mmengine.CopyPaste")
            checks.append(Check("20 masks: mmdet's CopyPaste over ours", gain, 3.0, at_least=True))
    return checks


def _sample_checks(result: Result) -> list[Check]:
    empty = _milliseconds(result, "empty A.Compose")
    checks = []
    for name in ("CutMix", "Mosaic"):
        own = _milliseconds(result, f"ours albumentations.{name}")
        above = None if own is None or empty is None else own - empty
        checks.append(Check(f"Albumentations adapter, {name}, above an empty Compose", above, 1.5, "ms"))
        gain = _ratio(result, "albumentations Mosaic", f"ours albumentations.{name}")
        checks.append(Check(f"albumentations Mosaic over ours, {name}", gain, 3.0, at_least=True))
        for cached in ("", ", cached"):
            through = _milliseconds(result, f"ours mmengine.{name}{cached}")
            checks.append(Check(f"MMEngine adapter, {name}{cached}, no more than that", through, 1.5, "ms"))
    return checks


def _growth_checks(curves: Sequence[Curve]) -> list[Check]:
    """With the same patch, four times the canvas must cost less than twice as much beyond the copy of the masks."""
    checks = []
    for curve in curves:
        if curve.panel.startswith(FIXED_PATCH) and len(curve.sizes) > 2:
            seconds, pixels = curve.seconds[-1], curve.sizes[-1]
            nearest = min(range(len(curve.sizes)), key=lambda i: abs(curve.sizes[i] - pixels / 4))
            what = f"{curve.name} with 20 masks, same patch, {pixels / curve.sizes[nearest]:.0f}× the canvas"
            checks.append(Check(what, seconds / curve.seconds[nearest] if curve.seconds[nearest] else None, 2.0))
    return checks


def _cuda_checks(results: Sequence[Result]) -> list[Check]:
    checks = []
    for result in results:
        if result.job == "images":
            share = _ratio(result, result.floor, "ours CutMix, out=")
            checks.append(Check(f"{result.title}: share of the copy bandwidth", share, 0.85, "", at_least=True))
            for peer, limit in (("kornia RandomCutMixV2", 5.0), ("torchvision v2.CutMix", 2.0)):
                gain = _ratio(result, peer, "ours CutMix, out=")
                checks.append(Check(f"{result.title}: {peer} over ours", gain, limit, at_least=True))
        elif result.job == "semantic":
            ratio = _ratio(result, "ours CutMix + map + ragged boxes, out=", "clone of the images")
            checks.append(Check(f"{result.title} + boxes: times clone of the images", ratio, 1.3))
        elif result.job == "syncs":
            for row in result.rows:
                checks.append(Check(f"no host sync: {row.name}", float(bool(row.problem)), 0.0, "syncs"))
    return checks


def _ratio(result: Result | None, above: str, below: str) -> float | None:
    one, other = (result.row(above), result.row(below)) if result else (None, None)
    return one.median / other.median if one and other else None


def _milliseconds(result: Result, name: str) -> float | None:
    row = result.row(name)
    return row.median * 1e3 if row else None


# --------------------------------------------------------------------------------------------------------------- forms


def markdown(results: Sequence[Result], checks: Sequence[Check], facts: dict[str, Any], plot: bool = False) -> str:
    """The whole run as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["machine"]["versions"].items())
    machine = ", ".join(f"{key} {value}" for key, value in facts["machine"].items() if key != "versions")
    lines = ["# Benchmark", "", f"`{facts['command']}`", "", f"- machine: {machine}", f"- versions: {versions}"]
    lines += [f"- settings: {', '.join(f'{key} {value}' for key, value in facts['settings'].items())}"]
    load, cores = facts["machine"].get("load_at_start"), facts["machine"].get("cores")
    if load and cores and load > cores / 2:
        lines.append(f"- **busy**: other programs kept {load} of {cores} cores at work when it began; don't quote it")
    if facts.get("interrupted"):
        lines += ["- **interrupted**: what follows is what was done by then"]
    lines += ["", "Times are medians with their quartiles; the ratio is to the floor of the same job in the same run."]
    if checks:
        lines += ["", "## What was promised", "", "| promise | measured | limit | kept |", "| --- | --- | --- | --- |"]
        for check in checks:
            sign, value = "≥" if check.at_least else "≤", _number(check.measured)
            lines.append(f"| {check.what} | {value} | {sign} {check.limit:g} {check.unit} | {check.verdict} |")
    for result in results:
        lines += ["", f"## {result.title}", ""]
        lines += [
            "| what | median | quartiles | × floor | calls | remarks |",
            "| --- | ---: | --- | ---: | ---: | --- |",
        ]
        for row in result.rows:
            remarks = "; ".join(text for text in (row.problem, row.does) if text).replace("|", "\\|")
            fired = f"{len(row.seconds)} of {row.calls} ({len(row.seconds) / max(row.calls, 1):.0%})"
            calls = fired if len(row.seconds) < row.calls else f"{row.calls}"
            low, high = (_time(value) for value in row.spread)
            timed = [_time(row.median), f"{low} – {high}", _number(result.ratio(row)), calls]
            lines.append(f"| {row.name} | {' | '.join(timed if row.seconds else ['–'] * 3 + ['0'])} | {remarks} |")
        lines += ["", *(f"- {note}" for note in result.notes)]
    if plot:
        lines += ["", "## How the cost grows", "", "![cost as sizes grow](growth.png)"]
    return "\n".join(lines) + "\n"


def write(
    folder: Path,
    results: Sequence[Result],
    curves: Sequence[Curve],
    facts: dict[str, Any],
    settings: Settings,
) -> list[Check]:
    """Write ``benchmark.md``, ``benchmark.json`` and, if there are curves, ``growth.png``; returns the checks."""
    folder.mkdir(parents=True, exist_ok=True)
    checks = checks_of(results, settings, curves)
    plotted = bool(curves) and draw(curves, folder / "growth.png")
    (folder / "benchmark.md").write_text(markdown(results, checks, facts, plotted), encoding="utf-8")
    record = {
        **facts,
        "checks": [check.as_dict() for check in checks],
        "jobs": [_record(result) for result in results],
        "growth": [curve.__dict__ for curve in curves],
    }
    (folder / "benchmark.json").write_text(json.dumps(_plain(record), indent=1) + "\n", encoding="utf-8")
    return checks


def draw(curves: Sequence[Curve], path: Path) -> bool:
    """One panel per kind of size; False where matplotlib isn't there."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = list(dict.fromkeys(curve.panel for curve in curves))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 3.8 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, panel in zip(axes.flat, panels):
        for curve in (curve for curve in curves if curve.panel == panel):
            axis.plot(
                curve.sizes, [1e3 * second for second in curve.seconds], marker="o", markersize=3, label=curve.name
            )
        axis.set_title(panel, fontsize=9)
        axis.set(xlabel=next(c.label for c in curves if c.panel == panel), ylabel="ms")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _record(result: Result) -> dict[str, Any]:
    rows = []
    for row in result.rows:
        low, high = row.spread
        figures = {"median_s": row.median, "quartiles_s": [low, high], "ratio": result.ratio(row)}
        rows.append({"name": row.name, **figures, "n": len(row.seconds), "calls": row.calls})
        rows[-1] |= {"does": row.does, "problem": row.problem}
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
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}" if value < 100 else f"{value:.0f}"
