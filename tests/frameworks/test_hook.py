"""CloseMixHook with MMEngine's own loops and loader workers; needs MMEngine alone."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("mmengine", reason="needs MMEngine")

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.runner import Runner

from cutmix_dense.mmengine import HOOKS, MODELS, TRANSFORMS


class Images:
    """Sample i is an image of value i; partners come from a cache."""

    def __init__(self, mix):
        self.pipeline = [mix]

    def __len__(self):
        return 8

    def __getitem__(self, index):
        (mix,) = self.pipeline
        sample = mix({"img": np.full((12, 20, 1), index, dtype=np.uint8), "img_shape": (12, 20)})
        return {"inputs": torch.from_numpy(sample["img"]).permute(2, 0, 1), "index": index}


class Counting(BaseModel):
    """Notes for every iteration whether its images were mixed."""

    def __init__(self, augment=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.augment = augment
        self.seen = []

    def forward(self, inputs, index, mode):
        images = torch.stack(list(inputs)).float()
        if self.augment is not None:
            images, _ = self.augment(images, None)
        self.seen.append(bool((images.amax(dim=(1, 2, 3)) != images.amin(dim=(1, 2, 3))).any()))
        return {"loss": self.weight * 0}


@MMENGINE_HOOKS.register_module(force=True)  # the module may be imported under two names
class Switching(Hook):
    """Replaces the pipeline as MMDetection's PipelineSwitchHook does, workers included."""

    def __init__(self, switch_epoch, switch_pipeline):
        self.switch_epoch = switch_epoch
        self.switch_pipeline = switch_pipeline

    def before_train_epoch(self, runner):
        if runner.epoch == self.switch_epoch:
            runner.train_dataloader.dataset.pipeline = [TRANSFORMS.build(step) for step in self.switch_pipeline]
            runner.train_dataloader._DataLoader__initialized = False
            runner.train_dataloader._iterator = None
        else:
            runner.train_dataloader._DataLoader__initialized = True


@MMENGINE_HOOKS.register_module(force=True)  # the module may be imported under two names
class SwitchingWithin(Hook):
    """Replaces the pipeline at the first iteration, when workers have begun with the old one."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 0:
            runner.train_dataloader.dataset.pipeline = [cached_mix()]


def train(tmp_path, *hooks, dataset, augment=None, loop, workers=0, name, log="ERROR", more=None):
    persistent = {"persistent_workers": True} if workers else {}
    model = Counting(augment)
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader={
            "dataset": dataset,
            "batch_size": 4,
            "num_workers": workers,
            "sampler": {"type": "InfiniteSampler" if "max_iters" in loop else "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "pseudo_collate"},
            **persistent,
        },
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}},
        train_cfg=loop,
        custom_hooks=[*hooks],
        default_hooks={"checkpoint": None, "logger": None, **(more or {})},
        experiment_name=name,
        log_level=log,
    )
    runner.train()
    return model.seen


def cached_mix():
    return TRANSFORMS.build(MIX)


MIX = {
    "type": "cutmix_dense.CutMix",
    "p": 1.0,
    "max_cached_images": 6,
    "region": {"type": "AreaBox", "area": (0.3, 0.4)},
}


def test_persistent_workers_stop_mixing_for_the_last_epochs(tmp_path):
    seen = train(
        tmp_path,
        {"type": "cutmix_dense.CloseMixHook", "num_last_epochs": 2},
        dataset=Images(cached_mix()),
        loop={"by_epoch": True, "max_epochs": 5},
        workers=2,
        name="persistent",
    )
    assert len(seen) == 10
    assert all(seen[2:6])
    assert not any(seen[6:])


def by_epoch(seen, epochs=5):
    """Whether the batches of each epoch were mixed; None where some were and others weren't."""
    count = len(seen) // epochs
    parts = [seen[start : start + count] for start in range(0, len(seen), count)]
    return [part[0] if len(set(part)) == 1 else None for part in parts]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("switch", [0, 2, 3, 4])
def test_a_pipeline_that_is_switched_is_closed_too(tmp_path, switch, workers):
    """Before, in and behind the epoch that closes."""
    seen = train(
        tmp_path,
        {"type": "cutmix_dense.CloseMixHook", "num_last_epochs": 2},
        {"type": "Switching", "switch_epoch": switch, "switch_pipeline": [MIX]},
        dataset=Images(cached_mix()),
        loop={"by_epoch": True, "max_epochs": 5},
        workers=workers,
        name=f"switched{switch}{workers}",
    )
    assert by_epoch(seen) == [True] * 3 + [False] * 2


