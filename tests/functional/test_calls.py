"""How many Python and C calls targets cost a batch: a figure that is the same on every machine.

Counted are the calls that targets add to a mix of the images alone. Python 3.12 and later make fewer of them, since
comprehensions are no calls there.
"""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import native
from cutmix_dense.cli.benchmarking.calls import count_calls

pytestmark = pytest.mark.skipif(native.library is None, reason="the compiled library isn't there")


def batch_of(count, images=16, masks=False):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, 64, 96), dtype=torch.uint8, generator=generator)
    targets = []
    for _ in range(images):
        low = torch.rand(count, 2, generator=generator) * 40
        boxes = torch.cat([low, low + 4 + 20 * torch.rand(count, 2, generator=generator)], dim=1)
        targets.append({"boxes": boxes, "labels": torch.zeros(count, dtype=torch.long)})
        if masks:
            targets[-1]["masks"] = torch.rand(count, 64, 96, generator=generator) < 0.1
    return pixels, targets


def added(mix, pixels, targets):
    """Calls that targets add."""
    generator = torch.Generator().manual_seed(1)
    alone = count_calls(lambda: mix(pixels, generator=generator.manual_seed(1)))
    return count_calls(lambda: mix(pixels, targets, generator=generator.manual_seed(1))) - alone


@pytest.mark.parametrize(("method", "most"), [("CutMix", 215), ("Mosaic", 215)])
def test_boxes_in_lists(method, most):
    mix = getattr(cd, method)(p=1.0)
    assert added(mix, *batch_of(20)) <= most


def test_boxes_in_slots():
    pixels, targets = batch_of(20)
    padded = {key: torch.stack([target[key] for target in targets]) for key in ("boxes", "labels")}
    padded["valid"] = torch.ones(16, 20, dtype=torch.bool)
    assert added(cd.CutMix(p=1.0), pixels, padded) <= 115


@pytest.mark.parametrize("method", ["CutMix", "Mosaic"])
@pytest.mark.parametrize("masks", [False, True])
def test_ten_times_as_many_instances_cost_no_call_more(method, masks):
    mix = getattr(cd, method)(p=1.0)
    few, many = (added(mix, *batch_of(count, masks=masks)) for count in (6, 60))
    assert abs(few - many) <= 16  # what is dropped leaves a layer without any


def test_an_image_more_costs_few_calls():
    mix = cd.CutMix(p=1.0)
    few, many = (added(mix, *batch_of(20, images)) for images in (8, 24))
    assert many - few <= 16


def test_boxes_in_another_format_cost_few_calls_an_image():
    mix = cd.CutMix(p=1.0, box_format="cxcywh", normalized=True)
    found = []
    for images in (8, 24):
        pixels, targets = batch_of(20, images)
        unit = torch.tensor([96.0, 64.0, 96.0, 64.0])
        found.append(added(mix, pixels, [{**target, "boxes": target["boxes"] / unit} for target in targets]))
    assert found[1] - found[0] <= 16 * 22
