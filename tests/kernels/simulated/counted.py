"""Cases of ``test_simulated.py``: what whole transforms give on a device, and what they ask of it.

To run them alone: ``TRITON_INTERPRET=1 pytest tests/kernels/simulated/counted.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils._pytree import tree_flatten

assert os.environ.get("TRITON_INTERPRET") == "1", "the kernels must be defined interpreted"
from kernels.plans import METHODS as HARD  # noqa: E402
from kernels.plans import padded_boxes  # noqa: E402
from kernels.simulated.device import SimulatedDevice  # noqa: E402
from stand_in import fetch, send  # noqa: E402

import cutmix_dense as cd  # noqa: E402
from cutmix_dense.functional import mix_instances, mix_padded  # noqa: E402
from cutmix_dense.kernels.gather import mix_gather  # noqa: E402

IMAGES, OBJECTS, SIZE = 4, 5, (16, 32)


def batch() -> tuple[torch.Tensor, dict[str, Any]]:
    """Images, and targets of every kind."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (IMAGES, 3, *SIZE), dtype=torch.uint8, generator=generator)
    semantic = torch.randint(0, 19, (IMAGES, *SIZE), generator=generator)
    low = torch.rand(IMAGES, OBJECTS, 2, generator=generator) * torch.tensor([16.0, 6.0])
    boxes = torch.cat([low, low + 3 + torch.rand(IMAGES, OBJECTS, 2, generator=generator) * 9], dim=2)
    labels = torch.arange(OBJECTS).repeat(IMAGES, 1)
    padded = {"boxes": boxes, "labels": labels, "valid": torch.rand(labels.shape, generator=generator) < 0.9}
    ragged = [{"boxes": box, "labels": label} for box, label in zip(boxes, labels)]
    masks = torch.rand(IMAGES, OBJECTS, *SIZE, generator=generator) < 0.3
    masked = [{**target, "masks": mask} for target, mask in zip(ragged, masks)]
    return images, {
        "images": None,
        "map": semantic,
        "padded": padded,
        "map and padded": {**padded, "semantic": semantic},
        "boxes": ragged,
        "masks": masked,
        "map and masks": [{**target, "semantic": ids} for target, ids in zip(masked, semantic)],
    }


METHODS: dict[str, Callable[[], cd.MixTransform]] = {
    "cutmix": lambda: cd.CutMix(p=1.0),
    "cutmix, in place": lambda: cd.CutMix(p=1.0, pairing="swap"),
    "cutmix, weights": lambda: cd.CutMix(p=1.0, instance_weights=True),
    "ricap": lambda: cd.RICAP(),
    "gridmix": lambda: cd.GridMix(p=1.0),
    "mixup": lambda: cd.MixUp(p=1.0),
    "cowmix": lambda: cd.CowMix(p=1.0),
    "classmix": lambda: cd.ClassMix(p=1.0),
    "copypaste": lambda: cd.CopyPaste(p=1.0),
    "saliencymix": lambda: cd.SaliencyMix(p=1.0),
}


class Asked(NamedTuple):
    """What a call asks of a device: launches of Triton's kernels, torch's launches, copies (pinned ones), and waits."""

    fused: int
    eager: int
    copies: int
    pinned: int
    waits: int


LIMITS = {
    ("cutmix", "images"): Asked(1, 0, 1, 1, 0),
    ("cutmix", "map"): Asked(1, 0, 1, 1, 0),
    ("cutmix", "padded"): Asked(2, 0, 1, 1, 0),
    ("cutmix", "map and padded"): Asked(2, 0, 1, 1, 0),
    ("cutmix, weights", "padded"): Asked(2, 1, 1, 1, 0),
    ("cutmix", "boxes"): Asked(1, 1, 2, 1, 1),
    ("cutmix", "masks"): Asked(2, 3, 3, 2, 1),
    ("cutmix, in place", "images"): Asked(1, 0, 1, 1, 0),
    ("ricap", "images"): Asked(1, 0, 1, 1, 0),
    ("gridmix", "images"): Asked(1, 1, 1, 1, 0),
    ("mixup", "images"): Asked(1, 0, 1, 1, 0),
    ("cowmix", "map"): Asked(2, 0, 1, 1, 0),
    ("classmix", "map"): Asked(2, 20, 3, 1, 0),
    ("classmix", "map and masks"): Asked(3, 24, 6, 2, 1),
    ("copypaste", "boxes"): Asked(1, 4, 3, 2, 1),
    ("copypaste", "masks"): Asked(3, 7, 6, 3, 1),
    ("saliencymix", "images"): Asked(1, 29, 9, 1, 0),
}
"""What was counted with torch 2.14; whoever needs less lowers it here.

Tensors of the simulated device are of a class of their own, so the rows of lists aren't joined key by key, as plain
ones are: a card has a launch more for each key.
"""


