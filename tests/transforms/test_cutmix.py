"""CutMix as people use it: after collate, as collate_fn, in a Compose, in a loader; and what it refuses."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

import cutmix_dense as cd
from cutmix_dense.regions import AreaBox, MultiBox, ObjectBox

HEIGHT, WIDTH = 24, 36


def image_of(index, height=HEIGHT, width=WIDTH):
    return torch.full((3, height, width), index, dtype=torch.uint8)


def target_of(index, height=HEIGHT, width=WIDTH):
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[0, 4:16, 6:20] = True
    return {
        "boxes": tv_tensors.BoundingBoxes([[6.0, 4, 20, 16]], format="XYXY", canvas_size=(height, width)),
        "labels": torch.tensor([index + 1]),
        "masks": tv_tensors.Mask(mask),
        "image_id": index,
    }


def batch_of(count=4):
    return torch.stack([image_of(i) for i in range(count)]), [target_of(i) for i in range(count)]


class Pairs(torch.utils.data.Dataset):
    def __init__(self, sizes=((HEIGHT, WIDTH),)):
        self.sizes = sizes

    def __len__(self):
        return 10

    def __getitem__(self, index):
        size = self.sizes[index % len(self.sizes)]
        return tv_tensors.Image(image_of(index, *size)), target_of(index, *size)


def agree(images, targets):
    """Every mask lies on pixels of the image that its origin names."""
    for image, target in zip(images, targets):
        for mask, origin in zip(target["masks"], target["origin"]):
            assert mask.any()
            assert (image[0][mask.bool()] == int(origin[0])).all()


def test_everything_is_cut_by_one_plan(generator):
    images, dicts = batch_of()
    maps = torch.arange(4, dtype=torch.uint8)[:, None, None].expand(4, HEIGHT, WIDTH)
    targets = {
        "instances": dicts,
        "map": maps,
        "label": torch.arange(4),
        "confidence": maps.float(),
        "logits": maps[:, None].float().expand(-1, 5, -1, -1),
        "image_id": torch.arange(4),
    }
    mixed, out = cd.CutMix(p=1.0, num_classes=4)(images, targets, generator=generator)
    assert torch.equal(out["map"], mixed[:, 0])
    assert torch.equal(out["confidence"], mixed[:, 0].float())
    assert torch.equal(out["logits"][:, 4], mixed[:, 0].float())
    agree(mixed, out["instances"])
    for index in range(4):
        share = torch.bincount(mixed[index, 0].flatten().long(), minlength=4) / (HEIGHT * WIDTH)
        assert torch.allclose(out["label"][index], share)
    assert out["image_id"].tolist() == [0, 1, 2, 3]
    assert (mixed[:, 0] != maps).any()


@pytest.mark.parametrize("pairing", ["flip", "roll", "shuffle", "swap"])
@pytest.mark.parametrize(
    "region",
    [None, MultiBox.mixpl(), AreaBox(), AreaBox.french(), MultiBox(n=4), MultiBox.french(3), ObjectBox()],
    ids=str,
)
def test_every_region_and_pairing(pairing, region, generator):
    images, targets = batch_of(5)
    mixed, out = cd.CutMix(p=1.0, region=region, pairing=pairing)(images, targets, generator=generator)
    agree(mixed, out)
    if pairing == "swap":
        assert torch.equal(mixed[4], images[4])
    if pairing == "flip":
        assert torch.equal(mixed[2], images[2])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_flip_is_that_of_unimatch(count, generator):
    """``unimatch_v2.py``, line 175: the region of every image shows ``images.flip(0)``."""
    images, _ = batch_of(count)
    plan = cd.CutMix(p=1.0, region=AreaBox.unimatch(), pairing="flip").make_plan(images, generator=generator)
    inside = plan.owner_map()[:, None] == 1
    assert torch.equal(cd.functional.mix_pixels(images, plan), torch.where(inside, images.flip(0), images))
    assert inside.flatten(1).any(1).tolist() == [2 * index + 1 != count for index in range(count)]
    with pytest.raises(ValueError, match="flip"):
        cd.Mosaic(pairing="flip").make_plan(batch_of(4)[0])


def test_swap_exchanges_the_same_region(generator):
    images, targets = batch_of(4)
    plan = cd.CutMix(p=1.0, pairing="swap").make_plan(images, targets, generator=generator)
    owner = plan.owner_map()
    for index, partner in enumerate(plan.source[:, 1].tolist()):
        assert plan.source[partner, 1] == index
        assert torch.equal(owner[index], owner[partner])


def test_a_plan_can_be_kept_and_applied_again(generator):
    images, targets = batch_of()
    mix = cd.CutMix(p=1.0)
    plan = mix.make_plan(images, targets, generator=generator)
    first, _ = mix.apply_plan(plan, images, targets)
    second = cd.functional.mix_pixels(images, plan)
    assert torch.equal(first, second)


def test_a_generator_makes_it_repeatable_and_leaves_the_global_state_alone():
    images, _ = batch_of()
    mix = cd.CutMix(p=1.0)
    before = torch.get_rng_state()
    one = mix(images, generator=torch.Generator().manual_seed(3))
    two = mix(images, generator=torch.Generator().manual_seed(3))
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)


def mixed_rows(plan) -> list[bool]:
    return (plan.owner_map() != 0).flatten(1).any(dim=1).tolist()


FULL = AreaBox(area=(0.3, 0.3), aspect=(1, 1))
ONE_OF_TWO = cd.RandomMix([cd.GridMix(p=0.0), cd.CutMix(p=0.0, region=FULL)])


@pytest.mark.parametrize("mix", [cd.CutMix(p=0.5, region=FULL), cd.Cutout(p=0.0, region=FULL), ONE_OF_TWO], ids=repr)
def test_a_call_has_a_probability_for_each_image(mix):
    images, targets = batch_of(4)
    for seed in range(8):
        plan = mix.make_plan(images, targets, generator=seeded(seed), p=torch.tensor([0.0, 1.0, 0.0, 1.0]))
        assert mixed_rows(plan) == [False, True, False, True]
    same = mix(images, targets, generator=seeded(7), p=[0.0, 1.0, 0.0, 1.0])[0]
    assert torch.equal(same, cd.functional.mix_pixels(images, plan, fill=0))
    mix.close()
    assert torch.equal(mix(images, p=torch.ones(4)), images), "closed is closed"
    mix.close(False)


def test_a_probability_for_each_image_draws_what_one_for_all_draws():
    images, _ = batch_of(6)
    for pairing in ("roll", "swap"):
        mix = cd.CutMix(p=0.5, pairing=pairing)
        one, each = (mix.make_plan(images, generator=seeded(5), **more) for more in ({}, {"p": torch.full((6,), 0.5)}))
        assert torch.equal(one.owner_map(), each.owner_map())
        assert torch.equal(one.source, each.source)


def test_pairs_that_exchange_are_mixed_together():
    images, _ = batch_of(6)
    for seed in range(10):
        mix = cd.CutMix(pairing="swap", region=FULL)
        plan = mix.make_plan(images, generator=seeded(seed), p=torch.linspace(0, 1, 6))
        rows = mixed_rows(plan)
        for index, partner in enumerate(plan.source[:, 1].tolist()):
            assert partner < 0 or rows[partner] == rows[index]


def test_probabilities_for_each_image_are_followed():
    images = torch.zeros(2000, 1, 8, 12)
    p = torch.linspace(0, 1, 2000)
    rows = torch.tensor(mixed_rows(cd.CutMix(region=FULL).make_plan(images, generator=seeded(0), p=p))).float()
    for low in range(0, 2000, 500):
        part = slice(low, low + 500)
        assert abs(float(rows[part].mean() - p[part].mean())) < 0.09  # four standard deviations


def test_windows_that_are_closed_stay_closed_for_given_probabilities():
    mix = cd.RandomMix([cd.CutMix(p=1.0)], windows=[(3, None)])
    images, _ = batch_of(4)
    assert torch.equal(mix(images, p=torch.ones(4)), images)
    mix.set_progress(3)
    assert not torch.equal(mix(images, p=torch.ones(4)), images)


@pytest.mark.parametrize("wrong", [[0.5] * 3, [1.5, 0, 0, 0], [float("nan"), 0, 0, 0], [[0.5] * 4]])
def test_probabilities_that_are_refused(wrong):
    with pytest.raises(ValueError, match="p must"):
        cd.CutMix()(batch_of(4)[0], p=torch.tensor(wrong))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_p_is_per_sample(generator):
    images = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(200, 1, HEIGHT, WIDTH)
    plan = cd.CutMix(p=0.25).make_plan(images, generator=generator)
    applied = (plan.source[:, 1] >= 0).float()
    assert 0.15 < applied.mean() < 0.35
    assert torch.equal(cd.CutMix(p=0.0)(images), images)


def test_same_region_for_the_batch(generator):
    images, _ = batch_of(6)
    plan = cd.CutMix(p=1.0, same_region=True).make_plan(images, generator=generator)
    owner = plan.owner_map()
    assert (owner == owner[0]).all()


def test_an_unmixed_sample_has_the_same_form(generator):
    images, targets = batch_of()
    some = cd.CutMix(p=0.5)(images, targets, generator=generator)[1]
    assert len({frozenset(target) for target in some}) == 1
    for target, given in zip(cd.CutMix(p=0.0, on_filtered="ignore")(images, targets)[1], targets):
        assert set(target) == {*given, "visibility", "origin", "ignored"}
        assert torch.equal(target["boxes"], given["boxes"])
        assert torch.equal(target["masks"], given["masks"])
    labels = cd.CutMix(p=0.0, num_classes=4)(images, torch.arange(4))[1]
    assert torch.equal(labels, torch.eye(4))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("pairing", ["roll", "shuffle", "swap"])
def test_odd_batches(count, pairing, generator):
    images, targets = batch_of(count)
    mixed, out = cd.CutMix(p=1.0, pairing=pairing)(images, targets, generator=generator)
    assert mixed.shape == images.shape
    agree(mixed, out)
    if count == 1:
        assert torch.equal(mixed, images)
        assert out[0]["origin"].tolist() == [[0, 0]]


def test_lists_of_different_sizes(generator):
    sizes = [(24, 36), (30, 20), (17, 40)]
    images = [image_of(i, *size) for i, size in enumerate(sizes)]
    targets = [target_of(i, *size) for i, size in enumerate(sizes)]
    for _ in range(20):
        mixed, out = cd.CutMix(p=1.0)(images, targets, generator=generator)
        assert [tuple(image.shape[1:]) for image in mixed] == sizes
        agree(mixed, out)
        assert [target["boxes"].canvas_size for target in out] == sizes


def test_padded_batches(generator):
    sizes = torch.tensor([[24, 30], [20, 36], [18, 22]])
    images = torch.stack([image_of(i) for i in range(3)])
    for image, (height, width) in zip(images, sizes.tolist()):
        image[:, height:] = 114
        image[:, :, width:] = 114
    targets = [target_of(i) for i in range(3)]
    for _ in range(20):
        mixed, out = cd.CutMix(p=1.0)(images, targets, sizes=sizes, generator=generator)
        agree(mixed, out)
        for image, (height, width) in zip(mixed, sizes.tolist()):
            assert (image[:, height:] == 114).all()
            assert (image[:, :, width:] == 114).all()
            assert (image[:, :height, :width] != 114).all()
        assert [tuple(target["masks"].shape[1:]) for target in out] == [(HEIGHT, WIDTH)] * 3
        assert [target["boxes"].canvas_size for target in out] == [tuple(size) for size in sizes.tolist()]


def test_out_and_inplace(generator):
    images, targets = batch_of()
    maps = images[:, 0].clone()
    mix = cd.CutMix(p=1.0, pairing="swap")
    plan = mix.make_plan(images, generator=generator)
    expected, expected_targets = mix.apply_plan(plan, images, {"a": targets, "b": maps})
    buffer = torch.empty_like(images)
    assert mix.apply_plan(plan, images, out=buffer)[0] is buffer
    assert torch.equal(buffer, expected)
    mixed, out = mix.apply_plan(plan, images, {"a": targets, "b": maps}, inplace=True)
    assert mixed is images
    assert out["b"] is maps
    assert torch.equal(images, expected)
    assert torch.equal(maps, expected_targets["b"])
    assert out["a"][0]["boxes"] is not targets[0]["boxes"]


def test_nothing_is_half_mixed_in_place(generator):
    images, targets = batch_of()
    maps = images[:, 0].clone()
    before, maps_before = images.clone(), maps.clone()
    targets[3]["boxes"] = torch.full((1, 4), torch.nan)
    with pytest.raises(ValueError, match="must be finite"):
        cd.CutMix(p=1.0)(images, {"map": maps, "instances": targets}, inplace=True, generator=generator)
    assert torch.equal(images, before)
    assert torch.equal(maps, maps_before)


def test_as_collate_fn():
    loader = DataLoader(Pairs(), batch_size=5, collate_fn=cd.CutMix(p=1.0))
    for images, targets in loader:
        assert isinstance(images, tv_tensors.Image)
        assert images.shape == (5, 3, HEIGHT, WIDTH)
        assert isinstance(targets[0]["boxes"], tv_tensors.BoundingBoxes)
        assert isinstance(targets[0]["masks"], tv_tensors.Mask)
        own = [target["image_id"] for target in targets]
        agree(images, [{**t, "origin": torch.tensor(own)[t["origin"][:, :1]]} for t in targets])
    mixed_sizes = DataLoader(Pairs(((24, 36), (30, 22))), batch_size=4, collate_fn=cd.CutMix(p=1.0))
    images, targets = next(iter(mixed_sizes))
    assert isinstance(images, list)
    agree(images, targets)


def test_as_collate_fn_with_labels_and_maps():
    mix = cd.CutMix(p=1.0, num_classes=10)
    images, labels = mix([(image_of(i), i) for i in range(4)])
    assert torch.allclose(labels.sum(1), torch.ones(4))
    images, maps = mix([(image_of(i), image_of(i)[0]) for i in range(4)])
    assert torch.equal(images[:, 0], maps)
    images, maps = mix([(image_of(i, 20 + i), image_of(i, 20 + i)[0]) for i in range(4)])
    assert all(torch.equal(image[0], map_) for image, map_ in zip(images, maps))
    with pytest.raises(TypeError, match="sample 0 must hold an image tensor, got str"):
        mix([("image", 1)])


@pytest.mark.parametrize("workers", [0, 2])
def test_in_loader_workers(workers):
    loader = (
        DataLoader(
            Pairs(), batch_size=5, collate_fn=cd.CutMix(p=1.0), num_workers=workers, multiprocessing_context="spawn"
        )
        if workers
        else DataLoader(Pairs(), batch_size=5, collate_fn=cd.CutMix(p=1.0))
    )
    assert sum(len(targets) for _, targets in loader) == 10


def test_in_a_compose(generator):
    sizes = [(24, 36), (30, 20)]
    images = [tv_tensors.Image(image_of(i, *size)) for i, size in enumerate(sizes)]
    targets = [target_of(i, *size) for i, size in enumerate(sizes)]
    chain = v2.Compose([v2.RandomHorizontalFlip(p=1.0), cd.CutMix(p=1.0), v2.RandomHorizontalFlip(p=1.0)])
    mixed, out = chain(images, targets)
    agree(mixed, out)
    assert isinstance(mixed[1], tv_tensors.Image)
    batch, dicts = batch_of()
    mixed, out = v2.Compose([cd.CutMix(p=1.0), v2.ToDtype(torch.float32, scale=False)])(batch, dicts)
    assert mixed.dtype == torch.float32
    agree(mixed, out)


def test_pickle_copy_and_repr(generator):
    mix = cd.CutMix(alpha=0.5, p=0.7, region=MultiBox.french(2), min_visibility=(0.1, 0.3), instance_keys=["x"])
    twin = pickle.loads(pickle.dumps(mix))
    assert repr(twin) == repr(mix)
    assert repr(copy.deepcopy(mix)) == repr(mix)
    for part in ("CutMix(", "alpha=0.5", "p=0.7", "MultiBox(", "min_visibility=(0.1, 0.3)", "instance_keys=('x',)"):
        assert part in repr(mix)
    images, _ = batch_of()
    seeds = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert torch.equal(mix(images, generator=seeds[0]), twin(images, generator=seeds[1]))


def test_half_precision_strided_and_grayscale(generator):
    images = torch.rand(4, 1, HEIGHT, 2 * WIDTH).half()[..., ::2].contiguous(memory_format=torch.channels_last)
    mixed = cd.CutMix(p=1.0)(images, generator=generator)
    assert mixed.dtype == torch.half
    assert mixed.shape == images.shape


def test_report(generator):
    images, targets = batch_of()
    _, out, report = cd.CutMix(p=1.0)(images, targets, generator=generator, return_report=True)
    assert len(report) == 8
    kept = sum(row["outcome"] in ("kept", "shrunk") for row in report.rows())
    assert kept == sum(len(target["boxes"]) for target in out)
    assert sum(report.counts().values()) == 8


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alpha": 0}, ValueError, "alpha must be above 0"),
        ({"alpha": float("nan")}, ValueError, "alpha must be above 0"),
        ({"p": 1.5}, ValueError, r"p must lie in \[0, 1\]"),
        ({"pairing": "next"}, ValueError, "pairing must be one of"),
        ({"region": "box"}, TypeError, "region must be a sampler"),
        ({"on_filtered": "keep"}, ValueError, "on_filtered must be one of"),
        ({"boxes_from": "keep"}, ValueError, "boxes_from must be"),
        ({"min_visibility": 2}, ValueError, "min_visibility must lie"),
        ({"rule": "yolo"}, ValueError, "rule must be"),
        ({"instance_keys": "name"}, TypeError, "instance_keys must be a sequence of keys"),
        ({"beta": 1}, TypeError, "beta"),
    ],
)
def test_what_the_constructor_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        cd.CutMix(**arguments)


def call(images=None, targets=None, **kwargs):
    batch, dicts = batch_of()
    return cd.CutMix(p=1.0)(batch if images is None else images, dicts if targets is None else targets, **kwargs)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"images": torch.rand(3, 24, 36)}, ValueError, "a batch is needed, not a single image"),
        ({"images": torch.rand(0, 3, 24, 36)}, ValueError, "at least one image"),
        ({"images": torch.rand(4, 3, 0, 36)}, ValueError, "images must have pixels"),
        ({"images": []}, TypeError, "images must be a tensor"),
        ({"images": [torch.rand(24, 36)] * 4}, ValueError, r"images\[0\] must have shape \(C, H, W\)"),
        ({"images": "x"}, TypeError, "images must be a tensor"),
        ({"targets": [{}] * 3}, ValueError, r"targets must have one entry per image \(4\), got 3"),
        ({"targets": torch.zeros(4, 24, 35, dtype=torch.uint8)}, ValueError, "must have the images' size"),
        ({"targets": torch.arange(4)}, ValueError, "num_classes must be given"),
        ({"targets": {"weather": torch.arange(4)}}, ValueError, r"targets\['weather'\] .* unknown meaning"),
        ({"targets": {"boxes": [torch.zeros(1, 4)] * 4}}, ValueError, "holds instances: give a list of dicts"),
        ({"targets": "x"}, TypeError, "targets must be a tensor, a list or a dict"),
        ({"targets": ["x"] * 4}, TypeError, "a list of dicts, of maps or of classes"),
        (
            {"targets": [{"semantic": torch.zeros(24, 40, dtype=torch.uint8)}] * 4},
            ValueError,
            r"targets\[0\]\['semantic'\] must have its image's size",
        ),
        (
            {"targets": [{**target_of(0), "masks": torch.ones(1, 30, 40)}] * 4},
            ValueError,
            r"targets\[0\]\['masks'\] must have its image's size",
        ),
        ({"sizes": torch.tensor([[24, 36]] * 3)}, ValueError, r"sizes must have shape \(4, 2\)"),
        ({"sizes": torch.tensor([[24, 37]] * 4)}, ValueError, "sizes must lie within"),
        ({"generator": 3}, TypeError, "generator must be a torch.Generator"),
        ({"out": torch.rand(4, 3, 24, 36)}, ValueError, "out must be torch.uint8"),
    ],
)
def test_what_a_call_refuses(bad, error, message):
    with pytest.raises(error, match=message):
        call(**bad)


def test_region_that_needs_objects_says_so():
    images, _ = batch_of()
    with pytest.raises(ValueError, match="targets must be detection targets"):
        cd.CutMix(p=1.0, region=ObjectBox())(images)


def test_too_many_inputs():
    with pytest.raises(TypeError, match="got 3 arguments"):
        cd.CutMix()(torch.rand(2, 3, 4, 5), None, None)


def test_bare_boxes_are_refused():
    boxes = tv_tensors.BoundingBoxes(torch.zeros(4, 4), format="XYXY", canvas_size=(HEIGHT, WIDTH))
    with pytest.raises(TypeError, match="list of dicts for BoundingBoxes"):
        call(targets=boxes)
