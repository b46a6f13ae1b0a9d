"""kornia's batched mixes beside ours: what their random parameters say, as a plan of ours.

They draw, we apply: equal images, equal labels, equal boxes where theirs are right. Where they aren't, the tests say
what is. Written against kornia 0.9.0.
"""

from __future__ import annotations

import math

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import AreaBox

kornia = pytest.importorskip("kornia.augmentation", reason="kornia is not installed (extra: peers)")

COUNT, HEIGHT, WIDTH = 5, 22, 34
SIZES = torch.tensor([[HEIGHT, WIDTH]] * COUNT)


def coded(count=COUNT):
    """Every pixel tells its image and its place."""
    place = torch.arange(HEIGHT * WIDTH, dtype=torch.float64).reshape(1, HEIGHT, WIDTH) + 1
    return torch.stack([place + 10_000 * image for image in range(count)])


def cutmix(**arguments):
    return kornia.RandomCutMixV2(data_keys=["input", "class"], use_correct_lambda=True, **arguments)


def plan_of_cuts(params):
    """One layer per mix; a later one lies on top, and each brings pixels of the images as they came in."""
    pairs, corners = params["mix_pairs"], params["crop_src"].long()
    mixes = len(pairs)
    low, high = corners[:, :, 0].flip(-1), corners[:, :, 2].flip(-1) + 1  # the last pixel is inside
    return MixPlan.from_rectangles(
        torch.cat([torch.arange(COUNT)[None], pairs]).T,
        torch.cat([low, high], dim=-1).transpose(0, 1),
        SIZES,
        layer=torch.arange(1, mixes + 1).expand(COUNT, -1),
    )


@pytest.mark.parametrize("mixes", [1, 2, 3])
def test_cutmix_of_the_same_boxes_gives_the_same_images(mixes):
    images, labels = coded(), torch.arange(COUNT)
    for seed in range(10):
        torch.manual_seed(seed)
        peer = cutmix(num_mix=mixes)
        theirs, _ = peer(images, labels)
        plan = plan_of_cuts(peer._params)
        assert torch.equal(cd.functional.mix_pixels(images, plan), theirs)


def test_cutmix_labels():
    """One mix, ``use_correct_lambda``: (class, class of the partner, share of the base)."""
    images, labels = coded(), torch.tensor([3, 1, 4, 0, 2])
    for seed in range(20):
        torch.manual_seed(seed)
        peer = cutmix()
        _, classes = peer(images, labels)
        own, other, share = classes[0].T
        plan = plan_of_cuts(peer._params)
        ours = cd.functional.mix_labels(labels, plan, 5)
        theirs = torch.zeros(COUNT, 5, dtype=share.dtype)
        rows = torch.arange(COUNT)
        theirs.index_put_((rows, own.long()), share, accumulate=True)
        theirs.index_put_((rows, other.long()), 1 - share, accumulate=True)
        torch.testing.assert_close(ours.to(theirs.dtype), theirs, rtol=0, atol=1e-6)


def test_its_default_lambda_is_the_partners_share():
    """Without ``use_correct_lambda`` the number is the other share, 1 − λ of the paper; kornia warns of it."""
    images, labels = coded(), torch.arange(COUNT)
    with pytest.warns(DeprecationWarning, match="lambda"):
        peer = kornia.RandomCutMixV2(data_keys=["input", "class"])
    _, classes = peer(images, labels)
    share = plan_of_cuts(peer._params).share()
    torch.testing.assert_close(classes[0, :, 2].double(), share[:, 1], rtol=0, atol=1e-6)


