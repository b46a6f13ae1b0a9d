"""Batches as Ultralytics' trainers hold them, mixed: coded pixels say what each field must hold."""

from __future__ import annotations

import copy
import math
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from oracle import Settings, coded_image, decode, expect_labels, stated_layers
from snippets import ROOT
from stacks.yolo import (
    CENTRE,
    HEIGHT,
    RATIO,
    WIDTH,
    as_targets,
    check,
    coded_batch,
    generator,
    row_masks,
    rows_of,
    same,
)
from torchvision import tv_tensors
from torchvision.ops import box_convert, masks_to_boxes

import cutmix_dense as cd
from cutmix_dense.ultralytics import close_with_mosaic, mix_batch
from cutmix_dense.ultralytics.masks import enlarged, enlarged_in_boxes
from cutmix_dense.warned import MixWarning

METHODS = {
    "CutMix": cd.CutMix(p=1.0, fill=0),
    "CutMix, not of all images": cd.CutMix(p=0.7, pairing="swap"),
    "CutMix, three boxes": cd.CutMix(p=1.0, region=cd.regions.MultiBox(n=3)),
    "GridMix": cd.GridMix(p=1.0),
    "RICAP": cd.RICAP(p=1.0),
    "Mosaic": cd.Mosaic(p=1.0, scale=(1.0, 1.0), fill=0),
    "strict": cd.CutMix(p=1.0, min_visibility=0.6, min_size=5.0),
}
BY_MASKS = {
    "CowMix": cd.CowMix(p=1.0),
    "CopyPaste": cd.CopyPaste(p=1.0),
}


def settings_of(mix) -> Settings:
    return Settings(min_visibility=mix.min_visibility, min_size=mix.min_size, boxes_from=mix.boxes_from)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("masks", [None, "overlap", "rows"])
def test_what_pixels_prove(name, masks, seed):
    mix, batch = METHODS[name], coded_batch(masks=masks, points=2 + (seed > 0), seed=seed)
    before = copy.deepcopy(batch)
    mixed = mix_batch(batch, mix, generator(seed), overlap_mask=masks != "rows")
    same(batch, before)
    foreign = check(batch, mixed, mix, seed, settings_of(mix))
    assert foreign > HEIGHT * WIDTH / 4 or (mix.p < 1 and torch.equal(mixed["img"], batch["img"]))
    assert list(mixed) == list(batch)
    for key in ("im_file", "ori_shape", "resized_shape", "ratio_pad"):
        assert mixed[key] == batch[key]
    for key, value in batch.items():
        assert not isinstance(value, torch.Tensor) or mixed[key].dtype == value.dtype
    assert (mixed["batch_idx"].diff() >= 0).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", BY_MASKS)
@pytest.mark.parametrize("masks", ["overlap", "rows"])
def test_what_pixels_prove_of_free_forms(name, masks, seed):
    # every instance has a mask here: without one a free form is an estimate, which the next test holds
    mix, batch = BY_MASKS[name], coded_batch((3, 2, 4, 1), masks=masks, seed=seed)
    last = len(batch["cls"]) - 1
    x0, y0, x1, y1 = (as_targets(batch)[3]["boxes"][0] / RATIO).tolist()
    window = (slice(math.floor(y0), math.ceil(y1)), slice(math.floor(x0), math.ceil(x1)))
    if masks == "overlap":
        batch["masks"][3][window], batch["sem_masks"][3][window] = 1, last
    else:
        batch["masks"][last][window] = 1
    mixed = mix_batch(batch, mix, generator(seed), overlap_mask=masks != "rows")
    assert check(batch, mixed, mix, seed, settings_of(mix)) > 0


@pytest.mark.parametrize("name", ["GridMix", "StripeMix"])
def test_a_box_exceeds_its_mask_by_slivers_thinner_than_a_pixel_of_the_mask(name):
    mix, exceeding = getattr(cd, name)(p=1.0), 0
    for seed in range(12):
        batch = coded_batch(masks="rows", points=0, seed=seed)
        drawn = row_masks(batch)
        full = enlarged(torch.from_numpy(drawn), RATIO, pixels_of(batch)).numpy()
        mixed = mix_batch(batch, mix, generator(seed), overlap_mask=False)
        sources = [decode(image, (HEIGHT, WIDTH), [(HEIGHT, WIDTH)] * 5) for image in mixed["img"]]
        for row, (number, corners) in enumerate(zip(mixed["cls"][:, 0].long().tolist(), pixels_of(mixed))):
            prov, small = sources[int(mixed["batch_idx"][row])], mixed["masks"][row].numpy() > 0
            if not drawn[number].any() or not small.any():
                continue
            shown = full[number][prov.y, prov.x] & (prov.source == int(batch["batch_idx"][number]))
            assert not (shown[CENTRE::RATIO, CENTRE::RATIO] & ~small).any()
            outer = masks_to_boxes(torch.from_numpy(shown)[None])[0] + torch.tensor([0, 0, 1, 1])
            assert ((corners - outer).abs() < 1).all()
            blocks = small.repeat(RATIO, axis=0).repeat(RATIO, axis=1)
            beside = np.lib.stride_tricks.sliding_window_view(shown & ~blocks, (RATIO, RATIO))
            assert not beside.all(axis=(2, 3)).any()
            inner = masks_to_boxes(torch.from_numpy(blocks)[None])[0] + torch.tensor([0, 0, 1, 1])
            exceeding += bool(((corners - inner) * torch.tensor([-1, -1, 1, 1]) > RATIO).any())
    assert exceeding > 0


