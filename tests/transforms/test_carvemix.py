"""CarveMix: the mask against its definition by brute force, its law, and what the transform makes of coded volumes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from test_samplers import assert_uniform

import cutmix_dense as cd
from cutmix_dense.distance import carved
from cutmix_dense.masks import CarveMask

pytest.importorskip("scipy", reason="scipy is not installed (extra: volumes)")


def brute(mask: np.ndarray, amount: float, spacing: tuple[float, ...]) -> np.ndarray:
    """The definition, pixel pair by pixel pair."""
    inner = np.argwhere(mask) * np.array(spacing)
    outer = np.argwhere(~mask) * np.array(spacing)
    signed = np.empty(mask.shape)
    for at in itertools.product(*(range(n) for n in mask.shape)):
        others = outer if mask[at] else inner
        nearest = np.sqrt(((others - np.array(at) * np.array(spacing)) ** 2).sum(1)).min()
        signed[at] = -nearest if mask[at] else nearest
    depth = -signed.min()
    return (signed < amount * depth) if amount <= 0 else (signed < amount * depth) | mask


@pytest.mark.parametrize("amount", [-0.47, -0.3, 0.0, 0.41, 0.97])
@pytest.mark.parametrize(
    ("size", "spacing"), [((13, 17), (1.0, 1.0)), ((6, 9, 11), (1, 1, 1)), ((6, 9, 11), (3, 1, 0.7))]
)
def test_carved_is_the_definition(size: tuple[int, ...], spacing: tuple[float, ...], amount: float):
    rng = np.random.default_rng(0)
    for edge in (False, True):
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"))
        centre = np.array([0.0 if edge else n / 2 for n in size]).reshape(-1, *(1,) * len(size))
        mask = (((grid - centre) / np.array(size).reshape(centre.shape)) ** 2).sum(0) < rng.uniform(0.03, 0.09)
        mask &= rng.random(size) < 0.97  # a few holes
        np.testing.assert_array_equal(carved(mask, amount, spacing), brute(mask, amount, spacing))


def test_masks_that_have_no_border_stay():
    for mask in (np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)):
        for amount in (-0.5, 0.7):
            assert np.array_equal(carved(mask, amount), mask)


def test_a_small_growth_keeps_the_mask():
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    assert np.array_equal(carved(mask, 0.5), mask)


def test_the_distance_is_drawn_from_two_uniforms():
    draws = CarveMask().draw(20_000, torch.Generator().manual_seed(1)).numpy()
    amount = np.where(draws[:, 0] < 0.5, -draws[:, 1] / 2, draws[:, 1])
    assert abs((amount < 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(20_000)
    assert_uniform(amount[amount < 0], -0.5, 0)
    assert_uniform(amount[amount > 0], 0, 1)
    ball = np.stack(np.meshgrid(*[np.arange(41) - 20] * 3, indexing="ij"))
    ball = torch.from_numpy(((ball**2).sum(0) <= 10**2).astype(np.int64)).expand(300, -1, -1, -1)
    masks = CarveMask().place(torch.from_numpy(draws[:300]), ball)
    radius = (masks.flatten(1).sum(1) * 3 / 4 / math.pi) ** (1 / 3)
    assert np.corrcoef(radius, amount[:300])[0, 1] > 0.99  # a ball's radius follows the distance
    np.testing.assert_allclose(radius, 10 + 10 * amount[:300], atol=1.1)


def volumes(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Coded volumes with a lesion of class 1 or 2 within tissue of 0, and some ignored voxels."""
    generator = torch.Generator().manual_seed(seed)
    size = (9, 14, 12)
    number = torch.arange(1.0, 5).reshape(4, 1, 1, 1, 1).expand(4, 1, *size)
    place = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij"))
    maps = torch.zeros(4, *size, dtype=torch.long)
    for index in range(3):  # the last has no lesion
        low = [int(torch.randint(0, n - 6, (1,), generator=generator)) for n in size]
        maps[index][tuple(slice(a, a + 6) for a in low)] = 1 + index % 2
    maps[:, 0, 0, 0] = 255
    return torch.cat([number, place.expand(4, -1, -1, -1, -1)], dim=1), maps


