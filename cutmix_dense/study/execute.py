"""Run what is missing of a study: train, measure, and write each result down once it is whole."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.study.folders import UNTRAINED, Run
from cutmix_dense.study.logs import read_log
from cutmix_dense.study.processes import Processes, Stopped
from cutmix_dense.study.settings import StudyError

_TAIL = 30
_ERROR = re.compile(r"[\w.-]+: error: |[\w.]*(?:Error|Exception|Interrupt)\b(?:: |$)")
"""How a line begins in which a command or a traceback says what went wrong."""


@dataclass(frozen=True)
class Commands:
    """The programs that do the work.

    Attributes:
        train: takes ``CONFIG --work-dir DIR --resume``.
        measure: takes ``CONFIG SETTINGS OUT [--trained DIR]``; see ``cutmix_dense.study.measure``.
        search: folder to import this package from.
    """

    train: tuple[str, ...]
    measure: tuple[str, ...] = (sys.executable, "-m", "cutmix_dense.study.measure")
    search: Path = Path(__file__).resolve().parents[2]


@dataclass
class Progress:
    """What is going on, for those who show it.

    Attributes:
        total: number of runs to do.
        running: (name, when it began) of the runs at work.
        done: names of those finished in this session.
        failed: why the others failed, by name.
        latest: newest validation metric of each run.
    """

    total: int
    running: dict[str, float] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)


def run_all(
    runs: Sequence[Run],
    commands: Commands,
    metric: str,
    *,
    jobs: int = 1,
    threads: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    every: float = 1.0,
) -> Progress:
    """Do the runs that aren't finished, ``jobs`` at a time; a failure of one doesn't keep the others.

    Args:
        runs: in the order to begin them.
        commands: the programs.
        metric: validation metric to watch.
        jobs: runs at a time.
        threads: of each.
        on_progress: called about ``every`` seconds, and at the end.
        every: see ``on_progress``.

    Returns:
        What was done and what failed.

    Raises:
        KeyboardInterrupt: after all children were stopped.
    """
    missing = [run for run in runs if run.result() is None]
    progress = Progress(len(missing))
    processes = Processes(threads, commands.search)
    guard = threading.Lock()

    def work(run: Run) -> None:
        try:
            with run.locked() as lock:
                with guard:
                    progress.running[run.name] = time.monotonic()
                _do(run, commands, metric, processes, lock)
            with guard:
                progress.done.append(run.name)
        except Stopped:
            pass
        except StudyError as error:
            with guard:
                progress.failed[run.name] = str(error)
        finally:
            with guard:
                progress.running.pop(run.name, None)

    by_name = {run.name: run for run in missing}
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        try:
            futures: set[Future[None]] = {pool.submit(work, run) for run in missing}
            while futures:
                finished, futures = wait(futures, timeout=every, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                with guard:
                    names = list(progress.running)
                for name in names:
                    curve, _ = read_log(by_name[name].work, metric)
                    if curve:
                        progress.latest[name] = curve[-1][1]
                with guard:
                    on_progress(progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # first, or the next runs begin as the stopped ones end
            processes.stop()
            raise
    return progress


def _do(run: Run, commands: Commands, metric: str, processes: Processes, lock: int) -> None:
    """Train (or continue), then measure, then write the result; StudyError says what failed."""
    run.remove("failure")
    run.write("begun", {"config_hash": run.hash})
    write_atomic(run.folder / "config.py", f"# {run.name}, composed by a study\n{run.config.pretty_text}".encode())
    write_atomic(run.folder / "measuring.json", dump_json(run.measuring))
    config = str(run.folder / "config.py")
    trained: list[str] = []
    if run.variant != UNTRAINED:
        if run.read("trained") is None:
            command = [*commands.train, config, "--work-dir", str(run.work), "--resume"]
            _stage(run, "train", command, processes, lock)
            run.write("trained", {"config_hash": run.hash})
        trained = ["--trained", str(run.work)]
    measured = str(run.folder / "measured.json")
    command = [*commands.measure, config, str(run.folder / "measuring.json"), measured, *trained]
    _stage(run, "measure", command, processes, lock)
    run.write("result", _result(run, metric))


def _stage(run: Run, stage: str, command: Sequence[str], processes: Processes, lock: int) -> None:
    log = run.folder / f"{stage}.log"
    outcome = processes.run(command, log, keep=(lock,))
    spent = {
        "cpu_seconds": 0.0,
        "training_cpu_seconds": 0.0,
        "wall_seconds": 0.0,
        "starts": 0,
        **(run.read("spent") or {}),
    }
    spent["cpu_seconds"] += outcome.cpu_seconds
    spent["training_cpu_seconds"] += outcome.cpu_seconds * (stage == "train")
    spent["wall_seconds"] += outcome.wall_seconds
    spent["starts"] += stage == "train"
    run.write("spent", spent)
    if outcome.code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        reason = _reason(lines) if outcome.code > 0 else ""  # a process that a signal ended says nothing of it
        why = f"{stage} ended with {outcome.code}" + (f": {reason}" if reason else "")
        raise _failure(run, stage, why, "\n".join(lines))


def _reason(lines: Sequence[str]) -> str:
    """The line that says what went wrong: the last one that names an error, else the last that isn't empty."""
    said = [line.strip() for line in lines if line.strip()]
    return next((line for line in reversed(said) if _ERROR.match(line)), said[-1] if said else "")


def _failure(run: Run, stage: str, why: str, tail: str = "") -> StudyError:
    run.write("failure", {"stage": stage, "why": why, "log": tail})
    return StudyError(why + (f":\n{tail}" if tail else ""))


def _result(run: Run, metric: str) -> dict[str, Any]:
    measured = run.read("measured") or {"metrics": {}}
    # before training a metric may have no value yet, as the precision of no detections
    if run.variant != UNTRAINED and measured["metrics"].get(metric) is None:
        known = ", ".join(sorted(measured["metrics"]))
        raise _failure(run, "measure", f"the metric {metric!r} isn't a number among those measured: {known}")
    curve, losses = read_log(run.work, metric)
    schedule = run.config.get("train_cfg") or {}
    return {
        "variant": run.variant,
        "seed": run.seed,
        "config_hash": run.hash,
        "measuring": run.measuring,
        **measured,
        "curve": curve,
        "losses": losses,
        "step": "epoch" if schedule.get("max_epochs") else "iteration",
        "steps": schedule.get("max_epochs") or schedule.get("max_iters"),
        **(run.read("spent") or {}),
    }
