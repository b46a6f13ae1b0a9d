"""MixPL's figures, and that erased, blended and tiled pixels carry their boxes."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch
from semi.boxes import H, W, agrees, coded, detections, teacher
from torch import Tensor

from cutmix_dense import semi
from cutmix_dense.regions import MultiBox, SideBox
from cutmix_dense.semi.detection import DetectionView
from cutmix_dense.warned import MixWarning


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pseudo(count: int, first: int = 0, height: int = H, width: int = W) -> list[dict]:
    return semi.pseudo_boxes(teacher(list(coded(count, height, width, first))), threshold=0.55)


def filled(mixpl: semi.MixPL, count: int = 4) -> tuple[list[DetectionView], int]:
    """The views of the first call with a full cache, and the number of its first image."""
    for first in range(0, 40, count):
        views = mixpl.views(coded(count, first=first), pseudo(count, first), generator=seeded(first))
        if len(views) == 2:
            return views, first
    raise AssertionError("the cache never fills")


def test_the_published_figures():
    """``mixpl_faster-rcnn_r50-caffe_fpn_180k_coco-s1-p10.py``: lines 39, 42 to 47; ``mixpl.py``: lines 233 and 234."""
    mixpl = semi.MixPL()
    assert mixpl.bank.max_samples == 8  # cache_size=8
    assert mixpl.tile == ((400, 400), (800, 800))  # mosaic_shape=[(400, 400), (800, 800)]
    assert mixpl.mosaic_weight == 0.5  # mosaic_weight=0.5
    assert mixpl.erase.region == MultiBox(SideBox((0, 0.1)), (1, 19))  # erase_patches=(1, 20), erase_ratio=(0, 0.1)
    assert mixpl.erase.min_visibility == pytest.approx(1 - 0.7)  # erase_thr=0.7
    assert mixpl.mixup.lam == 0.5  # dst_inputs * 0.5, src_inputs * 0.5
    assert mixpl.erase.p == mixpl.mixup.p == 1.0


def test_the_size_of_the_mosaic_is_drawn():
    """``mixpl.py``, lines 93 to 96: height and width apart, each of 400 … 799, of a mosaic of twice that."""
    mixpl = semi.MixPL(tile=((400, 420), (800, 700)))
    sizes = np.array([mixpl._mosaic(torch.rand(2, generator=seeded(i))).size for i in range(2000)]) / 2
    assert (sizes.min(0) >= (400, 420)).all()
    assert (sizes.max(0) < (800, 700)).all()
    assert np.abs(sizes.mean(0) - (599.5, 559.5)).max() < 10
    assert abs(np.corrcoef(sizes.T)[0, 1]) < 0.08


def test_until_the_cache_is_full_the_erased_batch_is_the_only_view():
    mixpl = semi.MixPL(cache=8)
    for first in (0, 4):
        (view,) = mixpl.views(coded(4, first=first), pseudo(4, first), generator=seeded(first))
        assert view.weight == 1.0
        for image, target in zip(view.images, view.targets, strict=True):
            agrees(image, target, list(range(first + 1, first + 5)), 0.3, 0.55)
        assert (view.images == 0).all(1).any()
    assert len(mixpl.views(coded(4, first=8), pseudo(4, 8))) == 2
    assert len(mixpl.bank) == 8


def test_erased_boxes_are_dropped_at_seven_tenths():
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 20.0], [20.0, 0.0, 30.0, 20.0]])
    target = {"boxes": box, "labels": torch.tensor([1, 2, 3]), "scores": torch.ones(3)}

    class Corner(SideBox):
        def place(self, draws, sizes, base=None, partner=None):
            return torch.tensor([[[0, 0, 8, 10]]]).expand(len(sizes), -1, -1)  # 80 of 100, 80 of 200 pixels

    (view,) = semi.MixPL(cache=4, region=Corner()).views(torch.rand(1, 3, 24, 36), [target])
    assert view.targets[0]["labels"].tolist() == [2, 3]
    assert view.targets[0]["boxes"].tolist() == [[0, 8, 10, 20], [20, 0, 30, 20]]
    assert (view.images[0, :, :8, :10] == 0).all()


def nothing_erased() -> MultiBox:
    return MultiBox(SideBox((0.0, 0.0)), 1)


def test_the_blend_shows_an_earlier_image_mirrored():
    """Half of a pixel is the batch's image, half the cache's, mirrored; boxes of both, each where its image shows."""
    mixpl = semi.MixPL(cache=8, region=nothing_erased())
    (blend, _), first = filled(mixpl)
    earlier = list(range(first - 8 + 1, first + 1))
    used = []
    for index, (image, target) in enumerate(zip(blend.images, blend.targets, strict=True)):
        own = coded(1, first=first + index)[0]
        partner = 2 * image - own
        number = int(partner[0, 0, 0])
        assert torch.equal(partner, coded(1, first=number - 1)[0].flip(-1))
        used.append(number)
        mine, theirs = detections(first + index + 1), detections(number)
        mine, theirs = (d["boxes"][d["scores"] > 0.55] for d in (mine, theirs))
        mirrored = torch.stack([W - theirs[:, 2], theirs[:, 1], W - theirs[:, 0], theirs[:, 3]], 1)
        assert torch.equal(target["boxes"], torch.cat([mine, mirrored]))
        assert (target["weight"] == 0.5).all()
    assert len(set(used)) == 4, "each image of the cache once"
    assert set(used) <= set(earlier)


def decoded(tile: Tensor, number: int) -> bool:
    """Whether a tile of the mosaic's size shows that image, mirrored."""
    return torch.equal(tile, coded(1, first=number - 1)[0].flip(-1))


