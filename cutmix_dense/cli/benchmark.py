"""Compare the speed of mixes with other libraries and with a plain copy, in one run and one table.

    cutmix-dense benchmark                                    # everything, about a quarter of an hour on two cores
    cutmix-dense benchmark --out docs/benchmark               # the same, into the page of the documentation
    cutmix-dense benchmark --jobs images boxes --repeats 100
    cutmix-dense benchmark --device cuda --out runs/benchmark-cuda
    cutmix-dense benchmark --device cuda --short              # batches alone, fewer rounds: minutes
    cutmix-dense benchmark --quick                            # tiny sizes: does it run?

Every job times its contenders in turn, in a new random order each round, over more inputs than the caches hold. The
floor is a plain copy of the images in the same loop. Batches are mixed with each number of --threads, on a quiet
machine and beside a process that keeps a core busy. Compare ratios of one run, not times of two. A library that isn't
installed has a row that says so (pip install "cutmix_dense[benchmark]", mmdet as it says itself).

Writes benchmark.md and benchmark.json into --out after every job: what is done is there if it is stopped.

Exit codes: 0 done, 1 done with --strict but a promise was not kept, 2 a mistake in the arguments, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutmix_dense.cli.common import positive
from cutmix_dense.cli.errors import UserError, add_verbosity, parser_of, reporting_errors

if TYPE_CHECKING:  # they load torch, which --help doesn't need
    from cutmix_dense.cli.benchmarking.results import Result, Settings

JOB_NAMES = ("images", "boxes", "semantic", "family", "masks", "sample", "sample-masks", "loader", "syncs")
"""The keys of ``benchmarking.jobs.JOBS``, known before torch is loaded."""

SHORT_JOBS = ("images", "boxes", "semantic", "masks")
"""Jobs of a short run, unless others are named."""


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = parser_of("benchmark", __doc__)
    result.add_argument(
        "--jobs", nargs="+", choices=JOB_NAMES, metavar="JOB", help=f"jobs: {', '.join(JOB_NAMES)} (CUDA only)"
    )
    result.add_argument(
        "--repeats", type=positive(), help="rounds of every job (default: 60; 12 if --short; 3 if --quick)"
    )
    result.add_argument("--size", type=positive(32), help="side of the images (default: 640; 64 if --quick)")
    result.add_argument("--batch", type=positive(2), help="images in a batch (default: 16, 64 on CUDA; 4 if --quick)")
    result.add_argument("--objects", type=positive(), default=20, help="boxes per image (default: 20)")
    result.add_argument(
        "--threads", type=positive(), nargs="+", help="threads of the batch jobs (default: 1 2; 1 on CUDA)"
    )
    result.add_argument("--device", default="cpu", help="device of the batches: cpu or cuda (default: cpu)")
    result.add_argument("--seed", type=positive(0), default=0, help="random seed for data and order (default: 0)")
    result.add_argument(
        "--budget",
        type=positive(),
        help="seconds after which a slow contender leaves a job (default: 10; 1 if --short)",
    )
    result.add_argument(
        "--short", action="store_true", help=f"{', '.join(SHORT_JOBS)} (and syncs on CUDA), 12 rounds of uint8 images"
    )
    result.add_argument(
        "--quick", action="store_true", help="tiny sizes, 3 rounds: shows that it runs, measures nothing"
    )
    result.add_argument("--strict", action="store_true", help="exit with 1 if a limit was missed")
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
    if not re.fullmatch(r"(cpu|cuda)(:\d+)?", arguments.device):
        raise UserError(f"--device must be cpu, cuda, or cuda and a number, as cuda:1, got {arguments.device!r}")
    on_cuda = arguments.device.startswith("cuda")
    if not on_cuda and "syncs" in (arguments.jobs or ()):
        raise UserError("--jobs syncs needs --device cuda")
    import torch  # behind what can be said without it

    from cutmix_dense.cli.benchmarking.results import Settings

    if on_cuda and not torch.cuda.is_available():
        raise UserError(f"--device {arguments.device}: torch finds no CUDA device")
    quick, short = arguments.quick, arguments.short
    return Settings(
        repeats=arguments.repeats or (3 if quick else 12 if short else 60),
        size=arguments.size or (64 if quick else 640),
        batch=arguments.batch or (4 if quick else 64 if on_cuda else 16),
        objects=arguments.objects,
        device=arguments.device,
        threads=tuple(arguments.threads or ((1,) if on_cuda else (1, 2))),
        seed=arguments.seed,
        budget=float(arguments.budget or (1 if short else 10)),
        quick=quick,
        short=short,
    )


def _run(arguments: argparse.Namespace, settings: Settings, argv: list[str]) -> int:
    from rich.console import Console

    from cutmix_dense.cli.benchmarking.jobs import run_jobs
    from cutmix_dense.cli.benchmarking.machine import describe
    from cutmix_dense.cli.benchmarking.report import write

    console = Console(highlight=False, soft_wrap=True)
    jobs = arguments.jobs or [*(SHORT_JOBS if settings.short else (job for job in JOB_NAMES if job != "syncs"))]
    if arguments.jobs is None and settings.on_cuda:
        jobs.append("syncs")
    facts: dict[str, Any] = {
        "command": shlex.join(["cutmix-dense", "benchmark", *argv]),
        "machine": describe(settings.device),
        "settings": asdict(settings),
        "interrupted": True,
    }
    results: list[Result] = []
    began, stopped = time.monotonic(), False
    with _Bar(console) as bar:
        try:
            for result in run_jobs(jobs, settings, bar):
                results.append(result)
                write(arguments.out, results, facts, settings)
                console.print(f"done: {result.title}", markup=False)
        except KeyboardInterrupt:
            stopped = True
    facts |= {"interrupted": stopped, "seconds": round(time.monotonic() - began)}
    checks = write(arguments.out, results, facts, settings)
    for check in checks:
        value = "–" if check.measured is None else f"{check.measured:.2f}"
        sign = "≥" if check.at_least else "≤"
        line = f"{check.verdict:>12}  {check.what}: {value} ({sign} {check.limit:g} {check.unit})"
        console.print(line, markup=False, style="red" if check.verdict == "no" else None)
    console.print(f"{'stopped; what is done: ' if stopped else ''}{arguments.out / 'benchmark.md'}", markup=False)
    if stopped:
        return 130
    return 1 if arguments.strict and any(check.verdict == "no" for check in checks) else 0


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
