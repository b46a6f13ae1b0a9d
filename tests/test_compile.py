"""Under ``torch.compile`` results don't change; where all shapes are known beforehand, no graph breaks either."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils._pytree import tree_leaves

import cutmix_dense as cd
from cutmix_dense.functional.boxes import visible_boxes

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])


@pytest.mark.parametrize(("pairing", "dtype"), [("roll", torch.uint8), ("swap", torch.float32)])
def test_compiled_on_the_host(pairing, dtype):
    torch._dynamo.reset()
    counters.clear()
    mix = cd.CutMix(p=1.0, pairing=pairing)
    images = torch.randint(0, 255, (4, 3, 24, 32)).to(dtype)
    targets = [{"boxes": torch.tensor([[1.0, 2.0, 20.0, 22.0]]), "labels": torch.tensor([n])} for n in range(4)]

    def mixed(images, targets):
        return mix(images, targets, generator=torch.Generator().manual_seed(3))

    expected_images, expected = mixed(images, targets)
    found_images, found = torch.compile(mixed, backend="eager")(images, targets)
    assert not torch.equal(found_images, images)
    assert torch.equal(found_images, expected_images)
    for one, other in zip(found, expected):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    # lists of instances break the graph, as how many are kept depends on the data; plain tensors never do
    assert not [reason for reason in counters["graph_break"] if "as_subclass" in reason]


@pytest.mark.parametrize(
    "mix", [cd.ClassMix(p=1.0), cd.CowMix(p=1.0), cd.MixUp(p=1.0)], ids=lambda mix: type(mix).__name__
)
def test_free_forms_and_blends_compiled_on_the_host(mix):
    torch._dynamo.reset()
    images = torch.randint(0, 255, (4, 3, 24, 32)).to(torch.uint8)
    maps = torch.randint(0, 5, (4, 6, 8), dtype=torch.uint8).repeat_interleave(4, 1).repeat_interleave(4, 2)

    def mixed(images, maps):
        return mix(images, maps, generator=torch.Generator().manual_seed(3))

    expected = mixed(images, maps)
    found = torch.compile(mixed, backend="eager")(images, maps)
    assert not torch.equal(expected[0], images)
    one_level = 1 if isinstance(mix, cd.MixUp) else 0  # of the rounding of a sum
    for one, other in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        torch.testing.assert_close(one, other, atol=one_level if one.dtype == torch.uint8 else 1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_classes_compiled_on_the_host(dtype):
    torch._dynamo.reset()
    sampler, maps = cd.masks.ClassMask(), torch.randint(0, 9, (4, 6, 8)).to(dtype)
    draws = sampler.draw(4, torch.Generator().manual_seed(3))
    assert torch.equal(torch.compile(sampler.place, backend="eager")(draws, maps), sampler.place(draws, maps))


def padded_batch():
    torch.manual_seed(4)
    boxes = torch.rand(4, 6, 4).sort(dim=2).values * torch.tensor([32.0, 24, 32, 24])
    boxes[0, 1], boxes[1, 2], boxes[2, 3] = boxes[0, 1].flip(0), boxes[1, 2] + 99, boxes[2, 3] * 0
    targets = {"boxes": boxes, "labels": torch.randint(1, 9, (4, 6)), "valid": torch.rand(4, 6) < 0.8}
    return torch.randint(1, 255, (4, 3, 24, 32)).float(), {**targets, "area": torch.rand(4, 6) * 50}


IMAGES, PADDED = padded_batch()
MAPS = torch.randint(0, 5, (4, 24, 32), generator=torch.Generator().manual_seed(1))
MIX = cd.CutMix(p=0.8)
PLAN = MIX.make_plan(IMAGES, generator=torch.Generator().manual_seed(3))
PATCHES = cd.CutMix(p=1.0, region=cd.regions.MultiBox(cd.regions.AreaBox((0.05, 0.2)), 3)).make_plan(
    IMAGES, generator=torch.Generator().manual_seed(3)
)
GRID, BLEND = (
    mix.make_plan(IMAGES, generator=torch.Generator().manual_seed(3)) for mix in (cd.GridMix(p=1.0), cd.MixUp(p=0.7))
)
SHARES = cd.MixUp(soft_semantic="probabilities", num_classes=5, ignore_index=4)
SCALED = cd.Mosaic().make_plan(IMAGES, generator=torch.Generator().manual_seed(3))
COMPILED = {  # what is compiled, of which tensors, and how often its graph breaks
    "padded boxes": (lambda padded: cd.functional.mix_padded(padded, PLAN), (PADDED,), 0),
    "padded boxes, by a peer's rule": (
        lambda padded: cd.functional.mix_padded(padded, PLAN, rule="mmdet"),
        (PADDED,),
        0,
    ),
    "padded boxes, several patches": (lambda padded: cd.functional.mix_padded(padded, PATCHES), (PADDED,), 0),
    "padded boxes, scaled": (lambda padded: cd.functional.mix_padded(padded, SCALED), (PADDED,), 0),
    "pixels": (lambda images: cd.functional.mix_pixels(images, PLAN, fill=0), (IMAGES,), 0),
    "pixels, scaled, nearest": (
        lambda images: cd.functional.mix_pixels(images, SCALED, fill=7.5, interpolation="nearest"),
        (IMAGES,),
        0,
    ),
    "bytes": (lambda images: cd.functional.mix_pixels(images, PATCHES, fill=114), (IMAGES.to(torch.uint8),), 0),
    # without a fill, whether the plan needs one is asked, in two calls of a method and a comparison on the host
    "pixels without a fill": (lambda images: cd.functional.mix_pixels(images, PLAN), (IMAGES,), 3),
    "map": (lambda maps: cd.functional.mix_semantic(maps, PLAN), (MAPS,), 0),
    "plan applied to images": (lambda images: MIX.apply_plan(PLAN, images), (IMAGES,), 0),
    "plan applied to padded boxes": (lambda *given: MIX.apply_plan(PLAN, *given), (IMAGES, PADDED), 0),
    "grid applied to padded boxes": (lambda *given: MIX.apply_plan(GRID, *given), (IMAGES, PADDED), 0),
    "blend applied to padded boxes": (
        lambda *given: MIX.apply_plan(BLEND, *given),
        (IMAGES.to(torch.uint8), PADDED),
        0,
    ),
    "plan applied to maps and padded boxes": (
        lambda images, padded, semantic: MIX.apply_plan(PLAN, images, {**padded, "semantic": semantic}),
        (IMAGES, PADDED, MAPS),
        0,
    ),
    "plan applied to maps": (lambda *given: MIX.apply_plan(PLAN, *given), (IMAGES, MAPS), 0),
    "blend applied to maps": (lambda *given: MIX.apply_plan(BLEND, *given), (IMAGES.to(torch.uint8), MAPS), 0),
    "blend applied to maps, probabilities": (
        lambda *given: SHARES.apply_plan(BLEND, *given),
        (IMAGES.to(torch.uint8), MAPS),
        0,
    ),
}


@pytest.mark.parametrize("name", COMPILED)
def test_what_is_compiled_gives_what_eager_gives_in_whole_graphs(name):
    apply, given, breaks = COMPILED[name]
    torch._dynamo.reset()
    counters.clear()
    expected = apply(*given)
    found = torch.compile(apply, backend="eager")(*given)
    for one, other in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        assert (one is other is None) or torch.equal(one, other)
    assert sum(counters["graph_break"].values()) == breaks, dict(counters["graph_break"])


@pytest.mark.parametrize(
    "mix",
    [cd.CutMix(p=0.8), cd.GridMix(), cd.MixUp(), cd.ResizeMix(), cd.Mosaic()],
    ids=lambda mix: type(mix).__name__,
)
def test_a_compiled_call_breaks_only_where_it_draws(mix):
    """The generator and the draws are the host's, which no compiler traces; around them, two graphs serve all calls."""
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(lambda *given: mix(*given), backend="eager")
    for seed in range(3):
        given = (IMAGES.to(torch.uint8), PADDED)
        torch.manual_seed(seed)
        expected = mix(*given)
        torch.manual_seed(seed)
        images, *found = tree_leaves(compiled(*given))
        wanted, *others = tree_leaves(expected)
        assert (images.int() - wanted.int()).abs().max() <= (type(mix) in (cd.ResizeMix, cd.Mosaic)), "filtered"
        for one, other in zip(found, others, strict=True):
            assert torch.equal(one, other)
    assert counters["stats"]["unique_graphs"] == 2
    drawn = [name for reason in counters["graph_break"] for name in ("call_generator", "untraced") if name in reason]
    assert sorted(drawn) == ["call_generator", "untraced"]
    assert len(counters["graph_break"]) == 2


