"""GridMix and StripeMix: what is refused, small images."""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"n_holes": (0, 3)}, "n_holes"),
        ({"n_holes": (4, 2)}, "n_holes"),
        ({"cut_area": (0.0, 0.5)}, "cut_area"),
        ({"cut_area": (0.6, 0.5)}, "cut_area"),
        ({"cut_area": (0.5, 1.2)}, "cut_area"),
        ({"pattern": "dots"}, "pattern"),
    ],
)
def test_bad_arguments_of_gridmix(arguments: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.GridMix(**arguments)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"n_stripes": (0, 3)}, "n_stripes"), ({"n_stripes": (5, 2)}, "n_stripes"), ({"direction": "up"}, "direction")],
)
def test_bad_arguments_of_stripemix(arguments: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.StripeMix(**arguments)


@pytest.mark.parametrize("mix", [cd.GridMix(p=1.0), cd.GridMix(p=1.0, pattern="checkerboard"), cd.StripeMix(p=1.0)])
def test_images_smaller_than_the_grid(mix):
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 2, 3).contiguous()
    out = mix(images, generator=torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    assert set(out.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_the_whole_image_may_be_cut():
    plan = cd.GridMix(p=1.0, n_holes=(1, 1), cut_area=(1.0, 1.0), pattern="checkerboard").make_plan(
        torch.zeros(40, 1, 8, 12), generator=torch.Generator().manual_seed(1)
    )
    assert set(plan.share()[:, 1].tolist()) <= {0.0, 1.0}
