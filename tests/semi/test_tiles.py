"""Tiles that are exchanged in groups, and exchanged back on features, as in MUM."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from semi.boxes import coded
from torch import Tensor, nn

import cutmix_dense as cd
from cutmix_dense import semi
from cutmix_dense.functional import mix_pixels


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [2, 4, 7, 8])
@pytest.mark.parametrize(("tiles", "multiple"), [(4, 1), ((2, 3), 1), (4, 8), (3, 4)])
def test_every_pixel_stays_at_its_place_and_within_its_group(count, tiles, multiple):
    images = coded(count, 30, 44)
    mix = semi.TileSwap(tiles=tiles, group=4, multiple=multiple)
    plan = mix.make_plan(images, generator=seeded(count))
    plan.validate()
    mixed, _ = mix.apply_plan(plan, images)
    assert torch.equal(mixed[:, 1:], images[:, 1:])
    number = mixed[:, 0].long() - 1
    for start in range(0, count, 4):
        group = number[start : start + 4]
        members = torch.arange(start, start + len(group))[:, None, None]
        assert torch.equal(group.sort(dim=0).values, members.expand_as(group)), "each pixel of the group once"
    assert (mixed != images).any() == (count > 1)
    assert torch.equal(mix_pixels(mixed, plan.inverse()), images)
    rows, columns = (tiles, tiles) if isinstance(tiles, int) else tiles
    for axis, cells in ((1, rows), (2, columns)):
        steps = (number.diff(dim=axis) != 0).any(dim=0).any(dim=2 - axis)
        borders = (steps.nonzero()[:, 0] + 1).tolist()
        assert all(border % multiple == 0 for border in borders)
        assert len(borders) < cells


def test_tiles_are_those_of_the_authors():
    """``rcnn.py``, lines 31 to 41: gather by a permutation of each tile, repeated h // nt and w // nt times."""
    images = coded(8, 32, 48)
    plan = semi.TileSwap(tiles=4, group=4).make_plan(images, generator=seeded(3))
    number = mix_pixels(images, plan)[:, 0].long() - 1
    corner = number[:, ::8, ::12] % 4
    mask = corner.reshape(2, 4, 1, 4, 4).repeat_interleave(3, 2).repeat_interleave(8, 3).repeat_interleave(12, 4)
    theirs = torch.gather(images.view(2, 4, 3, 32, 48), 1, mask).view(8, 3, 32, 48)
    assert torch.equal(mix_pixels(images, plan), theirs)


def test_permutations_are_uniform_and_independent():
    """Every image of a group is equally likely in every tile, and tiles are drawn apart."""
    images = torch.zeros(4000, 1, 8, 8)
    plan = semi.TileSwap(tiles=2, group=4).make_plan(images, generator=seeded(5))
    shown = plan.source.gather(1, plan.owner_map()[:, ::4, ::4].long().flatten(1)) % 4
    own = torch.arange(4000) % 4
    for place in range(4):
        counts = torch.stack([torch.bincount(column, minlength=4) for column in shown[own == place].T])
        assert (counts.float() / 1000 - 0.25).abs().max() < 0.06
    pairs = torch.bincount(shown[:, 0] * 4 + shown[:, 3], minlength=16).float() / 4000
    assert (pairs - 1 / 16).abs().max() < 0.02


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_a_group_is_mixed_as_a_whole(p):
    images = torch.zeros(2000, 1, 8, 8)
    plan = semi.TileSwap(tiles=4, group=2, p=p).make_plan(images, generator=seeded(6))
    mixed = (plan.owner_map() != 0).flatten(1).any(1).reshape(-1, 2)
    assert torch.equal(mixed[:, 0], mixed[:, 1])
    assert abs(float(mixed.float().mean()) - p) < 0.07


def test_groups_of_unequal_sizes_exchange_what_they_share():
    images = [coded(1, 20, 30)[0], coded(1, 16, 36, 1)[0]]
    mix = semi.TileSwap(tiles=4, group=2, multiple=8)
    plan = mix.make_plan(images, generator=seeded(1))
    mixed, _ = mix.apply_plan(plan, images)
    assert torch.equal(mix_pixels(mixed, plan.inverse())[0], images[0])
    assert torch.equal(mixed[0][0, 16:], images[0][0, 16:])
    assert torch.equal(mixed[1][0, :, 24:], images[1][0, :, 24:])
    assert not torch.equal(mixed[0], images[0])


def test_a_batch_of_one_stays_and_closing_closes():
    mix = semi.TileSwap()
    with pytest.warns(UserWarning, match="one image"):
        assert torch.equal(mix(coded(1)), coded(1))
    mix.close()
    assert torch.equal(mix(coded(4)), coded(4))


class Pyramid(nn.Module):
    """Features of strides 4, 8 and 16 whose kernels never cross a tile."""

    def __init__(self, form: type = OrderedDict) -> None:
        super().__init__()
        self.form = form
        self.levels = nn.ModuleList(nn.Conv2d(3, 5, stride, stride) for stride in (4, 8, 16))
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor):
        self.seen.append(images)
        features = [level(images) for level in self.levels]
        return (
            features[0]
            if self.form is Tensor
            else self.form(zip("abc", features) if issubclass(self.form, dict) else features)
        )


