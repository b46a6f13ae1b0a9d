"""How many Python and C calls one mix makes: on the host they are the time, and the same on every machine.

A budget is what was counted with torch 2.14 and Python 3.11, and an eighth more for other versions.
"""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import native
from cutmix_dense.cli.benchmarking.calls import count_calls as calls
from cutmix_dense.kernels import mix_batch
from cutmix_dense.kernels.table import table_of

pytestmark = pytest.mark.skipif(native.library is None, reason="the library wasn't built")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def images(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (16, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def objects(seed: int = 0) -> list[dict[str, torch.Tensor]]:
    corner = torch.rand(16, 20, 2, generator=torch.Generator().manual_seed(seed)) * 30
    return [{"boxes": torch.cat([c, c + 12], dim=1), "labels": torch.zeros(20).long()} for c in corner]


PIXELS = {"CutMix": 28, "GridMix": 28, "RICAP": 28, "MixUp": 38, "FMix": 28, "Mosaic": 36, "ResizeMix": 36}
"""Calls of applying a plan to a batch."""


@pytest.mark.parametrize("method", PIXELS)
def test_pixels_are_mixed_in_few_calls(method, generator):
    pool = images()
    plan, out = getattr(cd, method)(p=1.0).make_plan(pool, generator=generator), torch.empty_like(pool)
    work = lambda: mix_batch(pool, plan, fill=None, interpolation="antialias", out=out)  # noqa: E731
    assert 10 < calls(work) <= PIXELS[method]
    assert calls(work) == calls(work), "the same every time"


@pytest.mark.parametrize("mix", [cd.CutMix(p=1.0), cd.Mosaic(p=1.0), cd.Mosaic(grid=(3, 3), p=1.0)], ids=repr)
def test_calls_do_not_grow_with_the_batch(mix, generator):
    few, many = images()[:4], images()
    counted = []
    for pool in (few, many):
        plan, out = mix.make_plan(pool, generator=generator), torch.empty_like(pool)
        counted.append(calls(lambda: mix_batch(pool, plan, fill=None, interpolation="antialias", out=out)))  # noqa: B023
    assert counted[0] == counted[1] <= 36


def test_a_plan_and_its_table_for_a_device_take_few_calls(generator):
    pool, mix = torch.zeros(64, 3, 16, 16, dtype=torch.uint8), cd.CutMix(p=1.0)
    assert 50 < calls(lambda: mix.make_plan(pool, generator=generator)) <= 118
    assert table_of(mix.make_plan(pool, generator=generator)) is not None
    plan = mix.make_plan(pool, generator=generator)
    assert 50 < calls(lambda: table_of(plan), warmup=0) <= 126


def test_in_place_costs_few_calls_more(generator):
    pool = images()
    plan = cd.CutMix(p=1.0, pairing="swap").make_plan(pool, generator=generator)
    assert calls(lambda: mix_batch(pool, plan, fill=None, interpolation="nearest", inplace=True)) <= 33


def test_a_mosaic_is_drawn_and_mixed_in_few_calls(generator):
    pool, mix = images(), cd.Mosaic(p=1.0)
    out = torch.empty_like(pool)
    assert calls(lambda: mix(pool, out=out, generator=generator)) <= 390
