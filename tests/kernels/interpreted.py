"""Cases of ``test_triton.py``: to run them alone, ``TRITON_INTERPRET=1 pytest tests/kernels/interpreted.py``."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

import pytest
import torch
from torch.utils._pytree import tree_leaves

assert os.environ.get("TRITON_INTERPRET") == "1", "the kernels must be defined interpreted"
from kernels.plans import METHODS, batch, grid_plan, padded_boxes, plan_of, random_plan, soft_plan  # noqa: E402

import cutmix_dense as cd  # noqa: E402
from cutmix_dense.functional import mix_pixels, mix_semantic  # noqa: E402
from cutmix_dense.functional.masks import _mix_on_device, boxes_of_masks, mix_masks  # noqa: E402
from cutmix_dense.kernels.device import serves, suits_fused  # noqa: E402
from cutmix_dense.kernels.gather import mix_gather  # noqa: E402
from cutmix_dense.kernels.layered import mix_layered  # noqa: E402
from cutmix_dense.kernels.layers import empty_batch  # noqa: E402
from cutmix_dense.kernels.patches import joined_launches, mix_patches, patches_for  # noqa: E402
from cutmix_dense.kernels.triton_masks import cut_masks  # noqa: E402
from cutmix_dense.kernels.triton_mix import mix_fused  # noqa: E402
from cutmix_dense.plan import MixPlan  # noqa: E402

DTYPES = [
    torch.uint8,
    torch.bool,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]


def filled(dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor([1, 0, 3]).to(dtype).reshape(3, 1, 1)


def test_the_interpreter_is_what_runs():
    assert serves(torch.device("cpu"))
    assert suits_fused(torch.rand(3, 3, 13, 22), plan_of("cutmix", 0))


# ------------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("method", METHODS)
def test_every_method_as_the_reference_does_it(method):
    images, targets = batch(0)
    plan = plan_of(method, 0)
    images = (images * 255).to(torch.uint8)
    fill = filled(torch.uint8)
    assert torch.equal(mix_fused(images, plan, fill, "nearest"), mix_gather(images, plan, fill))
    ids = targets["semantic"]
    expected = mix_gather(ids, plan, torch.tensor(255))
    assert torch.equal(mix_semantic(ids, plan), expected)


@pytest.mark.parametrize("method", ["cutmix", "cutmix of five boxes", "mosaic", "ricap", "classmix", "copypaste"])
def test_padded_batches_keep_the_bases_padding(method):
    sizes = torch.tensor([[10, 22], [13, 15], [12, 21]])
    images, targets = batch(0)
    for target, (height, width) in zip(targets["instances"], sizes.tolist()):
        target["boxes"][:, 2:] = torch.minimum(target["boxes"][:, 2:], torch.tensor([width, height]))
    plan = METHODS[method]().make_plan(images, targets, sizes=sizes, generator=torch.Generator().manual_seed(3))
    fill = filled(images.dtype)
    assert torch.equal(mix_fused(images, plan, fill, "nearest"), mix_gather(images, plan, fill))


def test_in_place_a_padded_output_takes_its_bases_padding():
    """Where the base is another image than the one that is written over."""
    sizes = torch.tensor([(4, 5), (3, 7), (4, 7)])
    pool = torch.arange(3 * 2 * 4 * 7).reshape(3, 2, 4, 7).to(torch.uint8)
    source, rectangle = torch.tensor([[1, 0], [0, 1], [2, 1]]), torch.tensor([[[1, 2, 3, 4]]] * 3)
    plan = MixPlan.from_rectangles(source, rectangle, sizes, frame=(4, 7))
    expected = mix_gather(pool, plan, torch.tensor(0, dtype=torch.uint8))
    assert not torch.equal(expected[0, :, :, 5:], pool[0, :, :, 5:])
    mix_fused(pool, plan, None, "nearest", inplace=True)
    assert torch.equal(pool, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_random_layers_of_every_dtype(dtype):
    for seed in range(2):
        images = (torch.rand(3, 3, 13, 22) * 200 - (0 if dtype in (torch.uint8, torch.bool) else 100)).to(dtype)
        plan = random_plan(seed)
        expected = mix_gather(images, plan, filled(dtype))
        assert torch.equal(mix_fused(images, plan, filled(dtype), "nearest"), expected)


@pytest.mark.parametrize("seed", range(2, 10))
def test_random_layers_in_every_layout(seed):
    plan = random_plan(seed)
    images = torch.randint(0, 255, (3, 3, 13, 22), dtype=torch.uint8)
    fill = filled(torch.uint8)
    expected = mix_gather(images, plan, fill)
    last = images.contiguous(memory_format=torch.channels_last)
    mixed = mix_fused(last, plan, fill, "nearest")
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(mixed, expected)
    out = torch.empty_like(expected)
    assert mix_fused(last, plan, fill, "nearest", out=out) is out
    assert torch.equal(out, expected)
    strided = torch.zeros(3, 3, 26, 44, dtype=torch.uint8)[:, :, ::2, ::2]
    strided.copy_(images)
    assert torch.equal(mix_fused(strided, plan, fill[:1], "nearest"), mix_gather(images, plan, fill[:1]))
    assert torch.equal(mix_fused(images[:, 0], plan, None, "nearest"), mix_gather(images[:, 0], plan, None))


def test_nothing_but_a_nan_is_a_nan():
    """Pixels move as raw bits: the payload of a NaN and the sign of a zero stay."""
    images = torch.tensor([float("nan"), -0.0, float("inf"), 1.0]).repeat(3, 3, 13, 6)[..., :22]
    plan = plan_of("cutmix", 0)
    expected = mix_gather(images.view(torch.int32), plan, None)
    assert torch.equal(mix_fused(images, plan, None, "nearest").view(torch.int32), expected)


def test_wide_images_take_the_wide_copy():
    """Tiles that one layer owns whole, at aligned and at other shifts, in both layouts."""
    images = torch.randint(0, 255, (3, 2, 20, 300), dtype=torch.uint8)
    base = plan_of("cutmix", 0)
    size = torch.tensor([[20, 300]]).repeat(3, 1)
    for shift in (16.0, 5.0):
        plan = replace(
            base,
            shift=torch.tensor([[0.0, 0.0], [0.0, shift]]).repeat(3, 1, 1),
            extent=torch.cat([torch.zeros_like(size), size], dim=1)[:, None].repeat(1, 2, 1),
            canvas=size,
            edges=(torch.tensor([[0, 3, 20]]).repeat(3, 1), torch.tensor([[0, 129, 300]]).repeat(3, 1)),
            owner=torch.tensor([[[0, 1], [1, 0]]], dtype=torch.int8).repeat(3, 1, 1),
            frame=(20, 300),
        )
        expected = mix_gather(images, plan, torch.tensor(7, dtype=torch.uint8))
        for pool in (images, images.contiguous(memory_format=torch.channels_last)):
            mixed = mix_fused(pool, plan, torch.tensor(7, dtype=torch.uint8), "nearest")
            assert torch.equal(mixed, expected)


@pytest.mark.parametrize("method", ["cutmix", "cutmix of pairs", "cutmix of five boxes", "gridmix", "cowmix"])
@pytest.mark.parametrize("last", [False, True])
def test_in_place(method, last):
    images, _ = batch(1)
    images = images.contiguous(memory_format=torch.channels_last) if last else images
    plan = plan_of(method, 1)
    expected = mix_gather(images, plan, None)
    assert mix_pixels(images, plan, inplace=True) is images
    assert torch.equal(images, expected)


def test_in_place_keeps_its_own_padding_and_takes_a_new_bases():
    sizes = torch.tensor([[10, 22], [13, 15], [12, 21]])
    images, _ = batch(2)
    plan = METHODS["cutmix"]().make_plan(images, sizes=sizes, generator=torch.Generator().manual_seed(0))
    for turned in (plan, replace(plan, source=plan.source.roll(1, 0), extent=plan.extent.roll(1, 0))):
        expected = mix_gather(images, turned, filled(images.dtype))
        assert torch.equal(mix_fused(images.clone(), turned, filled(images.dtype), "nearest", inplace=True), expected)


def test_clips_share_one_cut_and_fill_by_channel():
    clips = torch.rand(3, 2, 3, 13, 22)
    plan = random_plan(4)
    assert torch.equal(
        mix_fused(clips, plan, filled(clips.dtype), "nearest"), mix_gather(clips, plan, filled(clips.dtype))
    )
    turned = clips.transpose(1, 2)
    assert not suits_fused(turned, plan)
    assert not suits_fused(clips.clone().requires_grad_(), plan)


@pytest.mark.parametrize("interpolation", ["bilinear", "antialias"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_filtered_layers_within_rounding(interpolation, dtype):
    """Float32 sums differ in their last bits at most; a byte by one where a sum falls beside a half."""
    images = (torch.rand(3, 1, 13, 22) * 255).to(dtype)
    plan = random_plan(len(interpolation), outputs=1, layers=2, least_scale=0.6)
    fill = torch.tensor(9).to(dtype)
    mixed = mix_fused(images, plan, fill, interpolation)
    expected = images.new_empty((len(plan), images.shape[1], *plan.frame))
    mix_layered(images, plan, fill, interpolation, framed=True, out=expected)
    # the interpreter cuts bfloat16 off where a device rounds
    slack = {torch.uint8: 1.0, torch.float16: 0.125, torch.bfloat16: 1.0}.get(dtype, 1e-4)
    assert (mixed.double() - expected.double()).abs().max() <= slack
    if dtype == torch.uint8:
        assert (mixed != expected).float().mean() < 0.01


UNSIGNED = [getattr(torch, name) for name in ("uint16", "uint32", "uint64") if hasattr(torch, name)]


@pytest.mark.parametrize("dtype", UNSIGNED, ids=str)
@pytest.mark.parametrize("method", ["cutmix", "ricap", "classmix"])
def test_wide_unsigned_integers_are_moved_as_what_they_are(method, dtype):
    top = min(torch.iinfo(dtype).max, 2**62)
    numbers = torch.randint(0, top, (3, 3, 13, 22))
    plan = plan_of(method, 0)
    assert suits_fused(numbers, plan)
    expected = mix_gather(numbers, plan, torch.tensor(top - 5))
    mixed = mix_pixels(numbers.to(dtype), plan, fill=top - 5)
    assert mixed.dtype == dtype
    assert torch.equal(mixed.long(), expected)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64, *UNSIGNED], ids=str)
def test_scaled_wide_integers_go_another_way(dtype):
    """The kernel would cut them off in float32: they come out as float64 has them, rounded."""
    images = torch.randint(0, 32767, (3, 2, 13, 22))
    plan = plan_of("resizemix", 0)
    exact = mix_pixels(images.double(), plan, fill=7, interpolation="antialias")
    mixed = mix_pixels(images.to(dtype), plan, fill=7, interpolation="antialias")
    assert mixed.dtype == dtype
    assert (mixed.double() - exact).abs().max() <= 0.51


def test_unscaled_layers_of_a_scaled_plan_are_not_filtered():
    images = torch.rand(3, 1, 13, 22)
    images[0, 0, 3, 4] = float("inf")  # times a weight of nothing it would be NaN
    scale = torch.tensor([[[1.0, 1.0], [1.5, 1.5]]])
    plan = replace(random_plan(0, outputs=1, layers=2), scale=scale, shift=torch.zeros(1, 2, 2), unscaled=None)
    plan = replace(plan, source=torch.tensor([[0, 1]]), owner=torch.zeros_like(plan.owner))
    mixed = mix_fused(images, plan, torch.tensor(0.0), "bilinear")
    assert torch.equal(mixed, mix_gather(images, plan, torch.tensor(0.0)))


# ------------------------------------------------------------------------------------------------------------ patches


def patched(pool: torch.Tensor, plan: MixPlan, fill: torch.Tensor | None) -> torch.Tensor | None:
    patches = patches_for(pool, plan, fill, None)
    if patches is None:
        return None
    out = empty_batch(pool, plan).fill_(99)
    mix_patches(pool, plan, patches, out)
    return out


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        (torch.uint8, (3, 3, 12, 32)),
        (torch.uint8, (3, 3, 16, 22)),
        (torch.uint8, (3, 2, 4, 8, 9)),
        (torch.bool, (3, 12, 32)),
        (torch.int64, (3, 8, 11)),
        (torch.bfloat16, (3, 1, 12, 23)),
        (torch.float64, (3, 4, 5, 17)),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["cutmix", "saliencymix", "ricap"])
def test_patches_of_every_dtype_and_width(method, dtype, shape):
    pool = (torch.rand(shape) * 200).to(dtype)
    images = torch.rand(3, 3, *shape[-2:])
    plan = METHODS[method]().make_plan(images, generator=torch.Generator().manual_seed(1))
    mixed = patched(pool, plan, None)
    assert mixed is not None
    assert torch.equal(mixed, mix_gather(pool, plan, None))


def test_patches_of_random_cells():
    served = 0
    for seed in range(32):
        pool, plan = grid_plan(seed)
        fill = torch.tensor(7).to(pool.dtype)
        mixed = patched(pool, plan, fill)
        if mixed is not None:
            served += 1
            assert torch.equal(mixed, mix_gather(pool, plan, fill)), seed
    assert served > 10


def test_patches_keep_padding_and_raw_bits():
    sizes = torch.tensor([[10, 22], [13, 15], [12, 21]])
    pool = torch.tensor([float("nan"), -0.0, float("inf"), 1.0]).repeat(3, 2, 16, 6)[..., :22].contiguous()
    plan = METHODS["cutmix"]().make_plan(pool, sizes=sizes, generator=torch.Generator().manual_seed(1))
    mixed = patched(pool, plan, None)
    assert torch.equal(mixed.view(torch.int32), mix_gather(pool.view(torch.int32), plan, None))


def test_what_patches_leave_to_others():
    pool, plan = torch.zeros(3, 3, 13, 22, dtype=torch.uint8), plan_of("cutmix", 0)
    for other in (pool, pool[..., 1:], pool.transpose(2, 3)):  # planes of no whole words, other sizes
        assert patches_for(other, plan, None, None) is None
    even = torch.zeros(3, 3, 16, 24)
    assert patches_for(even, plan_of("cutmix", 0), None, None) is None  # of another frame
    for method in ("resizemix", "cowmix"):
        assert patches_for(even, METHODS[method]().make_plan(even), None, None) is None
    cutmix = METHODS["cutmix"]().make_plan(even)
    assert patches_for(even, cutmix, None, None) is not None
    assert patches_for(even.clone().requires_grad_(), cutmix, None, None) is None


def test_batches_of_one_plan_share_a_launch():
    images, maps = torch.randint(0, 255, (3, 3, 16, 24), dtype=torch.uint8), torch.randint(0, 9, (3, 16, 24))
    plan = METHODS["cutmix"]().make_plan(images, generator=torch.Generator().manual_seed(0))
    with joined_launches():
        mixed = [mix_pixels(batch, plan) for batch in (maps, images, images.float())]
    for found, given in zip(mixed, (maps, images, images.float())):
        assert torch.equal(found, mix_gather(given, plan, None))
    left = torch.zeros_like(maps)
    with contextlib.suppress(KeyError), joined_launches():
        mix_pixels(torch.ones_like(maps), plan, out=left)
        raise KeyError
    assert not left.any(), "what raises launches nothing"


# -------------------------------------------------------------------------------------------------------------- masks


def assert_cut_alike(masks, plan):
    """Every mask of every layer, by the kernel and by the reference."""
    sizes = [plan.frame] * len(plan)
    reference = mix_masks(list(masks), plan, sizes)
    jobs = [(*place, int(plan.source[place])) for place in reference]
    count = masks.shape[1]
    entries = [(int(plan.source[o, s]) * count + n, o, s) for o, s in reference for n in range(count)]
    row, output, layer = torch.tensor(entries).T
    cut = cut_masks(masks.flatten(0, 1), plan, row, output, layer)
    assert cut.masks.dtype == masks.dtype
    assert torch.equal(cut.masks, torch.cat([part.masks for part in reference.values()]))
    assert torch.equal(cut.visible, torch.cat([part.visible for part in reference.values()]))
    assert torch.equal(cut.whole.double(), torch.cat([part.whole for part in reference.values()]))
    assert torch.equal(cut.boxes.double(), boxes_of_masks(cut.masks))
    by_layer = _mix_on_device([masks[int(plan.source[place])] for place in reference], plan, sizes, jobs)
    assert list(by_layer) == list(reference)
    for place, part in by_layer.items():
        for found, expected in zip(part, (getattr(reference[place], name) for name in part._fields)):
            assert torch.equal(found, expected), place


@pytest.mark.parametrize("method", ["ricap", "copypaste, scaled and mirrored", "cowmix"])
def test_masks_of_methods(method):
    _, targets = batch(5)
    assert_cut_alike(torch.stack([target["masks"] for target in targets["instances"]]), plan_of(method, 5))


@pytest.mark.parametrize("seed", range(4))
def test_masks_of_random_layers(seed):
    masks = torch.rand(3, 2, 13, 22) < 0.3
    assert_cut_alike(masks if seed % 2 else masks.to(torch.uint8) * 7, random_plan(seed))


def test_masks_of_a_soft_plan():
    assert_cut_alike(torch.rand(3, 2, 13, 22) < 0.3, soft_plan())


def test_masks_wider_than_a_tile():
    masks = torch.rand(3, 1, 20, 300) < 0.01
    base = plan_of("cutmix", 0)
    size = torch.tensor([[20, 300]]).repeat(3, 1)
    plan = replace(
        base,
        shift=torch.tensor([[0.0, 0.0], [-3.0, 16.0]]).repeat(3, 1, 1),
        extent=torch.cat([torch.zeros_like(size), size], dim=1)[:, None].repeat(1, 2, 1),
        canvas=size,
        edges=(torch.tensor([[0, 3, 20]]).repeat(3, 1), torch.tensor([[0, 129, 300]]).repeat(3, 1)),
        owner=torch.tensor([[[0, 1], [1, 0]]], dtype=torch.int8).repeat(3, 1, 1),
        frame=(20, 300),
    )
    assert_cut_alike(masks, plan)


def test_no_masks():
    nothing = torch.zeros(0, dtype=torch.long)
    cut = cut_masks(torch.zeros(2, 13, 22, dtype=torch.bool), plan_of("cutmix", 0), nothing, nothing, nothing)
    assert cut.masks.shape == (0, 13, 22)
    assert cut.boxes.shape == (0, 4)


# ------------------------------------------------------------------------------------------------------------ compile


def test_compiled_without_a_graph_break():
    images, targets = batch(0)
    plan = plan_of("cutmix", 0)
    masks = torch.cat([target["masks"] for target in targets["instances"]])
    row = torch.arange(len(masks))

    def step(images, masks, row):
        mixed = mix_fused(images, plan, None, "nearest")
        return mixed * 2, cut_masks(masks, plan, row, row // 4, row * 0)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    mixed, cut = compiled(images, masks, row)
    expected, expected_cut = step(images, masks, row)
    assert torch.equal(mixed, expected)
    assert all(torch.equal(a, b) for a, b in zip(cut, expected_cut))


@pytest.mark.parametrize("method", ["cutmix", "mosaic"])
def test_padded_batches_compiled_without_a_graph_break(method):
    """As on a card, where the general kernel is an operator of the graph."""
    plan, mix = METHODS[method]().make_plan(torch.rand(3, 3, 48, 64)), cd.CutMix()
    given = torch.rand(3, 3, 48, 64), padded_boxes(0), torch.randint(0, 9, (3, 48, 64))

    def step(images, padded, semantic):
        return mix.apply_plan(plan, images, {**padded, "semantic": semantic})

    torch._dynamo.reset()
    compiled = tree_leaves(torch.compile(step, fullgraph=True, backend="aot_eager")(*given))
    for found, wanted in zip(compiled, tree_leaves(step(*given)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 if wanted.is_floating_point() else 0)
