"""The draws of every method against their formulas; tight enough that a wrong sampler fails."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from test_samplers import SIGMAS, assert_mean, assert_uniform

import cutmix_dense as cd
from cutmix_dense.masks import ClassMask, CowMask, FourierMask
from cutmix_dense.masks.noise import _mark_lowest
from cutmix_dense.noise import Band, bands_of_decay, field_of, passed_by_blur


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blank(n: int, size: tuple[int, int]) -> torch.Tensor:
    """n images that take no memory; a plan needs no more than their size."""
    return torch.zeros(1, 1, 1, 1).expand(n, 1, *size)


def plan_of(mix: Any, n: int, size: tuple[int, int], seed: int = 0, targets: Any = None) -> Any:
    return mix.make_plan(blank(n, size), targets, generator=seeded(seed))


def assert_share(hits: np.ndarray, expected: float) -> None:
    """How often something happens."""
    assert abs(hits.mean() - expected) <= SIGMAS * math.sqrt(expected * (1 - expected) / hits.size), hits.mean()


def assert_uncorrelated(a: np.ndarray, b: np.ndarray) -> None:
    assert abs(np.corrcoef(a, b)[0, 1]) < SIGMAS / math.sqrt(len(a))


def assert_even(counts: dict[Any, int], keys: Any) -> None:
    """All keys come up alike (chi-square within about four sigmas)."""
    keys = list(keys)
    assert set(counts) == set(keys), counts
    expected = sum(counts.values()) / len(keys)
    chi = sum((counts[k] - expected) ** 2 / expected for k in keys)
    degrees = len(keys) - 1
    assert chi < degrees + 4 * math.sqrt(2 * degrees) + 4, counts


def runs(inside: np.ndarray) -> int:
    """How many runs of True a line holds."""
    return int(inside[0]) + int((inside[1:] & ~inside[:-1]).sum())


# ---------------------------------------------------------------------------------------------------------------------
# ResizeMix


@pytest.mark.parametrize("size", [(400, 700), (700, 300)])
@pytest.mark.parametrize("scope", [(0.1, 0.8), (0.3, 0.5)])
def test_resizemix_sides_and_place(size: tuple[int, int], scope: tuple[float, float]):
    plan = plan_of(cd.ResizeMix(scope=scope, p=1.0), 4000, size, 1)
    side = (plan.scale[:, 1].double().abs() * torch.tensor(size)).numpy()
    place = plan.shift[:, 1].double().numpy()
    tau = side / np.array(size)
    assert np.abs(tau[:, 0] - tau[:, 1]).max() <= 1.1 / min(size), "height and width by different fractions"
    for axis in range(2):
        assert_uniform(tau[:, axis], *scope, slack=1.5 / (size[axis] * (scope[1] - scope[0])))
        room = size[axis] - side[:, axis]
        assert_uniform(place[:, axis] / room, 0, 1, slack=0.012)
        assert ((place[:, axis] >= -1e-3) & (place[:, axis] <= room + 1e-3)).all()
        assert_uncorrelated(tau[:, axis], place[:, axis] / room)
        assert_uncorrelated(tau[1:, axis], tau[:-1, axis])
    assert_uncorrelated(place[:, 0] / (size[0] - side[:, 0]), place[:, 1] / (size[1] - side[:, 1]))


# ---------------------------------------------------------------------------------------------------------------------
# Mosaic


@pytest.mark.parametrize("jitter", [0.5, 0.2])
def test_mosaic_centre_and_scale(jitter: float):
    size, n = (400, 700), 3000
    plan = plan_of(cd.Mosaic(jitter=jitter), n, size, 2)
    low, high = 0.5 - jitter / 2, 0.5 + jitter / 2
    centre = [plan.edges[axis][:, 1].double().numpy() / size[axis] for axis in range(2)]
    for axis in range(2):
        assert_uniform(centre[axis], low, high, slack=1.5 / (size[axis] * (high - low)))
    assert_uncorrelated(centre[0], centre[1])
    scale = plan.scale.double().numpy()
    assert np.allclose(scale[..., 0], scale[..., 1], rtol=1e-5)
    for s in range(4):
        assert_uniform(scale[:, s, 0], 0.5, 1.5, slack=0.005)
    assert_uncorrelated(scale[:, 0, 0], scale[:, 1, 0])
    assert (plan.share() > 0).all(), "a cell without an image"


@pytest.mark.parametrize("grid", [(2, 2), (3, 3), (1, 3), (2, 3)])
def test_mosaic_cells(grid: tuple[int, int]):
    """Each layer has a cell, the base comes into each alike; inner lines stray around their places."""
    size, n = (300, 480), 2000
    plan = plan_of(cd.Mosaic(grid=grid), n, size, 3)
    cells = grid[0] * grid[1]
    owner = plan.owner.reshape(n, -1).numpy()
    assert (np.sort(owner, 1) == np.arange(cells)).all()
    assert_even(Counter((owner == 0).argmax(1).tolist()), range(cells))
    for axis in range(2):
        for line in range(1, grid[axis]):
            places = plan.edges[axis][:, line].double().numpy() / size[axis] * grid[axis]
            assert_uniform(places, line - 0.5, line + 0.5, slack=2 * grid[axis] / size[axis])


def test_mosaic_scale_is_relative_to_the_fit():
    """Aspect kept, 1 fits the image into the canvas."""
    sizes = [(40, 100), (90, 30), (64, 64), (120, 200)]
    images = [torch.zeros(1, *s) for s in sizes]
    seen: list[list[float]] = [[] for _ in sizes]
    for seed in range(150):
        plan = cd.Mosaic(size=(80, 120)).make_plan(images, generator=seeded(seed))
        for b in range(4):
            for s in range(4):
                seen[int(plan.source[b, s])].append(float(plan.scale[b, s, 0]))
    for size, scales in zip(sizes, seen, strict=True):
        fit = min(80 / size[0], 120 / size[1])
        assert_uniform(np.array(scales) / fit, 0.5, 1.5, slack=0.01)


def test_mosaic_images_touch_the_centre():
    size, n = (200, 340), 500
    plan = plan_of(cd.Mosaic(), n, size, 4)
    for axis in range(2):
        line = plan.edges[axis][:, 1].double()
        for cell in range(4):
            layer = plan.owner.reshape(n, 4)[:, cell].long()
            row = torch.arange(n)
            low = plan.shift[row, layer, axis].double()
            high = low + plan.scale[row, layer, axis].double() * size[axis]
            first = (cell // 2, cell % 2)[axis] == 0
            torch.testing.assert_close(high if first else low, line, atol=0.5, rtol=0)


# ---------------------------------------------------------------------------------------------------------------------
# RICAP


@pytest.mark.parametrize("beta", [0.3, 1.0, 2.0])
def test_ricap_point_and_crops(beta: float):
    size, n = (300, 500), 4000
    plan = plan_of(cd.RICAP(beta=beta, p=1.0), n, size, 5)
    reference = np.random.default_rng(0).beta(beta, beta, 400_000)
    points = []
    for axis in range(2):
        point = plan.edges[axis][:, 1].double().numpy() / size[axis]
        points.append(point)
        assert_mean(point, 0.5)
        assert_mean((point - 0.5) ** 2, 1 / (4 * (2 * beta + 1)), slack=1e-3)
        for cut in (0.1, 0.3, 0.6):
            cut = (round(cut * size[axis]) + 0.5) / size[axis]
            assert abs((point < cut).mean() - (reference < cut).mean()) < 0.035
        low, high = plan.edges[axis][:, :-1], plan.edges[axis][:, 1:]
        for layer in range(4):
            cell = (plan.owner.reshape(n, 4) == layer).long().argmax(1)
            line = cell // 2 if axis == 0 else cell % 2
            row = torch.arange(n)
            start = low[row, line] - plan.shift[:, layer, axis]
            room = (size[axis] - (high - low)[row, line]).double()
            assert ((start >= 0) & (start <= room)).all(), "a crop leaves its image"
            big = room > 60
            assert_uniform((start[big] / room[big]).numpy(), 0, 1, slack=0.015)
    assert_uncorrelated(points[0], points[1])
    torch.testing.assert_close(plan.share().sum(1), torch.ones(n, dtype=torch.float64))


# ---------------------------------------------------------------------------------------------------------------------
# GridMix, StripeMix


def test_gridmix_holes_share():
    size = (240, 370)
    share = plan_of(cd.GridMix(p=1.0), 4000, size, 6).share()[:, 1].numpy()
    assert_mean(share, 0.5 * 0.75, slack=0.01)  # E[1 − λ] · E[cut area]
    half = plan_of(cd.GridMix(alpha=1e7, p=1.0), 3000, size, 7).share()[:, 1].numpy()  # λ = 0.5
    assert_uniform(half, 0.25, 0.5, slack=0.03)
    whole = plan_of(cd.GridMix(p=1.0, cut_area=(1.0, 1.0)), 3000, size, 8).share()[:, 1].numpy()
    assert_uniform(whole, 0, 1, slack=0.02)


def test_gridmix_units():
    size, n = (120, 175), 500
    owner = plan_of(cd.GridMix(alpha=1e7, p=1.0), n, size, 9).owner_map().numpy() == 1
    rows = [runs(o.any(1)) for o in owner]
    cols = [runs(o.any(0)) for o in owner]
    assert rows == cols, "rows and columns have different numbers"
    assert_even(Counter(rows), range(2, 7))


def test_gridmix_checkerboard_is_half():
    size = (240, 360)
    for units in (2, 3, 4, 5, 6):
        mix = cd.GridMix(p=1.0, n_holes=(units, units), pattern="checkerboard", cut_area=(1.0, 1.0))
        share = plan_of(mix, 200, size, units).share()[:, 1].numpy()
        odd = 0.5 / units**2 if units % 2 else 0.0
        assert (np.abs(share - 0.5) <= odd + 1e-3).all(), (units, share)
    part = plan_of(cd.GridMix(p=1.0, n_holes=(4, 4), pattern="checkerboard"), 2000, size, 10).share()[:, 1].numpy()
    assert_uniform(part, 0.25, 0.5, slack=0.02)


def test_gridmix_place_is_not_always_the_corner():
    owner = plan_of(cd.GridMix(p=1.0, cut_area=(0.5, 0.6)), 300, (60, 90), 11).owner_map().numpy() == 1
    cover = owner.mean(0)
    assert ((cover[:, 5:-5] > 0).mean(0) > 0.9).all(), "some columns are never covered"
    assert abs(cover[:30].mean() - cover[30:].mean()) < 0.08, "more above than below"
    assert abs(cover[:, :45].mean() - cover[:, 45:].mean()) < 0.08, "more left than right"


def test_stripemix_numbers_direction_share():
    size, n = (90, 140), 1500
    plan = plan_of(cd.StripeMix(p=1.0), n, size, 12)
    owner = plan.owner_map().numpy() == 1
    upright = (owner == owner[:, :1]).all((1, 2))
    lying = (owner == owner[:, :, :1]).all((1, 2))
    assert (upright ^ lying).all()
    assert_share(upright, 0.5)
    lines = [o[0] if up else o[:, 0] for o, up in zip(owner, upright, strict=True)]
    stripes = [1 + int((line[1:] != line[:-1]).sum()) for line in lines]
    assert_even(Counter(stripes), range(2, 9))
    assert_mean(plan.share()[:, 1].numpy(), 0.5, slack=2e-3)
    assert_share(np.array([bool(line[0]) for line in lines]), 0.5)  # who begins
    for direction, expected in (("horizontal", "lying"), ("vertical", "upright")):
        one = plan_of(cd.StripeMix(p=1.0, direction=direction), 50, size, 13).owner_map()
        assert (one == (one[:, :, :1] if expected == "lying" else one[:, :1])).all()


# ---------------------------------------------------------------------------------------------------------------------
# CowMix, FMix


def cow_masks(sampler: CowMask, n: int, frame: tuple[int, int], seed: int) -> np.ndarray:
    draws = sampler.draw(n, frame, seeded(seed))
    return sampler.place(draws, torch.tensor([frame]).expand(n, 2), frame).numpy()


@pytest.mark.parametrize("proportion", [0.2, 0.5, 0.7])
def test_cowmix_share(proportion: float):
    masks = cow_masks(CowMask(proportion, sigma=(2.0, 2.0)), 300, (60, 100), 14)
    share = masks.mean((1, 2))
    assert_mean(share, proportion, slack=0.01)
    assert share.std() < 0.06, "the threshold follows each sample's own noise"
    assert np.abs(masks.mean(0)[:2].mean() - proportion) < 0.05, "the border differs"


def test_cowmix_drawn_share():
    share = cow_masks(CowMask((0.2, 0.8), sigma=(1.5, 1.5)), 1200, (48, 72), 15).mean((1, 2))
    assert_mean(share, 0.5, slack=0.01)
    assert abs(share.std() - 0.6 / math.sqrt(12)) < 0.015


def changes(sigma: float) -> float:
    """How often neighbours differ where noise blurred by a Gaussian crosses its median: arccos(ρ) / π."""
    return math.acos(math.exp(-1 / (4 * sigma * sigma))) / math.pi


@pytest.mark.parametrize("frame", [(64, 150), (150, 64)])
@pytest.mark.parametrize("sigma", [2.0, 4.0, 8.0])
def test_cowmix_blur_is_in_pixels(sigma: float, frame: tuple[int, int]):
    masks = cow_masks(CowMask(0.5, sigma=(sigma, sigma)), 150, frame, 16)
    for axis in (1, 2):
        rate = np.diff(masks.astype(np.int8), axis=axis) != 0
        assert rate.mean() == pytest.approx(changes(sigma), rel=0.1)
    border = np.diff(masks[:, :3].astype(np.int8), axis=2) != 0
    assert border.mean() == pytest.approx(changes(sigma), rel=0.25), "the blur is another at the border"


def test_cowmix_sigma_is_log_uniform():
    masks = cow_masks(CowMask(0.5, sigma=(1.5, 12.0)), 500, (80, 90), 17)
    rate = (np.diff(masks.astype(np.int8), axis=1) != 0).mean()
    logs = np.exp(np.linspace(math.log(1.5), math.log(12), 400))
    expected = np.mean([changes(s) for s in logs])
    linear = np.mean([changes(s) for s in np.linspace(1.5, 12, 400)])
    assert rate == pytest.approx(expected, rel=0.08)
    assert abs(rate - linear) > 0.1 * linear


@pytest.mark.parametrize("kept", [0.2, 1.0])
@pytest.mark.parametrize(
    "frame", [(1, 1), (2, 1), (1, 4), (5, 7), (40, 36), (17, 66), (53, 48), (8, 12, 15), (3, 53, 4)]
)
def test_fields_are_those_of_a_fourier_transform_in_double_precision(frame: tuple[int, ...], kept: float):
    """Also those that are shorter than the periods."""
    last = len(frame) - 1
    lines = [np.fft.fftfreq(n) for n in frame[:last]] + [np.fft.rfftfreq(frame[last])]
    inside = [np.abs(line) <= kept / 2 for line in lines]
    bands = [Band(n, torch.from_numpy(line[part])) for n, line, part in zip(frame, lines, inside)]
    counts = [len(band.frequencies) for band in bands]
    spectrum = np.random.default_rng(0).normal(size=(*counts, 2)).astype(np.float32).view(np.complex64)[..., 0]
    whole = np.zeros([len(line) for line in lines], dtype=np.complex128)
    whole[np.ix_(*inside)] = spectrum
    expected = np.fft.irfftn(whole, frame, axes=range(last + 1))
    for size in (frame, tuple(-(-2 * n // 3) for n in frame)):
        found = field_of(spectrum, bands, size)
        assert found.shape == size
        assert np.abs(found - expected[tuple(map(slice, size))]).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("frame", [(20, 30), (31, 20), (6, 7, 15)])
def test_cowmix_noise_is_white_before_it_is_blurred(frame: tuple[int, ...]):
    """All frequencies count alike, those too that a real spectrum has but once: the mean of a line shows it."""
    sampler = CowMask(0.5, sigma=(1e-3, 1e-3))
    noise, bands = sampler.draw(1500, frame, seeded(31)).noise, sampler._bands(frame)
    for factors in passed_by_blur(torch.full((len(noise),), 1e-3, dtype=torch.float64), bands):
        noise = noise * factors[..., None]
    fields = np.stack([field_of(spectrum, bands, frame) for spectrum in torch.view_as_complex(noise).numpy()])
    variance = fields.var()
    for axis in range(1, fields.ndim):
        means = fields.mean(axis=axis)
        assert means.var() == pytest.approx(variance / frame[axis - 1], rel=0.1)
        neighbours = np.take(fields, range(1, frame[axis - 1]), axis) * np.take(
            fields, range(frame[axis - 1] - 1), axis
        )
        assert abs(neighbours.mean()) < 0.02 * variance


@pytest.mark.parametrize("sigma", [3.0, 8.0])
def test_cowmix_neighbours_differ_as_blurred_noise_does(sigma: float):
    """Whether pixels some way apart differ, along both axes: arccos of their correlation, exp(−d² / 4σ²), over π."""
    masks = cow_masks(CowMask(0.5, sigma=(sigma, sigma)), 400, (96, 128), 33)
    for distance in (round(sigma), round(2 * sigma), round(3 * sigma)):
        expected = math.acos(math.exp(-(distance**2) / (4 * sigma * sigma))) / math.pi
        assert (masks[:, distance:] != masks[:, :-distance]).mean() == pytest.approx(expected, rel=0.05)
        assert (masks[:, :, distance:] != masks[:, :, :-distance]).mean() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("number", [0, 1, 7, 11, 12])
def test_fmix_takes_exactly_so_many_of_equal_values(number: int):
    values = np.array([[3, 1, 2, 2], [2, 2, 1, 0], [5, 2, 2, 9]], dtype=np.float32)
    chosen = np.ones(values.shape, dtype=bool)
    _mark_lowest(values, number, chosen)
    assert chosen.sum() == number
    if 0 < number < 12:
        assert values[chosen].max() <= values[~chosen].min()


@pytest.mark.parametrize("kind", ["noise", "few values", "the sample misleads"])
@pytest.mark.parametrize("number", [1, 9000, 19_999, 20_000])
def test_fmix_takes_the_lowest_of_many_values(kind: str, number: int):
    rng = np.random.default_rng(number)
    values = rng.normal(size=(100, 200)).astype(np.float32)
    if kind == "few values":
        values = values.round()
    elif kind != "noise":
        values.reshape(-1)[:: values.size // 4096] += 50
    chosen = np.ones(values.shape, dtype=bool)
    _mark_lowest(values, number, chosen)
    assert chosen.sum() == number
    assert values[chosen].max() == np.sort(values, axis=None)[number - 1]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_fmix_area_is_exact(alpha: float):
    sampler, n, frame = FourierMask(alpha=alpha), 1500, (23, 37)
    sizes = torch.tensor([[23, 37], [12, 30], [20, 9]]).repeat(n // 3, 1)
    draws = sampler.draw(n, frame, seeded(18))
    masks = sampler.place(draws, sizes, frame).numpy()
    lam = draws.numbers[:, 0].numpy()
    assert_mean((lam - 0.5) ** 2, 1 / (4 * (2 * alpha + 1)))
    for mask, (height, width), share in zip(masks, sizes.tolist(), lam, strict=True):
        wanted = (1 - share) * height * width
        got = mask[:height, :width].sum()
        assert got in (math.floor(wanted), math.ceil(wanted)), f"{got} pixels for {wanted}"
    if alpha == 1.0:
        share = plan_of(cd.FMix(p=1.0), 1500, (24, 38), 19).share()[:, 1].numpy()
        assert_uniform(share, 0, 1, slack=0.005)


def official_fmix(rng: np.random.Generator, size: tuple[int, int], decay: float) -> np.ndarray:
    """The authors' mask at λ = 0.5, as their code states it."""
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)
    spectrum /= np.maximum(frequency, 1 / max(size)) ** decay
    gray = np.fft.irfftn(spectrum, size, axes=(0, 1))
    return gray > np.median(gray)


