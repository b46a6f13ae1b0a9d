"""Compare trainings with and without mixing: run a study, see how far it is, write its report.

    python tools/study.py run configs/studies/demo-detection.py --out runs/studies/demo-detection
    python tools/study.py run configs/studies/bccd-detection.py --out runs/studies/bccd --data-root DATA --jobs 2
    python tools/study.py status configs/studies/bccd-detection.py --out runs/studies/bccd
    python tools/study.py report configs/studies/bccd-detection.py --out runs/studies/bccd --publish docs/studies/bccd
    python tools/study.py summary configs/studies/bccd-detection.py configs/studies/camvid-semi.py

A study is variants × seeds of one training. What is finished is never done again, what was killed goes on from its last
checkpoint: the same command continues, on any day. The report is made from what is finished and names what is missing.
With a `plan` in its config a study runs as many seeds as its pilot asks for, and its report says what they decide.

Exit codes: 0 done, 1 a run failed, 2 a mistake in what was asked for, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.study.decision import seeds_to_run
from cutmix_dense.study.execute import Commands, Progress, run_all
from cutmix_dense.study.folders import UNTRAINED, StudyFolder
from cutmix_dense.study.plan_record import record_plan
from cutmix_dense.study.report import write_report
from cutmix_dense.study.settings import Study, StudyError, load_study
from cutmix_dense.study.summary import write_summary
from cutmix_dense.study.tables import collect
from tools.common import UserError, add_verbosity, cores, positive, reporting_errors

TRAIN = (sys.executable, str(Path(__file__).resolve().with_name("train.py")))


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = argparse.ArgumentParser("study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = result.add_subparsers(dest="command", required=True)
    helps = {
        "run": "train and measure what is missing, then write the report",
        "report": "write the report anew from the finished runs",
        "status": "say how far every run is",
        "summary": "write one page about several studies, from their finished runs",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == "summary":
            command.add_argument("studies", metavar="STUDY", type=Path, nargs="+", help="config files of the studies")
            command.add_argument("--runs", type=Path, default=Path("runs/studies"), help="folder of their folders")
            command.add_argument("--publish", type=Path, metavar="DIR", help="put the page there instead")
            add_verbosity(command)
            continue
        command.add_argument("study", metavar="STUDY", type=Path, help="config file of the study (configs/studies)")
        command.add_argument("--out", type=Path, help="folder for everything (default: runs/studies/<name>)")
        command.add_argument("--data-root", type=Path, help="folder of the data, where it isn't the config's")
        command.add_argument(
            "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the config of every run"
        )
        if name == "run":
            command.add_argument("--jobs", type=positive(), default=1, help="runs at a time; they share the cores")
            command.add_argument("--only", nargs="+", default=[], metavar="VARIANT", help="these variants only")
            command.add_argument("--redo", action="store_true", help="make runs of other settings anew")
        if name != "status":
            command.add_argument("--publish", type=Path, metavar="DIR", help="put the report there, too")
        add_verbosity(command)
    return result


def main(argv: list[str] | None = None, commands: Commands | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        argv: arguments, default those of the process.
        commands: the programs that train and measure.
    """
    arguments = parser().parse_args(argv)
    with reporting_errors("study", arguments.traceback):
        try:
            if arguments.command == "summary":
                return summarize(arguments)
            folder = open_folder(arguments)
            if arguments.command == "run":
                return run(folder, arguments, commands or Commands(TRAIN))
            if arguments.command == "status":
                return show_status(folder)
            tell_report(folder, arguments.publish)
        except StudyError as error:
            raise UserError(str(error)) from error
    return 0


def open_folder(arguments: argparse.Namespace) -> StudyFolder:
    """The study with its options: those given, else those that its runs were begun with."""
    study = load_study(arguments.study)
    out = arguments.out or Path("runs/studies") / study.name
    options = {**typed_options(arguments.cfg_options), **study.data_options(absolute(arguments.data_root))}
    return StudyFolder(study, out, options or begun_with(out))


def begun_with(out: Path) -> dict[str, Any]:
    """The options that the runs of a folder were begun with."""
    remembered = out / "options.json"
    found: dict[str, Any] = json.loads(remembered.read_text(encoding="utf-8")) if remembered.is_file() else {}
    return found


def summarize(arguments: argparse.Namespace) -> int:
    """Write the page about several studies and say where it is; returns the exit code."""
    studies = [load_study(path) for path in arguments.studies]
    folders = [
        StudyFolder(study, arguments.runs / study.name, begun_with(arguments.runs / study.name)) for study in studies
    ]
    path = write_summary([collect(folder) for folder in folders], arguments.publish or arguments.runs)
    print(f"summary: {path}")
    return 0


def absolute(path: Path | None) -> Path | None:
    """A folder that means the same wherever a run works; UserError if it isn't there."""
    if path is not None and not path.is_dir():
        raise UserError(f"--data-root {path}: there is no such folder")
    return None if path is None else path.resolve()


def typed_options(words: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words with values as MMEngine reads them."""
    from mmengine.config import DictAction

    typed = argparse.ArgumentParser(exit_on_error=False)
    typed.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    for word in words:
        if "=" not in word:
            raise UserError(f"--cfg-options must be KEY=VALUE, got {word!r}")
    return typed.parse_args(["--cfg-options", *words]).cfg_options if words else {}


def run(folder: StudyFolder, arguments: argparse.Namespace, commands: Commands) -> int:
    """Do what is missing of the seeds that the plan asks for, and write the report; returns the exit code."""
    runs = folder.runs(tuple(arguments.only))
    folder.refuse_stale(runs, arguments.redo)
    write_atomic(folder.out / "options.json", dump_json(folder.options))
    record_plan(folder)
    signal.signal(signal.SIGTERM, _interrupt)
    threads, seeds = max(1, cores() // arguments.jobs), seeds_to_run(collect(folder))
    while True:
        wanted = [run for run in runs if run.variant == UNTRAINED or run.seed in seeds]
        with Watch(folder.study, len(wanted)) as watch:
            progress = run_all(
                wanted, commands, folder.study.metric, jobs=arguments.jobs, threads=threads, on_progress=watch
            )
            watch(progress)
        asked = seeds_to_run(collect(folder))  # more than the pilot's, once that is finished
        if progress.failed or asked == seeds:
            break
        seeds = asked
    for name, why in progress.failed.items():
        print(f"study: {name} failed: {why}", file=sys.stderr)
    tell_report(folder, arguments.publish)
    return 1 if progress.failed else 0


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
    """A row per run."""
    from rich.console import Console
    from rich.table import Table

    metric = folder.study.metric
    table = Table("run", "state", metric, title=folder.study.title, title_justify="left")
    finished = 0
    runs = folder.runs()
    for run in runs:
        result, state = run.result(), run.state()
        failure = run.read("failure") if state == "failed" else None
        finished += result is not None
        value = f"{result['metrics'][metric]:.2f}" if result else ""
        table.add_row(run.name, f"{state}: {failure['why']}" if failure else state, value)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{finished} of {len(runs)} runs finished")
    return 0


def tell_report(folder: StudyFolder, publish: Path | None) -> None:
    """Write the report and say where it is."""
    from rich.console import Console
    from rich.table import Table

    finished = collect(folder)
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


if __name__ == "__main__":
    sys.exit(main())