@pytest.mark.parametrize(("method", "kind"), LIMITS)
def test_a_device_gives_what_the_host_gives_and_is_asked_for_little(method, kind):
    images, kinds = batch()
    arguments = {"inplace": True} if "in place" in method else {}

    def mix(images: Any, targets: Any) -> Any:
        return METHODS[method]()(images, targets, generator=torch.Generator().manual_seed(1), **arguments)

    expected = mix(images.clone(), kinds[kind])
    with SimulatedDevice() as device:
        mixed = mix(send(images.clone()), send(kinds[kind]))
    for found, wanted in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
        assert wanted is found is None or torch.equal(found, wanted)
    pinned = sum(copy.pinned for copy in device.copies)
    eager = len(device.launches) - len(device.fused)
    asked = Asked(len(device.fused), eager, len(device.copies), pinned, len(device.waits))
    assert asked == LIMITS[method, kind], (device.launches, device.copies, device.waits)


def lists() -> list[dict[str, Any]]:
    """Targets with rows of every kind and dtype, and an image without any."""
    generator = torch.Generator().manual_seed(4)
    targets: list[dict[str, Any]] = []
    for index, count in enumerate((5, 1, 0, 7)):
        low = torch.rand(count, 2, generator=generator) * torch.tensor([16.0, 6.0])
        boxes = torch.cat([low, low + 3 + torch.rand(count, 2, generator=generator) * 9], dim=1)
        rows = {"labels": torch.arange(count), "iscrowd": torch.rand(count, generator=generator) < 0.3}
        rows |= {"area": torch.rand(count, generator=generator).double(), "track_id": torch.arange(count).short()}
        rows |= {"keypoints": torch.rand(count, 3, 3, generator=generator) * 15, "name": [f"{n}" for n in range(count)]}
        targets.append({"image_id": torch.tensor(index), "boxes": boxes, **rows})
        targets[-1]["ignored"] = {"boxes": boxes[:2] + 1} if index % 2 else None
    return targets


def plain(targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"boxes": target["boxes"], "labels": target["labels"].to(torch.uint8)} for target in targets]


