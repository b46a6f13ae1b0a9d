"""Recipes: their windows and figures are the published ones, named with file and line, and pixels are mixed so."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.build import from_config

BOXES = torch.tensor([[4.0, 4, 20, 16], [22, 8, 44, 28]])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 4, size: tuple[int, int] = (32, 48)) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    images = torch.rand(count, 3, *size, generator=seeded(0))
    return images, [{"boxes": BOXES.clone(), "labels": torch.tensor([k, k])} for k in range(count)]


def parts(chain: cd.Chain) -> dict[str, tuple[Any, Any]]:
    """Every transform of a chain by its class, with its window; None: always."""
    found = {}
    for stage in chain.stages:
        members = stage.transforms if isinstance(stage, cd.RandomMix) else [stage]
        windows = stage.windows if isinstance(stage, cd.RandomMix) else [None]
        found |= {type(member).__name__: (member, window) for member, window in zip(members, windows)}
    return found


# epochs, no_aug: policy.epoch [start, flat, stop], mixup_epochs, copyblend_epochs; DEIMv2 (0fff8d4), configs/deimv2
DEIMV2 = [
    (58, None, [4, 29, 50], [4, 29], [4, 50]),  # ../base/deimv2.yml 82, 108, 115, 119; deimv2_dinov3_x_coco.yml 80-85
    (68, None, [4, 34, 60], [4, 34], [4, 60]),  # deimv2_dinov3_l_coco.yml 36, 85, 88, 90
    (102, None, [4, 49, 90], [4, 49], [4, 90]),  # deimv2_dinov3_m_coco.yml 58, 83, 89, 91
    (132, None, [4, 64, 120], [4, 64], [4, 120]),  # deimv2_dinov3_s_coco.yml 60, 84, 91, 93
]


@pytest.mark.parametrize(("epochs", "no_aug", "policy", "mixup", "copyblend"), DEIMV2)
def test_windows_of_deimv2(epochs, no_aug, policy, mixup, copyblend):
    found = parts(cd.recipes.dense_o2o(epochs, no_aug=no_aug))
    assert found["Mosaic"][1] == tuple(policy[:2])
    assert found["MixUp"][1] == tuple(mixup)
    assert found["CopyPaste"][1] == tuple(copyblend) == (policy[0], policy[2])


def test_windows_of_deim_on_rtdetrv2_and_of_rtdetrv4():
    # DEIM (a9aa4ad), configs/deim_rtdetrv2/deim_r50vd_60e_coco.yml 23-36: [4, 34, 58], mixup [4, 34], no CopyBlend
    found = parts(cd.recipes.dense_o2o(60, flat=34, no_aug=2, copyblend=0))
    assert (found["Mosaic"][1], found["MixUp"][1]) == ((4, 34), (4, 34))
    assert "CopyPaste" not in found
    # RT-DETRv4 (df44122), configs/rtv4/rtv4_hgnetv2_m_coco.yml 43-55: 102 epochs, [4, 49, 90], mixup [4, 49]
    found = parts(cd.recipes.dense_o2o(102, copyblend=0))
    assert (found["Mosaic"][1], found["MixUp"][1]) == ((4, 49), (4, 49))


def test_figures_of_dense_o2o():
    chain = cd.recipes.dense_o2o()
    found = parts(chain)
    mosaic, affine, mixup, paste = (found[name][0] for name in ("Mosaic", "Affine", "MixUp", "CopyPaste"))
    # deimv2.yml 95-96: output_size 320 of 640, rotation 10, translation 0.1, scaling 0.5-1.5, fill 0; 110: p 0.5
    assert (mosaic.grid, mosaic.jitter, mosaic.scale, mosaic.p, mosaic.fill) == ((2, 2), 0, (0.5, 0.5), 0.5, 0)
    assert (affine.degrees, affine.translate, affine.scale, affine.shear) == (10, 0.1, (0.5, 1.5), 0)
    assert (affine.fill, affine.p, affine.of) == (0, 1, "mixed")
    # engine/data/dataloader.py 174: beta of U(0.45, 0.55), one per batch; 178: the batch rolled by one
    assert (mixup.weight, mixup.same_weight, mixup.pairing, mixup.p) == ((0.45, 0.55), True, "roll", 1)
    # deimv2.yml 118-123: num_objects 3, area_threshold 100, expand_ratios 0.1-0.25; dataloader.py 170, 306: 1 - beta;
    # 231-243: any objects of the batch; 273-276: a random place within the image
    assert (paste.source, paste.instances, paste.place) == ("batch", 3, "random")
    assert (paste.context, paste.size_weights) == ((0.1, 0.25), {0: 0, 10: 1})
    assert (paste.blend, paste.p) == ((0.45, 0.55), 1)
    # deimv2.yml 114, 118: MixUp for half of the batches, else (dataloader.py 197) CopyBlend for half
    blend = chain.stages[2]
    assert (blend.weights, blend.idle) == ([0.5, 0.25], 0.25)
    assert chain.closed is False


def test_how_often_each_part_mixes():
    chain = cd.recipes.dense_o2o(58)
    images, targets = batch()
    counts = {}
    for epoch in (3, 4, 28, 29, 49, 50):
        chain.set_progress(epoch)
        mosaics = (
            sum(
                int(chain.stages[0].make_plan(images, targets, generator=seeded(s)).source[:, 1].ge(0).sum())
                for s in range(50)
            )
            / 200
        )
        drawn = [chain.stages[2].choose(seeded(seed)) for seed in range(300)]
        blends = [
            sum(type(one).__name__ == name and not one.closed for one in drawn) / 300 for name in ("MixUp", "CopyPaste")
        ]
        counts[epoch] = [mosaics, *blends]
    for epoch, expected in {
        3: (0, 0, 0),
        4: (0.5, 0.5, 0.25),
        28: (0.5, 0.5, 0.25),
        29: (0, 0, 0.5),
        49: (0, 0, 0.5),
        50: (0, 0, 0),
    }.items():
        assert counts[epoch] == pytest.approx(expected, abs=0.1), epoch


def test_weights_of_the_instances_are_the_shares_of_their_pixels():
    """As in DEIM's ``mixup`` (dataloader.py 191, 318): beta and 1 - beta for MixUp, 1 and 1 - beta for CopyBlend."""
    chain = cd.recipes.dense_o2o(58, mosaic=0)
    chain.set_progress(5)
    images, targets = batch(size=(96, 144))
    kinds, compared = set(), 0
    for seed in range(30):
        mixed, after = chain(images, targets, generator=seeded(seed))
        base, pasted = after[1]["weight"][:2], after[1]["weight"][2:]
        if not len(pasted):
            assert torch.equal(mixed, images)
            kinds.add("none")
        elif (base == 1).all():
            assert ((pasted >= 0.45) & (pasted <= 0.55)).all()
            boxes, origin = after[1]["boxes"][2:], after[1]["origin"][2:].tolist()
            wide = torch.cat([boxes[:, :2] - 8, boxes[:, 2:] + 8], dim=1)  # a quarter more on every side, at most
            meets = (wide[:, None, :2] < wide[:, 2:]).all(dim=2) & (wide[:, None, 2:] > wide[:, :2]).all(dim=2)
            for row, (other, place) in enumerate(origin):
                if meets[row].sum() == 1 and after[1]["visibility"][2 + row] == 1:
                    (x0, y0, x1, y1), (u0, v0, u1, v1) = boxes[row].int().tolist(), BOXES[place].int().tolist()
                    own, given = images[1][:, y0:y1, x0:x1], images[other][:, v0:v1, u0:u1]
                    torch.testing.assert_close(mixed[1][:, y0:y1, x0:x1], own + pasted[row] * (given - own))
                    compared += 1
            assert len(pasted) <= 3
            kinds.add("copyblend")
        else:
            torch.testing.assert_close(base[0] + pasted[0], torch.tensor(1.0))
            torch.testing.assert_close(mixed[1], base[0] * images[1] + pasted[0] * images[0])
            kinds.add("mixup")
    assert kinds == {"none", "copyblend", "mixup"}
    assert compared > 3