def levels_of(output) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return list(output.values()) if isinstance(output, dict) else list(output)


@pytest.mark.parametrize("form", [OrderedDict, dict, list, tuple, Tensor])
def test_features_are_those_of_the_unmixed_images(form):
    torch.manual_seed(0)
    backbone, images = Pyramid(form), torch.rand(6, 3, 48, 80)
    plain = backbone(images)
    with semi.unmixed_features(backbone, semi.TileSwap(tiles=4, group=4, multiple=16), generator=seeded(2)):
        unmixed = backbone(images)
    assert type(unmixed) is type(plain)
    assert not torch.equal(backbone.seen[1], images), "it saw mixed ones"
    for ours, theirs in zip(levels_of(unmixed), levels_of(plain), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    again = backbone(images)
    assert torch.equal(backbone.seen[2], images), "behind the context nothing is mixed"
    assert all(torch.equal(a, b) for a, b in zip(levels_of(again), levels_of(plain), strict=True))


@pytest.mark.parametrize("key", ["pixel_values", "images"])
def test_images_may_come_by_keyword(key):
    class Named(nn.Module):
        """Hugging Face's backbones take ``pixel_values``; one in a wrapper names none of its parameters."""

        def forward(self, pixel_values=None, mask=None, **others):
            self.seen = others.get("images", pixel_values)
            self.mask = mask
            return {"features": nn.functional.avg_pool2d(self.seen, 8)}

    backbone, images, mask = Named(), torch.rand(4, 3, 32, 48), torch.ones(4, 32, 48)
    swap = semi.TileSwap(tiles=2, multiple=8)
    with semi.unmixed_features(backbone, swap, generator=seeded(1)):
        unmixed = backbone(mask=mask, **{key: images})["features"]
        assert not torch.equal(backbone.seen, images)
        assert backbone.mask is mask
        by_place = backbone(images, mask=mask)["features"]
        with pytest.raises(TypeError, match=r"first or by the keyword 'pixel_values', got the keywords \['mask'\]"):
            backbone(mask=mask)
    for features in (unmixed, by_place):
        assert torch.allclose(features, nn.functional.avg_pool2d(images, 8), atol=1e-6)


def test_gradients_go_back_through_both_exchanges():
    backbone, images = Pyramid(), torch.rand(4, 3, 32, 48, requires_grad=True)
    with semi.unmixed_features(backbone, semi.TileSwap(tiles=2, multiple=16), generator=seeded()):
        backbone(images)["b"][1].sum().backward()
    assert images.grad[1].abs().min() > 0
    assert not images.grad[[0, 2, 3]].any(), "features of image 1 come from its own pixels alone"


def test_exchanging_images_serves_too():
    backbone, images = Pyramid(), torch.rand(4, 3, 32, 48)

    class Half(cd.regions.RegionSampler):
        def draw(self, batch, generator=None, ndim=2):
            return cd.regions.uniform(batch, 0, generator)

        def place(self, draws, sizes, base=None, partner=None):
            return torch.tensor([[[0, 16, 32, 32]]]).expand(len(sizes), -1, -1)

    with semi.unmixed_features(backbone, cd.CutMix(region=Half(), pairing="swap", p=1.0)):
        unmixed = backbone(images)
    assert torch.allclose(unmixed["c"], backbone(images)["c"], atol=1e-6)


@pytest.mark.parametrize(
    ("mix", "strides", "reason"),
    [
        (semi.TileSwap(tiles=4), True, r"edges\[1\] must be multiples of the stride 8, got \[12, 36\]"),
        (cd.CutMix(p=1.0, region=cd.regions.AreaBox((0.25, 0.25), (1, 1))), False, "every pixel once"),
    ],
)
def test_plans_that_do_not_fit_are_refused(mix, strides, reason):
    backbone = Pyramid() if strides else nn.Conv2d(3, 5, 1)
    with pytest.raises(ValueError, match=reason), semi.unmixed_features(backbone, mix, generator=seeded()):
        backbone(torch.rand(4, 3, 32, 48))
    backbone(torch.rand(2, 3, 32, 48))  # the hooks are gone


def test_features_of_no_whole_stride_are_refused():
    backbone = nn.Conv2d(3, 5, 5, stride=4)  # of 32 × 48 pixels 7 × 11 features
    with pytest.raises(ValueError, match="one whole stride"), semi.unmixed_features(backbone, semi.TileSwap(tiles=2)):
        backbone(torch.rand(4, 3, 32, 48))


@pytest.mark.parametrize("wrong", [{"tiles": 0}, {"tiles": (2, 3, 4)}, {"group": 1}, {"multiple": 0}])
def test_what_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        semi.TileSwap(**wrong)
    with pytest.raises(ValueError, match="outputs"):
        semi.TileSwap().make_plan(coded(4), outputs=2)
