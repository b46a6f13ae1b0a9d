"""Partners of another size: their scale is the layer's, every target follows, nothing is read twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.build import known_transforms
from cutmix_dense.transforms.single import mix_single

BASE, LARGE = (40, 56), (120, 140)
"""The larger one fits at a third of its size: 40 × 47 pixels, 140 / 3 rounded."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def coded(number, height, width):
    """A picture whose blue and green say where a pixel is from, and its targets: one object in the middle."""
    y, x = np.mgrid[0:height, 0:width]
    image = torch.from_numpy(np.stack([np.full_like(x, number), x, y]).astype(np.uint8))
    left, top, right, bottom = width // 4, height // 4, width // 2, height // 2
    mask = torch.from_numpy((x >= left) & (x < right) & (y >= top) & (y < bottom))[None]
    target = {
        "boxes": torch.tensor([[left, top, right, bottom]], dtype=torch.float32),
        "labels": torch.tensor([number]),
        "masks": mask,
        "semantic": torch.from_numpy(((x + 2 * y) % 97).astype(np.uint8)),
    }
    return image, target


def whole(**more):
    """A method that shows all of the partner that lies on the base."""
    return cd.CutMix(p=1.0, region=cd.regions.AreaBox((1.0, 1.0), aspect=(1.0, 1.0)), min_visibility=0.0, **more)


def test_resize_scales_picture_and_targets_by_one_map():
    """An exact half, read nearest: every target is where the coded pixels say."""
    (image, target), (partner, theirs) = coded(1, 40, 56), coded(2, 80, 112)
    mix = cd.StripeMix(p=1.0, interpolation="nearest", min_visibility=0.0)
    made = mix_single(mix, [image, partner], [target, theirs], seeded(), partner_fit="resize")
    number, x, y = made.image.long()
    theirs_here = number == 2
    assert theirs_here.any()
    assert (number == 1).any()
    i, j = np.mgrid[0:40, 0:56]
    assert torch.equal(x[theirs_here], torch.from_numpy(2 * j + 1)[theirs_here])  # the pixel at 2 (j + ½)
    assert torch.equal(y[theirs_here], torch.from_numpy(2 * i + 1)[theirs_here])
    (mixed,) = made.targets
    assert torch.equal(mixed["semantic"].long(), (x + 2 * y) % 97)
    row = mixed["labels"].tolist().index(2)
    expected = theirs_here & (x >= 28) & (x < 56) & (y >= 20) & (y < 40)
    assert torch.equal(mixed["masks"][row].bool(), expected)
    rows, columns = expected.any(1).nonzero()[:, 0], expected.any(0).nonzero()[:, 0]
    tight = [columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1]
    assert mixed["boxes"][row].tolist() == tight
    assert mixed["visibility"][row].item() == pytest.approx(expected.sum().item() / (14 * 10))


def test_resize_keeps_the_aspect_and_all_of_the_partner():
    image, partner = coded(1, *BASE)[0], coded(2, *LARGE)[0]
    made = mix_single(cd.MixUp(p=1.0, lam=0.0), [image, partner], None, seeded(), partner_fit="resize")
    scale, extent = made.plan.scale[0, 1].tolist(), made.plan.extent[0, 1].tolist()
    assert scale == pytest.approx([40 / 120, 47 / 140])
    assert extent == [0, 0, *LARGE]
    assert made.image[0, :, :47].eq(2).all()
    assert made.image[0, :, 47:].eq(1).all()  # where the partner has nothing
    # the last column and row of the partner are there
    assert made.image[1, 0, 46] >= 137
    assert made.image[2, 39, 0] >= 117


def test_a_smaller_partner_grows_and_one_of_the_same_size_stays():
    image, small, same = (coded(n, *size)[0] for n, size in ((1, BASE), (2, (20, 28)), (3, BASE)))
    mix = cd.MixUp(p=1.0, lam=0.0)
    assert mix_single(mix, [image, small], None, seeded(), partner_fit="resize").image[0].eq(2).all()
    made = mix_single(mix, [image, same], None, seeded(), partner_fit="resize")
    assert made.plan.unscaled
    assert torch.equal(made.image, same)


