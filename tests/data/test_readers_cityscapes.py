"""Cityscapes and the choice of a layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.datasets import Cityscapes

from cutmix_dense.data import DatasetError, SampleError, find_layouts, list_splits, open_dataset


def frame():
    """A road with two cars, a group of persons, and a caravan."""
    labels = np.full((30, 50), 7)
    labels[:10], labels[10:20, 5:15], labels[10:20, 20:30], labels[20:25, :4], labels[25:, 40:] = 23, 26, 26, 24, 29
    instances = labels.copy()
    instances[10:20, 5:15], instances[10:20, 20:30], instances[25:, 40:] = 26000, 26001, 29000
    return labels, instances


def test_train_ids_follow_torchvisions_table(make_cityscapes):
    table = {entry.id: entry.train_id for entry in Cityscapes.classes if entry.id >= 0}
    labels = np.arange(34).repeat(10).reshape(34, 10)
    dataset = open_dataset(make_cityscapes("a_0_0", labels))
    assert len(dataset.classes) == 19
    _, target = dataset[0]
    assert list(target) == ["image_id", "semantic"]
    expected = [table[i] for i in range(34)]
    assert target["semantic"][:, 0].tolist() == expected
    assert sorted(set(expected)) == [*range(19), 255]
    for i in range(19):
        names = [entry.name for entry in Cityscapes.classes if entry.train_id == i]
        assert dataset.classes[i] == names[0]
    raw = open_dataset(make_cityscapes("a_0_0", labels), label_ids="raw")
    assert len(raw.classes) == 34
    assert np.array_equal(raw[0][1]["semantic"].numpy(), labels)


def test_instances_groups_and_what_is_not_evaluated(make_cityscapes):
    labels, instances = frame()
    dataset = open_dataset(make_cityscapes("a_0_0", labels, instances))
    _, target = dataset[0]
    assert [dataset.classes[label] for label in target["labels"]] == ["person", "car", "car"]
    assert target["iscrowd"].tolist() == [1, 0, 0]
    assert target["boxes"].tolist() == [[0, 20, 4, 25], [5, 10, 15, 20], [20, 10, 30, 20]]
    assert target["area"].tolist() == [20, 100, 100]
    assert target["masks"].dtype == torch.bool
    assert (target["semantic"][25:, 40:] == 255).all()
    raw = open_dataset(dataset.root, label_ids="raw")
    assert raw[0][1]["labels"].tolist() == [24, 26, 26, 29]


def test_order_and_frames_without_objects(make_cityscapes):
    labels, instances = frame()
    make_cityscapes("b_0_0", labels * 0 + 7, labels * 0 + 7)
    make_cityscapes("a_0_1", labels, instances)
    root = make_cityscapes("a_0_0", labels, instances)
    (root / "leftImg8bit" / "train" / "a" / "notes.txt").write_text("not an image")
    dataset = open_dataset(root)
    assert [dataset[i][1]["image_id"] for i in range(3)] == ["a_0_0", "a_0_1", "b_0_0"]
    assert dataset[2][1]["masks"].shape == (0, 30, 50)
    assert list(dataset[2][1]) == list(dataset[0][1])


def test_missing_and_broken_files(make_cityscapes):
    labels, instances = frame()
    root = make_cityscapes("a_0_0", labels, instances)
    path = root / "gtFine" / "train" / "a" / "a_0_0_gtFine_labelIds.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(SampleError, match=r"labelIds\.png"):
        open_dataset(root)[0]
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(root, split="val")
    with pytest.raises(ValueError, match='must be "train" or "raw"'):
        open_dataset(root, label_ids="other")


def test_layouts_are_found(make_cityscapes, make_coco, make_voc, tmp_path):
    with pytest.raises(DatasetError, match="none of the known layouts"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="layout must be one of"):
        open_dataset(tmp_path, "yolo")
    make_voc({"a": []}, base="sub")
    with pytest.raises(DatasetError, match=r"below it there are sub/ \(voc\)"):
        open_dataset(tmp_path)
    assert find_layouts(make_cityscapes("a_0_0", np.zeros((8, 8)))) == ["cityscapes"]
    root = make_coco([])
    assert find_layouts(root) == ["coco", "cityscapes"]
    with pytest.raises(DatasetError, match=r"has the layouts coco and cityscapes; say which with layout="):
        open_dataset(root)
    assert open_dataset(root, "coco").layout == "coco"
    with pytest.raises(ValueError, match="label_ids= is for the cityscapes layout"):
        open_dataset(root, "coco", label_ids="raw")
    assert list_splits(root, "coco") == list_splits(root, "cityscapes") == list_splits(root / "sub", "voc") == ["train"]
