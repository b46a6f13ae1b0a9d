"""How a plan travels: packed into one buffer, and whole again on the other side."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from kernels.plans import METHODS, plan_of, random_plan, soft_plan
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from cutmix_dense import MixPlan
from cutmix_dense.kernels.blend import suits_blend
from cutmix_dense.kernels.device import serves, suits_fused
from cutmix_dense.kernels.patches import patches_for
from cutmix_dense.plan.moving import _packed, _unpacked
from cutmix_dense.plan.ownership import has_fill


def tensors(plan: MixPlan) -> list[Tensor]:
    values = [getattr(plan, field.name) for field in fields(plan)]
    flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
    return [item for item in flat if isinstance(item, Tensor)]


@pytest.mark.parametrize(
    "plan", [*(plan_of(method, 0) for method in METHODS), random_plan(0), soft_plan()], ids=[*METHODS, "random", "soft"]
)
def test_a_packed_plan_is_the_same_plan(plan):
    buffer = _packed(plan, pinned=False)
    again = _unpacked(plan, buffer)
    assert len(tensors(again)) == len(tensors(plan)) >= 8
    for ours, theirs in zip(tensors(again), tensors(plan)):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
        assert ours.untyped_storage().data_ptr() == buffer.untyped_storage().data_ptr()
        assert ours.storage_offset() * ours.element_size() % 16 == 0
    assert again.frame == plan.frame
    assert (again.unscaled, again.free_form) == (plan.unscaled, plan.free_form)


def test_what_the_host_knows_is_not_asked_for_again():
    plan = random_plan(0)
    filled = plan.has_fill()
    moved = plan.to("meta")
    assert has_fill.known(moved) == (filled,)
    assert all(map(np.array_equal, moved.facts, plan.facts))
    assert moved.facts.shift is not plan.facts.shift


def test_a_plan_that_is_there_stays():
    plan = random_plan(0)
    assert plan.to("cpu") is plan
    moved = plan.to("meta")
    assert plan.to(torch.device("meta")) is moved  # sent once
    assert moved.device.type == "meta"
    assert moved.unscaled == plan.unscaled


def test_the_cpu_keeps_its_own_ways():
    assert not serves(torch.device("cpu"))
    assert not suits_fused(torch.rand(3, 3, 13, 22), random_plan(0))


def test_the_kernel_filters_floating_point_and_bytes_only(monkeypatch):
    monkeypatch.setattr("cutmix_dense.kernels.device.serves", lambda device: True)
    scaled, moved = random_plan(0), plan_of("cutmix", 0)
    for dtype in (torch.uint8, torch.float16, torch.float32, torch.int8, torch.int16, torch.int32, torch.int64):
        pool = torch.zeros(3, 3, 13, 22, dtype=dtype)
        filtered = dtype in (torch.uint8, torch.float16, torch.float32)
        assert suits_fused(pool, scaled, interpolation="nearest")
        assert suits_fused(pool, scaled, interpolation="antialias") == filtered
        assert suits_fused(pool, moved, interpolation="antialias")  # nothing is filtered there


def test_what_32_bits_cannot_count_is_left_to_torch(monkeypatch):
    for module in ("device", "patches", "blend"):
        monkeypatch.setattr(f"cutmix_dense.kernels.{module}.serves", lambda device: True)
    for side, served in ((16384, True), (32768, False)):
        pool, sizes = torch.empty(2, 3, side, side, dtype=torch.uint8, device="meta"), torch.tensor([[side, side]] * 2)
        plan = MixPlan.from_rectangles(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[1, 2, 30, 40]]] * 2), sizes)
        soft = MixPlan.blend(torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]), sizes)
        assert suits_fused(pool, plan) == served
        assert (patches_for(pool, plan, None, None) is not None) == served
        assert suits_blend(pool, soft, None) == served


class _Launches:
    """Stands for a kernel, and for the current device; notes where it is launched."""

    def __init__(self) -> None:
        self.device: Any = torch.device("cuda:0")
        self.places: list[torch.device] = []

    def __getitem__(self, grid: Any) -> Any:
        return lambda *_, **__: self.places.append(self.device)

    def within(self, device: torch.device) -> Any:
        before, self.device = self.device, device
        stack = ExitStack()
        stack.callback(setattr, self, "device", before)
        return stack


def test_kernels_are_launched_where_their_tensors_lie(monkeypatch):
    pytest.importorskip("triton", minversion="3.0")
    from cutmix_dense.kernels import triton_masks, triton_mix

    launches = _Launches()
    monkeypatch.setattr(torch.cuda, "device", launches.within)
    monkeypatch.setattr(triton_mix, "_mix_kernel", launches)
    monkeypatch.setattr(triton_masks, "_cut_kernel", launches)
    plan = plan_of("cutmix", 0)
    with FakeTensorMode() as mode:
        there = plan.each(lambda tensor: mode.from_tensor(tensor).to("cuda:1"))
        there = replace(plan, check=False, **there)
        images = torch.empty(3, 3, *plan.frame, dtype=torch.uint8, device="cuda:1")
        index = torch.zeros(2, dtype=torch.long, device="cuda:1")
        triton_mix.mix_fused(images, there, None, "nearest")
        triton_mix.mix_fused(images, there, None, "nearest", inplace=True)
        triton_masks.cut_masks(images[0], there, index, index, index)
    assert launches.places == [torch.device("cuda:1")] * 4
    assert launches.device == torch.device("cuda:0")