@pytest.mark.parametrize("seed", range(6))
def test_random_crop_shows_a_window_of_the_base_s_size(seed):
    (image, target), (partner, theirs) = coded(1, *BASE), coded(2, *LARGE)
    made = mix_single(whole(), [image, partner], [target, theirs], seeded(seed), partner_fit="random_crop")
    number, x, y = made.image.long()
    left, top = x[0, 0].item(), y[0, 0].item()
    i, j = np.mgrid[0 : BASE[0], 0 : BASE[1]]
    assert (number == 2).all()
    assert torch.equal(x, torch.from_numpy(j) + left)
    assert torch.equal(y, torch.from_numpy(i) + top)
    (mixed,) = made.targets
    assert torch.equal(mixed["semantic"].long(), (x + 2 * y) % 97)
    seen = (x >= 35) & (x < 70) & (y >= 30) & (y < 60)
    if seen.any():
        assert torch.equal(mixed["masks"][0].bool(), seen)
        assert mixed["visibility"].item() == pytest.approx(seen.sum().item() / (35 * 30))
    else:
        assert len(mixed["labels"]) == 0


def test_random_crops_reach_every_corner():
    image, partner = (coded(n, *size)[0] for n, size in ((1, (4, 6)), (2, (6, 9))))
    corners = set()
    for seed in range(200):
        made = mix_single(whole(), [image, partner], None, seeded(seed), partner_fit="random_crop")
        corners.add((made.image[2, 0, 0].item(), made.image[1, 0, 0].item()))
    assert corners == {(y, x) for y in range(3) for x in range(4)}


def test_what_a_sampler_looks_at_is_where_it_will_be_mixed():
    """ClassMix takes the classes, CopyPaste the masks, ObjectBox the boxes of the scaled partner."""
    (image, target), (partner, theirs) = coded(1, 40, 56), coded(2, 80, 112)
    theirs["semantic"] = theirs["masks"][0].to(torch.uint8) * 5 + 1
    target["semantic"] = torch.zeros(40, 56, dtype=torch.uint8)
    expected = torch.zeros(40, 56, dtype=torch.bool)
    expected[10:20, 14:28] = True  # half of (20 … 40, 28 … 56)
    images, targets = [image, partner], [target, theirs]
    pasted = mix_single(cd.CopyPaste(p=1.0), images, targets, seeded(), partner_fit="resize")
    assert torch.equal(pasted.image[0] == 2, expected)
    shown = set()
    for seed in range(8):
        made = mix_single(cd.ClassMix(p=1.0), images, targets, seeded(seed), partner_fit="resize")
        here = made.image[0] == 2
        assert torch.equal(here, expected) or torch.equal(here, ~expected)
        shown.add(bool(here[15, 20]))
    assert shown == {True, False}
    region = cd.regions.ObjectBox()
    made = mix_single(cd.CutMix(p=1.0, region=region), images, targets, seeded(), partner_fit="resize")
    assert (made.image[0] == 2)[10:20, 14:28].all(), "the region carries the object whole"


@pytest.mark.parametrize("fit", ["resize", "random_crop"])
@pytest.mark.parametrize("name", sorted(set(known_transforms()) - {"RandomMix"}))
def test_every_method_takes_partners_of_any_size(name, fit):
    mix = getattr(cd, name)(p=1.0)
    sizes = [BASE, LARGE, (30, 100), (90, 20)][: 1 + mix.partners]
    pairs = [coded(number, *size) for number, size in enumerate(sizes, 1)]
    targets = [dict(target) for _, target in pairs]
    for target in targets:
        if name == "MixUp":
            del target["semantic"]
    before = [{key: value.clone() for key, value in target.items()} for target in targets]
    for seed in range(5):
        made = mix_single(mix, [image for image, _ in pairs], targets, seeded(seed), partner_fit=fit)
        assert made.image.shape == (3, *BASE)
        (mixed,) = made.targets
        for box, mask in zip(mixed["boxes"].tolist(), mixed["masks"]):
            rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert all(torch.equal(a[key], b[key]) for a, b in zip(targets, before) for key in b)


def test_methods_that_scale_by_their_own_rule_do_so():
    images = [coded(1, *BASE)[0], *(coded(n, *LARGE)[0] for n in (2, 3, 4))]
    for mix in (cd.Mosaic(p=1.0), cd.ResizeMix(p=1.0)):
        pool = images[: 1 + mix.partners]
        fitted = mix_single(mix, pool, None, seeded(), partner_fit="resize")
        assert torch.equal(fitted.image, mix_single(mix, pool, None, seeded()).image)


def test_wrong_settings_are_named():
    images = [torch.zeros(3, 4, 5), torch.zeros(3, 6, 6)]
    with pytest.raises(ValueError, match=r"partner_fit must be one of .*'random_crop'\), got 'fit'"):
        mix_single(cd.CutMix(p=1.0), images, None, seeded(), partner_fit="fit")
    volumes = [torch.zeros(1, 3, 4, 5), torch.zeros(1, 6, 6, 6)]
    with pytest.raises(ValueError, match="'crop' for layout 'BCDHW'"):
        mix_single(cd.CutMix(p=1.0, layout="BCDHW"), volumes, None, seeded(), partner_fit="resize")
