"""Under MMEngine: pairs of samples, the student with its teacher, and every arm's config."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

pytest.importorskip("mmengine")
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from semi.conftest import CONFIGS
from torchvision import tv_tensors

from cutmix_dense.data import DatasetError
from cutmix_dense.mmengine.scope import MODELS
from cutmix_dense.semi import Consistency, Cutout
from cutmix_dense.training import MixPreprocessor, TrainingDataset, TrainingError
from cutmix_dense.training.checkpoints import check_fit
from cutmix_dense.training.semi import SemiDataset, SemiPreprocessor, SemiSegmenter, collate_semi
from cutmix_dense.training.taught import MeanTeacherHook

FLIP = [{"type": "RandomHorizontalFlip", "p": 0.5}]
CUTMIX = {"type": "CutMix", "p": 1.0, "region": {"type": "AreaBox.french"}}
ARMS = sorted(path.stem for path in CONFIGS.glob("unet*.py"))


class Coded(TrainingDataset):
    """Images that hold their index in the first row and 16 · their column below."""

    def read(self, index: int):
        image = (16 * torch.arange(16, dtype=torch.uint8)).expand(3, 12, 16).clone()
        image[:, 0] = index
        return tv_tensors.Image(image), {
            "image_id": index,
            "semantic": tv_tensors.Mask((image[0] // 96).clamp(max=2)),
        }


def dataset(count: int = 2) -> SemiDataset:
    labelled = Coded(20, "abc", subset=[0, 7, 14], transforms=FLIP)
    return SemiDataset(labelled, Coded(20, "abc", subset=[0, 7, 14], complement=True, transforms=FLIP), count)


def ident(image: torch.Tensor) -> int:
    return int(image[0, 0, 0])


def test_labelled_samples_are_those_of_the_labelled_set_alone():
    both, alone = dataset(), Coded(20, "abc", subset=[0, 7, 14], transforms=FLIP)
    both.set_seed(3)
    alone.set_seed(3)
    assert len(both) == 3
    assert both.metainfo == alone.metainfo
    for key in [(epoch, index) for epoch in range(6) for index in range(3)]:
        sample, expected = both[key], alone[key]
        assert torch.equal(sample["image"], expected["image"])
        assert torch.equal(sample["target"]["semantic"], expected["target"]["semantic"])
        assert dataset(0)[key].get("unlabelled") == []


def test_unlabelled_images_are_dealt_evenly_and_repeatably():
    semi = dataset()
    keys = [(epoch, index) for epoch in range(17) for index in range(3)]  # 17 · 3 · 2 = 6 deals of 17 images
    dealt = [semi[key]["unlabelled"] for key in keys]
    counts = Counter(ident(image) for images in dealt for image in images)
    assert counts == {index: 6 for index in range(20) if index not in (0, 7, 14)}
    again = dataset()
    for key in reversed(keys):
        for image, expected in zip(again[key]["unlabelled"], dealt[keys.index(key)]):
            assert torch.equal(image, expected)
    flipped = [bool(image[0, 1, 0]) for images in dealt for image in images]
    assert 0.3 < sum(flipped) / len(flipped) < 0.7
    semi.set_seed(1)
    assert [ident(i) for key in keys for i in semi[key]["unlabelled"]] != [ident(i) for p in dealt for i in p]
    # the arms that need no partner deal it all the same: their first images are those of the others
    assert [ident(images[0]) for images in dealt] == [ident(again[key]["unlabelled"][0]) for key in keys]


def test_first_images_come_before_their_partners():
    samples = [dataset()[(0, index)] for index in range(3)]
    batch = collate_semi(samples)
    expected = [sample["unlabelled"][place] for place in range(2) for sample in samples]
    assert all(torch.equal(a, b) for a, b in zip(batch["unlabelled"], expected))
    assert len(batch["unlabelled"]) == 6
    assert [ident(image) for image in batch["images"]] == [0, 7, 14]


def test_the_preprocessor_mixes_labelled_images_alone():
    batch = collate_semi([dataset()[(0, index)] for index in range(3)])
    options = {"size": (6, 8), "mix": {"type": "CutMix", "p": 1.0}}
    torch.manual_seed(0)
    ours = SemiPreprocessor(**options)(batch, True)
    torch.manual_seed(0)
    labelled = {key: batch[key] for key in ("images", "targets")}
    theirs = MixPreprocessor(**options)(labelled, True)
    with pytest.raises(TypeError, match="unlabelled must be maps beside the targets"):
        MixPreprocessor(**options)(batch, True)
    torch.manual_seed(0)
    depth = torch.stack([image[0] for image in batch["images"]]).float()
    beside = SemiPreprocessor(**options)({**batch, "depth": depth}, True)
    assert beside["depth"].shape == (3, 6, 8)
    assert torch.equal(beside["images"], ours["images"])
    assert torch.equal(ours["images"], theirs["images"])
    plain = MixPreprocessor(size=(6, 8))({"images": batch["unlabelled"], "targets": [{}] * 6}, False)
    assert torch.equal(ours["unlabelled"], plain["images"])
    assert "unlabelled" not in SemiPreprocessor(**options)(batch, False)
    uneven = {**batch, "unlabelled": [batch["unlabelled"][0], batch["unlabelled"][1][:, :6]]}
    with pytest.raises(ValueError, match="one size"):
        SemiPreprocessor()(uneven, True)


def model(**settings) -> SemiSegmenter:
    torch.manual_seed(1)
    student = {"num_classes": 3, "network": {"type": "SmallUNet", "widths": (8, 8), "stride": 2}}
    return SemiSegmenter(student, **{"mix": CUTMIX, "consistency": {"threshold": 0.0}, **settings})


class Stripes(torch.nn.Module):
    """Every third column is of the same class."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = len(images)
        classes = torch.arange(images.shape[3]) % 3
        return 9.0 * torch.nn.functional.one_hot(classes, 3).T[None, :, None].expand(len(images), 3, *images.shape[2:])


