"""The command line of studies: run, continue, report, status, and its exit codes."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("mmengine")
pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

from cutmix_dense.cli import study as tool

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("study_fixtures", ROOT / "tests" / "study" / "conftest.py")
fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fixtures)
commands, make_study = fixtures.commands, fixtures.make_study


@pytest.fixture
def call(commands, tmp_path):
    """A function that calls the command line with the stand-ins."""

    def run(command, path, *arguments):
        return tool.main([command, str(path), "--out", str(tmp_path / "out"), *arguments], commands)

    return run


def code_of(call, *arguments):
    with pytest.raises(SystemExit) as exit:
        call(*arguments)
    return exit.value.code


def test_a_study_from_the_first_run_to_the_published_report(call, make_study, tmp_path, capsys):
    path = make_study(more="seeds = (0, 1)")
    assert call("run", path, "--jobs", "2", "--only", "baseline", "same") == 0
    assert "finished" in capsys.readouterr().out
    assert call("status", path) == 0
    shown = capsys.readouterr().out
    assert "5 of 9 runs finished" in shown
    assert "missing" in shown
    assert "**Incomplete**: 4 of 9" in (tmp_path / "out" / "report.md").read_text()
    assert call("run", path, "--publish", str(tmp_path / "docs")) == 0
    assert "report: " + str(tmp_path / "docs" / "report.md") in capsys.readouterr().out.replace("\n", "")
    text = (tmp_path / "docs" / "report.md").read_text()
    assert "Incomplete" not in text
    assert "| cutmix | 35.80 ± 1.13 | 2 | +5.05 |" in text
    (tmp_path / "out" / "report.md").unlink()
    assert call("report", path) == 0
    assert (tmp_path / "out" / "report.md").read_text() == text


def test_a_failed_run_shows_in_the_exit_code_the_report_and_the_status(call, make_study, tmp_path, capsys):
    path = make_study(fail=(0,), more="seeds = (0,)")
    assert call("run", path) == 1
    told = capsys.readouterr().err
    assert "study: worse/seed-0 failed: train ended with 3" in told
    assert "the loss is NaN" in told
    report = (tmp_path / "out" / "report.md").read_text()
    assert "worse seed 0 (failed). `cutmix-dense study status` says why" in report
    assert call("status", path) == 0
    assert "failed: train ended with 3: Traceback: the loss is NaN" in capsys.readouterr().out
    failure = tmp_path / "out" / "worse" / "seed-0" / "failure.json"
    failure.write_text(failure.read_text().replace("the loss is NaN", "no [sky] in [/data]"))
    assert call("status", path) == 0  # brackets are no markup
    assert "Traceback: no [sky] in [/data]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("metric = 'semantic/mIou'", "metric: 'semantic/mIou' isn't measured, did you mean 'semantic/mIoU'?"),
        ("reliability = {'semantic/IoU/rod': 'lower'}", "reliability: 'semantic/IoU/rod' isn't measured"),
        ("per_class = 'semantic/IoU50/'", "'semantic/IoU50/' and a class, did you mean 'semantic/IoU/'?"),
    ],
)
def test_a_metric_that_isnt_measured_is_told_before_anything_is_trained(call, make_study, tmp_path, capsys, more, told):
    path = make_study(more=f"seeds = (0,)\n{more}")
    for words in (["--jobs", "3"], ["--only", "same"]):  # the second time, what the first measured is known
        assert code_of(call, "run", path, *words) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert sorted(file.parent.name for file in (tmp_path / "out").rglob("result.json")) == ["untrained"]
    assert not list((tmp_path / "out").glob("*/seed-*"))
    assert call("status", path) == 0
    capsys.readouterr()
    assert call("report", path) == 0
    warned = capsys.readouterr().err
    assert warned.startswith("study: warning: stand_ins.py: ")
    assert told in warned
    assert call("run", make_study(more="seeds = (0,)"), "--only", "same") == 0


def test_a_model_that_cant_be_measured_before_training_is_not_trained(call, make_study, tmp_path, commands, capsys):
    path = make_study(more="seeds = (0,)")
    script = tmp_path / "fail.py"
    script.write_text("raise ValueError('no validation set')")
    broken = type(commands)(commands.train, (sys.executable, str(script)))
    assert tool.main(["run", str(path), "--out", str(tmp_path / "out")], broken) == 1
    assert "untrained failed: measure ended with 1: ValueError: no validation set" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*/seed-*"))
    assert call("run", path, "--only", "same") == 0


def test_a_metric_without_a_value_before_training_is_no_failure(call, make_study, tmp_path, capsys):
    path = make_study(more="seeds = (0,)\noptions['fake.untrained'] = None\nper_class = ''")
    assert call("run", path, "--only", "baseline") == 0
    assert "the untrained model has no semantic/mIoU" in " ".join(capsys.readouterr().out.split())
    assert call("status", path) == 0
    assert "–" in capsys.readouterr().out


def test_what_another_study_measures_is_waited_for(call, make_study, tmp_path, capsys):
    from cutmix_dense.study.folders import StudyFolder
    from cutmix_dense.study.settings import load_study

    path = make_study(more="seeds = (0,)")
    untrained = StudyFolder(load_study(path), tmp_path / "out", {}).untrained()
    with ExitStack() as held:
        held.enter_context(untrained.locked())
        threading.Timer(1.0, held.close).start()
        assert call("run", path, "--only", "same") == 0
    assert "study: untrained is running in another process, and is waited for" in capsys.readouterr().err
    assert untrained.result() is not None


def test_variants_that_change_nothing_are_refused_by_name(call, make_study, tmp_path, capsys):
    """Options that the baseline has too, and a change of a helper that nothing reads any more."""
    more = "variants.update(idle=dict(options={'fake.hold': 0}), helper=dict(options={'_mix.p': 0.3}))"
    path = make_study(more=more)
    training = path.with_name("training.py")
    training.write_text("_mix = dict(p=0.5)\n" + training.read_text())
    for command in ("run", "status", "report"):
        assert code_of(call, command, path) == 2
        told = capsys.readouterr().err
        assert "variants must differ from the baseline, 'baseline'" in told
        assert "equal to its: idle, helper;" in told
    assert not (tmp_path / "out").exists()
    same = ["fake.gain=[1,1,1,1]", "fake.fail=[]"]  # the command line makes all alike
    assert code_of(call, "run", make_study(), "--cfg-options", *same) == 2
    assert "equal to its: cutmix, worse, same;" in capsys.readouterr().err


def test_other_settings_need_redo(call, make_study, capsys):
    path = make_study(more="seeds = (0,)")
    assert call("run", path, "--only", "cutmix") == 0
    assert code_of(call, "run", path, "--only", "cutmix", "--cfg-options", "fake.base=50.0") == 2
    assert "cutmix/seed-0" in capsys.readouterr().err
    assert call("run", path, "--only", "cutmix", "--cfg-options", "fake.base=50.0", "--redo") == 0
    capsys.readouterr()
    assert call("status", path) == 0  # knows the options that the runs were made with
    assert "55.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "none"], "--only must name variants"),
        (["--data-root", "nowhere"], "there is no such folder"),
        (["--cfg-options", "fake.base"], "--cfg-options must be KEY=VALUE"),
    ],
)
def test_mistakes_are_told_in_a_line(call, make_study, capsys, arguments, told):
    assert code_of(call, "run", make_study(), *arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


DRIVER = """
import sys
sys.path.insert(0, sys.argv[1])
from cutmix_dense.cli import study
from cutmix_dense.study.execute import Commands
fakes = sys.argv[2]
commands = Commands((sys.executable, fakes, "train"), (sys.executable, fakes, "measure"))
sys.exit(study.main(sys.argv[3:], commands))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_ends_its_children_and_goes_on_later(call, make_study, tmp_path, number):
    path = make_study(more="seeds = (0,)", steps=5, hold=3)
    out = tmp_path / "out"
    arguments = ["run", str(path), "--out", str(out), "--only", "baseline"]
    program = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(ROOT), fixtures.FAKES, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=_heed_interrupts,
    )
    steps = out / "baseline" / "seed-0" / "work" / "steps.txt"
    until = time.monotonic() + 120
    while not (steps.is_file() and "3" in steps.read_text().split()):
        assert time.monotonic() < until, "it never trained"
        assert program.poll() is None
        time.sleep(0.02)
    program.send_signal(number)
    _, error = program.communicate(timeout=120)
    assert program.returncode == 130
    assert b"study: interrupted" in error
    begun = str(out).encode()
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and begun in _command(pid)]
    assert call("run", path, "--only", "baseline") == 0
    made = steps.read_text().split()
    assert made.count("start") == 2
    assert [step for step in made if step != "start"] == [str(step) for step in range(1, 6)]


