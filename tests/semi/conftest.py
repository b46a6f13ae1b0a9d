"""A small demo set, and the arms' configs on it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "semi"
_names = itertools.count()


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """A demo set of 16 + 2 scenes."""
    for library in ("mmengine", "cv2", "pycocotools"):
        pytest.importorskip(library)
    from cutmix_dense.data.demo import make_demo_set

    return make_demo_set(tmp_path_factory.mktemp("demo"), images=16, val=2, size=(48, 64), seed=5) / "cityscapes"


@pytest.fixture
def runner_of(demo, tmp_path):
    """A function that makes the Runner of a config of configs/semi, on the demo set."""
    from mmengine.config import Config
    from mmengine.runner import Runner

    def runner(name: str, **changes) -> Runner:
        config = Config.fromfile(CONFIGS / f"{name}.py")
        data = {"root": str(demo), "keep_classes": None}
        config.merge_from_dict(
            {
                "train_dataloader.dataset.labelled": data,
                "val_dataloader.dataset": data,
                "test_dataloader.dataset": data,
                "train_dataloader.dataset.labelled.fraction": 0.25,
                "model.student": {"num_classes": 19},
                "model.student.network.widths": (8, 8),
                "model.data_preprocessor.size": (24, 32),
                "train_cfg.max_epochs": 2,
                "train_cfg.val_interval": 2,
                "experiment_name": f"semi_{next(_names)}",
                "work_dir": str(tmp_path),
                "log_level": "ERROR",
                **changes,
            }
        )
        return Runner.from_cfg(config)

    return runner
