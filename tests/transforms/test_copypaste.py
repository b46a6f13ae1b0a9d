"""CopyPaste: feather, flip pairs, placement, presets, what is refused."""

from __future__ import annotations

import warnings

import pytest
import torch
from oracle import same

import cutmix_dense as cd
from cutmix_dense import functional as F


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(masks: bool = True, n: int = 3, size: tuple[int, int] = (24, 36)):
    images = torch.rand(n, 3, *size, generator=seeded(1))
    targets = []
    for k in range(n):
        boxes = torch.tensor([[2.0 + k, 3, 12 + k, 15], [18, 6 + k, 30, 20]])
        target = {"boxes": boxes, "labels": torch.tensor([1, 2])}
        if masks:
            stack = torch.zeros(2, *size, dtype=torch.bool)
            for m, (x0, y0, x1, y1) in zip(stack, boxes.long().tolist(), strict=True):
                m[y0:y1, x0:x1] = True
            target["masks"] = stack
        targets.append(target)
    return images, targets


@pytest.mark.parametrize("masks", [True, False])
def test_feather_softens_the_image_only(masks: bool):
    images, targets = batch(masks)
    hard = cd.CopyPaste(instances="all", p=1.0)(images, targets, generator=seeded(2))
    soft = cd.CopyPaste(instances="all", p=1.0, feather=1.0)(images, targets, generator=seeded(2))
    assert same(hard[1], soft[1])
    plan = cd.CopyPaste(instances="all", p=1.0).make_plan(images, targets, generator=seeded(2))
    owner = plan.owner_map()[:, None].float()
    low = -torch.nn.functional.max_pool2d(-owner, 11, 1, 5)
    high = torch.nn.functional.max_pool2d(owner, 11, 1, 5)
    inner = (low == high).expand_as(images)
    assert torch.allclose(hard[0][inner], soft[0][inner], atol=1e-2)
    edge = (torch.nn.functional.max_pool2d(owner, 3, 1, 1) != owner).expand_as(images)
    assert (hard[0] - soft[0]).abs()[edge].mean() > 0.03
    between = torch.stack([images, images.roll(1, 0)])
    assert (soft[0] >= between.amin(0) - 1e-5).all()
    assert (soft[0] <= between.amax(0) + 1e-5).all()


def test_flip_pairs_exchange_names():
    images, targets = batch()
    points = torch.tensor([[[3.5, 4.5, 2.0], [10.5, 12.5, 1.0], [5.5, 7.5, 2.0]]] * 2)
    points[1, :, 0] += 15.0
    points[1, :, 1] += 3.0
    for target in targets:
        target["keypoints"] = points.clone()
    mix = cd.CopyPaste(instances="all", flip=1.0, p=1.0, flip_pairs=((0, 1),), min_visibility=0.0)
    _, out = mix(images, targets, generator=seeded(3))
    for b, target in enumerate(out):
        for row, (source, index) in zip(target["keypoints"].tolist(), target["origin"].tolist(), strict=True):
            for k, (x, y, v) in enumerate(row):
                if v == 0:
                    continue
                was = points[index, k if source == b else (1, 0, 2)[k]].tolist()
                assert (x, y, v) == pytest.approx((was[0] if source == b else 36 - was[0], was[1], was[2]))
    with pytest.raises(ValueError, match="flip_pairs"):
        cd.CopyPaste(instances="all", flip=1.0, p=1.0)(images, targets, generator=seeded(3))


def test_flip_pairs_exchange_the_visibility_of_points_too():
    images, targets = batch()
    for target in targets:
        target["keypoints"] = torch.tensor([[[4.5, 5.5], [9.5, 10.5]], [[20.5, 10.5], [27.5, 12.5]]])
        target["keypoints_visible"] = torch.tensor([[True, False], [True, False]])
    mix = cd.CopyPaste(instances="all", flip=1.0, p=1.0, flip_pairs=((0, 1),), min_visibility=0.0)
    _, out = mix(images, targets, generator=seeded(3))
    for b, target in enumerate(out):
        pasted = target["origin"][:, 0] != b
        assert pasted.any()
        assert not target["keypoints_visible"][pasted][:, 0].any(), "the hidden point changed its name"
        assert target["keypoints_visible"][pasted][:, 1].all()
        assert not target["keypoints_visible"][~pasted][:, 1].any(), "a hidden point came back"


def test_a_box_that_juts_out_of_its_image_leaves_no_fill():
    """An annotation is clipped to its source's extent: what lies beyond the partner is still the base's."""
    images = [torch.zeros(1, 20, 30), torch.ones(1, 12, 16)]
    targets = [
        {"boxes": torch.tensor([[1.0, 1, 4, 4]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[8.0, 4, 20, 9]]), "labels": torch.tensor([2])},
    ]
    mix = cd.CopyPaste(instances="all", p=1.0, fill=9)
    for seed in range(4):
        assert not mix.make_plan(images, targets, generator=seeded(seed)).has_fill()
        out, _ = mix(images, targets, generator=seeded(seed))
        assert not (out[0] == 9).any(), "fill on the base"


