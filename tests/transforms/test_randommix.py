"""RandomMix: one form for all batches, refused arguments."""

from __future__ import annotations

import pickle

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.transforms.single import mix_single


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def targets() -> list[dict]:
    return [{"boxes": torch.tensor([[1.0, 1, 9, 9]]), "labels": torch.tensor([1])} for _ in range(3)]


def test_instances_carry_weight_whatever_is_drawn():
    mix = cd.RandomMix([cd.MixUp(p=1.0), cd.StripeMix(p=1.0), cd.CutMix(p=0.0)])
    for seed in range(12):
        _, out = mix(torch.zeros(3, 1, 12, 15), targets(), generator=seeded(seed))
        assert all("weight" in t and len(t["weight"]) == len(t["boxes"]) for t in out)
    plain = cd.RandomMix([cd.StripeMix(p=1.0), cd.CutMix(p=1.0)])
    _, out = plain(torch.zeros(3, 1, 12, 15), targets(), generator=seeded(0))
    assert all("weight" not in t for t in out)


PANOPTIC = [
    {"panoptic": torch.ones(20, 30).int(), "segments_info": [{"id": 1, "category_id": 7, "isthing": False}]}
] * 2


@pytest.mark.parametrize(
    ("mix", "who"),
    [
        (cd.RandomMix([cd.CutMix(p=1.0), cd.MixUp(p=1.0)], weights=[1e9, 1]), "RandomMix holds MixUp, which"),
        (cd.RandomMix([cd.CutMix(p=1.0), cd.Affine()], weights=[1e9, 1]), "RandomMix holds Affine, which"),
        (cd.RandomMix([cd.CutMix(), cd.RandomMix([cd.MixUp(), cd.Affine()])]), "RandomMix holds MixUp and Affine,"),
        (cd.RandomMix([cd.MixUp(), cd.CutMix()], windows=[(50, 60), None]), "RandomMix holds MixUp, which"),
        (cd.Chain([cd.CutMix(p=1.0), cd.MixUp(p=1.0)]), "Chain holds MixUp, which"),
        (cd.MixUp(p=1.0), "^MixUp"),
        (cd.Affine(), "^Affine"),
    ],
)
@pytest.mark.parametrize("form", ["targets", "pairs", "dicts", "dict", "beside labels"])
def test_panoptic_maps_are_refused_by_the_name_of_the_method_before_anything_is_drawn(mix, who, form):
    images = torch.rand(2, 3, 20, 30)
    given = {
        "targets": (images, PANOPTIC),
        "pairs": (list(zip(images, PANOPTIC)),),
        "dicts": ([{"image": image, **target} for image, target in zip(images, PANOPTIC)],),
        "dict": ({"image": images, **{key: [target[key] for target in PANOPTIC] for key in PANOPTIC[0]}},),
        "beside labels": (images, {"targets": PANOPTIC, "labels": torch.rand(2, 3)}),
    }[form]
    generator, untouched = seeded(0), seeded(0)
    message = (
        f"{who}.* can't mix panoptic maps, got targets with 'panoptic': leave .* out, or give 'masks' and 'labels'"
    )
    with pytest.raises(ValueError, match=message):
        mix(*given, generator=generator)
    assert torch.equal(generator.get_state(), untouched.get_state())


def test_plans_of_panoptic_maps_are_refused_before_anything_is_drawn():
    mix, images = cd.RandomMix([cd.CutMix(p=1.0), cd.MixUp(p=1.0)], weights=[1e9, 1]), torch.rand(2, 3, 20, 30)
    for call in (mix.make_plan, mix.pool_of, lambda *given: mix_single(mix, *given, seeded(0))):
        with pytest.raises(ValueError, match="RandomMix holds MixUp, which can't mix panoptic maps"):
            call(images, PANOPTIC)


def test_panoptic_maps_are_mixed_where_no_transform_that_refuses_them_may_be_drawn():
    images = torch.rand(2, 3, 20, 30)
    assert cd.RandomMix([cd.CutMix(p=1.0), cd.MixUp(p=1.0)], weights=[1, 0])(images, PANOPTIC)[1][0]["segments_info"]
    named = cd.MixUp(p=1.0, semantic_keys=("panoptic",), image_keys=("segments_info",))
    assert cd.RandomMix([named])(images, PANOPTIC)[1][0]["panoptic"].weight is not None
    masks = [{"masks": torch.ones(1, 20, 30).bool(), "labels": torch.tensor([7])}] * 2  # the remedy works
    assert len(cd.MixUp(p=1.0)(images, masks)[1][0]["labels"]) == 2


