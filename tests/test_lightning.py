"""The Lightning callback, in real trainings of a few steps on the CPU."""

from __future__ import annotations

import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detr_batches import FRAME, SIZES, NestedTensor, nested, pixel_targets, shares
from oracle import same

import cutmix_dense as cd
from cutmix_dense.detr import mix_batch

L = pytest.importorskip("lightning.pytorch", exc_type=ImportError)

from cutmix_dense.lightning import MixCallback  # noqa: E402

Accumulation = L.callbacks.GradientAccumulationScheduler
HEIGHT, WIDTH, BATCH = 16, 24, 4
Pair = namedtuple("Pair", "images targets")

pytestmark = pytest.mark.filterwarnings("ignore:.*(does not have many workers|GPU available|log_every_n_steps):")


def samples(count=8, seed=0):
    """Images, maps and boxes in which every sample differs."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, HEIGHT, WIDTH, generator=generator)
    maps = torch.randint(0, 3, (count, HEIGHT, WIDTH), generator=generator)
    boxes = torch.rand(count, 2, 2, generator=generator) * torch.tensor([WIDTH - 10, HEIGHT - 10])
    targets = [{"boxes": torch.cat([low, low + 9], dim=1), "labels": torch.tensor([i, i + 100])} for i, low in
               enumerate(boxes)]  # fmt: skip
    return [
        {"image": image, "mask": mask, "target": target, "id": torch.tensor(i), "name": f"{i}.png"}
        for i, (image, mask, target) in enumerate(zip(images, maps, targets))
    ]


def pairs(rows):
    """(images, targets) of a detector."""
    return torch.stack([row["image"] for row in rows]), [row["target"] for row in rows]


def maps(rows):
    """(images, maps) of a segmenter, in a list."""
    return [torch.stack([row["image"] for row in rows]), torch.stack([row["mask"] for row in rows])]


def dicts(rows):
    return {
        "image": torch.stack([row["image"] for row in rows]),
        "mask": torch.stack([row["mask"] for row in rows]),
        "name": [row["name"] for row in rows],
    }


def loader(collate=pairs, count=8):
    return torch.utils.data.DataLoader(samples(count), batch_size=BATCH, collate_fn=collate)


class Stream(torch.utils.data.DataLoader):
    """A loader that doesn't say how long it is."""

    def __init__(self):
        super().__init__(Rows(), batch_size=BATCH, collate_fn=pairs)


class Rows(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(samples())


class Watcher(L.LightningModule):
    """A segmenter of one convolution that keeps every batch it sees."""

    def __init__(self, images_key=0):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 1)
        self.images_key = images_key
        self.seen, self.validated, self.steps = [], [], []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch)
        self.steps.append((self.trainer.current_epoch, self.trainer.global_step))
        return self.layer(batch[self.images_key]).square().mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Seeds(L.Callback):
    """Keeps the seed of every batch, as any later callback may."""

    def __init__(self):
        self.seeds, self.closed = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        (callback,) = [callback for callback in trainer.callbacks if isinstance(callback, MixCallback)]
        self.seeds.append(callback.last_seed)
        mix = callback.mix.members[0] if isinstance(callback.mix, cd.RandomMix) else callback.mix
        self.closed.append(mix.closed)


def fit(callback, module=None, collate=pairs, loaders=None, ckpt_path=None, more=(), datamodule=None, **options):
    """The module and the seeds of a training."""
    options = {"max_epochs": 1, "accelerator": "cpu", "devices": 1, **options}
    seeds, module = Seeds(), Watcher() if module is None else module
    trainer = L.Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback, seeds, *more],
        **options,
    )
    if datamodule is None:
        loaders = (loader(collate), loader(collate)) if loaders is None else loaders
        trainer.fit(module, *loaders, ckpt_path=ckpt_path)
    else:
        trainer.fit(module, datamodule=datamodule)
    return module, seeds


def cuts(seed, batch, mix=None):
    """The core's answer for a batch and a recorded seed."""
    mix = cd.CutMix(p=1.0) if mix is None else mix
    return mix(*batch, generator=torch.Generator().manual_seed(seed))


def batches(collate=pairs, count=8):
    return list(loader(collate, count))


@pytest.mark.parametrize("collate", [pairs, maps])
def test_the_module_sees_what_the_core_makes_of_the_recorded_seed(collate):
    module, seeds = fit(MixCallback(cd.CutMix(p=1.0)), collate=collate, max_epochs=2)
    assert len(set(seeds.seeds)) == len(module.seen) == 4
    for seen, seed, plain in zip(module.seen, seeds.seeds, batches(collate) * 2):
        assert 0 <= seed < 2**63
        assert type(seen) is type(plain)
        assert same(list(seen), list(cuts(seed, plain)))
        assert not torch.equal(seen[0], plain[0])
    assert len(module.validated) == 2 * 2 + 2  # two epochs, and the sanity check
    for seen, plain in zip(module.validated, batches(collate) * 3):
        assert same(list(seen), list(plain))


