"""MONAI's CutMix and MixUp beside ours: what their random parameters say, as a plan of ours.

They draw, we apply. They agree on images, on maps with a channel axis and on MixUp; where they don't, the tests say
what is right. Written against MONAI 1.6.1.
"""

from __future__ import annotations

import math

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.plan import MixPlan

pytestmark = pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")  # MONAI's own indexing, told by torch

monai = pytest.importorskip("monai.transforms", reason="monai is not installed (extra: peers)")

COUNT, HEIGHT, WIDTH, CLASSES = 5, 22, 34, 5
SIZES = torch.tensor([[HEIGHT, WIDTH]] * COUNT)


def batch():
    """Every pixel tells its image and its place; maps hold the image's number."""
    place = torch.arange(HEIGHT * WIDTH, dtype=torch.float64).reshape(1, HEIGHT, WIDTH) + 1
    images = torch.stack([place + 10_000 * image for image in range(COUNT)])
    return images, torch.arange(COUNT, dtype=torch.uint8)[:, None, None].expand(-1, HEIGHT, WIDTH).clone()


def peer(kind, seed):
    made = kind(batch_size=COUNT, alpha=1.0)
    made.set_random_state(seed)
    return made


def rectangles_of(params):
    """The same corner for every image; sides √(1−w) of the image's, rounded up, from there to the lower right."""
    weights, _, corner = params
    y0, x0 = (int(value) for value in corner)
    boxes = []
    for weight in weights.tolist():
        side = math.sqrt(1 - weight)
        boxes.append([y0, x0, min(math.ceil(y0 + HEIGHT * side), HEIGHT), min(math.ceil(x0 + WIDTH * side), WIDTH)])
    return torch.tensor(boxes)[:, None]


def source_of(params):
    return torch.stack([torch.arange(COUNT), torch.as_tensor(params[1])], dim=1)


def test_cutmix_of_the_same_boxes_gives_the_same_images_and_maps():
    images, maps = batch()
    for seed in range(20):
        theirs = peer(monai.CutMix, seed)
        their_images, their_maps = theirs(images, maps[:, None])
        plan = MixPlan.from_rectangles(source_of(theirs._params), rectangles_of(theirs._params), SIZES)
        assert torch.equal(cd.functional.mix_pixels(images, plan), torch.as_tensor(their_images))
        assert torch.equal(cd.functional.mix_semantic(maps, plan), torch.as_tensor(their_maps)[:, 0])


def test_maps_without_a_channel_axis_are_cut_elsewhere_there():
    """It takes the rows of a (N, H, W) map for channels, and cuts whole columns at the place drawn for the rows. A map
    is cut where its image is, with a channel axis or without.
    """
    images, maps = batch()
    wrong = 0
    for seed in range(20):
        theirs = peer(monai.CutMix, seed)
        their_images, their_maps = (torch.as_tensor(value) for value in theirs(images, maps))
        source = ((their_images[:, 0] - 1) // 10_000).to(torch.uint8)
        assert ((their_maps == their_maps[:, :1]).all(dim=1)).all()  # every row of a map is the same: no rectangle
        wrong += int((their_maps != source).flatten(1).any(dim=1).sum())
        plan = MixPlan.from_rectangles(source_of(theirs._params), rectangles_of(theirs._params), SIZES)
        assert torch.equal(cd.functional.mix_semantic(maps, plan), source)
        assert torch.equal(cd.functional.mix_semantic(maps[:, None], plan)[:, 0], source)
    assert wrong > 20


def test_labels_are_replaced_whole_there():
    """(N, K) probabilities are all "inside the box": the image keeps most of its pixels and loses its label. Labels
    count by the pixels that each image owns.
    """
    images, _ = batch()
    labels = torch.eye(CLASSES)
    for seed in range(10):
        theirs = peer(monai.CutMix, seed)
        their_images, their_labels = theirs(images, labels)
        source = source_of(theirs._params)
        assert torch.equal(torch.as_tensor(their_labels), labels[source[:, 1]])
        plan = MixPlan.from_rectangles(source, rectangles_of(theirs._params), SIZES)
        ours = cd.functional.mix_labels(labels, plan)
        for index, image in enumerate(torch.as_tensor(their_images)[:, 0]):
            seen = torch.bincount(((image - 1) // 10_000).long().flatten(), minlength=COUNT) / (HEIGHT * WIDTH)
            torch.testing.assert_close(ours[index], seen.to(ours.dtype), rtol=0, atol=1e-6)


def test_one_corner_for_the_whole_batch_and_it_leans_to_the_lower_right():
    """Every box of a batch starts at the same pixel and grows to the lower right: the upper left corner of an image is
    hardly ever replaced. The paper's box lies round its centre, and each sample here draws its own.
    """
    images, _ = batch()
    covered = torch.zeros(HEIGHT, WIDTH)
    for seed in range(150):
        theirs = peer(monai.CutMix, seed)
        theirs(images)
        rectangles = rectangles_of(theirs._params)[:, 0]
        assert (rectangles[:, :2] == rectangles[0, :2]).all()
        for y0, x0, y1, x1 in rectangles.tolist():
            covered[y0:y1, x0:x1] += 1 / (150 * COUNT)
    assert covered[:3, :3].max() < 0.06
    assert covered[-3:, -3:].min() > 0.2

    sampler, height, width = cd.regions.BetaBox(), 10 * HEIGHT, 10 * WIDTH
    random = torch.Generator().manual_seed(0)
    ours = sampler.place(sampler.draw(20_000, random), torch.tensor([[height, width]] * 20_000))[:, 0]

    def coverage(row, column):
        inside = (ours[:, :2] <= torch.tensor([row, column])) & (torch.tensor([row, column]) < ours[:, 2:])
        return float(inside.all(dim=1).double().mean())

    assert coverage(0, 0) == pytest.approx(coverage(height - 1, width - 1), abs=0.02)
    assert len(ours[:100, :2].unique(dim=0)) > 50


def test_mixup_of_the_same_weights():
    images = torch.rand(COUNT, 3, HEIGHT, WIDTH)
    labels = torch.rand(COUNT, CLASSES).softmax(dim=1)
    for seed in range(10):
        theirs = peer(monai.MixUp, seed)
        their_images = torch.as_tensor(theirs(images))
        weights = theirs._params[0]
        plan = MixPlan.blend(source_of(theirs._params), torch.stack([weights, 1 - weights], dim=1), SIZES)
        torch.testing.assert_close(cd.functional.mix_pixels(images, plan), their_images, rtol=0, atol=1e-6)
        perm = source_of(theirs._params)[:, 1]
        expected = weights[:, None] * labels + (1 - weights[:, None]) * labels[perm]
        torch.testing.assert_close(cd.functional.mix_labels(labels, plan), expected, rtol=0, atol=1e-6)


def test_mixup_invents_no_class():
    """It blends the ids of a map and cuts off the fraction: halfway between sky (0) and car (20) lies some other class.
    Here a map stays two maps and a weight, or becomes probabilities.
    """
    images, maps = batch()
    ids = (maps * 20).long()
    allowed = set(ids.unique().tolist())
    theirs = peer(monai.MixUp, 3)
    _, their_maps = theirs(images, ids[:, None])
    assert set(torch.as_tensor(their_maps).unique().tolist()) - allowed

    weights = theirs._params[0]
    plan = MixPlan.blend(source_of(theirs._params), torch.stack([weights, 1 - weights], dim=1), SIZES)
    pair = cd.functional.mix_semantic_pair(ids, plan)
    assert torch.equal(pair[0], ids)
    assert torch.equal(pair[1], ids[source_of(theirs._params)[:, 1]])
