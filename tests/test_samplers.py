"""Samplers against their definitions: means, coverage, laws, independence; tight enough that a wrong sampler fails."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from cutmix_dense import CutMix, SaliencyMix, pairing, regions

SIGMAS = 4.5  # chance differences allowed, in standard errors; every seed is fixed


def rectangles(sampler: Any, n: int, size: tuple[int, int], seed: int = 0, **objects: Any) -> np.ndarray:
    """(n, P, 4) rectangles y0, x0, y1, x1 drawn for n images of one size."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([size]).expand(n, 2)
    out = sampler.place(sampler.draw(n, generator), sizes, **objects)
    assert out.dtype == torch.int64
    return out.numpy()


def sides(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths of (..., 4) rectangles."""
    return boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]


def shares(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Areas of (..., 4) rectangles, relative to the image."""
    height, width = sides(boxes)
    return height * width / (size[0] * size[1])


def coverage(boxes: np.ndarray, y: int, x: int) -> float:
    """How often the pixel (y, x) lies in the rectangle."""
    inside = (boxes[:, 0] <= y) & (y < boxes[:, 2]) & (boxes[:, 1] <= x) & (x < boxes[:, 3])
    return float(inside.mean())


def raster(boxes: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    """(n, H, W) bool, what the P rectangles of each sample cover together; plain slices."""
    out = np.zeros((len(boxes), *size), dtype=bool)
    for mask, several in zip(out, boxes.tolist(), strict=True):
        for y0, x0, y1, x1 in several:
            if mode == "xor":
                mask[y0:y1, x0:x1] ^= True
            else:
                mask[y0:y1, x0:x1] = True
    return out


def assert_mean(values: np.ndarray, expected: float, slack: float = 0.0) -> None:
    """The mean is the expected one, up to chance and a stated slack for rounding to pixels."""
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - expected) <= SIGMAS * error + slack, (values.mean(), expected, error)


def assert_uniform(values: np.ndarray, low: float, high: float, slack: float = 0.0) -> None:
    """Kolmogorov–Smirnov against U[low, high]; `slack` for rounding to pixels, as a share of the range."""
    u = np.sort((np.asarray(values, dtype=float) - low) / (high - low))
    n = len(u)
    distance = max((np.arange(1, n + 1) / n - u).max(), (u - np.arange(n) / n).max())
    assert distance <= 1.95 / math.sqrt(n) + slack, (distance, 1.95 / math.sqrt(n), slack)  # p about 0.001


def inside(boxes: np.ndarray, size: tuple[int, int]) -> bool:
    """All rectangles lie within the image."""
    return bool((boxes[..., :2] >= 0).all() and (boxes[..., 2] <= size[0]).all() and (boxes[..., 3] <= size[1]).all())


# ---------------------------------------------------------------------------------------------------------------------
# BetaBox


def clipped_length(side: int, half: np.ndarray) -> np.ndarray:
    """Mean length along one axis of [c − half, c + half] clipped to the image, over whole-pixel centres c.

    ``half`` is rounded down, but sides shorter than 4 pixels keep a pixel of what isn't empty.
    """
    centres = np.arange(side)
    table = np.array([(np.minimum(centres + h, side) - np.maximum(centres - h, 0)).mean() for h in range(side + 1)])
    length = table[half.astype(int)]
    return np.maximum(length, half > 0) if side < 4 else length


def beta_box_area(size: tuple[int, int], alpha: float) -> float:
    """E[clipped area] of the paper's box with its whole-pixel rounding, numerically."""
    grid = (np.arange(200_000) + 0.5) / 200_000
    cut = grid if alpha == 1.0 else np.random.default_rng(7).beta(alpha, alpha, 400_000)
    half = 0.5 * np.sqrt(cut)
    lengths = [clipped_length(side, half * side) for side in size]
    return float((lengths[0] * lengths[1]).mean() / (size[0] * size[1]))


def beta_box_area_limit(alpha: float) -> float:
    """The same without rounding: E[u] − E[u^1.5]/2 + E[u²]/16 with u = 1 − λ ~ Beta(α, α)."""

    def moment(k: float) -> float:
        return math.exp(
            math.lgamma(alpha + k) - math.lgamma(alpha) + math.lgamma(2 * alpha) - math.lgamma(2 * alpha + k)
        )

    return moment(1) - moment(1.5) / 2 + moment(2) / 16


def test_beta_box_expectation_is_the_known_one():
    assert beta_box_area((64, 64), 1.0) == pytest.approx(0.31, abs=0.005)  # as measured on the original
    for alpha in (0.3, 1.0, 3.0):  # large images lose nothing to rounding
        assert beta_box_area((900, 1400), alpha) == pytest.approx(beta_box_area_limit(alpha), abs=2e-3)
    assert beta_box_area_limit(1.0) == pytest.approx(0.3208, abs=1e-4)


@pytest.mark.parametrize("alpha", [1.0, 0.3, 3.0])
@pytest.mark.parametrize("size", [(32, 32), (96, 160), (300, 130), (1, 64), (2, 50), (40, 3)])
def test_beta_box_mean_area(alpha: float, size: tuple[int, int]):
    check_beta_area(regions.BetaBox(alpha=alpha), alpha, size)


def check_beta_area(sampler: Any, alpha: float, size: tuple[int, int]) -> None:
    boxes = rectangles(sampler, 60_000, size, seed=3)[:, 0]
    assert inside(boxes, size)
    assert_mean(shares(boxes, size), beta_box_area(size, alpha), slack=5e-4)


def test_beta_box_lambda_has_mean_one_half_but_the_area_has_not():
    sampler = regions.BetaBox(alpha=1.0)
    draws = sampler.draw(40_000, torch.Generator().manual_seed(5)).numpy()
    assert draws.dtype == np.float64
    assert_mean(1 - draws[:, 0], 0.5)
    assert_uniform(draws[:, 0], 0, 1)  # Beta(1, 1)
    size = (200, 300)
    area = shares(sampler.place(torch.from_numpy(draws), torch.tensor([size]).expand(40_000, 2)).numpy()[:, 0], size)
    assert area.mean() < 0.33


@pytest.mark.parametrize("size", [(1, 64), (2, 64), (64, 3), (3, 3), (1, 1), (1, 32, 40), (2, 32, 40), (32, 3, 40)])
@pytest.mark.parametrize("method", [CutMix, SaliencyMix])
def test_short_axes_are_cut_too(method: Any, size: tuple[int, ...]):
    """Samples are mixed, in the picture as in its map."""
    if len(size) == 3 and method is SaliencyMix:
        pytest.skip("SaliencyMix mixes no volumes")
    layout = "BCDHW" if len(size) == 3 else "BCHW"
    codes = torch.arange(64.0).reshape(64, 1, *(1,) * len(size)).expand(64, 2, *size)
    mix = method(p=1.0, layout=layout)
    images, maps = mix(codes, codes[:, 0].long(), generator=torch.Generator().manual_seed(2))
    assert (images != codes).flatten(1).any(dim=1).sum() >= 63  # p = 1; a side of a long axis may still be rounded off
    assert torch.equal(images, maps[:, None].expand_as(images).float())


def test_only_axes_shorter_than_four_keep_a_pixel():
    draws = torch.tensor([[0.9, 0.5, 0.5, 0.5], [1.0, 0.5, 0.5, 0.5]], dtype=torch.float64)
    sizes = torch.tensor([[2, 4], [2, 4]])
    assert regions.BetaBox().place(draws, sizes).tolist() == [[[1, 2, 2, 2]], [[1, 2, 1, 2]]]
    assert regions.BetaBox().place(draws, sizes.fill_(3)).tolist() == [[[1, 1, 2, 2]], [[1, 1, 1, 1]]]


def test_the_sides_are_the_same_for_arrays_and_tensors():
    side, sizes = torch.rand(500, 1, dtype=torch.float64), torch.randint(0, 9, (500, 3))
    centre = (torch.rand(500, 3) * sizes).long()
    there = regions.box_around(centre, side, sizes)
    assert torch.equal(regions.box_around(centre.numpy(), side.numpy(), sizes.numpy()), there)
    low, high = there[:, 0].chunk(2, dim=1)
    assert (low >= 0).all()
    assert (low <= high).all()
    assert (high <= sizes).all()
    assert ((high > low) | (sizes > 3) | (sizes == 0)).all()


@pytest.mark.parametrize("size", [(64, 96), (150, 70)])
def test_beta_box_coverage(size: tuple[int, int]):
    check_beta_coverage(regions.BetaBox(), size)


def check_beta_coverage(sampler: Any, size: tuple[int, int]) -> None:
    height, width = size
    n = 40_000
    boxes = rectangles(sampler, n, size, seed=11)[:, 0]
    half = 0.5 * np.sqrt((np.arange(100_000) + 0.5) / 100_000)

    def expected(y: int, x: int) -> float:
        """P(pixel covered): per axis the number of centres c with c − half <= pixel < c + half, over the side."""
        out = np.ones_like(half)
        for pixel, side in ((y, height), (x, width)):
            reach = (half * side).astype(int)
            table = np.array([min(side - 1, pixel + h) - max(0, pixel - h + 1) + 1 for h in range(side)])
            out *= np.where(reach > 0, table[reach], 0) / side
        return float(out.mean())

    corners = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
    probes = [*corners, (height // 2, width // 2), (0, width // 2), (height // 2, 0), (height // 4, width // 3)]
    for y, x in probes:
        p = expected(y, x)
        assert coverage(boxes, y, x) == pytest.approx(p, abs=SIGMAS * math.sqrt(p * (1 - p) / n) + 1e-3), (y, x)
    assert np.mean([coverage(boxes, y, x) for y, x in corners]) == pytest.approx(0.125, abs=0.012)
    assert coverage(boxes, height // 2, width // 2) == pytest.approx(0.485, abs=0.015)


@pytest.mark.parametrize("size", [(60, 240), (240, 60)])
def test_beta_box_keeps_the_image_aspect(size: tuple[int, int]):
    check_beta_aspect(regions.BetaBox(), size)


def check_beta_aspect(sampler: Any, size: tuple[int, int]) -> None:
    boxes = rectangles(sampler, 4000, size, seed=2)[:, 0]
    free = (boxes[:, :2] > 0).all(1) & (boxes[:, 2] < size[0]) & (boxes[:, 3] < size[1])
    height, width = sides(boxes[free])
    assert free.sum() > 300
    # sides 2·int(r·side): both are the same share of the image's side, less than two pixels lost on either
    assert (np.abs(height / size[0] - width / size[1]) <= 2 / min(size)).all()
    assert (height > 20).any()
    small = free & (boxes[:, 2] - boxes[:, 0] <= 0.1 * size[0])
    centres = (boxes[small, :2] + boxes[small, 2:]) / 2 / np.array(size)
    assert small.sum() > 20
    assert (np.abs(centres.mean(0) - 0.5) < SIGMAS * 0.29 / math.sqrt(small.sum())).all()


# ---------------------------------------------------------------------------------------------------------------------
# AreaBox

BIG = [(300, 480), (500, 260)]


@pytest.mark.parametrize("size", BIG)
def test_area_box_area_is_uniform(size: tuple[int, int]):
    check_area_law(regions.AreaBox(area=(0.1, 0.3), aspect=(0.5, 2.0)), size)


def check_area_law(sampler: Any, size: tuple[int, int]) -> None:
    boxes = rectangles(sampler, 20_000, size, seed=1)[:, 0]
    assert inside(boxes, size)
    area = shares(boxes, size)
    assert_mean(area, 0.2, slack=3e-4)
    assert_uniform(area, 0.1, 0.3, slack=0.01)


@pytest.mark.parametrize("size", [*BIG, (37, 23), (12, 64)])
@pytest.mark.parametrize("area", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("aspect", [None, (0.5, 2.0), (0.2, 5.0)])
def test_area_box_has_exactly_the_asked_area(size: tuple[int, int], area: float, aspect: tuple[float, float] | None):
    boxes = rectangles(regions.AreaBox(area=(area, area), aspect=aspect), 2000, size, seed=4)[:, 0]
    assert inside(boxes, size)
    height, width = sides(boxes)
    rounding = 0.5 * (height + width) + 0.25  # each side is off by half a pixel at most
    clamped = (height == 1) | (width == 1)  # a side is never less than a pixel
    assert (np.abs(height * width - area * size[0] * size[1]) <= rounding + clamped * height * width).all()
    assert clamped.mean() < 0.2 or area < 0.1


@pytest.mark.parametrize("size", BIG)
def test_area_box_aspect_is_log_uniform(size: tuple[int, int]):
    check_aspect_law(regions.AreaBox(area=(0.2, 0.4), aspect=(0.5, 2.0)), size)


def check_aspect_law(sampler: Any, size: tuple[int, int]) -> None:
    boxes = rectangles(sampler, 20_000, size, seed=6)[:, 0]
    height, width = sides(boxes)
    aspect = np.log((height / size[0]) / (width / size[1]))
    assert_uniform(aspect, -math.log(2), math.log(2), slack=0.008)
    assert_mean(aspect, 0.0, slack=2e-3)


@pytest.mark.parametrize("size", BIG)
def test_area_box_position_is_uniform(size: tuple[int, int]):
    check_position_law(regions.AreaBox(area=(0.05, 0.2), aspect=(0.5, 2.0)), size)


def check_position_law(sampler: Any, size: tuple[int, int]) -> None:
    boxes = rectangles(sampler, 20_000, size, seed=8)[:, 0]
    height, width = sides(boxes)
    for low, side, whole in ((boxes[:, 0], height, size[0]), (boxes[:, 1], width, size[1])):
        assert_uniform((low + 0.5) / (whole - side + 1), 0, 1, slack=0.008)
    # both ends are reached, and the axes are independent of one another
    assert (boxes[:, 0] == 0).any()
    assert (boxes[:, 2] == size[0]).any()
    free = (boxes[:, :2] + 0.5) / (np.array(size) - np.stack([height, width], 1) + 1)
    assert abs(np.corrcoef(free.T)[0, 1]) < SIGMAS / math.sqrt(len(boxes))


def test_area_box_takes_the_aspects_that_fit():
    """Area 0.6 with aspects up to 5: only sides in [0.6, 1] fit, log-uniform among them."""
    size = (400, 600)
    boxes = rectangles(regions.AreaBox(area=(0.6, 0.6), aspect=(0.2, 5.0)), 20_000, size, seed=9)[:, 0]
    height, _ = sides(boxes)
    assert_uniform(np.log(height / size[0]) / math.log(0.6), 0, 1, slack=0.01)


# ---------------------------------------------------------------------------------------------------------------------
# French et al.


@pytest.mark.parametrize("size", BIG)
def test_french_box(size: tuple[int, int]):
    boxes = rectangles(regions.AreaBox.french(), 20_000, size, seed=10)[:, 0]
    assert inside(boxes, size)
    height, width = sides(boxes)
    assert (np.abs(height * width - 0.5 * size[0] * size[1]) <= 0.5 * (height + width) + 0.25).all()
    assert_uniform(np.log(height / size[0]) / math.log(0.5), 0, 1, slack=0.01)  # y side = 0.5 ** u
    assert_uniform(np.log(width / size[1]) / math.log(0.5), 0, 1, slack=0.01)


def french_xor(n: int, size: tuple[int, int], samples: int) -> np.ndarray:
    """Areas of French et al.'s n boxes, XORed: sides p**u and p/p**u, both times sqrt(1/n), positions uniform."""
    rng = np.random.default_rng(n)
    y = 0.5 ** rng.random((samples, n))
    x = 0.5 / y
    out = np.zeros(samples)
    for i in range(samples):
        mask = np.zeros(size, dtype=bool)
        for k in range(n):
            h = round(y[i, k] * math.sqrt(1 / n) * size[0])
            w = round(x[i, k] * math.sqrt(1 / n) * size[1])
            top, left = round((size[0] - h) * rng.random()), round((size[1] - w) * rng.random())
            mask[top : top + h, left : left + w] ^= True
        out[i] = mask.mean()
    return out


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_french_xor_area(n: int):
    size, samples = (80, 116), 6000
    sampler = regions.MultiBox.french(n)
    assert sampler.mode == "xor"
    boxes = rectangles(sampler, samples, size, seed=12)
    assert boxes.shape[1] == n
    got, wanted = raster(boxes, size, "xor").mean((1, 2)), french_xor(n, size, samples)
    assert_mean(got, wanted.mean(), slack=SIGMAS * wanted.std() / math.sqrt(samples) + 1e-3)
    if n == 3:
        assert got.mean() == pytest.approx(0.287, abs=0.006)
        assert got.std() == pytest.approx(wanted.std(), rel=0.06)


# ---------------------------------------------------------------------------------------------------------------------
# UniMatch


def unimatch_boxes(side: int, samples: int) -> np.ndarray:
    """UniMatch's own loop (obtain_cutmix_box) on its square crops: y0, x0, y1, x1."""
    rng = np.random.default_rng(21)
    out = np.zeros((samples, 4))
    for i in range(samples):
        size = rng.uniform(0.02, 0.4) * side * side
        while True:
            ratio = rng.uniform(0.3, 1 / 0.3)
            w, h = int(math.sqrt(size / ratio)), int(math.sqrt(size * ratio))
            x, y = int(rng.integers(0, side)), int(rng.integers(0, side))
            if x + w <= side and y + h <= side:
                break
        out[i] = y, x, y + h, x + w
    return out


@pytest.fixture(scope="module")
def unimatch_reference() -> np.ndarray:
    return unimatch_boxes(400, 20_000)


@pytest.mark.parametrize("size", [(400, 400), (300, 560), (480, 260)])
def test_unimatch_box(size: tuple[int, int], unimatch_reference: np.ndarray):
    """UniMatch crops squares; on other images the box is the square's, stretched with the image."""
    wanted = unimatch_reference / 400
    boxes = rectangles(regions.AreaBox.unimatch(), 20_000, size, seed=13)[:, 0]
    assert inside(boxes, size)
    got = boxes / np.array([size[0], size[1], size[0], size[1]])
    area = shares(boxes, size)
    assert area.mean() == pytest.approx(0.208, abs=0.006)

    def h(b: np.ndarray) -> np.ndarray:
        return b[:, 2] - b[:, 0]

    def w(b: np.ndarray) -> np.ndarray:
        return b[:, 3] - b[:, 1]

    measures = {
        "area": lambda b: h(b) * w(b),
        "height": h,
        "width": w,
        "tall": lambda b: (h(b) > w(b)).astype(float),
        "aspect": lambda b: np.log(h(b) / w(b)),
        "top": lambda b: b[:, 0],
        "left": lambda b: b[:, 1],
        "at the centre": lambda b: ((b[:, :2] < 0.5).all(1) & (b[:, 2:] > 0.5).all(1)).astype(float),
        "near a corner": lambda b: ((b[:, 0] < 0.05) & (b[:, 1] < 0.05)).astype(float),
    }
    for name, measure in measures.items():
        a, b = measure(got), measure(wanted)
        error = math.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(a.mean() - b.mean()) <= SIGMAS * error + 0.004, (name, a.mean(), b.mean(), error)
    assert measures["tall"](got).mean() > 0.6  # uniform aspects skew tall


# ---------------------------------------------------------------------------------------------------------------------
# MultiBox


@pytest.mark.parametrize("mode", ["union", "xor"])
@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("inner", [regions.BetaBox(), regions.AreaBox(area=(0.1, 0.3), aspect=(0.5, 2.0))])
def test_multi_box_area(mode: Any, n: int, inner: Any):
    """n independent boxes cover a pixel with 1 − (1 − c)^n, an odd number of them with (1 − (1 − 2c)^n) / 2."""
    size, samples = (40, 56), 5000
    single = raster(rectangles(inner, 10_000, size, seed=14), size, "union").mean(0)
    expected = 1 - (1 - single) ** n if mode == "union" else (1 - (1 - 2 * single) ** n) / 2
    boxes = rectangles(regions.MultiBox(inner, n, mode), samples, size, seed=15)
    assert boxes.shape == (samples, n, 4)
    covered = raster(boxes, size, mode)
    assert_mean(covered.mean((1, 2)), float(expected.mean()), slack=0.008)
    assert np.abs(covered.mean(0) - expected).max() < SIGMAS * 0.5 / math.sqrt(samples) + 0.02
    areas = shares(boxes, size)
    for a, b in itertools.combinations(range(n), 2):
        assert abs(np.corrcoef(areas[:, a], areas[:, b])[0, 1]) < SIGMAS / math.sqrt(samples)


def test_multi_box_of_a_drawn_number():
    """MixPL's patches: 1 to 19, equally often; sides up to a tenth of the image's, rounded down; wholly inside."""
    size, samples = (200, 300), 6000
    boxes = rectangles(regions.MultiBox.mixpl(), samples, size, seed=16)
    assert boxes.shape == (samples, 19, 4)
    marked = regions.MultiBox(regions.SideBox((0.05, 0.1)), (1, 19))  # no side is rounded to nothing
    drawn = rectangles(marked, samples, size, seed=17)
    count = (shares(drawn, size) > 0).sum(1)
    expected = np.arange(1, 20)
    assert set(count.tolist()) == set(expected.tolist())
    assert_mean(count, float(expected.mean()))
    assert abs(count.var() - float(expected.var())) < 1.0
    filled = [(row[:n] > 0).all() and (row[n:] == 0).all() for row, n in zip(shares(drawn, size), count, strict=True)]
    assert all(filled), "empty rectangles come last"
    assert not drawn[shares(drawn, size) == 0].any(), "an empty rectangle is all 0"
    assert (boxes >= 0).all()
    assert (boxes[..., 2:] <= size).all()


@pytest.mark.parametrize("side", [(0.0, 0.1), (0.3, 0.7), (1.0, 1.0)])
def test_side_box(side: tuple[float, float]):
    """One uniform share for both sides, any corner that fits."""
    size = (400, 600)
    boxes = rectangles(regions.SideBox(side), 20_000, size, seed=18)[:, 0]
    height, width = sides(boxes)
    assert np.abs(height * 1.5 - width).max() <= 1.5, "in the image's shape"
    assert_mean(height / size[0], sum(side) / 2, slack=0.5 / size[0] + 1e-9)
    assert abs((height / size[0]).var() - (side[1] - side[0]) ** 2 / 12) < 2e-3
    assert height.max() <= side[1] * size[0]
    room = size[1] - width
    if (room > 0).any():
        assert_mean(boxes[room > 0, 1] / room[room > 0], 0.5, slack=0.002)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= size).all()


def test_beta_box_of_two_parameters():
    """Beta(8, 2) has the mean 0.8: boxes have a fifth of the area before they are clipped."""
    box = regions.BetaBox(8.0, 2.0)
    lam = box.draw(40_000, torch.Generator().manual_seed(19))[:, 0].numpy()
    assert_mean(lam, 0.8)
    assert abs(lam.var() - 8 * 2 / (10**2 * 11)) < 5e-4
    one, other = regions.BetaBox(4.0), regions.BetaBox(4.0, 4.0)
    draws = [each.draw(8, torch.Generator().manual_seed(0)) for each in (one, other)]
    assert torch.equal(*draws)
    with pytest.raises(ValueError, match="beta"):
        regions.BetaBox(1.0, 0.0)


@pytest.mark.parametrize("wrong", [0, (0, 3), (4, 3)])
def test_multi_box_refuses_other_numbers(wrong: Any):
    with pytest.raises(ValueError, match="n must be"):
        regions.MultiBox(regions.SideBox(), wrong)


def test_side_box_refuses_other_shares():
    for wrong in ((-0.1, 0.5), (0.5, 0.2), (0.0, 1.1)):
        with pytest.raises(ValueError, match="side must be"):
            regions.SideBox(wrong)


# ---------------------------------------------------------------------------------------------------------------------
# ObjectBox


def scattered_objects(rng: np.random.Generator, size: tuple[int, int], images: int) -> list[torch.Tensor]:
    """A few objects per image, xyxy, of a tenth to a third of the sides."""
    out = []
    for _ in range(images):
        n = int(rng.integers(2, 7))
        h, w = rng.uniform(0.1, 0.35, n) * size[0], rng.uniform(0.1, 0.35, n) * size[1]
        y, x = rng.random(n) * (size[0] - h), rng.random(n) * (size[1] - w)
        out.append(torch.from_numpy(np.stack([x, y, x + w, y + h], 1).astype(np.float32)))
    return out


def cut_and_carried(mix: Any, boxes: list[torch.Tensor], size: tuple[int, int], seed: int) -> tuple[float, float]:
    """Mean number of base objects cut in part per image, and how often a whole object of the partner comes along."""
    images = torch.zeros(len(boxes), 1, *size)
    targets = [{"boxes": b, "labels": torch.ones(len(b), dtype=torch.int64)} for b in boxes]
    plan = mix.make_plan(images, targets, generator=torch.Generator().manual_seed(seed))
    owner = plan.owner_map().numpy()
    cut, carried = 0, 0
    for i, mine in enumerate(boxes):
        pasted = owner[i] == 1
        for x0, y0, x1, y1 in mine.numpy():
            part = pasted[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)]
            cut += bool(part.any() and not part.all())
        partner = int(plan.source[i, 1])
        carried += any(
            bool(pasted[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)].all())
            for x0, y0, x1, y1 in boxes[partner].numpy()
        )
    return cut / len(boxes), carried / len(boxes)


@pytest.mark.parametrize("size", [(48, 80), (90, 50)])
def test_object_box_cuts_few_and_carries_whole_objects(size: tuple[int, int]):
    boxes = scattered_objects(np.random.default_rng(17), size, 600)
    sampler = regions.ObjectBox()
    cut, carried = cut_and_carried(CutMix(p=1.0, region=sampler), boxes, size, seed=18)
    plain = regions.AreaBox(area=sampler.area, aspect=sampler.aspect)
    plain_cut, plain_carried = cut_and_carried(CutMix(p=1.0, region=plain), boxes, size, seed=18)
    assert cut < 0.5 * plain_cut, (cut, plain_cut)
    assert carried > plain_carried + 0.15, (carried, plain_carried)
    assert carried > 0.9


def test_object_box_without_objects_is_an_area_box():
    size = (60, 90)
    images = torch.zeros(800, 1, *size)
    targets = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)} for _ in range(800)]
    mix = CutMix(p=1.0, region=regions.ObjectBox(area=(0.1, 0.3), aspect=(0.5, 2.0)))
    share = mix.make_plan(images, targets, generator=torch.Generator().manual_seed(1)).share()[:, 1].numpy()
    assert_mean(share, 0.2, slack=0.003)
    assert share.min() > 0.08
    assert share.max() < 0.32