def pixels_of(batch: dict) -> torch.Tensor:
    """The boxes of a batch as corners in pixels."""
    return box_convert(batch["bboxes"], "cxcywh", "xyxy") * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])


def test_an_object_without_a_pixel_in_its_mask_is_judged_by_its_box():
    batch = coded_batch((2, 2), points=0)
    lost = float(batch["cls"][-1])
    assert row_masks(batch).any(axis=(1, 2)).tolist() == [True, True, True, False]
    seen = 0
    for seed in range(30):
        mix = cd.CowMix(p=1.0)
        mixed = mix_batch(batch, mix, generator(seed))
        unit = torch.tensor([WIDTH, HEIGHT] * 2)
        for output in range(2):
            prov = decode(mixed["img"][output], (HEIGHT, WIDTH), [(HEIGHT, WIDTH)] * 2)
            rows = [row for row in rows_of(mixed, output) if mixed["cls"][row] == lost]
            x0, y0, x1, y1 = as_targets(batch)[1]["boxes"][1].tolist()
            inside = prov.source[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] == 1
            share = inside.mean()
            if share < 0.05 or share > 0.2:  # the box's share of its outermost pixels isn't looked at here
                assert len(rows) == (share > 0.1)
            for row in rows:
                x, y, w, h = (mixed["bboxes"][row] * unit).tolist()
                assert x - w / 2 >= x0 - 1e-3
                assert y + h / 2 <= y1 + 1e-3
                assert not (mixed["masks"][output] == list(rows_of(mixed, output)).index(row) + 1).any()
                seen += share < 1
    assert seen > 5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
@pytest.mark.parametrize("name", [*METHODS, *BY_MASKS, "MixUp", "ResizeMix"])
def test_images_are_those_of_the_core_bit_by_bit(name, dtype):
    mix = {**METHODS, **BY_MASKS, "MixUp": cd.MixUp(p=1.0), "ResizeMix": cd.ResizeMix(p=1.0)}[name]
    batch = coded_batch(dtype=dtype)
    if dtype != torch.uint8:
        batch["img"] = batch["img"] / 255
    mixed = mix_batch(batch, mix, generator(5))
    targets = [{key: value for key, value in one.items() if key != "keypoints"} for one in as_targets(batch)]
    if name == "CopyPaste":
        wanted = cd.CopyPaste(p=1.0, boxes="estimate")(batch["img"], targets, generator=generator(5))[0]
    else:
        wanted = mix(batch["img"], generator=generator(5))
    assert mixed["img"].dtype == dtype
    assert torch.equal(mixed["img"], wanted)
    assert mix.p < 1 or not torch.equal(mixed["img"], batch["img"])


def test_mixup_lays_both_masks_over_each_other_the_smaller_on_top():
    for masks in ("overlap", "rows"):
        batch = coded_batch((3, 2, 0, 4), masks=masks)
        mixed = mix_batch(batch, cd.MixUp(p=1.0, pairing="roll", lam=0.25), overlap_mask=masks == "overlap")
        drawn = row_masks(batch)
        blended = batch["img"] * 0.25 + batch["img"].roll(1, 0) * 0.75
        assert torch.allclose(mixed["img"], blended, atol=1e-4)
        for output in range(4):
            partner = (output - 1) % 4
            wanted = [*rows_of(batch, output).tolist(), *rows_of(batch, partner).tolist()]
            rows = rows_of(mixed, output)
            assert mixed["cls"][rows, 0].tolist() == wanted
            assert torch.equal(mixed["bboxes"][rows], batch["bboxes"][wanted])
            if masks == "rows":
                assert np.array_equal(mixed["masks"][rows].numpy() != 0, drawn[wanted])
                continue
            top = np.zeros(drawn.shape[1:], dtype=int)
            for number in sorted(range(len(wanted)), key=lambda n: -drawn[wanted[n]].sum()):
                top[drawn[wanted[number]]] = number + 1
            assert np.array_equal(mixed["masks"][output].numpy(), top)
            classes = np.array([0, *wanted])[top]
            assert np.array_equal(mixed["sem_masks"][output].numpy()[top > 0], classes[top > 0])


@pytest.mark.parametrize("masks", [None, "overlap", "rows"])
@pytest.mark.parametrize("points", [0, 2, 3])
def test_an_unmixed_batch_is_given_back_as_it_came(masks, points):
    batch = coded_batch(masks=masks, points=points)
    batch["bboxes"][0, 0] = 0.03  # it juts out of the image
    if points:
        batch["keypoints"][0, 0, :2] = torch.tensor([1.25, -0.5])
    for mix in (
        cd.CutMix(p=0.0),
        cd.Mosaic(p=0.0),
        cd.CopyPaste(p=0.0),
        cd.MixUp(p=0.0),
        cd.CowMix(p=0.0, boxes="estimate"),
    ):
        same(mix_batch(batch, mix, overlap_mask=masks != "rows"), batch)
    closed = cd.RandomMix([cd.CutMix(p=1.0), cd.Mosaic()])
    closed.close()
    same(mix_batch(batch, closed, overlap_mask=masks != "rows"), batch)


