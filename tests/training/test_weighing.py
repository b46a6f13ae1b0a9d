"""Detectors that weigh instances in a training: what reaches the losses, and a few steps of the configs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from torchvision import tv_tensors

from cutmix_dense.losses import Weighing
from cutmix_dense.training import Detector, collate
from cutmix_dense.training.detector import weighed_targets

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "detection"
NAMES = ["fcos-small_bccd_mixup_weighed.py", "fcos-small_bccd_mixup_lossmix.py"]
SMALL = {"type": "small_fcos", "widths": (8, 8, 8), "levels": 2, "channels": 32, "convs": 1}


def target(**more):
    boxes = torch.tensor([[4.0, 4.0, 30.0, 30.0], [5.0, 5.0, 5.0, 9.0], [36.0, 8.0, 60.0, 40.0]])
    return {
        "image_id": "a",
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(48, 64)),
        "labels": torch.ones(3, dtype=torch.int64),
        "iscrowd": torch.tensor([0, 0, 0]),
        "visibility": torch.tensor([1.0, 1.0, 0.5]),
        "orig_size": (48, 64),
        **more,
    }


def test_weights_crowds_and_ignored_instances_go_along():
    masks = tv_tensors.Mask(torch.ones(3, 48, 64, dtype=torch.bool))
    ignored = {"boxes": tv_tensors.BoundingBoxes(torch.ones(1, 4), format="XYXY", canvas_size=(48, 64))}
    given = target(masks=masks, iscrowd=torch.tensor([0, 0, 1]), ignored=ignored, confidence=torch.rand(3))
    (kept,) = weighed_targets([given], Weighing(by=("visibility", "confidence")))
    assert kept["boxes"].tolist() == [[4, 4, 30, 30], [36, 8, 60, 40]]
    assert kept["iscrowd"].tolist() == [0, 1]
    assert kept["visibility"].tolist() == [1.0, 0.5]
    assert torch.equal(kept["confidence"], given["confidence"][[0, 2]])
    assert type(kept["ignored"]["boxes"]) is torch.Tensor
    assert len(kept["masks"]) == 2


def losses(model, **more):
    return model(torch.ones(2, 3, 48, 64), [target(**more)] * 2, mode="loss")


@pytest.mark.parametrize("network", [SMALL, {"type": "fasterrcnn_mobilenet_v3_large_320_fpn", "max_size": 64}])
def test_a_detector_weighs_its_losses(network):
    torch.manual_seed(0)
    stock = Detector(3, network)
    model = Detector(3, network, weighing={"by": "visibility"})
    model.load_state_dict(stock.state_dict())
    torch.manual_seed(1)
    expected = losses(stock)
    torch.manual_seed(1)
    ones = losses(model, visibility=torch.ones(3))
    assert ones.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(ones[name], expected[name], rtol=1e-5, atol=1e-6)
    torch.manual_seed(1)
    half = losses(model)
    box = "loss_rpn_box_reg" if "loss_rpn_box_reg" in half else "loss_bbox_regression"
    assert half[box] < expected[box]


def test_a_crowd_is_left_out_of_the_boxes_as_before_and_of_the_background():
    torch.manual_seed(0)
    stock = Detector(3, SMALL)
    model = Detector(3, SMALL, weighing={"by": "visibility"})
    model.load_state_dict(stock.state_dict())
    crowd = {"iscrowd": torch.tensor([0, 0, 1]), "visibility": torch.ones(3)}
    before, after = losses(stock, **crowd), losses(model, **crowd)
    for name in ("loss_bbox_regression", "loss_bbox_ctrness"):
        torch.testing.assert_close(after[name], before[name])
    assert after["loss_classification"] < before["loss_classification"]


def test_a_target_without_weights_is_an_error_with_the_remedy():
    model = Detector(3, SMALL, weighing={"by": "weight"})
    with pytest.raises(KeyError, match="instance_weights=True"):
        losses(model)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_takes_some_steps_of_mixed_closed_and_unmixed_batches(name, demo):
    cfg = Config.fromfile(CONFIGS / name)
    dataset = DATASETS.build({**cfg.train_dataloader.dataset, "root": str(demo / "voc"), "split": "train"})
    torch.manual_seed(0)
    settings = {**cfg.model, "num_classes": len(dataset.metainfo["classes"])}
    settings["data_preprocessor"]["size"] = (48, 64)
    model = MODELS.build(settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    seen, ignored = set(), 0
    hook = model.network.register_forward_pre_hook(lambda module, given: read(given[1]))

    def read(targets):
        nonlocal ignored
        for one in targets:
            seen.update(round(float(weight), 3) for weight in one["weight"])
            ignored += len(one.get("ignored", {"boxes": []})["boxes"])

    for step in range(12):
        model.data_preprocessor.close(step >= 10)
        batch = model.data_preprocessor(collate([dataset[step, i % len(dataset)] for i in range(4)]), training=True)
        total = sum(model(**batch, mode="loss").values())
        assert torch.isfinite(total)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    hook.remove()
    assert 1.0 in seen
    assert len(seen) > 3  # shares of blends
    assert ignored > 0 or "weighed" not in name


def test_the_trainer_trains_with_weights(demo, runs, tmp_path):
    from cutmix_dense.data import open_dataset

    options = [
        *(f"{part}_dataloader.dataset.root={demo / 'voc'}" for part in ("train", "val", "test")),
        "model.data_preprocessor.size=(48,64)",
        f"model.num_classes={len(open_dataset(demo / 'voc', 'voc', 'train').classes)}",
        "train_cfg.max_epochs=1",
    ]
    runs.finish("train", CONFIGS / NAMES[0], "--work-dir", tmp_path / "run", "--cfg-options", *options)
    assert "voc/AP50" in runs.metrics(tmp_path / "run")["1"]
