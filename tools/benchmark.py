"""Measure our mixes beside what people use today, and beside the floor: one command, one run, one table.

    python tools/benchmark.py                                    # everything, about a quarter of an hour on two cores
    python tools/benchmark.py --jobs images boxes --repeats 100
    python tools/benchmark.py --device cuda --out runs/benchmark-cuda
    python tools/benchmark.py --quick                            # tiny sizes: does it run?

Every job times its contenders in turn, in an order drawn anew each round, over a ring of inputs larger than the caches;
the floor is a plain copy of the images in the same loop. Compare ratios of one run, not times of two. A peer that isn't
installed has a row that says so (pip install "cutmix_dense[benchmark]", mmdet as it says itself).

Writes benchmark.md, benchmark.json and growth.png into --out after every job: what is done is there if it is stopped.

Exit codes: 0 done, 1 done with --strict but a promise was not kept, 2 a mistake in the arguments, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.benchmarking.growth import Curve, grow
from tools.benchmarking.jobs import JOBS, Result, Settings, run_jobs
from tools.benchmarking.machine import describe
from tools.benchmarking.pipeline import pipeline
from tools.benchmarking.report import write
from tools.common import UserError, add_verbosity, positive, reporting_errors

ALL_JOBS = (*JOBS, "pipeline", "growth")


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = argparse.ArgumentParser(
        "benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "--jobs", nargs="+", choices=ALL_JOBS, default=None, metavar="JOB", help=f"of: {', '.join(ALL_JOBS)}"
    )
    result.add_argument("--repeats", type=positive(), help="rounds of every job (default: 60; 3 if --quick)")
    result.add_argument("--size", type=positive(32), help="side of the images (default: 640; 64 if --quick)")
    result.add_argument("--batch", type=positive(2), nargs="+", help="batch sizes (default: 16 64; 4 if --quick)")
    result.add_argument("--objects", type=positive(), default=20, help="boxes per image (default: 20)")
    result.add_argument("--threads", type=positive(), default=2, help="of the batch jobs (default: 2)")
    result.add_argument("--device", default="cpu", help="where batches lie: cpu or cuda (default: cpu)")
    result.add_argument("--seed", type=positive(0), default=0, help="of data and order (default: 0)")
    result.add_argument(
        "--budget", type=positive(), default=20, help="seconds after which a slow contender leaves a job (default: 20)"
    )
    result.add_argument(
        "--quick", action="store_true", help="tiny sizes, 3 rounds: shows that it runs, measures nothing"
    )
    result.add_argument("--strict", action="store_true", help="exit with 1 if a promise was not kept")
    result.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="folder (default: runs/benchmark)")
    add_verbosity(result)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    with reporting_errors("benchmark", arguments.traceback):
        settings = settings_of(arguments)
        return _run(arguments, settings, argv if argv is not None else sys.argv[1:])


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What was typed, and the defaults of --quick."""
    try:
        device = torch.device(arguments.device)
    except RuntimeError as error:
        raise UserError(f"--device: {str(error).splitlines()[0]}") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device must be cpu or cuda, got {arguments.device}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device")
    quick = arguments.quick
    return Settings(
        repeats=arguments.repeats or (3 if quick else 60),
        size=arguments.size or (64 if quick else 640),
        batches=tuple(arguments.batch or ((4,) if quick else (16, 64))),
        objects=arguments.objects,
        device=arguments.device,
        threads=arguments.threads,
        seed=arguments.seed,
        budget=float(arguments.budget),
        quick=quick,
    )


def _run(arguments: argparse.Namespace, settings: Settings, argv: list[str]) -> int:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    jobs = arguments.jobs or list(ALL_JOBS)
    facts: dict[str, Any] = {
        "command": shlex.join(["python", "tools/benchmark.py", *argv]),
        "machine": describe(settings.device),
        "settings": asdict(settings),
        "interrupted": True,
    }
    results: list[Result] = []
    curves: list[Curve] = []
    began, stopped = time.monotonic(), False
    with _Bar(console) as bar:
        try:
            for job in jobs:
                for result in _results(job, settings, arguments.out, bar, curves):
                    results.append(result)
                    _tell(console, result)
                    write(arguments.out, results, curves, facts, settings)
        except KeyboardInterrupt:
            stopped = True
    facts |= {"interrupted": stopped, "seconds": round(time.monotonic() - began)}
    checks = write(arguments.out, results, curves, facts, settings)
    for check in checks:
        value = "–" if check.measured is None else f"{check.measured:.2f}"
        sign = "≥" if check.at_least else "≤"
        line = f"{check.verdict:>12}  {check.what}: {value} ({sign} {check.limit:g} {check.unit})"
        console.print(line, markup=False, style="red" if check.verdict == "no" else None)
    console.print(f"{'stopped; what is done: ' if stopped else ''}{arguments.out / 'benchmark.md'}", markup=False)
    if stopped:
        return 130
    return 1 if arguments.strict and any(check.verdict == "no" for check in checks) else 0


def _results(job: str, settings: Settings, folder: Path, bar: _Bar, curves: list[Curve]) -> Any:
    """The results of one job; curves go where they are kept."""
    if job == "pipeline":
        yield from pipeline(job, settings, folder, bar)
    elif job == "growth":
        for panel in grow(settings, bar):
            curves += panel
    else:
        yield from run_jobs([job], settings, bar)


def _tell(console: Any, result: Result) -> None:
    """One job's table."""
    from rich.table import Table

    table = Table("what", title=result.title, title_justify="left")
    table.add_column("median", justify="right")
    table.add_column("× floor", justify="right")
    table.add_column("remarks")
    for row in result.rows:
        ratio = result.ratio(row)
        figures = (f"{row.median * 1e3:.3g} ms", f"{ratio:.2f}" if ratio == ratio else "") if row.seconds else ("–", "")
        table.add_row(row.name, *figures, row.problem or row.does)
    console.print(table)


class _Bar:
    """A progress bar that is entered, and called with (job, done, total)."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task("preparing", total=None)

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, job: str, done: int, total: int) -> None:
        self.bar.update(self.task, description=job, completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