def unchanged(targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return targets


LISTS: dict[str, tuple[cd.MixTransform, Callable[[list[dict[str, Any]]], list[dict[str, Any]]], int]] = {
    "as they come": (cd.CutMix(p=1.0), unchanged, 23),
    "set apart": (cd.CutMix(p=1.0, on_filtered="ignore", min_visibility=0.7), unchanged, 23),
    "crowds, weights": (cd.GridMix(p=1.0, on_filtered="crowd", instance_weights=True), unchanged, 23),
    "a blend": (cd.MixUp(p=1.0), plain, 1),
    "a mosaic": (cd.Mosaic(p=1.0), plain, 1),
}
"""Method, form of the targets, and launches: one, but for filling up what ignored instances lack."""


@pytest.mark.filterwarnings("ignore:.*box")
@pytest.mark.parametrize("name", LISTS)
def test_lists_are_those_of_the_host_bit_for_bit_and_cost_two_copies(name):
    mix, form, launches = LISTS[name]
    targets = form(lists())
    plan = mix.make_plan(torch.rand(4, 3, *SIZE), targets, generator=torch.Generator().manual_seed(2))
    rules: dict[str, Any] = {key: getattr(mix, key) for key in ("on_filtered", "min_visibility", "instance_weights")}
    rules["instance_keys"] = ("name",)
    expected, told = mix_instances(targets, plan, return_report=True, **rules)
    with SimulatedDevice() as device:
        mixed, report = mix_instances(send(targets), plan, return_report=True, **rules)
        there = [leaf.is_cuda for leaf in tree_flatten(mixed)[0] if isinstance(leaf, torch.Tensor)]
    assert all(there)
    assert len(device.launches) == launches
    assert len(device.waits) == 1
    assert [(copy.sent, copy.pinned) for copy in device.copies] == [(False, False), (True, True)]
    assert [list(target) for target in mixed] == [list(target) for target in expected]
    assert str(report) == str(told)
    for found, wanted in zip(tree_flatten(mixed)[0], tree_flatten(expected)[0], strict=True):
        assert isinstance(wanted, torch.Tensor) == isinstance(found, torch.Tensor)
        if isinstance(wanted, torch.Tensor):
            assert found.dtype == wanted.dtype
            assert torch.equal(fetch(found), wanted)
        else:
            assert found == wanted


@pytest.mark.filterwarnings("ignore:.*box")
def test_pasting_by_boxes_draws_and_mixes_from_rows_that_were_fetched_once():
    """Crowds, classes and boxes are looked at to draw; ignored instances and rows of the user's own come along."""
    images, targets = torch.rand(4, 3, *SIZE), lists()
    mix = cd.CopyPaste(p=1.0, weights="balanced", instance_keys=("name",), flip_pairs=(), place="random", instances=2)

    def pasted(images: Any, targets: Any) -> Any:
        return mix(images, targets, generator=torch.Generator().manual_seed(1))

    expected = pasted(images, targets)
    with SimulatedDevice() as device:
        mixed = pasted(send(images), send(targets))
    assert len(device.waits) == 1
    for found, wanted in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
        assert torch.equal(found, wanted) if isinstance(wanted, torch.Tensor) else found == wanted


MASKS: dict[str, tuple[Callable[[], cd.MixTransform], tuple[int, int], torch.dtype, dict[str, Any]]] = {
    "rectangles": (lambda: cd.CutMix(p=1.0), SIZE, torch.bool, {}),
    "odd sizes": (lambda: cd.GridMix(p=1.0), (15, 31), torch.uint8, {"on_filtered": "ignore", "min_visibility": 0.6}),
    "wide numbers": (lambda: cd.RICAP(p=1.0), SIZE, torch.int64, {"boxes_from": "box"}),
    "scaled": (lambda: cd.ResizeMix(p=1.0), SIZE, torch.bool, {}),
    "free form": (lambda: cd.CowMix(p=1.0), SIZE, torch.bool, {}),
    "a blend": (lambda: cd.MixUp(p=1.0), SIZE, torch.bool, {"min_size": 3.0}),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_lists_are_cut_by_one_launch(name):
    make, size, dtype, rules = MASKS[name]
    sliced = name in ("odd sizes", "scaled")  # begin anywhere
    targets = plain(lists())
    for target in targets:
        masks = (torch.rand(len(target["boxes"]) + 1, *size) < 0.1).to(dtype) * 3
        target["masks"] = masks[1:] if sliced else masks[:-1].clone()
    plan = make().make_plan(torch.rand(4, 3, *size), targets, generator=torch.Generator().manual_seed(2))
    expected, told = mix_instances(targets, plan, return_report=True, **rules)
    with SimulatedDevice() as device:
        mixed, report = mix_instances(send(targets), plan, return_report=True, **rules)
    assert device.fused == ["cut_kernel"]
    assert len(device.launches) == 4, "zeros, cut, joined, picked"
    assert len(device.copies) == 3, "the plan, facts and rows back, the mixed rows"
    assert len(device.waits) == 1
    assert str(report) == str(told)
    assert [list(target) for target in mixed] == [list(target) for target in expected]
    for found, wanted in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
        assert found.dtype == wanted.dtype
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("settings", [{}, {"scale": (0.5, 1.5), "flip": 0.5}, {"blend": 0.6}], ids=str)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64], ids=str)
def test_pasted_masks_are_joined_by_one_launch(settings, dtype):
    """Images of several sizes in a padded batch, one without instances; numbers other than 1 are inside, too."""
    images, targets, generator = torch.rand(4, 3, *SIZE), plain(lists()), torch.Generator().manual_seed(5)
    for target in targets:
        masks = torch.rand(len(target["boxes"]), *SIZE, generator=generator) < 0.2
        target["masks"] = masks if dtype == torch.bool else masks.to(dtype) * (256 if dtype == torch.int64 else 6)
    sizes, mix = torch.tensor([[16, 32], [12, 32], [16, 20], [9, 17]]), cd.CopyPaste(p=1.0, **settings)

    def pasted(images: Any, targets: Any) -> Any:
        return mix(images, targets, sizes=sizes, generator=torch.Generator().manual_seed(1))

    expected = pasted(images, targets)
    with SimulatedDevice() as device:
        mixed = pasted(send(images), send(targets))
    assert device.fused.count("unite_kernel") == 1
    assert len(device.waits) == 1
    for found, wanted in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 if settings else 0)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [(torch.uint8, (5, 3, 16, 22)), (torch.int64, (5, 16, 22)), (torch.half, (5, 2, 8, 15))],
    ids=str,
)
@pytest.mark.parametrize("p", [1.0, 0.6])
def test_pairs_exchange_in_place(dtype, shape, p):
    pool = (torch.rand(shape) * 255).to(dtype)
    mix = cd.CutMix(p=p, pairing="swap")
    padded = torch.tensor([[shape[-2] - 1, shape[-1] - image] for image in range(5)])
    for seed, sizes in ((0, None), (1, None), (2, padded)):
        generator = torch.Generator().manual_seed(seed)
        plan = mix.make_plan(torch.rand(5, 3, *shape[-2:]), sizes=sizes, generator=generator)
        there = send(pool.clone())
        with SimulatedDevice() as device:
            assert cd.functional.mix_pixels(there, plan, inplace=True) is there
        assert torch.equal(fetch(there), mix_gather(pool, plan, None))
        assert device.launches == ["exchange_kernel"]