def test_seed_everything_repeats_a_training_and_the_sanity_check_changes_nothing():
    trainings = []
    for checks in (0, 2):
        L.seed_everything(5, verbose=False)
        trainings.append(fit(MixCallback(cd.CutMix()), num_sanity_val_steps=checks)[1].seeds)
    assert trainings[0] == trainings[1]


def test_a_generator_of_ones_own_leaves_the_global_state_alone():
    callbacks = [MixCallback(cd.CutMix(), generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    first = fit(callbacks[0])[1].seeds
    torch.manual_seed(99)
    assert fit(callbacks[1])[1].seeds == first
    batch, state = batches()[0], torch.get_rng_state()
    callbacks[1]._mix_batch(StandIn(), batch)
    assert torch.equal(torch.get_rng_state(), state)


class StandIn:
    """As much of a trainer as a batch needs."""

    def __init__(self, rank=0):
        self.global_rank = rank


def test_ranks_that_are_seeded_alike_mix_differently():
    seeds = []
    for rank in (0, 1, 1):
        torch.manual_seed(3)
        callback = MixCallback(cd.CutMix(p=1.0))
        callback._mix_batch(StandIn(rank), batches()[0])
        seeds.append(callback.last_seed)
    assert seeds[0] != seeds[1] == seeds[2]


def test_every_batch_of_an_accumulated_step_is_mixed():
    module, seeds = fit(MixCallback(cd.CutMix(p=1.0)), accumulate_grad_batches=2)
    assert [step for _, step in module.steps] == [0, 0]
    assert len(set(seeds.seeds)) == 2
    for seen, seed, plain in zip(module.seen, seeds.seeds, batches()):
        assert same(list(seen), list(cuts(seed, plain)))


@pytest.mark.parametrize("wrap", [lambda mix: mix, lambda mix: cd.RandomMix([mix, cd.ResizeMix(p=1.0)])])
def test_the_last_epochs_are_closed(wrap):
    callback = MixCallback(wrap(cd.CutMix(p=1.0)), close_epochs=1)
    module, seeds = fit(callback, max_epochs=3)
    assert seeds.closed == [False] * 4 + [True] * 2
    for seen, plain, closed in zip(module.seen, batches() * 3, seeds.closed):
        assert torch.equal(seen[0], plain[0]) == closed
        assert all({"visibility", "origin"} <= target.keys() for target in seen[1])  # the form stays


@pytest.mark.parametrize(
    ("options", "open_batches"),
    [
        ({"max_epochs": 3}, 5),
        ({"max_epochs": -1, "max_steps": 5}, 4),
        ({"max_epochs": 2, "max_steps": 50}, 3),
        ({"max_epochs": 4, "accumulate_grad_batches": 2}, 6),
    ],
)
def test_the_last_steps_are_closed(options, open_batches):
    callback = MixCallback(cd.CutMix(p=1.0), close_steps=1)
    module, seeds = fit(callback, **options)
    assert seeds.closed == [False] * open_batches + [True] * (len(module.seen) - open_batches)
    assert seeds.closed[-1]
    for seen, plain, closed in zip(module.seen, batches() * 4, seeds.closed):
        assert torch.equal(seen[0], plain[0]) == closed


@pytest.mark.parametrize(
    ("options", "open_batches"),
    [
        ({"max_epochs": 10, "max_steps": 5}, 4),
        ({"max_epochs": 10, "max_steps": 4}, 2),
        ({"max_epochs": 3, "max_steps": 50}, 4),
        ({"max_epochs": 10, "max_steps": 2, "accumulate_grad_batches": 2}, 2),
    ],
)
def test_the_last_epoch_is_the_one_in_which_steps_end_the_training(options, open_batches):
    module, seeds = fit(MixCallback(cd.CutMix(p=1.0), close_epochs=1), **options)
    assert seeds.closed == [False] * open_batches + [True] * (len(module.seen) - open_batches)
    assert seeds.closed[-1]
    for seen, plain, closed in zip(module.seen, batches() * 3, seeds.closed):
        assert torch.equal(seen[0], plain[0]) == closed


class Manual(Watcher):
    """Two optimizers, each of which steps in every batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self):
        return [super(Manual, self).configure_optimizers() for _ in range(2)]


def test_steps_of_manual_optimization():
    """``global_step`` counts every optimizer's."""
    _, seeds = fit(MixCallback(cd.CutMix(p=1.0), close_steps=4), Manual(), max_epochs=-1, max_steps=12)
    assert seeds.closed == [False] * 4 + [True] * 2
    _, seeds = fit(MixCallback(cd.CutMix(p=1.0), close_epochs=1), Manual(), max_epochs=3)
    assert seeds.closed == [False] * 4 + [True] * 2
    with pytest.raises(ValueError, match="close_steps .*got max_epochs=3 and manual optimization, .*close_epochs"):
        fit(MixCallback(cd.CutMix(p=1.0), close_steps=1), Manual(), max_epochs=3)
    with pytest.raises(ValueError, match="close_epochs .*got max_steps=9 beside it and manual optimization"):
        fit(MixCallback(cd.CutMix(p=1.0), close_epochs=1), Manual(), max_epochs=3, max_steps=9)


@pytest.mark.parametrize(("options", "batches_of"), [({}, 1), ({"accumulate_grad_batches": 2}, 2)])
@pytest.mark.parametrize("wrap", [lambda mix: mix, lambda mix: cd.Chain([mix])], ids=["random", "chain"])
def test_windows_of_steps(options, batches_of, wrap):
    mix = wrap(cd.RandomMix([cd.CutMix(p=1.0)], windows=[(3, 5)]))
    module, _ = fit(MixCallback(mix, by_epoch=False), max_epochs=3 * batches_of, **options)
    mixed = [not torch.equal(seen[0], plain[0]) for seen, plain in zip(module.seen, batches() * 6)]
    assert mixed == [step in (3, 4) for step in range(6) for _ in range(batches_of)]


@pytest.mark.parametrize("schedule", [{}, {"close_epochs": 1}, {"close_steps": 1}])
def test_closing_by_hand_is_left_alone(schedule):
    callback = MixCallback(cd.CutMix(p=1.0), **schedule)
    callback.mix.close()
    module, seeds = fit(callback, max_epochs=2)
    assert seeds.closed == [True] * 4
    for seen, plain in zip(module.seen, batches() * 2):
        assert torch.equal(seen[0], plain[0])
    assert callback.mix.closed


def test_closing_at_a_plateau_and_one_of_several_methods():
    class Plateau(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                mix.close()

    mix = cd.CutMix(p=1.0)
    module, _ = fit(MixCallback(mix, close_epochs=1), max_epochs=4, more=[Plateau()])
    mixed = [not torch.equal(seen[0], plain[0]) for seen, plain in zip(module.seen, batches() * 4)]
    assert mixed[:2] == [True] * 2
    assert mixed[3:] == [False] * 5  # the batch between was on its way
    several = cd.RandomMix([cd.CutMix(), cd.MixUp()])
    several.members[1].close()
    fit(MixCallback(several, close_epochs=1))
    assert [member.closed for member in several.members] == [False, True]


class Stop(L.Callback):
    """Saves after the first epoch."""

    def __init__(self, path):
        self.path = path

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def bank_callback(**options):
    return MixCallback(
        cd.CutMix(p=1.0, pairing=cd.SampleBank(max_samples=6)), generator=torch.Generator().manual_seed(4), **options
    )


def test_resuming_goes_on_with_the_same_partners_and_plans(tmp_path):
    path = tmp_path / "half.ckpt"
    whole, seeds = fit(bank_callback(), max_epochs=2, more=[Stop(path)])
    callback = bank_callback()
    callback.generator.manual_seed(77)  # the checkpoint's state takes over
    resumed, later = fit(callback, max_epochs=2, ckpt_path=path)
    assert len(resumed.seen) == 2
    assert later.seeds == seeds.seeds[2:]
    for a, b in zip(resumed.seen, whole.seen[2:]):
        assert same(list(a), list(b))
    fresh, _ = fit(bank_callback(), max_epochs=1)
    assert not same(list(fresh.seen[0]), list(whole.seen[2]))


KEYS = """
import cutmix_dense as cd
from cutmix_dense.lightning import MixCallback
getter = {"labels_getter": lambda batch: batch[1]["aux"]}
settings = {"num_classes": 3, "pairing": "bank", **getter}
print(MixCallback(cd.CutMix(**settings)).state_key)
chain = cd.Chain([cd.FMix(**getter), cd.Affine(**getter)])
print(MixCallback(cd.RandomMix([cd.CutMix(**settings), chain])).state_key)
"""


def test_checkpoints_know_a_callback_in_every_process():
    """A function's repr has its address, which differs from process to process."""
    told = [subprocess.run([sys.executable, "-c", KEYS], capture_output=True, text=True, check=True).stdout
            for _ in range(2)]  # fmt: skip
    assert told[0] == told[1]
    single, several = told[0].split("\n")[:2]
    assert single != several
    assert single == MixCallback(cd.CutMix(alpha=0.3)).state_key


def test_a_tuned_resume_goes_on_with_bank_and_generator(tmp_path):
    path = tmp_path / "half.ckpt"
    fit(bank_callback(), more=[Stop(path)])
    mix = cd.CutMix(p=0.9, pairing=cd.SampleBank(max_samples=6), labels_getter=lambda batch: None)
    callback = MixCallback(mix, generator=torch.Generator().manual_seed(77))
    module, seeds = fit(callback, max_epochs=2, ckpt_path=path)
    assert seeds.seeds == fit(bank_callback(), max_epochs=2)[1].seeds[2:]
    assert (torch.cat([target["origin"] for target in module.seen[0][1]])[:, 0] >= BATCH).any()  # a partner of before


def test_callbacks_with_a_state_each(tmp_path):
    path = tmp_path / "two.ckpt"

    def several():
        first = MixCallback(cd.CutMix(pairing="bank"), images_key="image", targets_key="mask")
        return [MixCallback(first.mix, images_key="a", targets_key="b", name=name) for name in ("", "c")] + [first]

    callbacks = several()
    assert len({callback.state_key for callback in callbacks}) == 3
    trainer = L.Trainer(callbacks=callbacks, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(Watcher())
    trainer.save_checkpoint(path)
    assert len(torch.load(path, weights_only=False)["callbacks"]) >= 3


def test_a_schedule_leaves_the_mix_open_for_the_next_training(tmp_path):
    mix, saved = cd.CutMix(p=1.0), tmp_path / "closed.ckpt"

    class Save(L.Callback):
        def on_train_end(self, trainer, pl_module):
            trainer.save_checkpoint(saved)

    assert fit(MixCallback(mix, close_epochs=1), more=[Save()])[1].closed == [True, True]
    assert not mix.closed
    assert fit(MixCallback(mix))[1].closed == [False, False]
    resumed = fit(MixCallback(cd.CutMix(p=1.0)), max_epochs=2, ckpt_path=saved)[1]
    assert resumed.closed == [False, False]


def test_resuming_restores_that_mixing_is_closed(tmp_path):
    path = tmp_path / "half.ckpt"
    callback = MixCallback(cd.CutMix(p=1.0))
    callback.mix.close()
    fit(callback, more=[Stop(path)])
    assert fit(MixCallback(cd.CutMix(p=1.0)), max_epochs=2, ckpt_path=path)[1].closed == [True, True]
    # closed by hand, so no schedule opens it
    assert fit(MixCallback(cd.CutMix(p=1.0), close_epochs=1), max_epochs=3, ckpt_path=path)[1].closed == [True] * 4


def test_dicts_keep_their_class_and_what_is_no_tensor():
    class Batch(dict):
        pass

    callback = MixCallback(cd.CutMix(p=1.0), images_key="image", targets_key="mask")
    module, seeds = fit(callback, Watcher("image"), collate=lambda rows: Batch(dicts(rows)))
    for seen, seed, plain in zip(module.seen, seeds.seeds, batches(dicts)):
        assert type(seen) is Batch
        assert seen["name"] == plain["name"]
        images, masks = cuts(seed, (plain["image"], plain["mask"]))
        assert torch.equal(seen["image"], images)
        assert torch.equal(seen["mask"], masks)


def test_several_targets_are_mixed_by_one_plan():
    def collate(rows):
        return {**dicts(rows), "boxes": [row["target"] for row in rows], "id": torch.stack([row["id"] for row in rows])}

    callback = MixCallback(cd.CutMix(p=1.0), images_key="image", targets_key=("mask", "instances"), keep_keys=("id",))
    renamed = lambda rows: {("instances" if k == "boxes" else k): v for k, v in collate(rows).items()}  # noqa: E731
    module, seeds = fit(callback, Watcher("image"), collate=renamed)
    for seen, seed, plain in zip(module.seen, seeds.seeds, batches(renamed)):
        images, targets = cuts(seed, (plain["image"], {key: plain[key] for key in ("mask", "instances")}))
        assert torch.equal(seen["image"], images)
        assert same(seen["mask"], targets["mask"])
        assert same(seen["instances"], targets["instances"])
        assert torch.equal(seen["id"], plain["id"])


@pytest.mark.parametrize("container", [tuple, list])
def test_several_targets_of_a_tuple_are_mixed_by_one_plan(container):
    """Each map holds what its image's pixels hold, so it must agree with them afterwards."""
    images = torch.arange(4.0)[:, None, None, None].expand(-1, 3, HEIGHT, WIDTH).clone()
    images[..., WIDTH // 2 :] += 10
    maps, boxes = images[:, 0].long(), torch.tensor([[2.0, 3.0, 9.0, 12.0]])
    rows = [{"boxes": boxes, "labels": torch.tensor([index])} for index in range(4)]
    batch = container((images, maps, 2 * maps, torch.arange(4), rows, ["a", "b", "c", "d"]))
    mix = cd.CutMix(p=1.0, label_keys=[3], num_classes=4)
    mixed = MixCallback(mix, targets_key=(1, 2, 3, 4))._mix_batch(StandIn(), batch)
    assert type(mixed) is container
    assert not torch.equal(mixed[0], images)
    assert torch.equal(mixed[1], mixed[0][:, 0].long())
    assert torch.equal(mixed[2], 2 * mixed[1])
    for index, share in enumerate(mixed[3]):
        shown = mixed[1][index].flatten() % 10
        assert torch.allclose(share, torch.bincount(shown, minlength=4) / shown.numel())
        assert {"visibility", "origin"} <= mixed[4][index].keys()
    assert mixed[5] is batch[5]
    named = MixCallback(cd.CutMix(p=1.0), targets_key=(1, 2), keep_keys=(3, 4))
    assert named._mix_batch(StandIn(), batch)[3] is batch[3]
    with pytest.raises(ValueError, match=r"targets\[3\] is of unknown meaning: name it in label_keys"):
        MixCallback(cd.CutMix(p=1.0), targets_key=(1, 3), keep_keys=(2, 4))._mix_batch(StandIn(), batch)


def test_named_tuples_stay_named_tuples():
    callback = MixCallback(cd.CutMix(p=1.0))
    batch = callback._mix_batch(StandIn(), Pair(*batches()[0]))
    assert type(batch) is Pair
    assert not torch.equal(batch.images, batches()[0][0])


@pytest.mark.parametrize(("collate", "keys"), [(maps, (0, 1)), (dicts, ("image", "mask"))])
def test_the_batch_itself_is_left_alone(collate, keys):
    batch, before = batches(collate)[0], batches(collate)[0]
    MixCallback(cd.CutMix(p=1.0), images_key=keys[0], targets_key=keys[1])._mix_batch(StandIn(), batch)
    assert same(batch, before)


@pytest.mark.parametrize("targets_key", [None, ()])
@pytest.mark.parametrize("form", [lambda images: {"image": images, "name": ["a"]}, lambda images: (images, ["a"])])
def test_images_alone(targets_key, form):
    images = batches()[0][0]
    batch, key = form(images), "image" if isinstance(form(images), dict) else 0
    callback = MixCallback(cd.CutMix(p=1.0), images_key=key, targets_key=targets_key)
    mixed = callback._mix_batch(StandIn(), batch)
    assert torch.equal(mixed[key], cuts(callback.last_seed, (images, None))[0])
    assert not torch.equal(mixed[key], images)
    assert type(mixed) is type(batch)
    with pytest.raises(ValueError, match="would stay unmixed"):
        callback._mix_batch(StandIn(), {"image": images, 0: images, "mask": images[:, 0]})


def test_any_other_form_by_unpack_and_pack():
    callback = MixCallback(
        cd.CutMix(p=1.0),
        unpack=lambda batch: (*batch["inner"], torch.tensor([[HEIGHT - 4, WIDTH - 5]] * BATCH)),
        pack=lambda batch, images, targets: {"inner": (images, targets), "extra": batch["extra"]},
    )
    plain = batches(maps)[0]
    seen = callback._mix_batch(StandIn(), {"inner": plain, "extra": 1})
    sizes = torch.tensor([[HEIGHT - 4, WIDTH - 5]] * BATCH)
    generator = torch.Generator().manual_seed(callback.last_seed)
    assert seen["extra"] == 1
    assert same(list(seen["inner"]), list(cd.CutMix(p=1.0)(*plain, sizes=sizes, generator=generator)))


def test_the_mix_comes_after_the_hooks_of_module_and_data_module():
    class Data(L.LightningDataModule):
        def train_dataloader(self):
            return loader(maps)

        def on_after_batch_transfer(self, batch, dataloader_idx):
            return [batch[0] + 10, batch[1]]

    module, seeds = fit(MixCallback(cd.CutMix(p=1.0)), datamodule=Data())
    for seen, seed, (images, masks) in zip(module.seen, seeds.seeds, batches(maps)):
        assert same(list(seen), list(cuts(seed, (images + 10, masks))))


def test_nothing_is_left_behind():
    callback, module = MixCallback(cd.CutMix(p=1.0)), Watcher()
    trainer = L.Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=1,
        accelerator="cpu",
        callbacks=[callback],
    )
    strategy = trainer.strategy
    trainer.fit(module, loader())
    for holder in (strategy, module):
        assert not {"batch_to_device", "on_after_batch_transfer"} & vars(holder).keys()
    trainer.validate(module, loader(), verbose=False)
    for seen, plain in zip(module.validated, batches()):
        assert same(list(seen), list(plain))
    trainer.fit_loop.max_epochs = 2  # a second training mixes again, once
    trainer.fit(module, loader())
    assert same(list(module.seen[-1]), list(cuts(callback.last_seed, batches()[-1])))


def test_nothing_is_left_behind_after_an_error():
    class Failing(Watcher):
        def training_step(self, batch, batch_idx):
            self.strategy = self.trainer.strategy
            raise RuntimeError("stop here")

    module = Failing()
    with pytest.raises(RuntimeError, match="stop here"):
        fit(MixCallback(cd.CutMix()), module)
    assert "batch_to_device" not in vars(module.strategy)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "mix must be", {"mix": "CutMix"}),
        (ValueError, "close_epochs and close_steps", {"close_epochs": -1}),
        (TypeError, "must be integers, got '1' and 0", {"close_epochs": "1"}),
        (ValueError, "another place than images_key, got 0", {"targets_key": [1, 0]}),
        (ValueError, "close_epochs and close_steps", {"close_epochs": 1, "close_steps": 1}),
        (ValueError, "unpack and pack", {"unpack": len}),
        (ValueError, "by_epoch=False .* mix has none", {"by_epoch": False}),
        (TypeError, "generator must be", {"generator": 3}),
        (TypeError, "name must be a string, got 3", {"name": 3}),
        (ValueError, "schedule of its own", {"mix": cd.RandomMix([cd.CutMix()], total=3, close_last=1)}),
    ],
)
def test_wrong_arguments_are_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        MixCallback(**{"mix": cd.CutMix(), **arguments})


@pytest.mark.parametrize(
    ("message", "arguments", "options"),
    [
        ("max_epochs", {"close_epochs": 1}, {"max_epochs": -1, "max_steps": 2}),
        ("max_steps", {"close_steps": 1}, {"max_epochs": -1}),
        ("max_steps=…, max_epochs=-1.*of unknown length", {"close_steps": 1}, {"loaders": (Stream(),)}),
        ("alone, got max_steps=9 .*of unknown length", {"close_epochs": 1}, {"loaders": (Stream(),), "max_steps": 9}),
        ("GradientAccumulationScheduler", {"close_steps": 1}, {"more": [Accumulation({0: 1, 1: 2})]}),
        ("one training dataloader", {}, {"loaders": ([loader(), loader()],)}),
        ("one training dataloader", {}, {"loaders": ({"a": loader()},)}),
        (r"no \[0, 1\]", {}, {"collate": dicts}),
        (r"no \['target'\]", {"images_key": "image", "targets_key": "target"}, {"collate": dicts}),
        (r"\['mask'\] that would stay unmixed", {"images_key": "image", "targets_key": "boxes"},
         {"collate": lambda rows: {**dicts(rows), "boxes": [row["target"] for row in rows]}}),
        (r"\[2\] that would stay unmixed", {}, {"collate": lambda rows: (*pairs(rows), {"m": maps(rows)[1]})}),
        (r"\[2\] that would stay unmixed", {}, {"collate": lambda rows: (*pairs(rows), [[[1, 2, 9, 9]]] * len(rows))}),
        (r"\[2\] that would stay unmixed", {},
         {"collate": lambda rows: (*pairs(rows), [{"bbox": [[1.0, 2.0, 9.0, 9.0]]}] * len(rows))}),
    ],
)  # fmt: skip
def test_what_cannot_be_mixed_is_refused(message, arguments, options):
    module = Watcher("image")
    with pytest.raises(ValueError, match=message):
        fit(MixCallback(cd.CutMix(), **arguments), module, **options)
    assert module.seen == []


def test_a_bare_tensor_is_refused():
    with pytest.raises(TypeError, match="tuple, list or dict"):
        fit(MixCallback(cd.CutMix()), collate=lambda rows: pairs(rows)[0])


def test_several_dataloaders_with_unpack():
    callback = MixCallback(
        cd.CutMix(p=1.0), unpack=lambda batch: batch["a"], pack=lambda batch, *mixed: {**batch, "a": mixed}
    )
    module, seeds = fit(callback, Watcher("image"), loaders=({"a": loader(), "image": loader(one_image)},))
    assert same(list(module.seen[0]["a"]), list(cuts(seeds.seeds[0], batches()[0])))


def one_image(rows):
    return torch.stack([row["image"] for row in rows])


def test_batches_that_pass_by_are_noticed():
    class Fetching(Watcher):
        def training_step(self, dataloader_iter):
            next(dataloader_iter)

    with pytest.raises(RuntimeError, match="dataloader_iter"):
        fit(MixCallback(cd.CutMix()), Fetching())


def test_without_lightning_the_message_names_the_extra():
    code = """
import sys
sys.modules["lightning"] = sys.modules["lightning.pytorch"] = sys.modules["pytorch_lightning"] = None
import cutmix_dense.lightning
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    assert 'pip install "cutmix_dense[lightning]"' in last


def test_pytorch_lightning_does_as_well():
    pytest.importorskip("pytorch_lightning")
    code = """
import sys
sys.modules["lightning"] = sys.modules["lightning.pytorch"] = None
import cutmix_dense.lightning, pytorch_lightning
assert issubclass(cutmix_dense.lightning.MixCallback, pytorch_lightning.Callback)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class Detections(torch.utils.data.Dataset):
    """Samples of a DETR, of several sizes; one has no objects."""

    def __len__(self):
        return len(SIZES)

    def __getitem__(self, index):
        height, width = SIZES[index]
        return nested().tensors[index, :, :height, :width], shares(pixel_targets())[index]


def padded(rows):
    """What the collate functions of DETR and RF-DETR make."""
    images, targets = zip(*rows)
    sizes = [tuple(image.shape[1:]) for image in images]
    samples = nested(sizes=sizes)
    for image, frame, (height, width) in zip(images, samples.tensors, sizes):
        frame[:, :height, :width] = image
    return samples, targets


def detections(batch_size=3):
    return torch.utils.data.DataLoader(Detections(), batch_size=batch_size, collate_fn=padded)


def of_detr(base):
    """A module that looks at nested tensors, on one of the two Lightnings."""

    class Detector(base):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 3, 1)
            self.seen, self.validated = [], []

        def training_step(self, batch, batch_idx):
            self.seen.append(batch)
            return self.layer(batch[0].tensors / 255).square().mean()

        def validation_step(self, batch, batch_idx):
            self.validated.append(batch)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    return Detector()