def batch_of(semi: BaseModel, size: int = 3) -> dict:
    return semi.data_preprocessor(collate_semi([dataset()[(0, index)] for index in range(size)]), True)


@pytest.mark.parametrize("mix", [None, CUTMIX, {"type": "ClassMix"}, {"type": "Cutout"}], ids=str)
@pytest.mark.parametrize("size", [1, 3])
def test_losses_and_gradients(mix, size):
    semi = model(mix=mix)
    semi.teacher.module = Stripes()  # a teacher that knows several classes, which ClassMix needs
    seen = []
    semi.student.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = batch_of(semi, size)
    losses = semi(**batch, mode="loss")
    assert set(losses) == {"loss_semantic", "loss_consistency", "confident", "valid", "mixed"}
    assert (losses["mixed"] > 0) == (mix is not None)
    assert len(seen) == 2
    pasted = mix is not None and mix["type"] != "Cutout"
    assert semi.teacher.module.seen == (2 * size if pasted else size), "partners that nobody pastes cost nothing"
    assert len(seen[1]) == size, "the student sees as many unlabelled images as labelled ones, partners aside"
    assert torch.equal(seen[1], batch["unlabelled"][:size]) == (mix is None)
    (losses["loss_semantic"] + losses["loss_consistency"]).backward()
    assert all(p.grad is not None for p in semi.student.network.parameters())
    assert "loss_consistency" not in semi(batch["images"], batch["targets"], mode="loss")


def test_the_weight_of_the_consistency_loss():
    losses = []
    for weight in (1.0, 2.5, 0.0):
        semi = model(weight=weight)
        batch = batch_of(semi)
        torch.manual_seed(0)  # draws the plan
        losses.append(semi(**batch, mode="loss"))
    assert losses[0]["loss_consistency"] > 0
    assert losses[1]["loss_consistency"].item() == pytest.approx(2.5 * losses[0]["loss_consistency"].item())
    assert "loss_consistency" not in losses[2]
    assert losses[0]["loss_semantic"] == losses[2]["loss_semantic"]


def test_unpaired_images_are_paired_by_the_transform():
    semi = model(paired=False)
    seen = []
    semi.student.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    semi(**batch_of(semi), mode="loss")
    assert len(seen[1]) == 6


def test_who_is_evaluated():
    teacher, student = model(), model(evaluated="student")
    batch = batch_of(teacher)
    for semi in (teacher, student):
        with torch.no_grad():
            semi.student.network.head.bias[2] += 1000
        semi.eval()
    ids = {
        name: {int(s["prediction"]["semantic"].unique()[-1]) for s in semi(**batch, mode="predict")}
        for name, semi in (("teacher", teacher), ("student", student))
    }
    assert ids["student"] == {2}
    assert torch.equal(student(batch["images"]), student.student.logits(batch["images"]))
    assert torch.equal(teacher(batch["images"]), teacher.teacher(batch["images"]))
    for _ in range(2):  # the first update is a copy
        teacher.update_teacher()
    assert {int(s["prediction"]["semantic"].unique()[-1]) for s in teacher(**batch, mode="predict")} == {2}


def test_a_teacher_that_nobody_updates_is_noticed():
    semi = model()
    batch = batch_of(semi, 1)
    for updates in range(2):
        for _ in range(semi._PATIENCE):
            semi(**batch, mode="loss")
        if not updates:
            semi.update_teacher()
    with pytest.raises(RuntimeError, match="MeanTeacherHook"):
        semi(**batch, mode="loss")


