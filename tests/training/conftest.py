"""A small demo set, configs of a few seconds, and the command line as a process of its own."""

from __future__ import annotations

import importlib
import json
import multiprocessing
from pathlib import Path

import pytest

for package in ("mmengine", "torchmetrics", "pycocotools", "cv2", "rich"):
    pytest.importorskip(package)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """A demo set of 12 + 4 scenes."""
    from cutmix_dense.data.demo import make_demo_set

    return make_demo_set(tmp_path_factory.mktemp("demo"), images=12, val=4, size=(48, 64), seed=5)


@pytest.fixture(scope="session")
def tiny(demo, tmp_path_factory) -> Path:
    """A config that trains a tiny segmenter on the demo set: 4 epochs of 3 iterations, with dropout and a mix."""
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    base = ROOT / "configs" / "segmentation" / "unet-small_camvid_baseline.py"
    path.write_text(
        f"""
_base_ = [{str(base)!r}]
model = dict(
    num_classes=19,
    network=dict(_delete_=True, type="SmallUNet", widths=(4, 8), stride=2),
    data_preprocessor=dict(size=(24, 32), mix=dict(type="CutMix", p=0.7)),
)
_common = dict(root={str(demo / "cityscapes")!r}, keep_classes=None)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(**_common, transforms=[
        dict(type="RandomHorizontalFlip", p=0.5),
        dict(type="ColorJitter", brightness=0.4),
    ]),
)
val_dataloader = dict(batch_size=4, dataset=_common)
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=1))
train_cfg = dict(max_epochs=4, val_interval=2)
"""
    )
    return path


class Runs:
    """The command lines in processes of their own: forked from one that has imported what they need."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            ["cutmix_dense.training", "cutmix_dense.evaluation", "cutmix_dense.cli.train", "cutmix_dense.cli.evaluate"]
        )

    def start(self, tool: str, *words: object):
        """A process that trains or evaluates."""
        main = importlib.import_module(f"cutmix_dense.cli.{tool}").main
        process = self.context.Process(target=main, args=([str(word) for word in words],))
        process.start()
        return process

    def finish(self, tool: str, *words: object) -> None:
        """Train or evaluate to the end."""
        process = self.start(tool, *words)
        process.join(200)
        assert process.exitcode == 0, f"{tool} {words}: exit code {process.exitcode}"

    @staticmethod
    def metrics(work_dir: Path) -> dict:
        """The validation metrics of a training, by epoch."""
        return json.loads((work_dir / "metrics.json").read_text())

    @staticmethod
    def state(checkpoint: Path) -> dict:
        """What is in a checkpoint."""
        import torch

        from cutmix_dense.training import allow_checkpoints

        allow_checkpoints()
        return torch.load(checkpoint, map_location="cpu")


@pytest.fixture(scope="session")
def runs():
    """The command lines, one thread each, without a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield Runs()