def opened(batch):
    samples, targets = batch
    return [samples.tensors, samples.mask, list(targets)]


def test_nested_tensors_are_mixed_within_their_masks_and_closed():
    callback = MixCallback(cd.CutMix(p=1.0), close_epochs=1)
    module, seeds = fit(callback, of_detr(L.LightningModule), loaders=(detections(), detections()), max_epochs=2)
    assert len(module.seen) == 4
    for seen, plain, seed, closed in zip(module.seen, [*detections()] * 2, seeds.seeds, seeds.closed):
        samples, targets = seen
        assert type(samples) is NestedTensor
        assert samples.tensors.shape[2:] == FRAME
        assert type(targets) is tuple
        assert torch.equal(samples.tensors, plain[0].tensors) == closed
        if not closed:
            generator = torch.Generator().manual_seed(seed)
            assert same(opened(seen), opened(mix_batch(*plain, cd.CutMix(p=1.0), generator=generator)))
        assert all({"visibility", "origin"} <= target.keys() for target in targets)
    for seen, plain in zip(module.validated, [*detections()] * 2):
        assert same(opened(seen), opened(plain))


def test_either_lightning_runs_the_callback_of_the_other():
    other = pytest.importorskip("pytorch_lightning")
    if issubclass(MixCallback, other.Callback):  # it was imported first
        other = pytest.importorskip("lightning.pytorch")
    assert not issubclass(MixCallback, other.Callback)
    module, callback = of_detr(other.LightningModule), MixCallback(cd.CutMix(p=1.0), close_epochs=1)
    trainer = other.Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=2,
        accelerator="cpu",
        callbacks=[callback],
    )
    trainer.fit(module, detections(), detections())
    plain = [*detections()] * 2
    changed = [not torch.equal(seen[0].tensors, batch[0].tensors) for seen, batch in zip(module.seen, plain)]
    assert changed == [True, True, False, False]
    assert "batch_to_device" not in vars(trainer.strategy)
    assert all(torch.equal(seen[0].tensors, batch[0].tensors) for seen, batch in zip(module.validated, plain))


