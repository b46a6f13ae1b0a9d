"""Warnings of the package name the line that called it, through modules, pipelines and plain functions."""

from __future__ import annotations

import warnings

import pytest
import torch
from torchvision.transforms import v2

import cutmix_dense as cd
from cutmix_dense.functional import broken
from cutmix_dense.warned import MixWarning

BOXES = {"boxes": torch.tensor([[2.0, 2.0, 20.0, 20.0], [9.0, 9.0, 9.0, 9.0]]), "labels": torch.tensor([1, 2])}


IMAGES, MAPS = torch.rand(2, 3, 32, 40), [{"labels": torch.zeros(0).long()}] * 2
PLAN = cd.CutMix(p=1.0).make_plan(IMAGES)
CALLS = {
    "one image": lambda: cd.CutMix(p=1.0)(IMAGES[:1]),
    "one image, plan": lambda: cd.CutMix(p=1.0).make_plan(IMAGES[:1]),
    "one image, in a chain": lambda: cd.Chain([cd.CutMix(p=1.0)])(IMAGES[:1]),
    "no instances": lambda: cd.CopyPaste(p=1.0)(IMAGES, MAPS),
    "no instances, in a pipeline": lambda: v2.Compose([cd.CopyPaste(p=1.0)])(IMAGES, MAPS),
    "a broken box": lambda: cd.CutMix(p=1.0)(IMAGES, [BOXES] * 2),
    "a broken box, by a plan": lambda: cd.functional.mix_instances([BOXES] * 2, PLAN),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_line_is_the_callers(name, monkeypatch):
    monkeypatch.setattr(broken, "_warned", False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CALLS[name]()
    (told,) = [warning for warning in caught if issubclass(warning.category, MixWarning)]
    assert told.filename == __file__
