"""Boxes under grids of many cells: what is told from the cells that a box meets is what all cells tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import MixPlan
from cutmix_dense.functional import boxes as module
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
        for name, one, other in zip(dense._fields, dense, sparse):
            if one.is_floating_point():
                torch.testing.assert_close(one, other, atol=1e-9, rtol=0, msg=name)
            else:
                assert torch.equal(one, other), name
        seen_parts += int(((dense.visible > 0) & (dense.visible < dense.whole)).sum())
    assert seen_parts > 8


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
