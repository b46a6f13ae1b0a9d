"""A published report is enough: its tables are made again elsewhere, seeds are added, what doesn't fit is refused."""

from __future__ import annotations

import json
import shutil

import pytest

from cutmix_dense.cli import study as tool
from cutmix_dense.study.plan_record import read_plans
from cutmix_dense.study.published import RUNS, read_published
from cutmix_dense.study.settings import StudyError

METRIC = "semantic/mIoU"
MORE = """
seeds = tuple(range({seeds}))
pictures = dict(count=1)
publish_pixels = {pixels}
shifts = dict(fog=(0.5,), blur=(2,))
plan = dict(written="2026-11-29", smallest={smallest}, pilot={pilot})
"""


@pytest.fixture
def studied(make_study, commands, tmp_path, monkeypatch, tmp_path_factory):
    """A function that runs a command of a study whose first two seeds were published and whose folders are gone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()

    def call(command, *words, seeds=2, smallest=1.0, pilot=2, pixels=True, more_variants="", **settings):
        more = MORE.format(seeds=seeds, smallest=smallest, pilot=pilot, pixels=pixels) + more_variants
        study = str(make_study(more=more, **settings))
        out = [] if command == "summary" else ["--out", "out"]
        return tool.main([command, study, *out, *words], commands)

    once = tmp_path_factory.getbasetemp() / "published"  # by the first test: the study takes seconds
    if not once.is_dir():
        first = ("run", "--jobs", "2", "--data-root", "data", "--cfg-options", "loader.dataset.n=2")
        assert call(*first, "--publish", "docs/stand_ins") == 0
        shutil.rmtree("out")
        shutil.copytree("docs", once)
    shutil.copytree(once, "docs", dirs_exist_ok=True)
    return call


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_everything_is_made_again_from_what_was_published(studied, tmp_path):
    there = tmp_path / "docs" / "stand_ins"
    before = files(there)
    pictures = {"curves.png", "differences.png", "occlusion.png", "predictions.png"}
    assert set(before) == {"report.md", "results.csv", "summary.csv", RUNS, *pictures}
    assert str(tmp_path.parent).encode() not in b"".join(before.values()), "no path of a machine"
    assert studied("report", "--published", str(there), "--publish", str(there)) == 0
    after = files(there)
    assert {name for name in after if after[name] != before[name]} == set()
    assert json.loads(before[RUNS])["options"] == {"loader.dataset.n": 2, "loader.dataset.root": "data"}


def test_further_seeds_are_run_and_the_first_are_not_repeated(studied, tmp_path, capsys):
    there = tmp_path / "docs" / "stand_ins"
    recorded = json.loads((there / RUNS).read_text())["plans"]
    words = ("--published", str(there), "--publish", str(there))
    assert studied("run", *words, seeds=3, smallest=0.1, pilot=2) == 0
    trained = sorted(path.parent.name for path in (tmp_path / "out").glob("*/*/trained.json"))
    assert trained == ["seed-2"] * 4, "the plan asks for more seeds; the published ones are the pilot"
    found = read_published(there)
    assert {seed for _, seed in found.results} == {0, 1, 2}
    plans = read_plans(tmp_path / "out")
    assert plans[0] == recorded[0]
    assert [(plan["finished"], plan["plan"]["smallest"]) for plan in plans] == [(0, 1.0), (8, 0.1)]
    report = (there / "report.md").read_text()
    assert "| cutmix | 35.00 | 36.60 | 33.90 |" in report
    assert "predictions.png" in report, "the first seed's picture stays"
    assert "of 13" not in report
    assert studied("status", "--published", str(there), seeds=3, smallest=0.1, pilot=2) == 0
    assert "13 of 13 runs finished" in capsys.readouterr().out


def test_pixels_that_may_not_be_shown_do_not_stay(studied, tmp_path):
    there = tmp_path / "docs" / "stand_ins"
    assert studied("report", "--published", str(there), "--publish", str(there), pixels=False) == 0
    assert not (there / "predictions.png").exists()
    assert "predictions.png" not in (there / "report.md").read_text()


def test_the_summary_is_made_of_published_reports(studied, tmp_path):
    assert studied("summary", "--published", "docs", "--publish", "docs") == 0
    page = (tmp_path / "docs" / "summary.md").read_text()
    assert "**cutmix** raises semantic/mIoU by 5.1 points" in page
    assert (tmp_path / "docs" / "forest.png").is_file()
    assert studied("summary", "--publish", "bare") == 0
    assert "raises" not in (tmp_path / "bare" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 5}, "untrained seed 0, baseline seed 0, baseline seed 1, cutmix seed 0"),
        ({"seeds": 3, "more_variants": "del variants['same']"}, "same seed 0, same seed 1; leave --published out"),
    ],
)
def test_runs_of_other_settings_are_named(studied, capsys, settings, named):
    with pytest.raises(SystemExit) as ended:
        studied("report", "--published", "docs/stand_ins", **settings)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


def test_reports_without_runs_are_refused(studied, tmp_path, capsys):
    there = tmp_path / "docs" / "stand_ins"
    lines = (there / "results.csv").read_text().splitlines(keepends=True)
    (there / "results.csv").write_text("".join(line for line in lines if not line.startswith("same,1,")))
    with pytest.raises(StudyError, match=r"only one of them has same seed 1$"):
        read_published(there)
    (there / RUNS).unlink()
    with pytest.raises(SystemExit) as ended:
        studied("report", "--published", str(there))
    assert ended.value.code == 2
    assert "isn't a published report: it has no runs.json" in capsys.readouterr().err