@pytest.mark.parametrize("overlap", [True, False])
def test_a_batch_of_one_and_batches_without_objects(overlap):
    masks = "overlap" if overlap else "rows"
    one = coded_batch((3,), masks=masks)
    with pytest.warns(MixWarning, match="batch of one image") as told:
        same(mix_batch(one, cd.CutMix(p=1.0), overlap_mask=overlap), one)
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixWarning)
        for mix in (cd.Cutout(p=1.0), cd.CopyPaste(source="self", place="random", instances=1, p=1.0)):
            assert not torch.equal(mix_batch(one, mix, generator(2), overlap_mask=overlap)["img"], one["img"])
    empty = coded_batch((0, 0, 0), masks=masks)
    assert [len(empty[key]) for key in ("bboxes", "cls", "keypoints", "batch_idx")] == [0, 0, 0, 0]
    for mix in (cd.CutMix(p=1.0), cd.Mosaic(scale=(1.0, 1.0)), cd.MixUp(p=1.0), cd.CopyPaste(p=1.0), cd.CowMix(p=1.0)):
        mixed = mix_batch(empty, mix, generator(2), overlap_mask=overlap)
        if not isinstance(mix, cd.CopyPaste):  # which has nothing to paste
            assert not torch.equal(mixed["img"], empty["img"])
        same({**mixed, "img": empty["img"]}, empty)


def test_half_precision_and_an_order_of_its_own():
    batch = coded_batch(masks="overlap")
    half = {**batch, "bboxes": batch["bboxes"].half(), "keypoints": batch["keypoints"].half()}
    same(mix_batch(half, cd.CutMix(p=0.0)), half)
    mixed = mix_batch(half, cd.CutMix(p=1.0), generator(1))
    exact = mix_batch(batch, cd.CutMix(p=1.0), generator(1))
    assert mixed["bboxes"].dtype == mixed["keypoints"].dtype == torch.float16
    assert torch.equal(mixed["cls"], exact["cls"])
    assert (mixed["bboxes"] - exact["bboxes"]).abs().max() < 1.5 / HEIGHT

    order = torch.tensor([7, 0, 3, 1, 8, 2, 4, 9, 5, 6, 10, 11])  # rows of one image keep their order
    shuffled = {key: batch[key][order] for key in ("bboxes", "cls", "keypoints", "batch_idx")}
    keep = torch.cat([order[batch["batch_idx"][order] == image] for image in range(5)])
    ordered = {key: batch[key][keep] for key in shuffled}
    plain = {key: value for key, value in batch.items() if key not in ("masks", "sem_masks")}
    same(
        mix_batch({**plain, **shuffled}, cd.CutMix(p=1.0), generator(3)),
        mix_batch({**plain, **ordered}, cd.CutMix(p=1.0), generator(3)),
    )


@pytest.mark.parametrize("masks", ["rows", "overlap"])
def test_rows_of_masks_in_an_order_of_their_own(masks):
    batch = coded_batch((1, 3), masks=masks, points=0)  # the last one of three has no mask
    order = torch.tensor([1, 2, 0, 3])
    keys = ("bboxes", "cls", "batch_idx", *(["masks"] if masks == "rows" else []))
    shuffled = {**batch, **{key: batch[key][order] for key in keys}}
    assert (shuffled["batch_idx"].diff() < 0).any()
    for seed in range(5):
        same(
            mix_batch(shuffled, cd.CutMix(p=1.0), generator(seed), overlap_mask=masks == "overlap"),
            mix_batch(batch, cd.CutMix(p=1.0), generator(seed), overlap_mask=masks == "overlap"),
        )


def test_index_maps_grow_where_a_byte_is_too_small():
    count = 200
    x, y = torch.meshgrid(torch.arange(20), torch.arange(10), indexing="xy")
    places = torch.stack([x.flatten(), y.flatten()], dim=1)
    index = torch.zeros(2, 16, 24, dtype=torch.uint8)
    index[:, places[:, 1], places[:, 0]] = torch.arange(1, count + 1, dtype=torch.uint8)
    centres = (places + 0.5) * RATIO / torch.tensor([WIDTH, HEIGHT])
    boxes = torch.cat([centres, torch.tensor([[4 / WIDTH, 4 / HEIGHT]]).expand(count, 2)], dim=1).repeat(2, 1)
    batch = {
        "img": torch.stack([coded_image(number, HEIGHT, WIDTH) for number in range(2)]),
        "bboxes": boxes.float(),
        "cls": torch.arange(2 * count)[:, None].float(),
        "batch_idx": torch.tensor([0.0, 1.0]).repeat_interleave(count),
        "masks": index,
    }
    few = mix_batch(batch, cd.CutMix(p=0.0))
    assert few["masks"].dtype == torch.uint8
    assert mix_batch({**batch, "masks": index.int()}, cd.CutMix(p=0.0))["masks"].dtype == torch.int32
    many = mix_batch(batch, cd.MixUp(p=1.0, lam=0.5))
    assert many["masks"].dtype == torch.int32
    assert (many["batch_idx"] == 0).sum() == 2 * count
    assert many["masks"][0, places[:, 1], places[:, 0]].tolist() in ([*range(1, 201)], [*range(201, 401)])


