"""Integer pictures of every width: moved to the bit, scaled and blended as plain float64 does it, never wrapped."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from oracle import coded_image, decode

import cutmix_dense as cd
from cutmix_dense.transforms import SampleBank

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
DTYPES = [getattr(torch, name) for name in INTEGERS if hasattr(torch, name)]  # wide unsigned ones came with torch 2.3
WIDE = [dtype for dtype in DTYPES if dtype.itemsize > 1]
LARGEST = 2**53  # integers beyond have no float64
SIZE = (22, 35)
SIZES = [(22, 35), (18, 30), (25, 20), (22, 35)]
MASKED = {"boxes": torch.tensor([[3.0, 2, 9, 7], [6, 5, 14, 9]]), "labels": torch.tensor([1, 2])}

SCALED: dict[str, Any] = {
    "Mosaic": lambda **more: cd.Mosaic(**more),
    "Mosaic 3×3": lambda **more: cd.Mosaic(grid=(3, 3), **more),
    "ResizeMix": lambda **more: cd.ResizeMix(p=1.0, **more),
    "CopyPaste, scaled": lambda **more: cd.CopyPaste(p=1.0, scale=(0.5, 1.6), flip=0.5, **more),
}
MOVED: dict[str, Any] = {
    "CutMix": lambda **more: cd.CutMix(p=1.0, **more),
    "several patches": lambda **more: cd.CutMix(p=1.0, region=cd.regions.MultiBox(n=3), **more),
    "RICAP": lambda **more: cd.RICAP(p=1.0, **more),
    "GridMix": lambda **more: cd.GridMix(p=1.0, **more),
    "checkerboard": lambda **more: cd.GridMix(p=1.0, pattern="checkerboard", **more),
    "StripeMix": lambda **more: cd.StripeMix(p=1.0, **more),
    "CopyPaste": lambda **more: cd.CopyPaste(p=1.0, **more),
    "ClassMix": lambda **more: cd.ClassMix(p=1.0, **more),
    "CarveMix": lambda **more: cd.CarveMix(classes=[1], p=1.0, **more),
    "CowMix": lambda **more: cd.CowMix(p=1.0, **more),
    "FMix": lambda **more: cd.FMix(p=1.0, **more),
    "SaliencyMix": lambda **more: cd.SaliencyMix(p=1.0, **more),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def targets_of(sizes: list[tuple[int, int]]) -> list[dict[str, torch.Tensor]]:
    targets = []
    for height, width in sizes:
        masks = torch.zeros(2, height, width, dtype=torch.bool)
        masks[0, 2:7, 3:9] = masks[1, 5:9, 6:14] = True
        semantic = torch.zeros(height, width, dtype=torch.long)
        semantic[3:15, 4:17], semantic[10:18, 10:19] = 1, 2
        targets.append({**MASKED, "masks": masks, "semantic": semantic})
    return targets


def range_of(dtype: torch.dtype) -> tuple[int, int]:
    """The whole range, as far as float64 holds every number of it."""
    bounds = torch.iinfo(dtype)
    return max(bounds.min, -LARGEST), min(bounds.max, LARGEST)


def noise(dtype: torch.dtype, sizes: list[tuple[int, int]], low: int, high: int, channels: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    images = []
    for size in sizes:
        values = rng.integers(low, high, (channels, *size), endpoint=True)
        values[:, :4] = rng.choice([low, high], (channels, 4, size[1]))  # whole strips of the least and the largest
        images.append(values.astype(str(dtype).removeprefix("torch.")))
    return images


# -------------------------------------------------------------------------------- a mix in plain numpy, from the plan


def owners(plan: cd.MixPlan, output: int) -> np.ndarray:
    """The layer of every pixel of the canvas, cell by cell; -1 is fill."""
    height, width = plan.canvas[output].tolist()
    owner = np.full((height, width), -1)
    rows, columns = (edge[output].tolist() for edge in plan.edges)
    for i, line in enumerate(plan.owner[output].tolist()):
        for j, layer in enumerate(line):
            owner[rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = layer
    return owner[:height, :width]


def taken(image: np.ndarray, plan: cd.MixPlan, output: int, layer: int, antialias: bool) -> tuple[np.ndarray, Any]:
    """A layer's values on the whole canvas in float64, and where it reaches."""
    values, inside = image.astype(np.float64), []
    for axis in (0, 1):
        scale, shift = plan.scale[output, layer, axis].item(), plan.shift[output, layer, axis].item()
        low, high = (plan.extent[output, layer, axis + end].item() for end in (0, 2))
        centre = (np.arange(plan.canvas[output, axis].item()) + 0.5 - shift) / scale
        inside.append((centre >= low) & (centre < high))
        reach = max(1.0, 1 / abs(scale)) if antialias else 1.0
        pixels = np.arange(image.shape[axis + 1])
        weight = np.maximum(0, 1 - np.abs(pixels + 0.5 - centre[:, None]) / reach) * ((pixels >= low) & (pixels < high))
        total = weight.sum(axis=1, keepdims=True)
        weight = weight / np.where(total > 0, total, 1)
        values = np.moveaxis(np.tensordot(weight, values, (1, axis + 1)), 0, axis + 1)
    return values, inside[0][:, None] & inside[1]