def processed(rows):
    """What the processor of DETR in transformers makes of coded pictures: padded, boxes in shares of the frame."""
    images, valid = torch.zeros(len(rows), 3, 24, 36), torch.zeros(len(rows), 24, 36, dtype=torch.long)
    labels = []
    for place, number in enumerate(rows):
        height, width = [(24, 20), (14, 36)][number % 2]
        images[place, :, :height, :width] = valid[place, :height, :width] = number + 1
        boxes = torch.tensor([[5.0, 4, 10, 8]]) / torch.tensor([36, 24, 36, 24])
        labels.append({"class_labels": torch.tensor([number]), "boxes": boxes, "size": torch.tensor([24, 36])})
    return {"pixel_values": images, "pixel_mask": (valid > 0).long(), "labels": labels}


@pytest.mark.parametrize("options", [{}, {"keep_keys": ("pixel_mask",)}])
def test_padded_batches_of_transformers_are_mixed_within_their_masks(options):
    callback = MixCallback(cd.CutMix(p=1.0), images_key="pixel_values", targets_key="labels", **options)
    loader_of = torch.utils.data.DataLoader(range(8), batch_size=4, collate_fn=processed)
    module, _ = fit(callback, Watcher("pixel_values"), loaders=(loader_of,))
    for seen, plain in zip(module.seen, loader_of):
        assert torch.equal(seen["pixel_mask"], plain["pixel_mask"])
        assert torch.equal(seen["pixel_values"][:, 0] > 0, plain["pixel_mask"] > 0)  # every picture, and no padding
        assert not torch.equal(seen["pixel_values"], plain["pixel_values"])
        for image, label in zip(seen["pixel_values"], seen["labels"]):
            for box, number in zip(label["boxes"] * torch.tensor([36, 24, 36, 24]), label["class_labels"]):
                x, y, width, height = box.round(decimals=3).tolist()
                block = image[0, int(y - height / 2) : int(y + height / 2), int(x - width / 2) : int(x + width / 2)]
                assert (block == number + 1).any()


