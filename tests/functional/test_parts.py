"""Instances that a region splits: one row for each part, proven by the mixed pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.arrays.components import components
from cutmix_dense.functional import mix_instances, mix_padded

ndimage = pytest.importorskip("scipy.ndimage")

STRIPE = torch.tensor([[[0, 12, 20, 18]]] * 2)
"""A lying image of 20 × 30 whose columns 12 … 17 come from the partner."""


def plan_of(rectangles=STRIPE, size=(20, 30)):
    return cd.MixPlan.from_rectangles(torch.tensor([[0, 1], [1, 0]]), rectangles, torch.tensor([size] * 2))


def target(*boxes, **more):
    return {"boxes": torch.tensor(boxes).float().reshape(-1, 4), "labels": torch.arange(len(boxes)), **more}


@pytest.mark.parametrize("shape", [(9,), (7, 11), (6, 7, 5), (1, 1), (0, 4)])
def test_components_are_scipys(shape):
    generator = np.random.default_rng(3)
    for density in (0.2, 0.5, 0.7, 1.0):
        mask = generator.random(shape) < density
        ours, (theirs, count) = components(mask), ndimage.label(mask)
        assert ours.max(initial=0) == count
        assert np.array_equal(ours > 0, mask)
        pairs = np.unique(np.stack([ours[mask], theirs[mask]]), axis=1)
        assert pairs.shape[1] == count


def test_a_box_across_a_stripe_gives_two():
    given = [target([4, 2, 26, 12], [1, 1, 8, 8], [13, 3, 17, 9]), target([0, 0, 30, 20])]
    first, second = mix_instances(given, plan_of(), split="parts", min_visibility=0.05)
    assert first["boxes"].tolist() == [[4, 2, 12, 12], [18, 2, 26, 12], [1, 1, 8, 8], [12, 0, 18, 20]]
    assert first["labels"].tolist() == [0, 0, 1, 0]
    assert first["origin"].tolist() == [[0, 0], [0, 0], [0, 1], [1, 0]]
    assert first["visibility"].tolist() == pytest.approx([8 / 22, 8 / 22, 1, 6 / 30])
    assert second["boxes"].tolist()[:2] == [[0, 0, 12, 20], [18, 0, 30, 20]]
    hull, _ = mix_instances(given, plan_of(), min_visibility=0.05)
    assert hull["boxes"].tolist()[0] == [4, 2, 26, 12]
    assert hull["visibility"][0] == pytest.approx(16 / 22)


def test_boxes_that_end_within_pixels():
    first, _ = mix_instances([target([4.25, 2.5, 26.5, 12.75]), target()], plan_of(), split="parts")
    assert first["boxes"].tolist() == [[4.25, 2.5, 12, 12.75], [18, 2.5, 26.5, 12.75]]
    assert first["visibility"].tolist() == pytest.approx([7.75 / 22.25, 8.5 / 22.25])


def test_each_part_is_judged_by_itself():
    given = [target([11, 2, 28, 12]), target()]  # 1 column of 17 on the left, 10 on the right
    (first, _), report = mix_instances(given, plan_of(), split="parts", min_visibility=0.1, return_report=True)
    assert first["boxes"].tolist() == [[18, 2, 28, 12]]
    assert [(row["instance"], row["outcome"], row["reason"]) for row in report.rows() if row["output"] == 0] == [
        (0, "dropped", "low visibility"),
        (0, "shrunk", ""),
    ]


def test_parts_of_masks_and_an_object_that_had_two_pieces():
    whole = torch.zeros(3, 20, 30, dtype=torch.bool)
    whole[0, 4:9, 5:25] = True  # spans the stripe
    whole[1, 12:15, 1:4] = whole[1, 12:15, 8:14] = True  # two pieces by itself, both left of the stripe or under it
    whole[2, 17:19, 13:17] = True  # under it
    boxes = [[5, 4, 25, 9], [1, 12, 14, 15], [13, 17, 17, 19]]
    given = [
        target(*boxes, masks=whole, area=torch.tensor([100.0, 27.0, 8.0])),
        target(masks=whole[:0], area=torch.zeros(0)),
    ]
    first, _ = mix_instances(given, plan_of(), split="parts", min_visibility=0)
    assert first["labels"].tolist() == [0, 0, 1]
    assert first["boxes"].tolist() == [[5, 4, 12, 9], [18, 4, 25, 9], [1, 12, 12, 15]]
    assert first["area"].tolist() == pytest.approx([35, 35, 21])
    left, right, other = first["masks"]
    assert torch.equal(left | right, whole[0] & (torch.arange(30) < 12) | whole[0] & (torch.arange(30) >= 18))
    assert not (left & right).any()
    assert torch.equal(other, whole[1] & (torch.arange(30) < 12))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
@pytest.mark.parametrize("name", ["CutMix", "GridMix", "StripeMix", "CowMix"])
def test_parts_are_those_that_the_pixels_show(name, dtype, generator):
    """Each image's pixels say which image they are from; what of an object touches within its box is one part."""
    more = {"sigma": (2.0, 4.0)} if name == "CowMix" else {}
    mix = getattr(cd, name)(p=1.0, min_visibility=0, min_size=0, split="parts", **more)
    images = torch.arange(1.0, 4).reshape(3, 1, 1, 1).expand(3, 1, 24, 36)
    y, x = torch.meshgrid(torch.arange(24), torch.arange(36), indexing="ij")
    split = 0
    for _ in range(6):
        centre = torch.rand(3, 2, 2, generator=generator) * torch.tensor([24, 36])
        masks = [torch.stack([(y - a) ** 2 + (x - b) ** 2 < 90 for a, b in one.tolist()]).to(dtype) for one in centre]
        given = [{"masks": one, "labels": torch.arange(2)} for one in masks]
        mixed, after = mix(images, given, generator=generator)
        for output, image, index in itertools.product(range(3), range(3), range(2)):
            mine = mixed[output, 0] == image + 1
            shown = mine & (masks[image][index] != 0)
            rows, columns = shown.any(dim=1).nonzero(), shown.any(dim=0).nonzero()
            expected = []
            if len(rows):
                window = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
                numbers = torch.zeros_like(masks[0][0], dtype=torch.int32)
                numbers[window] = torch.from_numpy(ndimage.label(mine[window].numpy())[0])
                expected = [shown & (numbers == number) for number in numbers[shown].unique().tolist()]
            origin = (after[output]["origin"] == torch.tensor([image, index])).all(dim=1)
            found = [mask != 0 for mask in after[output]["masks"][origin]]
            assert len(found) == len(expected)
            assert all(any(torch.equal(one, other) for other in expected) for one in found)
            split += len(found) > 1
    assert split > 0 or name == "CutMix"


def test_volumes():
    plan = cd.MixPlan.from_rectangles(
        torch.tensor([[0, 1]]), torch.tensor([[[3, 0, 0, 5, 10, 12]]]), torch.tensor([(8, 10, 12)] * 2)
    )
    box = {"boxes": torch.tensor([[1.0, 2, 1, 9, 8, 7]]), "labels": torch.tensor([4])}
    (mixed,) = mix_instances([box, {}], plan, split="parts")
    assert mixed["boxes"].tolist() == [[1, 2, 1, 9, 8, 3], [1, 2, 5, 9, 8, 7]]


def test_what_cannot_be_split_is_refused():
    points = [target([4, 2, 26, 12], keypoints=torch.zeros(1, 2, 3)), target(keypoints=torch.zeros(0, 2, 3))]
    with pytest.raises(ValueError, match="'hull' for targets with keypoints"):
        mix_instances(points, plan_of(), split="parts")
    with pytest.raises(ValueError, match="'hull' for padded boxes"):
        mix_padded({"boxes": torch.rand(2, 3, 4), "labels": torch.zeros(2, 3)}, plan_of(), split="parts")
    with pytest.raises(ValueError, match="split must be one of"):
        cd.CutMix(split="two")