def test_figures_of_yolox():
    # yolox_base.py (6ddff48) 51, 53, 59-67, 73, 82; mosaicdetection.py 86 (centre), 95 (fit), 232 (0.5 and 0.5)
    found = parts(cd.recipes.yolox())
    mosaic, affine, mixup = (found[name][0] for name in ("Mosaic", "Affine", "MixUp"))
    assert (mosaic.p, mosaic.expand, mosaic.scale, mosaic.jitter, mosaic.size) == (1, 2, (0.5, 0.5), 0.5, (640, 640))
    assert (affine.degrees, affine.translate, affine.shear, affine.scale) == (10, 0.1, 2, (0.1, 2))
    assert (affine.anchor, affine.size, affine.fill, mosaic.fill) == ("corner", (640, 640), None, None)
    assert (mixup.lam, mixup.p) == (0.5, 1)
    assert found["Mosaic"][1] == found["MixUp"][1] == (0, 285)
    # exps/default/yolox_tiny.py 16, 20; yolox_nano.py 19, 21, 22
    for model, p in (("tiny", 1.0), ("nano", 0.5)):
        found = parts(cd.recipes.yolox(model=model))
        assert (found["Mosaic"][0].p, found["Affine"][0].scale) == (p, (0.5, 1.5))
        assert "MixUp" not in found


