"""RICAP: fill, corners, refused arguments."""

from __future__ import annotations

import pytest
import torch
from oracle import coded_pool, decode

import cutmix_dense as cd


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_four_unscaled_crops_without_fill():
    size = (14, 23)
    images = torch.stack(coded_pool([size] * 6))
    for seed in range(10):
        mix = cd.RICAP(beta=1.0, p=1.0, fill=(0, 0, 0), pairing="shuffle")
        out = mix(images, generator=seeded(seed))
        for b in range(6):
            prov = decode(out[b], size, [size] * 6)
            assert (prov.source >= 0).all()
            same_image = prov.source[:, 1:] == prov.source[:, :-1]
            step = prov.x[:, 1:] - prov.x[:, :-1]
            assert (step[same_image] == 1).sum() >= 0.8 * same_image.sum(), "a crop was scaled"


def test_a_crop_larger_than_its_image_leaves_fill():
    sizes = [(30, 40), (4, 5), (5, 4), (3, 6)]
    maps = [torch.zeros(s, dtype=torch.long) for s in sizes]
    filled = 0
    for seed in range(5):
        out, semantic = cd.RICAP(beta=5.0, p=1.0, fill=77)(coded_pool(sizes), maps, generator=seeded(seed))
        fill = semantic[0] == 255
        filled += int(fill.sum())
        assert (out[0][:, fill] == 77).all()
        assert (semantic[0][~fill] == 0).all()
    assert filled > 100


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_bad_arguments(beta: float):
    with pytest.raises(ValueError, match="beta"):
        cd.RICAP(beta=beta)
