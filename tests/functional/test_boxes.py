"""Boxes told the short ways, from one rectangle or from the cells that a box meets: what all cells tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import MixPlan
from cutmix_dense.functional import seen as module
from cutmix_dense.functional.boxes import visible_boxes


@pytest.mark.parametrize("most", [0, 40])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_cells_that_a_box_meets_tell_what_all_cells_tell(ndim, most, generator, monkeypatch):
    sizes = torch.tensor([(19, 31, 11), (23, 17, 13), (21, 29, 12)])[:, :ndim]
    seen_parts = 0
    for _ in range(30):
        source = torch.tensor([[0, 1, 2], [2, 0, 1], [1, -1, 0]])
        rectangles = torch.randint(-2, 34, (3, 6, 2 * ndim), generator=generator)
        layer = torch.randint(0, 3, (3, 6), generator=generator)
        plan = MixPlan.from_rectangles(source, rectangles, sizes, layer=layer)
        output = torch.randint(0, 3, (50,), generator=generator)
        which = torch.randint(0, 3, (50,), generator=generator)
        low = torch.rand(50, ndim, generator=generator) * 30 - 3
        given = torch.cat([low, low + torch.rand(50, ndim, generator=generator) * 12 - 1], dim=1).double()
        given[::3] = given[::3].round()  # sides on the edges of cells
        dense = visible_boxes(given, plan, output, which)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_MANY", most)
            if not most:
                patch.setattr(module, "_seen_by_cells", None)
                patch.setattr(module, "_CELLS_AT_ONCE", 7)
            sparse = visible_boxes(given, plan, output, which)
        assert_same(dense, sparse)
        seen_parts += int(((dense.visible > 0) & (dense.visible < dense.whole)).sum())
    assert seen_parts > 8


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_windows_of_a_free_form_tell_what_its_sums_tell(ndim, soft, generator, monkeypatch):
    sizes = torch.tensor([(19, 31, 11), (23, 17, 13), (21, 29, 12)])[:, :ndim]
    frame, parts, gone = tuple(sizes.amax(dim=0).tolist()), 0, 0
    for _ in range(40):
        source = torch.tensor([[0, 1, 2], [2, 0, 1], [1, -1, 0]])
        coarse = torch.randint(-1, 3, (3, *(-(-size // 4) for size in frame)), generator=generator)
        for axis, size in enumerate(frame):
            coarse = coarse.repeat_interleave(4, dim=1 + axis).narrow(1 + axis, 0, size)
        plan = MixPlan.from_map(source, 0 * coarse if soft else coarse, sizes)
        if soft:
            plan = replace(plan, weight=torch.randint(0, 3, (3, 3), generator=generator).float())
        output = torch.randint(0, 3, (60,), generator=generator)
        which = torch.randint(0, 3, (60,), generator=generator)
        low = torch.rand(60, ndim, generator=generator).double() * 24 - 3
        given = torch.cat([low, low + torch.rand(60, ndim, generator=generator).double() ** 2 * 16 - 0.5], dim=1)
        given[::3] = given[::3].round()
        given[0, 0] = torch.nan
        with monkeypatch.context() as patch:
            patch.setattr(module, "_PIXELS_OF_A_BOX", 0)
            patch.setattr(module, "_seen_by_sums", None)
            windows = visible_boxes(given, plan, output, which)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_PIXELS_OF_A_BOX", 10**9)
            patch.setattr(module, "_seen_by_windows", None)
            sums = visible_boxes(given, plan, output, which)
        assert_same(windows, sums)
        parts += int(((windows.visible > 0) & (windows.visible < windows.whole)).sum())
        gone += int(((windows.visible == 0) & (windows.whole > 0)).sum())
    assert gone > 100
    assert soft or parts > 100


@pytest.mark.parametrize("ndim", [2, 3])
def test_cells_of_a_rectangle_say_what_its_pixels_say(ndim, generator):
    """Boxes that the rectangle covers, spans, touches, is within; slivers; images of several sizes, absent partners."""
    sizes = torch.tensor([(19, 31, 11), (23, 17, 13), (21, 29, 12)])[:, :ndim]
    tried, whole, parts, gone = 0, 0, 0, 0
    for _ in range(150):
        source = torch.stack([torch.arange(3), torch.randint(-1, 3, (3,), generator=generator)], dim=1)
        ends = torch.randint(-2, 34, (3, 1, 2, ndim), generator=generator).sort(dim=2).values
        plan = MixPlan.from_rectangles(source, ends.flatten(2), sizes)
        output = torch.randint(0, 3, (80,), generator=generator)
        which = torch.randint(0, 2, (80,), generator=generator) * (source[output, 1] >= 0)
        low = torch.rand(80, ndim, generator=generator).double() * 20 - 3
        given = torch.cat([low, low + torch.rand(80, ndim, generator=generator).double() * 20 - 1], dim=1)
        given[::2] = given[::2].round()
        given[1::8] = given[1::8].round() + 1e-9  # of what the rectangle leaves, next to nothing shows
        given[0, 0] = torch.nan
        tried += 1
        owner = plan.owner_map()
        seen = visible_boxes(given, plan, output, which)
        by_pixel = visible_boxes(given, MixPlan.from_map(source, owner, sizes), output, which)
        torch.testing.assert_close(seen.visible, by_pixel.visible, atol=1e-6, rtol=0)
        whole += int(seen.untouched.sum())
        parts += int(((seen.visible > 0) & (seen.visible < seen.whole)).sum())
        gone += int(((seen.visible == 0) & (seen.whole > 0)).sum())
    assert tried > 40
    assert min(whole, parts, gone) > 100


@pytest.mark.parametrize("count", [2, 3, 4])
def test_layers_beyond_the_first_show_nowhere(count):
    """A plan of more layers than its rectangles name: instances of the others are not told to be in the rectangle."""
    sizes = torch.tensor([(20, 30)] * 4)
    plan = MixPlan.from_rectangles(torch.arange(count)[None], torch.tensor([[[2, 3, 15, 25]]]), sizes)
    layer = torch.arange(count)
    box = torch.tensor([[5.0, 5.0, 12.0, 12.0]]).expand(count, -1)
    seen = visible_boxes(box, plan, torch.zeros(count).long(), layer)
    assert seen.visible.tolist() == [0.0, 49.0, 0.0, 0.0][:count]
    slots = {"boxes": box[:, None], "labels": layer[:, None]}
    assert cd.functional.mix_padded(slots, plan)["valid"].tolist() == [[False, True, False, False][:count]]


def test_inference_mode_which_counts_no_writes(generator):
    sizes, box = torch.tensor([(8, 9)] * 2), torch.tensor([[3.0, 2.0, 5.0, 4.0]])
    with torch.inference_mode():
        plan = MixPlan.from_rectangles(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[1, 2, 5, 6]]] * 2), sizes)
        at = torch.tensor([0]), torch.tensor([0])
        assert visible_boxes(box, plan, *at).visible.tolist() == [0.0]
        plan.owner.zero_()
        assert visible_boxes(box, plan, *at).visible.tolist() == [4.0]


def test_a_plan_that_is_written_to_is_read_anew(generator):
    sizes = torch.tensor([(8, 9), (8, 9)])
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[1, 2, 5, 6]]] * 2), sizes)
    plan.owner.zero_()
    box = torch.tensor([[3.0, 2.0, 5.0, 4.0]])
    seen = visible_boxes(box, plan, torch.tensor([0]), torch.tensor([0]))
    assert seen.untouched.tolist() == [True]


def assert_same(one, other):
    for name, left, right in zip(one._fields, one, other):
        if left.is_floating_point():
            torch.testing.assert_close(left, right, atol=1e-9, rtol=0, msg=name)
        else:
            assert torch.equal(left, right), name


def test_hundreds_of_pasted_boxes_cost_what_they_cover(generator):
    """As many boxes as crowds have, in a plan of some 10⁵ cells: each box with each cell would be gigabytes."""
    low = torch.rand(2, 300, 2, generator=generator) * 900
    targets = [{"boxes": torch.cat([corner, corner + 12], dim=1), "labels": torch.ones(300).long()} for corner in low]
    images = torch.randint(0, 256, (2, 1, 960, 960), dtype=torch.uint8, generator=generator)
    mix = cd.CopyPaste(p=1.0, instances=300)
    plan = mix.make_plan(images, targets, generator=generator)
    assert plan.owner[0].numel() > 10**5
    _, mixed = mix.apply_plan(plan, images, targets)
    owner = plan.owner_map().numpy()
    for output, target in enumerate(mixed):
        for box, (image, index), visibility in zip(target["boxes"], target["origin"].tolist(), target["visibility"]):
            x0, y0, x1, y1 = targets[image]["boxes"][index].double().tolist()
            layer = int(image != output)
            x, y = np.arange(int(x0), int(x1) + 1), np.arange(int(y0), int(y1) + 1)
            wide, high = (
                np.minimum(at + 1, end) - np.maximum(at, begin) for at, begin, end in ((x, x0, x1), (y, y0, y1))
            )
            shows = owner[output][np.ix_(y, x)] == layer
            assert float(visibility) == pytest.approx(float((shows * np.outer(high, wide)).sum() / 144), abs=1e-4)
            rows, columns = shows.any(axis=1) & (high > 0), shows.any(axis=0) & (wide > 0)
            tight = [
                max(x0, x[columns][0]),
                max(y0, y[rows][0]),
                min(x1, x[columns][-1] + 1),
                min(y1, y[rows][-1] + 1),
            ]
            assert box.tolist() == pytest.approx(tight, abs=1e-3)