# docs/en/guides/yolo26-training-recipe.md (06ebee1): "epochs" and the table of "Augmentation Pipeline"
YOLO26 = {
    "n": (245, 0.909, 0.012, 0.075, 0.562, 0.071, 1.11, 1.46),
    "s": (70, 0.992, 0.05, 0.404, 0.9, 0.275, 0, 0),
    "m": (80, 0.992, 0.427, 0.304, 0.95, 0.275, 0, 0),
    "l": (60, 0.992, 0.427, 0.404, 0.95, 0.275, 0, 0),
    "x": (40, 0.992, 0.427, 0.404, 0.95, 0.275, 0, 0),
}


@pytest.mark.parametrize("model", YOLO26)
def test_figures_of_yolo26(model):
    epochs, mosaic, mixup, paste, scale, translate, degrees, shear = YOLO26[model]
    found = parts(cd.recipes.yolo26(model=model, masks=True))
    affine = found["Affine"][0]
    assert [found[name][0].p for name in ("Mosaic", "MixUp", "CopyPaste")] == [mosaic, mixup, paste]
    # ultralytics 8.4.190, data/augment.py: 831 Beta(32, 32); 2017 mirrored, 2020 below 0.3; 2882-2884 the order; 520
    # the centre of a mosaic in the middle half
    assert (found["MixUp"][0].alpha, found["MixUp"][0].weight) == (32, None)
    pasted = found["CopyPaste"][0]
    assert (pasted.source, pasted.flip, pasted.overlap, pasted.blend) == ("self", 1, 0.3, "hard")
    assert list(found) == ["Mosaic", "CopyPaste", "Affine", "MixUp"]
    assert (found["Mosaic"][0].expand, found["Mosaic"][0].jitter) == (2, 0.5)
    assert affine.scale == pytest.approx((1 - scale, 1 + scale))
    assert (affine.translate, affine.degrees, affine.shear, affine.of) == (translate, degrees, shear, "all")
    assert {found[name][1] for name in ("Mosaic", "MixUp", "CopyPaste")} == {(0, epochs - 10)}  # close_mosaic=10
    assert parts(cd.recipes.yolo26(100, model))["Mosaic"][1] == (0, 90)
    few = parts(cd.recipes.yolo26(100, model, few_images=True, masks=True))  # "Small datasets (< 1,000 images)"
    assert few["Mosaic"][0].p == 0.5
    assert set(few) == {"Mosaic", "Affine"}
    assert "CopyPaste" not in parts(cd.recipes.yolo26(model=model))


