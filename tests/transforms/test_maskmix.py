"""CowMix and FMix: refused arguments, images of different sizes, one plan for everything."""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"proportion": 0.0}, "proportion"),
        ({"proportion": 1.0}, "proportion"),
        ({"proportion": (0.6, 0.4)}, "proportion"),
        ({"sigma": (0.0, 4.0)}, "sigma"),
        ({"sigma": (5.0, 4.0)}, "sigma"),
    ],
)
def test_bad_arguments_of_cowmix(arguments: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.CowMix(**arguments)


@pytest.mark.parametrize("alpha", [0.0, -1.0])
def test_bad_alpha_of_fmix(alpha: float):
    with pytest.raises(ValueError, match="alpha"):
        cd.FMix(alpha=alpha)


@pytest.mark.parametrize("mix", [cd.CowMix(p=1.0, sigma=(1.0, 2.0), proportion=0.5), cd.FMix(p=1.0, alpha=100.0)])
def test_the_share_is_of_the_area_in_common(mix):
    sizes = [(30, 40), (20, 12), (14, 60), (33, 21)]
    images = [torch.zeros(1, *s) for s in sizes]
    shares = []
    for seed in range(15):
        plan = mix.make_plan(images, generator=torch.Generator().manual_seed(seed))
        for b in range(4):
            (h, w), (ph, pw) = sizes[b], sizes[int(plan.source[b, 1])]
            common = (min(h, ph), min(w, pw))
            owner = plan.owner_map()[b] == 1
            assert owner.sum() == owner[: common[0], : common[1]].sum()
            shares.append(owner.sum().item() / (common[0] * common[1]))
    assert abs(sum(shares) / len(shares) - 0.5) < 0.06


def test_tiny_images():
    for mix in (cd.CowMix(p=1.0), cd.FMix(p=1.0)):
        out = mix(torch.rand(3, 1, 1, 2), generator=torch.Generator().manual_seed(0))
        assert out.isfinite().all()