@pytest.mark.parametrize("frame", [(300, 420), (256, 256)])
def test_fmix_lacks_only_frequencies_that_move_no_border(frame: tuple[int, int]):
    rng = np.random.default_rng(0)
    lines = [np.fft.fftfreq(frame[0])[:, None], np.fft.rfftfreq(frame[1])[None]]
    bands = bands_of_decay(frame, 3.0)
    most = [np.abs(band.frequencies.numpy()).max() * 1.0001 for band in bands]
    passed = (np.abs(lines[0]) <= most[0]) & (lines[1] <= most[1])
    assert passed.sum() == np.prod([len(band.frequencies) for band in bands]) < passed.size / 3
    differ = []
    for _ in range(10):
        spectrum = rng.normal(size=passed.shape) + 1j * rng.normal(size=passed.shape)
        spectrum /= np.maximum(np.hypot(*lines), 1 / max(frame)) ** 3
        whole, ours = (np.fft.irfftn(part, frame, axes=(0, 1)) for part in (spectrum, spectrum * passed))
        differ.append(((whole > np.median(whole)) != (ours > np.median(ours))).mean())
    assert np.mean(differ) < 3e-4


def test_fmix_is_smooth():
    rates = []
    for decay in (1.0, 2.0, 3.0):
        owner = plan_of(cd.FMix(p=1.0, alpha=50.0, decay=decay), 100, (64, 100), 20).owner_map().numpy()
        rates.append([(np.diff(owner, axis=axis) != 0).mean() for axis in (1, 2)])
    assert rates[0][0] > 1.5 * rates[1][0] > 2 * rates[2][0]
    assert max(rates[2]) < 0.06, "low frequencies only"
    rng = np.random.default_rng(0)
    for decay, got in zip((1.0, 2.0, 3.0), rates, strict=True):
        reference = np.stack([official_fmix(rng, (64, 100), decay) for _ in range(200)]).astype(np.int8)
        for axis in (1, 2):
            assert got[axis - 1] == pytest.approx((np.diff(reference, axis=axis) != 0).mean(), rel=0.15)