def test_instances_of_transformers_beside_a_pixel_mask():
    batch = processed(range(4))
    batch["mask_labels"] = [(image[:1] > 0).float() for image in batch["pixel_values"]]
    batch["class_labels"] = [label["class_labels"] for label in batch.pop("labels")]
    targets = ("mask_labels", "class_labels")
    mixed = MixCallback(cd.CutMix(p=1.0), images_key="pixel_values", targets_key=targets)._mix_batch(StandIn(), batch)
    for image, masks, classes in zip(mixed["pixel_values"], mixed["mask_labels"], mixed["class_labels"]):
        assert len(masks)
        assert all((image[0][mask > 0] == number + 1).all() for mask, number in zip(masks, classes))


@pytest.mark.parametrize(("keys", "change", "message"), [
    ({"images_key": "image", "targets_key": "labels"}, {"image": torch.rand(4, 3, 24, 36)}, "got images_key='image'"),
    ({"images_key": "pixel_values", "targets_key": (), "keep_keys": ["labels", "pixel_mask"]}, {}, r"targets_key=\(\)"),
    ({}, {}, r"'pixel_mask' says which part .*got images_key=0 and targets_key=1 .* \(images, targets, sizes\)"),
])  # fmt: skip
def test_a_pixel_mask_is_never_kept_unread(keys, change, message):
    with pytest.raises(ValueError, match=message):
        MixCallback(cd.CutMix(), **keys)._mix_batch(StandIn(), {**processed(range(4)), **change})