@pytest.mark.parametrize("plan", [BLEND, SCALED], ids=["blend", "scaled"])
def test_gradients_flow_through_a_compiled_mix(plan):
    torch._dynamo.reset()
    images, seen = IMAGES.clone().requires_grad_(), IMAGES.clone().requires_grad_()
    weight = torch.rand(IMAGES.shape)
    mix = lambda pool: cd.functional.mix_pixels(pool, plan, fill=0)  # noqa: E731
    (torch.compile(mix, backend="aot_eager")(images) * weight).sum().backward()
    (mix(seen) * weight).sum().backward()
    torch.testing.assert_close(images.grad, seen.grad, rtol=0, atol=2e-5)


def test_some_compiled_slots_are_kept_and_broken_ones_are_empty():
    """What a comparison with an IntEnum, which tracing takes for False, would have emptied."""
    torch._dynamo.reset()
    found = torch.compile(lambda padded: cd.functional.mix_padded(padded, PLAN), backend="eager")(PADDED)
    assert found["valid"].sum() > 8
    for image, slot in ((0, 1), (1, 2), (2, 3)):
        assert not (found["origin"] == torch.tensor([image, slot])).all(dim=2).any()


RESIZED = cd.ResizeMix(p=0.7).make_plan(IMAGES, generator=torch.Generator().manual_seed(5))
SHARED = replace(RESIZED, owner=torch.zeros_like(RESIZED.owner), weight=torch.full(RESIZED.source.shape, 0.5))