# ---------------------------------------------------------------------------------------------------------------------
# ClassMix


@pytest.mark.parametrize(("rounding", "chosen"), [("floor", 2), ("ceil", 3)])
def test_classmix_half_of_the_own_classes(rounding: Any, chosen: int):
    n, classes = 1500, [0, 3, 4, 7, 11]
    ids = torch.tensor([*classes, 255]).repeat_interleave(2)
    maps = ids[None].expand(4, 12)[None].repeat(n, 1, 1).contiguous()
    maps[1::2] = torch.tensor([20, 21]).repeat(6)  # every other image has two classes of its own
    sampler = ClassMask(rounding=rounding)
    masks = sampler.place(sampler.draw(n, seeded(21)), maps)
    assert not masks[maps == 255].any(), "255 was pasted"
    taken = [tuple(sorted(set(m[k].tolist()))) for m, k in zip(maps, masks, strict=True)]
    assert {len(t) for t in taken[::2]} == {chosen}
    assert {len(t) for t in taken[1::2]} == {1}
    for k in range(0, n, 50):
        assert torch.equal(masks[k], torch.isin(maps[k], torch.tensor(taken[k])))
    assert_even(Counter(taken[::2]), set(taken[::2]))
    assert len(set(taken[::2])) == math.comb(5, chosen)
    for c in classes:
        assert_share(np.array([c in t for t in taken[::2]]), chosen / 5)


