"""RF-DETR's own data module, model and trainer, on coded pictures, with the lines of its page."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detr_batches import check, declared
from oracle import Provenance, Settings, coded_image, expect_instances, stated_layers
from PIL import Image
from snippets import ROOT, blocks, run

import cutmix_dense as cd

for package in ("rfdetr", "pytorch_lightning", "faster_coco_eval"):
    pytest.importorskip(package)

import rfdetr.config  # noqa: E402
import rfdetr.training  # noqa: E402
from rfdetr.config import MultiScale  # noqa: E402
from rfdetr.utilities.tensors import NestedTensor, make_collate_fn  # noqa: E402

from cutmix_dense.detr import mix_batch  # noqa: E402
from cutmix_dense.lightning import MixCallback  # noqa: E402

PAGE = ROOT / "docs" / "stacks" / "rfdetr.md"
SIZES = [(96, 144), (96, 120), (120, 96), (96, 108), (108, 96), (96, 132)]
"""Their shorter sides are the resolution, so that RF-DETR resizes none of them."""
RESOLUTION = 96
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of RF-DETR, about untrained weights
    pytest.mark.skipif(
        not hasattr(rfdetr.training, "build_trainer"), reason="RF-DETR >= 1.11 trains through Lightning"
    ),
]


def write_set(root, sizes):
    """A set in RF-DETR's layout: coded pictures, rectangles as polygons, one picture without objects."""
    rng = np.random.default_rng(2)
    for split in ("train", "valid", "test"):
        (root / split).mkdir()
        images, annotations = [], []
        for number, (height, width) in enumerate(sizes):
            code = coded_image(number, height, width, torch.uint8).permute(1, 2, 0).numpy()
            Image.fromarray(code).save(root / split / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
            for _ in range(0 if number == 3 else 4):
                w, h = (int(side) for side in rng.integers(12, 40, 2))
                x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
                annotations.append({
                    "id": len(annotations) + 1, "image_id": number, "category_id": len(annotations) % 3, "iscrowd": 0,
                    "bbox": [x, y, w, h], "area": w * h,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                })  # fmt: skip
        categories = [{"id": index, "name": name} for index, name in enumerate("abc")]
        text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
        (root / split / "_annotations.coco.json").write_text(text)


def clones(batch):
    samples, targets = batch
    rows = [{key: value.clone() for key, value in target.items()} for target in targets]
    return NestedTensor(samples.tensors.clone(), samples.mask.clone()), rows


def without_files(trainer):
    """The trainer without the checkpoints of every epoch, a gigabyte in all."""
    trainer.callbacks = [each for each in trainer.callbacks if type(each).__name__ != "ModelCheckpoint"]
    return trainer


@pytest.fixture(scope="module", params=["detection", "segmentation"])
def training(request, tmp_path_factory):
    """The page's training of two epochs, the second one closed, and the batches that its parts saw."""
    root, kind = tmp_path_factory.mktemp("coded"), request.param
    # RF-DETR-Seg's matcher puts the masks of a batch together, so its pictures must be of one size; not our doing
    write_set(root, SIZES if kind == "detection" else SIZES[:1] * 6)
    record = SimpleNamespace(kind=kind, came=[], seen=[], seeds=[], validated=[], epochs=[])
    modules, configs = rfdetr.training, rfdetr.config

    class Data(modules.RFDETRDataModule):
        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            moved = super().transfer_batch_to_device(batch, device, dataloader_idx)
            if self.trainer.training:
                record.came.append(clones(moved))
            return moved

    class Model(modules.RFDETRModelModule):
        def on_train_batch_start(self, batch, batch_idx):
            record.seen.append(clones(batch))  # before RF-DETR resizes it
            record.epochs.append(self.trainer.current_epoch)
            (callback,) = [each for each in self.trainer.callbacks if isinstance(each, MixCallback)]
            record.seeds.append(callback.last_seed)
            return super().on_train_batch_start(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            record.validated.append(clones(batch))
            return super().validation_step(batch, batch_idx)

    seg = kind == "segmentation"
    model, train = ("RFDETRSegNanoConfig", "SegmentationTrainConfig") if seg else ("RFDETRNanoConfig", "TrainConfig")
    side = RESOLUTION // (12 if seg else 16)
    small = {"pretrain_weights": None, "device": "cpu", "num_classes": 3, "resolution": RESOLUTION,
             "positional_encoding_size": side, "dec_layers": 1}  # fmt: skip
    quick = {"dataset_file": "roboflow", "batch_size": 3, "grad_accum_steps": 1, "num_workers": 0, "use_ema": False,
             "output_dir": str(root / "out"), "tensorboard": False, "run_test": False, "seed": 1, "progress_bar": None,
             "accelerator": "cpu", "augmentation_backend": "cpu", "aug_config": {}, "scale_jitter": False,
             "square_resize_div_64": False, "multi_scale": False, "eval_backend": "faster_coco_eval"}  # fmt: skip
    lines = blocks(PAGE, "python")[0].replace("epochs=60", "epochs=2").replace("close_epochs=10", "close_epochs=1")
    lines = lines.replace("my_data", str(root)).replace("CutMix(p=0.5)", "CutMix(p=1.0)")
    lines = lines.replace("RFDETRNanoConfig", model).replace("TrainConfig", train)
    names, few = {}, {"limit_train_batches": 3, "limit_val_batches": 2}
    with pytest.MonkeyPatch.context() as patch:
        own, made = getattr(configs, model), getattr(configs, train)
        build = modules.build_trainer
        patch.setattr(configs, model, lambda **given: own(**small, **given))
        patch.setattr(configs, train, lambda **given: made(**quick, **given))
        patch.setattr(modules, "RFDETRDataModule", Data)
        patch.setattr(modules, "RFDETRModelModule", Model)
        patch.setattr(modules, "build_trainer", lambda *given: without_files(build(*given, **few)))
        run(lines, PAGE, 1, names)
    record.trainer = names["trainer"]
    return record


def codes(image):
    """Number, x and y in every pixel of a picture that RF-DETR has normalised."""
    return ((image * STD[:, None, None] + MEAN[:, None, None]) * 255).round().long().numpy()


def in_pixels(target):
    """What the oracle takes, of a target as RF-DETR has it."""
    height, width = target["size"].tolist()
    low, size = (target["boxes"].double() * torch.tensor([width, height, width, height])).chunk(2, dim=1)
    boxes = torch.cat([low - size / 2, low + size / 2], dim=1).round()
    return {**target, "boxes": boxes}


def test_every_pixel_box_and_mask_agrees(training):
    foreign = pasted = padded = 0
    for (came, given), (mixed, targets), seed, epoch in zip(
        training.came, training.seen, training.seeds, training.epochs
    ):
        if epoch == 1:
            continue
        assert type(mixed) is NestedTensor
        assert torch.equal(mixed.mask, came.mask)
        padding = mixed.mask[:, None]
        assert torch.equal(mixed.tensors * padding, came.tensors * padding)
        padded += int(padding.sum())
        sizes = [tuple(target["size"].tolist()) for target in given]
        mix = declared(cd.CutMix(p=1.0))
        generator = torch.Generator().manual_seed(seed)
        plan = mix.make_plan(came.tensors, given, sizes=torch.tensor(sizes), generator=generator)
        for number, (out, (height, width)) in enumerate(zip(targets, sizes)):
            assert int((~mixed.mask[number]).sum()) == height * width
            code, layers = codes(mixed.tensors[number])[:, :height, :width], stated_layers(plan, number)
            shown = plan.owner_map()[number, :height, :width].numpy()
            sources = plan.source[number].numpy()[shown]
            ids = np.array([int(target["image_id"]) for target in given])
            assert np.array_equal(code[0] - 1, ids[sources])
            y, x = np.mgrid[0:height, 0:width]
            assert np.array_equal(code[1], x)
            assert np.array_equal(code[2], y)
            pixels = [in_pixels(target) for target in given]
            assert ("masks" in out) == (training.kind == "segmentation")
            prov = Provenance(sources, y, x)
            records = expect_instances(prov, layers, pixels, sizes, Settings(), shown=shown, dyadic=True)
            pasted += check(out, records, given, number, (height, width))
            foreign += int((ids[sources] != ids[number]).sum())
    assert foreign > 1000
    assert pasted > 0
    assert (padded > 1000) == (training.kind == "detection")


def test_the_last_epoch_and_validation_are_not_mixed(training):
    assert training.epochs == [0, 0, 0, 1, 1, 1]
    changed = []
    for (came, given), (mixed, targets), epoch in zip(training.came, training.seen, training.epochs):
        changed.append((epoch, not torch.equal(came.tensors, mixed.tensors)))
        assert all({"visibility", "origin"} <= target.keys() for target in targets)
        if epoch == 1:
            assert all(torch.equal(out["boxes"], row["boxes"]) for out, row in zip(targets, given))
    assert (0, True) in changed
    assert (1, True) not in changed
    assert len(training.validated) >= 4
    for samples, targets in training.validated:
        for image, target in zip(samples.tensors, targets):
            height, width = target["size"].tolist()
            assert (codes(image)[0, :height, :width] == int(target["image_id"]) + 1).all()
            assert "origin" not in target


def test_its_own_callbacks_are_still_there(training):
    names = {type(callback).__name__ for callback in training.trainer.callbacks}
    assert {"COCOEvalCallback", "BestModelCallback", "MixCallback"} <= names
    assert "batch_to_device" not in vars(training.trainer.strategy)
    assert "train/loss" in training.trainer.callback_metrics
    assert torch.isfinite(training.trainer.callback_metrics["train/loss"])


def test_it_resizes_mixed_batches_to_other_scales(training):
    module = training.trainer.lightning_module
    samples, targets = make_collate_fn(block_size=24)(items()[:2])
    batch = mix_batch(samples, targets, cd.CutMix(p=1.0))
    module.train_config.multi_scale = MultiScale.PER_BATCH
    try:
        type(module).__mro__[1].on_train_batch_start(module, batch, 0)
    finally:
        module.train_config.multi_scale = MultiScale.OFF
    assert samples.tensors.shape[2] != samples.tensors.shape[3]
    assert batch[0].tensors.shape[2] == batch[0].tensors.shape[3]
    assert batch[0].mask.shape == (2, *batch[0].tensors.shape[2:])


# ---------------------------------------------------------------------------------------------------------------------
# batches of its collate, without a training


def items():
    rows = []
    for number, (height, width) in enumerate(SIZES[:4]):
        box = torch.tensor([[30.0, 40, 20, 24], [60, 50, 30, 20]]) / torch.tensor([width, height, width, height])
        boxes = box[: 0 if number == 3 else 2]
        rows.append((coded_image(number, height, width), {
            "boxes": boxes, "labels": torch.arange(len(boxes)), "image_id": torch.tensor([number]),
            "area": torch.full((len(boxes),), 480.0), "iscrowd": torch.zeros(len(boxes), dtype=torch.long),
            "orig_size": torch.tensor([height, width]), "size": torch.tensor([height, width]),
        }))  # fmt: skip
    return rows


@pytest.mark.parametrize("pack", [False, True])
def test_packed_targets_are_read_as_plain_ones(pack):
    samples, targets = make_collate_fn(block_size=32, pack=pack)(items())
    assert (type(targets).__name__ == "PackedTargets") == pack
    mixed, out = mix_batch(samples, targets, cd.CutMix(p=1.0), generator=torch.Generator().manual_seed(1))
    assert type(mixed) is NestedTensor
    assert mixed.no_padding is False
    assert torch.equal(mixed.mask, samples.mask)
    for image, mask in zip(mixed.tensors, samples.mask):
        assert (image[0, ~mask] > 0).all()
        assert not image[:, mask].any()
    assert any((target["origin"][:, 0] != number).any() for number, target in enumerate(out))


def test_rows_padded_for_compiled_graphs_are_refused():
    batch = make_collate_fn(pad_targets_to=5)(items())
    with pytest.raises(ValueError, match="pad_targets_to=None"):
        mix_batch(*batch, cd.CutMix(p=1.0))


def test_keypoints_are_shares_as_its_transforms_leave_them():
    from rfdetr.datasets.transforms import Normalize

    rows = []
    for image, target in items():
        height, width = target["size"].tolist()
        boxes = torch.tensor([[20.0, 28, 40, 52], [45, 40, 75, 60]])[: len(target["boxes"])]
        points = torch.cat([boxes.unflatten(1, (2, 2)) + 0.5, torch.full((len(boxes), 2, 1), 2.0)], dim=2)
        _, target = Normalize(mean=(0, 0, 0), std=(1, 1, 1))(image, {**target, "boxes": boxes, "keypoints": points})
        rows.append((image, target))
    samples, targets = make_collate_fn()(rows)
    mixed, out = mix_batch(samples, targets, cd.CutMix(p=1.0), generator=torch.Generator().manual_seed(4))
    shown = 0
    for image, target in zip(mixed.tensors, out):
        height, width = target["size"].tolist()
        for points, (source, row) in zip(target["keypoints"], target["origin"].tolist()):
            for (x, y, visible), was in zip(points.tolist(), rows[source][1]["keypoints"][row].tolist()):
                x, y = int(x * width), int(y * height)
                if visible:
                    assert image[:, y, x].tolist() == [source + 1, x, y]
                    assert (x, y) == (int(was[0] * SIZES[source][1]), int(was[1] * SIZES[source][0]))
                    shown += source != int(target["image_id"])
    assert shown > 0


@pytest.mark.parametrize("flips", [False, True])
def test_padded_batches_behind_kornia_have_shares_of_the_frame(flips):
    pytest.importorskip("kornia")
    from rfdetr.datasets.kornia_transforms import build_kornia_pipeline, build_normalize

    model = rfdetr.config.RFDETRNanoConfig(pretrain_weights=None, device="cpu", resolution=RESOLUTION)
    data = rfdetr.training.RFDETRDataModule(model, rfdetr.config.TrainConfig(dataset_dir="none"))
    data._kornia_pipeline = build_kornia_pipeline({"HorizontalFlip": {"p": 1.0}} if flips else {}, RESOLUTION, True)
    data._kornia_normalize, data.trainer = build_normalize(), SimpleNamespace(training=True)
    rows = []
    for image, target in items():
        boxes = torch.tensor([[20.0, 28, 40, 52], [45, 40, 75, 60]])[: len(target["boxes"])]
        rows.append((image / 255, {**target, "boxes": boxes}))
    samples, targets = data.on_after_batch_transfer(make_collate_fn(block_size=32)(rows), 0)
    mix = cd.CutMix(p=1.0, box_format="cxcywh", normalized="frame")
    if flips:
        with pytest.raises(ValueError, match="right and bottom only"):
            mix_batch(samples, targets, mix)
        return
    judged = 0
    for seed in range(8):
        mixed, out = mix_batch(samples, targets, mix, generator=torch.Generator().manual_seed(seed))
        height, width = mixed.tensors.shape[2:]
        for image, target in zip(mixed.tensors, out):
            code, whole = codes(image), target["visibility"] == 1
            for box, (source, row) in zip(target["boxes"][whole], target["origin"][whole].tolist()):
                x, y = int(box[0] * width), int(box[1] * height)
                wanted = rows[source][1]["boxes"][row]
                assert code[:, y, x].tolist() == [source + 1, x, y]
                assert (x, y) == (int(wanted[0::2].mean()), int(wanted[1::2].mean()))
                judged += source != int(target["image_id"])
    assert judged > 0
