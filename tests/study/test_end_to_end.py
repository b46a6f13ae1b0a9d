"""A real study of real trainings on the demo set: the smallest by default, the demo's own two on request."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pycocotools")
pytest.importorskip("cv2")
pytest.importorskip("torchmetrics")
pytest.importorskip("rich")

from cutmix_dense.cli import study as tool

STUDIES = Path(__file__).resolve().parents[2] / "configs" / "studies"


def drawn(folder, images, val, size):
    from cutmix_dense.data.demo import make_demo_set

    return make_demo_set(folder / "demo", images=images, val=val, size=size, seed=3)


def test_a_tiny_study_trains_measures_and_reports(tmp_path):
    data = drawn(tmp_path, 8, 4, (48, 64)) / "cityscapes"
    options = ["train_cfg.max_epochs=1", "model.data_preprocessor.size=(48,64)"]
    arguments = ["run", str(STUDIES / "demo-segmentation.py"), "--out", str(tmp_path / "out"), "--data-root", str(data)]
    assert tool.main([*arguments, "--jobs", "2", "--only", "cutmix", "--cfg-options", *options]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "**Incomplete**: 1 of 3 runs are missing: baseline seed 0 (missing)." in text
    assert str(tmp_path) not in text
    assert "(predictions.png)" in text
    assert (tmp_path / "out" / "predictions.png").is_file()
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert sum(row.startswith("cutmix,0,centre,0.3,semantic/") for row in rows) > 1
    assert "## Reliability" in text
    assert "| variant | none | fog 0.4 | noise 0.15 | blur 3 px |" in text
    values = {row.rpartition(",")[0]: float(row.rpartition(",")[2]) for row in rows if ",calibration/ECE," in row}
    conditions = ("none,", "centre,0.3", "boundary,0.3", "fog,0.4", "noise,0.15", "blur,3")
    assert values.keys() == {f"cutmix,0,{c},calibration/ECE" for c in conditions} | {
        "untrained,0,none,,calibration/ECE"
    }
    assert all(0 < value < 100 for value in values.values())
    assert len({values[f"cutmix,0,{c},calibration/ECE"] for c in conditions}) == len(conditions)
    assert any(row.startswith("untrained,0,none,,semantic/mIoU,") for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout"), [("demo-detection", "voc"), ("demo-segmentation", "cityscapes")])
def test_the_demo_learns(tmp_path, name, layout):
    data = drawn(tmp_path, 240, 60, (240, 320)) / layout
    out = tmp_path / "out"
    assert tool.main(["run", str(STUDIES / f"{name}.py"), "--out", str(out), "--data-root", str(data)]) == 0
    text = (out / "report.md").read_text()
    assert "**The table counts**" in text
    assert "Incomplete" not in text
    for picture in ("predictions.png", "curves.png", "differences.png", "occlusion.png"):
        assert f"({picture})" in text