WHOLE = [torch.int8, torch.int16, torch.int32, torch.int64, *([torch.uint16] if hasattr(torch, "uint16") else [])]


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize(("classes", "ignore"), [(256, 255), (30, 255), (30, 7), (256, 300), (400, 255)])
def test_classmix_of_any_whole_numbers(dtype: torch.dtype, classes: int, ignore: int):
    maps = torch.randint(0, 29, (40, 5, 6, 7), generator=seeded(41)).flatten(0, 1).to(torch.uint8)
    sampler = ClassMask(ignore_index=ignore, max_classes=classes)
    draws = sampler.draw(len(maps), seeded(42))
    masks = sampler.place(draws, maps)
    assert 0.3 < masks.float().mean() < 0.5
    assert torch.equal(sampler.place(draws, maps.to(dtype)), masks)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("ignore", [-1, 255, 256 + 44])
def test_ids_that_bytes_cannot_hold_are_none_of_theirs(dtype: torch.dtype, ignore: int):
    """An ``ignore_index`` of −1 is not the byte 255, and 300 is not 44."""
    maps = torch.tensor([[[0, 3, 44, 255]]], dtype=dtype)
    sampler = ClassMask(ignore_index=ignore, rounding="ceil")
    taken = [sampler.place(sampler.draw(1, seeded(n)), maps)[0, 0].tolist() for n in range(40)]
    assert {sum(mask) for mask in taken} == {2}, "half of three classes or of four"
    assert any(mask[2] for mask in taken)
    assert any(mask[3] for mask in taken) == (ignore != 255)
    if ignore != 255:
        with pytest.raises(ValueError, match="got 255"):
            ClassMask(ignore_index=ignore, max_classes=100).place(sampler.draw(1, seeded(1))[:, :100], maps)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_classmix_refuses_ids_beyond_its_classes(dtype: torch.dtype):
    sampler = ClassMask(max_classes=20)
    maps = torch.tensor([[[0, 1, 19, 255]], [[20, 2, 3, 255]]], dtype=dtype)
    assert sampler.place(sampler.draw(1, seeded(1)), maps[:1]).sum() == 1
    with pytest.raises(ValueError, match="max_classes = 20, got 20"):
        sampler.place(sampler.draw(2, seeded(1)), maps)
    assert sampler.place(sampler.draw(0, seeded(1)), maps[:0]).shape == (0, 1, 4)


