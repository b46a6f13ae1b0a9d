"""On a GPU: equal to the CPU, without a host sync, compiled and in CUDA graphs. Run: ``pytest tests/kernels``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from kernels.plans import METHODS, batch, padded_boxes, plan_of, random_plan, soft_plan
from torch.utils._pytree import tree_flatten

import cutmix_dense as cd
from cutmix_dense.functional.boxes import visible_boxes
from cutmix_dense.functional.masks import boxes_of_masks, mix_masks
from cutmix_dense.kernels import mix_batch
from cutmix_dense.kernels.device import suits_fused
from cutmix_dense.kernels.gather import mix_gather
from cutmix_dense.kernels.layered import mix_layered

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

HERE = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _card() -> Iterator[None]:
    """Where a test loses the card, as an illegal access does, the others need a new process."""
    yield
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        pytest.exit(f"the card is lost: {str(error).splitlines()[0]}", returncode=75)


@contextmanager
def no_sync() -> Iterator[None]:
    """Whatever makes the host wait for the device raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def fill_of(images: torch.Tensor) -> torch.Tensor:
    return torch.tensor([1, 0, 3]).to(images.dtype).reshape(3, 1, 1)


def large(seed: int, dtype: torch.dtype, height: int = 96, width: int = 320) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(4, 3, height, width, generator=generator) * 255).to(dtype)


def large_plan(method: str, images: torch.Tensor):
    generator = torch.Generator().manual_seed(1)
    return METHODS[method]().make_plan(images, generator=generator)


# -------------------------------------------------------------------------------------------------------- CPU = CUDA


@pytest.mark.parametrize("method", METHODS)
def test_every_method_equals_the_cpu(method):
    images, targets = batch(0)
    plan = plan_of(method, 0)
    fill = fill_of(images)
    assert suits_fused(images.to(HERE), plan)
    mixed = mix_batch(images.to(HERE), plan, fill=fill.to(HERE), interpolation="nearest")
    assert torch.equal(mixed.cpu(), mix_gather(images, plan, fill))
    ids, ignore = targets["semantic"], torch.tensor(255)
    mixed = mix_batch(ids.to(HERE), plan, fill=ignore.to(HERE), interpolation="nearest")
    assert torch.equal(mixed.cpu(), mix_gather(ids, plan, ignore))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("method", ["cutmix", "mosaic", "gridmix"])
def test_larger_batches_equal_the_cpu(dtype, last, method):
    images = large(0, dtype)
    plan = large_plan(method, images)
    fill = fill_of(images)
    there = images.to(HERE, memory_format=torch.channels_last if last else torch.contiguous_format)
    expected = mix_gather(images, plan, fill)
    out = torch.empty_like(there)
    assert mix_batch(there, plan, fill=fill.to(HERE), interpolation="nearest", out=out) is out
    assert torch.equal(out.cpu(), expected)
    if plan.unscaled:
        mix_batch(there, plan, fill=fill.to(HERE), interpolation="nearest", inplace=True)
        assert torch.equal(there.cpu(), expected)


