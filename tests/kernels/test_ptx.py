"""What is compiled for a card, executed on the host: bit for bit what the reference gives, within its own memory."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", minversion="3.3", reason="Triton, which comes with torch for CUDA, isn't installed")

from kernels.plans import METHODS, grid_plan, padded_boxes
from kernels.simulated.card import card
from kernels.simulated.ptx import COMPILER, execute

import cutmix_dense as cd
from cutmix_dense.functional import mix_padded
from cutmix_dense.kernels.blend import mix_blend
from cutmix_dense.kernels.boxes import Thresholds, mix_boxes
from cutmix_dense.kernels.free import mix_free
from cutmix_dense.kernels.gather import mix_gather
from cutmix_dense.kernels.layers import empty_batch
from cutmix_dense.kernels.patches import exchange, joined_launches, mix_patches, patches_for
from cutmix_dense.kernels.triton_masks import unite_rows

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")


@pytest.fixture(autouse=True)
def _served(monkeypatch):
    """Batches on the host are taken for those of a card."""
    monkeypatch.setattr("cutmix_dense.kernels.patches.serves", lambda device: True)


def assert_patched(plan, *pools: torch.Tensor) -> float | None:
    """Whether one launch gives what the reference gives; returns the instructions of PTX per byte, None if not served.

    What is written lies within its tensor alone: those of a launch have storages of their own.
    """
    fill = torch.tensor(7)
    with card() as launches, joined_launches():
        outs = []
        for pool in pools:
            value = fill.to(pool.dtype)
            patches = patches_for(pool, plan, value, None)
            if patches is None:
                return None
            outs.append(empty_batch(pool, plan).fill_(9))
            mix_patches(pool, plan, patches, outs[-1])
    (launch,) = launches
    instructions, written = execute(launch)
    for out, pool in zip(outs, pools):
        assert torch.equal(out, mix_gather(pool, plan, fill.to(pool.dtype)))
    assert written == sum(out.nbytes for out in outs), "every byte once"
    return instructions / written


@pytest.mark.parametrize("width", [320, 65, 46])
@pytest.mark.parametrize("method", ["cutmix", "ricap"])
def test_images_and_ids(method, width):
    images, ids = torch.randint(0, 255, (3, 3, 48, width), dtype=torch.uint8), torch.randint(0, 19, (3, 48, width))
    plan = METHODS[method]().make_plan(images, generator=torch.Generator().manual_seed(1))
    cost = assert_patched(plan, images, ids)
    assert cost is not None
    if (method, width) == ("cutmix", 320):
        assert cost < 5


def test_channels_last():
    images = torch.randint(0, 255, (2, 3, 32, 64), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert assert_patched(METHODS["cutmix"]().make_plan(images), images) is not None


def assert_some_cells(seeds: range) -> None:
    served = 0
    for seed in seeds:
        pool, plan = grid_plan(seed)
        served += assert_patched(plan, pool) is not None
    assert served > len(seeds) // 4


def test_a_few_random_cells():
    assert_some_cells(range(100, 108))


@pytest.mark.slow
def test_many_random_cells():
    assert_some_cells(range(200, 260))


@pytest.mark.filterwarnings("ignore:.*boxes")
@pytest.mark.parametrize("method", ["cutmix", "mosaic"])
def test_padded_boxes(method):
    targets = padded_boxes(1)
    plan = METHODS[method]().make_plan(torch.rand(3, 3, 48, 64), generator=torch.Generator().manual_seed(0))
    expected = mix_padded(targets, plan, min_size=1.3)
    with card() as launches:
        rule = Thresholds((0.1, 0.1), (1.3, 1.3), float("inf"), False)
        mixed = mix_boxes(targets["boxes"], plan, rule, beside=targets["labels"], valid=targets["valid"])
    execute(launches[0])
    for name, found in zip(("boxes", "labels", "valid", "visibility", "origin"), mixed):
        assert torch.equal(found, expected[name]), name


def test_an_exchange_in_place_writes_the_rectangle_alone():
    pool = torch.randint(0, 255, (4, 3, 32, 64), dtype=torch.uint8)
    plan = METHODS["cutmix of pairs"]().make_plan(pool, generator=torch.Generator().manual_seed(0))
    expected, patches = mix_gather(pool, plan, None), patches_for(pool, plan, None, None)
    with card() as launches:
        exchange(pool, plan, patches)
    _, written = execute(launches[0])
    assert torch.equal(pool, expected)
    rows, columns = (edge[:, 2] - edge[:, 1] for edge in plan.edges)
    assert written <= int((3 * rows * (columns + 30)).sum()), "whole vectors at both ends of a row"


def test_free_forms():
    pool = torch.randint(0, 255, (2, 3, 24, 30), dtype=torch.uint8)
    plan = METHODS["cowmix"]().make_plan(pool.float(), generator=torch.Generator().manual_seed(0))
    for batch in (pool, pool.half(), pool[:, 0].long()):
        out = torch.empty_like(batch)
        with card() as launches:
            mix_free(batch, plan, None, out)
        execute(launches[0])
        assert torch.equal(out, mix_gather(batch, plan, None))


def test_a_blend():
    pool = torch.randint(0, 256, (3, 3, 12, 31), dtype=torch.uint8)
    plan = cd.MixUp(p=1.0).make_plan(pool.float(), generator=torch.Generator().manual_seed(0))
    out = torch.empty_like(pool)
    with card() as launches:
        mix_blend(pool, plan, out)
    execute(launches[0])
    assert torch.equal(out, cd.functional.mix_pixels(pool, plan))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_united_masks(dtype):
    """An output without masks, one with a smaller image, and masks that several outputs have."""
    masks = (torch.rand(5, 37, 53) < 0.2).to(dtype) * (1 if dtype == torch.bool else 200)
    chosen, sizes = [[3, 0], [], [1, 3, 4]], [(37, 53), (30, 20), (21, 53)]
    ends = torch.tensor([0, *map(len, chosen)]).cumsum(0).tolist()
    table = torch.tensor([[*ends[k : k + 2], *size] for k, size in enumerate(sizes)]).flatten()
    with card() as launches:
        found = unite_rows(
            masks, torch.cat([table, torch.tensor([row for rows in chosen for row in rows])]), len(chosen)
        )
    _, written = execute(launches[0])
    assert written == found.numel(), "every pixel once"
    for union, rows, (height, width) in zip(found, chosen, sizes):
        expected = torch.zeros(37, 53, dtype=torch.bool)
        expected[:height, :width] = (masks[rows] != 0).any(0)[:height, :width]
        assert torch.equal(union, expected)


def test_a_store_beyond_its_tensor_traps():
    """The proof itself: it would tell."""
    images = torch.zeros(2, 3, 16, 32, dtype=torch.uint8)
    plan = METHODS["cutmix"]().make_plan(images)
    with card() as launches:
        patches = patches_for(images, plan, None, None)
        mix_patches(images, plan, patches, torch.empty_like(images))
    launch = launches[0]
    small = launch._replace(arguments=[torch.zeros(8, dtype=torch.int32), *launch.arguments[1:]])
    with pytest.raises(RuntimeError, match="memory"):
        execute(small)
    skewed = torch.zeros(4 * 4 * 1024, dtype=torch.uint8)[1:]
    with pytest.raises(RuntimeError, match="memory"):
        execute(launch._replace(arguments=[skewed, *launch.arguments[1:]]))