def test_classmix_by_the_transform():
    n = 400
    maps = torch.arange(4).repeat_interleave(3)[None].expand(5, 12)[None].repeat(n, 1, 1).contiguous()
    maps[:, 0] = 255
    plan = plan_of(cd.ClassMix(p=1.0), n, (5, 12), 22, targets=maps)
    owner = plan.owner_map()
    assert (owner[:, 0] == 0).all()
    assert (plan.share()[:, 1] == 0.5 * 0.8).all()
    assert_even(Counter(tuple(o[1].tolist()) for o in owner), {tuple(o[1].tolist()) for o in owner})
    assert len({tuple(o[1].tolist()) for o in owner}) == 6


def test_classmix_of_one_class_and_of_none():
    """floor(1 / 2) = 0 classes, ceil(1 / 2) = 1; of an ignored image nothing."""
    maps = torch.stack([torch.full((6, 8), 3), torch.full((6, 8), 255)])
    for rounding, share in (("floor", 0.0), ("ceil", 1.0)):
        plan = plan_of(cd.ClassMix(p=1.0, rounding=rounding), 2, (6, 8), 23, targets=maps)
        assert plan.share()[1, 1] == share
        assert plan.share()[0, 1] == 0


# ---------------------------------------------------------------------------------------------------------------------
# CopyPaste


