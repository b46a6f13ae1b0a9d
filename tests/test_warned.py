"""Warnings of the package name the line that called it, through modules, pipelines and plain functions."""

from __future__ import annotations

import warnings

import pytest
import torch
from torchvision.transforms import v2

import cutmix_dense as cd
from cutmix_dense import detr, huggingface, ultralytics
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


SHARES = {"boxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]])}
ROW = {"labels": torch.tensor([1]), **SHARES}
MASK = {"mask_labels": [torch.ones(1, 32, 40)], "class_labels": [torch.tensor([1])]}
YOLO = {"img": IMAGES[:1], "cls": torch.ones(1, 1), "batch_idx": torch.zeros(1), "bboxes": SHARES["boxes"]}


def of_transformers(more, **options):
    return lambda mix: huggingface.mix_batch({"pixel_values": IMAGES[:1], **more}, mix, **options)


@pytest.mark.parametrize(
    "call",
    {
        "maps": of_transformers({"labels": torch.zeros(1, 32, 40).long()}),
        "boxes": of_transformers({"labels": [{"class_labels": torch.tensor([1]), **SHARES}]}),
        "masks": of_transformers(MASK),
        "stuff": of_transformers(MASK, stuff="all"),
        "detr": lambda mix: detr.mix_batch(IMAGES[:1], [ROW], mix),
        "detr, chain": lambda mix: detr.mix_batch(IMAGES[:1], [ROW], cd.Chain([mix])),
        "detr, random": lambda mix: detr.mix_batch(IMAGES[:1], [ROW], cd.RandomMix([mix])),
        "ultralytics": lambda mix: ultralytics.mix_batch(YOLO, mix),
    }.items(),
    ids=lambda call: call[0],
)
def test_adapters_warn_once_of_batches_of_one(call):
    """They copy the transform for every batch."""
    for mix in (cd.CutMix(p=1.0), cd.CutMix(p=1.0)):  # each transform once
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                call[1](mix)
        (told,) = [warning for warning in caught if issubclass(warning.category, MixWarning)]
        assert told.filename == __file__
        assert "a batch of one image" in str(told.message)