def test_labels_of_several_cuts_count_what_still_shows():
    """Each of kornia's λ is that of its own box, also where a later box covers it: the weights of one image may take
    more than the whole. A source counts by the pixels it owns in the end.
    """
    images, labels = coded(), torch.arange(COUNT)
    overfull = 0
    for seed in range(20):
        torch.manual_seed(seed)
        peer = cutmix(num_mix=3)
        theirs, classes = peer(images, labels)
        plan = plan_of_cuts(peer._params)
        ours = cd.functional.mix_labels(labels, plan, COUNT)
        for index, image in enumerate(theirs[:, 0]):
            seen = torch.bincount(((image - 1) // 10_000).long().flatten(), minlength=COUNT) / (HEIGHT * WIDTH)
            torch.testing.assert_close(ours[index], seen.to(ours.dtype), rtol=0, atol=1e-6)
        overfull += int(((1 - classes[..., 2]).sum(dim=0) > 1).sum())
    assert overfull > 0


def test_its_region_lies_inside_the_image_where_the_paper_clips():
    """kornia's box keeps its whole area (mean 1/2 for λ ~ U(0, 1)); the paper's is clipped at the border (0.32). It is
    a fair choice with another name here: ``AreaBox`` of the image's aspect.
    """
    peer = kornia.random_generator.CutmixGenerator()
    torch.manual_seed(0)
    corners = peer((20_000, 3, HEIGHT, WIDTH))["crop_src"][0]
    theirs = torch.cat([corners[:, 0].flip(1), corners[:, 2].flip(1) + 1], dim=1)
    random = torch.Generator().manual_seed(1)
    inside, clipped = AreaBox(area=(1e-9, 1.0), aspect=(1.0, 1.0)), cd.regions.BetaBox()
    sizes = torch.tensor([[HEIGHT, WIDTH]] * 20_000)

    def share(boxes):
        return (boxes[:, 2:] - boxes[:, :2]).double().prod(dim=1) / (HEIGHT * WIDTH)

    def mean(sampler):
        return float(share(sampler.place(sampler.draw(20_000, random), sizes)[:, 0]).mean())

    assert (theirs[:, :2] >= 0).all()
    assert (theirs[:, 2:] <= torch.tensor([HEIGHT, WIDTH])).all()
    error = 4 * math.sqrt(1 / 12 / 20_000)
    floored = (0.5 / HEIGHT + 0.5 / WIDTH) * 2 / 3  # they round both sides down, by half a pixel in the mean
    assert abs(share(theirs).mean() + floored - mean(inside)) < 2 * error
    assert abs(mean(inside) - 0.5) < 2 * error
    assert mean(clipped) < 0.33


def test_mixup_of_the_same_lambda():
    """Their λ is the partner's weight, the paper's is the base's."""
    images, labels = torch.rand(COUNT, 3, HEIGHT, WIDTH), torch.tensor([3, 1, 4, 0, 2])
    peer = kornia.RandomMixUpV2(data_keys=["input", "class"])
    theirs, classes = peer(images, labels)
    pairs, lam = peer._params["mixup_pairs"], peer._params["mixup_lambdas"]
    plan = MixPlan.blend(torch.stack([torch.arange(COUNT), pairs], dim=1), torch.stack([1 - lam, lam], dim=1), SIZES)
    torch.testing.assert_close(cd.functional.mix_pixels(images, plan), theirs, rtol=0, atol=1e-6)
    assert torch.equal(classes[:, 1].long(), labels[pairs])
    one_hot = torch.eye(5)[labels]
    expected = one_hot * (1 - classes[:, 2:]) + one_hot[pairs] * classes[:, 2:]
    torch.testing.assert_close(cd.functional.mix_labels(labels, plan, 5), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["RandomCutMixV2", "RandomMixUpV2", "RandomMosaic"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_masks_are_refused_by_its_mixes(name):
    """Refused by name, alone and in a sequence: no unmixed mask comes back, and no mixed one either."""
    images = coded()
    kind = getattr(kornia, name)
    with pytest.raises(NotImplementedError):
        kind(data_keys=["input", "mask"], p=1.0)(images, images)
    with pytest.raises(NotImplementedError):
        kornia.AugmentationSequential(kind(p=1.0), data_keys=["input", "mask"])(images, images)


def test_masks_and_maps_of_its_cuts_by_our_plan():
    """What kornia refuses: the same cuts carry maps and instances along."""
    images = coded()
    peer = cutmix(num_mix=2)
    mixed, _ = peer(images, torch.arange(COUNT))
    plan = plan_of_cuts(peer._params)
    maps = torch.arange(COUNT, dtype=torch.uint8)[:, None, None].expand(-1, HEIGHT, WIDTH)
    sources = ((mixed[:, 0] - 1) // 10_000).to(torch.uint8)
    assert torch.equal(cd.functional.mix_semantic(maps, plan), sources)
    masks = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    masks[:, 4:18, 6:30] = True
    out = cd.functional.mix_instances([{"masks": masks}] * COUNT, plan, min_visibility=0.0)
    for index, target in enumerate(out):
        for mask, (image, _) in zip(target["masks"], target["origin"].tolist()):
            assert (sources[index][mask] == image).all()


def plan_of_mosaic(params):
    """Two columns of two images, and a window on them as large as one image."""
    order, window = params["permutation"], params["src"][:, 0].long()  # tile 0 and 1: left column, top to bottom
    column = torch.tensor([0, 0, 1, 1]) * WIDTH
    row = torch.tensor([0, 1, 0, 1]) * HEIGHT
    shift = torch.stack([row - window[:, 1:], column - window[:, :1]], dim=-1)
    edges = tuple(
        torch.stack(
            [torch.zeros(len(order), dtype=torch.long), size - window[:, 1 - axis], torch.full((len(order),), size)], 1
        )
        for axis, size in enumerate((HEIGHT, WIDTH))
    )
    owner = torch.tensor([[0, 2], [1, 3]]).expand(len(order), -1, -1)
    return MixPlan.from_grid(order, edges, owner, SIZES, shift=shift.float())


def test_mosaic_of_the_same_tiles_and_window():
    """Equal images. Equal boxes wherever something of the object shows; its boxes that lie outside the window come back
    as phantoms one pixel thin at the border (or as zeros), and none of their object is in the image: dropped here.
    """
    images = coded()
    random = torch.Generator().manual_seed(0)
    corners = (torch.rand((COUNT, 6, 2, 2), generator=random) * torch.tensor([WIDTH, HEIGHT])).round()
    low, high = corners.amin(dim=2), corners.amax(dim=2)
    low = torch.minimum(low, torch.tensor([WIDTH - 1.0, HEIGHT - 1.0]))
    boxes = torch.cat([low, torch.maximum(high, low + 1)], dim=2)
    phantoms = 0
    for seed in range(10):
        torch.manual_seed(seed)
        peer = kornia.RandomMosaic(p=1.0, data_keys=["input", "bbox_xyxy"])
        theirs, their_boxes = peer(images, boxes)
        plan = plan_of_mosaic(peer._params)
        assert torch.equal(cd.functional.mix_pixels(images, plan), theirs)

        masks = torch.zeros(COUNT, 6, HEIGHT, WIDTH, dtype=torch.bool)
        for image, index in torch.cartesian_prod(torch.arange(COUNT), torch.arange(6)).tolist():
            x0, y0, x1, y1 = boxes[image, index].long().tolist()
            masks[image, index, y0:y1, x0:x1] = True
        targets = [{"boxes": box, "masks": mask} for box, mask in zip(boxes, masks)]
        out, report = cd.functional.mix_instances(targets, plan, rule="mmdet", return_report=True)
        row = report.layer * 6 + report.instance
        shows = report.visibility > 0
        for output, target in enumerate(out):
            here = report.output == output
            assert torch.equal(target["boxes"], their_boxes[output, row[here & shows]].to(target["boxes"].dtype))
            for mask, (image, index) in zip(target["masks"], target["origin"].tolist()):
                place = theirs[output, 0][mask] - 10_000 * image - 1
                assert masks[image, index].flatten()[place.long()].all()
            lost = their_boxes[output, row[here & ~shows]]
            sides = lost[:, 2:] - lost[:, :2]
            assert (sides.amin(dim=1) <= 1).all()
            phantoms += int((sides > 0).all(dim=1).sum())
    assert phantoms > 0
