"""What the project promises, as limits, each beside what a run measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cutmix_dense.cli.benchmarking.results import Result, Settings


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


TIMES_THE_COPY: tuple[tuple[str, str, tuple[tuple[int, float], ...]], ...] = (
    ("images", "ours CutMix, out=", ((1, 1.5), (2, 1.6))),
    ("images", "ours CutMix, in place (swap)", ((1, 0.6), (2, 0.6))),
    ("images", "ours MixUp, out=", ((1, 2.0), (2, 2.0))),
    ("images", "ours GridMix, out=", ((1, 1.6), (2, 1.6))),
    ("images", "ours RICAP, out=", ((1, 1.6), (2, 1.6))),
    ("images", "ours StripeMix, out=", ((1, 1.6), (2, 1.6))),
    ("images", "ours CowMix, out=", ((1, 12.0), (2, 12.0))),
    ("images", "ours FMix, out=", ((1, 12.0), (2, 12.0))),
    ("boxes", "ours CutMix + ragged boxes, out=", ((1, 1.9), (2, 1.9))),
    ("boxes", "ours CutMix + ragged boxes, in place (swap)", ((1, 0.9), (2, 0.9))),
    ("boxes", "ours CopyPaste + ragged boxes, out=", ((1, 3.0), (2, 3.0))),
    ("semantic", "ours ClassMix + map, out=", ((1, 3.0), (2, 3.0))),
)
"""Per row of a job and number of threads: a batch of 16 in uint8 on the host, over ``copy_`` of its images."""

_CALLS = (
    ("images", "ours CutMix, out=", "", 200),
    ("boxes", "ours CutMix + padded boxes, out=", "", 300),
    ("boxes", "ours CutMix + ragged boxes, out=", "", 450),
    ("boxes", "ours Mosaic + ragged boxes, out=", "", 900),
    ("sample", "ours albumentations.CutMix", "empty A.Compose", 450),
    ("sample", "ours albumentations.Mosaic", "empty A.Compose", 700),
    ("sample", "ours albumentations.CopyPaste", "empty A.Compose", 700),
)
"""Python and C calls, the third name's taken off."""

_FASTER = (
    ("sample", "ours albumentations.Mosaic", "albumentations Mosaic", 2.5),
    ("sample", "ours mmengine.Mosaic", "mmdet Mosaic", 1.3),
    ("sample-masks", "ours mmengine.CopyPaste", "mmdet CopyPaste", 5.0),
)
_BESIDE_BUSY = 2.0


def checks_of(results: Sequence[Result], settings: Settings) -> list[Check]:
    """The promises that these results can tell of: those for the host, or for CUDA devices."""
    checks = _on_cuda(results) if settings.on_cuda else _on_host({result.job: result for result in results}, settings)
    return [replace(check, judged=not settings.quick) for check in checks]


def _on_host(results: dict[str, Result], settings: Settings) -> Iterator[Check]:
    for job, name, limits in TIMES_THE_COPY:
        for threads, limit in limits:
            if job in results and threads in settings.threads:
                what = f"{name[5:]}: over a copy, {on_threads(threads)}"
                measured = _ratio(results[job], name, results[job].floor, threads) if settings.batch == 16 else None
                yield Check(what, measured, limit)
    for threads in settings.threads:
        rows = [row for it in results.values() for row in it.rows if row.threads == threads]
        rows = [row for row in rows if row.name.startswith("ours") and row.beside]
        if rows:
            worst = max(rows, key=lambda row: row.slowed)
            what = f"the worst row beside a busy loop, over its quiet time, {on_threads(threads)}: {worst.name}"
            yield Check(what, worst.slowed, _BESIDE_BUSY)
    if "sample" in results:
        ratio = _ratio(results["sample"], "ours albumentations.CutMix", "empty A.Compose")
        above = None if ratio is None else ratio - 1
        yield Check("albumentations.CutMix: above an empty Compose, in times that", above, 2.2)
    for job, ours, theirs, limit in _FASTER:
        if job in results:
            yield Check(f"{ours[5:]}: faster than {theirs}", _ratio(results[job], theirs, ours), limit, at_least=True)
    for job, name, base, limit in _CALLS:
        if job in results:
            row, off = results[job].row(name, 1), results[job].row(base, 1)
            counted = row is not None and row.calls is not None and (off is not None or not base)
            calls = (row.calls or 0) - ((off.calls or 0) if off else 0) if row and counted else None
            yield Check(f"{name[5:]}: calls{' above an empty Compose' * bool(base)}", calls, limit, "calls")


def _on_cuda(results: Sequence[Result]) -> Iterator[Check]:
    for result in results:
        if result.job == "images":
            share = _ratio(result, result.floor, "ours CutMix, out=")
            yield Check(f"{result.title}: share of the copy bandwidth", share, 0.85, "", at_least=True)
            for peer, limit in (("kornia RandomCutMixV2", 5.0), ("torchvision v2.CutMix", 2.0)):
                gain = _ratio(result, peer, "ours CutMix, out=")
                yield Check(f"{result.title}: {peer} over ours", gain, limit, at_least=True)
        elif result.job == "semantic":
            for boxes in ("padded", "ragged"):
                ratio = _ratio(result, f"ours CutMix + map + {boxes} boxes, out=", "clone of the images")
                yield Check(f"{result.title} + {boxes} boxes: times clone of the images", ratio, 1.3)
        elif result.job == "syncs":
            for row in result.rows:
                yield Check(f"no host sync: {row.name}", float(bool(row.problem)), 0.0, "syncs")


def _ratio(result: Result, above: str, below: str, threads: int | None = None) -> float | None:
    one, other = result.row(above, threads), result.row(below, threads)
    return one.median / other.median if one and other else None


def on_threads(count: int) -> str:
    """``"1 thread"``, ``"2 threads"``."""
    return f"{count} thread{'s' * (count > 1)}"