def test_the_mosaic_shows_four_whole_images_of_the_cache():
    mixpl = semi.MixPL(cache=8, region=nothing_erased(), tile=((H, W), (H, W)))
    (blend, mosaic), first = filled(mixpl)
    assert mosaic.weight == 0.5
    assert tuple(mosaic.images.shape) == (1, 3, 2 * H, 2 * W)
    (target,) = mosaic.targets
    numbers, expected = [], []
    for y, x in ((0, 0), (0, W), (H, 0), (H, W)):
        tile = mosaic.images[0, :, y : y + H, x : x + W]
        number = int(tile[0, 0, 0])
        assert decoded(tile, number)
        numbers.append(number)
        found = detections(number)
        for box, label, score in zip(found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist()):
            if score > 0.55:
                x0, y0, x1, y1 = box
                expected.append((label, [W - x1 + x, y0 + y, W - x0 + x, y1 + y]))
    assert sorted(expected) == sorted(zip(target["labels"].tolist(), target["boxes"].tolist()))
    assert len(set(numbers)) == 4
    blended = {int(2 * image[0, 0, 0]) - (first + 1 + index) for index, image in enumerate(blend.images)}
    assert not blended & set(numbers), "the blend and the mosaic take different images"
    assert set(numbers) | blended == set(range(first - 7, first + 1))


def test_lists_of_any_size():
    mixpl = semi.MixPL(cache=4, tile=((20, 30), (24, 36)))
    shapes = [(20, 30), (26, 22)]
    for first in range(0, 10, 2):
        images = [coded(1, *shape, first + i)[0] for i, shape in enumerate(shapes)]
        targets = [pseudo(1, first + i, *shape)[0] for i, shape in enumerate(shapes)]
        views = mixpl.views(images, targets, generator=seeded(first))
        assert [tuple(image.shape[1:]) for image in views[0].images] == shapes
        for image, target in zip(views[0].images, views[0].targets, strict=True):
            high = torch.tensor([image.shape[2], image.shape[1]]).repeat(2)
            assert ((target["boxes"] >= 0) & (target["boxes"] <= high)).all()
    assert len(views) == 2