def test_figures_of_lightly():
    # lightly-train (8f5a75c), _task_models/ltdetr_object_detection/transforms.py 149, 161-165, 177-184; copyblend.py 53
    chain = cd.recipes.lightly(window=(10, 50), copyblend_window=(10, 80))
    found = parts(chain)
    paste = found["CopyPaste"][0]
    assert (found["Mosaic"][0].p, paste.instances, paste.context) == (0.5, 3, (0.1, 0.25))
    assert paste.size_weights == {0: 0, 10: 1}  # area_threshold 100
    affine = found["Affine"][0]
    assert (affine.degrees, affine.scale, affine.translate, affine.fill) == (10, (0.5, 1.5), 0.1, 0)
    assert [found[name][1] for name in ("Mosaic", "MixUp", "CopyPaste")] == [(10, 50), (10, 50), (10, 80)]
    assert chain.stages[2].weights == [0.5, 0.25]
    assert paste.blend == found["MixUp"][0].weight == (0.45, 0.55)  # copyblend.py 53, mixup.py 21
    # transforms.py 406, 412; ltdetr_transforms/object_detection.py 325: CopyBlend where MixUp isn't drawn
    second = cd.recipes.lightly(window=(10, 50), copyblend_window=(10, 80), model="ltdetrv2")
    assert parts(second)["Mosaic"][0].p == 0.75
    assert second.stages[2].weights == [0.75, 0.125]


# epochs: start, step_flat, step_stop in epochs; object_detection_components/ltdetr_schedule.py 77-100
LIGHTLY = [(72, 4, 40, 60), (200, 4, 104, 188), (36, 4, 22, 30), (13, 4, 10, 11), (12, 4, 10, 10), (6, 2, 5, 5)]


@pytest.mark.parametrize(("epochs", "start", "flat", "stop"), LIGHTLY)
def test_windows_of_lightly(epochs, start, flat, stop):
    found = parts(cd.recipes.lightly(epochs))
    assert [found[name][1] for name in ("Mosaic", "MixUp", "CopyPaste")] == [
        (start, flat),
        (start, flat),
        (start, stop),
    ]
    assert parts(cd.recipes.lightly(epochs, window=(1, 2)))["MixUp"][1] == (1, 2)


MADE = {
    "dense_o2o": {},
    "yolox": {"size": (40, 56)},
    "yolo26": {"size": (40, 56), "masks": True},
    "lightly": {"window": (4, 9), "copyblend_window": (4, 12)},
}


@pytest.mark.parametrize("name", MADE)
def test_batches_without_objects_pass_through_every_recipe(name):
    """And batches whose only object may leave the view on its way."""
    mix = from_config({"type": name, **MADE[name]})
    mix.set_progress(6)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    small = {"boxes": torch.tensor([[30.0, 24.0, 36.0, 30.0]]), "labels": torch.tensor([3])}
    left = 0
    for seed in range(40):
        images = torch.rand(2, 3, 32, 48, generator=seeded(seed))
        _, after = mix(images, [nothing, small if seed % 2 else nothing], generator=seeded(seed))
        left += sum(len(target["boxes"]) for target in after)
    assert left > 5