@pytest.mark.parametrize("ratio", [1, 2, 8])
def test_masks_of_another_ratio(ratio):
    batch = coded_batch((2, 2), points=0)
    fine = batch["masks"].repeat_interleave(4, 1).repeat_interleave(4, 2)[:, ::ratio, ::ratio]
    batch["masks"] = fine
    del batch["sem_masks"]
    mixed = mix_batch(batch, cd.CutMix(p=1.0), generator(4))
    assert mixed["masks"].shape == fine.shape
    at = slice(ratio // 2, None, ratio)
    for output in range(2):
        prov = decode(mixed["img"][output], (HEIGHT, WIDTH), [(HEIGHT, WIDTH)] * 2)
        source = prov.source[at, at]
        own = [batch["cls"][rows_of(batch, image)[0]].item() for image in range(2)]
        numbers = mixed["cls"][rows_of(mixed, output), 0].tolist()
        for y, x in np.ndindex(source.shape):
            was = int(fine[source[y, x], y, x])
            identity = own[source[y, x]] + was - 1
            wanted = numbers.index(identity) + 1 if was and identity in numbers else 0
            assert int(mixed["masks"][output, y, x]) == wanted


def test_the_two_ways_to_enlarge_masks_agree():
    batch = coded_batch((5, 4), seed=3)
    masks = torch.from_numpy(row_masks(batch))
    corners = torch.cat([target["boxes"] for target in as_targets(batch)])
    corners[0] = torch.tensor([-3.5, -2.0, WIDTH + 5.0, HEIGHT + 1.5])
    corners[1] = torch.tensor([20.0, 20.0, 10.0, 10.0])  # inverted: nothing is within
    corners[2] = float("nan")
    assert torch.equal(enlarged(masks, RATIO, corners), enlarged_in_boxes(masks, RATIO, corners))
    assert enlarged(masks, RATIO, corners).any()


# -- rotated boxes ----------------------------------------------------------------------------------------------------


def corners_of(boxes: torch.Tensor, width: int = WIDTH, height: int = HEIGHT) -> torch.Tensor:
    """(n, 4, 2) corners in pixels of (cx, cy, w, h, r): shares of the image, radians clockwise on the screen."""
    cx, cy, w, h, r = (boxes.double() * torch.tensor([width, height, width, height, 1.0])).unbind(1)
    along = torch.stack([r.cos(), r.sin()], dim=1) * w[:, None] / 2
    down = torch.stack([-r.sin(), r.cos()], dim=1) * h[:, None] / 2
    centre = torch.stack([cx, cy], dim=1)
    return torch.stack([centre - along - down, centre + along - down, centre + along + down, centre - along + down], 1)


def rotated_batch(seed=0, counts=(3, 0, 4, 3)) -> dict:
    rng = np.random.default_rng(seed)
    n = sum(counts)
    boxes = np.concatenate(
        [rng.uniform(0.25, 0.75, (n, 2)), rng.uniform(0.15, 0.4, (n, 2)), rng.uniform(-0.7, 2.3, (n, 1))], axis=1
    )
    batch = coded_batch(counts, masks=None, points=0)
    return {**batch, "bboxes": torch.from_numpy(boxes).float()}


def points_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two rectangles have the same corners, whichever comes first."""
    return any(torch.allclose(one.roll(turn, 0), other, atol=2e-2) for turn in range(4))


needs_rotated = pytest.mark.skipif(
    not hasattr(tv_tensors.BoundingBoxFormat, "CXCYWHR"), reason="this torchvision has no rotated boxes"
)


@needs_rotated
@pytest.mark.parametrize("rotated", ["keep", "refit"])
@pytest.mark.parametrize("seed", range(4))
def test_rotated_boxes_are_those_of_four_corners(seed, rotated):
    batch = rotated_batch(seed)
    for mix in (cd.CutMix(p=1.0, rotated=rotated), cd.Mosaic(p=1.0, rotated=rotated), cd.CopyPaste(p=1.0, flip=0.5)):
        mixed = mix_batch(batch, mix, generator(seed))
        targets = []
        for image in range(4):
            rows = rows_of(batch, image)
            quad = corners_of(batch["bboxes"][rows]).flatten(1)
            boxes = tv_tensors.BoundingBoxes(quad, format="XYXYXYXY", canvas_size=(HEIGHT, WIDTH))
            targets.append({"boxes": boxes, "labels": batch["cls"][rows]})
        _, wanted = mix(batch["img"], targets, generator=generator(seed))
        assert mixed["bboxes"].shape[1] == 5
        for output in range(4):
            rows = rows_of(mixed, output)
            assert torch.equal(mixed["cls"][rows], wanted[output]["labels"])
            for got, quad in zip(corners_of(mixed["bboxes"][rows]), wanted[output]["boxes"].as_subclass(torch.Tensor)):
                assert points_alike(got, quad.reshape(4, 2).double())


@needs_rotated
def test_rotated_boxes_follow_their_pixels():
    batch, mix = rotated_batch(1), cd.Mosaic(p=1.0)
    batch["bboxes"][::2, 4] += 2 * math.pi
    mixed = mix_batch(batch, mix, generator(1))
    plan = mix.make_plan(batch["img"], generator=generator(1))
    found = corners_of(mixed["bboxes"])
    changed = 0
    for output in range(4):
        layers = [layer for layer in stated_layers(plan, output) if layer is not None]
        for row in rows_of(mixed, output):
            number = int(mixed["cls"][row])
            source = int(batch["batch_idx"][number])
            came = corners_of(batch["bboxes"][number : number + 1])[0]
            places = [
                came * torch.tensor(layer.scale[::-1]) + torch.tensor(layer.shift[::-1])
                for layer in layers
                if layer.source == source
            ]
            assert any(points_alike(found[row], place.double()) for place in places)
            changed += not torch.equal(mixed["bboxes"][row], batch["bboxes"][number])
    assert changed > 5


@needs_rotated
def test_angles_of_boxes_that_change_lie_where_ultralytics_has_them():
    batch = rotated_batch(1)
    batch["bboxes"][::2, 4] += 2 * math.pi
    turned = 0
    for seed in range(5):
        for mix in (cd.CopyPaste(p=1.0, flip=1.0), cd.CutMix(p=1.0, rotated="refit"), cd.Mosaic(p=1.0)):
            mixed = mix_batch(batch, mix, generator(seed))
            was = batch["bboxes"][mixed["cls"][:, 0].long()]
            new = mixed["bboxes"][(mixed["bboxes"] != was).any(dim=1), 4]
            assert (new >= -math.pi / 4 - 1e-6).all()
            assert (new < 3 * math.pi / 4).all()
            turned += len(new)
    assert turned > 20


@needs_rotated
def test_unmixed_rotated_boxes_stay_bit_by_bit():
    batch = rotated_batch(2)
    batch["bboxes"][0, 4] = 7.0  # an angle in a turn of its own
    same(mix_batch(batch, cd.CutMix(p=0.0)), batch)
    empty = rotated_batch(0, (0, 0))
    mixed = mix_batch(empty, cd.CutMix(p=1.0))
    assert mixed["bboxes"].shape == (0, 5)


# -- maps, depth, classes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CutMix", "GridMix", "Mosaic", "RICAP", "CowMix", "ClassMix"])
def test_semantic_maps_and_depth(name):
    mix = {**METHODS, **BY_MASKS, "ClassMix": cd.ClassMix(p=1.0)}[name]
    images = torch.stack([coded_image(number, HEIGHT, WIDTH) for number in range(4)])
    classes = torch.from_numpy(np.random.default_rng(0).integers(0, 9, (4, HEIGHT, WIDTH))).int()
    classes[classes == 8] = 255
    depth = images[:, :1] * 10000 + images[:, 1:2] * 100 + images[:, 2:] + 0.5  # every pixel its own
    batch = {
        "img": images,
        "semantic_mask": classes,
        "depth": depth,
        "mask_file": tuple("abcd"),
        "mode": ("L",) * 4,
    }
    before = copy.deepcopy(batch)
    mixed = mix_batch(batch, mix, generator(3))
    same(batch, before)
    assert list(mixed) == list(batch)
    assert (mixed["semantic_mask"].dtype, mixed["depth"].dtype) == (torch.int32, torch.float32)
    assert not torch.equal(mixed["img"], images)
    for output in range(4):
        prov = decode(mixed["img"][output], (HEIGHT, WIDTH), [(HEIGHT, WIDTH)] * 4)
        at = (np.maximum(prov.source, 0), prov.y, prov.x)
        nobody = prov.source < 0
        assert np.array_equal(mixed["semantic_mask"][output], np.where(nobody, 255, classes.numpy()[at]))
        assert np.array_equal(mixed["depth"][output, 0], np.where(nobody, 0, depth[:, 0].numpy()[at]))
    same(mix_batch(batch, cd.CutMix(p=0.0)), batch)


def test_scaled_depth_is_read_not_averaged():
    depth = torch.randint(0, 2, (4, 1, HEIGHT, WIDTH)).float() * 7
    mixed = mix_batch({"img": torch.rand(4, 3, HEIGHT, WIDTH), "depth": depth}, cd.Mosaic(p=1.0), generator(0))
    assert set(mixed["depth"].unique().tolist()) == {0.0, 7.0}
    assert not torch.equal(mixed["depth"], depth)


def test_where_nobody_has_pixels_nothing_is_known():
    batch = coded_batch((3, 2, 2, 3), points=0)
    maps = {"semantic_mask": torch.ones(4, HEIGHT, WIDTH).int(), "depth": torch.ones(4, 1, HEIGHT, WIDTH)}
    mixed = mix_batch({**batch, **maps}, cd.Mosaic(p=1.0, scale=(0.4, 0.5), fill=0), generator(0))
    nobody = mixed["img"][:, 0] < 0.5  # the number of an image is at least 1
    assert 0.05 < nobody.double().mean() < 0.9
    assert torch.equal(mixed["depth"][:, 0] == 0, nobody)
    assert torch.equal(mixed["semantic_mask"] == 255, nobody)
    there = nobody[:, CENTRE::RATIO, CENTRE::RATIO]
    assert (mixed["masks"][there] == 0).all()
    assert (mixed["sem_masks"][there] == 0).all()
    assert (mixed["masks"] > 0).any()
    assert (mixed["sem_masks"] > 0).any()


def test_classes_of_images_become_probabilities():
    images = torch.stack([coded_image(number, HEIGHT, WIDTH) for number in range(4)])
    batch = {"img": images, "cls": torch.tensor([0, 2, 1, 2])}
    mixed = mix_batch(batch, cd.CutMix(p=1.0, num_classes=3), generator(1))
    assert list(mixed) == ["img", "cls"]
    for output in range(4):
        prov = decode(mixed["img"][output], (HEIGHT, WIDTH), [(HEIGHT, WIDTH)] * 4)
        shares = expect_labels(prov, batch["cls"].tolist(), 3)
        assert np.allclose(mixed["cls"][output], shares, atol=1e-6)
        assert 0 < shares.max() < 1 or len(set(prov.source.flatten())) == 1 or batch["cls"][output] == 2
    plain = mix_batch(batch, cd.CutMix(p=0.0, num_classes=3))
    assert torch.equal(plain["cls"], torch.nn.functional.one_hot(batch["cls"], 3).float())
    with pytest.raises(ValueError, match="num_classes"):
        mix_batch(batch, cd.CutMix(p=1.0))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_maps_beside_classes_of_images_are_mixed_with_them(p):
    images = torch.stack([coded_image(number, HEIGHT, WIDTH) for number in range(4)])
    ids = torch.arange(4, dtype=torch.uint8)[:, None, None].expand(4, HEIGHT, WIDTH).clone()
    depth = 1.0 + ids[:, None]
    batch = {"img": images, "cls": torch.tensor([0, 2, 1, 2]), "semantic_mask": ids, "depth": depth}
    batch["resized_shape"] = [(HEIGHT, WIDTH)] * 4
    mixed = mix_batch(batch, cd.CutMix(p=p, num_classes=3), generator(1))
    for output in range(4):
        source = decode(mixed["img"][output], (HEIGHT, WIDTH), [(HEIGHT, WIDTH)] * 4).source
        assert np.array_equal(mixed["semantic_mask"][output], source)
        assert np.array_equal(mixed["depth"][output, 0], 1.0 + source)
    assert torch.equal(ids, mixed["semantic_mask"]) == (p == 0)
    assert mixed["cls"].shape == (4, 3)
    small = mix_batch(batch, cd.Mosaic(size=(32, 48), num_classes=3), generator(1))
    assert small["semantic_mask"].shape == (4, 32, 48)
    assert small["resized_shape"] == [(32, 48)] * 4


# -- settings ---------------------------------------------------------------------------------------------------------


def test_rules_of_the_mix_are_kept():
    strict = cd.CutMix(p=1.0, rule="ultralytics")
    batch = coded_batch((6, 6, 6, 6), masks=None, points=0, seed=4)
    fewer = 0
    for seed in range(6):
        mixed = mix_batch(batch, strict, generator(seed))
        every = mix_batch(batch, cd.CutMix(p=1.0, min_visibility=0.0, min_size=0.0), generator(seed))
        _, wanted = strict(batch["img"], as_targets(batch), generator=generator(seed))
        assert mixed["cls"][:, 0].tolist() == torch.cat([target["labels"] for target in wanted]).tolist()
        fewer += len(every["cls"]) - len(mixed["cls"])
    assert fewer > 0


def test_further_keys_by_name():
    batch = coded_batch()
    extra = {
        **batch,
        "track": torch.arange(len(batch["cls"])) + 100,
        "note": [f"row {n}" for n in range(len(batch["cls"]))],
        "weather": torch.arange(5),
        "parts": torch.randint(0, 5, (5, HEIGHT, WIDTH)),
        "nothing": None,
    }
    mix = cd.CutMix(p=1.0, instance_keys=("track", "note"), image_keys=("weather",), semantic_keys=("parts",))
    mixed = mix_batch(extra, mix, generator(0))
    numbers = mixed["cls"][:, 0].long()
    assert torch.equal(mixed["track"], numbers + 100)
    assert mixed["note"] == [f"row {n}" for n in numbers]
    assert torch.equal(mixed["weather"], extra["weather"])
    assert mixed["nothing"] is None
    for output in range(5):
        prov = decode(mixed["img"][output], (HEIGHT, WIDTH), [(HEIGHT, WIDTH)] * 5)
        assert np.array_equal(mixed["parts"][output], extra["parts"].numpy()[prov.source, prov.y, prov.x])


def test_a_mosaic_of_another_size():
    batch = coded_batch((3, 2, 2, 3), points=3)
    mixed = mix_batch(batch, cd.Mosaic(p=1.0, size=(96, 128)), generator(0))
    assert mixed["img"].shape == (4, 3, 96, 128)
    assert mixed["masks"].shape == mixed["sem_masks"].shape == (4, 24, 32)
    assert mixed["resized_shape"] == ((96, 128),) * 4
    assert mixed["ori_shape"] == batch["ori_shape"]
    targets = as_targets(batch)
    _, wanted = cd.Mosaic(p=1.0, size=(96, 128))(batch["img"], targets, generator=generator(0))
    for output, target in enumerate(wanted):
        rows = rows_of(mixed, output)
        assert mixed["cls"][rows, 0].tolist() == target["labels"].tolist()
        x, y, w, h = (mixed["bboxes"][rows].double() * torch.tensor([128, 96] * 2)).unbind(1)
        assert torch.allclose(torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1), target["boxes"], atol=1e-3)
    # an image that lies where it lay, in a frame twice as wide: the same pixels are other shares
    wide = mix_batch(batch, cd.Mosaic(p=0.0, size=(HEIGHT, 2 * WIDTH)))
    shown = wide["keypoints"][..., 2] > 0
    assert shown.any()
    assert torch.allclose(wide["keypoints"][shown] * torch.tensor([2.0, 1, 1]), batch["keypoints"][shown], atol=1e-6)
    assert torch.allclose(wide["bboxes"] * torch.tensor([2.0, 1, 2, 1]), batch["bboxes"], atol=1e-6)
    assert torch.equal(wide["masks"][..., : WIDTH // RATIO], batch["masks"])
    with pytest.raises(ValueError, match="multiple of 4"):
        mix_batch(batch, cd.Mosaic(p=1.0, size=(97, 128)))


def test_boxes_are_read_as_the_batch_has_them_whatever_the_mix_says():
    batch = coded_batch()
    stated = cd.CutMix(p=1.0, box_format="xywh", normalized="frame")
    same(mix_batch(batch, stated, generator(1)), mix_batch(batch, cd.CutMix(p=1.0), generator(1)))
    assert (stated.box_format, stated.normalized, stated.boxes) == ("xywh", "frame", "exact")


def test_one_of_several_methods_as_the_core_draws_it():
    batch = coded_batch()
    mix = cd.RandomMix([cd.CutMix(p=1.0), cd.GridMix(p=1.0), cd.RICAP(p=1.0)])
    for seed in range(5):
        assert torch.equal(mix_batch(batch, mix, generator(seed))["img"], mix(batch["img"], generator=generator(seed)))
    torch.manual_seed(3)
    first = mix_batch(batch, mix)
    torch.manual_seed(3)
    same(mix_batch(batch, mix), first)


def test_calls_in_turn_mix_as_the_core_does_in_turn():
    """What is given instead of a Chain."""
    batch = coded_batch(masks=None, points=0)
    images, turn, core_turn = batch["img"], generator(3), generator(3)
    corners = pixels_of(batch)
    rows = [torch.from_numpy(rows_of(batch, number)) for number in range(len(images))]
    targets = [{"boxes": corners[own], "labels": own} for own in rows]
    for mix in (cd.Mosaic(p=1.0), cd.MixUp(p=1.0)):
        batch = mix_batch(batch, mix, turn)
        images, targets = mix(images, targets, generator=core_turn)
        targets = [{key: target[key] for key in ("boxes", "labels")} for target in targets]
    assert torch.equal(batch["img"], images)
    assert len(batch["cls"]) > 12
    assert batch["cls"][:, 0].tolist() == torch.cat([target["labels"] for target in targets]).tolist()
    torch.testing.assert_close(pixels_of(batch), torch.cat([target["boxes"] for target in targets]), atol=1e-3, rtol=0)


SMALL = coded_batch((2, 2))


@pytest.mark.parametrize(
    ("change", "mix", "message"),
    [
        ({"texts": [["cat"], ["dog"]]}, cd.CutMix(image_keys=("texts",)), "'texts'.*of each image"),
        ({"im_hw0": ((64, 96),) * 2}, cd.CutMix(), r"unknown key 'im_hw0' \(tuple\).*image_keys"),
        ({"normals": torch.rand(2, 3, HEIGHT, WIDTH)}, cd.CutMix(), r"'normals' \(a tensor of shape \(2, 3, 64, 96\)"),
        ({"segments": [torch.rand(3, 2)] * 4}, cd.CutMix(), "unknown key 'segments'"),
        ({"batch_idx": torch.tensor([0.0, 0.0, 1.0, 2.0])}, cd.CutMix(), "batch_idx'.* 0 … 1"),
        ({"batch_idx": torch.tensor([0.0, 0.0, 1.0, 0.5])}, cd.CutMix(), "batch_idx"),
        ({"batch_idx": None}, cd.CutMix(), "'batch_idx'"),
        ({"cls": torch.zeros(3, 1)}, cd.CutMix(), r"batch\['cls'\] must have one row per box \(4\)"),
        ({"keypoints": torch.zeros(4, 5, 4)}, cd.CutMix(), "keypoints"),
        ({"bboxes": torch.zeros(4, 6)}, cd.CutMix(), "xywhr"),
        ({"bboxes": None}, cd.CutMix(), "belong to objects"),
        ({"masks": SMALL["masks"] + 2}, cd.CutMix(), r"batch\['masks'\]\[0\] must hold 0 … 2"),
        ({"masks": torch.zeros(4, 16, 24)}, cd.CutMix(), "overlap_mask=True"),
        ({"masks": torch.zeros(2, 16, 20)}, cd.CutMix(), "divides imgsz; with multi_scale"),
        ({"masks": torch.zeros(2, 21, 32)}, cd.CutMix(), r"got \(21, 32\): choose a mask_ratio that divides imgsz"),
        ({"masks": None}, cd.CutMix(), "'sem_masks'"),
        ({"sem_masks": torch.zeros(2, 8, 12)}, cd.CutMix(), "sem_masks"),
        ({"depth": torch.rand(2, 1, 32, 48)}, cd.CutMix(p=1.0), "depth"),
        ({"depth": torch.rand(2, 1, HEIGHT, WIDTH)}, cd.MixUp(p=1.0), "'depth'.*MixUp"),
        ({"semantic_mask": torch.zeros(2, HEIGHT, WIDTH).int()}, cd.MixUp(p=1.0), "'semantic_mask'.*MixUp"),
        (
            {"depth": torch.rand(2, 1, HEIGHT, WIDTH)},
            cd.RandomMix([cd.CutMix(p=1.0), cd.MixUp(p=1.0)], weights=[1, 0]),
            "'depth'.*MixUp",
        ),
        ({"bboxes": torch.rand(4, 4) * 90 + 3}, cd.CutMix(p=0.0), "shares of the image, got values.*like pixels"),
        (
            {
                "bboxes": None,
                "masks": None,
                "sem_masks": None,
                "keypoints": None,
                "batch_idx": None,
                "note": [1, 2, 3, 4],
            },
            cd.CutMix(instance_keys=["note"]),
            r"\['note'\], which belong to objects",
        ),
        ({}, cd.CutMix(on_filtered="ignore"), "on_filtered='drop', got 'ignore'"),
        ({}, cd.RandomMix([cd.CutMix(), cd.CutMix(on_filtered="crowd")]), "got 'crowd'"),
        ({}, cd.CutMix(pairing=cd.SampleBank()), "SampleBank"),
        ({}, cd.Chain([cd.CutMix()]), "one transform for batches of Ultralytics.* got a Chain"),
        ({}, cd.Affine(), "without an Affine for 'masks', 'depth' and rotated boxes of Ultralytics"),
        ({}, cd.RandomMix([cd.CutMix(), cd.Affine()], weights=[1, 0]), "without an Affine for"),
        (
            {"masks": None, "sem_masks": None, "keypoints": None, "bboxes": torch.full((4, 5), 0.3)},
            cd.RandomMix([cd.CutMix(), cd.Affine()], weights=[1, 0]),
            "without an Affine for .* rotated boxes",
        ),
        ({}, cd.CopyPaste(p=1.0, flip=1.0), "flip_pairs"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(change, mix, message):
    with pytest.raises(ValueError, match=message):
        mix_batch({**SMALL, **change}, mix)


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="mixing transform"):
        mix_batch(SMALL, lambda batch: batch)
    with pytest.raises(TypeError, match="'img'"):
        mix_batch({"image": SMALL["img"]}, cd.CutMix())
    for key in ("bboxes", "batch_idx", "keypoints", "masks", "sem_masks"):
        with pytest.raises(TypeError, match=rf"batch\['{key}'\] must be a tensor, got list"):
            mix_batch({**SMALL, key: list(SMALL[key])}, cd.CutMix())
    for key in ("bboxes", "keypoints"):
        with pytest.raises(TypeError, match=rf"batch\['{key}'\].*torch.int32: divide"):
            mix_batch({**SMALL, key: SMALL[key].int()}, cd.CutMix())
    with pytest.raises(ValueError, match="free-form"):  # boxes alone can't be told under one
        mix_batch(coded_batch(masks=None), cd.CowMix(p=1.0))


# -- closing ----------------------------------------------------------------------------------------------------------


def trainer(epoch: int, epochs: int = 20, close_mosaic: int = 5) -> SimpleNamespace:
    return SimpleNamespace(epoch=epoch, epochs=epochs, args=SimpleNamespace(close_mosaic=close_mosaic))


def test_mixing_closes_with_the_mosaic():
    mix = cd.RandomMix([cd.CutMix(p=1.0), cd.Mosaic()])
    callback = close_with_mosaic(mix)
    told = []
    for epoch in range(20):
        callback(trainer(epoch))
        told.append(mix.closed)
    assert told == [False] * 15 + [True] * 5
    callback(trainer(17))  # resumed
    assert mix.closed
    callback(trainer(0))
    assert not mix.closed
    for epoch in (0, 19):
        callback(trainer(epoch, close_mosaic=0))
        assert not mix.closed
    with pytest.warns(UserWarning, match="close_mosaic=10 covers all 3 epochs"):
        callback(trainer(0, epochs=3, close_mosaic=10))
    assert mix.closed
    mix.close()
    callback(trainer(0))
    assert mix.closed  # by hand


def test_a_mix_has_one_schedule():
    told = []
    mix = cd.RandomMix([cd.CutMix(p=1.0)])
    mix.set_progress = told.append
    callback = close_with_mosaic(mix)
    for epoch in (0, 16):
        callback(trainer(epoch))
    assert told == [0, 16]
    assert mix.closed
    with pytest.raises(ValueError, match="got close_last=3: close_mosaic"):
        close_with_mosaic(cd.RandomMix([cd.CutMix()], total=20, close_last=3))
    with pytest.raises(TypeError, match="mix must be a mixing transform, got NoneType"):
        close_with_mosaic(None)


def test_what_the_page_for_users_of_ultralytics_gives_its_trainer_is_accepted():
    text = (ROOT / "docs" / "coming_from.md").read_text().partition("## Ultralytics")[2].partition("\n## ")[0]
    given = re.search(r"In its trainer, .*?`(cd\.[^`]+)`", text, flags=re.DOTALL)[1]
    mix = eval(given, {"cd": cd})
    close_with_mosaic(mix)(trainer(16))
    assert mix.closed


def test_ultralytics_is_not_imported():
    code = (
        "import sys\n"
        "sys.modules['ultralytics'] = None\n"
        "import cutmix_dense.ultralytics\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'ultralytics' and sys.modules[name]])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
