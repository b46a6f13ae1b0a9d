"""Boxes that a picture can't show: every reader keeps their rows and says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from versions import needs_rotated

from cutmix_dense.data import open_dataset
from cutmix_dense.data.errors import DataWarning
from cutmix_dense.data.readers.base import broken_boxes

NO_AREA, OUTSIDE = "its box has no area", "its box lies outside of the picture"
BOXES = {  # xyxy in a picture of 60 by 40
    (30, 30, 20, 20): NO_AREA,
    (30, 30, 30, 35): NO_AREA,
    (60, 5, 70, 9): OUTSIDE,
    (5, -9, 9, 0): OUTSIDE,
    (100, 100, 105, 105): OUTSIDE,
    (-5, -5, 1, 1): "",
    (59, 39, 90, 70): "",
    (-9, -9, 70, 60): "",
}


def save_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40)).save(path)


def coco(root):
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in BOXES]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}],
        "annotations": [{"id": i, "image_id": 1, "category_id": 1, "bbox": box} for i, box in enumerate(boxes)],
        "categories": [{"id": 1, "name": "ant"}],
    }
    save_image(root / "train" / "a.jpg")
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))


def voc(root):
    corners = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    boxes = [corners.format(x1 + 1, y1 + 1, x2, y2) for x1, y1, x2, y2 in BOXES]
    objects = "".join(f"<object><name>ant</name><bndbox>{box}</bndbox></object>" for box in boxes)
    save_image(root / "JPEGImages" / "a.jpg")
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{objects}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\n")


def yolo(root):
    def line(x1, y1, x2, y2):
        return f"0 {(x1 + x2) / 120} {(y1 + y2) / 80} {(x2 - x1) / 60} {(y2 - y1) / 40}\n"

    save_image(root / "images" / "train" / "a.jpg")
    (root / "labels" / "train").mkdir(parents=True)
    lines = [line(*box) for box in BOXES if max(box) < 100]
    (root / "labels" / "train" / "a.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("train: images/train\nnames: [ant]\n")


def hf_imagefolder(root):
    objects = {"bbox": [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in BOXES], "category": [0] * len(BOXES)}
    save_image(root / "train" / "a.jpg")
    (root / "train" / "metadata.jsonl").write_text(json.dumps({"file_name": "a.jpg", "objects": objects}) + "\n")


@pytest.mark.parametrize("write", [coco, voc, yolo, hf_imagefolder])
def test_every_reader_keeps_and_tells_them(tmp_path, write):
    write(tmp_path)
    dataset = open_dataset(tmp_path, split="train")
    with pytest.warns(DataWarning, match="a.jpg: instance 0 .*: its box has no area, got"):
        boxes = dataset[0][1]["boxes"].as_subclass(torch.Tensor).round().int().tolist()
    expected = [box for box in BOXES if write is not yolo or max(box) < 100]
    assert boxes == [list(box) for box in expected]
    found = {reason for _, reason in dataset.take_notes()}
    told = {f"instance {i} (counted from 0): {BOXES[box]}" for i, box in enumerate(expected) if BOXES[box]}
    assert {reason.partition(", got")[0] for reason in found} == told


@needs_rotated
def test_rotated_boxes(tmp_path):
    save_image(tmp_path / "train" / "images" / "a.png")
    (tmp_path / "train" / "labelTxt").mkdir()
    rows = ["5 5 20 20 20 20 5 5", "70 10 80 5 85 15 75 20", "50 10 70 5 75 15 55 20"]
    text = "".join(f"{row} plane 0\n" for row in rows)
    (tmp_path / "train" / "labelTxt" / "a.txt").write_text(text)
    dataset = open_dataset(tmp_path, "dota", split="train")
    with pytest.warns(DataWarning):
        assert len(dataset[0][1]["boxes"]) == 3
    found = [reason.partition(" (")[0] + reason.partition("):")[2].partition(",")[0] for _, reason in dataset.notes]
    assert found == [f"instance 0 {NO_AREA}", f"instance 1 {OUTSIDE}"]


def test_an_image_without_instances_has_none():
    assert broken_boxes(np.zeros((0, 4)), (40, 60)) == {}
    assert broken_boxes(np.zeros((0, 8)), (40, 60)) == {}
