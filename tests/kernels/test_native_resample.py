"""Scaled layers by the compiled library, against the layers one by one and against weights written plainly."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from kernels.plans import random_plan
from kernels.test_native import coded, layouts
from kernels.test_resample import weights

from cutmix_dense import MixPlan, native
from cutmix_dense.arrays.dtypes import as_signed
from cutmix_dense.functional import mix_pixels
from cutmix_dense.kernels import mix_batch, native_pixels
from cutmix_dense.kernels.gather import mix_gather
from cutmix_dense.kernels.layered import mix_layered
from cutmix_dense.kernels.native_pixels import mix_native, suits_native

pytestmark = pytest.mark.skipif(native.library is None, reason="the library wasn't built")

FILTERED = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.float32, torch.float64]
FILTERED += [getattr(torch, name) for name in ("uint16", "uint32") if hasattr(torch, name)]
SIZE = (13, 22)
FLOAT = 2e-6
"""How far float32 may be: positions of 20 pixels are known to 2e-6 of one, and torch may round them once less."""


def per_pixel(plan: MixPlan, seed: int) -> MixPlan:
    """The same layers under a free-form mask."""
    generator = torch.Generator().manual_seed(seed)
    owner = torch.randint(-1, plan.layers, (len(plan), *plan.frame), generator=generator).to(torch.int8)
    if seed % 2:  # long runs
        owner = owner[:, ::5, ::7].repeat_interleave(5, dim=1).repeat_interleave(7, dim=2)[:, : plan.frame[0]]
        owner = owner[:, :, : plan.frame[1]].contiguous()
    edges = [
        torch.arange(n + 1).expand(len(plan), -1).minimum(plan.canvas[:, a, None]) for a, n in enumerate(plan.frame)
    ]
    return replace(plan, edges=tuple(edges), owner=owner, free_form=True)


def noise(dtype: torch.dtype, *shape: int, seed: int = 0) -> torch.Tensor:
    """Numbers as large as the dtype has them, whole of whole ones."""
    rng = np.random.default_rng(seed)
    if dtype.is_floating_point:
        return torch.from_numpy(rng.random(shape)).to(dtype)
    bounds = torch.iinfo(dtype)
    numbers = rng.integers(bounds.min, bounds.max + 1, shape, dtype=np.int64)
    return torch.from_numpy(numbers.astype(str(dtype).removeprefix("torch.")))


def differ(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(np.abs(found.numpy().astype(np.float64) - expected.numpy().astype(np.float64)).max())


def one_by_one(pool, plan: MixPlan, fill: torch.Tensor, interpolation) -> torch.Tensor:
    return torch.stack(mix_layered(pool, plan, fill, interpolation, framed=True))


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "antialias"])
@pytest.mark.parametrize("dtype", FILTERED, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_filtered_layers_are_what_they_are_one_by_one(seed, dtype, interpolation, free):
    """Shrunk, enlarged, mirrored, at whole and at other pixels, cut at the source; in any layout."""
    plan = random_plan(seed, pool=3, outputs=4)
    plan = per_pixel(plan, seed) if free else plan
    pool, fill = noise(dtype, 3, 3, *SIZE, seed=seed), torch.tensor([1, 2, 3]).to(dtype).reshape(3, 1, 1)
    expected = one_by_one(pool, plan, fill, interpolation)
    step = FLOAT if dtype.is_floating_point else 1
    owner, moved = plan.owner_map(), (plan.scale == 1).all(dim=2) & (plan.shift == plan.shift.round()).all(dim=2)
    still = (owner < 0) | moved.gather(1, owner.clamp(min=0).flatten(1).long()).reshape(owner.shape)
    for name, given in layouts(pool, 2).items():
        assert suits_native(given, plan, fill, None, interpolation)
        for other, out in layouts(torch.zeros_like(expected), 2).items():
            found = mix_batch(given, plan, fill=fill, interpolation=interpolation, out=out)
            assert found is out
            assert differ(found, expected) <= step, (name, other)
            assert torch.equal(as_signed(found)[still[:, None].expand_as(found)],
                               as_signed(expected)[still[:, None].expand_as(found)]), (name, other)  # fmt: skip


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "antialias"])
def test_of_a_layer_only_what_shows_is_read(interpolation):
    """A sanitizer shows whether anything beside the window is read, in rows of many runs too."""
    plan = random_plan(0, pool=3, outputs=1)
    owner = torch.zeros(1, *plan.frame, dtype=torch.int8)
    owner[:, 3:7, 9:19:2] = 1
    whole = torch.tensor([[[0, 0, *SIZE]] * 3])
    plan = replace(
        per_pixel(plan, 0), owner=owner, extent=whole, shift=torch.zeros(1, 3, 2), scale=torch.full((1, 3, 2), 1.2)
    )
    pool, fill = noise(torch.uint8, 3, 1, *SIZE), torch.tensor(0, dtype=torch.uint8)
    found = mix_batch(pool, plan, fill=fill, interpolation=interpolation)
    assert differ(found, one_by_one(pool, plan, fill, interpolation)) <= (interpolation != "nearest")


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.int32, torch.int64, torch.complex128])
@pytest.mark.parametrize("seed", range(6))
def test_nearest_pixels_are_what_the_index_says(seed, dtype, free):
    plan = random_plan(seed, pool=3, outputs=4)
    plan = per_pixel(plan, seed) if free else plan
    for channels in (1, 3, 4):
        pool, fill = coded((3, channels, *SIZE), dtype), coded((8,), dtype)[7]
        expected = mix_gather(pool, plan, fill)
        for name, given in layouts(pool, 2).items():
            assert suits_native(given, plan, fill, None)
            found = mix_batch(given, plan, fill=fill, interpolation="nearest")
            assert torch.equal(found, expected), (name, channels)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "antialias"])
@pytest.mark.parametrize("seed", range(6))
def test_lists_and_padded_batches_give_the_same(seed, interpolation, behind):
    """Images as large as their extents, one of which lies in another way than the others; nothing else is read."""
    plan = random_plan(seed, pool=3)
    plan = replace(plan, extent=plan.extent.clone().index_fill_(2, torch.tensor([0, 1]), 0))
    reach = torch.ones(3, 2).long()
    for image, end in zip(plan.source.flatten(), plan.extent.flatten(0, 1)[:, 2:]):
        reach[image] = torch.maximum(reach[image], end)
    pool, fill = noise(torch.float32, 3, 3, *SIZE, seed=seed), torch.tensor(0.5)
    expected = one_by_one(pool, plan, fill, interpolation)
    images = [image[:, :h, :w].clone() for image, (h, w) in zip(pool, reach.tolist())]
    for image, (h, w) in zip(pool, reach.tolist()):
        image[:, h:], image[:, :, w:] = torch.nan, torch.inf
    if behind:
        images[seed % 3] = images[seed % 3].permute(1, 2, 0).contiguous().permute(2, 0, 1)
    found = mix_pixels(images, plan, fill=0.5, interpolation=interpolation)
    for mixed, whole, (h, w) in zip(found, expected, plan.canvas.tolist()):
        assert differ(mixed[:, :h, :w], whole[:, :h, :w]) <= FLOAT
    assert differ(mix_pixels(pool, plan, fill=0.5, interpolation=interpolation), expected) <= FLOAT


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "antialias"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("seed", range(6))
def test_volumes_are_what_they_are_one_by_one(seed, dtype, interpolation):
    rng = np.random.default_rng(seed)
    frame, size = (4, 6, 11), (5, 7, 9)
    scale = rng.uniform(0.4, 2, (2, 2, 3)) * rng.choice([1, -1], (2, 2, 3))
    shift = np.where(scale < 0, frame, 0) + rng.integers(-2, 3, (2, 2, 3)) * rng.choice([1, 0.7], (2, 2, 3))
    canvas = torch.tensor([frame, (3, 6, 9)])
    plan = MixPlan(
        source=torch.tensor([[0, 1], [1, 2]]),
        scale=torch.from_numpy(scale).float(),
        shift=torch.from_numpy(shift).float(),
        extent=torch.tensor([0, 0, 0, *size]).expand(2, 2, 6),
        canvas=canvas,
        edges=tuple(torch.stack([0 * end, end // (2 + seed % 2), end], dim=1) for end in canvas.T),
        owner=torch.from_numpy(rng.integers(-1, 2, (2, 2, 2, 2))).to(torch.int8),
        frame=frame,
    )
    pool, fill = noise(dtype, 3, 2, *size, seed=seed), torch.tensor(1).to(dtype)
    expected = one_by_one(pool, plan, fill, interpolation)
    for given in layouts(pool, 3).values():
        assert suits_native(given, plan, fill, None, interpolation)
        found = mix_batch(given, plan, fill=fill, interpolation=interpolation)
        assert differ(found, expected) <= (FLOAT if dtype.is_floating_point or interpolation == "nearest" else 1)


@pytest.mark.parametrize("lead", [(), (2, 1), (3, 1, 2), (1, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_clips_and_single_channels_are_what_they_are_one_by_one(seed, lead):
    plan, pool = random_plan(seed, pool=3), noise(torch.float32, 3, *lead, *SIZE, seed=seed)
    expected = one_by_one(pool, plan, torch.tensor(7.0), "antialias")
    turned = pool.movedim(1, -1).contiguous().movedim(-1, 1)
    for given in (pool, turned, pool[:1].expand(pool.shape)):
        if given.stride(0) == 0:
            expected = one_by_one(given, plan, torch.tensor(7.0), "antialias")
        found = mix_pixels(given, plan, fill=7, interpolation="antialias")
        assert differ(found, expected) <= FLOAT


def placed(scale: tuple[float, float], size: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)) -> MixPlan:
    """One image, scaled, on a canvas that it covers."""
    frame = tuple(max(1, math.ceil(abs(s) * n - 0.5)) for s, n in zip(scale, size))
    shift = tuple(float(n) if s < 0 else t for n, s, t in zip(frame, scale, shift))
    return MixPlan(
        source=torch.tensor([[0]]), scale=torch.tensor([[scale]]), shift=torch.tensor([[shift]]),
        extent=torch.tensor([[[0, 0, *size]]]), canvas=torch.tensor([frame]),
        edges=tuple(torch.tensor([[0, n]]) for n in frame), owner=torch.zeros(1, 1, 1, dtype=torch.int8), frame=frame,
    )  # fmt: skip


SCALES = [(0.02, 0.031), (0.013, 1.7), (0.5, 0.5), (0.77, 1.3), (6.9, 3.2), (-0.4, 1.0), (1.0, -2.5)]


@pytest.mark.parametrize("interpolation", ["bilinear", "antialias"])
@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float64], ids=str)
def test_whole_numbers_are_the_nearest_ones_of_the_exact_sums(dtype, scale, interpolation):
    for size in ((130, 97), (1, 64), (33, 1)):
        if min(abs(s) * n for s, n in zip(scale, size)) <= 0.5:
            continue  # no pixel shows any of it
        plan, pool = placed(scale, size), noise(dtype, 1, 3, *size)
        (scale_, shift), window = (part[0, 0].tolist() for part in (plan.scale, plan.shift)), plan.frame
        args = zip((0, 0), window, size, scale_, shift)
        down, across = (weights(*each, interpolation == "antialias") for each in args)
        exact = down @ pool[0].numpy().astype(np.float64) @ across.T
        found = mix_pixels(pool, plan, fill=0, interpolation=interpolation)[0].numpy().astype(np.float64)
        assert np.abs(found - exact).max() <= (1e-6 if dtype.is_floating_point else 0.502)


@pytest.mark.parametrize("value", [0, 1, 114, 255])
@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_one_colour_stays_as_it_is(scale, value):
    pool = torch.full((1, 3, 70, 90), value, dtype=torch.uint8)
    for interpolation in ("bilinear", "antialias"):
        assert (mix_pixels(pool, placed(scale, (70, 90)), fill=7, interpolation=interpolation) == value).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_what_the_library_does_not_filter_goes_layer_by_layer(dtype):
    plan, pool = random_plan(1, pool=3), coded((3, 3, *SIZE), dtype)
    fill = torch.tensor(1).to(dtype)
    assert not suits_native(pool, plan, fill, None, "antialias")
    found = mix_batch(pool, plan, fill=fill, interpolation="antialias")
    assert torch.equal(found, one_by_one(pool, plan, fill, "antialias"))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "antialias"])
@pytest.mark.parametrize("seed", range(30))
def test_a_plan_of_nonsense_reads_and_writes_nothing_outside(seed, interpolation, monkeypatch):
    """Plans and windows with values that no check lets through; a sanitizer shows whether anything outside is read."""
    rng = np.random.default_rng(seed)
    plan = random_plan(seed, pool=3, outputs=4)
    plan = per_pixel(plan, seed) if seed % 2 else plan
    whole, real = (
        [-(2**31), -7, -2, 0, 1, 3, 5, 99, 2**31],
        [0, 1e-30, -1e-30, 1e30, np.nan, np.inf, -np.inf, -1, 2**31, 0.5],
    )
    ranges = tuple(part.clone() for part in plan.pixel_ranges())
    fields = (plan.source, plan.scale, plan.shift, plan.extent, plan.canvas, *plan.edges, plan.owner, *ranges)
    for field in fields:
        values = field.numpy() if field.is_contiguous() else field.contiguous().numpy()
        at = rng.random(values.shape) < 0.2
        wrong = real if field.is_floating_point() else [-128, -2, 0, 3, 50, 127] if field is plan.owner else whole
        values[at] = rng.choice(wrong, at.sum())
    monkeypatch.setattr(native_pixels, "pixel_ranges", lambda _: ranges)
    out = torch.full((4 + 2, 3, *plan.frame), 77, dtype=torch.uint8)
    images = [torch.zeros(3, *(max(1, n - seed % 3) for n in SIZE), dtype=torch.uint8) for _ in range(3)]
    mix_native(images, plan, list(out[1:-1]), None, interpolation)
    assert (out[[0, -1]] == 77).all()
    assert ((out == 0) | (out == 77)).all(), "all images and fill are 0, so nothing else was read"


def test_threads_share_the_outputs():
    before = torch.get_num_threads()
    size = (300, 420)
    rng = np.random.default_rng(0)
    pool = noise(torch.uint8, 9, 3, *size)
    plan = MixPlan.from_grid(
        torch.from_numpy(rng.integers(0, 9, (9, 4))),
        tuple(torch.tensor([[0, n // 3, n]] * 9) for n in size),
        torch.tensor([[[0, 1], [2, 3]]] * 9),
        torch.tensor([size] * 9),
        scale=torch.from_numpy(rng.uniform(1, 2, (9, 4, 1)).repeat(2, axis=2)).float(),
        shift=torch.zeros(9, 4, 2),
    )
    try:
        mixed = []
        for count in (1, 3):
            torch.set_num_threads(count)
            mixed.append(mix_pixels(pool, plan, interpolation="antialias", fill=0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*mixed)
    assert differ(mixed[0], one_by_one(pool, plan, torch.tensor(0, dtype=torch.uint8), "antialias")) <= 1


def test_without_memory_it_says_so(monkeypatch):
    monkeypatch.setattr(native_pixels, "_mix", lambda *_: 0)
    with pytest.raises(MemoryError):
        mix_pixels(noise(torch.uint8, 1, 3, 4, 5), placed((2.0, 2.0), (4, 5)), fill=0)
