"""What ``cutmix-dense study`` does: it opens the folder, runs what is missing, and shows progress and results."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutmix_dense.cli.common import cores
from cutmix_dense.cli.config_options import typed_options
from cutmix_dense.cli.errors import UserError
from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.study.decision import seeds_to_run
from cutmix_dense.study.execute import Commands, Progress, run_all
from cutmix_dense.study.folders import Run, StudyFolder
from cutmix_dense.study.measured_names import check_names
from cutmix_dense.study.plan_record import adopt_plans, record_plan
from cutmix_dense.study.published import RUNS, Published, read_published
from cutmix_dense.study.report import write_report
from cutmix_dense.study.settings import Study, StudyError, load_study
from cutmix_dense.study.summary import write_summary
from cutmix_dense.study.tables import collect

TRAIN = (sys.executable, str(Path(__file__).resolve().with_name("train.py")))
"""The program that trains a run, by its path: a run's process needs no installed package."""

_PATIENCE = 0.5
"""Seconds between two looks at a run that another process does."""


def open_folder(arguments: argparse.Namespace) -> StudyFolder:
    """The study with its options: those given, else those that its runs were begun with; those of a report below."""
    study = load_study(arguments.study)
    out = arguments.out or Path("runs/studies") / study.name
    options = {**typed_options(arguments.cfg_options), **study.data_options(absolute(arguments.data_root))}
    folder = _with_published(study, out, options, arguments.published)
    adopt_plans(folder)
    return folder


def _with_published(study: Study, out: Path, options: dict[str, Any], report: Path | None) -> StudyFolder:
    """A study's folder, with the runs of a published report, if one is named."""
    published = Published() if report is None else read_published(report)
    folder = StudyFolder(study, out, {**published.options, **(options or begun_with(out))}, published)
    folder.refuse_idle()
    folder.refuse_foreign()
    return folder


def begun_with(out: Path) -> dict[str, Any]:
    """The options that the runs of a folder were begun with."""
    remembered = out / "options.json"
    found: dict[str, Any] = json.loads(remembered.read_text(encoding="utf-8")) if remembered.is_file() else {}
    return found


def summarize(arguments: argparse.Namespace) -> int:
    """Write the page about several studies and say where it is; returns the exit code."""
    folders = [_summarized(load_study(path), arguments.runs, arguments.published) for path in arguments.studies]
    path = write_summary([collect(folder) for folder in folders], arguments.publish or arguments.runs)
    print(f"summary: {path}")
    return 0


def _summarized(study: Study, runs: Path, reports: Path | None) -> StudyFolder:
    """A study with its runs in ``runs``, and those of its report in ``reports``, if that was published with them."""
    report = None if reports is None else reports / study.name
    return _with_published(study, runs / study.name, {}, report if report and (report / RUNS).is_file() else None)


def absolute(path: Path | None) -> Path | None:
    """A folder that means the same wherever a run works; UserError if it isn't there."""
    if path is not None and not path.is_dir():
        raise UserError(f"--data-root {path}: there is no such folder")
    return None if path is None else path.resolve()


def run(folder: StudyFolder, arguments: argparse.Namespace, commands: Commands) -> int:
    """Do what is missing of the seeds that the plan asks for, and write the report; returns the exit code.

    The model before training comes first, alone: if it can't be measured, or not in what the study names, no training
    would end in a result.

    Raises:
        StudyError: see ``check_names``.
    """
    runs = folder.runs(tuple(arguments.only))
    folder.refuse_stale(runs, arguments.redo)
    write_atomic(folder.out / "options.json", dump_json(folder.options))
    record_plan(folder)
    signal.signal(signal.SIGTERM, _interrupt)
    untrained, *trainings = runs
    _await(untrained)
    progress = _do([untrained], folder, arguments, commands)
    if measured := untrained.result():
        check_names(folder.study, measured)
        seeds = seeds_to_run(collect(folder))
        while True:
            progress = _do([run for run in trainings if run.seed in seeds], folder, arguments, commands)
            asked = seeds_to_run(collect(folder))  # more than the pilot's, once that is finished
            if progress.failed or asked == seeds:
                break
            seeds = asked
    for name, why in progress.failed.items():
        print(f"study: {name} failed: {why}", file=sys.stderr)
    tell_report(folder, arguments.publish)
    return 1 if progress.failed else 0


