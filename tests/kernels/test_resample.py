"""What a window of a scaled layer shows, against weights written plainly; pixels put and read in any layout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cutmix_dense.arrays.dtypes import as_signed, counted_in, limits_of
from cutmix_dense.kernels.layered import _put
from cutmix_dense.kernels.resample import resample, round_into

DTYPES = [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]


def weights(start: int, stop: int, length: int, scale: float, shift: float, antialias: bool) -> np.ndarray:
    """One row per pixel of the canvas: how much each source pixel counts in it."""
    reach = max(1.0, 1 / abs(scale)) if antialias else 1.0
    rows = []
    for pixel in range(start, stop):
        centre = (pixel + 0.5 - shift) / scale
        row = np.maximum(0, 1 - np.abs(np.arange(length) + 0.5 - centre) / reach)
        rows.append(row / row.sum())
    return np.array(rows)


def image_of(dtype: torch.dtype, size: tuple[int, int], channels: int, behind: bool) -> torch.Tensor:
    """Noise; with ``behind`` channels lie side by side, as image libraries have them."""
    values = torch.randint(0, 256, (*size, channels)) if behind else torch.randint(0, 256, (channels, *size))
    image = values.to(dtype) if dtype == torch.uint8 else (values / 256).to(dtype)
    return image.permute(2, 0, 1) if behind else image


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("behind", [False, True])
def test_a_window_is_what_the_filter_says(dtype, behind):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    near = [(1.0, 1.004), (0.998, 1.5), (0.4, 1.0), (1.0, 1.0)]  # axes that keep their length, scaled or not
    for turn in range(80):
        size = tuple(int(n) for n in rng.integers(1, 40, 2))
        drawn = near[turn % 8] if turn % 8 < len(near) else rng.uniform(0.3, 1.8, 2)
        scale = [float(np.float32(s)) for s in drawn]
        shift = [float(t) for t in rng.integers(-9, 9, 2)]
        ends = [(t, t + max(1, math.ceil(n * s - 0.5))) for n, s, t in zip(size, scale, map(int, shift))]
        low = [int(rng.integers(a, b)) for a, b in ends]
        high = [int(rng.integers(a + 1, b + 1)) for a, (_, b) in zip(low, ends)]
        image = image_of(dtype, size, 1 + turn % 5, behind)
        for interpolation in ("antialias", "bilinear"):
            args = zip(low, high, size, scale, shift)
            down, across = (weights(*each, interpolation == "antialias") for each in args)
            expected = torch.from_numpy(down @ image.double().numpy() @ across.T)
            found = resample(image, scale, shift, ([0, 0], list(size)), (low, high), interpolation)
            assert found.dtype == dtype
            step = {torch.uint8: 1.01, torch.float16: 1e-3, torch.bfloat16: 8e-3}.get(dtype, 1e-4)
            assert found.shape == expected.shape
            assert (found.double() - expected).abs().max() <= step, (size, scale, shift, low, high)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool, torch.int64])
@pytest.mark.parametrize("behind", [False, True])
def test_nearest_pixels_are_read_and_put_as_torch_does(dtype, behind):
    torch.manual_seed(0)
    image, other = (image_of(torch.float32, (7, 9), 3, behind).mul(200).to(dtype) for _ in range(2))
    found = resample(image, [0.5, -2.0], [0.0, 18.0], ([0, 3], [5, 9]), ([0, 7], [4, 15]), "nearest")
    places = [torch.tensor([1, 3, 4, 4]), torch.tensor([5, 4, 4, 3, 3, 3, 3, 3])]
    assert torch.equal(found, image.index_select(1, places[0]).index_select(2, places[1]))
    mask = torch.rand(5, 6) < 0.5
    target, before = other.clone(), other.clone()
    _put(target[:, 1:6, 2:8], mask.numpy(), image[:, 1:6, 2:8])
    before[:, 1:6, 2:8] = torch.where(mask, image[:, 1:6, 2:8], before[:, 1:6, 2:8])
    assert torch.equal(target, before)


UNSIGNED = [getattr(torch, name) for name in ("uint16", "uint32", "uint64") if hasattr(torch, name)]


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64, *UNSIGNED], ids=str)
@pytest.mark.parametrize("interpolation", ["antialias", "bilinear"])
def test_wide_integers_are_rounded_once_from_float64(dtype, interpolation):
    rng = np.random.default_rng(1)
    low, high = max(torch.iinfo(dtype).min, -(2**40)), min(torch.iinfo(dtype).max, 2**40)
    for size, scale, shift in (((31, 24), (0.63, 1.37), (0.0, -3.0)), ((20, 33), (-0.8, 1.21), (16.0, 2.25))):
        values = rng.choice([low, high, 1000, 50000 % (high + 1)], (2, *size))
        image = torch.from_numpy(values.astype(str(dtype).removeprefix("torch.")))
        window = ([2, 5], [11, 17])
        found = resample(image, list(scale), list(shift), ([0, 0], list(size)), window, interpolation)
        args = zip(*window, size, scale, shift)
        down, across = (weights(*each, interpolation == "antialias") for each in args)
        exact = down @ values.astype(np.float64) @ across.T
        assert found.dtype == dtype
        assert np.abs(found.numpy().astype(np.float64) - exact).max() <= 0.501


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, *UNSIGNED], ids=str)
def test_limits_are_the_last_numbers_that_both_hold(dtype):
    bounds, (least, most) = torch.iinfo(dtype), limits_of(dtype)
    assert int(least) == bounds.min
    assert int(most) <= bounds.max < int(math.nextafter(most, math.inf)) or int(most) == bounds.max
    target = torch.empty(3, dtype=dtype)
    values = torch.tensor([float(bounds.min), float(bounds.max), 3.5], dtype=torch.float64)
    round_into(target, values.clamp(least, most))
    assert target.numpy().tolist() == [bounds.min, int(most), 4]
    assert counted_in(dtype) == (torch.float32 if dtype.itemsize == 1 else torch.float64)
    assert as_signed(target).is_signed() == (dtype != torch.uint8)
    assert as_signed(target).view(dtype).numpy().tolist() == target.numpy().tolist()


def test_gradients_flow_through_what_is_put_and_read():
    image = torch.rand(3, 4, 5, requires_grad=True)
    target = torch.zeros(3, 4, 5)
    _put(target, np.eye(4, 5, dtype=bool), image)
    resample(target, [1.5, 1.0], [0.0, 0.0], ([0, 0], [4, 5]), ([0, 0], [2, 1]), "nearest").sum().backward()
    expected = torch.zeros(3, 4, 5)
    expected[:, 0, 0] = 1
    assert torch.equal(image.grad, expected)


def test_halves_round_to_even_everywhere():
    values = torch.tensor([0.5, 1.5, 2.5, 254.5, 254.4999, 3.0])
    target = torch.empty(6, dtype=torch.uint8)
    round_into(target, values.clone())
    assert torch.equal(target, values.round().to(torch.uint8))