def test_batches_of_changing_sizes():
    mixpl = semi.MixPL(cache=4, tile=((20, 30), (24, 36)))
    shapes, views = [(20, 30), (26, 22), (16, 40)], []
    for first in range(0, 18, 2):
        height, width = shapes[first // 2 % 3]
        views = mixpl.views(coded(2, height, width, first), pseudo(2, first, height, width), generator=seeded(first))
        assert views[0].images.shape == (2, 3, height, width)
        for target in views[0].targets:
            assert (target["boxes"] <= torch.tensor([width, height]).repeat(2)).all()
    assert len(views) == 2


def test_a_generator_repeats_a_call_and_a_checkpoint_the_cache():
    one, two = semi.MixPL(cache=4), semi.MixPL(cache=4)
    one.views(coded(4), pseudo(4), generator=seeded(1))
    two.load_state_dict(one.state_dict())
    first, second = (m.views(coded(4, first=4), pseudo(4, 4), generator=seeded(2)) for m in (one, two))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.images, b.images)
        assert all(torch.equal(x["boxes"], y["boxes"]) for x, y in zip(a.targets, b.targets, strict=True))
    assert len(first) == 2


def test_the_cache_keeps_whole_images():
    """``mixpl.py``, line 102: what is erased in one step is whole in the next."""
    mixpl = semi.MixPL(cache=4)
    mixpl.views(coded(4), pseudo(4), generator=seeded(1))
    for (image, target), whole, given in zip(mixpl.bank._samples, coded(4), pseudo(4), strict=True):
        assert torch.equal(image, whole)
        assert torch.equal(target["boxes"], given["boxes"])


def test_the_cache_has_room_for_a_hundred_masks_of_every_image():
    masks = torch.ones(1, 800, 1336, dtype=torch.bool).expand(100, -1, -1)  # as torchvision's Mask R-CNN finds at most
    assert semi.MixPL().bank.max_bytes > 8 * (masks.numel() + 4 * 3 * 800 * 1336)


@pytest.mark.parametrize(
    ("fit", "remedy"), [(2, "Raise max_bytes to [0-9]+ or more, or leave"), (5, "lower cache to 5")]
)
def test_bytes_for_fewer_images_than_the_cache_warn_once(fit, remedy):
    images, targets = (
        torch.rand(4, 3, H, W),
        [{"boxes": torch.tensor([[2.0, 2, 30, 20]]), "labels": torch.tensor([1])}] * 4,
    )
    each = 4 * 3 * H * W + 16 + 8
    mixpl = semi.MixPL(cache=8, max_bytes=fit * each)
    message = rf"cache=8, max_bytes={fit * each}\): .* hold {fit} of the 8 .*{remedy}"
    with pytest.warns(MixWarning, match=message) as found:
        counts = [len(mixpl.views(images, targets)) for _ in range(4)]
    assert counts == [1] * 4
    assert [warning.filename for warning in found] == [__file__]
    enough = re.search(r"max_bytes to (\d+)", str(found[0].message))
    assert int(enough[1]) == 8 * each
    mixpl = semi.MixPL(cache=8, max_bytes=int(enough[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [len(mixpl.views(images, targets)) for _ in range(3)] == [1, 1, 2]


def test_closed_it_gives_the_batch_as_it_is():
    mixpl = semi.MixPL(cache=4)
    filled(mixpl)
    mixpl.close()
    (view,) = mixpl.views(coded(4), pseudo(4), generator=seeded(1))
    assert torch.equal(view.images, coded(4))
    assert all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(view.targets, pseudo(4), strict=True))
    assert torch.equal(mixpl.bank._samples[0][0], coded(4)[0])
    mixpl.close(False)
    assert len(mixpl.views(coded(4), pseudo(4), generator=seeded(1))) == 2


def test_inputs_stay_as_they_are():
    mixpl = semi.MixPL(cache=4)
    for _ in range(2):
        images, targets = coded(4), pseudo(4)
        mixpl.views(images, targets)
        assert torch.equal(images, coded(4))
        assert all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(targets, pseudo(4), strict=True))


@pytest.mark.parametrize(
    "wrong", [{"cache": 3}, {"mosaic_weight": -1.0}, {"tile": ((4, 5), (3, 9))}, {"tile": ((0, 5), (3, 9))}]
)
def test_what_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        semi.MixPL(**wrong)
