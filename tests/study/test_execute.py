"""Runs are done once, go on where they were killed, and a failure keeps nobody else from running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cutmix_dense.study import execute
from cutmix_dense.study.folders import StudyFolder
from cutmix_dense.study.settings import StudyError, load_study

METRIC = "semantic/mIoU"


def steps_of(run):
    """The steps a run's (fake) training has written; its folder is there before the file is."""
    path = run.work / "steps.txt"
    return path.read_text().split() if path.is_file() else []


def wait_for(condition, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


@pytest.fixture
def folder(make_study, tmp_path):
    def make(options=None, **settings):
        return StudyFolder(load_study(make_study(**settings)), tmp_path / "out", options or {})

    return make


def test_all_runs_are_done_and_none_twice(folder, commands):
    study = folder()
    seen = []
    progress = execute.run_all(
        study.runs(), commands, METRIC, jobs=2, every=0.05, on_progress=lambda p: seen.append(len(p.running))
    )
    assert len(progress.done) == progress.total == 13
    assert progress.failed == {}
    assert 1 <= max(seen) <= 2
    result = study.run("cutmix", 1).result()
    assert result["metrics"][METRIC] == 30 + 1.5 + 5.1
    assert result["curve"] == [[1, pytest.approx(36.6 / 3)], [2, pytest.approx(24.4)], [3, pytest.approx(36.6)]]
    assert result["losses"] == [[1, 1.0], [2, 0.5], [3, pytest.approx(1 / 3)]]
    assert [c["share"] for c in result["occlusion"]] == [0.1, 0.5, 0.3]
    assert (result["step"], result["starts"]) == ("epoch", 1)
    assert 0 < result["cpu_seconds"] < 60
    assert study.untrained().result()["metrics"][METRIC] == 4.0

    again = execute.run_all(study.runs(), commands, METRIC)
    assert (again.total, again.done) == (0, [])
    assert steps_of(study.run("cutmix", 1)) == ["start", "1", "2", "3"]


def test_threads_are_shared_out(folder, commands, tmp_path):
    script = tmp_path / "show.py"
    script.write_text("import os, sys\nprint('threads', os.environ['OMP_NUM_THREADS'])\nsys.exit(1)\n")
    show = execute.Commands((sys.executable, str(script)), commands.measure)
    run = folder().run("baseline", 0)
    execute.run_all([run], show, METRIC, threads=3)
    assert "threads 3" in (run.folder / "train.log").read_text()


def test_a_failure_is_written_down_and_the_others_go_on(folder, commands):
    study = folder(fail=(1,))
    progress = execute.run_all(study.runs(), commands, METRIC, jobs=2, every=0.05)
    assert list(progress.failed) == ["worse/seed-1"]
    assert len(progress.done) == 12
    run = study.run("worse", 1)
    failure = run.read("failure")
    why = "train ended with 3: Traceback: the loss is NaN"
    assert (failure["stage"], failure["why"], run.state()) == ("train", why, "failed")
    assert failure["log"].startswith("training with ")
    assert run.result() is None


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("a table of hooks\ntrain: error: /nope: no such set\n\n", "train: error: /nope: no such set"),
        ("Traceback (most recent call last):\n  raise\na.b.BrokenError: no [loss]\n", "a.b.BrokenError: no [loss]"),
        ("ValueError: first\nRuntimeError: then\n  of epoch 2\nwarn(\n", "RuntimeError: then"),
        ("the Error is known\nits end\n \n", "its end"),
        ("", ""),
    ],
)
def test_a_failure_says_what_the_log_says(folder, commands, tmp_path, written, why):
    script = tmp_path / "fail.py"
    script.write_text(f"import sys\nsys.stdout.write({written!r})\nsys.exit(2)\n")
    run = folder().run("baseline", 0)
    execute.run_all([run], execute.Commands((sys.executable, str(script)), commands.measure), METRIC)
    assert run.read("failure")["why"] == "train ended with 2" + (f": {why}" if why else "")


def test_a_metric_that_isnt_measured_is_a_failure(folder, commands):
    study = folder()
    run = study.run("baseline", 0)
    progress = execute.run_all([run], commands, "voc/AP50")
    assert "'voc/AP50' isn't a number among those measured" in progress.failed[run.name]
    assert run.state() == "failed"