def test_a_training_step_lowers_the_losses():
    semi = model(teacher={"decay": 0.9})
    wrapper = OptimWrapper(torch.optim.Adam(semi.student.parameters(), 0.01))
    data = collate_semi([dataset()[(0, index)] for index in range(3)])
    logs = []
    for _ in range(25):
        logs.append(semi.train_step(data, wrapper))
        semi.update_teacher()
    first, last = (sum(log["loss"].item() for log in part) for part in (logs[:3], logs[-3:]))
    assert last < 0.6 * first
    assert all(p.grad is None for p in semi.teacher.parameters())


def test_what_is_refused():
    with pytest.raises(ValueError, match="count"):
        dataset(-1)
    with pytest.raises(ValueError, match="unlabelled"):
        SemiDataset(Coded(20, "abc"))
    for wrong in ({"evaluated": "both"}, {"weight": -1.0}, {"consistency": {"type": "fixmatch"}}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model(**wrong)
    with pytest.raises(TypeError, match="mix"):
        model(mix={"type": "BetaBox"})
    semi = model()
    with pytest.raises(ValueError, match="unlabelled"):
        semi(**{**batch_of(semi), "unlabelled": torch.zeros(3, 3, 12, 16)}, mode="loss")


def test_an_empty_remainder_names_the_remedies(demo):
    labelled = {"type": "cutmix_dense.DenseTrainingDataset", "root": str(demo), "task": "segmentation"}
    told = "unlabelled must be given where labelled takes every sample.*fraction, limit or subset.*PictureDataset"
    for everything in ({}, {"fraction": 1.0}):
        with pytest.raises(ValueError, match=told):
            SemiDataset({**labelled, **everything})
        assert len(SemiDataset({**labelled, **everything}, count=0)) == 16
    with pytest.raises(ValueError, match="limit, fraction, subset and complement must leave some of 16 samples"):
        SemiDataset({**labelled, "subset": []})


def test_a_folder_of_pictures_serves_as_unlabelled_set(demo):
    labelled = {"type": "cutmix_dense.DenseTrainingDataset", "root": str(demo), "task": "segmentation", "limit": 3}
    plain = {"root": str(demo / "leftImg8bit" / "train")}
    both = SemiDataset(labelled, {"type": "cutmix_dense.PictureDataset", **plain})
    assert (len(both), len(both.unlabelled)) == (3, 16)
    images = collate_semi([both[(0, index)] for index in range(3)])["unlabelled"]
    assert [tuple(image.shape) for image in images] == [(3, 48, 64)] * 6
    with pytest.raises(DatasetError, match=r"unlabelled: .*read by unlabelled=dict\(type=.cutmix_dense.PictureDataset"):
        SemiDataset(labelled, {"type": "cutmix_dense.DenseTrainingDataset", **plain})


def test_an_evaluation_needs_the_one_that_predicts():
    for evaluated, other in (("teacher", "student"), ("student", "teacher")):
        made = model(evaluated=evaluated)
        state = {f"module.{name}": torch.ones_like(value) for name, value in made.state_dict().items()}
        part = {name: value for name, value in state.items() if not name.startswith(f"module.{other}.")}
        buffers = {f"module.{name}" for name, _ in made.named_buffers()}
        check_fit(made, {name: value for name, value in part.items() if name not in buffers})
        read = made.student.network if evaluated == "student" else made.teacher.module
        assert all((value == 1).all() for value in read.parameters())
        with pytest.raises(TrainingError, match=rf"fits 0 of the \d+ .* a SemiSegmenter: it has no {evaluated}\."):
            check_fit(made, {name: value for name, value in state.items() if name not in part})


def test_fewer_classes_than_the_data_has_are_refused(runner_of):
    runner = runner_of("unet-small_camvid-1of8_supervised", **{"model.student.num_classes": 7})
    told = r"model\.student\.num_classes must be 19, got 7: the dataset of train_dataloader has 19 classes"
    with pytest.raises(TrainingError, match=told):
        runner.train()


def test_consistency_by_name():
    assert model(consistency={"type": "french"}).consistency == Consistency.french()
    assert model(consistency={"type": "classmix", "threshold": 0.5}).consistency == Consistency.classmix(0.5)
    assert model(consistency=None).consistency == Consistency.unimatch()


def test_the_arms_are_the_ones_a_claim_needs():
    arms = ("supervised", "supervised_cutmix_ema", "mean_teacher", "cutout", "cutmix", "classmix", "cowmix")
    assert {arm.removeprefix("unet-small_camvid-1of8_") for arm in ARMS} == set(arms)


@pytest.mark.parametrize(
    ("arm", "labelled", "unlabelled", "evaluated", "count"),
    [
        ("supervised", None, None, "student", 0),
        ("supervised_cutmix_ema", "CutMix", None, "teacher", 0),
        ("mean_teacher", None, None, "teacher", 2),
        ("cutout", None, "Cutout", "teacher", 2),
        ("cutmix", None, "CutMix", "teacher", 2),
        ("classmix", None, "ClassMix", "teacher", 2),
        ("cowmix", None, "CowMix", "teacher", 2),
    ],
)
def test_an_arm_is_what_its_name_says(arm, labelled, unlabelled, evaluated, count):
    config = Config.fromfile(CONFIGS / f"unet-small_camvid-1of8_{arm}.py")
    built = MODELS.build(config.model)
    found = [None if mix is None else type(mix).__name__ for mix in (built.data_preprocessor.mix, built.mix)]
    assert found == [labelled, unlabelled]
    assert built.evaluated == evaluated
    assert config.train_dataloader.dataset.count == count
    assert built.mixes == (unlabelled is not None)


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_trains_on_the_demo_set(arm, runner_of):
    """16 frames, 4 of them labelled: one iteration an epoch, two epochs, one validation."""
    runner = runner_of(arm)
    runner.train()
    semi = runner.model
    assert runner.iter == 2
    assert semi.teacher.step == 2
    assert any(isinstance(hook, MeanTeacherHook) for hook in runner.hooks)
    assert 0 <= runner.message_hub.get_scalar("val/semantic/mIoU").current() <= 100
    logged = runner.message_hub.log_scalars
    supervised = arm.partition("1of8_")[2].startswith("supervised")
    assert ("train/loss_consistency" in logged) == (not supervised)
    assert math.isfinite(logged["train/loss"].current())
    if "cutout" in arm:
        assert isinstance(semi.mix, Cutout)
    assert len(runner.train_dataloader.dataset.labelled) == 4
    kept = torch.load(runner.work_dir + "/epoch_2.pth", weights_only=False)["state_dict"]
    assert torch.equal(kept["teacher.module.head.bias"], semi.teacher.module.head.bias)
    assert kept["teacher.n_averaged"] == 2


def test_the_teacher_moves_once_per_step_of_the_optimizer(runner_of, monkeypatch):
    """Seven iterations, gradients of three each: steps after the third, the sixth and the last."""
    monkeypatch.setattr(SemiSegmenter, "_PATIENCE", 2)  # waiting for a step isn't a missing hook
    few = {"optim_wrapper.accumulative_counts": 3, "train_cfg.max_epochs": 7, "train_cfg.val_interval": 7}
    runner = runner_of("unet-small_camvid-1of8_supervised", **few)
    steps, updates = [], []
    step, update = OptimWrapper.step, SemiSegmenter.update_teacher
    monkeypatch.setattr(OptimWrapper, "step", lambda self: (steps.append(runner.iter), step(self)))
    monkeypatch.setattr(SemiSegmenter, "update_teacher", lambda self: (updates.append(runner.iter), update(self)))
    runner.train()
    assert updates == steps == [2, 5, 6]
    assert runner.model.teacher.step == 3


def test_all_arms_see_the_same_labelled_batches(runner_of):
    batches = []
    for arm in ("unet-small_camvid-1of8_supervised", "unet-small_camvid-1of8_cutmix"):
        runner = runner_of(arm)
        loader = runner.build_dataloader(runner._train_dataloader, seed=7)
        loader.sampler.set_epoch(2)
        (batch,) = loader
        batches.append(batch)
    assert all(torch.equal(a, b) for a, b in zip(batches[0]["images"], batches[1]["images"]))
    assert [len(batch["unlabelled"]) for batch in batches] == [0, 8]


def test_a_resumed_training_ends_as_one_that_never_stopped(runner_of, tmp_path):
    from cutmix_dense.training import allow_checkpoints

    allow_checkpoints()
    arm = "unet-small_camvid-1of8_cutmix"
    through = runner_of(arm, **{"train_cfg.max_epochs": 3, "default_hooks.checkpoint.max_keep_ckpts": -1})
    through.train()
    resumed = runner_of(
        arm,
        **{
            "train_cfg.max_epochs": 3,
            "resume": True,
            "load_from": str(tmp_path / "epoch_1.pth"),
            "work_dir": str(tmp_path / "resumed"),
        },
    )
    resumed.train()
    expected = through.model.state_dict()
    assert any(name.startswith("teacher.") for name in expected)
    state = resumed.model.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values()), "MMEngine broadcasts tensors alone"
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("evaluated", ["teacher", "student"])
def test_predictions_need_no_targets(evaluated):
    assert len(model(evaluated=evaluated).eval()(torch.rand(2, 3, 32, 48), mode="predict")) == 2