def _await(run: Run) -> None:
    """Let another process finish a run that it is at, as a study that was begun twice for different variants is."""
    if run.is_locked():
        print(f"study: {run.name} is running in another process, and is waited for", file=sys.stderr)
    while run.is_locked():
        time.sleep(_PATIENCE)


def _do(runs: Sequence[Run], folder: StudyFolder, arguments: argparse.Namespace, commands: Commands) -> Progress:
    """Do what is missing of runs, with a bar that shows it, if anything is."""
    threads = max(1, cores() // arguments.jobs)
    if all(run.result() is not None for run in runs):
        return Progress(0)
    with Watch(folder.study, len(runs)) as watch:
        progress = run_all(runs, commands, folder.study.metric, jobs=arguments.jobs, threads=threads, on_progress=watch)
        watch(progress)
    return progress


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


class Watch:
    """Progress over runs: done, time left, and the newest metric of those at work."""

    def __init__(self, study: Study, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.study = study
        self.runs = total
        self.started = time.monotonic()
        self.told: set[str] = set()
        self.bar = Progress(TextColumn(study.name), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
        self.task = self.bar.add_task(study.name, total=total, now="")

    def __enter__(self) -> Watch:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show how far it is."""
        ended = [*progress.done, *progress.failed]
        for name in ended:
            if name not in self.told:
                self.told.add(name)
                value = progress.latest.get(name)
                told = "failed" if name in progress.failed else "finished"
                found = "" if value is None else f", {self.study.metric} {value:.2f}"
                self.bar.console.print(f"{name}: {told}{found}", markup=False, highlight=False)
        now = [f"{name} {progress.latest[name]:.1f}" if name in progress.latest else name for name in progress.running]
        left = (time.monotonic() - self.started) / max(len(ended), 1) * (progress.total - len(ended))
        text = (f"{duration(left)} left  " if ended and left else "") + ", ".join(now)
        self.bar.update(self.task, completed=self.runs - progress.total + len(ended), now=text)


def duration(seconds: float) -> str:
    """About how long, in words."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def show_status(folder: StudyFolder) -> int:
    """A row per run, and below them why runs failed."""
    from rich.console import Console
    from rich.table import Table

    metric = folder.study.metric
    table = Table("run", "state", metric, title=folder.study.title, title_justify="left")
    finished = 0
    runs = folder.runs()
    failed = {}
    for run in runs:
        result, state = run.result(), run.state()
        if state == "failed" and (failure := run.read("failure")):
            failed[run.name] = failure["why"]
        finished += result is not None
        value = result["metrics"].get(metric) if result else None
        table.add_row(run.name, state, "" if result is None else "–" if value is None else f"{value:.2f}")
    console = Console(highlight=False)
    console.print(table)
    for name, why in failed.items():
        console.print(f"{name} failed: {why}", markup=False, soft_wrap=True)
    console.print(f"{finished} of {len(runs)} runs finished")
    return 0


def tell_report(folder: StudyFolder, publish: Path | None) -> None:
    """Write the report and say where it is."""
    from rich.console import Console
    from rich.table import Table

    finished = collect(folder)
    if finished.untrained:
        try:
            check_names(folder.study, finished.untrained)
        except StudyError as error:  # a report of what there is, without the columns of these names
            warnings.warn(str(error), stacklevel=1)
    folder.out.mkdir(parents=True, exist_ok=True)
    path = write_report(finished, folder.out, publish)
    table = Table("variant", f"{folder.study.metric} mean ± sd", "difference [95%]", "verdict")
    for name in finished.compared:
        summary, difference = finished.spread(name, folder.study.metric), None
        if name != folder.study.baseline:
            difference = finished.difference(name, folder.study.metric)
        mean = "–" if summary is None else f"{summary.mean:.2f}" + (f" ± {summary.sd:.2f}" if summary.sd else "")
        ends = (
            "" if difference is None or difference.low is None else f" [{difference.low:+.2f}, {difference.high:+.2f}]"
        )
        row = ["", ""] if difference is None else [f"{difference.mean:+.2f}{ends}", difference.verdict]
        table.add_row(name, mean, *row)
    console = Console(highlight=False)
    console.print(table)
    console.print(finished.counts()[1].replace("**", ""), markup=False)
    console.print(f"report: {path}", markup=False, soft_wrap=True)