# ---------------------------------------------------------------------------------------------------------------------
# independence, p, one region for all

SAMPLERS = {
    "BetaBox": regions.BetaBox(),
    "AreaBox": regions.AreaBox(area=(0.05, 0.5)),
    "unimatch": regions.AreaBox.unimatch(),
    "MultiBox": regions.MultiBox(regions.AreaBox(area=(0.05, 0.3)), 3, "xor"),
    "MultiBox.french": regions.MultiBox.french(3),
    "SideBox": regions.SideBox((0.1, 0.5)),
    "several SideBoxes": regions.MultiBox(regions.SideBox((0.1, 0.5)), (1, 4)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_of_a_batch_are_independent(name: str):
    check_independence(SAMPLERS[name])


def check_independence(sampler: Any) -> None:
    """Neighbours in a batch neither share their area nor their place."""
    size, batch, calls = (40, 60), 64, 80
    generator = torch.Generator().manual_seed(22)
    sizes = torch.tensor([size]).expand(batch, 2)
    boxes = np.stack([sampler.place(sampler.draw(batch, generator), sizes).numpy() for _ in range(calls)])
    n = calls * (batch - 1)
    for values in (shares(boxes[:, :, 0], size), boxes[:, :, 0, 0], boxes[:, :, 0, 1]):
        together = np.corrcoef(values[:, :-1].reshape(-1), values[:, 1:].reshape(-1))[0, 1]
        assert abs(together) < SIGMAS / math.sqrt(n), together
        # from call to call the generator moves on
        again = np.corrcoef(values[:-1].reshape(-1), values[1:].reshape(-1))[0, 1]
        assert abs(again) < SIGMAS / math.sqrt(n), again


class Wrong:
    """A sampler as someone might have got it wrong; `draw` and `place` as the library's."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def draw(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        draws = torch.rand(batch, 4, generator=generator, dtype=torch.float64)
        return draws[:1].expand(batch, 4) if self.kind == "one draw for the batch" else draws

    def place(self, draws: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        a, b, u, v = draws.numpy().T
        height, width = sizes.numpy().T.astype(float)
        aspect = np.exp((2 * u - 1) * math.log(2))
        if self.kind in (
            "kept inside",
            "linear side",
            "swapped",
            "clipped corner",
            "one draw for the batch",
            "no error",
        ):
            side = a if self.kind == "linear side" else np.sqrt(a)
            h, w = 2 * np.floor(side * height / 2), 2 * np.floor(side * width / 2)
            if self.kind == "swapped":
                h, w = np.minimum(w, height), np.minimum(h, width)
            y, x = np.floor(b * height) - h / 2, np.floor(v * width) - w / 2
            if self.kind == "kept inside":
                y, x = np.floor(b * (height - h + 1)), np.floor(v * (width - w + 1))
            if self.kind == "clipped corner":  # the uniform point is the corner instead of the centre
                y, x = np.floor(b * height), np.floor(v * width)
        else:
            area = (0.1 + 0.2 * a) * height * width
            if self.kind == "side drawn":
                area = (math.sqrt(0.1) + (math.sqrt(0.3) - math.sqrt(0.1)) * a) ** 2 * height * width
            if self.kind == "uniform aspect":
                aspect = 0.5 + 1.5 * u
            if self.kind == "absolute aspect":
                aspect = aspect * width / height
            h, w = np.round(np.sqrt(area * aspect * height / width)), np.round(np.sqrt(area / aspect * width / height))
            y, x = np.floor(b * (height - h + 1)), np.floor(v * (width - w + 1))
            if self.kind == "area clipped":
                y, x = np.floor(b * height), np.floor(v * width)
            if self.kind == "diagonal":
                x = np.floor(b * (width - w + 1))
        limits = np.stack([height, width, height, width], 1)
        boxes = np.stack([y, x, y + h, x + w], 1).clip(0, limits)
        return torch.from_numpy(boxes).long()[:, None]


WRONG = {
    "kept inside": lambda w: check_beta_area(w, 1.0, (96, 160)),
    "linear side": lambda w: check_beta_area(w, 1.0, (96, 160)),
    "clipped corner": lambda w: check_beta_coverage(w, (64, 96)),
    "swapped": lambda w: check_beta_aspect(w, (60, 240)),
    "one draw for the batch": check_independence,
    "side drawn": lambda w: check_area_law(w, (300, 480)),
    "area clipped": lambda w: check_area_law(w, (300, 480)),
    "uniform aspect": lambda w: check_aspect_law(w, (300, 480)),
    "absolute aspect": lambda w: check_aspect_law(w, (300, 480)),
    "diagonal": lambda w: check_position_law(w, (300, 480)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_sampler_fails(kind: str):
    with pytest.raises(AssertionError):
        WRONG[kind](Wrong(kind))


def test_the_wrong_samplers_fail_for_their_error_alone():
    """Without the error the same code passes."""
    right = Wrong("no error")
    check_beta_area(right, 1.0, (96, 160))
    check_beta_coverage(right, (64, 96))
    check_beta_aspect(right, (60, 240))
    check_independence(right)
    right_area = Wrong("area")
    check_area_law(right_area, (300, 480))
    check_aspect_law(right_area, (300, 480))
    check_position_law(right_area, (300, 480))


def test_same_region_is_one_region_for_the_batch():
    images = torch.zeros(64, 1, 30, 44)
    generator = torch.Generator().manual_seed(1)
    for region in (regions.BetaBox(), regions.MultiBox(regions.BetaBox(), 3, "xor")):
        one = CutMix(p=1.0, region=region, same_region=True)
        seen = set()
        for _ in range(12):
            owner = one.make_plan(images, None, generator=generator).owner_map()
            assert (owner == owner[:1]).all()
            seen.add(owner[0].numpy().tobytes())
        assert len(seen) > 8  # but another one for the next batch
        own = CutMix(p=1.0, region=region).make_plan(images, None, generator=generator).owner_map()
        assert len({o.numpy().tobytes() for o in own}) > 48


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_p_is_per_sample(p: float):
    n = 3000
    mix = CutMix(p=p, region=regions.AreaBox(area=(0.2, 0.5)))
    plan = mix.make_plan(torch.zeros(n, 1, 12, 17), None, generator=torch.Generator().manual_seed(23))
    mixed = (plan.share()[:, 1] > 0).numpy()
    assert abs(mixed.mean() - p) <= SIGMAS * math.sqrt(p * (1 - p) / n)
    if 0 < p < 1:  # drawn for each alone: neighbours agree as often as chance has it
        agree = (mixed[1:] == mixed[:-1]).mean()
        expected = p * p + (1 - p) * (1 - p)
        assert abs(agree - expected) < SIGMAS * math.sqrt(expected * (1 - expected) / n)


# ---------------------------------------------------------------------------------------------------------------------
# pairing


def test_roll_is_the_image_before():
    for batch in (2, 3, 8):
        assert pairing.roll(batch).tolist() == [(i - 1) % batch for i in range(batch)]
        assert torch.equal(pairing.roll(batch), torch.arange(batch).roll(1, 0))  # as torchvision's CutMix


@pytest.mark.parametrize("name", ["roll", "shuffle", "swap"])
def test_pairing_of_one_is_none(name: str):
    partner = getattr(pairing, name)(1, torch.Generator().manual_seed(0))
    assert partner.tolist() == [-1]
    assert partner.dtype == torch.int64


@pytest.mark.parametrize("batch", [2, 3, 4, 7, 33])
def test_shuffle_is_a_derangement(batch: int):
    generator = torch.Generator().manual_seed(batch)
    for _ in range(200):
        partner = pairing.shuffle(batch, generator).tolist()
        assert sorted(partner) == list(range(batch))
        assert all(i != j for i, j in enumerate(partner))


def test_shuffle_is_uniform_over_derangements():
    generator = torch.Generator().manual_seed(4)
    n = 9000
    seen = Counter(tuple(pairing.shuffle(4, generator).tolist()) for _ in range(n))
    possible = [p for p in itertools.permutations(range(4)) if all(i != j for i, j in enumerate(p))]
    assert set(seen) == set(possible)
    assert len(possible) == 9
    expected = n / 9
    chi_square = sum((seen[p] - expected) ** 2 / expected for p in possible)
    assert chi_square < 26.1, seen  # 8 degrees of freedom, p = 0.001


@pytest.mark.parametrize("batch", [2, 3, 4, 7, 10])
def test_swap_is_an_involution(batch: int):
    generator = torch.Generator().manual_seed(batch)
    for _ in range(100):
        partner = pairing.swap(batch, generator).tolist()
        paired = [i for i, j in enumerate(partner) if j >= 0]
        assert all(partner[partner[i]] == i and partner[i] != i for i in paired)
        assert paired == list(range(batch - batch % 2))  # of an odd batch the last stays alone


def test_swap_is_uniform_over_matchings():
    generator = torch.Generator().manual_seed(6)
    n = 6000
    seen = Counter(tuple(pairing.swap(4, generator).tolist()) for _ in range(n))
    assert len(seen) == 3
    assert sum((v - n / 3) ** 2 / (n / 3) for v in seen.values()) < 13.8, seen  # 2 degrees of freedom, p = 0.001


# ---------------------------------------------------------------------------------------------------------------------
# randomness


def _global_states() -> tuple[Any, ...]:
    legacy = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state(), legacy[1].tobytes(), legacy[2], random.getstate()  # type: ignore[index]


@pytest.mark.parametrize("pair", ["roll", "shuffle", "swap"])
def test_a_given_generator_leaves_the_global_random_state_alone(pair: str):
    regions_ = [*SAMPLERS.values(), regions.ObjectBox()]
    images = torch.rand(5, 3, 20, 30)
    targets = [{"boxes": torch.tensor([[1.0, 2, 9, 8]]), "labels": torch.tensor([1])} for _ in range(5)]
    for region in regions_:
        before = _global_states()
        CutMix(p=0.7, region=region, pairing=pair)(images, targets, generator=torch.Generator().manual_seed(1))
        after = _global_states()
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]


@pytest.mark.parametrize("name", [*SAMPLERS, "ObjectBox"])
def test_a_seed_repeats_the_plan(name: str):
    region = SAMPLERS.get(name) or regions.ObjectBox()
    images = torch.zeros(16, 1, 24, 40)
    boxes = scattered_objects(np.random.default_rng(1), (24, 40), 16)
    targets = [{"boxes": b, "labels": torch.ones(len(b), dtype=torch.int64)} for b in boxes]
    mix = CutMix(p=0.8, region=region, pairing="shuffle")

    def plan(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        made = mix.make_plan(images, targets, generator=torch.Generator().manual_seed(seed))
        return made.source, made.owner_map()

    first, again, other = plan(5), plan(5), plan(6)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_calls_without_a_generator_differ_but_follow_the_seed():
    images = torch.zeros(8, 1, 24, 40)

    def owners() -> list[bytes]:
        mix = CutMix(p=1.0)
        return [mix.make_plan(images, None).owner_map().numpy().tobytes() for _ in range(3)]

    state = torch.get_rng_state()
    try:
        torch.manual_seed(1234)
        first = owners()
        torch.manual_seed(4321)
        other = owners()
    finally:
        torch.set_rng_state(state)
    assert len(set(first)) == 3
    assert not set(first) & set(other)