def blurred(field: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian cut at three sigma, the border repeated."""
    reach = math.ceil(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        lines = np.moveaxis(field, axis, -1)
        padded = np.pad(lines, ((0, 0), (reach, reach)), mode="edge")
        field = np.moveaxis(sum(k * padded[:, n : n + lines.shape[1]] for n, k in enumerate(kernel)), -1, axis)
    return field


def mixed_plainly(
    images: list[np.ndarray], plan: cd.MixPlan, output: int, fill: float, antialias: bool = True, feather: float = 0.0
) -> np.ndarray:
    """One output in float64, not yet rounded."""
    layers = [n for n, image in enumerate(plan.source[output].tolist()) if image >= 0]
    parts = {n: taken(images[plan.source[output, n]], plan, output, n, antialias) for n in layers}
    if plan.weight is not None:
        shares = {n: plan.weight[output, n].item() * parts[n][1] for n in layers}
    else:
        owner = owners(plan, output)
        shares = {n: ((owner == n) & parts[n][1]).astype(np.float64) for n in layers}
        if feather:
            owned = sum(shares.values()) > 0
            shares = {n: blurred(share, feather) * parts[n][1] * owned for n, share in shares.items()}
    total = sum(shares.values())
    values = sum(shares[n] * parts[n][0] for n in layers) / np.where(total > 0, total, 1)
    return np.where(total > 0, values, fill)


def assert_rounded(found: torch.Tensor, exact: np.ndarray, times: int = 1) -> None:
    """Rounded right; where the exact value lies at a half, to either side, and as exactly as float64 adds up."""
    error = np.abs(found.numpy().astype(np.float64) - exact)
    assert error.max() <= 0.5 * times + 0.001 + np.abs(exact).max() * 2.0**-46, error.max()


# ------------------------------------------------------------------------------------------------------ right values


@pytest.mark.parametrize("ends", ["1000 … 50000", "whole range"])
@pytest.mark.parametrize("interpolation", [None, "bilinear"])
@pytest.mark.parametrize("form", ["batch", "list", "out"])
@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("name", SCALED)
def test_scaled_as_float64_does_it(name, dtype, form, interpolation, ends):
    low, high = range_of(dtype) if ends == "whole range" else (1000, min(50000, torch.iinfo(dtype).max))
    sizes = SIZES if form == "list" else [SIZE] * 4
    images, fill = noise(dtype, sizes, low, high), 77
    mix = SCALED[name](interpolation=interpolation, fill=fill)
    tensors = [torch.from_numpy(image) for image in images]
    pool: Any = tensors if form == "list" else torch.stack(tensors)
    options = {"out": torch.empty_like(pool)} if form == "out" else {}
    plan = mix.make_plan(pool, targets_of(sizes), generator=seeded(4))
    found, _ = mix.apply_plan(plan, pool, targets_of(sizes), **options)
    assert not plan.unscaled
    for output, image in enumerate(found):
        assert image.dtype == dtype
        assert_rounded(image, mixed_plainly(images, plan, output, fill, interpolation != "bilinear"))


@pytest.mark.parametrize("form", ["batch", "list", "out"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blended_as_float64_does_it(dtype, form):
    sizes = SIZES if form == "list" else [SIZE] * 4
    images = noise(dtype, sizes, *range_of(dtype))
    pool: Any = [torch.from_numpy(image) for image in images]
    pool = pool if form == "list" else torch.stack(pool)
    options = {"out": torch.empty_like(pool)} if form == "out" else {}
    for mix in (cd.MixUp(p=1.0, lam=0.5), cd.MixUp(p=1.0)):
        plan = mix.make_plan(pool, generator=seeded(1))
        found, _ = mix.apply_plan(plan, pool, **options)
        for output, image in enumerate(found):
            assert image.dtype == dtype
            assert_rounded(image, mixed_plainly(images, plan, output, 0))


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 1.6)])
@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_feathered_as_float64_does_it(dtype, scale):
    images = noise(dtype, SIZES, *range_of(dtype))
    pool = [torch.from_numpy(image) for image in images]
    mix = cd.CopyPaste(p=1.0, feather=1.5, scale=scale)
    plan = mix.make_plan(pool, targets_of(SIZES), generator=seeded(2))
    found, _ = mix.apply_plan(plan, pool, targets_of(SIZES))
    for output, image in enumerate(found):
        exact = mixed_plainly(images, plan, output, 0, feather=1.5)
        assert len(np.unique(exact)) > 100
        assert_rounded(image, exact, times=1 if scale == (1.0, 1.0) else 2)  # once scaled, once blended


FILTERED = {
    **SCALED,
    "MixUp": lambda **more: cd.MixUp(p=1.0, **more),
    "feathered": lambda **more: cd.CopyPaste(p=1.0, feather=2.0, **more),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FILTERED)
def test_one_value_stays_one_value(name, dtype):
    low, high = range_of(dtype)
    for value in (max(low, -(2**50)), min(high, 2**50)):
        image = np.full((2, *SIZE), value, dtype=str(dtype).removeprefix("torch."))
        images = torch.from_numpy(np.stack([image] * 4))
        found, _ = FILTERED[name](fill=value)(images, targets_of([SIZE] * 4), generator=seeded(0))
        assert (found.numpy() == image).all()


@pytest.mark.parametrize("name", FILTERED)
def test_what_float64_cannot_hold_is_clamped_and_never_wraps(name):
    for dtype in (torch.int64, getattr(torch, "uint64", torch.int64)):
        bounds = torch.iinfo(dtype)
        images = torch.full((4, 1, *SIZE), bounds.max, dtype=dtype)
        found, _ = FILTERED[name](fill=0)(images, targets_of([SIZE] * 4), generator=seeded(0))
        values = found.numpy()
        assert (values[values > 0] >= bounds.max - 2**20).all()
        assert (values >= 0).all()


def test_positions_are_right_far_from_the_origin():
    """float32 would be off by several levels there."""
    ramp = (np.arange(3000) * 7919 % 65536).astype(np.uint16)
    images = [np.broadcast_to(ramp, (1, 6, 3000)).copy(), np.zeros((1, 6, 3000), dtype=np.uint16)]
    mix = cd.Mosaic(grid=(1, 2), scale=(1.29, 1.31), jitter=0.0)
    pool = [torch.from_numpy(image.astype(np.int32)) for image in images]
    plan = mix.make_plan(pool, generator=seeded(3))
    found, _ = mix.apply_plan(plan, pool)
    for output in range(2):
        assert_rounded(found[output], mixed_plainly(images, plan, output, 0))


# ---------------------------------------------------------------------------------------------------- moved, to the bit

HARD = [(name, form) for name in (*MOVED, *SCALED) for form in ("batch", "list", "out", "channels last")]
HARD += [(name, "in place") for name in MOVED]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize(("name", "form"), HARD)
def test_hard_mixes_show_coded_pixels_only(name, form, dtype):
    offset = 0 if dtype.is_floating_point or dtype.itemsize == 1 else torch.iinfo(dtype).max - 300
    sizes = SIZES if form == "list" else [SIZE] * 4
    pool: Any = []
    for number, size in enumerate(sizes):
        code = coded_image(number, *size).numpy().astype(np.int64).astype(np.uint64) + np.uint64(offset)
        kind = "float64" if dtype.is_floating_point else str(dtype).removeprefix("torch.")
        pool.append(torch.from_numpy(code.astype(kind)).to(dtype))
    if form != "list":
        pool = torch.stack(pool)
    if form == "channels last":
        pool = pool.contiguous(memory_format=torch.channels_last)
    before = copy.deepcopy(pool)
    options: dict[str, Any] = {"out": torch.empty_like(pool)} if form == "out" else {}
    options |= {"inplace": True} if form == "in place" else {}
    mix = {**MOVED, **SCALED}[name](fill=offset, interpolation="nearest")
    found, _ = mix(pool, targets_of(sizes), generator=seeded(5), **options)
    assert found is (options["out"] if form == "out" else pool if form == "in place" else found)
    seen: set[int] = set()
    for output, image in enumerate(found):
        assert image.dtype == dtype
        code = image.double() if dtype.is_floating_point else _less(image, offset)
        shown = decode(code, tuple(image.shape[-2:]), sizes)
        seen |= set(np.unique(shown.source).tolist()) - {output}
    assert seen - {-1}, "nothing was mixed"
    if form == "channels last":
        assert found.is_contiguous(memory_format=torch.channels_last)
    if form != "in place":
        assert all(torch.equal(one, other) for one, other in zip(pool, before))


def _less(image: torch.Tensor, offset: int) -> torch.Tensor:
    values = image.numpy()
    assert (values >= offset).all()
    return torch.from_numpy((values - np.array(offset, dtype=values.dtype)).astype(np.float64))


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("name", [name for name in (*MOVED, *FILTERED) if name != "SaliencyMix"])  # looks at them all
def test_channels_are_mixed_alike_however_many(name, dtype):
    images = torch.from_numpy(np.stack(noise(dtype, [SIZE] * 4, 0, 30000, channels=6)))
    mix = {**MOVED, **FILTERED}[name](fill=5)
    whole, parts = (mix(x, targets_of([SIZE] * 4), generator=seeded(6))[0] for x in (images, images[:, 4:5].clone()))
    assert whole.shape == images.shape
    assert torch.equal(whole[:, 4:5], parts)


@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_a_bank_of_integer_pictures(dtype):
    mix = cd.CutMix(p=1.0, pairing=SampleBank())
    sizes = [SIZE] * 6
    images = torch.stack([coded_image(number, *SIZE).to(dtype) for number in range(6)])
    seen: set[int] = set()
    for seed in range(4):
        mix(images[:3], generator=seeded(seed))
        found = mix(images[3:], generator=seeded(seed))
        assert found.dtype == dtype
        for output, image in enumerate(found):
            shown = set(np.unique(decode(image.double(), SIZE, sizes).source).tolist())
            assert output + 3 in shown
            seen |= shown
    assert seen & {0, 1, 2}, "nothing came from the bank"


def test_saliency_looks_at_sixteen_bits():
    """Values beyond what a signed 16-bit number holds count as what they are."""
    values = np.random.default_rng(0).integers(1000, 60000, (3, 2, 8, 12)).repeat(8, axis=2).repeat(8, axis=3)
    images = torch.from_numpy(values.astype(np.int32))
    expected = cd.SaliencyMix(p=1.0).make_plan(images.double(), generator=seeded(0))
    plan = cd.SaliencyMix(p=1.0).make_plan(images.to(getattr(torch, "uint16", torch.int32)), generator=seeded(0))
    assert torch.equal(plan.owner_map(), expected.owner_map())


# ---------------------------------------------------------------------------------------------------------- the setting


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])
def test_nearest_gives_no_value_that_was_not_there(dtype):
    images = (torch.arange(4 * 22 * 35).reshape(4, 1, 22, 35) % 2 * 200).to(dtype)
    for name, make in SCALED.items():
        targets = targets_of([SIZE] * 4)
        nearest = make(interpolation="nearest", fill=0)(images, targets, generator=seeded(1))[0]
        assert set(nearest.unique().tolist()) <= {0, 200}, name
        filtered = make(fill=0)(images, targets, generator=seeded(1))[0]
        assert len(filtered.unique()) > 2, name
        assert torch.equal(make(interpolation="antialias", fill=0)(images, targets, generator=seeded(1))[0], filtered)


def test_a_blend_of_what_is_read_nearest():
    """``interpolation`` says how layers are read; images stay pictures, so MixUp blends them all the same."""
    images = torch.stack([torch.full((1, *SIZE), value, dtype=torch.int32) for value in (10, 21)])
    found = cd.MixUp(p=1.0, lam=0.5, interpolation="nearest")(images)
    assert set(found.unique().tolist()) == {16}  # 15.5, to even


def test_maps_of_ids_stay_ids():
    """Whatever images are read by, maps hold no id that didn't go in, and other integer tensors aren't blended."""
    images = torch.from_numpy(np.stack(noise(torch.int32, [SIZE] * 4, 0, 50000)))
    maps = torch.tensor([0, 7, 90, 200])[torch.randint(0, 4, (4, *SIZE), generator=seeded(0))].to(torch.int16)
    for interpolation in (None, "antialias", "bilinear"):
        mix = cd.Mosaic(interpolation=interpolation, ignore_index=255)
        _, found = mix(images, maps, generator=seeded(2))
        assert set(found.unique().tolist()) <= {0, 7, 90, 200, 255}
        with pytest.raises(TypeError, match="ids can't be averaged"):
            cd.MixUp(p=1.0, interpolation=interpolation)(images, {"ids": maps[:, None].expand(-1, 2, -1, -1)})


@pytest.mark.parametrize("name", ["Mosaic", "ResizeMix"])
def test_bools_are_no_pictures(name):
    images = torch.rand(4, 1, *SIZE, generator=seeded(0)) < 0.5
    with pytest.raises(TypeError, match="nearest"):
        SCALED[name]()(images)
    assert SCALED[name](interpolation="nearest")(images).dtype == torch.bool
    with pytest.raises(TypeError, match="bool"):
        cd.MixUp(p=1.0)(images)


def test_the_setting_is_kept_and_shown():
    mix = cd.ResizeMix(p=1.0, interpolation="nearest")
    assert "interpolation='nearest'" in repr(mix)
    assert "interpolation" not in repr(cd.ResizeMix())
    images = torch.rand(4, 1, *SIZE)
    twin = pickle.loads(pickle.dumps(mix))
    assert torch.equal(twin(images, generator=seeded(0)), mix(images, generator=seeded(0)))
    with pytest.raises(ValueError, match="interpolation must be one of"):
        cd.CutMix(interpolation="cubic")  # type: ignore[arg-type]


GREY = {"uint8": 114, "uint16": 29298, "uint32": 1920103026, "int8": 0, "int16": 0, "int32": 0, "int64": 0}
"""Worked out by hand: 114 · 257 = 29298, 114 · 16843009 = 1920103026."""


@pytest.mark.parametrize("name", [*(name for name in GREY if hasattr(torch, name)), "float16", "float32", "float64"])
def test_the_fill_of_a_mosaic_follows_the_dtype(name):
    dtype = getattr(torch, name)
    images = torch.ones(4, 2, *SIZE).to(dtype)
    maps = torch.zeros(4, *SIZE, dtype=torch.long)
    for mix, fill in ((cd.Mosaic(scale=(0.3, 0.4)), GREY.get(name, 0)), (cd.Mosaic(scale=(0.3, 0.4), fill=7), 7)):
        found, semantic = mix(images, maps, generator=seeded(1))
        nobody = (semantic == 255)[:, None].expand(-1, 2, -1, -1).numpy()
        values = found.numpy()
        assert nobody.any()
        near = 1e-2 if name == "float16" else 1e-5 if dtype.is_floating_point else 0
        assert np.abs(values[nobody].astype(np.float64) - fill).max() == 0
        assert np.abs(values[~nobody].astype(np.float64) - 1).max() <= near


def test_the_fill_of_other_methods_is_black_unless_they_are_asked_for_grey():
    images = torch.ones(4, 1, *SIZE, dtype=torch.uint8)
    plan = cd.Mosaic(scale=(0.3, 0.4)).make_plan(images, generator=seeded(1))
    for settings, fill in (({}, 0), ({"fill": None}, 114), ({"fill": 9}, 9)):
        mix = cd.CutMix(**settings)
        assert set(mix.mix_images(images, plan).unique().tolist()) == {1, fill}


@pytest.mark.slow
def test_compiled_by_inductor():
    pytest.importorskip("triton")
    dtype = getattr(torch, "uint16", torch.int16)
    images = torch.from_numpy(np.stack(noise(dtype, [SIZE] * 4, 1000, 30000)))
    mix = cd.ResizeMix(p=1.0)
    plan = mix.make_plan(images, generator=seeded(3))
    torch._dynamo.reset()
    assert torch.equal(torch.compile(lambda x: mix.mix_images(x, plan))(images), mix.mix_images(images, plan))