@pytest.mark.parametrize("kept", ["settings", "nested", "built"])
@pytest.mark.parametrize("name", ["switch_pipeline", "new_train_pipeline", "new_train_dataset"])
def test_a_mix_that_a_hook_keeps_for_later_counts(tmp_path, name, kept):
    """Its training begins without any mix."""
    built = TRANSFORMS.build(MIX)
    steps = {"settings": [MIX], "nested": [{"type": "RandomApply", "transforms": MIX}], "built": [built]}[kept]
    switching = Switching(2, [MIX])
    del switching.switch_pipeline
    setattr(switching, name, {"pipeline": steps} if name == "new_train_dataset" else steps)
    close = HOOKS.build({"type": "cutmix_dense.CloseMixHook", "num_last_epochs": 2})
    runner = SimpleNamespace(
        train_loop=None,
        train_dataloader=SimpleNamespace(dataset=Images(lambda sample: sample)),
        model=Counting(),
        hooks=[close, switching],
        max_epochs=5,
    )
    close.before_train(runner)
    runner.hooks = [close]
    with pytest.raises(ValueError, match=r"found nothing .* of hooks \(switch_pipeline\)"):
        close.before_train(runner)


def test_a_training_may_begin_without_a_mix(tmp_path):
    seen = train(
        tmp_path,
        {"type": "cutmix_dense.CloseMixHook", "num_last_epochs": 2},
        {"type": "Switching", "switch_epoch": 1, "switch_pipeline": [MIX]},
        dataset=Images(lambda sample: sample),
        loop={"by_epoch": True, "max_epochs": 5},
        name="warm-up",
    )
    assert by_epoch(seen) == [False, True, True, False, False]


@pytest.mark.parametrize("switch", [1, 3, 4])
def test_a_switched_pipeline_is_closed_by_iterations(tmp_path, switch):
    seen = train(
        tmp_path,
        {"type": "cutmix_dense.CloseMixHook", "num_last_iters": 5},
        {"type": "Switching", "switch_epoch": switch, "switch_pipeline": [MIX]},
        dataset=Images(cached_mix()),
        loop={"by_epoch": True, "max_epochs": 5},
        name=f"switched_iterations{switch}",
    )
    assert seen == [True] * 5 + [False] * 5


@pytest.mark.parametrize("hook", ["CloseMixHook", "MixScheduleHook"])
def test_workers_that_go_on_with_a_replaced_pipeline_are_told_too(tmp_path, hook):
    windows = {"type": "cutmix_dense.RandomMix", "transforms": [{**MIX, "type": "CutMix"}], "windows": [(0, 11)]}
    del windows["transforms"][0]["max_cached_images"]
    settings = {"CloseMixHook": {"num_last_iters": 9}, "MixScheduleHook": {"by_epoch": False}}[hook]
    mix = cached_mix() if hook == "CloseMixHook" else TRANSFORMS.build({**windows, "max_cached_images": 6})
    seen = train(
        tmp_path,
        {"type": f"cutmix_dense.{hook}", **settings},
        {"type": "SwitchingWithin"},
        dataset=Images(mix),
        loop={"by_epoch": False, "max_iters": 20},
        workers=2,
        name=f"within_{hook}",
    )
    assert all(seen[2:6])
    assert not any(seen[11 if hook == "CloseMixHook" else 16 :])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("last", [1, 12])
def test_the_last_iterations_do_not_mix(tmp_path, workers, last):
    """Exactly those without workers; with workers, batches made ahead of them may be unmixed, too."""
    seen = train(
        tmp_path,
        {"type": "cutmix_dense.CloseMixHook", "num_last_iters": last},
        dataset=Images(cached_mix()),
        loop={"by_epoch": False, "max_iters": 20},
        workers=workers,
        name=f"iterations{workers}_{last}",
    )
    ahead = 2 * workers + 1 if workers else 0
    first = 20 - last
    assert all(seen[2 : first - ahead])
    assert not any(seen[first:])


@pytest.mark.parametrize("last", [4, 5])
def test_iterations_are_counted_across_epochs(tmp_path, last):
    """Epochs of two batches: the first of an epoch is made behind the hook's word, the second before it."""
    seen = train(
        tmp_path,
        {"type": "cutmix_dense.CloseMixHook", "num_last_iters": last},
        dataset=Images(cached_mix()),
        loop={"by_epoch": True, "max_epochs": 6},
        name=f"across{last}",
    )
    assert all(seen[2 : 12 - last])
    assert not any(seen[12 - last :])


@pytest.mark.parametrize(
    ("last", "loop", "workers", "said"),
    [
        (
            {"num_last_epochs": 15},
            {"by_epoch": True, "max_epochs": 2},
            0,
            "num_last_epochs=15 of max_epochs=2. .* below 2",
        ),
        ({"num_last_epochs": 1}, {"by_epoch": True, "max_epochs": 1}, 0, "of max_epochs=1. To mix, leave the hook out"),
        ({"num_last_iters": 4}, {"by_epoch": True, "max_epochs": 2}, 0, "num_last_iters=4 of max_iters=4. .* below 4"),
        ({"num_last_iters": 6}, {"by_epoch": False, "max_iters": 10}, 2, "make 4 batches ahead. .* below 6"),
        ({"num_last_epochs": 1}, {"by_epoch": True, "max_epochs": 2}, 0, None),
        ({"num_last_iters": 6}, {"by_epoch": False, "max_iters": 10}, 0, None),
    ],
)
def test_a_hook_that_closes_everything_is_warned_of(tmp_path, capsys, last, loop, workers, said):
    hook = {"type": "cutmix_dense.CloseMixHook", **last}
    name = f"everything{last}{loop}{workers}"
    seen = train(tmp_path, hook, dataset=Images(cached_mix()), loop=loop, workers=workers, name=name, log="WARNING")
    told = " ".join(capsys.readouterr().out.split())
    if said is None:
        assert any(seen)
        assert "CloseMixHook" not in told
    else:
        assert not any(seen[2 * workers :])  # workers of a loop of iterations begin before any hook
        assert re.search(f"CloseMixHook closes mixing from the start of this training to its end: .*{said}", told)


