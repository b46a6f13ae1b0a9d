"""What ptxas makes of the kernels, for every architecture and without a card: registers, spills, barriers, widths."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

pytest.importorskip("triton", minversion="3.3", reason="Triton, which comes with torch for CUDA, isn't installed")

from kernels.plans import METHODS
from kernels.simulated.assembly import Assembly, read
from kernels.simulated.card import card

import cutmix_dense as cd
from cutmix_dense.kernels.blend import mix_blend
from cutmix_dense.kernels.boxes import Thresholds, mix_boxes
from cutmix_dense.kernels.free import mix_free
from cutmix_dense.kernels.layers import empty_batch
from cutmix_dense.kernels.patches import exchange, joined_launches, mix_patches, patches_for
from cutmix_dense.kernels.triton_masks import cut_masks, unite_rows
from cutmix_dense.kernels.triton_mix import mix_fused

ARCHITECTURES = (80, 90, 100, 120)
SIZE = (64, 320)


def compiled(architecture: int, work: object) -> list[Assembly]:
    """What the launches of some work would run."""
    with card(architecture) as launches:
        work()
    return [read(launch.kernel) for launch in launches]


def images(dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.zeros(2, 3, *SIZE, dtype=dtype)


def plan_of(method: str):
    return METHODS[method]().make_plan(images(), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def _served(monkeypatch):
    """Batches on the host are taken for those of a card."""
    monkeypatch.setattr("cutmix_dense.kernels.patches.serves", lambda device: True)


def patched(plan, *pools: torch.Tensor) -> None:
    with joined_launches():
        for pool in pools:
            patches = patches_for(pool, plan, None, None)
            assert patches is not None
            mix_patches(pool, plan, patches, empty_batch(pool, plan))


LAYOUTS = {  # batches, and bytes that a thread writes of each
    "bytes": ([images()], [48]),
    "bytes and ids": ([images(), torch.zeros(2, *SIZE, dtype=torch.int64)], [48, 64]),
    "bytes and small ids": ([images(), torch.zeros(2, *SIZE, dtype=torch.uint8)], [48, 64]),
    "half": ([images(torch.float16)], [48]),
    "float": ([images(torch.float32)], [48]),
    "channels last": ([images().contiguous(memory_format=torch.channels_last)], [64]),
    "odd width": ([torch.zeros(2, 3, 64, 333, dtype=torch.uint8)], [48]),
}


@pytest.mark.usefixtures("_served")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_patches_are_few_instructions_and_whole_vectors(architecture, layout):
    """Nothing loops in them, so instructions executed are those written down."""
    pools, written = LAYOUTS[layout]
    plan = METHODS["cutmix"]().make_plan(torch.zeros(2, 3, *pools[0].shape[-2:]))
    (code,) = compiled(architecture, lambda: patched(plan, *pools))
    vectors = sum(written) // 16
    assert code.spilled == code.barriers == code.calls == 0
    assert code.registers <= 64
    assert code.instructions <= (6.2 if layout == "odd width" else 5) * sum(written)
    assert code.stores == {16: vectors}
    assert code.loads[16] == 2 * vectors
    assert set(code.loads) == {4, 16}, "and numbers of the plan"


@pytest.mark.usefixtures("_served")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", ["gridmix", "ricap", "cutmix of five boxes"])
def test_patches_of_many_cells_wait_for_nothing(architecture, method):
    pool = images(torch.float32)
    (code,) = compiled(architecture, lambda: patched(plan_of(method), pool))
    assert code.spilled == code.barriers == 0
    assert code.registers <= 96
    assert code.stores == {16: 3}


@pytest.mark.usefixtures("_served")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_exchange_is_few_instructions_and_whole_vectors(architecture):
    pool, plan = images(), plan_of("cutmix of pairs")
    patches = patches_for(pool, plan, None, None)
    (code,) = compiled(architecture, lambda: exchange(pool, plan, patches))
    assert code.spilled == code.barriers == code.calls == 0
    assert code.registers <= 64
    assert code.instructions <= 2.5 * 96
    assert code.stores == code.loads - Counter({4: code.loads[4]}) == {16: 6}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32], ids=str)
def test_free_forms_are_few_instructions_and_whole_vectors(architecture, dtype):
    pool, plan = images(dtype), plan_of("cowmix")
    (code,) = compiled(architecture, lambda: mix_free(pool, plan, None, torch.empty_like(pool)))
    assert code.spilled == code.barriers == code.calls == 0
    assert code.registers <= 64
    assert code.instructions <= 5 * 48
    assert code.stores == {16: 3}
    assert code.loads[16] >= 6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("dtype", "cost"), [(torch.uint8, 12), (torch.float16, 6.5), (torch.float32, 4)], ids=str)
def test_blends_are_whole_vectors(architecture, dtype, cost):
    """Every byte is taken out, converted and weighed twice, then added, rounded and packed, each as on the host."""
    pool = images(dtype)
    plan = cd.MixUp(p=1.0).make_plan(images(torch.float32))
    (code,) = compiled(architecture, lambda: mix_blend(pool, plan, torch.empty_like(pool)))
    assert code.spilled == code.barriers == code.calls == 0
    assert code.registers <= 64
    assert code.instructions <= cost * 32
    assert code.stores == {16: 2}
    assert code.loads[16] == 4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_boxes_are_measured_within_registers(architecture):
    boxes, labels = torch.zeros(2, 20, 4), torch.zeros(2, 20, dtype=torch.int64)
    rule = Thresholds((0.1, 0.1), (1.0, 1.0), float("inf"), False)
    work = lambda: mix_boxes(boxes, plan_of("cutmix"), rule, beside=labels, valid=labels > 0)  # noqa: E731
    (code,) = compiled(architecture, work)
    assert code.spilled <= 4  # where the division of doubles is called
    assert code.barriers == 0
    assert code.registers <= 96


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_general_kernel_moves_whole_tiles_by_16_bytes(architecture):
    (code,) = compiled(architecture, lambda: mix_fused(images(), plan_of("gridmix"), None, "nearest"))
    assert code.spilled == 0
    assert code.registers <= 255
    assert code.loads[16] == code.stores[16] == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_masks_are_cut_within_registers(architecture):
    masks, index = torch.zeros(4, *SIZE, dtype=torch.bool), torch.arange(4)
    (code,) = compiled(architecture, lambda: cut_masks(masks, plan_of("cutmix"), index, index // 2, index * 0))
    assert code.spilled == 0
    assert code.registers <= 255
    assert code.loads[8]
    assert code.stores[8]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_masks_are_united_in_few_registers(architecture):
    masks, table = torch.zeros(4, *SIZE, dtype=torch.bool), torch.tensor([0, 2, *SIZE, 2, 4, *SIZE, 0, 1, 2, 3])
    (code,) = compiled(architecture, lambda: unite_rows(masks, table, 2))
    assert code.spilled == code.barriers == code.calls == 0
    assert code.registers <= 64
    assert code.stores == {8: 1}
    assert set(code.loads) == {4, 8}, "no byte is read alone"