def objects(n: int, count: int, crowds: tuple[int, ...] = ()) -> list[dict[str, torch.Tensor]]:
    boxes = torch.tensor([[2.0 + 5 * k, 3, 5 + 5 * k, 9] for k in range(count)])
    crowd = torch.tensor([int(k in crowds) for k in range(count)])
    return [{"boxes": boxes, "labels": torch.ones(count, dtype=torch.long), "iscrowd": crowd} for _ in range(n)]


def chosen(mix: Any, n: int, count: int, crowds: tuple[int, ...] = (), seed: int = 24) -> np.ndarray:
    plan = plan_of(mix, n, (20, 40), seed, targets=objects(n, count, crowds))
    return plan.carry[:, 1, :count].numpy()


@pytest.mark.parametrize(("instances", "number"), [("all", 6), (1, 1), (3, 3), (9, 6), (0.5, 3), (0.4, 3), (0.01, 1)])
def test_copypaste_counts(instances: Any, number: int):
    taken = chosen(cd.CopyPaste(instances=instances, p=1.0), 1500, 6)
    assert (taken.sum(1) == number).all()
    for k in range(6):
        if number < 6:
            assert_share(taken[:, k], number / 6)
    if number == 3:  # every subset alike
        assert_even(Counter(map(tuple, taken.tolist())), {tuple(t) for t in taken.tolist()})
        assert len({tuple(t) for t in taken.tolist()}) == 20


def test_copypaste_random_number():
    taken = chosen(cd.CopyPaste(p=1.0), 3000, 5)
    assert_even(Counter(taken.sum(1).tolist()), range(1, 6))
    for k in range(5):
        assert_share(taken[:, k], 3 / 5)


def test_copypaste_leaves_crowds():
    taken = chosen(cd.CopyPaste(instances="all", p=1.0), 50, 5, crowds=(1, 3))
    assert (taken == [True, False, True, False, True]).all()
    taken = chosen(cd.CopyPaste(instances=2, p=1.0), 900, 5, crowds=(1, 3))
    assert (taken.sum(1) == 2).all()
    assert_even(Counter(map(tuple, taken.tolist())), {tuple(t) for t in taken.tolist()})
    assert len({tuple(t) for t in taken.tolist()}) == 3
    taken = chosen(cd.CopyPaste(instances=0.5, p=1.0), 300, 5, crowds=(1, 3))
    assert (taken.sum(1) == 2).all(), "a fraction of those that may be pasted"
    assert chosen(cd.CopyPaste(instances="all", crowd=True, p=1.0), 50, 5, crowds=(1, 3)).all()
    assert not chosen(cd.CopyPaste(instances="random", p=1.0), 50, 2, crowds=(0, 1)).any()


