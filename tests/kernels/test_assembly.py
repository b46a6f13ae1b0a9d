"""What ptxas makes of the kernels, for every architecture and without a card: registers, spills, barriers, widths."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", minversion="3.3", reason="Triton, which comes with torch for CUDA, isn't installed")

from kernels.plans import METHODS
from kernels.simulated.assembly import Assembly, read
from kernels.simulated.card import card

from cutmix_dense.kernels.triton_masks import cut_masks
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
