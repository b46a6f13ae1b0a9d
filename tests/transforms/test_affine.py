"""Affine: pixels, masks, maps, boxes and keypoints follow one map, judged by the rules of every mix."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from oracle import coded_pool
from torchvision import tv_tensors

import cutmix_dense as cd

SIZES = [(40, 56), (33, 70), (52, 31)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def matrix(plan: Any, index: int) -> np.ndarray:
    """The map of points (x, y, 1), written down from its definition."""
    a, s = math.radians(plan.angle[index]), plan.scale[index]
    kx, ky = (math.tan(math.radians(k)) for k in plan.shear[index])
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])  # clockwise, as y points down
    shear = np.array([[1.0, 0.0], [-ky, 1.0]]) @ np.array([[1.0, -kx], [0.0, 1.0]])
    own, canvas = plan.sizes[index][::-1], plan.canvas[index][::-1]
    centre, target = (0 * own, 0 * canvas) if plan.anchor == "corner" else (own / 2, canvas / 2)
    linear = s * turn @ shear
    shift = target + plan.shift[index][::-1] - linear @ centre
    return np.vstack([np.hstack([linear, shift[:, None]]), [0, 0, 1]])


def targets_of(sizes: list[tuple[int, int]], seed: int) -> list[dict[str, Any]]:
    """Three boxes per image, each with the mask of an ellipse in it and a keypoint at its centre."""
    rng, targets = np.random.default_rng(seed), []
    for height, width in sizes:
        low = rng.uniform(0, 0.6, (3, 2)) * (width, height)
        high = np.minimum(low + rng.uniform(0.15, 0.4, (3, 2)) * (width, height), (width, height))
        boxes, centre, half = np.hstack([low, high]), (low + high) / 2, (high - low) / 2
        y, x = np.mgrid[:height, :width] + 0.5
        inside = [((x - c[0]) / h[0]) ** 2 + ((y - c[1]) / h[1]) ** 2 <= 1 for c, h in zip(centre, half)]
        points = np.concatenate([centre, np.full((3, 1), 2)], axis=1)[:, None]
        targets.append(
            {
                "boxes": torch.from_numpy(boxes).float(),
                "labels": torch.arange(3),
                "masks": torch.from_numpy(np.stack(inside)),
                "keypoints": torch.from_numpy(points).float(),
                "area": torch.from_numpy((high - low).prod(axis=1)).float(),
            }
        )
    return targets


def sources(plan: Any, index: int) -> np.ndarray:
    """Where each pixel centre of the canvas comes from: (H, W, 2), x and y."""
    height, width = plan.canvas[index]
    y, x = np.mgrid[:height, :width] + 0.5
    points = np.stack([x, y, np.ones_like(x)], axis=-1)
    return (points @ np.linalg.inv(matrix(plan, index)).T)[..., :2]


@pytest.mark.parametrize("anchor", ["center", "corner"])
@pytest.mark.parametrize("size", [None, (36, 44), (80, 90)])
def test_every_pixel_comes_from_where_the_map_says(size, anchor):
    mix = cd.Affine(degrees=40, translate=0.3, shear=15, size=size, anchor=anchor, interpolation="nearest", fill=-1)
    for seed in range(4):
        images = [image.double() for image in coded_pool(SIZES)]
        plan = mix.make_plan(images, generator=seeded(seed))
        moved = mix(images, generator=seeded(seed))
        for index, image in enumerate(moved):
            source = sources(plan, index)
            height, width = SIZES[index]
            filled = (image == -1).all(dim=0).numpy()
            # half a pixel, and what single precision leaves open
            within = ((source > 0.01) & (source < np.array([width, height]) - 0.01)).all(axis=-1)
            beyond = ((source < -0.01) | (source > np.array([width, height]) + 0.01)).any(axis=-1)
            assert not (filled & within).any()
            assert filled[beyond].all()
            shown = ~filled
            assert shown.any()
            read = image.numpy()
            assert (read[0][shown] == index + 1).all()
            for axis, code in enumerate(read[1:]):  # the pool codes (image + 1, x, y)
                assert (np.abs(code[shown] + 0.5 - source[..., axis][shown]) <= 0.51).all()


@pytest.mark.parametrize("size", [None, (36, 44)])
def test_masks_boxes_and_keypoints_follow_their_pixels(size):
    mix = cd.Affine(degrees=30, translate=0.3, shear=8, size=size, min_visibility=0.0, min_size=0.0)
    kept = 0
    for seed in range(8):
        targets = targets_of(SIZES, seed)
        images = [torch.rand(3, *each) for each in SIZES]
        plan = mix.make_plan(images, targets, generator=seeded(seed))
        _, after = mix(images, targets, generator=seeded(seed))
        for index, (before, now) in enumerate(zip(targets, after)):
            source = sources(plan, index)
            pixel = np.floor(source).astype(int)
            height, width = SIZES[index]
            inside = ((source >= 0) & (source < (width, height))).all(axis=-1)
            pixel = np.where(inside[..., None], pixel, 0)
            for row, (_, place) in enumerate(now["origin"].tolist()):
                kept += 1
                mask = before["masks"][place].numpy()
                expected = mask[pixel[..., 1], pixel[..., 0]] & inside
                got = now["masks"][row].numpy()
                assert (expected != got).sum() <= 4  # on the border of two pixels
                # the box is tight round the mask
                y, x = got.nonzero()
                assert now["boxes"][row].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
                # what shows over the whole: as many pixels as the map's determinant says
                whole = mask.sum() * plan.scale[index] ** 2
                assert now["visibility"][row].item() == pytest.approx(min(got.sum() / whole, 1), abs=0.08)
                point = matrix(plan, index) @ [*before["keypoints"][place, 0, :2].tolist(), 1]
                on_canvas = all(0 <= p < length for p, length in zip(point, plan.canvas[index][::-1]))
                assert bool(now["keypoints"][row, 0, 2] > 0) == on_canvas
                if on_canvas:
                    assert now["keypoints"][row, 0, :2].tolist() == pytest.approx(point[:2].tolist(), abs=1e-3)
    assert kept > 40


def test_boxes_without_masks_are_the_upright_ones_round_the_moved():
    mix = cd.Affine(degrees=25, translate=0.4, min_visibility=0.3, min_size=4)
    dropped = 0
    for seed in range(10):
        targets = [{"boxes": t["boxes"], "labels": t["labels"], "area": t["area"]} for t in targets_of(SIZES, seed)]
        images = [torch.rand(3, *each) for each in SIZES]
        plan = mix.make_plan(images, targets, generator=seeded(seed))
        _, after, report = mix(images, targets, generator=seeded(seed), return_report=True)
        assert len(report) == 9
        for index, (before, now) in enumerate(zip(targets, after)):
            x0, y0, x1, y1 = before["boxes"].double().numpy().T
            ones = np.ones_like(x0)
            corners = np.stack([[x0, y0, ones], [x1, y0, ones], [x1, y1, ones], [x0, y1, ones]])  # (4, 3, n)
            at = np.einsum("ij,kjn->kni", matrix(plan, index), corners)[..., :2]
            whole = np.concatenate([at.min(axis=0), at.max(axis=0)], axis=1)
            limit = np.tile(plan.canvas[index][::-1], 2)
            cut = np.clip(whole, 0, limit)
            sides, all_sides = cut[:, 2:] - cut[:, :2], whole[:, 2:] - whole[:, :2]
            share = sides.prod(axis=1) / all_sides.prod(axis=1)
            stays = (share >= 0.3) & (sides >= 4).all(axis=1)
            assert now["labels"].tolist() == stays.nonzero()[0].tolist()
            torch.testing.assert_close(now["boxes"], torch.from_numpy(cut[stays]).float(), atol=2e-3, rtol=0)
            torch.testing.assert_close(now["visibility"], torch.from_numpy(share[stays]).float(), atol=1e-4, rtol=0)
            area = before["area"].numpy()[stays] * plan.scale[index] ** 2 * share[stays]
            torch.testing.assert_close(now["area"], torch.from_numpy(area).float(), atol=0.05, rtol=1e-4)
            dropped += int((~stays).sum())
    assert dropped > 0


def test_a_map_keeps_its_ids_and_its_pixels():
    images = coded_pool(SIZES)
    maps = [(image[2] // 8 + 20 * (image[1] // 8)).long() for image in images]  # ids of blocks of 8 x 8 pixels
    mix = cd.Affine(degrees=20, translate=0.2, ignore_index=250)
    plan = mix.make_plan(images, maps, generator=seeded(3))
    _, after = mix(images, maps, generator=seeded(3))
    for index, (before, now) in enumerate(zip(maps, after)):
        source = sources(plan, index)
        height, width = SIZES[index]
        inside = ((source > 0.01) & (source < np.array([width, height]) - 0.01)).all(axis=-1)
        near = np.abs(source - np.round(source)).min(axis=-1) > 0.01  # not on the border of two pixels
        sure = inside & near
        x, y = np.floor(source[sure]).astype(int).T
        assert np.array_equal(now.numpy()[sure], before.numpy()[y, x])
        assert {*now.unique().tolist()} <= {250, *before.unique().tolist()}
        beyond = ((source < -0.01) | (source > np.array([width, height]) + 0.01)).any(axis=-1)
        assert (now.numpy()[beyond] == 250).all()


def test_samples_that_are_not_moved_stay_bit_for_bit():
    images, targets = torch.rand(4, 3, 40, 56), targets_of([(40, 56)] * 4, 0)
    mix = cd.Affine(p=0.5, min_size=30)
    plan = mix.make_plan(images, targets, generator=seeded(1))
    assert 0 < plan.moved.sum() < 4
    moved, after = mix(images, targets, generator=seeded(1))
    before = images.clone()
    for index in range(4):
        assert torch.equal(moved[index], images[index]) != bool(plan.moved[index])
        if not plan.moved[index]:
            assert all(torch.equal(after[index][key], targets[index][key]) for key in targets[index])
    assert torch.equal(images, before)


def test_a_padded_batch_is_moved_within_its_valid_areas():
    sizes = [(20, 30), (16, 24), (25, 18)]
    images = torch.full((3, 1, 28, 34), -7.0)
    for image, (height, width) in zip(images, sizes):
        image[:, :height, :width] = 1
    mix = cd.Affine(degrees=0, translate=0.2, scale=(1, 1), fill=0)
    maps = (images[:, 0] == 1).long()
    moved, after = mix(images, maps, sizes=torch.tensor(sizes), generator=seeded(2))
    plan = mix.make_plan(images, maps, sizes=torch.tensor(sizes), generator=seeded(2))
    for index, (height, width) in enumerate(sizes):
        assert (moved[index, :, height:] == -7).all()
        assert (moved[index, :, :, width:] == -7).all()
        dy, dx = plan.shift[index].astype(int)
        expected = torch.zeros(height, width)
        expected[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = 1
        torch.testing.assert_close(moved[index, 0, :height, :width], expected)
        assert torch.equal(after[index, :height, :width], torch.where(expected > 0, 1, 255))


@pytest.mark.parametrize("batch", [True, False])
def test_every_frame_of_a_clip_follows_its_map(batch):
    """One map for all frames of a clip: pixels, boxes, masks and maps of each frame."""
    count, sizes = 3, [SIZES[0]] * 2 if batch else SIZES[:2]
    coded = iter(coded_pool([size for size in sizes for _ in range(count)]))
    clips: Any = [torch.stack([next(coded).double() for _ in range(count)]) for _ in sizes]
    targets = [targets_of([size] * count, seed) for seed, size in enumerate(sizes)]
    for clip in targets:
        for frame in clip:
            frame["track_id"] = torch.tensor([7, 8, 9])
    maps: Any = [(clip[:, 2] // 8).long() for clip in clips]
    if batch:
        clips, maps = torch.stack(clips), torch.stack(maps)
    mix = cd.Affine(
        degrees=30, translate=0.3, interpolation="nearest", fill=-1, min_visibility=0, min_size=0, layout="BTCHW"
    )
    kept = 0
    for seed in range(4):
        plan = mix.make_plan(clips, generator=seeded(seed))
        moved, after = mix(clips, {"frames": targets, "semantic": maps}, generator=seeded(seed))
        for number, clip in enumerate(moved):
            source = sources(plan, number)
            height, width = sizes[number]
            inside = ((source >= 0) & (source < (width, height))).all(axis=-1)
            x, y = np.where(inside[..., None], np.floor(source).astype(int), 0).transpose(2, 0, 1)
            for t, image in enumerate(clip.numpy()):
                shown = ~(image == -1).all(axis=0)
                assert (shown != inside).sum() <= 4  # on the border of two pixels
                assert (image[0][shown] == number * count + t + 1).all()
                for axis, code in enumerate(image[1:]):
                    assert (np.abs(code[shown] + 0.5 - source[..., axis][shown]) <= 0.51).all()
                ids = after["semantic"][number][t].numpy()
                assert (ids[shown] == image[2][shown] // 8).all()
                assert (ids[~shown] == 255).all()
                now, before = after["frames"][number][t], targets[number][t]
                for row, (frame, place) in enumerate(now["origin"].tolist()):
                    assert frame == number * count + t
                    assert now["track_id"][row] == 7 + place
                    got = now["masks"][row].numpy()
                    assert ((before["masks"][place].numpy()[y, x] & inside) != got).sum() <= 4
                    rows, columns = got.nonzero()
                    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                    assert now["boxes"][row].tolist() == box
                    kept += 1
    assert kept > 40


def test_padded_boxes_keep_their_slots_and_lie_round_their_pixels():
    size, count = (60, 84), 4
    images = torch.stack(coded_pool([size] * count)).double()
    boxes = torch.tensor([[4.0, 6, 30, 22], [40, 8, 80, 26], [10, 30, 28, 56], [0, 0, 0, 0]]).repeat(count, 1, 1)
    valid = torch.tensor([True, True, True, False]).repeat(count, 1)
    labels, area = torch.arange(16).reshape(count, 4), torch.tensor([416.0, 720, 468, 0]).repeat(count, 1)
    maps = torch.zeros(count, *size, dtype=torch.long)
    padded = {"boxes": boxes, "valid": valid, "labels": labels, "area": area, "mask": maps}
    mix = cd.Affine(
        degrees=0, translate=0.3, scale=(0.5, 1.5), p=0.7, interpolation="nearest", fill=-1, min_visibility=0.2
    )
    alone, checked = mix(images, padded, generator=seeded(1))[1], 0
    assert alone["boxes"].shape == (count, 4, 4)
    for seed in range(6):
        plan = mix.make_plan(images, padded, generator=seeded(seed))
        moved, after = mix(images, padded, generator=seeded(seed))
        rows = [{"boxes": b[:3], "labels": k[:3], "area": a[:3]} for b, k, a in zip(boxes, labels, area)]
        _, listed = mix(images, rows, generator=seeded(seed))
        for index, image in enumerate(moved):
            stays = after["valid"][index]
            assert not stays[3]
            for key in ("boxes", "labels", "area", "visibility"):
                torch.testing.assert_close(after[key][index][stays], listed[index][key])
            assert ((image[0] == -1) == (after["mask"][index] == 255)).all()
            if not plan.moved[index]:
                assert torch.equal(after["boxes"][index], boxes[index])
            for box, label in zip(after["boxes"][index][stays].tolist(), after["labels"][index][stays].tolist()):
                x0, y0, x1, y1 = boxes[index, label % 4].tolist()
                x, y = image[1], image[2]
                row, column = ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).nonzero().T
                shown = [column.min(), row.min(), column.max() + 1, row.max() + 1]
                assert np.abs(np.array(box) - np.array(shown)).max() <= 1  # the nearest pixel
                checked += 1
    assert checked > 40


def test_larger_images_that_are_not_moved_are_fitted_into_the_size():
    images = [torch.rand(3, 40, 80), torch.rand(3, 10, 12)]
    targets = [{"boxes": torch.tensor([[10.0, 4, 40, 20]])}, {"boxes": torch.tensor([[1.0, 2, 9, 8]])}]
    moved, after = cd.Affine(size=(20, 20), p=0.0, fill=0)(images, targets)
    assert [tuple(image.shape) for image in moved] == [(3, 20, 20)] * 2
    assert after[0]["boxes"].tolist() == [[2.5, 1, 10, 5]]
    assert torch.equal(moved[1][:, :10, :12], images[1])
    assert after[1]["boxes"].tolist() == [[1.0, 2, 9, 8]]


def test_a_picture_of_the_fill_stays_that():
    """torchvision itself blends the fill twice at the border of the image, which leaves a dark line."""
    for images in (torch.full((2, 3, 40, 56), 114, dtype=torch.uint8), torch.full((2, 3, 40, 56), 0.5)):
        moved = cd.Affine(degrees=30, scale=(0.4, 0.6), fill=float(images[0, 0, 0, 0]))(images, generator=seeded(0))
        torch.testing.assert_close(moved, images)


DTYPES = [
    getattr(torch, name)
    for name in ("uint8", "uint16", "int32", "float16", "float32", "float64")
    if hasattr(torch, name)  # torch 2.1 lacks one
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_are_kept(dtype):
    images = (torch.rand(2, 3, 20, 30) * 100).to(dtype)
    moved = cd.Affine()(images, generator=seeded(0))
    assert moved.dtype == dtype
    still = cd.Affine(degrees=0, translate=0, scale=(1, 1))(images)
    torch.testing.assert_close(still, images, atol=1e-2 if dtype == torch.float16 else 1e-3, rtol=1e-3)
    with pytest.raises(TypeError, match="numbers"):
        cd.Affine()(torch.ones(2, 3, 20, 30, dtype=torch.bool))


def test_gradients_flow_through_the_images():
    images = torch.rand(2, 3, 20, 30, requires_grad=True)
    cd.Affine()(images, generator=seeded(0)).sum().backward()
    assert images.grad is not None
    assert (images.grad > 0).any()


def test_formats_and_classes_come_back():
    boxes = tv_tensors.BoundingBoxes([[10.0, 8, 12, 9]], format="CXCYWH", canvas_size=(40, 56))
    masks = tv_tensors.Mask(torch.ones(1, 40, 56, dtype=torch.uint8))
    image = tv_tensors.Image(torch.rand(3, 40, 56))
    target = {"boxes": boxes, "masks": masks, "labels": torch.tensor([1])}
    moved, (after,) = cd.Affine(size=(30, 30), scale=(0.5, 0.5))([image], [target], generator=seeded(0))
    assert isinstance(moved[0], tv_tensors.Image)
    assert after["boxes"].format == tv_tensors.BoundingBoxFormat.CXCYWH
    assert tuple(after["boxes"].canvas_size) == (30, 30)
    assert isinstance(after["masks"], tv_tensors.Mask)
    assert after["masks"].dtype == torch.uint8
    share = {"boxes": torch.tensor([[0.5, 0.5, 0.25, 0.5]]), "labels": torch.tensor([1])}
    half = cd.Affine(degrees=0, translate=0, scale=(0.5, 0.5), box_format="cxcywh", normalized=True)
    assert half(torch.rand(1, 3, 40, 56), [share])[1][0]["boxes"].tolist() == [[0.5, 0.5, 0.125, 0.25]]


def test_labels_pass_and_out_is_filled():
    images, out = torch.rand(2, 3, 20, 30), torch.empty(2, 3, 20, 30)
    moved, labels = cd.Affine(num_classes=3)(images, torch.tensor([0, 2]), out=out, generator=seeded(0))
    assert moved.data_ptr() == out.data_ptr()
    assert labels.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_draws_are_those_that_are_said():
    mix = cd.Affine(degrees=12, translate=0.2, scale=(0.5, 1.5), shear=3, p=0.7)
    plan = mix.make_plan(torch.rand(4000, 1, 10, 50), generator=seeded(0))
    assert plan.moved.mean() == pytest.approx(0.7, abs=0.03)
    for values, low, high in (
        (plan.angle, -12, 12),
        (plan.scale, 0.5, 1.5),
        (plan.shear[:, 0], -3, 3),
        (plan.shear[:, 1], -3, 3),
    ):
        assert values.min() >= low
        assert values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
        assert values.std() == pytest.approx((high - low) / 12**0.5, rel=0.03)
    assert set(plan.shift[:, 0]) == {-2, -1, 0, 1, 2}
    assert set(plan.shift[:, 1]) == set(range(-10, 11))
    columns = np.stack([plan.angle, plan.scale, *plan.shift.T, *plan.shear.T, plan.moved])
    assert np.abs(np.corrcoef(columns) - np.eye(7)).max() < 0.06  # independent


def test_ignored_instances_and_their_rules():
    target = {
        "boxes": torch.tensor([[2.0, 2, 10, 10]]),
        "labels": torch.tensor([1]),
        "ignored": {"boxes": torch.tensor([[20.0, 5, 40, 30]])},
    }
    mix = cd.Affine(degrees=0, translate=0, scale=(1.5, 1.5), on_filtered="ignore", min_visibility=0.9)
    _, (after,) = mix(torch.rand(1, 3, 40, 56), [target])
    assert after["boxes"].shape == (0, 4)
    # x: 1.5 (x - 28) + 28, y: 1.5 (y - 20) + 20
    assert after["ignored"]["boxes"].tolist() == [[0, 0, 1, 5], [16, 0, 46, 35]]


def test_it_is_pickled_copied_and_closed():
    mix = cd.Affine()
    images = torch.rand(2, 3, 20, 30)
    for twin in (copy.deepcopy(mix), pickle.loads(pickle.dumps(mix))):
        assert torch.equal(twin(images, generator=seeded(4)), mix(images, generator=seeded(4)))
        mix.close()
        assert torch.equal(twin(images), images)
        mix.close(False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"degrees": -1}, "degrees"),
        ({"translate": 2}, "translate"),
        ({"shear": 90}, "shear"),
        ({"scale": (0, 1)}, "scale"),
        ({"size": (0, 5)}, "size"),
        ({"anchor": "middle"}, "anchor"),
        ({"of": "some"}, "of must be"),
        ({"interpolation": "antialias"}, "antialias"),
        ({"split": "parts"}, "split"),
        ({"layout": "BCDHW"}, "layout"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        cd.Affine(**settings)


def test_targets_that_are_refused():
    images, mix = torch.rand(2, 3, 20, 30), cd.Affine()
    with pytest.raises(TypeError, match="class ids"):
        mix(images, {"prob": torch.rand(2, 4, 20, 30)})
    padded = {"boxes": torch.zeros(3, 3, 4), "valid": torch.zeros(3, 3, dtype=torch.bool)}
    with pytest.raises(ValueError, match=r"one entry per image \(2\), got 3"):
        mix(images, padded)
    masks = {key: value[:2] for key, value in padded.items()} | {"masks": torch.zeros(2, 3, 20, 30, dtype=torch.bool)}
    with pytest.raises(ValueError, match="'masks' beside padded boxes"):
        mix(images, masks)
    clips, uneven = torch.rand(2, 3, 3, 20, 30), [[{"boxes": torch.zeros(0, 4)}] * length for length in (3, 2)]
    with pytest.raises(ValueError, match=r"targets\[1\] must hold a dict per frame \(3\), got 2"):
        cd.Affine(layout="BTCHW")(clips, uneven)
    panoptic = [{"panoptic": torch.zeros(20, 30, dtype=torch.long), "segments_info": []}] * 2
    with pytest.raises(ValueError, match="panoptic"):
        mix(images, panoptic)
    _, pair = cd.MixUp(p=1.0)(images, torch.zeros(2, 20, 30, dtype=torch.long))
    with pytest.raises(TypeError, match="before a MixUp"):
        mix(images, pair)
    shares = [{"boxes": torch.tensor([[0.1, 0.1, 0.6, 0.7]] * 4)}] * 2
    with pytest.raises(ValueError, match="normalized"):
        mix(images, shares)
    with pytest.raises(ValueError, match="inplace"):
        mix(images, inplace=True)
    with pytest.raises(ValueError, match="unknown key"):
        mix(images, [{"boxes": torch.tensor([[1.0, 1, 9, 9]]), "speed": torch.rand(1)}] * 2)
    if hasattr(tv_tensors.BoundingBoxFormat, "CXCYWHR"):
        rotated = tv_tensors.BoundingBoxes([[9.0, 9, 6, 4, 20]], format="CXCYWHR", canvas_size=(20, 30))
        with pytest.raises(ValueError, match="rotated"):
            mix(images, [{"boxes": rotated}] * 2)


@pytest.mark.parametrize("of", ["mixed", "all"])
@pytest.mark.parametrize("key", ["masks", "semantic"])
def test_masks_and_maps_of_another_size_are_refused(key, of):
    whole, small = torch.ones(1, 20, 30, dtype=torch.uint8), torch.ones(1, 16, 12, dtype=torch.uint8)
    rows = [{"boxes": torch.tensor([[1.0, 2, 9, 9]]), key: mask} for mask in (whole, small)]
    images = torch.rand(2, 3, 20, 30)
    with pytest.raises(
        ValueError, match=rf"targets\[1\]\['{key}'\] must have its image's size \(20, 30\), got \(1, 16, 12"
    ):
        cd.Affine(of=of)(images, rows)
    with pytest.raises(ValueError, match=rf"targets\[0\]\[1\]\['{key}'\] must have its image's size \(20, 30\)"):
        cd.Affine(of=of, layout="BTCHW")(images[None], [rows])
    for maps, name in (([whole[0], small[0]], r"targets\[1\]"), (small.expand(2, -1, -1), r"targets\[0\]")):
        with pytest.raises(ValueError, match=rf"{name} must have its image's size"):
            cd.Affine(of=of)(images, maps)


def test_a_target_too_many_is_refused():
    images, row = torch.rand(2, 3, 20, 30), {"boxes": torch.tensor([[1.0, 2, 9, 9]])}
    for targets in ([row] * 3, torch.zeros(3, 20, 30).long(), [torch.zeros(20, 30).long()] * 3):
        with pytest.raises(ValueError, match=r"targets must have one entry per image \(2\), got 3"):
            cd.Affine()(images, targets)
    with pytest.raises(TypeError, match="got a list of .'NoneType', 'Tensor'"):
        cd.Affine()(images, [torch.zeros(20, 30).long(), None])


@pytest.mark.parametrize("p", [1.0, 0.5])
def test_masks_and_maps_of_a_padded_batch_stay_in_its_frame(p):
    """As by every mix: masks empty in the padding, maps with the base's; what comes in its image's size stays so."""
    frame, sizes = (28, 34), [(20, 30), (16, 24), (25, 18), (28, 34)]
    images = torch.zeros(4, 1, *frame)
    targets: Any = []
    for image, (height, width) in zip(images, sizes):
        mask = torch.zeros(1, *frame, dtype=torch.bool)
        mask[0, 4:12, 6:15] = True
        image[0][mask[0]] = 1
        semantic = torch.full(frame, 77)
        semantic[:height, :width] = mask[0, :height, :width].long()
        ignored = {"boxes": torch.tensor([[6.0, 4, 15, 12]]), "masks": tv_tensors.Mask(mask)}
        targets.append({**ignored, "labels": torch.tensor([1]), "semantic": semantic, "ignored": ignored})
    mix = cd.Affine(degrees=20, translate=0.1, scale=(1, 1.2), interpolation="nearest", fill=5, p=p, min_visibility=0)
    given = {"instances": targets, "map": [target["semantic"] for target in targets]}
    plan = mix.make_plan(images, given, sizes=sizes, generator=seeded(1))
    assert 0 < plan.moved.sum() <= 4 * p
    moved, after = mix(images, given, sizes=sizes, generator=seeded(1))
    for image, target, ids, (height, width) in zip(moved, after["instances"], after["map"], sizes):
        shows = image[0] == 1
        assert shows.any()
        for masks in (target["masks"], target["ignored"]["masks"]):
            assert type(masks) is tv_tensors.Mask
            assert torch.equal(torch.Tensor(masks[0]) == 1, shows)
        for found in (target["semantic"], ids):
            assert (found[height:] == 77).all()
            assert (found[:, width:] == 77).all()
            expected = torch.where(image[0] == 5, 255, image[0].long())
            assert torch.equal(found[:height, :width], expected[:height, :width])
    own = [
        {**t, "masks": t["masks"][:, :h, :w], "ignored": {**t["ignored"], "masks": t["masks"][:, :h, :w]}}
        for t, (h, w) in zip(targets, sizes)
    ]
    _, cut = mix(images, own, sizes=sizes, generator=seeded(1))
    assert [tuple(target["masks"].shape[1:]) for target in cut] == sizes


@pytest.mark.parametrize(("dtype", "ignore_index"), [(torch.uint8, -1), (torch.uint8, 300), (torch.int8, 255)])
def test_an_ignore_index_that_a_map_cannot_hold_is_refused(dtype, ignore_index):
    maps = torch.zeros(2, 20, 30, dtype=dtype)
    mix = cd.Affine(degrees=20, ignore_index=ignore_index)
    for given in (maps, [{"semantic": each} for each in maps]):
        with pytest.raises(ValueError, match=f"ignore_index {ignore_index} doesn't fit {dtype}"):
            mix(torch.rand(2, 3, 20, 30), given)


def test_plans_of_a_mix_and_of_an_affine_are_told_apart():
    images, maps = torch.rand(2, 3, 20, 30), torch.zeros(2, 20, 30).long()
    rows, padded = [{"boxes": torch.tensor([[1.0, 2, 9, 9]])}] * 2, {"boxes": torch.zeros(2, 1, 4)}
    plan: Any = cd.RandomMix([cd.Affine()]).make_plan(images, p=torch.ones(2))
    functional = cd.functional
    for apply in (
        lambda: functional.mix_pixels(images, plan),
        lambda: functional.mix_semantic(maps, plan),
        lambda: functional.mix_semantic_pair(maps, plan),
        lambda: functional.mix_semantic_soft(maps, plan, num_classes=2),
        lambda: functional.mix_instances(rows, plan),
        lambda: functional.object_pixels(rows, plan),
        lambda: functional.mix_padded({**padded, "valid": torch.ones(2, 1).bool()}, plan),
        lambda: functional.mix_labels(torch.rand(2, 3), plan),
        lambda: cd.CutMix().apply_plan(plan, images),
        lambda: plan.share(),
    ):
        with pytest.raises(TypeError, match=r"must be a MixPlan, got an AffinePlan .* the transform that made it"):
            apply()
    with pytest.raises(TypeError, match="must be an AffinePlan, got a MixPlan"):
        cd.Affine().apply_plan(cd.CutMix().make_plan(images), images)
    assert not hasattr(plan, "anything")
    assert not hasattr(plan, "of_frames")
    copied = pickle.loads(pickle.dumps(copy.deepcopy(plan)))
    assert copied.sizes.tolist() == plan.sizes.tolist()


@pytest.mark.parametrize("mix", [cd.Affine(degrees=5), cd.RandomMix([cd.Affine(degrees=5), cd.Affine()])])
def test_outputs_leave_no_image_out(mix):
    images = torch.rand(3, 1, 16, 24)
    for call in (mix, mix.make_plan, mix.pool_of):
        for given in (images, list(images)):
            with pytest.raises(
                ValueError, match=r"outputs must be the number of images \(3\) for an Affine.*got 2: leave"
            ):
                call(given, outputs=2)
        with pytest.raises(ValueError, match="outputs must be a whole number from 1 to"):
            call(images, outputs=4)
    alike = [mix(images, generator=torch.Generator().manual_seed(3), **more) for more in ({}, {"outputs": 3})]
    assert torch.equal(*alike)
    assert not torch.equal(alike[0], images)