def test_only_the_chosen_come_along():
    images, targets = batch()
    for seed in range(6):
        _, out = cd.CopyPaste(instances=1, p=1.0, min_visibility=0.0)(images, targets, generator=seeded(seed))
        for b, target in enumerate(out):
            assert (target["origin"][:, 0] != b).sum() == 1


@pytest.mark.parametrize(("rows", "cols", "kept"), [(2, 2, True), (1, 1, False), (1, 4, False), (3, 1, False)])
def test_torchvision_preset_keeps_all_but_a_line(rows: int, cols: int, kept: bool):
    """Its boxes end at the last pixel, not behind it: of a line of pixels they have no area and are dropped."""
    images, targets = batch(n=2)
    big = torch.ones(1, 24, 36, dtype=torch.bool)
    big[0, 5 : 5 + rows, 5 : 5 + cols] = False
    targets[1] = {"boxes": torch.tensor([[0.0, 0, 36, 24]]), "labels": torch.tensor([3]), "masks": big}
    _, out = cd.CopyPaste.torchvision(instances="all")(images, targets, generator=seeded(0))
    assert out[0]["origin"].tolist() == ([[0, 0], [1, 0]] if kept else [[1, 0]])
    if kept:
        assert out[0]["masks"][0].sum() == rows * cols
        assert out[0]["boxes"][0].tolist() == [5, 5, 5 + cols, 5 + rows]


def test_mmdet_preset_keeps_what_moved_little_or_shows_much():
    size = (60, 90)
    images = torch.rand(2, 3, *size)
    base = torch.zeros(3, *size, dtype=torch.bool)
    base[0, 0:40, 0:40] = True  # loses a lot, shows more than 300 pixels
    base[1, 0:12, 60:72] = True  # moves by more than 10, shows less
    base[2, 50:58, 60:68] = True  # moves by 8 at most
    paste = torch.zeros(1, *size, dtype=torch.bool)
    paste[0, 0:24, 0:40] = True
    paste[0, 0:11, 60:72] = True
    paste[0, 50:57, 60:68] = True

    def target(masks: torch.Tensor) -> dict:
        boxes = []
        for m in masks:
            ys, xs = m.nonzero(as_tuple=True)
            boxes.append([float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)])
        return {"boxes": torch.tensor(boxes), "labels": torch.ones(len(masks), dtype=torch.long), "masks": masks}

    mix = cd.CopyPaste.mmdet(p=1.0, instances="all")
    _, out = mix(images, [target(base), target(paste)], generator=seeded(0))
    assert out[0]["origin"].tolist() == [[0, 0], [0, 2], [1, 0]]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"instances": 0}, "instances"),
        ({"instances": -2}, "instances"),
        ({"instances": 1.5}, "instances"),
        ({"instances": "some"}, "instances"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (2.0, 1.0)}, "scale"),
        ({"flip": 1.5}, "flip"),
        ({"feather": -1.0}, "feather"),
    ],
)
def test_bad_arguments(arguments: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.CopyPaste(**arguments)


def test_scaled_masks_are_pasted_where_they_are_stated():
    """The owner and the mixed masks of what is pasted are the same pixels, scaled and flipped alike."""
    images, targets = batch()
    mix = cd.CopyPaste(instances="all", scale=(0.3, 2.0), flip=0.5, p=1.0, flip_pairs=(), min_visibility=0.0)
    for seed in range(8):
        plan = mix.make_plan(images, targets, generator=seeded(seed))
        out = F.mix_instances(targets, plan, min_visibility=0.0, min_size=0.0, flip_pairs=())
        for b, target in enumerate(out):
            pasted = target["masks"][target["origin"][:, 0] != b]
            assert torch.equal(pasted.any(0), plan.owner_map()[b] == 1)


@pytest.mark.parametrize(("layout", "shape"), [("BCHW", (30, 40)), ("BCDHW", (5, 30, 40))])
def test_targets_of_maps_alone_have_nothing_to_paste(layout, shape):
    images = [torch.rand(1, *shape) for _ in range(2)]
    targets = [{"semantic": torch.zeros(shape, dtype=torch.uint8), "spacing": torch.ones(3)} for _ in range(2)]
    mixed, after = cd.CopyPaste(p=1.0, layout=layout)(images, targets)
    for before, image, target, result in zip(images, mixed, targets, after):
        assert torch.equal(before, image)
        assert torch.equal(target["semantic"], result["semantic"])


def test_targets_without_instances_are_warned_of_once():
    images, mix = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8), cd.CopyPaste(p=1.0)
    maps = [{"semantic": torch.zeros(8, 9, dtype=torch.uint8)} for _ in images]
    with pytest.warns(UserWarning, match="without 'boxes' or 'masks', so it pastes nothing"):
        mixed, _ = mix(images, maps)
    assert torch.equal(mixed, images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mix(images, maps)


def test_a_batch_of_background_images_is_no_reason_to_warn():
    images = torch.zeros(2, 3, 8, 9, dtype=torch.uint8)
    empty = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)} for _ in images]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cd.CopyPaste(p=1.0)(images, empty)
