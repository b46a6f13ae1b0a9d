"""Mosaic: fill, sizes, images that stay alone."""

from __future__ import annotations

import pytest
import torch
from oracle import coded_pool

import cutmix_dense as cd


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("ignore_index", [255, 250, -1])
def test_fill_is_114_of_bytes_and_the_ignored_id(ignore_index: int):
    images = torch.full((4, 3, 20, 31), 7, dtype=torch.uint8)
    maps = torch.full((4, 20, 31), 3)
    filled = 0
    for seed in range(6):
        out, semantic = cd.Mosaic(ignore_index=ignore_index, scale=(0.3, 0.6))(images, maps, generator=seeded(seed))
        fill = semantic == ignore_index
        assert (semantic[~fill] == 3).all()
        assert (out[:, 0][fill] == 114).all()
        assert (out[:, 0][~fill] == 7).all()
        filled += int(fill.sum())
    assert filled > 0


def test_fill_per_channel():
    images = torch.zeros(4, 3, 20, 31)
    out = cd.Mosaic(fill=(1.0, 2.0, 3.0), scale=(0.3, 0.4))(images, generator=seeded(0))
    colours = out.movedim(1, -1).reshape(-1, 3).unique(dim=0)
    assert colours.tolist() == [[0, 0, 0], [1, 2, 3]]


def test_size_of_the_output():
    sizes = [(20, 31), (15, 9), (12, 40)]
    maps = [torch.zeros(s, dtype=torch.long) for s in sizes]
    out, semantic = cd.Mosaic(size=(18, 26))(coded_pool(sizes), maps, generator=seeded(1))
    assert [tuple(o.shape) for o in out] == [(3, 18, 26)] * 3
    assert [tuple(m.shape) for m in semantic] == [(18, 26)] * 3
    own = cd.Mosaic()(coded_pool(sizes), generator=seeded(1))
    assert [tuple(o.shape[-2:]) for o in own] == sizes


def test_a_canvas_that_is_larger_than_the_output():
    """As in YOLO: four whole images, each as large as the output, on a canvas of twice its sides."""
    sizes = [(20, 30)] * 4
    targets = [{"boxes": torch.tensor([[0.0, 0, 30, 20]]), "labels": torch.tensor([k])} for k in range(4)]
    mix = cd.Mosaic(size=(20, 30), expand=2, scale=(0.5, 0.5), jitter=0, p=0.5, fill=0)
    plan = mix.make_plan(torch.stack(coded_pool(sizes)), generator=seeded(3))
    mixed = (plan.source[:, 1:] >= 0).any(dim=1)
    assert 0 < mixed.sum() < 4
    assert plan.frame == (40, 60)
    assert plan.canvas.tolist() == [[40, 60] if one else [20, 30] for one in mixed.tolist()]
    images, out = mix(torch.stack(coded_pool(sizes)), targets, generator=seeded(3))
    assert images.shape == (4, 3, 40, 60)
    for image, target, one, own in zip(images, out, mixed.tolist(), coded_pool(sizes)):
        if one:  # every image whole, pixel by pixel
            assert sorted(target["labels"].tolist()) == [0, 1, 2, 3]
            assert (target["visibility"] == 1).all()
            for label, (x, y, *_) in zip(target["labels"].tolist(), target["boxes"].int().tolist()):
                assert torch.equal(image[:, y : y + 20, x : x + 30], coded_pool(sizes)[label])
        else:
            assert torch.equal(image[:, :20, :30], own)
    with pytest.raises(ValueError, match="expand"):
        cd.Mosaic(expand=0.5)


def test_an_unmixed_image_is_fitted_into_the_size():
    """Aspect kept, the whole image, as large as fits; all else is fill."""
    sizes = [(20, 30), (40, 10)]
    targets = [{"boxes": torch.tensor([[0.0, 0, w, h]]), "labels": torch.tensor([1])} for h, w in sizes]
    mix = cd.Mosaic(size=(40, 40), p=0.0, fill=0)
    plan = mix.make_plan(coded_pool(sizes), targets, generator=seeded(0))
    _, out = mix(coded_pool(sizes), targets, generator=seeded(0))
    for b, (h, w) in enumerate(sizes):
        scale = min(40 / h, 40 / w)
        assert plan.share()[b, 0].item() == pytest.approx(h * w * scale**2 / 1600, abs=0.03)
        x0, y0, x1, y1 = out[b]["boxes"][0].tolist()
        assert (x1 - x0, y1 - y0) == pytest.approx((w * scale, h * scale), abs=1)
        assert out[b]["visibility"].item() == pytest.approx(1.0, abs=1e-3)


def test_padding_of_a_padded_batch():
    """mix_pixels: "Padded batches keep the base's padding beyond the canvas", also where the base was moved."""
    sizes = [(10, 14), (12, 9), (8, 15)]
    images = coded_pool(sizes, (14, 18))
    for mix in (cd.Mosaic(), cd.RICAP(p=1.0)):
        for seed in range(3):
            out = mix(images, sizes=torch.tensor(sizes), generator=seeded(seed))
            for b, (h, w) in enumerate(sizes):
                assert torch.equal(out[b][:, h:], images[b][:, h:]), type(mix).__name__
                assert torch.equal(out[b][:, :, w:], images[b][:, :, w:]), type(mix).__name__


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"grid": (0, 2)}, "grid"),
        ({"grid": (2,)}, "grid"),
        ({"jitter": 1.0}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (1.5, 0.5)}, "scale"),
        ({"size": (0, 5)}, "size"),
    ],
)
def test_bad_arguments(arguments: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.Mosaic(**arguments)