@pytest.mark.parametrize(
    ("plan", "dtype", "interpolation"),
    [
        (SCALED, torch.uint8, "antialias"),
        (SCALED, torch.float32, "bilinear"),
        (RESIZED, torch.int16, "antialias"),
        (RESIZED, torch.float16, "bilinear"),
        (SHARED, torch.uint8, "bilinear"),
        (SHARED, torch.float64, "antialias"),
    ],
    ids=["mosaic of bytes", "mosaic", "resizemix of 16 bits", "resizemix of halves", "blend of bytes", "blend"],
)
def test_filtered_pictures_compile_into_one_graph(plan, dtype, interpolation):
    """Equal to one level of integers, as torch resizes bytes in fixed point, and else to its places in float32."""
    torch._dynamo.reset()
    counters.clear()
    images = (IMAGES / 256).to(dtype) if dtype.is_floating_point else IMAGES.to(dtype)
    apply = lambda pool: cd.functional.mix_pixels(pool, plan, fill=0, interpolation=interpolation)  # noqa: E731
    found, expected = torch.compile(apply, backend="eager")(images), apply(images)
    assert not counters["graph_break"]
    assert found.dtype == dtype
    within = {torch.float16: 1e-3, torch.float32: 5e-6, torch.float64: 1e-6}.get(dtype, 1)
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=within)
    assert (found != images).any(), "something was mixed"


@pytest.mark.skipif(TORCH < (2, 6), reason="older versions of torch don't trace nonzero")
def test_rows_of_unknown_number_are_traced_in_one_graph():
    plan = cd.MixPlan.from_rectangles(
        torch.tensor([[0, 1]]), torch.tensor([[[0, 0, 4, 4]]]), torch.tensor([[8, 8], [8, 8]])
    )
    boxes = torch.tensor([[0.0, 0.0, 6.0, 6.0], [1.0, 1.0, 0.0, 0.0]])

    def measure(given):
        rows = (given[:, 2] > given[:, 0]).nonzero()[:, 0]
        return visible_boxes(given[rows], plan, torch.zeros_like(rows), torch.zeros_like(rows)).visible

    traced = torch.compile(measure, fullgraph=True, dynamic=True, backend="eager")
    assert torch.equal(traced(boxes), measure(boxes))