def test_the_arguments_reach_the_transform():
    mix = cd.RandomMix([cd.CutMix(p=1.0)])
    images = torch.rand(3, 1, 12, 15)
    out = torch.empty_like(images)
    sizes = torch.tensor([[12, 15], [8, 10], [9, 9]])
    result, _, report = mix(images, targets(), sizes=sizes, out=out, return_report=True, generator=seeded(0))
    assert result.data_ptr() == out.data_ptr()
    assert len(report) >= 3


def test_the_schedule_survives_a_pickle():
    mix = cd.RandomMix([cd.MixUp(p=1.0, lam=0.5)], total=4, close_last=2)
    mix.set_progress(3)
    twin = pickle.loads(pickle.dumps(mix))
    images = torch.rand(3, 1, 6, 7)
    assert torch.equal(twin(images, generator=seeded(0)), images)


def test_without_a_generator_calls_differ():
    mix = cd.RandomMix([cd.MixUp(p=1.0), cd.CutMix(p=1.0)])
    images = torch.rand(3, 1, 12, 15)
    outs = [mix(images) for _ in range(4)]
    assert any(not torch.equal(outs[0], out) for out in outs[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        {"transforms": [cd.CutMix()], "weights": [1.0, 2.0]},
        {"transforms": [cd.CutMix()], "weights": [0.0]},
        {"transforms": [cd.CutMix()], "weights": [-1.0]},
        {"transforms": [cd.CutMix()], "weights": [float("nan")]},
        {"transforms": [cd.CutMix()], "close_last": 2},
        {"transforms": [cd.CutMix()], "total": 3, "close_last": 4},
        {"transforms": [cd.CutMix()], "total": 3, "close_last": -1},
        {"transforms": [cd.CutMix()], "total": 3, "close_last": 1.5},
        {"transforms": [cd.CutMix()], "total": 3, "close_last": True},
        {"transforms": [cd.CutMix()], "total": "10", "close_last": 2},
        {"transforms": [cd.CutMix()], "total": "10"},
        {"transforms": [cd.CutMix()], "total": -1},
        {"transforms": [cd.CutMix()], "total": float("inf")},
    ],
)
def test_bad_values(arguments: dict):
    with pytest.raises(ValueError, match=f"^{list(arguments)[-1]} must|^total must"):
        cd.RandomMix(**arguments)


@pytest.mark.parametrize("transforms", [[], [torch.nn.Identity()], [cd.CutMix]])
def test_bad_transforms(transforms: list):
    with pytest.raises(TypeError, match="transforms"):
        cd.RandomMix(transforms)


@pytest.mark.parametrize("several", [cd.RandomMix, cd.Chain])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("layout", {"layout": "BTCHW"}),
        ("box_format", {"box_format": "xywh"}),
        ("normalized", {"normalized": True}),
        ("normalized", {"normalized": "frame"}),
        ("labels_getter", {"labels_getter": lambda batch: batch["y"]}),
    ],
)
def test_transforms_read_a_batch_alike(several, name, settings):
    other = cd.CutMix(**settings)
    for given in ([other, cd.StripeMix()], [cd.StripeMix(), cd.RandomMix([other])], [cd.Chain([cd.MixUp()]), other]):
        with pytest.raises(ValueError, match=f"transforms must be of one {name}, got .*: give the same to all"):
            several(given)
    assert getattr(several([other, cd.RandomMix([cd.StripeMix(**settings)])]).members[1], name) == settings[name]


def test_every_transform_finds_an_object_in_the_format_of_all():
    images = torch.zeros(2, 1, 32, 48)
    images[:, :, 4:12, 20:40] = 1
    objects = [{"boxes": torch.tensor([[20.0, 4, 20, 8]]), "labels": torch.tensor([1])}] * 2
    mix = cd.RandomMix([cd.CutMix(p=1.0, box_format="xywh"), cd.StripeMix(p=1.0, box_format="xywh")])
    for seed in range(8):
        _, mixed = mix(images, objects, generator=seeded(seed))
        x, y, width, height = mixed[0]["boxes"].T
        ends = [x.min(), y.min(), (x + width).max(), (y + height).max()]
        assert ends == [20, 4, 40, 12]  # both images have the object at one place