def test_copypaste_scale_flip_and_place():
    n, size = 3000, (200, 330)
    mix = cd.CopyPaste(instances="all", scale=(0.5, 1.5), flip=0.3, p=1.0, flip_pairs=())
    plan = plan_of(mix, n, size, 25, targets=objects(n, 2))
    scale, shift = plan.scale[:, 1].double().numpy(), plan.shift[:, 1].double().numpy()
    assert_share(scale[:, 1] < 0, 0.3)
    assert (scale[:, 0] > 0).all(), "upside down"
    assert np.allclose(np.abs(scale[:, 0]), np.abs(scale[:, 1]), rtol=0.02)
    assert_uniform(np.abs(scale[:, 0]), 0.5, 1.5, slack=0.01)
    assert_uncorrelated((scale[:, 1] < 0).astype(float), scale[:, 0])
    for axis in range(2):
        length = np.abs(scale[:, axis]) * size[axis]
        low = shift[:, axis] - np.where(scale[:, axis] < 0, length, 0)
        room = size[axis] - length  # negative: the partner covers the image
        sure = np.abs(room) > 20
        assert (np.minimum(room, 0) - 1 <= low).all(), "the partner leaves a border"
        assert (low <= np.maximum(room, 0) + 1).all(), "the partner leaves a border"
        assert_uniform((low / room)[sure], 0, 1, slack=0.02)


# ---------------------------------------------------------------------------------------------------------------------
# SaliencyMix


def test_saliencymix_centre_is_the_partners_own_blob():
    size, n = (64, 100), 40
    rng = np.random.default_rng(26)
    images = torch.from_numpy(rng.uniform(0.0, 0.05, (n, 3, *size)).astype(np.float32))
    centre = np.stack([rng.integers(10, size[0] - 10, n), rng.integers(10, size[1] - 10, n)], 1)
    for image, (y, x) in zip(images, centre.tolist(), strict=True):
        image[:, y - 4 : y + 5, x - 4 : x + 5] = 1.0
    plan = cd.SaliencyMix(p=1.0, alpha=20.0).make_plan(images, generator=seeded(27))
    owner = plan.owner_map().numpy() == 1
    off, whole = [], 0
    for b in range(n):
        y, x = centre[int(plan.source[b, 1])]
        ys, xs = np.nonzero(owner[b])
        box = (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1)
        assert owner[b, y, x], f"output {b}: the region misses its partner's blob"
        if box[0] > 0 and box[2] < size[0]:
            off.append(abs((box[0] + box[2]) / 2 - y))
        if box[1] > 0 and box[3] < size[1]:
            off.append(abs((box[1] + box[3]) / 2 - x))
            whole += 1
    assert max(off) <= 7, off  # on the blob of 9 pixels; saliency is coarse
    assert whole >= 3


def test_saliencymix_sides():
    """√(1 − λ) of the image's sides where nothing is clipped: peaks in the centre, λ close to 0.75."""
    size, n = (120, 200), 30
    images = torch.zeros(n, 1, *size)
    images[:, :, 55:65, 95:105] = 1.0
    owner = cd.SaliencyMix(p=1.0, alpha=1.0).make_plan(images, generator=seeded(28)).owner_map().numpy() == 1
    share = []
    for mask in owner:
        ys, xs = np.nonzero(mask)
        if len(ys):
            height, width = ys.max() + 1 - ys.min(), xs.max() + 1 - xs.min()
            share.append(mask.mean())
            clipped = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
            if not clipped:
                assert abs(height / size[0] - width / size[1]) < 0.05, "height and width swapped"
    assert len(set(share)) > 20, "one λ for the batch"


# ---------------------------------------------------------------------------------------------------------------------
# MixUp, RandomMix


@pytest.mark.parametrize("alpha", [0.2, 1.0, 1.5, 8.0])
def test_mixup_weights(alpha: float):
    weight = plan_of(cd.MixUp(alpha=alpha, p=1.0), 4000, (6, 9), 29).weight.double().numpy()
    assert np.allclose(weight.sum(1), 1)
    lam = weight[:, 0]
    assert_mean(lam, 0.5)
    assert_mean((lam - 0.5) ** 2, 1 / (4 * (2 * alpha + 1)))
    if alpha == 1.0:
        assert_uniform(lam, 0, 1)
    assert_uncorrelated(lam[1:], lam[:-1])


def test_mixup_fixed_and_shared_weights():
    assert torch.allclose(plan_of(cd.MixUp(lam=0.3, p=1.0), 5, (6, 9)).weight.float(), torch.tensor([0.3, 0.7]))
    seen = set()
    for seed in range(20):
        weight = plan_of(cd.MixUp(same_weight=True, p=1.0), 6, (6, 9), seed).weight
        assert (weight == weight[:1]).all()
        seen.add(float(weight[0, 0]))
    assert len(seen) == 20


def test_randommix_weights():
    images = torch.zeros(2, 1, 4, 6)
    images[1] = 1
    mix = cd.RandomMix([cd.MixUp(lam=v, p=1.0) for v in (0.1, 0.3, 0.6, 0.8)], weights=[1, 2, 0, 5])
    generator = seeded(30)
    n = 500
    counts = Counter(round(float(mix(images, generator=generator)[1, 0, 0, 0]), 3) for _ in range(n))
    assert set(counts) == {0.1, 0.3, 0.8}
    for value, weight in ((0.1, 1), (0.3, 2), (0.8, 5)):
        expected = weight / 8
        assert abs(counts[value] / n - expected) < SIGMAS * math.sqrt(expected * (1 - expected) / n)


