"""The paths for devices, run on real numbers without one: what they give, and how often the host waits for them.

``stand_in`` is the device. Triton's kernels are no part of this: ``tests/kernels`` runs them interpreted.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stand_in import StandIn, fetch, send
from torch.utils._pytree import tree_flatten, tree_map

import cutmix_dense as cd
from cutmix_dense.saliency import spectral_residuals

SIZE = (48, 70)
METHODS = {
    "cutmix": lambda: cd.CutMix(p=0.8),
    "several patches": lambda: cd.CutMix(p=1.0, region=cd.regions.MultiBox(cd.regions.AreaBox((0.05, 0.2)), 3)),
    "resizemix": lambda: cd.ResizeMix(p=1.0),
    "mosaic": lambda: cd.Mosaic(fill=114),
    "ricap": lambda: cd.RICAP(),
    "gridmix": lambda: cd.GridMix(p=1.0),
    "copypaste": lambda: cd.CopyPaste(p=1.0, scale=(0.5, 1.5), flip=0.5, flip_pairs=[(0, 1)], boxes="estimate"),
    "classmix": lambda: cd.ClassMix(p=1.0, boxes="estimate"),
    "cowmix": lambda: cd.CowMix(p=1.0, boxes="estimate"),
    "mixup": lambda: cd.MixUp(p=1.0),
}


def batch() -> tuple[torch.Tensor, dict[str, Any]]:
    torch.manual_seed(5)
    images = torch.randint(0, 256, (4, 3, *SIZE), dtype=torch.uint8)
    instances = []
    for count in (5, 3, 0, 4):
        low = torch.rand(count, 2) * torch.tensor([45.0, 30.0])
        boxes = torch.cat([low, low + 4 + torch.rand(count, 2) * 15], dim=1)
        row, column = torch.arange(SIZE[0])[:, None] + 0.5, torch.arange(SIZE[1]) + 0.5
        left, top, right, bottom = (side[:, None, None] for side in boxes.T)
        masks = (column >= left) & (column < right) & (row >= top) & (row < bottom)
        instances.append(
            {
                "boxes": boxes,
                "labels": torch.randint(1, 9, (count,)),
                "masks": masks & (torch.rand(count, *SIZE) < 0.8),
                "keypoints": torch.cat([torch.rand(count, 2, 2) * 40, torch.full((count, 2, 1), 2.0)], dim=2),
                "area": torch.rand(count) * 100,
                "iscrowd": torch.zeros(count, dtype=torch.long),
            }
        )
    semantic = torch.randint(0, 5, (4, 6, 7)).repeat_interleave(8, 1).repeat_interleave(10, 2)
    padded = {"boxes": torch.rand(4, 6, 4).sort(dim=2).values * 48, "labels": torch.randint(0, 9, (4, 6))}
    padded["valid"] = torch.rand(4, 6) < 0.8
    boxes_only = [{"boxes": target["boxes"], "labels": target["labels"]} for target in instances]
    kinds = {"images": None, "semantic": semantic, "padded": padded, "boxes": boxes_only, "instances": instances}
    kinds["some masks"] = [{**target, "has_mask": torch.arange(len(target["boxes"])) % 2 > 0} for target in instances]
    return images, kinds


def plan_and_batch(method: str, kind: str) -> tuple[Any, cd.MixPlan, torch.Tensor, Any]:
    """A plan of the method, and the batch that it is applied to."""
    images, kinds = batch()
    transform = METHODS[method]()
    drawn_from = {"copypaste": kinds["instances"], "classmix": kinds["semantic"]}.get(method)
    plan = transform.make_plan(images, drawn_from, generator=torch.Generator().manual_seed(11))
    return transform, plan, images, kinds[kind]


CASES = [
    (method, kind)
    for method in METHODS
    for kind in ("images", "semantic", "padded", "boxes", "instances", "some masks")
]


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_a_device_gives_what_the_host_gives_and_is_waited_for_once_at_most(method, kind):
    transform, plan, images, targets = plan_and_batch(method, kind)
    expected = transform.apply_plan(plan, images.float(), targets)
    with StandIn() as device:
        mixed = transform.apply_plan(plan, send(images.float()), send(targets))
    for found, wanted in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
        torch.testing.assert_close(found, wanted)
    once = kind in ("boxes", "instances", "some masks")
    assert device.waits == ["aten._to_copy.default"] * once, "the verdict on lists of instances, and nothing else"


DATA = {  # methods whose plan looks at data: at which kind; what is waited for besides: crowds, has_mask, scaled plans
    "classmix": ("semantic", METHODS["classmix"], 0),
    "copypaste": ("instances", METHODS["copypaste"], 2),
    "copypaste, some masks": ("some masks", METHODS["copypaste"], 3),
    "copypaste, of boxes": ("boxes", lambda: cd.CopyPaste(p=1.0, scale=(0.5, 1.5)), 1),
    "saliencymix": ("boxes", lambda: cd.SaliencyMix(p=1.0), 0),
    "objectbox": ("boxes", lambda: cd.CutMix(p=1.0, region=cd.regions.ObjectBox()), 0),
}


@pytest.mark.parametrize("method", DATA)
def test_plans_drawn_where_the_data_lie(method):
    kind, make, more = DATA[method]
    images, kinds = batch()
    transform, targets = make(), kinds[kind]
    expected = transform(images.float(), targets, generator=torch.Generator().manual_seed(11))
    with StandIn() as device:
        mixed = transform(send(images.float()), send(targets), generator=torch.Generator().manual_seed(11))
    for found, wanted in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
        torch.testing.assert_close(found, wanted)
    assert len(device.waits) == more + (kind != "semantic")


@pytest.mark.parametrize("alike", [True, False])
def test_saliency_is_that_of_the_host(alike):
    images = [image if alike else image[..., : 48 - index] for index, image in enumerate(torch.rand(3, 3, 50, 70))]
    expected = torch.as_tensor(spectral_residuals(images))
    with StandIn() as device:
        found = spectral_residuals(send(images))
    torch.testing.assert_close(fetch(found), expected, rtol=1e-3, atol=1e-3 * float(expected.max()))
    assert not device.waits


@pytest.mark.parametrize(("p", "count"), [(0.0, 4), (0.5, 4), (1.0, 4), (1.0, 1)])
def test_a_plan_drawn_from_maps_lies_where_they_do_whatever_was_drawn(p, count):
    maps = batch()[1]["semantic"][:count]
    mix, images = cd.ClassMix(p=p), torch.zeros(count, 1, *SIZE)
    expected = mix.make_plan(images, maps, generator=torch.Generator().manual_seed(2))
    with StandIn():
        plan = mix.make_plan(send(images), send(maps), generator=torch.Generator().manual_seed(2))
        places = {plan.owner.device.type, plan.source.device.type, plan.share().device.type}
        owner = plan.owner_map()
    assert places == {send(maps).device.type} != {"cpu"}
    assert torch.equal(fetch(owner), expected.owner_map())


def small(targets: Any) -> Any:
    return [{key: target[key] for key in ("boxes", "labels")} for target in targets]


IMAGES, KINDS = batch()
IMAGES = IMAGES.float()
LIST = [IMAGES[0], IMAGES[1, :, :40, :60], IMAGES[2], IMAGES[3, :, :44]]
SIZES = torch.tensor([[48, 70], [40, 60], [30, 70], [48, 50]])
CLASSES = torch.tensor([1, 2, 3, 4])
CLIPS, VOLUMES = IMAGES[:, None].repeat(1, 2, 1, 1, 1), torch.arange(3 * 12 * 14 * 16.0).reshape(3, 1, 12, 14, 16)
SOLID = {"boxes": torch.tensor([[1.0, 2, 3, 8, 9, 10], [4, 4, 4, 15, 13, 11]]), "labels": torch.tensor([1, 2])}
SOLID["masks"] = torch.arange(2 * 12 * 14 * 16).reshape(2, 12, 14, 16) % 3 > 0
REGION = cd.regions.PathBox(cd.regions.AreaBox())


def cut(**settings: Any) -> cd.CutMix:
    return cd.CutMix(p=1.0, **settings)


OPTIONS = {  # transform, images, targets, arguments of the call, waits
    "in place": (lambda: cut(pairing="swap"), IMAGES, KINDS["semantic"], {"inplace": True}, 0),
    "valid sizes": (cut, IMAGES, KINDS["instances"], {"sizes": SIZES}, 1),
    "report": (cut, IMAGES, KINDS["instances"], {"return_report": True}, 1),
    "ignored": (lambda: cut(on_filtered="ignore", min_visibility=0.6), IMAGES, KINDS["instances"], {}, 1),
    "crowds": (lambda: cut(on_filtered="crowd", min_visibility=0.6), IMAGES, KINDS["instances"], {}, 1),
    "weights": (lambda: cut(instance_weights=True), IMAGES, KINDS["instances"], {}, 1),
    "a peer's rule": (lambda: cut(rule="mmdet_copy_paste"), IMAGES, KINDS["instances"], {}, 1),
    "two thresholds": (lambda: cut(min_visibility=(0.1, 0.5)), IMAGES, KINDS["instances"], {}, 1),
    "labels": (lambda: cut(num_classes=10), IMAGES, CLASSES, {}, 0),
    "labels by objects": (
        lambda: cut(num_classes=10, labels_by="objects"),
        IMAGES,
        {"objects": KINDS["instances"], "label": CLASSES},
        {},
        2,
    ),
    "list": (cut, LIST, small(KINDS["instances"]), {}, 1),
    "list, scaled": (lambda: cd.Mosaic(fill=3), LIST, small(KINDS["instances"]), {}, 1),
    "clips": (lambda: cut(layout="BTCHW"), CLIPS, KINDS["semantic"][:, None].repeat(1, 2, 1, 1), {}, 0),
    "path": (
        lambda: cut(layout="BTCHW", region=REGION),
        CLIPS,
        [[target] * 2 for target in small(KINDS["instances"])],
        {},
        1,
    ),
    "volumes": (lambda: cut(layout="BCDHW"), VOLUMES, [SOLID] * 3, {}, 1),
    "volumes, scaled": (lambda: cd.ResizeMix(p=1.0, layout="BCDHW"), VOLUMES, [SOLID] * 3, {}, 1),
    "estimate": (lambda: cd.CowMix(p=1.0, boxes="estimate"), IMAGES, small(KINDS["instances"]), {}, 1),
    "estimate, padded": (lambda: cd.FMix(p=1.0, boxes="estimate"), IMAGES, KINDS["padded"], {}, 0),
    "probabilities": (
        lambda: cd.MixUp(p=1.0, soft_semantic="probabilities", num_classes=6),
        IMAGES,
        KINDS["semantic"],
        {},
        0,
    ),
    "short axis": (cut, IMAGES[:, :, :2], KINDS["semantic"][:, :2], {}, 0),
    "short axis, saliency": (lambda: cd.SaliencyMix(p=1.0), IMAGES[:, :, :3], KINDS["semantic"][:, :3], {}, 0),
    "slab": (lambda: cut(layout="BCDHW"), VOLUMES[:, :, :2], VOLUMES[:, 0, :2].long(), {}, 0),
    "half precision": (cut, IMAGES.half(), KINDS["instances"], {}, 1),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options(option):
    make, images, targets, arguments, waits = OPTIONS[option]
    first, second = (
        tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, (images, targets))
        for _ in range(2)
    )
    expected = make()(*first, generator=torch.Generator().manual_seed(2), **arguments)
    with StandIn() as device:
        mixed = make()(*send(second), generator=torch.Generator().manual_seed(2), **arguments)
    for found, wanted in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
        if isinstance(wanted, cd.MixReport):
            assert list(found.rows()) == list(wanted.rows())
        else:
            torch.testing.assert_close(found, wanted)
    assert len(device.waits) == waits


def test_a_plan_whose_tensors_are_written_to_is_read_anew():
    sizes, rectangles = torch.tensor([SIZE] * 3), torch.tensor([[[5, 6, 20, 30]], [[1, 2, 30, 40]], [[0, 0, 9, 9]]])
    one, other = (
        cd.MixPlan.from_rectangles(torch.tensor(source), boxes, sizes)
        for source, boxes in (([[0, 1], [1, 2], [2, 0]], rectangles), ([[2, 0], [0, 1], [1, 2]], rectangles.flip(0)))
    )
    images = torch.arange(3.0)[:, None, None, None].expand(3, 1, *SIZE).contiguous()
    targets = [{"boxes": torch.tensor([[1.0, 1, 40, 40]]), "labels": torch.tensor([image])} for image in range(3)]
    wanted = [cd.functional.mix_pixels(list(images), other), cd.functional.mix_instances(targets, other)]
    with StandIn():
        for plan, place in ((one, lambda value: value), (one.to(send(images).device), send)):
            for _ in range(2):
                found = [
                    cd.functional.mix_pixels(list(place(images)), plan),
                    cd.functional.mix_instances(place(targets), plan),
                ]
                for name in ("source", "scale", "shift", "extent", "canvas", "owner"):
                    getattr(plan, name).copy_(getattr(other, name))
                for edge, new in zip(plan.edges, other.edges):
                    edge.copy_(new)
            torch.testing.assert_close(fetch(found), wanted)


def test_empty_masks_that_nothing_touched_are_kept_on_a_device():
    """They are rare: only where there are some, they are looked at once more, on the host."""
    targets = [
        {
            "boxes": torch.tensor([[1.0, 2, 9, 8], [40, 20, 60, 40], [3, 30, 12, 44]]),
            "masks": torch.zeros(3, *SIZE, dtype=torch.bool),
            "visibility": torch.tensor([0.5, 1.0, 0.75]),
            "area": torch.tensor([5.0, 6.0, 7.0]),
        }
    ] * 2
    source, rectangle = torch.tensor([[0, 1]]), torch.tensor([[[0, 30, 48, 70]]])
    plan = cd.MixPlan.from_rectangles(source, rectangle, torch.tensor([SIZE] * 2))
    alone = [{key: value for key, value in target.items() if key != "boxes"} for target in targets]
    for given, kept in ((targets, [[0, 0], [0, 2], [1, 1]]), (alone, [])):
        expected, report = cd.functional.mix_instances(given, plan, return_report=True)
        assert expected[0]["origin"].tolist() == kept
        with StandIn() as device:
            mixed, found = cd.functional.mix_instances(send(given), plan, return_report=True)
        for one, other in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
            assert torch.equal(one, other)
        assert list(found.rows()) == list(report.rows())
        assert len(device.waits) <= 3


def test_what_waits_is_noticed():
    here = torch.arange(6).reshape(2, 3)
    with StandIn() as device:
        there = here.to(send(here).device, non_blocking=True)
        assert device.waits == []
        for wait in (
            lambda: here.to(there.device),
            lambda: there.to("cpu"),
            lambda: there.sum().item(),
            lambda: bool((there > 1).any()),
            lambda: there.tolist(),
            lambda: there[there > 1],
            lambda: there.nonzero(),
            lambda: there[torch.tensor([0])],
            lambda: torch.tensor([1, 2], device=there.device),
        ):
            device.waits.clear()
            wait()
            assert len(device.waits) == 1
        device.waits.clear()
        there[there > 1] = 0  # a masked fill
        assert device.waits == []
        single = torch.tensor(1)
        assert (there + single).device == there.device
        for refused in (
            lambda: there + here,
            lambda: here[there],
            lambda: torch.stack([there.sum(), here.sum()]),
            lambda: single.add_(there.sum()),
            lambda: here.index_put_((torch.tensor([0]),), there[0]),
        ):
            with pytest.raises(RuntimeError, match="of the device and of the host"):
                refused()
    assert here.tolist() == fetch(send(here)).tolist()
    assert fetch(there).tolist() == [[0, 1, 0], [0, 0, 0]]
