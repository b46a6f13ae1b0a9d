"""Samplers of regions and masks on volumes (and, by the same bodies, on images) against what their formulas say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from test_samplers import assert_mean, assert_uniform, clipped_length

from cutmix_dense import regions
from cutmix_dense.masks import ClassMask, CowMask, FourierMask

PLANE, SOLID, FLAT = (26, 40), (18, 26, 40), (8, 60, 44)
SIZES = [PLANE, SOLID, FLAT]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def place(sampler: Any, n: int, size: tuple[int, ...], seed: int = 0, **objects: Any) -> np.ndarray:
    """(n, patches, 2, D): low and high corners."""
    sizes = torch.tensor([size] * n)
    found = sampler.place(sampler.draw(n, seeded(seed), len(size)), sizes, **objects).numpy()
    assert (found >= 0).all()
    assert (found[..., len(size) :] <= np.array(size)).all(), "a region leaves the volume"
    return found.reshape(n, -1, 2, len(size))


def sides(found: np.ndarray) -> np.ndarray:
    return found[..., 1, :] - found[..., 0, :]


def shares(found: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return sides(found).prod(-1) / math.prod(size)


def raster(found: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(n, *size): how many regions of a sample cover each voxel."""
    count = np.zeros((len(found), *size), dtype=np.int8)
    for sample, patches in zip(count, found):
        for low, high in patches:
            sample[tuple(slice(a, b) for a, b in zip(low, high))] += 1
    return count


# ---------------------------------------------------------------------------------------------------------------------
# regions


