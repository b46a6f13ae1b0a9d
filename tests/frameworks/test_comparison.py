"""With and without mixing, by the frameworks' own ``tools/train.py``: the base config beside the shipped one."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

from mmengine.hub import get_config
from trainings import RETINA, ROOT, SEGFORMER, coco, demo, shrunk, small

from cutmix_dense.data.demo import CLASSES

__all__ = ["demo"]  # a fixture


def base_of(name):
    """The framework's own config that a shipped one inherits."""
    (base,) = re.findall(r'^_base_ = "(\w+::[^"]+)"', (ROOT / "configs" / name).read_text(), re.M)
    return get_config(base)


def tool(framework):
    """The training script in the installed package."""
    return Path(importlib.util.find_spec(framework).origin).parent / ".mim" / "tools" / "train.py"


def losses_of(folder):
    """What a training logged, iteration by iteration."""
    (log,) = folder.glob("*/vis_data/scalars.json")
    return [line["loss"] for line in map(json.loads, log.read_text().splitlines()) if "loss" in line]


@pytest.mark.parametrize(("name", "divisor"), [(RETINA, 8), (SEGFORMER, 8)], ids=["mmdet", "mmseg"])
def test_both_train_by_the_frameworks_own_tool(name, divisor, demo, tmp_path):
    data = {"data_root": str(demo / "cityscapes")} if name is SEGFORMER else coco(demo / "coco", "train", CLASSES)
    seen = {}
    for arm, config in (
        ("base", shrunk(base_of(name), data, tmp_path / "base", divisor)),
        ("mixed", small(name, data, tmp_path / "mixed", divisor)),
    ):
        config.log_level = "INFO"
        config.default_hooks.logger.interval = 1
        config.visualizer.vis_backends = [{"type": "LocalVisBackend"}]
        config.dump(tmp_path / f"{arm}.py")
        command = [sys.executable, str(tool(name.split("/")[0])), str(tmp_path / f"{arm}.py")]
        options = ["--work-dir", str(tmp_path / arm), "--cfg-options", "randomness.seed=3"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        seen[arm] = losses_of(tmp_path / arm)
    assert len(seen["base"]) == len(seen["mixed"]) >= 4
    assert seen["base"] != seen["mixed"]  # the same seed, but for the mix
