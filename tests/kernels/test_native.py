"""The compiled host backend and what stands in for it, against the definition: mixes by index."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import MixPlan, kernels, native
from cutmix_dense.arrays.dtypes import as_signed
from cutmix_dense.arrays.host import as_tensor
from cutmix_dense.arrays.shrunk import shrunk_grey
from cutmix_dense.arrays.spread import lying_between, mean_and_spread
from cutmix_dense.functional import mix_pixels
from cutmix_dense.kernels import mix_batch
from cutmix_dense.kernels.gather import mix_gather
from cutmix_dense.kernels.native_pixels import mix_native, suits_native
from cutmix_dense.kernels.soft import mix_soft
from cutmix_dense.native import build, threads

SIZES = [(13, 22), (9, 25), (15, 12)]
DTYPES = [torch.uint8, torch.bool, torch.int16, torch.bfloat16, torch.float32, torch.int64, torch.complex128]
DTYPES += [getattr(torch, name) for name in ("uint16", "uint64") if hasattr(torch, name)]


@pytest.fixture(autouse=True, params=["native", "reference"])
def backend(request, monkeypatch):
    """Every test runs by the library, where it was built, and without it."""
    if request.param == "reference":
        monkeypatch.setattr(native, "library", None)
    elif native.library is None:
        pytest.skip(cd.backends().reason)
    return request.param


needs_library = pytest.mark.skipif(native.library is None, reason="the library wasn't built")


def unscaled_plan(seed: int, sizes: torch.Tensor) -> MixPlan:
    """One output of three layers moved by whole pixels, partly outside, with cells of fill and of no length."""
    generator = torch.Generator().manual_seed(seed)
    base = seed % 3
    source = torch.tensor([[base, (base + 1) % 3, (base + 2) % 3]])
    canvas = sizes[source[:, 0]]
    inner = (torch.rand(2, 1, 2, generator=generator).sort(dim=2).values * canvas[0][:, None, None]).round().long()
    edges = tuple(torch.cat([torch.zeros(1, 1).long(), inner[a], canvas[:, a, None]], dim=1) for a in range(2))
    shift = torch.randint(-6, 7, (1, 3, 2), generator=generator).float()
    shift[:, 0] *= seed % 2  # of every other plan the base lies where it did
    owner = torch.randint(-1, 3, (1, 3, 3), generator=generator)
    return MixPlan.from_grid(source, edges, owner, sizes, scale=torch.ones(1, 3, 2), shift=shift)


@pytest.mark.parametrize("seed", range(60))
def test_one_output_is_what_the_index_says_of_images_of_any_sizes(seed):
    torch.manual_seed(seed)
    images = [torch.randint(1, 255, (3, *size), dtype=torch.uint8) for size in SIZES]
    plan = unscaled_plan(seed, torch.tensor(SIZES))
    frame = torch.zeros(3, 3, 15, 25, dtype=torch.uint8)
    for image, held in zip(images, frame):
        held[:, : image.shape[1], : image.shape[2]] = image
    height, width = plan.canvas[0].tolist()
    expected = mix_gather(frame, plan, torch.tensor(0, dtype=torch.uint8))[0, :, :height, :width]
    behind = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in images]
    for given in (images, behind, [image.float().requires_grad_() for image in images]):
        (found,) = mix_pixels(given, plan, fill=0)
        assert torch.equal(found.detach().byte(), expected)


def test_what_a_plan_keeps_of_its_blocks_does_not_outlive_it():
    sizes = torch.tensor(SIZES[:1] * 2)
    images = [torch.zeros(1, 13, 22), torch.ones(1, 13, 22)]
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.tensor([[[2, 3, 7, 9]]]), sizes)
    for _ in range(2):
        (found,) = mix_pixels(images, plan)
        assert found.sum() == 5 * 6
    (turned,) = mix_pixels(images, replace(plan, source=plan.source.flip(1)))
    assert turned.sum() == 13 * 22 - 5 * 6
    with pytest.raises(ValueError, match=r"pool image 1 is \[13, 21\], smaller than the \[13, 22\] pixels"):
        mix_pixels([images[0], images[1][..., 1:]], plan)
    with pytest.raises(ValueError, match="pool must hold 2 images for this plan, got 1"):
        mix_pixels(images[:1], plan)
    scaled = replace(plan, scale=plan.scale * 2, unscaled=None)
    assert mix_pixels(images, scaled, interpolation="nearest")[0].sum() == 5 * 6
    extent = torch.tensor([[[0, 0, 13, 22], [0, 0, 2, 2]]])
    assert mix_pixels(images, replace(scaled, extent=extent), interpolation="nearest", fill=0)[0].sum() == 2


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_one_rectangle_per_output_is_what_the_index_says(seed, inplace):
    """Partners in a ring, exchanged, taken by two, missing, or the image itself; other bases; rectangles of nothing."""
    generator = torch.Generator().manual_seed(seed)
    partner = [[1, 2, 3, 0], [1, 0, 3, 2], [2, 2, 0, 1], [-1, 3, -1, 1], [0, 1, 3, 2]][seed % 5]
    base = [1, 0, 2, 3] if seed % 3 == 2 else [0, 1, 2, 3]
    ends = torch.randint(-2, 14, (4, 1, 2, 2), generator=generator).sort(dim=2).values
    if seed % 2:
        ends[1], ends[3] = ends[0], ends[2]  # what an exchange needs
    sizes = torch.tensor([(11, 12)] * 4)
    plan = MixPlan.from_rectangles(torch.tensor([base, partner]).T, ends.flatten(2), sizes)
    pool = torch.randint(1, 255, (4, 3, 11, 12), dtype=torch.uint8, generator=generator)
    expected = mix_gather(pool, plan, None)
    given = pool.clone()
    mixed = mix_pixels(given, plan, inplace=inplace)
    assert torch.equal(mixed, expected)
    assert torch.equal(given, expected if inplace else pool)


@pytest.mark.parametrize("seed", range(10))
def test_bases_are_copied_before_what_lies_on_them(seed):
    """Partners of a padded batch don't always fill their rectangles; rims come after all other steps."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(5, 13, (5, 2), generator=generator)
    sizes[:, seed % 2] = 12
    ends = torch.randint(-2, 14, (5, 1 + seed % 3, 2, 2), generator=generator).sort(dim=2).values
    source = torch.stack([torch.arange(5), torch.randint(-1, 5, (5,), generator=generator)], dim=1)
    plan = MixPlan.from_rectangles(source, ends.flatten(2), sizes, frame=(12, 12))
    pool = torch.randint(1, 255, (5, 3, 12, 12), dtype=torch.uint8, generator=generator)
    fill = torch.tensor(0, dtype=torch.uint8)
    out = torch.full_like(pool, 255)
    assert mix_pixels(pool, plan, fill=0, out=out) is out
    assert torch.equal(out, mix_gather(pool, plan, fill))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_in_place_a_padded_output_takes_its_bases_padding(dtype):
    """As out of place, where the base is another image than the one that is written over."""
    sizes = torch.tensor([(4, 5), (3, 7), (4, 7)])
    pool = torch.arange(3 * 2 * 4 * 7).reshape(3, 2, 4, 7).to(dtype)
    rectangle = torch.tensor([[[1, 2, 3, 4]]] * 3)
    plan = MixPlan.from_rectangles(torch.tensor([[1, 0], [0, 1], [2, 1]]), rectangle, sizes, frame=(4, 7))
    expected = mix_gather(pool, plan, torch.tensor(0, dtype=dtype))
    assert torch.equal(mix_pixels(pool, plan, fill=0), expected)
    given = pool.clone()
    assert mix_pixels(given, plan, fill=0, inplace=True) is given
    assert torch.equal(given, expected)


