"""Boxes under a plan: the library tells what the reference tells, cells tell what their pixels tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import MixPlan, native
from cutmix_dense.functional import seen as module
from cutmix_dense.functional.boxes import visible_boxes

needs_library = pytest.mark.skipif(native.library is None, reason="the compiled library isn't there")


def reference(monkeypatch, boxes, plan, output, layer, **how):
    """What torch tells, without the library."""
    with monkeypatch.context() as patch:
        patch.setattr(native, "library", None)
        return visible_boxes(boxes, plan, output, layer, **how)


def random_boxes(generator, count, ndim):
    """Some on whole pixels, some empty, inverted or outside; one not a number."""
    low = torch.rand(count, ndim, generator=generator).double() * 30 - 3
    boxes = torch.cat([low, low + torch.rand(count, ndim, generator=generator).double() ** 2 * 16 - 1], dim=1)
    boxes[::3] = boxes[::3].round()  # sides on the edges of cells
    boxes[0, 0] = torch.nan
    return boxes


@needs_library
@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_library_tells_of_grids_what_the_reference_tells(ndim, covered, generator, monkeypatch):
    """Bit by bit: layers that are mirrored, scaled and moved; cells of no length; grids that differ by axis."""
    sizes = torch.tensor([(19, 31, 11), (23, 17, 13), (21, 29, 12)])[:, :ndim]
    parts = 0
    for round_ in range(30):
        source = torch.tensor([[0, 1, 2], [2, 0, 1], [1, -1, 0]])
        rectangles = torch.randint(-2, 34, (3, 6, 2 * ndim), generator=generator)
        if round_ % 3 == 0:
            rectangles[..., 0] = 0  # fewer rows of cells than columns
        layer = torch.randint(0, 3, (3, 6), generator=generator)
        plan = MixPlan.from_rectangles(source, rectangles, sizes, layer=layer)
        if round_ % 2:
            sign = torch.randint(0, 2, (3, 3, ndim), generator=generator) * 2 - 1.0
            scale = sign * (0.5 + torch.rand(3, 3, ndim, generator=generator))
            plan = replace(plan, scale=scale, shift=torch.rand(3, 3, ndim, generator=generator) * 30, unscaled=None)
        at = torch.randint(0, 3, (60,), generator=generator), torch.randint(0, 3, (60,), generator=generator)
        boxes = random_boxes(generator, 60, ndim)
        found = visible_boxes(boxes, plan, *at, covered=covered)
        expected = reference(monkeypatch, boxes, plan, *at, covered=covered)
        for name, one, other in zip(found._fields, found, expected):
            assert torch.equal(one, other), name
        parts += int(((found.visible > 0) & (found.visible < found.whole)).sum())
    assert parts > 8


@needs_library
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_library_tells_of_free_forms_what_sums_tell(ndim, soft, generator, monkeypatch):
    sizes = torch.tensor([(19, 31, 11), (23, 17, 13), (21, 29, 12)])[:, :ndim]
    frame, parts, gone = tuple(sizes.amax(dim=0).tolist()), 0, 0
    for round_ in range(40):
        source = torch.tensor([[0, 1, 2], [2, 0, 1], [1, -1, 0]])
        coarse = torch.randint(-1, 3, (3, *(-(-size // 4) for size in frame)), generator=generator)
        for axis, size in enumerate(frame):
            coarse = coarse.repeat_interleave(4, dim=1 + axis).narrow(1 + axis, 0, size)
        plan = MixPlan.from_map(source, 0 * coarse if soft else coarse, sizes)
        if soft:
            plan = replace(plan, weight=torch.randint(0, 3, (3, 3), generator=generator).float())
        elif round_ % 2:  # as of more than 127 layers
            plan = replace(plan, owner=plan.owner.to(torch.int16))
        at = torch.randint(0, 3, (60,), generator=generator), torch.randint(0, 3, (60,), generator=generator)
        boxes = random_boxes(generator, 60, ndim)
        found = visible_boxes(boxes, plan, *at)
        assert_same(found, reference(monkeypatch, boxes, plan, *at))
        parts += int(((found.visible > 0) & (found.visible < found.whole)).sum())
        gone += int(((found.visible == 0) & (found.whole > 0)).sum())
    assert gone > 100
    assert soft or parts > 100


@pytest.mark.parametrize("ndim", [2, 3])
def test_many_boxes_are_told_some_after_others(ndim, generator, monkeypatch):
    sizes = torch.tensor([(19, 31, 11)] * 2)[:, :ndim]
    rectangles = torch.randint(-2, 34, (2, 5, 2 * ndim), generator=generator)
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1], [1, 0]]), rectangles, sizes)
    at = torch.randint(0, 2, (50,), generator=generator), torch.randint(0, 2, (50,), generator=generator)
    boxes = random_boxes(generator, 50, ndim)
    together = reference(monkeypatch, boxes, plan, *at)
    monkeypatch.setattr(module, "_PAIRS", 7 * max(plan.owner.shape[1:]) ** ndim)
    for one, other in zip(together, reference(monkeypatch, boxes, plan, *at)):
        assert torch.equal(one, other)


@needs_library
@pytest.mark.parametrize(("output", "layer"), [(2, 0), (0, 2), (-1, 0), (0, -1)])
def test_layers_that_the_plan_has_not_are_refused(output, layer):
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1]] * 2), torch.zeros(2, 1, 4).long(), torch.tensor([(8, 9)] * 2))
    with pytest.raises(IndexError, match="row 1's aren't"):
        visible_boxes(
            torch.tensor([[1.0, 2.0, 3.0, 4.0]] * 2), plan, torch.tensor([0, output]), torch.tensor([1, layer])
        )


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