@pytest.mark.parametrize("name", MADE)
def test_every_recipe_mixes_and_closes(name):
    mix = from_config({"type": name, **MADE[name]})
    size = mix.size or (32, 48)
    images, targets = batch(5)
    mix.set_progress(6)
    assert mix.scheduled
    found = 0
    for seed in range(4):
        mixed, after = mix(images, targets, generator=seeded(seed))
        assert mixed.shape == (5, 3, *size)
        again, _ = mix(images, targets, generator=seeded(seed))
        assert torch.equal(mixed, again)
        for target in after:
            boxes, others = target["boxes"], target["origin"][:, 0]
            found += len(others.unique()) > 1
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert (boxes >= 0).all()
            assert (boxes[:, 2:] <= torch.tensor(size[::-1])).all()
            assert torch.equal(
                target["labels"], torch.tensor([targets[k]["labels"][0] for k in others.tolist()]).long()
            )
    assert found > 4
    for twin in (copy.deepcopy(mix), pickle.loads(pickle.dumps(mix))):
        repeated = twin(images, targets, generator=seeded(1))
        assert torch.equal(repeated[0], mix(images, targets, generator=seeded(1))[0])
    restored = from_config({"type": name, **MADE[name]})
    restored.load_state_dict(mix.state_dict())
    assert torch.equal(restored(images, targets, generator=seeded(1))[0], mix(images, targets, generator=seeded(1))[0])
    mix.set_progress(10**6)
    closed, after = mix(images, targets, generator=seeded(1))
    assert set(after[0]) == set(target)
    if name in ("dense_o2o", "lightly"):
        assert torch.equal(closed, images)
    assert all(len(row["origin"][:, 0].unique()) <= 1 for row in after)