def test_a_killed_run_goes_on_where_it_was(folder, commands):
    study = folder(steps=4, hold=2)
    run = study.run("baseline", 0)
    work = threading.Thread(target=execute.run_all, args=([run], commands, METRIC))
    work.start()
    wait_for(lambda: "2" in steps_of(run))
    assert run.state() == "running"
    train = next(
        int(pid)
        for pid in os.listdir("/proc")
        if pid.isdigit() and str(run.work).encode() in _command(pid) and int(pid) != os.getpid()
    )
    os.kill(train, signal.SIGKILL)
    work.join()
    assert run.state() == "failed"
    assert run.read("failure")["why"] == "train ended with -9"
    assert execute.run_all([run], commands, METRIC).done == [run.name]
    steps = steps_of(run)
    assert steps.count("start") == 2
    assert [step for step in steps if step != "start"] == ["1", "2", "3", "4"]
    assert [step for step, _ in run.result()["curve"]] == [1, 2, 3, 4]
    assert run.result()["starts"] == 2


def _command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


DRIVER = """
import sys
from cutmix_dense.study.execute import Commands, run_all
from cutmix_dense.study.folders import StudyFolder
from cutmix_dense.study.settings import load_study
from pathlib import Path
study, out, fakes = sys.argv[1:]
folder = StudyFolder(load_study(study), Path(out), {})
commands = Commands((sys.executable, fakes, "train"), (sys.executable, fakes, "measure"))
run_all([folder.run("baseline", 0)], commands, "semantic/mIoU")
"""


def test_a_study_that_was_killed_leaves_no_second_training_in_the_folder(folder, commands, tmp_path):
    study = folder(steps=5, hold=1)
    run = study.run("baseline", 0)
    fakes = commands.train[1]
    program = [sys.executable, "-c", DRIVER, str(study.study.path), str(study.out), fakes]
    driver = subprocess.Popen(program)
    wait_for(lambda: "1" in steps_of(run))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    # its child trains on, and holds the run's lock
    assert run.state() == "running"
    progress = execute.run_all([run], commands, METRIC)
    assert progress.failed == {run.name: "baseline/seed-0 is still running in another process"}
    (run.work / "go").touch()
    wait_for(lambda: not run.is_locked())
    assert run.state() == "interrupted"
    assert execute.run_all([run], commands, METRIC).done == [run.name]
    assert [step for step in steps_of(run) if step != "start"] == ["1", "2", "3", "4", "5"]


def test_an_interrupt_stops_the_children(folder, commands):
    study = folder(hold=1)
    runs = study.runs()[1:4]

    def interrupt(progress):
        if len(progress.running) == 2 and all((run.work / "steps.txt").is_file() for run in runs[:2]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute.run_all(runs, commands, METRIC, jobs=2, every=0.05, on_progress=interrupt)
    assert not any(run.is_locked() for run in runs)
    assert [run.state() for run in runs] == ["interrupted", "interrupted", "missing"]


def test_a_torn_last_line_of_a_log_is_passed_over(folder, commands):
    study = folder()
    run = study.run("baseline", 0)
    log = run.work / "2025_0000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({METRIC: 99.0, "step": 1}) + "\n" + '{"loss": 0.5, "st')
    assert execute.run_all([run], commands, METRIC).done == [run.name]
    # the step was done again after the kill: the later one counts
    assert run.result()["curve"][0] == [1, 10.0]


def test_runs_of_other_settings_are_refused_by_name_or_made_anew(folder, commands):
    study = folder()
    run = study.run("cutmix", 0)
    execute.run_all([run, study.run("cutmix", 1)], commands, METRIC)
    other = folder({"fake.base": 40.0})
    assert other.run("cutmix", 0).state() == "other settings"
    assert other.run("cutmix", 0).result() is None
    with pytest.raises(StudyError, match="cutmix/seed-0, cutmix/seed-1; give --redo"):
        other.refuse_stale(other.runs(), redo=False)
    other.refuse_stale(other.runs(("cutmix",)), redo=True)
    execute.run_all([other.run("cutmix", 0)], commands, METRIC)
    assert other.run("cutmix", 0).result()["metrics"][METRIC] == 45.0


def test_other_occlusions_need_a_new_measuring_but_no_new_training(folder, commands):
    study = folder()
    execute.run_all([study.run("cutmix", 0)], commands, METRIC)
    other = folder(more="robustness = dict(centre=(0.2,))")
    run = other.run("cutmix", 0)
    other.refuse_stale([run], redo=False)
    assert run.result() is None
    execute.run_all([run], commands, METRIC)
    assert [c["share"] for c in run.result()["occlusion"]] == [0.2]
    assert steps_of(run) == ["start", "1", "2", "3"]


def test_unknown_variants_are_named(folder):
    with pytest.raises(StudyError, match="--only must name variants .*got cutmixx"):
        folder().runs(("cutmixx",))