@pytest.mark.parametrize("seed", range(10))
def test_random_layers_equal_the_cpu(seed):
    images, _ = batch(seed)
    plan = random_plan(seed)
    fill = fill_of(images)
    mixed = mix_batch(images.to(HERE), plan, fill=fill.to(HERE), interpolation="nearest")
    assert torch.equal(mixed.cpu(), mix_gather(images, plan, fill))
    for interpolation in ("bilinear", "antialias"):
        mixed = mix_batch(images.to(HERE), plan, fill=fill.to(HERE), interpolation=interpolation)
        expected = images.new_empty((len(plan), images.shape[1], *plan.frame))
        mix_layered(images, plan, fill, interpolation, framed=True, out=expected)
        assert (mixed.cpu() - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("plan", [random_plan(0), random_plan(1), plan_of("cutmix", 0), soft_plan()])
def test_masks_equal_the_cpu(plan):
    from cutmix_dense.kernels.triton_masks import cut_masks

    masks = torch.rand(3, 2, 13, 22) < 0.3
    reference = mix_masks(list(masks), plan, [plan.frame] * len(plan))
    entries = [(int(plan.source[o, s]) * 2 + n, o, s) for o, s in reference for n in range(2)]
    row, output, layer = torch.tensor(entries).T.contiguous().to(HERE)
    there = plan.to(HERE)
    stack = masks.flatten(0, 1).to(HERE)
    with no_sync():
        cut = cut_masks(stack, there, row, output, layer)
    expected = torch.cat([part.masks for part in reference.values()])
    assert torch.equal(cut.masks.cpu(), expected)
    assert torch.equal(cut.visible.cpu(), torch.cat([part.visible for part in reference.values()]))
    assert torch.equal(cut.whole.cpu().double(), torch.cat([part.whole for part in reference.values()]))
    assert torch.equal(cut.boxes.cpu().double(), boxes_of_masks(expected))


# ----------------------------------------------------------------------------------------------------------- no sync


@pytest.mark.parametrize("method", ["cutmix", "cutmix of five boxes", "mosaic", "resizemix", "cowmix"])
@pytest.mark.parametrize("interpolation", ["nearest", "antialias"])
def test_images_and_maps_without_a_sync(method, interpolation):
    """The plan begins on the host: it travels too."""
    images, targets = batch(0)
    there, ids = images.to(HERE), targets["semantic"].to(HERE)
    fill, ignore = fill_of(images).to(HERE), torch.tensor(255, device=HERE)
    plan = plan_of(method, 0)
    mix_batch(there, plan, fill=fill, interpolation=interpolation)  # compiles the kernel
    with no_sync():
        moved = plan.to(HERE)
        mix_batch(there, moved, fill=fill, interpolation=interpolation)
        mix_batch(ids, moved, fill=ignore, interpolation="nearest")
        if plan.unscaled:
            mix_batch(there, plan, fill=fill, interpolation=interpolation, inplace=True)


@pytest.mark.parametrize("method", ["cutmix", "cutmix of five boxes", "mosaic", "ricap"])
def test_boxes_without_a_sync(method):
    _, targets = batch(0)
    plan = plan_of(method, 0)
    boxes = torch.cat([target["boxes"] for target in targets["instances"]])
    output = torch.arange(3).repeat_interleave(4)
    expected = visible_boxes(boxes, plan, output, output * 0)
    boxes_there, output_there, layer_there = boxes.to(HERE), output.to(HERE), (output * 0).to(HERE)
    with no_sync():
        seen = visible_boxes(boxes_there, plan.to(HERE), output_there, layer_there)
    assert all(torch.equal(ours.cpu(), theirs) for ours, theirs in zip(seen, expected))


@pytest.mark.parametrize("method", ["cutmix", "cutmix of pairs", "ricap", "gridmix", "mixup", "cowmix"])
def test_whole_transforms_equal_the_cpu_without_a_sync(method):
    images, kinds = large(0, torch.uint8), {}
    if method not in ("mixup", "cowmix"):
        kinds = padded_boxes(0, images=4)
        kinds["semantic"] = torch.randint(0, 19, (4, 96, 320))
    mix = cd.MixUp(p=1.0) if method == "mixup" else METHODS[method]()
    in_place = {"inplace": True} if method == "cutmix of pairs" else {}

    def call(images, targets):
        given = (images, dict(targets)) if targets else (images,)
        return mix(*given, generator=torch.Generator().manual_seed(1), **in_place)

    expected = call(images.clone(), {key: value.clone() for key, value in kinds.items()})
    sent = [(images.to(HERE), {key: value.to(HERE) for key, value in kinds.items()}) for _ in range(2)]
    call(*sent[0])  # compiles the kernels
    with no_sync():
        mixed = call(*sent[1])
    for found, wanted in zip(tree_flatten(mixed)[0], tree_flatten(expected)[0], strict=True):
        assert torch.equal(found.cpu(), wanted)


# -------------------------------------------------------------------------------------------------- compile and graphs


@pytest.mark.parametrize("method", ["cutmix", "mosaic"])
def test_compiled_without_a_graph_break(method):
    images, targets = batch(0)
    plan = plan_of(method, 0).to(HERE)
    there, fill = images.to(HERE), fill_of(images).to(HERE)
    boxes = torch.cat([target["boxes"] for target in targets["instances"]]).to(HERE)
    output = torch.arange(3, device=HERE).repeat_interleave(4)

    def step(images, boxes):
        mixed = mix_batch(images, plan, fill=fill, interpolation="antialias")
        return mixed * 2, visible_boxes(boxes, plan, output, output * 0).boxes

    mixed, seen = torch.compile(step, fullgraph=True)(there, boxes)
    expected, expected_seen = step(there, boxes)
    assert torch.equal(mixed, expected)
    assert torch.allclose(seen, expected_seen)


def test_a_captured_graph_follows_its_plan():
    """Captured once with a plan's buffers, replayed with another plan's numbers in them."""
    images, _ = batch(0)
    there, fill = images.to(HERE), fill_of(images).to(HERE)
    plan, other = (plan_of("cutmix", seed).to(HERE) for seed in (0, 1))
    out = torch.empty_like(there)
    mix_batch(there, plan, fill=fill, interpolation="nearest", out=out)  # compiles the kernel
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        mix_batch(there, plan, fill=fill, interpolation="nearest", out=out)
    for name in ("source", "scale", "shift", "extent", "canvas", "owner"):
        getattr(plan, name).copy_(getattr(other, name))
    for ours, theirs in zip(plan.edges, other.edges):
        ours.copy_(theirs)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out.cpu(), mix_gather(images, plan_of("cutmix", 1), fill.cpu()))