def test_a_closed_yolox_fits_images_into_the_size():
    mix = cd.recipes.yolox(10, size=(64, 64), no_aug=2, interpolation="nearest")
    mix.set_progress(8)
    images = torch.rand(2, 3, 32, 64)
    closed = mix(images)
    assert torch.equal(closed[:, :, :32], images)
    assert (closed[:, :, 32:] == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cd.recipes.dense_o2o(3), "start <= flat"),
        (lambda: cd.recipes.dense_o2o(flat=55), "start <= flat"),
        (lambda: cd.recipes.dense_o2o(mosaic=2), "mosaic"),
        (lambda: cd.recipes.yolox(10), "no_aug"),
        (lambda: cd.recipes.yolox(model="xl"), "model"),
        (lambda: cd.recipes.yolo26(model="xl"), "model"),
        (lambda: cd.recipes.lightly(window=(5, 2), copyblend_window=(0, 1)), "windows"),
        (lambda: cd.recipes.lightly(window=(0, 2), copyblend_window=(0, 1), model="x"), "model"),
        (lambda: cd.recipes.lightly(window=(0, 2)), "copyblend_window must be given"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_parts_can_be_left_out():
    assert set(parts(cd.recipes.dense_o2o(mixup=0, copyblend=0))) == {"Mosaic", "Affine"}
    assert set(parts(cd.recipes.dense_o2o(mixup=0))) == {"Mosaic", "Affine", "CopyPaste"}
    shares = np.array([cd.recipes.dense_o2o(mixup=1).stages[2].weights]).ravel()
    assert shares.tolist() == [1, 0]


def single(value: int) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    """A batch of one, whose pixels all hold its label."""
    return torch.full((1, 1, 48, 64), float(value)), [{"boxes": BOXES.clone(), "labels": torch.tensor([value, value])}]


def test_an_empty_bank_reaches_the_mosaic():
    assert parts(cd.recipes.lightly(72, pairing=(bank := cd.SampleBank())))["Mosaic"][0].pairing is bank
    bank = cd.SampleBank(max_samples=5)
    mix = cd.recipes.dense_o2o(58, pairing=bank, mosaic=1, mixup=0, copyblend=0)
    assert parts(mix)["Mosaic"][0].pairing is bank
    mix.set_progress(5)
    for value in range(1, 12):
        mixed, after = mix(*single(value), generator=seeded(value))
        assert len(bank) == min(value, 5)
    assert len(mixed.unique()) > 2
    assert len(after[0]["labels"].unique()) > 1


BANKED = {
    "dense_o2o": {"epochs": 58, "start": 0},
    "lightly": {"window": (0, 9), "copyblend_window": (0, 9)},
    "yolox": {"size": (48, 64)},
    "yolo26": {"model": "m", "size": (48, 64), "masks": True},
}


@pytest.mark.parametrize("name", BANKED)
def test_batches_of_one_are_mixed_by_banks_of_every_stage(name):
    """The given bank holds what came in, those behind it what their transforms got."""
    bank = cd.SampleBank(max_samples=9, max_bytes=2**24)
    mix = getattr(cd.recipes, name)(pairing=bank, **BANKED[name])
    banks = [{member.pairing for member in stage.members if member.banked} for stage in mix.stages]
    blends = [kinds for kinds in banks if kinds]
    assert [len(kinds) for kinds in blends] == [1, 1]
    assert blends[0] == {bank}
    assert not blends[1] & blends[0]
    assert str(next(iter(blends[1]))) == str(bank)
    several = 0
    for value in range(1, 30):
        images, targets = single(value)
        targets[0]["masks"] = torch.zeros(2, 48, 64, dtype=torch.bool)
        targets[0]["masks"][0, 4:16, 4:20] = targets[0]["masks"][1, 8:28, 22:44] = True
        _, after = mix(images, targets, generator=seeded(value))
        several += len(after[0]["labels"].unique()) > 1
        assert [float(image.unique()) for image, _ in bank._samples] == list(range(max(1, value - 8), value + 1))
        assert set(after[0]["labels"].tolist()) <= set(range(1, value + 1))
    assert several > 8


@pytest.mark.parametrize("pairing", ["bank", "swap", None])
@pytest.mark.parametrize("name", BANKED)
def test_a_pairing_by_name_is_that_of_all_partners(name, pairing):
    found = parts(getattr(cd.recipes, name)(pairing=pairing, **BANKED[name]))
    for part in ("Mosaic", "MixUp"):
        member = found[part][0]
        if pairing is None:
            assert member.pairing == ("shuffle" if part == "Mosaic" and "size" not in BANKED[name] else "roll")
        else:
            assert member.banked if pairing == "bank" else member.pairing == pairing


@pytest.mark.parametrize("name", BANKED)
def test_fill_is_that_of_every_transform(name):
    settings = {key: value for key, value in BANKED[name].items() if key != "masks"}
    mix = getattr(cd.recipes, name)(fill=114, **settings)
    assert {member.fill for member in mix.members} == {114}
    images = torch.full((4, 1, 48, 64), 7, dtype=torch.uint8)
    targets = [{"boxes": BOXES.clone(), "labels": torch.tensor([1, 2])}] * 4
    shown = torch.cat([mix(images, targets, generator=seeded(seed))[0].flatten() for seed in range(8)])
    assert (int(shown.min()), int(shown.max())) == (7, 114)
    plain = {member.fill for member in getattr(cd.recipes, name)(**settings).members}
    assert plain == ({0, None} if "size" in settings else {0})


@pytest.mark.parametrize("name", BANKED)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 0.7}, "sets 'p' itself where a transform has it, got 0.7: change it in the transform"),
        ({"scale": (0.5, 1)}, "sets 'scale' itself"),
        ({"lam": 0.3, "box_format": "xywh"}, "sets 'lam' itself"),
        ({"instances": 2}, "sets 'instances' itself"),
        ({"min_visibilty": 0.3}, "has no setting 'min_visibilty': did you mean 'min_visibility'"),
        ({"epoch": 3}, "has no setting 'epoch': did you mean 'epochs'"),
    ],
)
def test_what_a_recipe_sets_itself_is_refused_by_name(name, settings, message):
    with pytest.raises(TypeError, match=f"^{name} {message}"):
        getattr(cd.recipes, name)(**BANKED[name], **settings)