def test_none_leaves_an_inherited_hook_out(tmp_path, capsys):
    """As the warning says; MMEngine takes None for its own hooks alone."""
    loop = {"by_epoch": True, "max_epochs": 1}
    written = {"close_mix": {"type": "cutmix_dense.CloseMixHook", "num_last_epochs": 1}}
    seen = train(tmp_path, dataset=Images(cached_mix()), loop=loop, name="there", log="WARNING", more=written)
    assert not any(seen)
    (name,) = re.findall(r"leave the hook out \(default_hooks\.(\w+)=None\)", " ".join(capsys.readouterr().out.split()))
    child = Config({"default_hooks": written})
    child.merge_from_dict({f"default_hooks.{name}": None})
    seen = train(tmp_path, dataset=Images(cached_mix()), loop=loop, name="left-out", more=child.default_hooks)
    assert all(seen)


def test_none_for_hooks_of_mmengine_means_what_it_did(tmp_path):
    own = dict.fromkeys(("timer", "sampler_seed", "param_scheduler"))
    others = dict.fromkeys(("mix_schedule", "weigh_losses", "visualization"))
    kept = {}
    hooks = {**own, **others, "noting": Noting(kept)}
    seen = train(tmp_path, dataset=Images(cached_mix()), loop={"by_epoch": True, "max_epochs": 1}, name="o", more=hooks)
    assert all(seen)
    more = {"CheckClassesHook"}  # where cutmix_dense.training was imported before
    assert kept["hooks"] - more == {"RuntimeInfoHook", "CheckMixHook", "Noting"}


class Noting(Hook):
    """Notes which hooks a training has."""

    def __init__(self, kept):
        self.kept = kept

    def before_train(self, runner):
        self.kept["hooks"] = {type(hook).__name__ for hook in runner.hooks}


def test_batch_augments_are_closed_too(tmp_path):
    augment = MODELS.build(
        {
            "type": "cutmix_dense.RandomMix",
            "transforms": [{"type": "cutmix_dense.CutMix", "p": 1.0}, {"type": "CowMix", "p": 1.0}],
        }
    )
    plain = Images(lambda sample: sample)
    seen = train(
        tmp_path,
        {"type": "cutmix_dense.CloseMixHook", "num_last_iters": 3},
        dataset=plain,
        augment=augment,
        loop={"by_epoch": True, "max_epochs": 4},
        name="batch",
    )
    assert seen == [True] * 5 + [False] * 3


def test_what_was_closed_by_hand_stays_closed(tmp_path):
    mix = cached_mix()
    mix.close()
    hook = {"type": "cutmix_dense.CloseMixHook", "num_last_epochs": 1}
    seen = train(tmp_path, hook, dataset=Images(mix), loop={"by_epoch": True, "max_epochs": 3}, name="by_hand")
    assert not any(seen)


def test_a_checkpoint_of_a_closed_training_mixes_again(tmp_path):
    augment = MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    model = Counting(augment)
    augment.close()
    again = Counting(MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0}))
    again.load_state_dict(model.state_dict())
    assert set(model.state_dict()) == {"weight"}
    assert not again.augment.mix.closed


def test_nothing_to_close_and_wrong_settings_are_named(tmp_path):
    with pytest.raises(ValueError, match="found no"):
        train(
            tmp_path,
            {"type": "cutmix_dense.CloseMixHook", "num_last_epochs": 1},
            dataset=Images(lambda sample: sample),
            loop={"by_epoch": True, "max_epochs": 2},
            name="nothing",
        )
    with pytest.raises(ValueError, match="num_last_iters"):
        train(
            tmp_path,
            {"type": "cutmix_dense.CloseMixHook", "num_last_epochs": 1},
            dataset=Images(cached_mix()),
            loop={"by_epoch": False, "max_iters": 2},
            name="loop",
        )
    for name in ("num_last_epochs", "num_last_iters"):
        for wrong in ("2", None, 2.5):
            with pytest.raises(ValueError, match=f"{name} must be a whole number, got {wrong!r}"):
                HOOKS.build({"type": "cutmix_dense.CloseMixHook", name: wrong})
    for wrong in ({}, {"num_last_epochs": 1, "num_last_iters": 1}, {"num_last_epochs": -1}):
        with pytest.raises(ValueError, match="above 0"):
            HOOKS.build({"type": "cutmix_dense.CloseMixHook", **wrong})