def _heed_interrupts():
    """A shell starts background jobs with SIGINT ignored, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_the_studies_of_the_project_can_be_read():
    """Every study's configs exist, its options fit them, and each of its runs is another training."""
    from cutmix_dense.study.folders import StudyFolder
    from cutmix_dense.study.settings import load_study

    paths = sorted((ROOT / "configs" / "studies").glob("*.py"))
    assert len(paths) >= 6
    for path in paths:
        study = load_study(path)
        folder = StudyFolder(study, Path("runs"), study.data_options("data"))
        folder.refuse_idle()
        runs = folder.runs()
        hashes = {run.hash for run in runs if run.variant != "untrained"}
        assert len(hashes) == len(study.variants) * len(study.seeds), path.name
        for run in runs:
            assert run.config.model.type.startswith("cutmix_dense."), path.name
            text = run.config.pretty_text
            assert text.count("'data'") >= len(study.data_keys), path.name


@pytest.mark.parametrize(("smallest", "seeds"), [(1.0, 2), (0.1, 4)])
def test_a_plan_says_how_many_seeds_are_run(call, make_study, tmp_path, smallest, seeds):
    """The pilot's two differences deviate by 0.07: two seeds for an effect of 1, more than four for one of 0.1."""
    plan = f"dict(written='2026-11-29', smallest={smallest}, pilot=2, compare=('cutmix',))"
    path = make_study(more=f"seeds = (0, 1, 2, 3)\nplan = {plan}\nvariants.pop('worse'); variants.pop('same')")
    assert call("run", path) == 0
    finished = sorted(file.parent.name for file in (tmp_path / "out" / "cutmix").glob("*/result.json"))
    assert finished == [f"seed-{seed}" for seed in range(seeds)]
    assert "## Decided beforehand" in (tmp_path / "out" / "report.md").read_text()


def test_a_summary_of_several_studies(commands, make_study, tmp_path, capsys):
    runs, plan = tmp_path / "runs", "plan = dict(written='2026-11-29', smallest=1.0, pilot=2, compare=('cutmix',))"
    planned = make_study("planned", more=f"seeds = (0, 1)\n{plan}\nvariants.pop('worse'); variants.pop('same')")
    explored = make_study("explored", more="seeds = (0,)")
    assert tool.main(["run", str(planned), "--out", str(runs / "planned")], commands) == 0
    assert tool.main(["summary", str(planned), str(explored), "--runs", str(runs)]) == 0
    assert f"summary: {runs / 'summary.md'}" in capsys.readouterr().out
    page = (runs / "summary.md").read_text()
    assert page.index("## What helps") < page.index("- [A study of stand-ins](planned/report.md): **cutmix** raises")
    assert "These decide nothing: [A study of stand-ins](explored/report.md)." in page
    assert "(forest.png)" in page
    assert (runs / "forest.png").stat().st_size > 5000