def test_randommix_schedule():
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 8, 9).contiguous()
    mix = cd.RandomMix([cd.MixUp(lam=0.5, p=1.0), cd.StripeMix(p=1.0)], total=10, close_last=3)
    for step in (*range(10), 4):
        mix.set_progress(step)
        changed = any(not torch.equal(mix(images, generator=seeded(s)), images) for s in range(4))
        assert changed == (step < 7), f"step {step}"
    mix = cd.RandomMix([cd.MixUp(lam=0.5, p=1.0)], total=10)
    mix.set_progress(9)
    assert not torch.equal(mix(images, generator=seeded(1)), images)


# ---------------------------------------------------------------------------------------------------------------------
# every method: p, independence, swap, repeatability

SIZE = (24, 38)


def with_targets(n: int) -> dict[str, Any]:
    """Instances with masks, and maps with eight classes."""
    generator = seeded(31)
    maps = torch.randint(0, 8, (1, 6, 10), generator=generator).repeat_interleave(4, 1).repeat_interleave(4, 2)
    masks = torch.zeros(3, *SIZE, dtype=torch.bool)
    masks[0, 2:9, 3:12] = masks[1, 12:20, 5:30] = masks[2, 4:22, 25:36] = True
    boxes = torch.tensor([[3.0, 2, 12, 9], [5, 12, 30, 20], [25, 4, 36, 22]])
    target = {"boxes": boxes, "labels": torch.ones(3, dtype=torch.long), "masks": masks}
    return {"instances": [target] * n, "semantic": maps[:, : SIZE[0], : SIZE[1]].expand(n, *SIZE)}


ALL: dict[str, Any] = {
    "ResizeMix": cd.ResizeMix,
    "Mosaic": cd.Mosaic,
    "RICAP": cd.RICAP,
    "GridMix": cd.GridMix,
    "StripeMix": cd.StripeMix,
    "CopyPaste": cd.CopyPaste,
    "ClassMix": cd.ClassMix,
    "CowMix": cd.CowMix,
    "FMix": cd.FMix,
    "SaliencyMix": cd.SaliencyMix,
    "MixUp": cd.MixUp,
}


def fingerprint(plan: Any, b: int) -> bytes:
    """Everything drawn for one output but who its partner is."""
    parts = [plan.owner_map()[b], plan.scale[b], plan.shift[b]]
    parts += [] if plan.weight is None else [plan.weight[b]]
    parts += [] if plan.carry is None else [plan.carry[b]]
    return b"".join(p.numpy().tobytes() for p in parts)


@pytest.mark.parametrize("name", ALL)
def test_p_is_per_sample(name: str):
    n = 250
    for p in (0.0, 0.4, 1.0):
        plan = ALL[name](p=p).make_plan(torch.rand(n, 1, *SIZE), with_targets(n), generator=seeded(32))
        mixed = (plan.source[:, 1:] >= 0).any(1).numpy()
        if p in (0.0, 1.0):
            assert (mixed == bool(p)).all()
        else:
            assert_share(mixed, p)
            assert_share(mixed[1:] == mixed[:-1], p * p + (1 - p) * (1 - p))


@pytest.mark.parametrize("name", ALL)
def test_samples_are_drawn_for_themselves_and_a_seed_repeats(name: str):
    n = 24
    images, targets = torch.rand(n, 1, *SIZE, generator=seeded(33)), with_targets(n)
    mix = ALL[name](p=1.0)
    plan, again, other = (mix.make_plan(images, targets, generator=seeded(s)) for s in (1, 1, 2))
    prints = [fingerprint(plan, b) for b in range(n)]
    assert len(set(prints)) >= (n // 4 if name in ("CopyPaste", "StripeMix") else 0.8 * n)
    assert prints == [fingerprint(again, b) for b in range(n)]
    assert prints != [fingerprint(other, b) for b in range(n)]


@pytest.mark.parametrize("name", ["ResizeMix", "GridMix", "StripeMix", "CowMix", "FMix", "MixUp", "CopyPaste"])
def test_swap_shares_its_draws(name: str):
    n = 11
    plan = ALL[name](p=0.7, pairing="swap").make_plan(torch.rand(n, 1, *SIZE), with_targets(n), generator=seeded(34))
    partner = plan.source[:, 1].tolist()
    pairs = [(i, j) for i, j in enumerate(partner) if j >= 0]
    assert len(pairs) >= 4
    for i, j in pairs:
        assert partner[j] == i
        assert fingerprint(plan, i) == fingerprint(plan, j)


@pytest.mark.parametrize("name", ALL)
def test_a_given_generator_leaves_the_global_random_state_alone(name: str):
    before = torch.get_rng_state()
    mix = ALL[name](p=0.7)
    images = torch.zeros(4, 1, *SIZE)
    first = mix.make_plan(images, with_targets(4), generator=torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    more = [mix.make_plan(images, with_targets(4)) for _ in range(6)]
    assert len({b"".join(fingerprint(p, b) for b in range(4)) for p in (first, *more)}) > 1, "calls don't differ"