# ------------------------------------------------------------------------------------------------- plans of every kind


def any_plan(seed: int, ndim: int, free: bool, pool: int = 4, still: bool = False) -> MixPlan:
    """Layers moved and cut at random, absent ones, fill, rims, empty cells, canvases smaller than the frame."""
    rng = np.random.default_rng(seed)
    frame = (3, 7, 19)[3 - ndim :] if seed % 2 else (4, 5, 33)[3 - ndim :]
    layers, outputs = 2 + seed % 3, pool
    size = np.array(frame)
    canvas = size - rng.integers(0, 3, (outputs, ndim)) * (rng.random((outputs, 1)) < 0.5)
    source = rng.integers(-1, pool, (outputs, layers))
    source[:, 0] = np.arange(outputs) if still or seed % 4 else np.maximum(source[:, 0], 0)
    shift = rng.integers(-4, 5, (outputs, layers, ndim)) * (rng.random((outputs, layers, 1)) < 0.4)
    low = rng.integers(0, 3, (outputs, layers, ndim)) * (rng.random((outputs, layers, 1)) < 0.4)
    high = size - rng.integers(0, 3, (outputs, layers, ndim)) * (rng.random((outputs, layers, 1)) < 0.4)
    high[:, 0] = np.where(rng.random((outputs, 1)) < 0.7, canvas, high[:, 0])
    low, high = np.minimum(low, high), np.maximum(low, high)
    if free:
        edges = [np.minimum(np.arange(n + 1), canvas[:, axis, None]) for axis, n in enumerate(frame)]
        noise = rng.random((outputs, *frame)) < (0.5 if seed % 3 else 0.03)
        owner = np.where(noise, rng.integers(-1, layers, (outputs, *frame)), seed % 2)
        if seed % 4 < 2:  # rows that repeat are one band
            owner = owner[..., np.arange(frame[-2]) // 3, :]
    else:
        cuts = [np.sort(rng.integers(0, canvas[:, axis, None] + 1, (outputs, 3))) for axis in range(ndim)]
        ends = [np.zeros((outputs, 1), dtype=int), *(canvas[:, axis, None] for axis in range(ndim))]
        edges = [np.concatenate([ends[0], cut, end], axis=1) for cut, end in zip(cuts, ends[1:])]
        owner = rng.integers(-1, layers, (outputs, *(4,) * ndim))
    present = np.take_along_axis(source >= 0, np.maximum(owner.reshape(outputs, -1), 0), axis=1).reshape(owner.shape)
    owner = np.where(present | (owner < 0), owner, -1)
    return MixPlan(
        source=torch.from_numpy(source),
        scale=torch.ones(outputs, layers, ndim),
        shift=torch.from_numpy(shift).float(),
        extent=torch.from_numpy(np.concatenate([low, high], axis=2)),
        canvas=torch.from_numpy(canvas),
        edges=tuple(map(torch.from_numpy, edges)),
        owner=torch.from_numpy(owner).to(torch.int16 if seed % 5 == 4 else torch.int8),
        frame=frame,
        free_form=free,
    )


def coded(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Pixels that differ, as far as the dtype can tell them apart."""
    numbers = torch.arange(int(np.prod(shape))).reshape(shape)
    if dtype == torch.bool:
        return numbers * 7919 % 13 < 6
    return (numbers % 251 if dtype.itemsize == 1 else numbers % 30011 if dtype.itemsize == 2 else numbers).to(dtype)


def layouts(images: torch.Tensor, ndim: int) -> dict[str, torch.Tensor]:
    """The same images lying in memory in several ways."""
    space = tuple(range(2, 2 + ndim))
    behind = images.permute(0, *space, 1).contiguous().permute(0, ndim + 1, *range(1, ndim + 1))
    apart = images.new_zeros((*images.shape, 2))
    apart[..., 1] = images
    wider = images.new_zeros((*images.shape[:-1], images.shape[-1] + 5))
    wider[..., 2:-3] = images
    return {"contiguous": images, "behind": behind, "apart": apart[..., 1], "part of wider": wider[..., 2:-3]}


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("seed", range(12))
def test_any_plan_of_any_dtype_and_layout_is_what_the_index_says(seed, ndim, free, backend):
    plan = any_plan(seed, ndim, free)
    dtype = DTYPES[seed % len(DTYPES)]
    pool = coded((4, 3, *plan.frame), dtype)
    fill = coded((3,), dtype).reshape(3, *(1,) * ndim) if seed % 2 else coded((8,), dtype)[7]
    expected = mix_gather(as_signed(pool), plan, as_signed(fill))
    for name, given in layouts(pool, ndim).items():
        assert suits_native(given, plan, fill, None) == (backend == "native")
        mix = partial(mix_batch, given, plan, fill=fill, interpolation="nearest")
        assert torch.equal(as_signed(mix()), expected), name
        for other, out in layouts(torch.zeros_like(pool), ndim).items():
            assert mix(out=out).data_ptr() == out.data_ptr()
            assert torch.equal(as_signed(out), expected), (name, other)
        into = given.clone(memory_format=torch.preserve_format)
        mixed = mix_batch(into, plan, fill=fill, interpolation="nearest", inplace=True)
        assert mixed.data_ptr() == into.data_ptr()
        assert torch.equal(as_signed(into), expected), name


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_clips_and_single_channels_are_what_the_index_says(seed, free):
    plan = any_plan(seed, 2, free)
    for lead in ((), (1,), (2, 3), (4,)):
        pool = coded((4, *lead, *plan.frame), torch.int32)
        fill = torch.tensor(-5, dtype=torch.int32)
        expected = mix_gather(pool, plan, fill)
        assert torch.equal(mix_pixels(pool, plan, fill=-5), expected)
        assert torch.equal(mix_pixels(pool.clone(), plan, fill=-5, inplace=True), expected)
        if len(lead) == 2:  # which no single stride walks
            turned = pool.transpose(1, 2).contiguous().transpose(1, 2)
            assert torch.equal(mix_pixels(turned, plan, fill=-5), expected)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_lists_of_uneven_images_give_what_they_give_in_a_frame(seed, free):
    plan = any_plan(seed, 2, free)
    size = torch.tensor(plan.frame)
    reach = torch.zeros(4, 2).long()
    for image, end in zip(plan.source.flatten(), plan.extent.flatten(0, 1)[:, 2:]):
        if image >= 0:
            reach[image] = torch.maximum(reach[image], end)
    pool = coded((4, 3, *plan.frame), torch.uint8)
    images = [image[:, :h, :w] for image, (h, w) in zip(pool, torch.minimum(reach.clamp(min=1), size).tolist())]
    images[seed % 4] = images[seed % 4].permute(1, 2, 0).contiguous().permute(2, 0, 1)
    expected = mix_gather(pool, plan, torch.tensor(9, dtype=torch.uint8))
    for mixed, whole, (h, w) in zip(mix_pixels(images, plan, fill=9), expected, plan.canvas.tolist()):
        if mixed.shape == whole.shape or mixed.shape[1:] == (h, w):
            assert torch.equal(mixed[:, :h, :w], whole[:, :h, :w])


def exchange(seed: int, free: bool) -> MixPlan:
    """Images 0 and 3, 1 and 4 exchange pixels of the same places; 2 stays as it is."""
    rng = np.random.default_rng(seed)
    source = torch.tensor([[0, 3], [1, 4], [2, -1], [3, 0], [4, 1]])
    sizes = torch.tensor([(9, 34)] * 5)
    if free:
        half = rng.random((5, 9, 34)) < (0.5 if seed % 2 else 0.05)
        half[3:], half[2] = half[:2], False
        return MixPlan.from_map(source, torch.from_numpy(half.astype(np.int8)), sizes)
    ends = torch.from_numpy(rng.integers(-3, 36, (5, 3, 2, 2))).sort(dim=2).values
    ends[3:] = ends[:2]
    return MixPlan.from_rectangles(source, ends.flatten(2), sizes, mode="xor" if seed % 2 else "union")


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_images_that_exchange_pixels_are_swapped(seed, free, backend, monkeypatch):
    plan = exchange(seed, free)
    for pool in layouts(coded((5, 3, 9, 34), torch.float32), 2).values():
        expected = mix_gather(pool, plan, None)
        assert not torch.equal(expected, pool)
        given = pool.clone(memory_format=torch.preserve_format)
        with monkeypatch.context() as without:  # a buffer isn't needed
            without.setattr("cutmix_dense.kernels.native_pixels._buffer", None)
            mixed = mix_pixels(given, plan, inplace=True)
        assert mixed is given
        assert torch.equal(given, expected)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_blended_bytes_are_what_the_reference_makes_of_them(seed, layers, backend):
    """Also where nobody reaches, beyond canvases, and of layers that only some cells have."""
    rng = np.random.default_rng(seed)
    sizes = torch.from_numpy(rng.integers(5, 10, (4, 2)))
    sizes[:, 1] = torch.from_numpy(rng.integers(30, 67, 4))
    source = torch.from_numpy(rng.integers(-1, 4, (4, layers)))
    source[:, 0] = torch.arange(4)
    weight = torch.from_numpy(rng.random((4, layers)))
    plan = MixPlan.blend(source, weight, sizes, frame=(9, 66))
    if seed == 3:
        plan = replace(plan, source=source.clone().index_fill_(0, torch.tensor([1]), -1), check=False)
    pool = torch.from_numpy(rng.integers(0, 256, (4, 3, 9, 66), dtype=np.uint8))
    fill = torch.tensor([1, 2, 3], dtype=torch.uint8).reshape(3, 1, 1)
    expected = torch.stack(mix_soft(pool, plan, fill, "nearest", 0.0, framed=True))
    for name, given in layouts(pool, 2).items():
        assert suits_native(given, plan, fill, None) == (backend == "native" and name != "apart")
        assert torch.equal(mix_batch(given, plan, fill=fill, interpolation="nearest"), expected), name
        into = given.clone(memory_format=torch.preserve_format)
        mix_batch(into, plan, fill=fill, interpolation="nearest", inplace=True)
        assert torch.equal(into, expected), name
    images = [image[:, :h, :w] for image, (h, w) in zip(pool, sizes.tolist())]
    for mixed, whole, (h, w) in zip(mix_pixels(images, plan, fill=[1, 2, 3]), expected, plan.canvas.tolist()):
        assert torch.equal(mixed, whole[:, :h, :w])


def test_every_pair_of_bytes_is_blended_as_rounded_halves_to_even():
    pool = torch.stack([torch.arange(256).expand(256, 256), torch.arange(256)[:, None].expand(256, 256)]).byte()
    for share in (0.5, 0.25, 0.3, 2 / 3, 1e-6):
        weight = torch.tensor([[share, 1 - share]], dtype=torch.float64)
        plan = MixPlan.blend(torch.tensor([[0, 1]]), weight, torch.tensor([(256, 256)] * 2))
        one, other = (np.float32(float(part)) for part in weight[0])
        exact = pool[0].numpy().astype(np.float32) * one + pool[1].numpy().astype(np.float32) * other
        assert torch.equal(mix_pixels(pool[:, None], plan)[0, 0], torch.from_numpy(np.rint(exact).astype(np.uint8)))


def test_an_expanded_pool_is_one_image():
    plan = any_plan(3, 2, False)
    for pool in (
        coded((1, 3, *plan.frame), torch.uint8).expand(4, -1, -1, -1),
        coded((4, 2, 1, *plan.frame), torch.uint8).expand(-1, -1, 3, -1, -1),
        coded((4, 1, *plan.frame[:1], 1), torch.uint8).expand(-1, 3, -1, plan.frame[1]),
    ):
        expected = mix_gather(pool, plan, torch.tensor(1, dtype=torch.uint8))
        assert torch.equal(mix_pixels(pool, plan, fill=1), expected)


def test_what_needs_a_gradient_and_was_saved_for_one_is_known_to_autograd():
    plan = any_plan(1, 2, False)
    pool = torch.rand(4, 3, *plan.frame)
    leaf = pool.clone().requires_grad_()
    assert not suits_native(leaf, plan, None, None)
    mix_pixels(leaf, plan, fill=0.5).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, _times_shown(plan, pool))
    saved = torch.rand(4, 3, *plan.frame, requires_grad=True)
    product = saved * pool
    mix_pixels(pool, plan, fill=0.5, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def _times_shown(plan: MixPlan, pool: torch.Tensor) -> torch.Tensor:
    """How often each pixel of the pool shows."""
    codes = torch.arange(pool.numel()).reshape(pool.shape)
    shown = mix_gather(codes, plan, torch.tensor(-1))
    return torch.bincount(shown[shown >= 0].flatten(), minlength=pool.numel()).reshape(pool.shape).float()


# -------------------------------------------------------------------------------------------------------- wrong plans


@needs_library
@pytest.mark.parametrize("seed", range(40))
def test_a_plan_of_nonsense_writes_nothing_outside(seed, backend):
    """Plans with values that no check lets through; a sanitizer shows whether anything outside is read."""
    if backend != "native":
        return
    rng = np.random.default_rng(seed)
    plan = any_plan(seed, 2 + seed % 2, bool(seed & 2))
    wrong = [-(2**31), -7, -2, 0, 1, 3, 5, 99, 2**31]
    for field in (plan.source, plan.shift, plan.extent, plan.canvas, *plan.edges):
        values = field.numpy().reshape(-1)
        at = rng.random(values.size) < 0.3
        values[at] = rng.choice(wrong, at.sum())
    values = plan.owner.numpy().reshape(-1)
    at = rng.random(values.size) < 0.3
    values[at] = rng.choice([-128, -2, -1, 0, 3, 50, 127], at.sum())
    frame = tuple(plan.frame)
    around = torch.full((4 + 2, 3, *frame), 77, dtype=torch.uint8)
    pool, out = around.clone(), around.clone()
    images = [torch.zeros(3, *(max(1, n - seed % 3) for n in frame), dtype=torch.uint8) for _ in range(3)]
    mix_native(images, plan, list(out[1:-1]), None)
    inner = pool[1:-1]
    mix_native(inner, plan, inner, None)
    for batch in (pool, out):
        assert (batch[0] == 77).all()
        assert (batch[-1] == 77).all()


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("width", [64, 70, 640])
@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_larger_than_the_caches_are_what_the_index_says(width, channels, free):
    """They are written past them, in lines of 64 bytes; rows that begin a line and rows that don't."""
    size = (2**23 // (4 * channels * width) + 1, width)
    rng = np.random.default_rng(width + channels)
    source = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 1]])
    sizes = torch.tensor([size] * 4)
    if free:
        owner = rng.random((4, *size)) < np.linspace(0, 0.5, size[0])[:, None]
        owner[2:] = owner[2:, np.arange(size[0]) // 16]
        plan = MixPlan.from_map(source, torch.from_numpy(owner.astype(np.int8)), sizes)
    else:
        ends = np.sort(rng.integers(0, [[size]], (4, 2, 2, 2)), axis=2)
        plan = MixPlan.from_rectangles(source, torch.from_numpy(ends).flatten(2), sizes)
    pool = coded((4, channels, *size), torch.uint8)
    expected = mix_gather(pool, plan, None)
    assert expected.nbytes >= 2**23
    assert torch.equal(mix_pixels(pool, plan), expected)
    shifted = torch.zeros(expected.numel() + 1, dtype=torch.uint8)[1:].view(expected.shape)
    assert torch.equal(mix_pixels(pool, plan, out=shifted), expected)


# -------------------------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("seed", range(8))
def test_masks_of_classes_are_what_each_pixel_says(seed, dtype, monkeypatch):
    """Maps of any sizes in a frame, cut from wider ones, turned and expanded, in blocks and as noise."""
    rng = np.random.default_rng(seed)
    ndim, block = 2 + seed % 2, 1 + 9 * (seed // 4)
    frame = (3, 6, 37)[3 - ndim :]
    maps = []
    for index in range(4):
        ids = torch.from_numpy(rng.integers(0 if dtype == torch.uint8 else -2, 60, (*frame[:-1], 40))).to(dtype)
        ids = ids.repeat_interleave(block, dim=-1)[..., index : index + frame[-1]]
        maps.append(ids[..., : rng.integers(1, frame[-2] + 1), : rng.integers(1, frame[-1] + 1)] if index < 3 else ids)
    maps[2] = maps[2].mT.contiguous().mT
    maps[1] = maps[1][..., :1].expand(maps[1].shape)
    sampler = cd.masks.ClassMask("ceil", ignore_index=[7, -1, 300, 59][seed % 4], max_classes=[60, 400][seed % 2])
    draws = sampler.draw(4, torch.Generator().manual_seed(seed))
    masks = sampler.place_each(draws, maps, frame)
    with monkeypatch.context() as without:
        without.setattr(native, "library", None)
        assert torch.equal(sampler.place_each(draws, maps, frame), masks)
    for mask, ids in zip(masks, maps):
        inner = mask[tuple(slice(0, n) for n in ids.shape)]
        chosen = ids.long()[inner].unique()
        assert torch.equal(inner, torch.isin(ids.long(), chosen))
        assert mask.sum() == inner.sum()
        assert 0 < len(chosen) <= -(-len(ids.unique()) // 2)


@pytest.mark.parametrize("size", [(1, 1), (5, 37), (3, 4, 516), (2, 1, 3)])
def test_mean_and_spread_are_those_of_double_precision(size):
    wide = np.random.default_rng(0).normal(3, 2, (*size[:-1], 530)).astype(np.float32)
    for values in (wide[..., : size[-1]], wide[..., 7 : 7 + size[-1]].copy(), np.moveaxis(wide, -1, 0)[: size[-1]]):
        found = mean_and_spread(values)
        assert found == pytest.approx(
            (values.mean(dtype=np.float64), values.std(dtype=np.float64)), rel=1e-12, abs=1e-7
        )


# ------------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("size", [(64, 64), (97, 130), (40, 71), (640, 480)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32, torch.float64, torch.bfloat16])
def test_images_are_shrunk_as_an_antialiased_resize_of_their_mean(dtype, size):
    values = torch.from_numpy(np.random.default_rng(0).integers(0, 120, (2, *size, 3))).to(dtype).movedim(-1, 1)
    clips = torch.stack([values, values.flip(-1)], dim=1).transpose(-1, -2)
    for images in (values, clips.contiguous(), clips):
        found = as_tensor(shrunk_grey([*images], 64))
        grey = images.float().flatten(1, -3).mean(dim=1, keepdim=True)
        expected = torch.nn.functional.interpolate(grey, (64, 64), mode="bilinear", antialias=True)[:, 0]
        assert torch.allclose(found, expected, rtol=2e-6, atol=1e-4)


@pytest.mark.skipif(not os.path.exists("/sys/kernel/mm/transparent_hugepage/enabled"), reason="no large pages")
def test_large_new_memory_asks_for_large_pages(backend, monkeypatch):
    """The kernel says which parts of memory asked: flag ``hg`` of what holds the result's middle."""
    asked, ask = [], kernels.in_large_pages
    monkeypatch.setattr(kernels, "in_large_pages", lambda tensor: asked.append(tensor.nbytes) or ask(tensor))
    images = torch.zeros(3, 3, 2048, 2048, dtype=torch.uint8)  # more than malloc keeps
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 1]] * 3), torch.zeros(3, 1, 4, dtype=torch.long), torch.tensor([[2048, 2048]] * 3)
    )
    mixed = cd.functional.mix_pixels(images, plan)
    middle, advised, inside = mixed.data_ptr() + mixed.nbytes // 2, None, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if (ends := re.match("([0-9a-f]+)-([0-9a-f]+) ", line)) is not None:
            inside = int(ends[1], 16) <= middle < int(ends[2], 16)
        elif inside and line.startswith("VmFlags:"):
            advised = "hg" in line.split()
    assert asked == ([images.nbytes] if backend == "native" else [])
    assert advised or backend == "reference"  # whose memory may be some that asked before
    assert torch.equal(mixed, images)


