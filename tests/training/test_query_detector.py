"""The small RT-DETR behind torchvision's interface: what its model gets, and what comes back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cutmix_dense.training import Detector
from tests.training.test_models import boxes_target, check_it_learns_one_scene

pytest.importorskip("transformers")

from cutmix_dense.training.query_detector import QueryDetector, small_rtdetr

SMALL = {"type": "small_rtdetr", "widths": (8, 8, 16, 16), "channels": 16, "queries": 12, "layers": 1}


class Recorded(nn.Module):
    """In place of a model: it keeps what it is given, and finds one box per query that is stated."""

    def __init__(self, found=(), classes=2):
        super().__init__()
        boxes = torch.tensor([box for box, _ in found]).reshape(1, -1, 4)
        logits = torch.full((1, len(found), classes), -9.0)
        for query, (_, label) in enumerate(found):
            logits[0, query, label] = 3.0
        self.outputs = SimpleNamespace(pred_boxes=boxes, logits=logits, loss_dict={"loss_bbox": torch.ones(())})

    def forward(self, pixel_values, labels=None):
        self.given = pixel_values, labels
        return self.outputs


def processor():
    return small_rtdetr(3, widths=(8, 8, 8, 8), channels=8).processor


def test_targets_are_shares_of_the_padded_batch_and_classes_have_no_background():
    network = QueryDetector(Recorded(), processor()).train()
    images = [torch.ones(3, 48, 64), torch.full((3, 40, 90), 2.0)]
    targets = [
        {"boxes": torch.tensor([[16.0, 8, 48, 24]]), "labels": torch.tensor([2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    assert network(images, targets).keys() == {"loss_bbox"}
    pixels, labels = network.model.given
    assert pixels.shape == (2, 3, 64, 96)
    assert torch.equal(pixels[0, :, :48, :64], images[0])
    assert pixels[0].sum() == images[0].sum()
    assert torch.equal(pixels[1, :, :40, :90], images[1])
    assert pixels[1].sum() == images[1].sum()
    torch.testing.assert_close(labels[0]["boxes"], torch.tensor([[32 / 96, 16 / 64, 32 / 96, 16 / 64]]))
    assert labels[0]["class_labels"].tolist() == [1]
    assert labels[1]["boxes"].shape == (0, 4)
    assert labels[1]["class_labels"].shape == (0,)


def test_detections_are_pixels_of_the_image_within_it():
    model = Recorded([([0.25, 0.5, 0.25, 0.25], 1), ([0.9, 0.1, 0.4, 0.4], 0)])
    (found,) = QueryDetector(model, processor()).eval()([torch.zeros(3, 60, 90)])
    order = found["labels"].argsort(descending=True, stable=True)
    confident = [int(index) for index in order if found["scores"][index] > 0.5]
    assert found["labels"][confident].tolist() == [2, 1]
    # of 64 × 96 pixels after padding; the second reaches beyond the image's 60 × 90
    torch.testing.assert_close(found["boxes"][confident], torch.tensor([[12.0, 24, 36, 40], [67.2, 0, 90, 19.2]]))


def test_a_detector_trains_on_odd_targets_and_finds_boxes_at_the_size_of_the_file():
    model = Detector(3, SMALL)
    targets = [
        boxes_target([[0, 0, 20, 20], [5, 5, 5, 9]], ignored={"boxes": torch.ones(3, 4)}),
        boxes_target([]),
        boxes_target([[1, 1, 30, 40]], iscrowd=torch.tensor([1])),
    ]
    losses = model(torch.randn(3, 3, 48, 64), targets, mode="loss")
    assert {"loss_vfl", "loss_bbox", "loss_giou"} <= losses.keys()
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    (sample,) = model.eval()(torch.randn(1, 3, 48, 64), [{**targets[0], "orig_size": (96, 128)}], mode="predict")
    boxes = sample["prediction"]["boxes"]
    assert len(boxes) == 12
    assert (boxes <= torch.tensor([128, 96, 128, 96])).all()
    assert ((sample["prediction"]["labels"] >= 1) & (sample["prediction"]["labels"] <= 2)).all()


def test_nothing_but_empty_targets_trains():
    losses = Detector(3, SMALL)(torch.randn(2, 3, 48, 64), [boxes_target([])] * 2, mode="loss")
    assert torch.isfinite(sum(losses.values()))


def test_it_learns_one_scene():
    torch.manual_seed(0)
    model = Detector(3, {**SMALL, "channels": 32})
    check_it_learns_one_scene(model, (64, 64), [(6, 8, 24), (30, 20, 32)], steps=120, rate=3e-3, near=5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (8, 8, 8)}, "widths must be those of four stages, got 3"),
        ({"channels": 18}, "channels must be a multiple of 4, the attention heads, got 18"),
        ({"querys": 12}, "unknown setting 'querys' of RTDetrConfig"),
        ({"queries": 0}, "queries must be"),
    ],
)
def test_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Detector(3, {**SMALL, **settings})


def test_training_needs_targets_and_weighing_names_what_serves():
    with pytest.raises(ValueError, match="targets must be given in training"):
        QueryDetector(Recorded(), None).train()([torch.zeros(3, 32, 32)])
    with pytest.raises(TypeError, match="weighted_set_loss"):
        Detector(3, SMALL, weighing={"by": "visibility"})
