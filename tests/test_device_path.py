"""The paths for devices, run on real numbers without one: what they give, and how often the host waits for them.

``stand_in`` is the device. Triton's kernels are no part of this: ``tests/kernels`` runs them interpreted.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stand_in import StandIn, fetch, send
from torch.utils._pytree import tree_flatten

import cutmix_dense as cd

SIZE = (48, 70)
METHODS = {
    "cutmix": lambda: cd.CutMix(p=0.8),
    "several patches": lambda: cd.CutMix(p=1.0, region=cd.regions.MultiBox(cd.regions.AreaBox((0.05, 0.2)), 3)),
    "resizemix": lambda: cd.ResizeMix(p=1.0),
    "mosaic": lambda: cd.Mosaic(fill=114),
    "ricap": lambda: cd.RICAP(),
    "gridmix": lambda: cd.GridMix(p=1.0),
    "copypaste": lambda: cd.CopyPaste(p=1.0, scale=(0.5, 1.5), flip=0.5, flip_pairs=[(0, 1)]),
    "classmix": lambda: cd.ClassMix(p=1.0),
    "cowmix": lambda: cd.CowMix(p=1.0),
    "mixup": lambda: cd.MixUp(p=1.0),
}
FREE_FORM = ("classmix", "copypaste", "cowmix")


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
            }
        )
    semantic = torch.randint(0, 5, (4, 6, 7)).repeat_interleave(8, 1).repeat_interleave(10, 2)
    padded = {"boxes": torch.rand(4, 6, 4).sort(dim=2).values * 48, "labels": torch.randint(0, 9, (4, 6))}
    padded["valid"] = torch.rand(4, 6) < 0.8
    boxes_only = [{"boxes": target["boxes"], "labels": target["labels"]} for target in instances]
    kinds = {"images": None, "semantic": semantic, "padded": padded, "boxes": boxes_only, "instances": instances}
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
    for kind in ("images", "semantic", "padded", "boxes", "instances")
    if not (method in FREE_FORM and kind in ("padded", "boxes"))
]


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_a_device_gives_what_the_host_gives_and_is_waited_for_once_at_most(method, kind):
    transform, plan, images, targets = plan_and_batch(method, kind)
    expected = transform.apply_plan(plan, images.float(), targets)
    with StandIn() as device:
        mixed = transform.apply_plan(plan, send(images.float()), send(targets))
    for found, wanted in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
        torch.testing.assert_close(found, wanted)
    once = kind in ("boxes", "instances")
    assert device.waits == ["aten._to_copy.default"] * once, "the verdict on lists of instances, and nothing else"


DATA = {  # methods whose plan looks at the data: at which kind, and what more they wait for before the verdict
    "classmix": ("semantic", METHODS["classmix"], 0),
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
        with pytest.raises(RuntimeError, match="of the device and of the host"):
            there + here
    assert here.tolist() == fetch(send(here)).tolist()
    assert fetch(there).tolist() == [[0, 1, 0], [0, 0, 0]]