@pytest.mark.parametrize("low", [-0.5, 0.0, 2.0, -9.0])
@pytest.mark.parametrize("kind", ["noise", "smooth", "few values"])
def test_values_between_two_are_those_in_their_order(kind, low, monkeypatch):
    values = np.random.default_rng(0).normal(size=1003).astype(np.float32)
    values = {"noise": values, "smooth": np.cumsum(values, dtype=np.float32) / 8, "few values": values.round()}[kind]
    found = lying_between(values, np.float32(low), np.float32(low + 1))
    monkeypatch.setattr(native, "library", None)
    expected = lying_between(values, np.float32(low), np.float32(low + 1))
    assert found[0] == expected[0] == (values < low).sum()
    assert np.array_equal(found[1], expected[1])


@lru_cache
def large_batch() -> tuple[torch.Tensor, MixPlan, torch.Tensor]:
    """Nine images of half a megabyte, and what becomes of them."""
    pool = coded((9, 3, 400, 440), torch.uint8)
    source = torch.stack([torch.arange(9), torch.arange(9).roll(1)], dim=1)
    plan = MixPlan.from_rectangles(source, torch.tensor([[[20, 30, 300, 410]]] * 9), torch.tensor([(400, 440)] * 9))
    return pool, plan, mix_gather(pool, plan, None)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def _mixes_right(_: int) -> bool:
    pool, plan, expected = large_batch()  # made before a fork: torch's own threads don't outlive one
    torch.set_num_threads(3)
    return np.array_equal(mix_pixels(pool, plan).numpy(), expected.numpy())


