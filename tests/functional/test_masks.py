"""Instance masks under a plan: the library cuts what the reference cuts, whatever the masks are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import MixPlan, native
from cutmix_dense.functional.mask_windows import put_masks
from cutmix_dense.functional.masks import boxes_of_masks, mix_masks

pytestmark = pytest.mark.skipif(native.library is None, reason="the compiled library isn't there")

SIZES = torch.tensor([(19, 31, 11), (23, 17, 13), (21, 29, 12)])
SOURCE = torch.tensor([[0, 1, 2], [2, 0, 1], [1, -1, 0]])


def stacks_of(generator, ndim, dtype=torch.uint8, counts=(4, 0, 6)):
    """Blobs with holes, whose pixels differ, some of them empty."""
    stacks = []
    for count, size in zip(counts, SIZES[:, :ndim].tolist()):
        stack = torch.randint(1, 100, (count, *size), generator=generator)
        for mask in stack:
            low = [int(torch.randint(0, n, (), generator=generator)) for n in size]
            part = tuple(slice(at, at + int(torch.randint(0, n, (), generator=generator))) for at, n in zip(low, size))
            inside = torch.zeros_like(mask)
            inside[part] = 1
            mask *= inside * (torch.rand(mask.shape, generator=generator) < 0.7)
        stacks.append(stack.to(dtype))
    return stacks


def plans(generator, ndim, rounds):
    """Grids and maps of owners, moved, scaled and mirrored; cut sources; soft ones."""
    frame = tuple(SIZES[:, :ndim].amax(dim=0).tolist())
    for round_ in range(rounds):
        if round_ % 3 == 0:
            owner = torch.randint(-1, 3, (3, *frame), generator=generator)
            plan = MixPlan.from_map(SOURCE, owner, SIZES[:, :ndim])
        else:
            rectangles = torch.randint(-2, 34, (3, 5, 2 * ndim), generator=generator)
            layer = torch.randint(0, 3, (3, 5), generator=generator)
            plan = MixPlan.from_rectangles(SOURCE, rectangles, SIZES[:, :ndim], layer=layer)
        shift = torch.randint(-9, 9, (3, 3, ndim), generator=generator).float()
        if round_ % 4 == 1:
            sign = torch.randint(0, 2, (3, 3, ndim), generator=generator) * 2 - 1.0
            scale = sign * (0.4 + 1.5 * torch.rand(3, 3, ndim, generator=generator))
            plan = replace(plan, scale=scale, shift=shift.abs() * 3 + 0.3, unscaled=None)
        elif round_ % 4 == 2:
            extent = plan.extent.clone()
            extent[..., :ndim] += 3
            extent[..., ndim:] -= 4
            plan = replace(plan, shift=shift, extent=extent, unscaled=None)
        elif round_ % 8 == 7:
            weight = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
            plan = replace(plan, owner=torch.zeros_like(plan.owner), weight=weight)
        yield plan


def reference(monkeypatch, *given):
    """What plain torch cuts, without the library."""
    with monkeypatch.context() as patch:
        patch.setattr(native, "library", None)
        return mix_masks(*given)


def assert_alike(found, expected):
    assert list(found) == list(expected)
    for place, one in found.items():
        other = expected[place]
        assert one.masks.dtype == other.masks.dtype
        for name in ("masks", "visible", "whole", "boxes"):
            assert torch.equal(getattr(one, name), getattr(other, name)), (place, name)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_library_cuts_what_the_reference_cuts(ndim, generator, monkeypatch):
    parts = 0
    for plan in plans(generator, ndim, 24):
        stacks = stacks_of(generator, ndim)
        for sizes in ([plan.frame] * 3, plan.canvas.tolist()):
            found = mix_masks(stacks, plan, sizes)
            assert_alike(found, reference(monkeypatch, stacks, plan, sizes))
        parts += sum(int(((cut.visible > 0) & (cut.visible < cut.whole)).sum()) for cut in found.values())
    assert parts > 50


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.int16, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_masks_of_any_dtype(dtype, generator, monkeypatch):
    for plan in plans(generator, 2, 4):
        stacks = stacks_of(generator, 2, dtype)
        if dtype.is_floating_point:
            stacks[0][0, 3] = -0.0  # which is nothing
            stacks[2][0, 5] = torch.finfo(dtype).tiny
        given = stacks, plan, [plan.frame] * 3
        assert_alike(mix_masks(*given), reference(monkeypatch, *given))


def test_masks_however_they_lie_in_memory(generator, monkeypatch):
    for plan in plans(generator, 2, 4):
        stacks = stacks_of(generator, 2)
        lying = [stack.repeat(2, 1, 2)[::2, :, : stack.shape[2]] for stack in stacks]
        lying[2] = stacks[2].mT.contiguous().mT
        assert not any(stack.is_contiguous() for stack in (lying[0], lying[2]))
        same = [stack.contiguous() for stack in lying]
        sizes = [plan.frame] * 3
        assert_alike(mix_masks(lying, plan, sizes), reference(monkeypatch, same, plan, sizes))


def test_those_that_are_not_carried_or_stated_come_out_empty(generator):
    plan = next(plans(generator, 2, 1))
    stacks = stacks_of(generator, 2)
    every = mix_masks(stacks, plan, [plan.frame] * 3)
    rows = sum(len(cut.visible) for cut in every.values())
    carried = torch.rand(rows, generator=generator).numpy() < 0.5
    stated = [torch.rand(len(stack), generator=generator) < 0.7 for stack in stacks]
    some = mix_masks(stacks, plan, [plan.frame] * 3, carried, stated)
    start = 0
    for place, cut in some.items():
        image = int(plan.source[place])
        along = torch.from_numpy(carried[start : start + len(cut.visible)]) & stated[image]
        start += len(cut.visible)
        for name in ("masks", "visible", "whole", "boxes"):
            whole = getattr(every[place], name)
            keep = along.reshape(-1, *(1,) * (whole.ndim - 1))
            assert torch.equal(getattr(cut, name), torch.where(keep, whole, torch.zeros_like(whole))), name
    assert 0 < start == rows


def test_masks_of_several_dtypes_come_out_in_that_of_the_first(generator, monkeypatch):
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[2, 3, 15, 9]]] * 2), SIZES[:2, :2])
    stacks = stacks_of(generator, 2, counts=(3, 5, 0))[:2]
    stacks[1] = stacks[1] > 0
    targets = [{"masks": stack, "labels": torch.ones(len(stack)).long()} for stack in stacks]
    found = cd.functional.mix_instances(targets, plan)
    monkeypatch.setattr(native, "library", None)
    for one, other in zip(found, cd.functional.mix_instances(targets, plan)):
        assert len(one["masks"]) > 2
        assert one["masks"].dtype == other["masks"].dtype
        assert torch.equal(one["masks"], other["masks"])


@pytest.mark.parametrize("shape", [(5, 13, 70), (3, 4, 9, 11), (0, 13, 70)])
def test_windows_round_masks(shape, generator, monkeypatch):
    masks = torch.rand(shape, generator=generator) < 0.01
    found = boxes_of_masks(masks)
    monkeypatch.setattr(native, "library", None)
    assert torch.equal(found, boxes_of_masks(masks))
    assert found.shape == (shape[0], 2 * len(shape[1:]))


def test_plans_that_are_wrong_write_nothing_outside():
    """Fields of any numbers: every mask is written within its own stack, which lies between others."""
    written = 0
    for seed in range(300):
        generator = torch.Generator().manual_seed(seed)

        def whole(low, high, *shape, generator=generator):
            return torch.randint(low, high, shape, generator=generator)

        ndim, far = 2 + seed % 2, 4 if seed % 5 else 10**6
        frame = whole(1, 14, ndim).tolist()
        free_form, unscaled = seed % 3 == 0, seed % 4 == 0
        grid = frame if free_form else whole(1, 5, ndim).tolist()
        scale = torch.ones(2, 3, ndim) if unscaled else torch.randn(2, 3, ndim, generator=generator) * 3
        plan = MixPlan(
            source=whole(-1, 3, 2, 3),
            scale=scale,
            shift=torch.randn(2, 3, ndim, generator=generator) * far,
            extent=torch.cat([whole(-far, far, 2, 3, ndim), whole(-1, 5 * far, 2, 3, ndim)], dim=2),
            canvas=whole(-1, 5 * far, 2, ndim),
            edges=tuple(whole(-far, 5 * far, 2, cells + 1) for cells in grid),
            owner=whole(-1, 4, 2, *grid).to(torch.int8),
            frame=tuple(frame),
            free_form=free_form,
            unscaled=unscaled,
            check=False,
        )
        masks = [whole(0, 2, 3, *whole(1, 14, ndim).tolist()).to(torch.uint8) for _ in range(3)]
        sizes = [tuple(whole(1, 14, ndim).tolist()) for _ in range(2)]
        for (output, _), cut in mix_masks(masks, plan, sizes).items():
            between = torch.full((7, *sizes[output]), 9, dtype=torch.uint8)
            between[2:5] = 0
            put_masks([(cut, np.arange(3), between[2:5])])
            assert bool((between[:2] == 9).all())
            assert bool((between[5:] == 9).all())
            assert torch.equal((between[2:5] != 0).flatten(1).sum(dim=1), cut.visible.long())
            written += int(cut.visible.sum())
    assert written > 1000
