"""VOC: corners, difficult, class names, maps and masks, and files that are broken or hostile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.images import encode_indices, voc_palette

CAT, DOG = ("cat", (11, 6, 20, 15), 0), ("dog", (1, 1, 60, 40), 1)


def save_map(root, kind, name, ids):
    (root / kind).mkdir(exist_ok=True)
    (root / kind / f"{name}.png").write_bytes(encode_indices(ids.astype(np.uint8), voc_palette()))


def test_corners_difficult_and_empty_images(make_voc):
    dataset = open_dataset(make_voc({"a": [CAT, DOG], "b": []}))
    assert (dataset.layout, len(dataset)) == ("voc", 2)
    _, target = dataset[0]
    assert target["image_id"] == "a"
    assert target["boxes"].tolist() == [[10, 5, 20, 15], [0, 0, 60, 40]]
    assert target["area"].tolist() == [100, 2400]
    assert target["difficult"].tolist() == [False, True]
    assert [dataset.classes[label] for label in target["labels"]] == ["cat", "dog"]
    _, empty = dataset[1]
    assert list(empty) == list(target)
    assert empty["boxes"].shape == (0, 4)
    assert empty["difficult"].dtype == torch.bool


def test_class_names(make_voc):
    root = make_voc({"a": [CAT, DOG]})
    assert open_dataset(root).classes[:2] == ("background", "aeroplane")
    assert len(open_dataset(root).classes) == 21
    assert open_dataset(root, classes=["dog", "cat"])[0][1]["labels"].tolist() == [2, 1]
    assert open_dataset(root, classes=["background", "dog", "cat"]).classes == ("background", "dog", "cat")
    with pytest.raises(SampleError, match=r"a\.xml: object 2: class 'dog' is not among"):
        open_dataset(root, classes=["cat"])[0]
    root = make_voc({"a": [CAT, ("yak", (1, 1, 2, 2), 0)]})
    assert open_dataset(root).classes == ("background", "cat", "yak")
    (root / "classes.txt").write_text("0 background\n1 yak\n2 sea cow\n3 cat\n")
    assert open_dataset(root).classes == ("background", "yak", "sea cow", "cat")
    (root / "classes.txt").write_text("sea cow\nyak\ncat\n")
    assert open_dataset(root).classes == ("background", "sea cow", "yak", "cat")
    (root / "classes.txt").write_text("1 yak\n7 cat\n")
    with pytest.raises(DatasetError, match="must count up"):
        open_dataset(root)


def test_devkit_folders(make_voc):
    root = make_voc({"a": [CAT]}, base="VOCdevkit/VOC2012")
    assert len(open_dataset(root)) == len(open_dataset(root / "VOCdevkit")) == 1
    make_voc({"a": [CAT]}, base="VOCdevkit/VOC2007")
    with pytest.raises(DatasetError, match="holds VOC2007, VOC2012"):
        open_dataset(root)
    assert len(open_dataset(root / "VOCdevkit" / "VOC2007")) == 1


def test_lists_of_one_class_and_other_suffixes(make_voc):
    root = make_voc({"a": [CAT], "b": []})
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("a  1\nb -1\n")
    (root / "JPEGImages" / "b.jpg").rename(root / "JPEGImages" / "b.JPG")
    dataset = open_dataset(root, split="cat_train")
    assert [dataset[i][1]["image_id"] for i in range(2)] == ["a", "b"]
    with pytest.raises(DatasetError, match=r"val\.txt: no such list \(lists found: cat_train, train\)"):
        open_dataset(root, split="val")


def test_semantic_map_only_if_all_have_one(make_voc):
    root = make_voc({"a": [CAT], "b": []})
    ids = np.zeros((40, 60))
    ids[5:15, 10:20] = 8
    ids[4] = 255
    save_map(root, "SegmentationClass", "a", ids)
    assert "semantic" not in open_dataset(root)[0][1]
    save_map(root, "SegmentationClass", "b", ids * 0)
    semantic = open_dataset(root)[0][1]["semantic"]
    assert semantic.dtype == torch.uint8
    assert np.array_equal(semantic.numpy(), ids)
    assert list(open_dataset(root, task="segmentation")[0][1]) == ["image_id", "semantic"]
    with pytest.raises(ValueError, match="task must be one of"):
        open_dataset(root, task="other")


def test_maps_of_unnamed_classes_are_refused(make_voc):
    root = make_voc({"a": [("yak", (1, 1, 2, 2), 0)]})
    save_map(root, "SegmentationClass", "a", np.zeros((40, 60)))
    with pytest.raises(DatasetError, match=r"give classes= or a classes\.txt"):
        open_dataset(root)
    assert open_dataset(root, classes=["yak"])[0][1]["semantic"].shape == (40, 60)


def test_instances_by_number_by_box_and_refused(make_voc):
    root = make_voc({"a": [CAT, ("dog", (31, 21, 40, 30), 0)]})
    kinds, ids = np.zeros((40, 60)), np.zeros((40, 60))
    kinds[5:15, 10:20], kinds[20:30, 30:40] = 8, 12
    ids[5:15, 10:20], ids[20:30, 30:40] = 1, 2
    save_map(root, "SegmentationClass", "a", kinds)
    save_map(root, "SegmentationObject", "a", ids)
    target = open_dataset(root, task="instances")[0][1]
    assert np.array_equal(target["masks"].numpy(), np.stack([ids == 1, ids == 2]))
    assert target["area"].tolist() == [100, 100]
    save_map(root, "SegmentationObject", "a", np.where(ids == 1, 9, ids))  # numbered otherwise
    target = open_dataset(root, task="instances")[0][1]
    assert np.array_equal(target["masks"].numpy(), np.stack([ids == 1, ids == 2]))
    save_map(root, "SegmentationObject", "a", np.where(ids == 1, 1, 0))  # the dog has none
    with pytest.raises(SampleError, match="no index belongs without doubt to object 2"):
        open_dataset(root, task="instances")[0]


def test_two_masks_for_one_box_are_a_doubt(make_voc):
    root = make_voc({"a": [("cat", (1, 1, 20, 10), 0)]})
    kinds, ids = np.zeros((40, 60)), np.zeros((40, 60))
    ids[:10, :10], ids[:10, 10:20] = 3, 4
    kinds[ids > 0] = 8
    save_map(root, "SegmentationClass", "a", kinds)
    save_map(root, "SegmentationObject", "a", ids)
    with pytest.raises(SampleError, match="object 1"):
        open_dataset(root, task="instances")[0]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation><object>", "no element found"),
        ("<other/>", "not a VOC annotation"),
        ("<annotation><filename>../../x.jpg</filename></annotation>", "leads out of the folder"),
        ("<annotation><object><name>cat</name></object></annotation>", "object 1: could not convert"),
        ("<annotation><size><width>40</width><height>60</height></size></annotation>", "states an image of 40×60"),
        (
            "<annotation><object><name>cat</name><bndbox><xmin>nan</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
            "</bndbox></object></annotation>",
            "object 1: 'nan' is not finite",
        ),
    ],
)
def test_bad_xml_is_named(make_voc, xml, message):
    dataset = open_dataset(make_voc({"a": xml}))
    with pytest.raises(SampleError, match=rf"a\.xml: .*{message}"):
        dataset[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(make_voc, encoding):
    bomb = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE annotation [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
        "<annotation><folder>&b;</folder></annotation>"
    )
    root = make_voc({"a": []})
    (root / "Annotations" / "a.xml").write_bytes(bomb.encode(encoding))
    with pytest.raises(SampleError, match="DOCTYPE"):
        open_dataset(root)[0]


def test_missing_files_are_named(make_voc):
    root = make_voc({"a": [CAT], "b": [CAT]})
    (root / "Annotations" / "a.xml").unlink()
    (root / "JPEGImages" / "b.jpg").write_bytes(b"")
    dataset = open_dataset(root)
    with pytest.raises(SampleError, match=r"a\.xml: file not found"):
        dataset[0]
    with pytest.raises(SampleError, match=r"b\.jpg: "):
        dataset[1]
    with pytest.raises(SampleError, match=r"SegmentationClass/b\.png|b\.jpg"):
        open_dataset(root, task="segmentation")[1]


def test_maps_in_colour_or_of_another_size(make_voc):
    root = make_voc({"a": [CAT]})
    save_map(root, "SegmentationClass", "a", np.zeros((20, 60)))
    with pytest.raises(SampleError, match="the map is 60×20, its image is 60×40"):
        open_dataset(root)[0]
    Image.new("RGB", (60, 40)).save(root / "SegmentationClass" / "a.png")
    with pytest.raises(SampleError, match="this one is RGB"):
        open_dataset(root)[0]


def test_names_in_lists_stay_in_their_folder(make_voc):
    root = make_voc({"a": []})
    (root / "ImageSets" / "Main" / "train.txt").write_text("../../a\n")
    with pytest.raises(SampleError, match="leads out"):
        open_dataset(root)[0]