@pytest.mark.usefixtures("three_threads")
def test_outputs_are_shared_among_threads_once(backend):
    seen: list[tuple[int, int]] = []
    threads.split(lambda first, last: seen.append((first, last)), 9, 9 * 2**20)
    assert sorted(seen) == [(output, output + 1) for output in range(9)]
    seen.clear()
    threads.split(lambda first, last: seen.append((first, last)), 9, 2**20)  # too little to wake another one
    assert seen == [(0, 9)]
    pool, plan, expected = large_batch()
    for _ in range(5):
        assert torch.equal(mix_pixels(pool, plan), expected)
    assert torch.equal(mix_pixels(pool.clone(), plan, inplace=True), expected)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_mix_after_their_parent_did(method, backend):
    if backend == "reference":
        return
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    assert _mixes_right(0)
    with multiprocessing.get_context(method).Pool(2) as children:
        assert children.map_async(_mixes_right, range(4)).get(timeout=60) == [True] * 4


class _InWorker(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> list[tuple[int, int]]:
        torch.set_num_threads(3)
        seen: list[tuple[int, int]] = []
        threads.split(lambda first, last: seen.append((first, last)), 9, 9 * 2**20)
        return seen


def test_workers_of_a_loader_start_no_threads():
    loader = torch.utils.data.DataLoader(_InWorker(), batch_size=None, num_workers=1)
    assert [list(map(tuple, seen)) for seen in loader] == [[(0, 9)]] * 2


# ------------------------------------------------------------------------------------------------------------ building


HIDDEN = """
from pathlib import Path
found = Path.is_file
Path.is_file = lambda path: "cutmix_dense_native" not in path.name and found(path)
"""
ASKED = "import cutmix_dense as cd; print(cd.backends().host + ', ' + cd.backends().reason)"


def says(wanted: str, before: str = "") -> str:
    """What a new process says of its backend, or the last line of its error."""
    environment = {**os.environ, "CUTMIX_DENSE_BACKEND": wanted}
    run = subprocess.run(
        [sys.executable, "-c", before + ASKED], capture_output=True, text=True, env=environment, check=False
    )
    return (run.stdout or run.stderr).strip().splitlines()[-1]


def test_the_switch_forces_a_backend_or_says_why_it_can_not(backend):
    if backend == "reference":
        return
    name = native.LIBRARY.name
    assert says("") == says("native") == f"native, {name} was found"
    assert says("reference") == "reference, CUTMIX_DENSE_BACKEND says so"
    assert says("fortran") == "ValueError: CUTMIX_DENSE_BACKEND must be 'native' or 'reference', got 'fortran'"
    reason = f"{name} wasn't built: install with a C compiler, or a wheel of this platform"
    assert says("", HIDDEN) == f"reference, {reason}"
    assert says("native", HIDDEN) == f"ImportError: CUTMIX_DENSE_BACKEND is 'native', but {reason}"


@pytest.mark.skipif(build._compiler() is None, reason="no C compiler")
def test_a_library_is_built_where_it_is_asked_for_or_the_reason_is_said(tmp_path, monkeypatch, backend):
    if backend == "reference":
        return
    made = tmp_path / "made.so"
    assert build.build(library=made) == ""
    assert ctypes.CDLL(str(made)).cutmix_dense_mix
    assert "failed" in build.build("-no-such-flag", library=tmp_path / "other.so")
    monkeypatch.setenv("CC", "no-such-compiler")
    assert build.build(library=tmp_path / "other.so") == "no C compiler was found"
    assert [path.name for path in tmp_path.iterdir()] == ["made.so"]
