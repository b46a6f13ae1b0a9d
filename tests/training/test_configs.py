"""Every config of our own runs builds: model, mix and loaders; the small ones train a step on the demo set."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, MODELS

import cutmix_dense as cd
import cutmix_dense.evaluation
from cutmix_dense.training import collate

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OURS = sorted(
    path.relative_to(CONFIGS).as_posix()
    for kind in ("detection", "instances", "segmentation", "classification")
    for path in (CONFIGS / kind).glob("*.py")
)
LAYOUTS = {"bccd": "voc", "voc07": "voc", "voc12": "voc", "camvid": "cityscapes", "cityscapes": "cityscapes"}


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    network = cfg.model.network
    if "weights_backbone" in network:  # nothing may be downloaded
        network.weights_backbone = None
    return cfg


def on_demo(cfg, name, demo):
    """The training dataset of a config, on the demo set in the same layout."""
    settings = cfg.train_dataloader.dataset
    if "classification" in name:
        return DATASETS.build({**settings, "root": str(demo / "none"), "stand_in_size": 20})
    layout = LAYOUTS.get(name.split("_")[1].removesuffix(".py").partition("-")[0], "coco")
    settings = {**settings, "root": str(demo / layout), "split": "train"}
    return DATASETS.build(settings)


def test_there_are_configs_for_every_task():
    assert len(OURS) >= 18
    assert all(any(f"_{kind}" in name for name in OURS) for kind in ("coco", "voc07", "voc12", "cityscapes", "cifar10"))


@pytest.mark.parametrize("name", OURS)
def test_a_config_builds_and_its_pipeline_reads(name, demo):
    cfg = load(name)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    METRICS.build(cfg.val_evaluator)
    assert isinstance(preprocessor.mix, cd.MixTransform) == ("baseline" not in name)
    with pytest.warns(UserWarning, match="SHAPES") if "classification" in name else nullcontext():
        dataset = on_demo(cfg, name, demo)
    batch = preprocessor(collate([dataset[1, i] for i in range(4)]), training=True)
    assert len(batch["targets"]) == 4

    small = "small" in name and "coco" not in name
    settings = {**cfg.model, "data_preprocessor": {"type": "cutmix_dense.MixPreprocessor"}}
    if small:
        settings["num_classes"] = len(dataset.metainfo["classes"])
    with torch.device("cpu" if small else "meta"):  # no memory for weights that nothing is computed with
        model = MODELS.build(settings)
    if small:
        losses = model(**batch, mode="loss")
        assert losses
        assert all(torch.isfinite(value) for value in losses.values())