FREE = [
    (torch.uint8, (3, 3, 16, 24)),
    (torch.bool, (3, 16, 23)),
    (torch.bfloat16, (3, 2, 8, 23)),
    (torch.float32, (3, 3, 4, 16)),
    (torch.int64, (3, 5, 22)),
]


@pytest.mark.parametrize(("dtype", "shape"), FREE, ids=str)
def test_free_forms_of_every_dtype(dtype, shape):
    pool, size = (torch.rand(shape) * 255).to(dtype), shape[-2:]
    source = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 0, -1]])
    for layers, fill in ((2, None), (3, 1)):
        owner = torch.randint(0 if fill is None else -1, layers, (3, *size)).to(torch.int8)
        plan = cd.MixPlan.from_map(source[:, :layers], owner, torch.tensor([size] * 3))
        expected = mix_gather(pool, plan, None if fill is None else torch.tensor(fill).to(dtype))
        with SimulatedDevice() as device:
            mixed = fetch(cd.functional.mix_pixels(send(pool), plan, fill=fill))
        assert torch.equal(mixed, expected)
        assert device.launches == ["free_kernel"]
        assert [copy.pinned for copy in device.copies] == [True]


def test_free_forms_of_several_sizes_go_another_way():
    pool, sizes = torch.rand(3, 3, 16, 24), torch.tensor([[16, 24], [12, 24], [16, 20]])
    plan = cd.CowMix(p=1.0).make_plan(pool, sizes=sizes, generator=torch.Generator().manual_seed(3))
    with SimulatedDevice() as device:
        mixed = fetch(cd.functional.mix_pixels(send(pool), plan, fill=0))
    assert torch.equal(mixed, cd.functional.mix_pixels(pool, plan, fill=0))
    assert device.fused == ["mix_kernel"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_blends_of_every_dtype(dtype):
    pool = (torch.rand(4, 3, 13, 21) * 255).to(dtype)
    pool[0, 0, 0, :2] = 0
    plan = cd.MixUp(p=0.7).make_plan(pool, generator=torch.Generator().manual_seed(3))
    assert (plan.source[:, 1] < 0).any()
    for batch in (pool, pool.contiguous(memory_format=torch.channels_last)):
        expected = cd.functional.mix_pixels(batch, plan)
        with SimulatedDevice() as device:
            mixed = fetch(cd.functional.mix_pixels(send(batch), plan))
        torch.testing.assert_close(mixed, expected, atol=0, rtol=0 if dtype == torch.uint8 else 1e-6)
        assert mixed.stride() == expected.stride()
        assert device.launches == ["blend_kernel"]


def test_blends_of_several_sizes_go_another_way():
    pool, sizes = torch.rand(3, 3, 16, 24), torch.tensor([[16, 24], [12, 24], [16, 20]])
    plan = cd.MixUp(p=1.0).make_plan(pool, sizes=sizes, generator=torch.Generator().manual_seed(3))
    with SimulatedDevice() as device:
        mixed = fetch(cd.functional.mix_pixels(send(pool), plan))
    torch.testing.assert_close(mixed, cd.functional.mix_pixels(pool, plan))
    assert "blend_kernel" not in device.launches


RULES = [{}, {"min_visibility": (0.2, 0.4), "min_size": (1.3, 2.7)}, {"rule": "ultralytics"}, {"min_visibility": 0.9}]


@pytest.mark.filterwarnings("ignore:.*boxes")
@pytest.mark.parametrize("method", ["cutmix", "cutmix of five boxes", "ricap", "gridmix", "resizemix", "mosaic"])
def test_padded_boxes_are_those_of_the_host_bit_for_bit(method):
    for seed, rules in enumerate(RULES):
        plan = HARD[method]().make_plan(torch.rand(3, 3, 48, 64), generator=torch.Generator().manual_seed(seed))
        targets = padded_boxes(seed)
        if seed % 2:
            del targets["valid"]
        expected = mix_padded(targets, plan, **rules)
        with SimulatedDevice() as device:
            mixed = fetch(mix_padded(send(targets), plan, **rules))
        assert list(mixed) == list(expected)
        for key, wanted in expected.items():
            assert mixed[key].dtype == wanted.dtype
            assert torch.equal(mixed[key], wanted), (key, seed)
        assert device.launches == ["boxes_kernel"]
        assert not device.waits
        assert [copy.pinned for copy in device.copies] == [True]


@pytest.mark.filterwarnings("ignore:.*boxes")
def test_further_rows_of_padded_boxes():
    targets = padded_boxes(0)
    more = {"scores": torch.rand(3, 7), "iscrowd": torch.rand(3, 7) < 0.5, "own": torch.rand(3, 7, 2, 2)}
    targets = {"own": more["own"], **targets, **more}
    plan = HARD["cutmix"]().make_plan(torch.rand(3, 3, 48, 64), generator=torch.Generator().manual_seed(0))
    expected = mix_padded(targets, plan, instance_keys=("own",))
    with SimulatedDevice() as device:
        mixed = fetch(mix_padded(send(targets), plan, instance_keys=("own",)))
    assert list(mixed) == list(expected)
    assert all(torch.equal(mixed[key], wanted) for key, wanted in expected.items())
    assert len(device.launches) < 20


def test_a_plan_of_the_host_cannot_be_captured(monkeypatch):
    """A graph would replay the copy of it from memory that is used otherwise then."""
    images, _ = batch()
    for method in ("cutmix", "mixup", "cowmix"):
        plan = METHODS[method]().make_plan(images)
        with SimulatedDevice() as device:
            monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
            with pytest.raises(RuntimeError, match="captured"):
                cd.functional.mix_pixels(send(images), plan)
            assert not device.launches
            monkeypatch.undo()


def test_what_is_asked_of_a_device_is_counted():
    """The device itself: pinned and pageable copies, launches, views and waits."""
    with SimulatedDevice() as device:
        pinned = torch.empty(8, pin_memory=True)
        there = pinned.to("cuda:0", non_blocking=True)
        assert there.is_cuda
        assert str(there.device) == "cuda:0"
        (there.view(2, 4)[0] + 1).sum()
        there.copy_(torch.zeros(8))
        float(there[0])
        torch.empty(3, device="cuda:0")
    assert device.launches == ["aten.add", "aten.sum"]
    assert [copy[1:] for copy in device.copies] == [(32, True), (32, False)]
    assert device.waits == ["aten.copy_.default", "aten._local_scalar_dense.default"]