def test_a_map_may_be_named_as_a_padding_mask():
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 24, 36).clone()
    batch = {"image": images, "pixel_mask": images[:, 0].long()}
    callback = MixCallback(cd.CutMix(p=1.0), images_key="image", targets_key="pixel_mask")
    mixed = callback._mix_batch(StandIn(), batch)
    assert torch.equal(mixed["pixel_mask"].float(), mixed["image"][:, 0])
    assert not torch.equal(mixed["image"], images)


def test_a_padding_mask_isnt_to_be_kept():
    batch = {"image": torch.rand(4, 3, 24, 36), "mask": torch.ones(4, 24, 36).bool(), "target": torch.rand(4, 9)}
    callback = MixCallback(cd.CutMix(), images_key="image", targets_key="target")
    with pytest.raises(ValueError, match=r"per pixel in \['mask'\] that would stay unmixed.*unpack return") as error:
        callback._mix_batch(StandIn(), batch)
    assert "keep_keys" not in str(error.value)


def test_the_state_of_a_checkpoint_is_read_by_weights_only(tmp_path):
    callback = bank_callback()
    callback._mix_batch(StandIn(), next(iter(detections())))
    torch.save(callback.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other = bank_callback()
    other.load_state_dict(state)
    plain = next(iter(detections()))
    for each in (callback, other):
        each.generator.manual_seed(8)
    assert same(*(opened(each._mix_batch(StandIn(), plain)) for each in (callback, other)))
    assert other.mix.pairing.state_dict().keys() == callback.mix.pairing.state_dict().keys()


def test_a_nested_tensor_beside_the_images_is_refused():
    samples, targets = next(iter(detections()))
    with pytest.raises(ValueError, match=r"\[2\] that would stay unmixed"):
        MixCallback(cd.CutMix())._mix_batch(StandIn(), (samples.tensors, targets, samples))
    callback = MixCallback(cd.CutMix(), unpack=lambda batch: (*batch, SIZES), pack=lambda batch, *mixed: mixed)
    with pytest.raises(ValueError, match="no sizes beside a nested tensor"):
        callback._mix_batch(StandIn(), (samples, targets))


def test_a_restored_bank_moves_to_the_device_of_the_training():
    callback = bank_callback()
    callback._mix_batch(StandIn(), batches()[0])
    state = callback.state_dict()
    callback._strategy = SimpleNamespace(root_device=torch.device("meta"))
    callback.load_state_dict(state)
    joined = callback.mix.pairing.join(torch.zeros(1, 3, HEIGHT, WIDTH, device="meta"), None)
    assert len(joined.images) == 1 + BATCH


def test_two_processes_draw_plans_of_their_own(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        f"""
import sys, pathlib
sys.path.insert(0, {str(Path(__file__).parent)!r})
import lightning.pytorch as L
from test_lightning import MixCallback, Seeds, cd, fit
class Write(L.Callback):
    def on_train_end(self, trainer, pl_module):
        seeds = trainer.callbacks[1].seeds
        pathlib.Path({str(tmp_path)!r}, str(trainer.global_rank)).write_text(" ".join(map(str, seeds)))
L.seed_everything(1)
fit(MixCallback(cd.CutMix()), devices=2, strategy="ddp_fork", max_epochs=2, more=[Write()])
"""
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    first, second = ((tmp_path / rank).read_text().split() for rank in "01")
    assert len(first) == len(second) == 2
    assert not set(first) & set(second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_restored_bank_lies_with_the_batches(tmp_path):
    path = tmp_path / "half.ckpt"
    fit(bank_callback(), accelerator="gpu", more=[Stop(path)])
    callback = bank_callback()
    module, _ = fit(callback, max_epochs=2, accelerator="gpu", ckpt_path=path)
    assert (torch.cat([target["origin"] for target in module.seen[0][1]])[:, 0] >= BATCH).any()
