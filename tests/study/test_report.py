"""The report says what was measured, judges gains and losses alike, and names what is missing."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from cutmix_dense.study import execute
from cutmix_dense.study.folders import StudyFolder
from cutmix_dense.study.report import markdown, write_report
from cutmix_dense.study.settings import load_study
from cutmix_dense.study.tables import collect, results_csv, summary_csv

METRIC = "semantic/mIoU"
PLOTS = {"curves.png", "differences.png", "occlusion.png"}


SHIFTED = "shifts = dict(fog=(0.2, 0.5), blur=(2,))\nreliability = {'c/ECE': 'lower', 'c/AUROC': 'higher'}"


def result_of(run, metrics, occlusion=()):
    shifted = [
        {**given, "metrics": {name: value / 2 + given["strength"] for name, value in metrics.items()}}
        for given in run.measuring.get("shifts", ())
    ]
    occluded = [
        {"kind": o["kind"], "share": o["share"], "metrics": {METRIC: value}}
        for o, value in zip(run.measuring["occlusions"], occlusion)
    ]
    return {
        "variant": run.variant,
        "seed": run.seed,
        "config_hash": run.hash,
        "measuring": run.measuring,
        "metrics": metrics,
        "occlusion": occluded,
        "shifts": shifted,
        "classes": ["road", "sky"],
        "versions": {"python": "3.12", "torch": "2.15.0"},
        "curve": [[10, metrics[METRIC] / 2], [20, metrics[METRIC]]],
        "losses": [[step, 3 - step / 20] for step in range(1, 41)],
        "step": "epoch",
        "cpu_seconds": 120.0,
        "wall_seconds": 130.0,
        "starts": 1,
    }


BASE = {0: 30.0, 1: 31.5, 2: 29.0}
GAINS = {
    "baseline": {0: 0.0, 1: 0.0, 2: 0.0},
    "cutmix": {0: 5.0, 1: 5.1, 2: 4.9},
    "worse": {0: -3.0, 1: -3.2, 2: -3.1},
    "same": {0: 1.0, 1: -1.0, 2: 0.2},
}


@pytest.fixture
def finished(make_study, tmp_path):
    """A function that writes results as runs would, and collects them."""

    def make(leave_out=(), untrained=4.0, options=None, **settings):
        folder = StudyFolder(load_study(make_study(**settings)), tmp_path / "out", options or {})
        for run in folder.runs():
            run.folder.mkdir(parents=True, exist_ok=True)
            if run.name in leave_out:
                continue
            value = untrained if run.variant == "untrained" else BASE[run.seed] + GAINS[run.variant][run.seed]
            metrics = {METRIC: value, "semantic/IoU/sky": value + 10, "semantic/IoU/road": value - 10}
            if folder.study.reliability:
                metrics |= {"c/ECE": 40 - value, "c/AUROC": value + 40}
            run.write("result", result_of(run, metrics, [value - 1, value - 5, value - 9]))
        return collect(folder)

    return make


def test_the_main_table(finished):
    text = markdown(finished())
    assert "# A study of stand-ins\n" in text
    assert "| **baseline** (baseline) | 30.17 ± 1.26 | 3 |  |  |  |  |" in text
    # differences 5.0, 5.1, 4.9: sd 0.1, half width 4.303 · 0.1 / √3 = 0.25
    assert "| cutmix | 35.17 ± 1.36 | 3 | +5.00 | +4.75 … +5.25 | 3 / 0 | better |" in text
    assert "| worse | 27.07 ± 1.20 | 3 | -3.10 | -3.35 … -2.85 | 0 / 3 | worse |" in text
    assert "| same | 30.23 ± 0.93 | 3 | +0.07 | -2.43 … +2.57 | 2 / 1 | not significant |" in text
    assert "| cutmix | 35.00 | 36.60 | 33.90 |" in text
    assert "- **same**: not significant" in text
    assert "- **worse**: worse than the baseline" in text
    assert "The 3 intervals are not corrected" in text


@pytest.mark.parametrize(
    ("untrained", "told"),
    [
        (4.0, "has semantic/mIoU 4.00, the baseline 30.17: 7.5× that. **The table counts**"),
        (10.1, "3.0× that. **The table does not count**"),
        (0.0, "has semantic/mIoU 0.00, the baseline 30.17. **The table counts**"),
    ],
)
def test_whether_the_table_counts_is_said_in_words(finished, untrained, told):
    assert told in markdown(finished(untrained=untrained))


def test_an_untrained_model_may_have_no_value(finished):
    known = finished()
    assert known.untrained is not None
    without = replace(known, untrained={**known.untrained, "metrics": {METRIC: None}})
    assert without.counts() == (
        None,
        "It can't be said yet whether this table counts: the untrained model has no semantic/mIoU.",
    )


def test_per_class_and_robustness(finished):
    text = markdown(finished())
    assert "Mean ± sd of `semantic/IoU`:\n\n| class | baseline | cutmix | worse | same |" in text
    assert text.index("| road | 20.17 ± 1.26 |") < text.index("| sky | 40.17 ± 1.26 |")
    assert "| sky | **+5.00 (+4.75 … +5.25)** | **-3.10 (-3.35 … -2.85)** | +0.07 (-2.43 … +2.57) |" in text
    assert "| variant | none | centre 10% | centre 50% | boundary 30% |" in text
    assert "| cutmix | 35.17 ± 1.36 | 34.17 ± 1.36 | 30.17 ± 1.36 | 26.17 ± 1.36 |" in text


def test_what_is_missing_is_named_and_the_rest_is_still_compared(finished):
    found = finished(leave_out=("cutmix/seed-2", "same/seed-0", "same/seed-1", "same/seed-2", "untrained"))
    text = markdown(found)
    names = "untrained (missing); same seeds 0, 1, 2 (missing); cutmix seed 2 (missing)"
    assert f"**Incomplete**: 5 of 13 runs are missing: {names}.\n" in text
    assert "| cutmix | 35.80 ± 1.13 | 2 | +5.05 |" in text  # of the two seeds that both have
    assert "| same | – | 0 |  |  |  |  |" in text
    assert "It can't be said yet whether this table counts" in text


def test_nothing_was_run_yet(make_study, tmp_path):
    found = collect(StudyFolder(load_study(make_study()), tmp_path / "out", {}))
    path = write_report(found, tmp_path / "out")
    assert "**Not run.**" in path.read_text()
    assert "## Result" not in path.read_text()
    assert not PLOTS & {file.name for file in (tmp_path / "out").iterdir()}


def test_one_seed_tells_nothing(finished):
    text = markdown(finished(more="seeds = (0,)"))
    assert "| cutmix | 35.00 | 1 | +5.00 | – | 1 / 0 | too few seeds |" in text
    assert "an interval needs two seeds at least" in text


def test_the_text_is_the_same_again_and_free_of_this_machine(finished, tmp_path):
    options = {"loader.dataset.root": str(tmp_path / "data"), "fake.steps": 3, "work_dir": str(tmp_path)}
    found = finished(options=options)
    text = markdown(found, sorted(PLOTS))
    assert text == markdown(finished(options=options), sorted(PLOTS))
    assert str(tmp_path) not in text
    assert "Versions: python 3.12, torch 2.15.0." in text
    assert "run stand_ins.py --out runs/studies/stand_ins --data-root DATA --cfg-options fake.steps=3\n" in text
    assert "processor time: 2.0 minutes per run, 24 in all" in text


def test_tables_as_csv(finished):
    found = finished()
    rows = list(csv.DictReader(io.StringIO(results_csv(found))))
    assert len(rows) == 13 * 3 + 13 * 3 - 3  # three metrics, three occlusions; the untrained model isn't occluded
    assert {
        "variant": "cutmix",
        "seed": "2",
        "condition": "boundary",
        "strength": "0.3",
        "metric": METRIC,
        "value": "24.9",
    } in rows
    rows = list(csv.DictReader(io.StringIO(summary_csv(found))))
    assert len(rows) == 4 * (1 + 2 + 3)
    row = next(
        row for row in rows if row["variant"] == "worse" and row["metric"] == METRIC and row["strength"] == "0.5"
    )
    assert (row["pairs"], row["difference"], row["wins"], row["losses"]) == ("3", "-3.1", "0", "3")
    assert float(row["low95"]) < float(row["difference"]) < float(row["high95"]) < 0


def test_reliability_and_shifted_sets(finished):
    found = finished(more=SHIFTED)
    text = markdown(found)
    plain = text[text.index("## Reliability") : text.index("## Robustness")]
    assert "| variant | c/ECE ↓ | c/AUROC ↑ |" in plain
    assert "| **baseline** (baseline) | 9.83 ± 1.26 | 70.17 ± 1.26 |" in plain
    assert "| cutmix | **-5.00 (-5.25 … -4.75)** | **+5.00 (+4.75 … +5.25)** |" in plain
    shifted = text[text.index("## Shifted validation sets") :]
    for name in (f"{METRIC} ↑", "c/ECE ↓", "c/AUROC ↑"):
        assert f"### {name}\n" in shifted
    assert shifted.count("| variant | none | fog 0.2 | fog 0.5 | blur 2 px |") == 6
    # half of 35.17 and the strength; half of its difference to the baseline
    assert "| cutmix | 35.17 ± 1.36 | 17.78 ± 0.68 | 18.08 ± 0.68 | 19.58 ± 0.68 |" in shifted
    assert "| cutmix | **-5.00 (-5.25 … -4.75)** | **-2.50 (-2.62 … -2.38)** |" in shifted
    rows = list(csv.DictReader(io.StringIO(results_csv(found))))
    assert {
        "variant": "cutmix", "seed": "0", "condition": "fog", "strength": "0.5", "metric": "c/ECE", "value": "3",
    } in rows  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(summary_csv(found))))
    assert len(rows) == 4 * (1 + 2 + 3) + 4 * 2 + 4 * 3 * 3
    for name, condition, won in (("c/ECE", "none", "3"), ("c/ECE", "blur", "3"), ("c/AUROC", "blur", "3")):
        row = next(r for r in rows if (r["variant"], r["metric"], r["condition"]) == ("cutmix", name, condition))
        assert (row["wins"], row["losses"]) == (won, "0")


def test_a_study_without_them_says_nothing_of_them(finished):
    text = markdown(finished())
    assert "Reliability" not in text
    assert "Shifted" not in text


def test_plots_are_drawn_and_the_report_shows_them(finished, tmp_path):
    pytest.importorskip("PIL")
    from PIL import Image

    out = tmp_path / "out"
    text = write_report(finished(), out).read_text()
    for name in PLOTS:
        assert f"]({name})" in text
        with Image.open(out / name) as picture:
            assert picture.width > 500
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
    first = {name: (out / name).read_bytes() for name in PLOTS}
    write_report(finished(), out)
    assert first == {name: (out / name).read_bytes() for name in PLOTS}


@pytest.mark.parametrize("allowed", [True, False])
def test_pixels_are_published_only_where_they_may_be(make_study, tmp_path, commands, allowed):
    more = f"publish_pixels = {allowed}\npictures = dict(count=1)\nseeds = (0,)\n"
    more += "variants = dict(baseline={}, cutmix=dict(options={'fake.gain': [5, 0, 0, 0]}))"
    folder = StudyFolder(load_study(make_study(more=more)), tmp_path / "out", {})
    execute.run_all(folder.runs(), commands, METRIC)
    published = tmp_path / "docs"
    published.mkdir()
    (published / "predictions.png").write_bytes(b"of an earlier time")
    path = write_report(collect(folder), folder.out, published)
    assert path == published / "report.md"
    assert (folder.out / "predictions.png").is_file()
    assert "(predictions.png)" in (folder.out / "report.md").read_text()
    assert (published / "predictions.png").is_file() == allowed
    assert ("(predictions.png)" in path.read_text()) == allowed
    assert {"results.csv", "summary.csv", *PLOTS} <= {file.name for file in published.iterdir()}
    assert not list(published.glob("*.pt"))
