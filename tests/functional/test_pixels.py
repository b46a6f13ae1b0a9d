"""mix_pixels and mix_semantic: every path equal, dtype and layout kept, inputs left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense import MixPlan
from cutmix_dense.functional import mix_pixels, mix_semantic
from cutmix_dense.kernels.gather import mix_gather

SIZES = torch.tensor([[9, 14], [9, 14], [9, 14]])


def random_plan(seed=0, batch=3, patches=3, sizes=SIZES, frame=None):
    generator = torch.Generator().manual_seed(seed)
    corner = [torch.randint(0, int(n) + 1, (batch, patches, 2), generator=generator).sort(-1).values for n in (9, 14)]
    rectangles = torch.stack([corner[0][..., 0], corner[1][..., 0], corner[0][..., 1], corner[1][..., 1]], dim=-1)
    source = torch.stack([torch.arange(batch), torch.arange(batch).roll(1)], dim=1)
    return MixPlan.from_rectangles(source, rectangles, sizes, frame=frame)


def shifted_plan():
    """Layer 1 moved by (2, -3), its extent smaller than the image, fill in a corner."""
    return MixPlan(
        source=torch.tensor([[0, 1]]),
        scale=torch.ones(1, 2, 2),
        shift=torch.tensor([[[0.0, 0.0], [2.0, -3.0]]]),
        extent=torch.tensor([[[0, 0, 9, 14], [1, 2, 7, 12]]]),
        canvas=torch.tensor([[9, 14]]),
        edges=(torch.tensor([[0, 2, 6, 9]]), torch.tensor([[0, 4, 10, 14]])),
        owner=torch.tensor([[[0, 0, -1], [1, 1, 1], [0, 1, 0]]], dtype=torch.int8),
        frame=(9, 14),
    )


def plain_loop(images, plan, fill):
    owner = plan.owner_map()
    out = torch.empty((len(plan), *images[0].shape[:-2], *plan.frame), dtype=images[0].dtype)
    for b in range(len(plan)):
        for y in range(plan.frame[0]):
            for x in range(plan.frame[1]):
                layer = int(owner[b, y, x])
                if layer < 0:
                    out[b, ..., y, x] = fill
                    continue
                sy, sx = ((torch.tensor([y, x]) + 0.5 - plan.shift[b, layer]) / plan.scale[b, layer]).floor().long()
                out[b, ..., y, x] = images[int(plan.source[b, layer])][..., sy, sx]
    return out


@pytest.mark.parametrize("plan", [random_plan(0), random_plan(1, patches=1), shifted_plan()])
def test_slices_and_gather_equal_the_plain_loop(plan):
    images = torch.arange(3 * 2 * 9 * 14).reshape(3, 2, 9, 14).float()
    expected = plain_loop(images, plan, -7.0)
    assert torch.equal(mix_pixels(images, plan, fill=-7.0), expected)
    assert torch.equal(mix_gather(images, plan, torch.tensor(-7.0)), expected)
    assert torch.equal(torch.stack(mix_pixels(list(images), plan, fill=-7.0)), expected)


@pytest.mark.parametrize("scale", [2.0, 0.5, -1.0, -0.75])
def test_nearest_reads_the_pixel_under_the_centre(scale):
    plan = MixPlan(
        source=torch.tensor([[0, 1]]),
        scale=torch.tensor([[[1.0, 1.0], [scale, abs(scale)]]]),
        shift=torch.tensor([[[0.0, 0.0], [9.0 if scale < 0 else 1.0, 2.0]]]),
        extent=torch.tensor([[[0, 0, 9, 14], [0, 1, 9, 13]]]),
        canvas=torch.tensor([[9, 14]]),
        edges=(torch.tensor([[0, 1, 8, 9]]), torch.tensor([[0, 3, 11, 14]])),
        owner=torch.tensor([[[0, 0, 0], [0, 1, 0], [0, 1, 0]]], dtype=torch.int8),
        frame=(9, 14),
    )
    assert not plan.unscaled
    maps = torch.arange(3 * 9 * 14).reshape(3, 9, 14)
    assert torch.equal(mix_semantic(maps, plan, ignore_index=255), plain_loop(maps, plan, 255))


def test_antialias_equals_torchvisions_resize():
    """A whole image shrunk onto the canvas is what torchvision's antialiased resize makes of it."""
    from torchvision.transforms.v2 import functional as tvf

    image = torch.rand(1, 3, 24, 40)
    plan = MixPlan(
        source=torch.tensor([[0]]),
        scale=torch.tensor([[[9 / 24, 14 / 40]]]),
        shift=torch.zeros(1, 1, 2),
        extent=torch.tensor([[[0, 0, 24, 40]]]),
        canvas=torch.tensor([[9, 14]]),
        edges=(torch.tensor([[0, 9]]), torch.tensor([[0, 14]])),
        owner=torch.zeros(1, 1, 1, dtype=torch.int8),
        frame=(9, 14),
    )
    expected = tvf.resize(image, [9, 14], antialias=True)
    assert torch.allclose(mix_pixels(image, plan, fill=0), expected, atol=1e-5)
    as_bytes = (image * 255).round().to(torch.uint8)
    mixed = mix_pixels(as_bytes, plan, fill=0)
    assert mixed.dtype == torch.uint8
    assert (mixed.int() - tvf.resize(as_bytes, [9, 14], antialias=True).int()).abs().max() <= 1
    bilinear = tvf.resize(image, [9, 14], antialias=False)
    assert torch.allclose(mix_pixels(image, plan, fill=0, interpolation="bilinear"), bilinear, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64, torch.bool])