@pytest.mark.parametrize("alpha", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("size", [*SIZES, (1, 20, 30), (2, 20, 30), (3, 20, 30)])
def test_beta_box_share(size: tuple[int, ...], alpha: float):
    got = shares(place(regions.BetaBox(alpha), 60_000, size), size)[:, 0]
    grid = (np.arange(200_000) + 0.5) / 200_000
    cut = grid if alpha == 1.0 else np.random.default_rng(7).beta(alpha, alpha, 400_000)
    half = 0.5 * cut ** (1 / len(size))
    expected = np.prod([clipped_length(side, half * side) / side for side in size], axis=0).mean()
    assert_mean(got, expected)


def test_beta_box_share_of_a_large_cube_is_the_integral():
    size = (1000, 1000, 1000)
    got = shares(place(regions.BetaBox(), 60_000, size), size)[:, 0]
    root = ((np.arange(100_000) + 0.5) / 100_000) ** (1 / 3)
    assert_mean(got, ((root - root**2 / 4) ** 3).mean(), slack=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_area_box_share_and_place_are_uniform(size: tuple[int, ...]):
    large = tuple(40 * n for n in size)  # so that whole pixels hardly matter
    found = place(regions.AreaBox((0.2, 0.6)), 20_000, large, 1)
    assert_uniform(shares(found, large)[:, 0], 0.2, 0.6, slack=0.005)
    for axis, length in enumerate(large):
        low, side = found[:, 0, 0, axis], sides(found)[:, 0, axis]
        free = side < length - 50
        assert_uniform(low[free] / (length - side[free]), 0, 1, slack=0.02)


@pytest.mark.parametrize("size", [(3000, 4000), (2000, 3000, 4000)])
def test_area_box_aspects_are_log_uniform(size: tuple[int, ...]):
    low, high = 0.3, 1 / 0.3
    # small enough that every aspect of the range fits
    found = sides(place(regions.AreaBox((0.02, 0.04), (low, high)), 20_000, size, 2))[:, 0] / np.array(size)
    for axis in range(len(size) - 1):
        others = found[:, axis + 1 :]
        aspect = found[:, axis] / others.prod(1) ** (1 / others.shape[1])
        assert_uniform(np.log(aspect), math.log(low), math.log(high), slack=0.01)


@pytest.mark.parametrize("size", [(3000, 4000), (2000, 3000, 4000)])
def test_area_box_of_any_aspect_has_the_asked_share(size: tuple[int, ...]):
    found = sides(place(regions.AreaBox.french(), 20_000, size, 3))[:, 0] / np.array(size)
    np.testing.assert_allclose(found.prod(1), 0.5, rtol=2e-3)
    first = found[:, 0]  # the side is log-uniform from the share itself to 1, and so is, then, the next of what is left
    assert_uniform(np.log(first), math.log(0.5), 0, slack=0.01)
    if len(size) == 3:
        left = 0.5 / first
        wide = left < 0.95  # else there is less than a handful of lengths to choose from
        assert_uniform(np.log(found[wide, 1]) / np.log(left[wide]), 0, 1, slack=0.02)


@pytest.mark.parametrize("mode", ["union", "xor"])
@pytest.mark.parametrize("n", [2, 3])
def test_multi_box_share(n: int, mode: Any):
    size, inner = (8, 10, 12), regions.AreaBox((0.1, 0.5))
    chance = (raster(place(inner, 20_000, size, 4), size) > 0).mean(0)  # of each voxel to lie in one box
    expected = (1 - (1 - chance) ** n).mean() if mode == "union" else ((1 - (1 - 2 * chance) ** n) / 2).mean()
    count = raster(place(regions.MultiBox(inner, n, mode), 6_000, size, 5), size)
    got = (count > 0 if mode == "union" else count % 2 == 1).mean((1, 2, 3))
    assert_mean(got, expected, slack=0.004)


def test_object_box_of_volumes_carries_whole_objects():
    size, n = (20, 26, 40), 400
    rng = np.random.default_rng(6)
    low = rng.uniform(0, 0.7, (2, n, 4, 3)) * size
    boxes = torch.from_numpy(np.concatenate([low, low + rng.uniform(0.1, 0.3, low.shape) * size], axis=-1))
    base, partner = (regions.ObjectBoxes(b, torch.ones(b.shape[:2], dtype=torch.bool)) for b in boxes)

    def tally(found: np.ndarray) -> tuple[float, float]:
        whole, cut = [], []
        for objects, counted in ((base, False), (partner, True)):
            ends = objects.boxes.numpy().reshape(n, 4, 2, 3)
            inner = np.minimum(found[:, :, 1], ends[:, :, 1]) - np.maximum(found[:, :, 0], ends[:, :, 0])
            overlap = inner.clip(min=0).prod(-1)
            full = np.isclose(overlap, sides(ends).prod(-1))
            cut.append(((overlap > 0) & ~full).sum(1))
            if counted:
                whole.append(full.any(1))
        return float(np.mean(whole)), float(np.mean(cut))

    chosen = tally(place(regions.ObjectBox(), n, size, 7, base=base, partner=partner))
    blind = tally(place(regions.AreaBox(), n, size, 7))
    assert chosen[0] > 0.9 > 0.5 > blind[0]
    assert chosen[1] < 0.6 * blind[1]


# ---------------------------------------------------------------------------------------------------------------------
# masks


def cow(sampler: CowMask, n: int, frame: tuple[int, ...], seed: int) -> np.ndarray:
    return sampler.place(sampler.draw(n, frame, seeded(seed)), torch.tensor([frame] * n), frame).numpy()


@pytest.mark.parametrize("proportion", [0.2, 0.5, 0.7])
def test_cow_mask_share(proportion: float):
    masks = cow(CowMask(proportion, sigma=(1.5, 1.5)), 60, (20, 26, 32), 8)
    assert_mean(masks.mean((1, 2, 3)), proportion, slack=0.01)
    for axis in (1, 2, 3):
        assert abs(masks.mean(0).take([0, -1], axis - 1).mean() - proportion) < 0.05, "the border differs"


@pytest.mark.parametrize("sigma", [1.5, 3.0])
@pytest.mark.parametrize("frame", [(48, 60), (22, 30, 44)])
def test_cow_mask_blur_is_in_pixels_along_every_axis(frame: tuple[int, ...], sigma: float):
    masks = cow(CowMask(0.5, sigma=(sigma, sigma)), 80, frame, 9)
    # how often neighbours differ where noise blurred by a Gaussian crosses its median: arccos(ρ) / π
    expected = math.acos(math.exp(-1 / (4 * sigma * sigma))) / math.pi
    for axis in range(1, masks.ndim):
        assert np.abs(np.diff(masks.astype(np.int8), axis=axis)).mean() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_fourier_mask_share_is_exact(alpha: float):
    frame, n = (9, 14, 11), 900
    sizes = torch.tensor([[9, 14, 11], [5, 9, 11], [9, 4, 7]]).repeat(n // 3, 1)
    sampler = FourierMask(alpha=alpha)
    draws = sampler.draw(n, frame, seeded(10))
    masks, lam = sampler.place(draws, sizes, frame).numpy(), draws.numbers[:, 0].numpy()
    assert_mean((lam - 0.5) ** 2, 1 / (4 * (2 * alpha + 1)))
    for mask, size, share in zip(masks, sizes.tolist(), lam, strict=True):
        wanted = (1 - share) * math.prod(size)
        inner = mask[tuple(slice(0, n) for n in size)].sum()
        assert inner in (math.floor(wanted), math.ceil(wanted))
        assert inner == mask.sum(), "a voxel beyond the valid size"


def test_fourier_mask_is_as_smooth_as_the_authors():
    frame, n, rng = (12, 20, 16), 150, np.random.default_rng(0)
    axes = [np.fft.fftfreq(s) for s in frame[:-1]] + [np.fft.rfftfreq(frame[-1])]
    frequency = np.sqrt(sum(np.square(g) for g in np.meshgrid(*axes, indexing="ij")))
    masks = []
    for _ in range(n):
        spectrum = rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)
        spectrum /= np.maximum(frequency, 1 / max(frame)) ** 3
        gray = np.fft.irfftn(spectrum, frame, axes=(0, 1, 2))
        masks.append(gray > np.median(gray))
    sampler = FourierMask()
    draws = sampler.draw(n, frame, seeded(11))
    draws.numbers[:, 0] = 0.5
    ours = sampler.place(draws, torch.tensor([frame] * n), frame).numpy()
    for axis in (1, 2, 3):
        rates = [np.abs(np.diff(m.astype(np.int8), axis=axis)).mean((1, 2, 3)) for m in (ours, np.stack(masks))]
        error = math.hypot(*(r.std() / math.sqrt(n) for r in rates))
        assert abs(rates[0].mean() - rates[1].mean()) < 4 * error


def test_class_mask_of_volumes():
    maps = torch.randint(0, 6, (200, 3, 5, 4), generator=seeded(12))
    maps[:, 0, 0, 0] = 255
    masks = ClassMask().place(ClassMask().draw(200, seeded(13)), maps)
    for labels, mask in zip(maps, masks):
        chosen, others = set(labels[mask].tolist()), set(labels[~mask].tolist())
        assert not chosen & others
        assert len(chosen) == len((chosen | others) - {255}) // 2
        assert 255 in others