def test_coded_volumes_carry_their_lesion():
    grown = shrunk = 0
    for seed in range(20):
        images, maps = volumes(seed)
        mix = cd.CarveMix(p=1.0, layout="BCDHW", num_classes=4)
        targets: Any = {"semantic": maps, "labels": torch.arange(4)}
        out, mixed = mix(images, targets, generator=torch.Generator().manual_seed(seed))
        for index in range(4):
            partner = (index - 1) % 4
            source = out[index, 0].long() - 1
            assert set(source.unique().tolist()) <= {index, partner}
            assert torch.equal(out[index, 1:], images[index, 1:]), "a voxel left its place"
            lesion = (maps[partner] > 0) & (maps[partner] != 255)
            pasted = source == partner
            assert torch.equal(mixed["semantic"][index], torch.where(pasted, maps[partner], maps[index]))
            torch.testing.assert_close(float(mixed["labels"][index, partner]), float(pasted.float().mean()))
            if not lesion.any():
                assert not pasted.any()
                continue
            assert (pasted & ~lesion).any() or (pasted <= lesion).all()
            grown += bool((pasted & ~lesion).any())
            shrunk += bool((lesion & ~pasted).any())
    assert grown > 3
    assert shrunk > 3


def test_classes_say_what_the_lesion_is():
    images, maps = volumes(0)
    out = cd.CarveMix(classes=[2], p=1.0, layout="BCDHW")(images, {"semantic": maps}, generator=torch.Generator())
    changed = [(out[0][index, 0] != images[index, 0]).any() for index in range(4)]
    assert changed == [False, False, True, False]  # the second volume alone has class 2


def test_it_never_leaves_the_partner(generator):
    images = [torch.ones(1, 4, 6, 6), torch.full((1, 9, 9, 9), 2.0)]
    maps = [torch.ones(4, 6, 6, dtype=torch.long), torch.zeros(9, 9, 9, dtype=torch.long)]
    maps[0][0] = 0
    for seed in range(5):
        out, _ = cd.CarveMix(p=1.0, layout="BCDHW")(
            images, {"semantic": maps}, generator=torch.Generator().manual_seed(seed)
        )
        assert set(out[1].unique().tolist()) <= {1.0, 2.0}


def test_what_it_refuses():
    with pytest.raises(ValueError, match="classes must name at least one id"):
        cd.CarveMix(classes=[])
    with pytest.raises(ValueError, match="spacing must hold a length above 0"):
        cd.CarveMix(spacing=(1, 0, 1))
    with pytest.raises(ValueError, match="layout of CarveMix must be one of"):
        cd.CarveMix(layout="BTCHW")
    images, maps = volumes(0)
    with pytest.raises(ValueError, match=r"spacing must have one size per axis \(3\)"):
        cd.CarveMix(spacing=(1, 1), p=1.0, layout="BCDHW")(images, {"semantic": maps})
    with pytest.raises(ValueError, match="ClassMix, CarveMix and other masks made of classes need a semantic map"):
        cd.CarveMix(p=1.0, layout="BCDHW")(images, torch.arange(4))


def test_distances_are_not_measured_for_what_stays_unmixed(monkeypatch):
    def refuse(*_):
        raise AssertionError("measured")

    monkeypatch.setattr(CarveMask, "place", refuse)
    images, maps = torch.rand(2, 3, 8, 10), torch.ones(2, 8, 10, dtype=torch.long)
    assert torch.equal(cd.CarveMix(p=0.0)(images, maps)[0], images)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize(
    ("settings", "lesion"),
    [
        ({"ignore_index": -1}, {44, 255}),
        ({"ignore_index": 300}, {44, 255}),
        ({}, {44}),
        ({"classes": (300,)}, set()),
        ({"classes": (1, 44, 300, -1)}, {44}),
    ],
)
def test_ids_that_bytes_cannot_hold_are_none_of_theirs(dtype: torch.dtype, settings: dict[str, Any], lesion: set[int]):
    maps = torch.zeros(2, 24, 30, dtype=dtype)
    maps[:, 2:8, 3:9], maps[:, 12:20, 16:25] = 44, 255
    images = torch.stack([torch.zeros(1, 24, 30), torch.ones(1, 24, 30)])
    pasted: set[int] = set()
    for seed in range(6):
        mixed, _ = cd.CarveMix(p=1.0, **settings)(images, maps, generator=torch.Generator().manual_seed(seed))
        pasted |= set(maps[0][mixed[0, 0] == 1].tolist())
    assert pasted - {0} == lesion