def test_dtypes_are_kept(dtype):
    images = torch.randint(0, 2, (3, 2, 9, 14)).to(dtype)
    plan = random_plan()
    mixed = mix_pixels(images, plan)
    assert mixed.dtype == dtype
    assert torch.equal(mixed, plain_loop(images, plan, 0))


def test_memory_layout_and_class_are_kept():
    plan = random_plan()
    images = torch.rand(3, 2, 9, 14)
    expected = plain_loop(images, plan, 0)
    last = mix_pixels(images.contiguous(memory_format=torch.channels_last), plan)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, expected)
    strided = torch.rand(3, 2, 18, 28)[:, :, ::2, ::2]
    assert torch.equal(mix_pixels(strided, plan), plain_loop(strided, plan, 0))
    assert isinstance(mix_pixels(tv_tensors.Image(images), plan), tv_tensors.Image)
    assert isinstance(mix_semantic(tv_tensors.Mask(images[:, 0].long()), plan), tv_tensors.Mask)
    assert type(mix_pixels(images, plan)) is torch.Tensor


def test_gradients_flow_to_their_own_source():
    plan = random_plan()
    images = torch.rand(3, 2, 9, 14, requires_grad=True)
    mix_pixels(images, plan).sum().backward()
    owned = torch.zeros(3)
    for b in range(3):
        for layer in range(2):
            owned[int(plan.source[b, layer])] += int(plan.owned_pixels()[b, layer])
    assert torch.equal(images.grad.sum((1, 2, 3)), owned * 2)


def test_out_takes_the_result_and_inputs_stay():
    plan = random_plan()
    images = torch.rand(3, 2, 9, 14)
    before, buffer = images.clone(), torch.empty(3, 2, 9, 14)
    result = mix_pixels(images, plan, out=buffer)
    assert result is buffer
    assert torch.equal(images, before)
    assert torch.equal(buffer, plain_loop(images, plan, 0))


@pytest.mark.parametrize("seed", range(5))
def test_inplace_reads_before_it_writes(seed):
    plan = random_plan(seed)
    images = torch.rand(3, 2, 9, 14)
    expected = plain_loop(images.clone(), plan, 0)
    assert mix_pixels(images, plan, inplace=True) is images
    assert torch.equal(images, expected)


def test_padding_stays_the_bases():
    sizes = torch.tensor([[6, 11], [9, 8], [7, 14]])
    plan = random_plan(sizes=sizes, frame=(9, 14))
    images = torch.rand(3, 2, 9, 14)
    mixed = mix_pixels(images, plan, fill=-1)
    for b, (height, width) in enumerate(sizes.tolist()):
        assert torch.equal(mixed[b, :, height:], images[b, :, height:])
        assert torch.equal(mixed[b, :, :, width:], images[b, :, :, width:])
    assert torch.equal(mixed, mix_gather(images, plan, torch.tensor(-1.0)))
    copy = images.clone()
    mix_pixels(copy, plan, fill=-1, inplace=True)
    assert torch.equal(copy, mixed)


