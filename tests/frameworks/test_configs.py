"""The shipped configs: the real registries of MMDetection and MMSegmentation build every part of them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, TRANSFORMS, init_default_scope
from mmengine.visualization import Visualizer
from trainings import hooks_of

from cutmix_dense.mmengine import BatchMix, CloseMixHook, SampleMix

FOLDER = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = sorted(
    path.relative_to(FOLDER).as_posix() for framework in ("mmdet", "mmseg") for path in FOLDER.glob(f"{framework}/*.py")
)


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    """A shipped config as it is, but that no pretrained weights are fetched; its framework's scope is the default."""
    made = Config.fromfile(FOLDER / request.param)
    forget_checkpoints(made.model)
    init_default_scope(made.default_scope)
    Visualizer.get_instance("configs")  # the hooks that draw take the one that a Runner has made
    yield made
    init_default_scope("mmengine")


def forget_checkpoints(settings):
    """Set every pretrained checkpoint to None."""
    for key, value in settings.items():
        if key == "pretrained" or (key == "init_cfg" and isinstance(value, dict) and value.type == "Pretrained"):
            settings[key] = None
        elif isinstance(value, dict):
            forget_checkpoints(value)


def pipelines(dataset):
    """Every pipeline of a dataset's config and of those it wraps."""
    found = [dataset["pipeline"]] if "pipeline" in dataset else []
    for inner in [dataset.get("dataset"), *dataset.get("datasets", ())]:
        found += pipelines(inner) if inner else []
    return found


def build_all(config):
    """The model, the transforms of all training pipelines, and the custom hooks."""
    transforms = [
        TRANSFORMS.build(copy.deepcopy(one)) for steps in pipelines(config.train_dataloader.dataset) for one in steps
    ]
    hooks = [HOOKS.build(copy.deepcopy(hook)) for hook in hooks_of(config)]
    return MODELS.build(copy.deepcopy(config.model)), transforms, hooks


def test_there_are_configs_for_both_frameworks():
    assert sum(name.startswith("mmdet/") for name in CONFIGS) >= 4
    assert sum(name.startswith("mmseg/") for name in CONFIGS) >= 2


def test_every_part_is_built(config):
    model, transforms, hooks = build_all(config)
    per_sample = [one for one in transforms if isinstance(one, SampleMix)]
    per_batch = [module for module in model.modules() if isinstance(module, BatchMix)]
    assert per_sample or per_batch
    assert all(isinstance(hook, Hook) for hook in hooks)
    assert type(model).__module__.split(".")[0] == config.default_scope
    if any(isinstance(hook, CloseMixHook) for hook in hooks):
        close = next(hook for hook in hooks if isinstance(hook, CloseMixHook))
        length = config.train_cfg.max_epochs if close.num_last_epochs else config.train_cfg.max_iters
        assert 0 < max(close.num_last_epochs, close.num_last_iters) < length / 3


def test_a_mix_without_a_cache_stands_in_a_wrapper(config):
    """Only MultiImageMixDataset gives partners; its inner pipeline must not mix."""

    def check(dataset, wrapped):
        for step in dataset.get("pipeline", ()):
            if step["type"].startswith("cutmix_dense."):
                assert wrapped or step.get("max_cached_images", 0) > 0, step
        for inner in [dataset.get("dataset"), *dataset.get("datasets", ())]:
            if inner:
                check(inner, inner["type"] == "MultiImageMixDataset")

    outer = config.train_dataloader.dataset
    check(outer, outer["type"] == "MultiImageMixDataset")


def test_the_evaluation_is_the_base_s(config):
    """Nothing is mixed where it counts."""
    for loader in (config.val_dataloader, config.test_dataloader):
        for steps in pipelines(loader.dataset):
            assert not any(step["type"].startswith("cutmix_dense.") for step in steps)


def test_the_table_names_every_config():
    text = (FOLDER / "README.md").read_text()
    assert [name for name in CONFIGS if f"({name})" not in text] == []
