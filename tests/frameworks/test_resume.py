"""A training that is killed resumes with our adapter alone, by the frameworks' own tool; without it torch refuses its
checkpoints.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

import torch
from mmengine.config import Config
from mmengine.utils import digit_version
from test_comparison import tool
from test_readme_config import DET_BATCH, FCN, RETINANET, SEG_BATCH, lines_of
from trainings import ROOT, coco, demo, shrunk

from cutmix_dense.data.demo import CLASSES

__all__ = ["demo"]  # a fixture


@pytest.fixture
def trainings(demo, tmp_path):
    """Starts the framework's tool on a small stock config, with lines below it."""

    class Trainings:
        folder = tmp_path / "run"

        def write(self, base, lines):
            framework = base.split("::")[0]
            data = (
                coco(demo / "coco", "train", CLASSES)
                if framework == "mmdet"
                else {"data_root": str(demo / "cityscapes")}
            )
            config = Config.fromstring(f'_base_ = "{base}"\n{lines}', file_format=".py")
            config = shrunk(config, data, self.folder, 8)
            self.by_epoch = config.train_cfg.by_epoch
            config.train_cfg[self.unit] = 100
            config.default_hooks.checkpoint = {
                "type": "CheckpointHook",
                "interval": 1,
                "by_epoch": self.by_epoch,
                "max_keep_ckpts": 2,
                "save_optimizer": True,
            }
            config.default_hooks.logger.interval = 1
            config.log_level = "INFO"
            config.visualizer.vis_backends = [{"type": "LocalVisBackend"}]
            config.dump(tmp_path / "config.py")
            self.command = [sys.executable, str(tool(framework)), str(tmp_path / "config.py")]
            self.command += ["--work-dir", str(self.folder)]

        @property
        def unit(self):
            return "max_epochs" if self.by_epoch else "max_iters"

        def kill(self):
            """Train until there is a checkpoint, and kill; returns the file that a resumed training starts from."""
            process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)
            end = time.monotonic() + 240
            while not (self.folder / "last_checkpoint").exists() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            assert process.poll() is None, process.stderr.read().decode()[-2000:]
            process.kill()
            process.communicate()
            return (self.folder / "last_checkpoint").read_text()

        def resume(self, until):
            options = [f"train_cfg.{self.unit}={until}"]
            command = [*self.command, "--resume", "--cfg-options", *options]
            return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    return Trainings()


@pytest.mark.parametrize(("base", "lines"), [(RETINANET, DET_BATCH), (FCN, SEG_BATCH)], ids=["mmdet", "mmseg"])
def test_a_killed_training_goes_on(base, lines, trainings):
    trainings.write(base, lines_of(*lines))
    begun = int(trainings.kill().rpartition("_")[2].removesuffix(".pth"))
    done = trainings.resume(begun + 2)
    assert done.returncode == 0, done.stderr[-3000:]
    name = "epoch" if trainings.by_epoch else "iter"
    logs = sorted(trainings.folder.glob("*/vis_data/scalars.json"))
    assert len(logs) == 2
    steps = [json.loads(line)["step"] for line in logs[1].read_text().splitlines()]
    each = 2 if trainings.by_epoch else 1  # iterations
    assert steps == [*range(begun * each + 1, (begun + 2) * each + 1)]
    path = trainings.folder / f"{name}_{begun + 2}.pth"
    code = f"import torch; torch.load({str(path)!r})"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ("UnpicklingError" in plain.stderr) == safe_by_default()
    ours = f"import cutmix_dense.mmengine; {code}"
    assert subprocess.run([sys.executable, "-c", ours], cwd=ROOT, check=False).returncode == 0


def safe_by_default():
    return digit_version(torch.__version__) >= digit_version("2.6")