def test_fill_per_channel():
    plan = shifted_plan()
    mixed = mix_pixels(torch.zeros(2, 3, 9, 14), plan, fill=(1.0, 2.0, 3.0))
    assert mixed[0, :, 0, 13].tolist() == [1, 2, 3]


def test_ignore_index_is_carried_and_filled():
    maps = torch.full((2, 9, 14), 3, dtype=torch.uint8)
    maps[1, 3, 5] = 255  # shown at (5, 2)
    mixed = mix_semantic(maps, shifted_plan(), ignore_index=254)
    assert set(mixed.unique().tolist()) == {3, 254, 255}


def test_clips_share_one_cut():
    """Axes between the pool and the space are free: frames of a clip are cut alike."""
    plan = random_plan()
    clips = torch.rand(3, 4, 2, 9, 14)
    mixed = mix_pixels(clips, plan)
    assert torch.equal(mixed[:, 2], mix_pixels(clips[:, 2], plan))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: mix_pixels(torch.rand(2, 2, 9, 14), p), ValueError, "pool must hold 3 images"),
        (lambda p: mix_pixels(torch.rand(3, 2, 8, 14), p), ValueError, r"pool image 0 is \[8, 14\], smaller"),
        (lambda p: mix_pixels(torch.rand(9), p), ValueError, "pool must have at least 3 dimensions"),
        (lambda p: mix_pixels("images", p), TypeError, "pool must be a tensor or a list of tensors"),
        (lambda p: mix_pixels([], p), TypeError, "pool must be a tensor or a list of tensors"),
        (lambda p: mix_pixels(torch.rand(3, 2, 9, 14), p, fill=(1, 2, 3)), ValueError, "fill must be one number"),
        (lambda p: mix_pixels(torch.rand(3, 2, 9, 14), p, interpolation="cubic"), ValueError, "interpolation must be"),
        (lambda p: mix_pixels(torch.rand(3, 2, 9, 14), p, out=torch.rand(3, 2, 9, 13)), ValueError, "out must be"),
        (lambda p: mix_pixels([torch.rand(2, 9, 14)] * 3, p, inplace=True), ValueError, "need a tensor of images"),
        (
            lambda p: mix_pixels([torch.rand(2, 9, 14), torch.rand(2, 9, 14).half(), torch.rand(2, 9, 14)], p),
            ValueError,
            "one dtype and device: image 1",
        ),
        (
            lambda p: mix_pixels([torch.rand(2, 9, 14), torch.rand(3, 9, 14), torch.rand(2, 9, 14)], p),
            ValueError,
            "equal channels: image 1",
        ),
        (lambda p: mix_semantic(torch.rand(3, 9, 14), p), TypeError, "maps must hold integer class ids"),
        (lambda p: mix_semantic([], p), TypeError, "maps must be a tensor or a list"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(random_plan())


def test_fill_must_be_given_where_it_is_needed():
    with pytest.raises(ValueError, match="fill must be given"):
        mix_pixels(torch.rand(2, 2, 9, 14), shifted_plan())
    with pytest.raises(ValueError, match="ignore_index 300 doesn't fit"):
        mix_semantic(torch.zeros(2, 9, 14, dtype=torch.uint8), shifted_plan(), ignore_index=300)


def halved_plan():
    """One image of 8 × 10 at half its size."""
    return MixPlan(
        source=torch.tensor([[0]]),
        scale=torch.full((1, 1, 2), 0.5),
        shift=torch.zeros(1, 1, 2),
        extent=torch.tensor([[[0, 0, 8, 10]]]),
        canvas=torch.tensor([[4, 5]]),
        edges=(torch.tensor([[0, 4]]), torch.tensor([[0, 5]])),
        owner=torch.zeros(1, 1, 1, dtype=torch.int8),
        frame=(4, 5),
    )


def blend_plan():
    return MixPlan.blend(torch.tensor([[0, 1]]), torch.tensor([[0.25, 0.75]]), torch.tensor([[4, 5], [4, 5]]))


WIDE = [
    getattr(torch, name)
    for name in ("int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
    if hasattr(torch, name)
]


@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_ids_never_blend(dtype):
    """Unless it is said that they are pictures, and the message says how."""
    remedy = r"ids can't be averaged.*if these are pictures, pass interpolation='antialias' or 'bilinear'"
    ids = torch.zeros(1, 8, 10, dtype=dtype)
    for pool in (ids, [ids[0]]):
        with pytest.raises(TypeError, match=remedy):
            mix_pixels(pool, halved_plan())
    for interpolation in (None, "nearest"):
        with pytest.raises(TypeError, match=remedy):
            mix_pixels(torch.zeros(2, 4, 5, dtype=dtype), blend_plan(), interpolation=interpolation)
        with pytest.raises(TypeError, match=remedy):
            mix_pixels(torch.zeros(3, 9, 14, dtype=dtype), random_plan(), interpolation=interpolation, feather=1.0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64], ids=str)
def test_what_is_no_number_is_never_filtered(dtype):
    for interpolation in (None, "bilinear", "antialias"):
        with pytest.raises(TypeError, match="average"):
            mix_pixels(torch.zeros(1, 8, 10, dtype=dtype), halved_plan(), interpolation=interpolation)
        with pytest.raises(TypeError, match="average"):
            mix_pixels(torch.zeros(2, 4, 5, dtype=dtype), blend_plan(), interpolation=interpolation)


@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_integers_that_are_said_to_be_pictures_average(dtype):
    """Worked out by hand: the middle of four pixels, and a quarter of the way from 100 to 10 (77.5, to even)."""
    image = torch.zeros(1, 8, 10).to(dtype)
    image[0, :2, :2] = torch.tensor([[10, 20], [30, 41]]).to(dtype)
    assert int(mix_pixels(image, halved_plan(), interpolation="bilinear").numpy()[0, 0, 0]) == 25  # of 25.25
    pool = torch.stack([torch.full((4, 5), 10, dtype=dtype), torch.full((4, 5), 100, dtype=dtype)])
    for interpolation in ("bilinear", "antialias"):
        for images in (pool, list(pool)):
            assert (mix_pixels(images, blend_plan(), interpolation=interpolation)[0].numpy() == 78).all()


@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_integers_are_moved_to_the_bit(dtype):
    """Numbers that no float holds, under every kind of plan, on every path."""
    bounds = torch.iinfo(dtype)
    kind = str(dtype).removeprefix("torch.")
    values = np.random.default_rng(0).integers(bounds.min, bounds.max, (3, 2, 9, 14), dtype=kind, endpoint=True)
    values[:, :, 0, :4] = bounds.max, bounds.min, bounds.max - 1, bounds.min + 1
    images = torch.from_numpy(values)
    fill = int(bounds.max)
    free = torch.randint(-1, 2, (3, 9, 14), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    plans = [random_plan(), shifted_plan(), MixPlan.from_map(random_plan().source, free, SIZES)]
    for plan in plans:
        owner = plan.owner_map().numpy()
        expected = np.full((len(plan), 2, 9, 14), fill, dtype=kind)
        for output, layer, y, x in np.ndindex(len(plan), 2, 9, 14):
            if owner[output, y, x] == layer:
                down, right = plan.shift[output, layer].long().tolist()
                expected[output, :, y, x] = values[plan.source[output, layer], :, y - down, x - right]
        last = images.contiguous(memory_format=torch.channels_last)
        for found in (
            mix_pixels(images, plan, fill=fill),
            mix_pixels(last, plan, fill=torch.tensor([fill, fill], dtype=dtype)),
            mix_pixels(images, plan, fill=fill, out=torch.empty(len(plan), 2, 9, 14, dtype=dtype)),
            torch.stack(mix_pixels(list(images), plan, fill=fill)),
            mix_pixels(images.clone(), plan, fill=fill, inplace=True) if len(plan) == 3 else None,
        ):
            assert found is None or (found.dtype == dtype and np.array_equal(found.numpy(), expected))


@pytest.mark.parametrize("dtype", [torch.uint8, *WIDE], ids=str)
def test_a_fill_beyond_the_dtype_is_refused(dtype):
    bounds = torch.iinfo(dtype)
    images = torch.zeros(2, 1, 9, 14, dtype=dtype)
    for fill in (bounds.max + 1, bounds.min - 1, 10**400, float("nan"), float("inf"), (0.0, 1e30)):
        with pytest.raises(ValueError, match="fill must lie within"):
            mix_pixels(images, shifted_plan(), fill=fill)


def test_out_may_not_be_the_input():
    images = torch.rand(3, 2, 9, 14)
    with pytest.raises(ValueError, match="must not share memory"):
        mix_pixels(images, random_plan(), out=images)


FOREIGN = torch.tensor([[1, 0], [2, 1], [0, 2], [3, 3]])
"""Bases that lie elsewhere than their outputs: nothing is held already."""


@pytest.mark.parametrize("form", ["tensor", "list", "some of a list", "out"])
def test_gradients_flow_where_no_output_holds_its_base(form):
    pool = torch.rand(4, 3, 6, 8)
    rectangles = torch.tensor([[[1, 1, 4, 5], [2, 3, 6, 8]]]).repeat(4, 1, 1)
    plan = MixPlan.from_rectangles(FOREIGN, rectangles, torch.tensor([[6, 8]] * 4))
    expected = mix_pixels(pool, plan)
    images = [image.clone().requires_grad_(form != "some of a list" or index < 2) for index, image in enumerate(pool)]
    if form in ("tensor", "out"):
        given = torch.stack([image.detach() for image in images]).requires_grad_()
        mixed = mix_pixels(given, plan, out=torch.empty(4, 3, 6, 8) if form == "out" else None)
    else:
        given, mixed = images, torch.stack(mix_pixels(images, plan))
    assert torch.equal(mixed, expected)
    mixed.sum().backward()
    counts = torch.stack([plan.owner_map().eq(layer).sum((1, 2)) for layer in (0, 1)], dim=1)
    for image in range(4):
        leaf = given if isinstance(given, torch.Tensor) else given[image]
        if leaf.requires_grad:
            grad = leaf.grad[image] if isinstance(given, torch.Tensor) else leaf.grad
            assert grad.sum() == 3 * counts[image == FOREIGN].sum()


@pytest.mark.parametrize("size", [(6, 8), (320, 300)])
@pytest.mark.parametrize("form", ["exchange", "in place", "out"])
def test_autograd_knows_of_what_was_written(size, form):
    images, weight = torch.rand(4, 3, *size), torch.ones(4, 3, *size, requires_grad=True)
    source = torch.tensor([[0, 1], [1, 0], [2, 3], [3, 2]] if form == "exchange" else [[0, 1], [1, 2], [2, 3], [3, 0]])
    rectangle = torch.tensor([[[1, 2, size[0] - 1, size[1] - 2]]]).repeat(4, 1, 1)
    plan = MixPlan.from_rectangles(source, rectangle, torch.tensor([size] * 4))
    out = torch.rand(4, 3, *size)
    product = ((out if form == "out" else images) * weight).sum()  # saves what will be written to
    mix_pixels(images, plan, **({"out": out} if form == "out" else {"inplace": True}))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@pytest.mark.parametrize("method", ["CutMix", "ResizeMix", "Mosaic", "RICAP", "CowMix", "MixUp"])
def test_autograd_notices_that_out_is_written_to(method):
    images, out = torch.rand(3, 3, 20, 30), torch.rand(3, 3, 20, 30)
    transform = getattr(cd, method)(p=1.0)
    plan = transform.make_plan(images, generator=torch.Generator().manual_seed(1))
    weight = torch.rand(3, 3, 20, 30, requires_grad=True)
    product = (out * weight).sum()
    mix_pixels(images, plan, fill=0, out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_memory_that_several_images_share_is_no_output():
    images = torch.rand(4, 3, 16, 24)
    with pytest.raises(ValueError, match="out must have memory of its own for every pixel"):
        cd.CutMix(p=1.0)(images, out=torch.empty(1, 3, 16, 24).expand(4, -1, -1, -1))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([torch.rand(3, 16, 24), torch.rand(3, 16, 24), torch.rand(1, 16, 24)], r"v2.RGB\(\) does with grey ones"),
        ([torch.rand(3, 16, 24), torch.rand(3, 16, 24), torch.rand(3, 16, 24).half()], "as v2.ToDtype does"),
        (torch.rand(3, 4, 3, 16, 24), "clips need layout='BTCHW', volumes layout='BCDHW'"),
    ],
)
def test_images_that_do_not_fit_have_a_remedy(images, message):
    with pytest.raises(ValueError, match=message):
        cd.CutMix(p=1.0)(images)


def test_truth_values_are_not_blended():
    with pytest.raises(TypeError, match=r"must hold numbers that average, got torch.bool"):
        cd.MixUp(p=1.0)(torch.rand(2, 3, 16, 24) > 0.5)
