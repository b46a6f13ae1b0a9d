"""The shipped configs train, each by its framework's own Runner: small images, few iterations, no pretrained weights.

Mixing is forced (p = 1), and every plan that is applied is watched: they mix until the training is closed, then they
don't.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

import mmcv
from drawn import draw_cityscapes
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from trainings import (
    DEEPLAB,
    DEEPLAB_VOC,
    DEEPLAB_VOC_BATCH,
    MASK_RCNN,
    RCNN_COCO,
    RCNN_VOC,
    RETINA,
    RETINA_WEIGHED,
    RTMDET,
    RTMDET_640,
    SEGFORMER,
    camvid,
    coco,
    demo,
    hooks_of,
    small,
    visit,
    voc,
    voc_maps,
)

import cutmix_dense as cd
from cutmix_dense.data.demo import CLASSES

__all__ = ["camvid", "demo"]  # fixtures


class Watch(Hook):
    """What a training saw: losses and plans, by iteration."""

    priority = "LOWEST"

    def __init__(self, monkeypatch):
        self.losses, self.plans, self.done = [], [], 0
        original = cd.MixTransform.mix_pool  # by which every plan is applied

        def apply(transform, plan, pool, **settings):
            self.plans.append((self.done, bool((plan.source[:, 1:] >= 0).any())))
            return original(transform, plan, pool, **settings)

        monkeypatch.setattr(cd.MixTransform, "mix_pool", apply)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: value.item() for name, value in outputs.items() if "loss" in name})
        self.done += 1

    def mixed(self, iterations):
        """Whether each plan of these iterations mixed anything."""
        return [mixed for done, mixed in self.plans if done in iterations]


def train(config, *hooks):
    """Train by the framework's Runner."""
    runner = Runner.from_cfg(config)
    for hook in hooks:
        runner.register_hook(hook)
    try:
        runner.train()
    finally:
        init_default_scope("mmengine")
    return runner


def check(watch, config):
    """Losses are sound; it mixed, and no longer at the end where the config closes mixing."""
    assert watch.done >= 4
    for losses in watch.losses:
        assert np.isfinite(list(losses.values())).all(), losses
        assert losses["loss"] > 0
    half = watch.done // 2
    assert any(watch.mixed(range(half)))
    last = watch.mixed(range(half, watch.done))
    hooks = [hook["type"] for hook in hooks_of(config)]
    if "PipelineSwitchHook" in hooks:
        assert last == []
    else:
        assert last
        assert any(last) == ("cutmix_dense.CloseMixHook" not in hooks)


# trainings


@pytest.mark.parametrize(
    ("name", "divisor"),
    [(RCNN_COCO, 8), (RETINA, 8), (RETINA_WEIGHED, 8), (RTMDET, 4), (RTMDET_640, 4), (MASK_RCNN, 8)],
    ids=["per_sample", "per_batch", "weighed", "cached", "cached_640", "masks"],
)
def test_a_detector_trains_on_the_demo_set(name, divisor, demo, tmp_path, monkeypatch):
    config = small(name, coco(demo / "coco", "train", CLASSES), tmp_path, divisor)
    watch = Watch(monkeypatch)
    train(config, watch)
    check(watch, config)


@pytest.mark.parametrize(("name", "divisor"), [(RCNN_COCO, 8), (RETINA, 8)], ids=["per_sample", "per_batch"])
def test_a_detector_trains_on_coco_pictures(name, divisor, real, tmp_path, monkeypatch):
    config = small(name, coco(real("coco_by33"), "train2017"), tmp_path, divisor)
    watch = Watch(monkeypatch)
    train(config, watch)
    check(watch, config)


def test_a_detector_trains_on_voc_pictures(real, tmp_path, monkeypatch):
    (tmp_path / "VOC2012").symlink_to(real("bccd"))
    config = small(RCNN_VOC, voc(tmp_path, ("RBC", "WBC", "Platelets")), tmp_path, 6)
    watch = Watch(monkeypatch)
    train(config, watch)
    check(watch, config)


@pytest.mark.parametrize(("name", "divisor"), [(DEEPLAB, 4), (SEGFORMER, 8)], ids=["per_sample", "per_batch"])
@pytest.mark.parametrize("source", ["demo", "camvid"])
def test_a_segmenter_trains_on_cityscapes_layouts(name, divisor, source, request, tmp_path, monkeypatch):
    root = request.getfixturevalue(source)
    config = small(name, {"data_root": str(root / "cityscapes" if source == "demo" else root)}, tmp_path, divisor)
    watch = Watch(monkeypatch)
    train(config, watch)
    check(watch, config)


@pytest.mark.parametrize("name", [DEEPLAB_VOC, DEEPLAB_VOC_BATCH], ids=["per_sample", "per_batch"])
def test_a_segmenter_trains_on_the_voc_layout(name, demo, tmp_path, monkeypatch):
    config = small(name, voc_maps(demo / "voc"), tmp_path, 4)
    watch = Watch(monkeypatch)
    train(config, watch)
    check(watch, config)


# closing


class Pictures(Hook):
    """Which batches hold only pictures that are just the resized file, by epoch."""

    def __init__(self, scale):
        self.scale, self.untouched = scale, {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for image, sample in zip(data_batch["inputs"], data_batch["data_samples"]):
            plain = mmcv.imrescale(mmcv.imread(sample.img_path), self.scale)
            same = np.array_equal(image.permute(1, 2, 0).numpy(), plain)
            self.untouched.setdefault(runner.epoch, []).append(same)


def test_mixing_closes_in_persistent_workers(demo, tmp_path):
    config = small(
        RCNN_COCO, coco(demo / "coco", "train", CLASSES), tmp_path, 8, num_workers=2, persistent_workers=True
    )
    for step in visit(config.train_dataloader):
        if step.get("type") == "RandomFlip":
            step["prob"] = 0.0
    scale = config.train_pipeline[1]["scale"]
    pictures = Pictures(tuple(math.ceil(number / 8) for number in scale))
    train(config, pictures)
    assert not any(pictures.untouched[0])
    assert all(pictures.untouched[1])
    assert len(pictures.untouched[1]) == 4


class Sources(Hook):
    """From how many drawn pictures the maps of a batch come, by iteration."""

    def __init__(self):
        self.counts = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        ids = [sample.gt_sem_seg.values()[0].unique().tolist() for sample in data_batch["data_samples"]]
        self.counts.append([len({one // 4 for one in found if one != 255}) for found in ids])


@pytest.mark.parametrize("workers", [0, 2])
def test_mixing_closes_in_mmsegs_loop_of_iterations(workers, tmp_path, monkeypatch):
    """InfiniteSampler and persistent workers, which make four batches ahead: none of the last ones is mixed."""
    loader = {"num_workers": workers, "persistent_workers": workers > 0}
    config = small(DEEPLAB, {"data_root": str(draw_cityscapes(tmp_path / "data"))}, tmp_path / "run", 4, **loader)
    assert config.train_dataloader.sampler.type == "InfiniteSampler"
    config.train_cfg.max_iters = 12
    sources, watch = Sources(), Watch(monkeypatch)
    runner = train(config, sources, watch)
    assert runner.train_loop.max_iters == watch.done == 12
    first = 12 - config.default_hooks.close_mix.num_last_iters
    assert {count for counts in sources.counts[first:] for count in counts} == {1}
    surely = first - (2 * workers + 1 if workers else 0)
    assert 2 in {count for counts in sources.counts[:surely] for count in counts}
