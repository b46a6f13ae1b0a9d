"""SaliencyMix: kinds of images, valid areas."""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_channels_and_dtype(dtype: torch.dtype, channels: int):
    images = (torch.rand(3, channels, 20, 30, generator=seeded(0)) * 255).to(dtype)
    out = cd.SaliencyMix(p=1.0)(images, generator=seeded(1))
    assert (out.dtype, out.shape) == (dtype, images.shape)


def test_flat_images():
    plan = cd.SaliencyMix(p=1.0).make_plan(torch.zeros(4, 3, 20, 30), generator=seeded(0))
    assert plan.owner_map().ge(0).all()


def test_padding_draws_no_eye():
    """The peak lies in the valid area of the partner."""
    generator = seeded(2)
    images = torch.full((6, 1, 60, 80), 255.0)
    images[:, :, :, 60:] = torch.rand(6, 1, 60, 20, generator=generator) * 255  # loud padding
    images[:, :, :40, :50] = 0
    for b in range(6):
        images[b, :, 10 + b : 18 + b, 20:28] = 1.0
    sizes = torch.tensor([[40, 50]] * 6)
    plan = cd.SaliencyMix(p=1.0, alpha=50.0).make_plan(images, sizes=sizes, generator=seeded(3))
    owner = plan.owner_map() == 1
    for b in range(6):
        partner = int(plan.source[b, 1])
        assert owner[b, 14 + partner, 24], "the region misses the blob in the valid area"


def test_the_region_is_in_place_and_labels_count_by_pixels():
    images = torch.rand(4, 3, 40, 60, generator=seeded(4))
    mix = cd.SaliencyMix(p=1.0, num_classes=4)
    plan = mix.make_plan(images, generator=seeded(5))
    out, labels = mix(images, torch.arange(4), generator=seeded(5))
    owner = plan.owner_map()[:, None] == 1
    assert torch.equal(out, torch.where(owner, images.roll(1, 0), images))
    share = owner.float().mean((1, 2, 3))
    torch.testing.assert_close(labels[torch.arange(4), (torch.arange(4) - 1) % 4], share)


def test_bad_alpha():
    with pytest.raises(ValueError, match="alpha"):
        cd.SaliencyMix(alpha=0.0)
