"""Arguments of another kind, and what doesn't fit a plan, are named by the functions themselves."""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import functional as F

IMAGES = torch.rand(2, 3, 16, 24)
PLAN = cd.CutMix(p=1.0).make_plan(IMAGES, generator=torch.Generator().manual_seed(0))
ROWS = [{"boxes": torch.tensor([[1.0, 1, 9, 9]]), "labels": torch.tensor([1])}] * 2
CLASSES, SOURCE = torch.tensor([0, 1]), torch.tensor([[0, 1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.object_pixels(ROWS[:1], PLAN), "targets must hold 2 images for this plan, got 1"),
        (lambda: F.mix_padded(ROWS, PLAN), r"targets must be a dict with 'boxes' \(P, N, 4\).*got list: mix_instances"),
        (lambda: F.mix_padded({"labels": torch.ones(2, 3)}, PLAN), r"'boxes' \(P, N, 4\), padded, got \['labels'\]"),
        (lambda: F.mix_padded({"boxes": torch.rand(2, 4)}, PLAN), r"'boxes' \(P, N, 4\)"),
        (
            lambda: F.mix_labels(CLASSES, PLAN, 2, weight=torch.ones(2, 3)),
            r"weight must hold .* \(2, 2\), got \(2, 3\)",
        ),
        (lambda: F.mix_labels(CLASSES, PLAN, 2, weight=-torch.ones(2, 2)), "weight must hold numbers of at least 0"),
        (lambda: F.mix_pixels(PLAN, IMAGES), "plan must be a MixPlan, got a Tensor: the images come before it"),
        (lambda: F.mix_semantic(torch.ones(2, 16, 24).long(), PLAN, ignore_index=None), "ignore_index must be a whole"),
        (
            lambda: cd.MixPlan.from_rectangles([[0, 1]], [[[0, 0, 4, 4]]], [[16, 24]]),
            "source must be a tensor, got list",
        ),
        (
            lambda: cd.MixPlan.blend(SOURCE, torch.tensor([[1.0, -1]]), torch.tensor([[4, 4]] * 2)),
            "weight of output 0 must be at least 0",
        ),
        (
            lambda: cd.Cutout(p=1.0)(torch.ones(1, 1, 16, 24).expand(2, 1, 16, 24), inplace=True),
            "a batch that is written in place must have memory of its own for every pixel",
        ),
        (
            lambda: cd.CutMix(p=1.0)(IMAGES.clone(), torch.ones(1, 16, 24).long().expand(2, -1, -1), inplace=True),
            "written in place must have memory of its own",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
