"""A detector that learns from its mean teacher's boxes, under MMEngine's Runner."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from semi.conftest import CONFIGS

for library in ("mmengine", "cv2", "pycocotools"):
    pytest.importorskip(library)

from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from cutmix_dense import semi  # noqa: E402
from cutmix_dense.training.semi import SemiDataset, collate_semi  # noqa: E402
from cutmix_dense.training.semi_detector import SemiDetector  # noqa: E402

ARMS = sorted(path.stem for path in CONFIGS.glob("fcos-small_bccd-1of10_*.py"))
STUDENT = {"num_classes": 3, "network": {"type": "small_fcos", "channels": 32}}
_names = itertools.count()


def settings(root: Path, **more) -> dict:
    return {
        "train_dataloader.dataset.labelled.root": str(root),
        "val_dataloader.dataset.root": str(root),
        "test_dataloader.dataset.root": str(root),
        "experiment_name": f"semi_detector_{next(_names)}",
        "log_level": "ERROR",
        **more,
    }


@pytest.fixture
def runner_of(demo, tmp_path):
    """A function that makes the Runner of a config on the demo set: a labelled batch of four an epoch."""

    def runner(name: str, **changes) -> Runner:
        config = Config.fromfile(CONFIGS / f"{name}.py")
        small = {
            "train_dataloader.dataset.labelled.fraction": 0.25,
            "model.student.num_classes": 9,
            "model.student.network.widths": (8, 16, 16, 32),
            "model.student.network.score_thresh": 0.0,
            "model.data_preprocessor.size": (48, 64),
            "model.burn_in": 1,
            "model.threshold": 0.0,
            "train_cfg.max_epochs": 3,
            "train_cfg.val_interval": 3,
            "work_dir": str(tmp_path),
        }
        config.merge_from_dict(settings(demo.parent / "voc", **{**small, **changes}))
        made = Runner.from_cfg(config)
        for network in (made.model.student.network, made.model.teacher.module):
            torch.nn.init.constant_(
                network.head.regression_head.bbox_reg.bias, 2.0
            )  # boxes of some pixels from the first
        return made

    return runner


def test_the_arms():
    assert [arm.rpartition("1of10_")[2] for arm in ARMS] == ["cutmix", "mean_teacher", "mixpl", "supervised"]
    built = [MODELS.build(Config.fromfile(CONFIGS / f"{arm}.py").model) for arm in ARMS]
    assert [type(one.mix).__name__ for one in built] == ["CutMix", "NoneType", "NoneType", "NoneType"]
    assert [one.mixes for one in built] == [True, False, True, False]
    assert isinstance(built[2].mixpl, semi.MixPL)
    counts = [Config.fromfile(CONFIGS / f"{arm}.py").train_dataloader.dataset.count for arm in ARMS]
    assert counts == [1, 1, 1, 0]


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_trains_on_the_demo_set(arm, runner_of):
    runner = runner_of(arm)
    runner.train()
    model = runner.model
    assert model.teacher.step == 3
    logged = runner.message_hub.log_scalars
    unlabelled = [name for name in logged if name.startswith("train/loss_unlabelled")]
    assert len(unlabelled) == (0 if "supervised" in arm else 3)
    assert all(math.isfinite(logged[name].current()) for name in [*unlabelled, "train/loss"])
    assert all(logged[name].current() > 0 for name in unlabelled)
    assert 0 <= runner.message_hub.get_scalar("val/voc/AP50").current() <= 100
    assert isinstance(runner.train_dataloader.dataset, SemiDataset)
    if "mixpl" in arm:
        assert len(model.mixpl.bank) == 8


def batch_of(runner: Runner) -> dict:
    dataset = runner.build_dataloader(runner._train_dataloader, seed=0).dataset
    return runner.model.data_preprocessor(collate_semi([dataset[(0, index)] for index in range(4)]), True)


def test_burn_in_weights_views_and_who_is_evaluated(runner_of):
    runner = runner_of("fcos-small_bccd-1of10_cutmix")
    model = runner.model.train()
    batch = batch_of(runner)
    assert batch["strong"][0].shape == batch["unlabelled"].shape
    assert not torch.equal(batch["strong"][0], batch["unlabelled"])
    assert not any("unlabelled" in name for name in model(**batch, mode="loss")), "nothing within the burn-in"
    model.update_teacher()
    losses = []
    for weight in (1.0, 3.0):
        model.weight = weight
        torch.manual_seed(0)
        losses.append(model(**batch, mode="loss"))
    names = [name for name in losses[0] if name.startswith("loss_unlabelled")]
    assert len(names) == 3
    for name in names:
        assert losses[0][name] > 0
        assert losses[1][name].item() == pytest.approx(3 * losses[0][name].item(), rel=1e-4)
    model.loss_weights = {"loss_bbox_regression": 0.0}
    assert model(**batch, mode="loss")["loss_unlabelled_bbox_regression"] == 0
    sum(value for name, value in losses[1].items() if "loss" in name).backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())

    model.eval()
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.zero_()
    by_teacher, by_student = [], []
    for evaluated, found in (("teacher", by_teacher), ("student", by_student)):
        model.evaluated = evaluated
        found += [sample["prediction"]["scores"] for sample in model(batch["images"], batch["targets"], mode="predict")]
        assert len(model(batch["images"], mode="tensor")) == 4
    assert any(not torch.equal(a, b) for a, b in zip(by_teacher, by_student, strict=True))


def test_scores_weigh_the_losses_of_a_weighed_student(runner_of):
    changed = {"model.student.weighing": {"by": "weight"}, "model.weigh": True, "model.burn_in": 0}
    runner = runner_of("fcos-small_bccd-1of10_mean_teacher", **changed)
    model, batch = runner.model.train(), batch_of(runner)
    weighed = model(**batch, mode="loss")
    assert weighed["loss_unlabelled_bbox_regression"] > 0
    assert weighed["loss_bbox_regression"] > 0
    model.boxes["weigh"] = False
    with pytest.raises(KeyError, match="weight"):
        model(**batch, mode="loss")


def test_strong_views_move_nothing(runner_of):
    changed = {"model.data_preprocessor.strong": [{"type": "Resize", "size": [20, 20]}]}
    runner = runner_of("fcos-small_bccd-1of10_cutmix", **changed, **{"model.data_preprocessor.size": None})
    with pytest.raises(ValueError, match="colours"):
        batch_of(runner)


@pytest.mark.parametrize("run", ["train", "val", "test"])
def test_fewer_classes_than_the_data_has_are_refused(runner_of, run):
    runner = runner_of("fcos-small_bccd-1of10_supervised", **{"model.student.num_classes": 8})
    told = rf"model\.student\.num_classes must be 9, got 8: the dataset of {run}_dataloader .*the background"
    with pytest.raises(ValueError, match=told):
        getattr(runner, run)()


@pytest.mark.parametrize("mix", [{"type": "MixPL"}, {"type": "CutMix", "p": 1.0}], ids=["mixpl", "cutmix"])
def test_closing_ends_every_mix(mix):
    model = SemiDetector(STUDENT, mix=mix)
    held = model.mix or model.mixpl.erase
    model.close()
    assert held.closed
    model.close(False)
    assert not held.closed


@pytest.mark.parametrize("wrong", [{"burn_in": -1}, {"weight": -1.0}, {"evaluated": "both"}])
def test_what_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SemiDetector(STUDENT, **wrong)
    with pytest.raises(TypeError, match="mix"):
        SemiDetector(STUDENT, mix={"type": "BetaBox"})


WEIGHING = {**STUDENT, "weighing": {"by": "weight"}}


@pytest.mark.parametrize(
    ("student", "settings", "told"),
    [
        (STUDENT, {"weigh": True}, r"weigh=True needs .* got one without weighing: write student=dict\(weighing="),
        (STUDENT, {"ignore_above": 0.2}, r"ignore_above=0\.2 needs .* without weighing: write student=.*weigh=True"),
        ({**STUDENT, "weighing": {"by": "visibility"}}, {"weigh": True}, r"got one that weighs by \('visibility',\)"),
    ],
)
def test_settings_that_the_student_does_not_read_are_refused(student, settings, told):
    with pytest.raises(ValueError, match=told):
        SemiDetector(student, **settings)


def test_scores_and_ignored_boxes_count_as_the_messages_advise():
    """Pseudo-boxes of scores 0.8 and 0.4: the first weighs less, the second is background no more."""
    boxes = torch.tensor([[4.0, 4, 40, 40], [50.0, 10, 90, 60]])
    found = [{"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.8, 0.4])}] * 2
    target = {"boxes": boxes[:1], "labels": torch.tensor([1])}
    losses = []
    for settings in ({}, {"weigh": True}, {"weigh": True, "ignore_above": 0.2}):
        torch.manual_seed(0)
        model = SemiDetector(WEIGHING if settings else STUDENT, threshold=0.5, **settings).train()
        model.teacher.forward = lambda images: found
        images = [torch.rand(3, 64, 96)] * 2
        losses.append(model(images, [target] * 2, unlabelled=torch.rand(2, 3, 64, 96), mode="loss"))
    plain, weighed, ignored = losses
    assert weighed["loss_unlabelled_bbox_regression"].item() == pytest.approx(
        0.8 * plain["loss_unlabelled_bbox_regression"].item(), rel=1e-4
    )
    assert ignored["loss_unlabelled_classification"] < weighed["loss_unlabelled_classification"]
    assert ignored["loss_classification"] == weighed["loss_classification"]
    for by in (lambda target: torch.ones(len(target["boxes"])), ["visibility", "weight"]):
        assert SemiDetector({**STUDENT, "weighing": {"by": by}}, weigh=True, ignore_above=0.2).boxes["weigh"]


def test_the_module_alone_registers_what_the_detector_needs():
    code = "from cutmix_dense.training.semi_detector import SemiDetector\n"
    code += f"print(type(SemiDetector({STUDENT!r}).data_preprocessor).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "SemiPreprocessor\n", done.stderr


def test_a_few_steps_on_blood_cells(tmp_path):
    """The first iterations of a config on BCCD itself, whose path CUTMIX_DENSE_BCCD says."""
    root = Path(os.environ.get("CUTMIX_DENSE_BCCD", CONFIGS.parents[1] / "data" / "bccd"))
    if not (root / "ImageSets").is_dir():
        pytest.skip(f"BCCD isn't at {root}: set CUTMIX_DENSE_BCCD to its folder")
    config = Config.fromfile(CONFIGS / "fcos-small_bccd-1of10_mixpl.py")
    few = {"model.burn_in": 2, "train_cfg.max_epochs": 1, "train_cfg.val_interval": 2, "work_dir": str(tmp_path)}
    config.merge_from_dict(settings(root, **few))
    runner = Runner.from_cfg(config)
    runner.train()
    assert len(runner.train_dataloader.dataset) == 20
    assert len(runner.train_dataloader.dataset.unlabelled) == 185
    assert runner.iter == 5
    logged = runner.message_hub.log_scalars
    assert math.isfinite(logged["train/loss"].current())
    assert "train/loss_unlabelled_classification" in logged


@pytest.mark.parametrize("evaluated", ["teacher", "student"])
def test_predictions_need_no_targets(evaluated):
    model = SemiDetector(STUDENT, evaluated=evaluated).eval()
    assert len(model([torch.rand(3, 64, 96)] * 2, mode="predict")) == 2
