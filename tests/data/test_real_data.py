"""The readers on the real sets, and what they write back."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from torchvision.datasets import Cityscapes

from cutmix_dense.data import open_dataset
from cutmix_dense.data.writers import CocoWriter, VocWriter


def check(dataset, every=1):
    """All samples have the same keys and make sense; returns how many instances there are."""
    keys, count = None, 0
    for i in range(0, len(dataset), every):
        image, target = dataset[i]
        keys = keys or list(target)
        assert list(target) == keys
        assert image.dtype == torch.uint8
        height, width = image.shape[1:]
        if "boxes" in target:
            boxes = target["boxes"]
            assert boxes[:, :2].ge(-1).all()
            assert boxes[:, 2].le(width + 1).all()
            assert boxes[:, 3].le(height + 1).all()
            assert target["labels"].ge(0 if dataset.layout == "cityscapes" else 1).all()
            assert target["labels"].lt(len(dataset.classes)).all()
            count += len(boxes)
        if "masks" in target:
            assert target["masks"].shape[1:] == image.shape[1:]
        if "semantic" in target:
            values = target["semantic"].unique()
            assert values[values != 255].lt(len(dataset.classes)).all()
    return count


def test_bccd(real):
    datasets = [open_dataset(real("bccd"), split=split) for split in ("train", "val", "test")]
    assert [len(dataset) for dataset in datasets] == [205, 87, 72]
    assert datasets[0].classes == ("background", "Platelets", "RBC", "WBC")
    assert sum(check(dataset) for dataset in datasets) == 4886


def test_facade(real):
    root = real("facade")
    coco = open_dataset(root, "coco", split="gval")
    voc = open_dataset(root, "voc", split="gval", task="instances")
    assert len(coco) == len(voc) == 121
    assert coco.classes == voc.classes
    assert check(coco, every=6) > 300
    place = {coco.image_path(i).stem: i for i in range(len(coco))}
    for i in range(0, 121, 20):
        _, target = voc[i]
        _, polygons = coco[place[target["image_id"]]]
        for box, label, mask in zip(target["boxes"], target["labels"], target["masks"], strict=True):
            assert mask.any()
            # the painted mask is what is visible of some polygon of this class and about this box
            same = polygons["labels"] == label
            near = (polygons["boxes"] - box).abs().amax(dim=1) < 3
            inside = [(mask & ~other).sum() <= 0.05 * mask.sum() for other in polygons["masks"][same & near]]
            assert any(inside)


def test_animals(real):
    dataset = open_dataset(real("animals_oi"), split="val")
    assert dataset.classes == ("background", "deer", "otter", "tiger", "turtle")
    assert dataset.category_ids == (-1, 2, 4, 6, 7)
    counts = [check(open_dataset(real("animals_oi"), split=split)) for split in ("valid", "test")]
    assert all(counts)


def test_official_coco_agrees_with_pycocotools(real):
    root = real("coco_by33")
    dataset = open_dataset(root)
    assert len(dataset) == 33
    assert len(dataset.classes) == 81
    assert check(dataset) == 246
    with contextlib.redirect_stdout(io.StringIO()):
        official = COCO(str(root / "annotations" / "instances_train2017.json"))
    crowds = 0
    for i in range(33):
        _, target = dataset[i]
        found = official.loadAnns(official.getAnnIds(target["image_id"]))
        crowds += int(target["iscrowd"].sum())
        for annotation, mask, label in zip(found, target["masks"], target["labels"], strict=True):
            assert np.array_equal(official.annToMask(annotation), mask.numpy())
            assert dataset.category_ids[label] == annotation["category_id"]
    assert crowds == 3


def test_real_coco_written_and_read_again(real, tmp_path):
    source = open_dataset(real("coco_by33"))
    writer = CocoWriter(tmp_path, classes=source.classes, category_ids=source.category_ids)
    for i in range(len(source)):
        writer.add(source.image_path(i).stem, *source[i])
    writer.finish([source.image_path(i).stem for i in range(len(source))])
    again = open_dataset(tmp_path)
    assert again.category_ids == source.category_ids
    for i in range(len(source)):
        for key in ("boxes", "labels", "masks", "iscrowd", "area"):
            assert torch.equal(source[i][1][key], again[i][1][key]), key


def test_real_voc_written_and_read_again(real, tmp_path):
    source = open_dataset(real("bccd"), split="test")
    writer = VocWriter(tmp_path, classes=source.classes, split="test")
    for i in range(len(source)):
        writer.add(source[i][1]["image_id"], *source[i])
    writer.finish([source[i][1]["image_id"] for i in range(len(source))])
    again = open_dataset(tmp_path, split="test")
    for i in range(len(source)):
        for key in ("boxes", "labels", "difficult"):
            assert torch.equal(source[i][1][key], again[i][1][key]), key


def test_camvid_as_cityscapes(real, tmp_path):
    source = real("camvid")
    small = tmp_path / "camvid"  # a dozen frames, one of them broken
    for split in ("train", "val"):
        for path in sorted((source / split).iterdir())[::40]:
            for folder, name in ((split, path.name), (f"{split}annot", f"{path.stem}.png")):
                (small / folder).mkdir(parents=True, exist_ok=True)
                (small / folder / name).write_bytes((source / folder / name).read_bytes())
    broken = sorted((small / "val").iterdir())[0]
    broken.write_bytes(b"")
    script = Path(__file__).resolve().parents[2] / "datasets" / "prepare_camvid.py"
    spec = importlib.util.spec_from_file_location("prepare_camvid", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    count, skipped = module.prepare(small, tmp_path / "out", "val")
    assert [error.path for error in skipped] == [broken]
    module.prepare(small, tmp_path / "out", "train")
    dataset = open_dataset(tmp_path / "out", split="val")
    assert len(dataset) == len(Cityscapes(tmp_path / "out", split="val", target_type="semantic")) == count
    assert check(dataset) == 0
    names = dict(enumerate(module.NAMES))
    for i in range(len(dataset)):
        _, target = dataset[i]
        ids = np.array(Image.open(small / "valannot" / f"{target['image_id']}.png"))
        for value in np.unique(ids):
            got = target["semantic"].numpy()[ids == value]
            name = names[int(value)][1]
            assert (got == (255 if name == "unlabeled" else dataset.classes.index(name))).all()


def test_shared_json_files_are_read_as_they_are(real):
    content = json.loads((real("facade") / "annotations" / "instances_gval.json").read_text())
    assert len(open_dataset(real("facade"), "coco", split="gval")) == len(content["images"])


@pytest.mark.parametrize("layout", ["coco", "voc", "cityscapes"])
def test_demo_set_reads_whole(demo, layout):
    dataset = open_dataset(demo / layout)
    assert dataset.layout == layout
    assert check(dataset) > 100
