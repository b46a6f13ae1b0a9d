"""A study of quick stand-ins, in a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("mmengine")
pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

FAKES = str(Path(__file__).with_name("fakes.py"))

STUDY = """
title = "A study of stand-ins"
metric = "semantic/mIoU"
per_class = "semantic/IoU/"
baseline = "baseline"
config = "training.py"
seeds = (0, 1, 2)
options = {{"fake.steps": {steps}, "fake.hold": {hold}}}
data_keys = ("loader.dataset.root",)
robustness = dict(centre=(0.1, 0.5), boundary=(0.3,))
budget = "three steps"
variants = dict(
    baseline=dict(note="no mixing"),
    cutmix=dict(note="CutMix", options={{"fake.gain": [5.0, 5.1, 4.9, 0]}}),
    worse=dict(options={{"fake.gain": [-3.0, -3.2, -3.1, 0], "fake.fail": {fail}}}),
    same=dict(options={{"fake.gain": [1.0, -1.0, 0.2, 0]}}),
)
{more}
"""


@pytest.fixture
def commands():
    """The stand-ins as a study's programs."""
    from cutmix_dense.study.execute import Commands

    return Commands((sys.executable, FAKES, "train"), (sys.executable, FAKES, "measure"))


@pytest.fixture
def make_study(tmp_path):
    """A function that writes a study's config and gives its path."""

    def make(name="stand_ins", fail=(), more="", steps=3, hold=0, base=30.0) -> Path:
        text = f"fake = dict(base={base}, untrained=4.0)\nloader = dict(dataset=dict(root='data/set', n=1))\n"
        (tmp_path / "training.py").write_text(text + "train_cfg = dict(max_epochs=3)\n")
        path = tmp_path / f"{name}.py"
        path.write_text(STUDY.format(fail=list(fail), more=more, steps=steps, hold=hold))
        return path

    return make
