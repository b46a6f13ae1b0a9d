"""VOC: corners, difficult, class names, maps and masks, and files that are broken or hostile."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.details import STATED, still_true
from cutmix_dense.data.errors import DataWarning
from cutmix_dense.data.maps import encode_indices, voc_palette
from cutmix_dense.data.mixed_sample import open_complete
from cutmix_dense.data.readers import VocDataset, find_layouts, list_splits

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
    dataset = open_dataset(root, classes=["cat"])
    with pytest.warns(
        DataWarning, match=r"a\.xml: object 2: class 'dog' is not among \('cat',\); classes= can name more"
    ):
        assert dataset[0][1]["boxes"].tolist() == [[10, 5, 20, 15]]
    with pytest.raises(SampleError, match=r"a\.xml: object 1: class 'cat' is not among"):
        open_dataset(root, classes=["yak"])[0]
    with pytest.raises(SampleError, match=r"not among \('yak',\); classes= can name more"):
        open_dataset(root, classes=["yak"])[0]
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
    with pytest.raises(DatasetError, match=r"holds VOC2007, VOC2012; name one of them, as \S*VOC2007"):
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
    target = open_dataset(root, task="instances")[0][1]
    assert target["has_mask"].tolist() == [True, False]
    assert target["boxes"].tolist() == [[10, 5, 20, 15], [30, 20, 40, 30]]
    assert target["masks"].sum(dim=(1, 2)).tolist() == [100, 0]
    save_map(root, "SegmentationObject", "a", np.where(ids == 1, 1, np.where(kinds == 0, 9, 0)))  # a third one
    dataset = open_dataset(root, task="instances")
    with pytest.warns(DataWarning, match=r"SegmentationObject/a\.png: index 9 fits no object of the XML file"):
        assert dataset[0][1]["has_mask"].tolist() == [True, False]


def test_two_masks_for_one_box_are_a_doubt(make_voc):
    root = make_voc({"a": [("cat", (1, 1, 20, 10), 0)]})
    kinds, ids = np.zeros((40, 60)), np.zeros((40, 60))
    ids[:10, :10], ids[:10, 10:20] = 3, 4
    kinds[ids > 0] = 8
    save_map(root, "SegmentationClass", "a", kinds)
    save_map(root, "SegmentationObject", "a", ids)
    with pytest.raises(SampleError, match="no index belongs without doubt to object 1"):
        open_dataset(root, task="instances")[0]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation><object>", "no element found.*: the file is cut off or broken, copy it again from its source"),
        ("<other/>", "not a VOC annotation"),
        ("<annotations/>", "not a VOC annotation, the root element is <annotations>"),
        ("<annotation><objects><object/></objects></annotation>", "its objects lie in <objects>, as FAIR1M's do"),
        ("<annotation><object><name>cat</name></object></annotation>", "object 1: has neither a <bndbox> nor a <poly"),
        ("<annotation><object><bndbox/></object></annotation>", "object 1: has no <name>"),
        ("<annotation><object><name>cat</name><bndbox/></object></annotation>", "object 1: its <bndbox> has no <xmin>"),
        ("<annotation><object><name>cat</name><robndbox/></object></annotation>", "object 1: has a rotated box alone"),
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


NAMED = (
    "<annotation><object><name>{}</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
    "</object></annotation>"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (NAMED.format("Bär").encode("latin-1"), "not well-formed.*: its text isn't in the encoding.*save it as UTF-8"),
        (NAMED.format("cat & dog").encode(), "not well-formed.*: an & in a text must be written as &amp;"),
        (NAMED.format("a<b").encode(), ".*: correct the file there"),
        (NAMED.format("&eacute;").encode(), "undefined entity.*: write the character itself in its place"),
        (NAMED.format("cat").encode()[:-40], ".*: the file is cut off or broken, copy it again"),
        (NAMED.format("cat").encode()[:-40] + bytes(40), ".*: the file is cut off or broken, copy it again"),
        (b'<?xml version="1.0" encoding="big5"?>\xff\xff', "can't be read in its encoding, big5.*save it as UTF-8"),
        (b'<?xml version="1.0" encoding="x-odd"?><annotation/>', "can't be read in its encoding, x-odd"),
    ],
)
def test_the_reason_of_xml_that_can_not_be_read_is_true(make_voc, content, message):
    root = make_voc({"a": []})
    dataset = open_dataset(root)
    (root / "Annotations" / "a.xml").write_bytes(content)
    with pytest.raises(SampleError, match=rf"a\.xml: {message}"):
        dataset[0]


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1252", "gbk", "shift_jis", "utf-16", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_bare_ampersand_is_told_in_any_encoding(make_voc, encoding, end):
    root = make_voc({"a": []})
    dataset = open_dataset(root)
    letter = "猫" if encoding in ("gbk", "shift_jis") else "é"
    declared = encoding.removesuffix("-sig")
    lines = [f'<?xml version="1.0" encoding="{declared}"?>', f"<!-- {letter} -->", NAMED.format(f"{letter} & dog")]
    for words, message in ((lines, "an & in a text"), ([*lines[:2], NAMED.format("a<b")], "correct the file there")):
        (root / "Annotations" / "a.xml").write_bytes(end.join(words).encode(encoding))
        with pytest.raises(SampleError, match=rf"a\.xml: .*line 3, .*: {message}"):
            dataset[0]


@pytest.mark.parametrize("encoding", ["gb2312", "gb18030", "big5", "shift_jis", "euc-kr", "utf-16", "utf-8"])
def test_encodings_of_several_bytes(make_voc, encoding):
    root, name = make_voc({"a": []}), "\u4e00\u4eba"  # which all of these have
    text = f'<?xml version="1.0" encoding="{encoding}"?>{NAMED.format(name)}'
    (root / "Annotations" / "a.xml").write_bytes(text.encode(encoding))
    dataset = open_dataset(root)
    assert dataset.classes == ("background", name)
    assert dataset[0][1]["boxes"].tolist() == [[4, 5, 20, 30]]


def test_a_doctype_without_entities_does_no_harm(make_voc):
    root = make_voc({"a": []})
    text = f'<?xml version="1.0"?><!DOCTYPE annotation SYSTEM "voc.dtd">{NAMED.format("cat")}'
    (root / "Annotations" / "a.xml").write_text(text)
    assert len(open_dataset(root)[0][1]["boxes"]) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb2312"])
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
    assert not open_dataset(root)[0][1]["semantic"].any()  # black is VOC's colour of 0
    Image.new("RGB", (60, 40), (1, 2, 3)).save(root / "SegmentationClass" / "a.png")
    with pytest.raises(SampleError, match=r"SegmentationClass/a\.png: the colour \(1, 2, 3\) at row 0, column 0"):
        open_dataset(root)[0]
    Image.new("CMYK", (60, 40)).save(root / "SegmentationClass" / "a.png", "TIFF")
    with pytest.raises(SampleError, match=r"SegmentationClass/a\.png: a map of ids"):
        open_dataset(root)[0]


def test_names_in_lists_stay_in_their_folder(make_voc):
    root = make_voc({"a": []})
    (root / "ImageSets" / "Main" / "train.txt").write_text("../../a\n")
    with pytest.raises(SampleError, match="leads out"):
        open_dataset(root)[0]


# ------------------------------------------------------------------------------------------------------ without lists


def picture(path: Path, size=(40, 60)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (9, 99, 199)).save(path, "PNG" if path.suffix == ".png" else "JPEG")
    return path


def xml(path: Path, *objects: str, more: str = "") -> Path:
    """An XML file; an object is "name" with a box of its own, or a whole element."""
    path.parent.mkdir(parents=True, exist_ok=True)
    box = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>20</xmax><ymax>15</ymax></bndbox>"
    elements = [each if each.startswith("<") else f"<object><name>{each}</name>{box}</object>" for each in objects]
    path.write_text(f"<annotation>{more}{''.join(elements)}</annotation>")
    return path


FORMS = {
    "flat": ("{name}.jpg", "{name}.xml", "all"),
    "two folders": ("images/{name}.jpg", "annots/{name}.xml", "all"),
    "odd names": ("my_pictures/{name}.JPG", "my_boxes/{name}.XML", "all"),
    "official names": ("JPEGImages/{name}.png", "Annotations/{name}.xml", "all"),
    "xml below the pictures": ("{name}.jpg", "xml/{name}.xml", "all"),
    "roboflow": ("valid/{name}.jpg", "valid/{name}.xml", "valid"),
    "two folders in a split": ("part1/images/{name}.jpg", "part1/labels/{name}.xml", "part1"),
    "splits in two folders": ("Images/test/{name}.jpg", "Annotations/test/{name}.xml", "test"),
    "flat in images": ("images/train/{name}.jpg", "images/train/{name}.xml", "train"),
}


@pytest.mark.parametrize("form", FORMS)
def test_sets_without_lists(tmp_path, form):
    image, annotation, split = FORMS[form]
    for name in ("a", "b 1"):
        picture(tmp_path / image.format(name=name))
        xml(tmp_path / annotation.format(name=name), "yak", "cat")
    assert find_layouts(tmp_path) == ["voc"]
    assert list_splits(tmp_path, "voc") == [split]
    dataset = open_dataset(tmp_path)
    assert (len(dataset), dataset.classes) == (2, ("background", "cat", "yak"))
    assert dataset.image_path(1) == tmp_path / image.format(name="b 1")
    target = dataset[1][1]
    assert target["image_id"] == "b 1"
    assert target["boxes"].tolist() == [[10, 5, 20, 15]] * 2
    assert target["labels"].tolist() == [2, 1]


def test_every_split_numbers_the_classes_alike(tmp_path):
    for split, name in (("train", "yak"), ("valid", "cat"), ("test", "dog")):
        picture(tmp_path / split / "a.jpg")
        xml(tmp_path / split / "a.xml", name)
    assert list_splits(tmp_path, "voc") == ["test", "train", "valid"]
    labels = {split: open_dataset(tmp_path, split=split)[0][1]["labels"].tolist() for split in ("train", "val", "test")}
    assert labels == {"train": [3], "val": [1], "test": [2]}  # "val" finds "valid"
    with pytest.raises(DatasetError, match=r"no split 'other' \(splits found: test, train, valid\)"):
        open_dataset(tmp_path, "voc", "other")


def test_classes_of_xml_files_in_sub_folders(tmp_path):
    """Those of all folders count, with a list and without one."""
    root = tmp_path / "listed"
    for name, kind in (("s1/a", "zebra"), ("s2/a", "lion")):
        picture(root / "JPEGImages" / f"{name}.png")
        xml(root / "Annotations" / f"{name}.xml", kind)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("s1/a\ns2/a\n")
    dataset = open_dataset(root)
    assert dataset.classes == ("background", "lion", "zebra")
    assert [dataset[i][1]["labels"].tolist() for i in range(2)] == [[2], [1]]
    root = tmp_path / "unlisted"
    for name, kind in (("a", "zebra"), ("s2/b", "lion")):
        picture(root / "images" / f"{name}.png")
        xml(root / "annotations" / f"{name}.xml", kind)
    assert open_dataset(root).classes == ("background", "lion", "zebra")


def test_lists_in_the_folder_of_lists_itself(tmp_path):
    for name in "abc":
        picture(tmp_path / "JPEGImages" / f"{name}.png")
        xml(tmp_path / "Annotations" / f"{name}.xml", "cat")
    lists = tmp_path / "ImageSets"
    (lists / "Layout").mkdir(parents=True)
    (lists / "Layout" / "train.txt").write_text("a\n")
    with pytest.warns(DataWarning, match=r"Layout/train\.txt: is not read: lists of splits lie in ImageSets/Main"):
        assert len(open_dataset(tmp_path)) == 3
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\n")
    assert list_splits(tmp_path, "voc") == ["train", "val"]
    assert [names_of(open_complete(tmp_path, split=split)) for split in ("train", "val")] == [
        ["a.png", "b.png"],
        ["c.png"],
    ]
    save_map(tmp_path, "SegmentationObject", "c", np.ones((40, 60)))
    assert open_complete(tmp_path, split="train").task == "detection"
    assert open_complete(tmp_path, split="val").task == "all"
    (lists / "Main").mkdir()
    (lists / "Main" / "test.txt").write_text("b\n")
    assert list_splits(tmp_path, "voc") == ["test"]


def test_a_name_that_ends_in_a_space(tmp_path):
    for name in ("a ", "b"):
        picture(tmp_path / "JPEGImages" / f"{name}.png")
        xml(tmp_path / "Annotations" / f"{name}.xml", "cat")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a \nb  \n")
    dataset = open_dataset(tmp_path)
    assert names_of(dataset) == ["a .png", "b.png"]
    assert [len(dataset[i][1]["boxes"]) for i in range(2)] == [1, 1]
    assert VocDataset.writer.stem_of(Path("a .png")) == "a"


def test_pictures_without_xml_are_counted_and_xml_without_pictures_named(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / f"{name}.jpg")
    xml(tmp_path / "b.xml", "cat")
    xml(tmp_path / "d.xml", "cat")
    with pytest.warns(DataWarning, match=r"2 pictures have no XML file, as a\.jpg; they are no samples"):
        dataset = open_dataset(tmp_path)
    assert list(dataset.notes) == [(str(tmp_path), "2 pictures have no XML file, as a.jpg; they are no samples")]
    assert [dataset.image_path(i).name for i in range(2)] == ["b.jpg", "d.jpg"]
    assert len(dataset[0][1]["boxes"]) == 1
    with pytest.raises(SampleError, match=r"d\.jpg: file not found"):
        dataset[1]


def test_what_is_no_voc_is_not_taken_for_it(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    for start in ("<annotations><image/></annotations>", "<annotation><objects></objects></annotation>", "<svg/>", ""):
        (tmp_path / "annotations.xml").write_text(start)
        assert VocDataset.find_splits(tmp_path) == []
    xml(tmp_path / "annotations.xml", "cat")
    assert VocDataset.find_splits(tmp_path) == ["all"]
    with pytest.raises(DatasetError, match="not PASCAL VOC, .* no XML files beside pictures"):
        VocDataset(tmp_path / "images")


def test_sets_below_are_no_splits(tmp_path):
    """Several exports of one set beside each other, and what LabelMe's converter leaves beside its source."""
    for export in ("coco", "voc", "yolo"):
        picture(tmp_path / export / "train" / "a.jpg")
    xml(tmp_path / "voc" / "train" / "a.xml", "cat")
    assert VocDataset.find_splits(tmp_path) == []
    assert VocDataset.find_splits(tmp_path / "voc") == ["train"]
    picture(tmp_path / "more" / "data_dataset_voc" / "JPEGImages" / "a.jpg")
    xml(tmp_path / "more" / "data_dataset_voc" / "Annotations" / "a.xml", "cat")
    assert VocDataset.find_splits(tmp_path / "more") == []
    (tmp_path / "more" / "data_dataset_voc").rename(tmp_path / "more" / "train")
    assert VocDataset.find_splits(tmp_path / "more") == ["train"]


def test_a_look_at_a_large_folder_is_short(tmp_path, monkeypatch):
    """Without XML files every entry would have to be looked at to say no."""
    for number in range(30):
        picture(tmp_path / "images" / str(number) / "a.jpg")
    seen = []
    scandir = os.scandir
    monkeypatch.setattr("cutmix_dense.data.readers.voc_files._MOST_LOOKED_AT", 20)
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(path) or scandir(path))
    assert VocDataset.find_splits(tmp_path) == []
    assert len(seen) < 80


def test_given_folders_need_no_list(tmp_path):
    picture(tmp_path / "deep" / "er" / "pictures" / "a.png")
    xml(tmp_path / "elsewhere" / "boxes" / "a.xml", "cat")
    dataset = open_dataset(tmp_path, "voc", images="deep/er/pictures", annotations="elsewhere/boxes")
    assert dataset.image_path(0) == tmp_path / "deep" / "er" / "pictures" / "a.png"
    assert dataset[0][1]["boxes"].tolist() == [[10, 5, 20, 15]]


# --------------------------------------------------------------------------------------------------------------- lists


def names_of(dataset) -> list[str]:
    return [dataset.image_path(i).name for i in range(len(dataset))]


def test_numbers_behind_names_are_flags_in_lists_of_classes_alone(make_voc):
    root = make_voc({"img": [CAT], "img 1": [], "img 0": []})
    lists = root / "ImageSets" / "Main"
    (lists / "train.txt").write_text("img 1\nimg 0\nimg\n")
    assert names_of(open_dataset(root)) == ["img 1.jpg", "img 0.jpg", "img.jpg"]
    (lists / "my_train.txt").write_text("img 1\nimg 0\n")  # no class is called "my"
    assert names_of(open_dataset(root, split="my_train")) == ["img 1.jpg", "img 0.jpg"]
    (lists / "cat_train.txt").write_text("img 1  -1\nimg 0  1\nimg  1\n")
    assert names_of(open_dataset(root, split="cat_train")) == ["img 1.jpg", "img 0.jpg", "img.jpg"]
    (lists / "other.txt").write_text("img -1\nimg 2\n")  # there is no "img -1", so it is a flag
    assert names_of(open_dataset(root, split="other")) == ["img.jpg", "img 2.jpg"]


def test_lists_as_other_programs_write_them(make_voc):
    root = make_voc({"a": [CAT], "b.c": [], "d": []})
    text = "\ufeffa.jpg\r\n\r\nJPEGImages/b.c\r\n# a comment\r\n/content/data/JPEGImages/d.jpg\r\nD:\\data\\a.xml\r\n"
    (root / "ImageSets" / "Main" / "train.txt").write_bytes(text.encode())
    assert names_of(open_dataset(root)) == ["a.jpg", "b.c.jpg", "d.jpg", "a.jpg"]
    (root / "ImageSets" / "Main" / "train.txt").write_bytes(b"")
    assert len(open_dataset(root)) == 0


@pytest.mark.parametrize("task", ["detection", "segmentation", "instances", "all"])
def test_a_name_longer_than_file_systems_take(make_voc, task):
    root = make_voc({"a": []})
    for kind in ("SegmentationClass", "SegmentationObject"):
        save_map(root, kind, "a", np.zeros((40, 60)))
    for kind in ("Main", "Segmentation"):
        (root / "ImageSets" / kind / "train.txt").write_text(f"a\n{'9' * 300}\n")
    dataset = open_dataset(root, task=task)
    assert len(dataset[0]) == 2
    with pytest.raises(SampleError, match="File name too long|file not found"):
        dataset[1]


def test_names_with_folders(make_voc, tmp_path):
    root = make_voc({"a": []})
    picture(root / "JPEGImages" / "x" / "b.png")
    xml(root / "Annotations" / "x" / "b.xml", "dog")
    (root / "ImageSets" / "Main" / "train.txt").write_text("x/b\nx/b.png\nx/c\n")
    dataset = open_dataset(root, details=True)
    assert dataset.picture(0).name == dataset.picture(1).name == "x/b.png"
    assert len(dataset[0][1]["boxes"]) == len(dataset[1][1]["boxes"]) == 1
    with pytest.raises(SampleError, match=r"x/c\.xml: file not found"):
        dataset[2]


# ------------------------------------------------------------------------------------------------------------ XML files


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", True),
        ("0", False),
        ("2", True),
        ("1.0", True),
        ("true", True),
        (" Yes ", True),
        ("false", False),
        ("Unspecified", False),
        ("", False),
    ],
)
def test_difficult_in_words(make_voc, recwarn, text, expected):
    dataset = open_dataset(make_voc({"a": [("cat", (11, 6, 20, 15), text)]}))
    assert dataset[0][1]["difficult"].tolist() == [expected]
    assert not dataset.notes
    assert not recwarn.list


def test_what_is_not_followed_is_noted(make_voc):
    turned = "<attributes><attribute><name>rotation</name><value>30.0</value></attribute></attributes>"
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    objects = f"<object><name>cat</name><difficult>maybe</difficult>{box}{turned}</object>"
    objects += f"<object><name>cat</name><deleted>1</deleted>{box}</object>"
    objects += f"<object><name>cat</name>{box}{turned.replace('30.0', '0.0')}</object>"
    dataset = open_dataset(make_voc({"a": f"<annotation>{objects}</annotation>"}))
    with pytest.warns(DataWarning):
        assert len(dataset[0][1]["boxes"]) == 2
    assert [reason for _, reason in dataset.notes] == [
        "object 1: <difficult> says 'maybe', which is taken for 0; "
        "its rotation of 30.0 isn't followed, the box is read upright",
        "object 2: is marked as deleted; it is left out",
    ]


def test_corners_of_any_kind(make_voc):
    boxes = [("cat", (0, 0, 5, 5), 0), ("cat", ("1.5", "2e0", "9.25", "7"), 0), ("cat", (" 3 ", 4, 70, 50), 0)]
    target = open_dataset(make_voc({"a": boxes}))[0][1]
    assert target["boxes"].tolist() == [[-1, -1, 5, 5], [0.5, 1, 9.25, 7], [2, 3, 70, 50]]


@pytest.mark.parametrize("name", ["../../x.jpg", "/home/me/x.png", "other", "Unspecified", ""])
def test_the_filename_is_never_opened(make_voc, name):
    root = make_voc({"a": f"<annotation><filename>{name}</filename><path>{name}</path></annotation>"})
    assert open_dataset(root)[0][0].shape == (3, 40, 60)


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<size/>",
        "<width>0</width><height>0</height>",
        "<width>wide</width><height>40</height>",
        "<width>60</width>",
    ],
)
def test_sizes_that_say_nothing(make_voc, size):
    root = make_voc({"a": f"<annotation><size>{size}</size></annotation>"})
    assert open_dataset(root)[0][0].shape == (3, 40, 60)


def test_a_wrong_size_is_named(make_voc):
    root = make_voc({"a": "<annotation><size><width>50</width><height>60</height></size></annotation>"})
    with pytest.raises(SampleError, match=r"a\.jpg: is 60×40, but a\.xml says 50×60"):
        open_dataset(root)[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_followed_unless_the_size_says_otherwise(tmp_path, orientation):
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:20, :30] = 255  # the upper left quarter
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(pixels)
    corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    for name, size in (("stored", (40, 60)), ("turned", (60, 40) if orientation > 4 else (40, 60)), ("silent", None)):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "a.jpg", exif=exif)
        stated = "" if size is None else f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
        xml(tmp_path / name / "a.xml", "cat", more=stated)
        got = open_dataset(tmp_path / name)[0][0].numpy()
        follows = name != "stored" or orientation <= 4
        assert got.shape == (3, *((60, 40) if follows and orientation > 4 else (40, 60)))
        height, width = got.shape[1:]
        row, column = corner if follows else (0, 0)
        quarter = got[0, row * height // 2 :, column * width // 2 :][: height // 2, : width // 2]
        assert quarter.mean() > 250
        assert got.mean() < 80


def test_maps_of_pictures_as_they_are_stored(tmp_path):
    """A map that has the stored size was drawn on the picture as it is stored."""
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "JPEGImages").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "JPEGImages" / "a.jpg", exif=exif)
    for shape in ((40, 60), (60, 40)):
        save_map(tmp_path, "SegmentationClass", "a", np.ones(shape))
        image, target = open_dataset(tmp_path, classes=["cat"])[0]
        assert image.shape[1:] == target["semantic"].shape == shape


# ------------------------------------------------------------------------------------------------------------ polygons

SQUARE = "<polygon><x1>4</x1><y1>5</y1><x2>24</x2><y2>5</y2><x3>24</x3><y3>15</y3><x4>4</x4><y4>15</y4></polygon>"
POINTS = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((30, 10), (50, 10), (50, 30), (30, 30)))
BOX = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>24</xmax><ymax>15</ymax></bndbox>"


def test_polygons_are_masks(tmp_path):
    picture(tmp_path / "a.jpg")
    second = POINTS.replace("30</y>", "20</y>").replace("10</y>", "8</y>")
    objects = [
        f"<object><name>cat</name>{BOX}{SQUARE}</object>",
        f"<object><name>dog</name><polygon><username>me</username>{POINTS}</polygon></object>",
        f"<object><name>cat</name>{BOX}</object>",
        f"<object><name>cat</name>{BOX}<polygon/></object>",
        f"<object><name>cat</name>{SQUARE}<polygon>{second}</polygon></object>",
    ]
    xml(tmp_path / "a.xml", *objects)
    assert VocDataset.whole(tmp_path, "all") == {"task": "instances"}
    target = open_dataset(tmp_path, task="instances")[0][1]
    squares = np.zeros((5, 40, 60), dtype=bool)
    squares[0, 5:15, 4:24] = squares[4, 5:15, 4:24] = squares[1, 10:30, 30:50] = squares[4, 8:20, 30:50] = True
    assert np.array_equal(target["masks"].numpy(), squares)
    assert target["has_mask"].tolist() == [True, True, False, False, True]
    assert target["boxes"].tolist() == [
        [4, 5, 24, 15],
        [30, 10, 50, 30],
        [4, 5, 24, 15],
        [4, 5, 24, 15],
        [4, 5, 50, 20],
    ]
    assert target["area"].tolist() == [200, 400, 200, 200, 440]
    dataset = open_dataset(tmp_path)
    with pytest.warns(DataWarning, match="objects have polygons, which are left out; task='instances' reads them"):
        assert "masks" not in dataset[0][1]


@pytest.mark.parametrize(
    ("polygon", "reason"),
    [
        (SQUARE.replace("<y3>15</y3>", ""), "a corner of its <polygon> has no x or no y"),
        (SQUARE.replace("24", "nan"), "'nan' is not finite"),
        (SQUARE.replace("24", ""), "must be a number, got"),
    ],
)
def test_a_broken_polygon_costs_its_object(tmp_path, polygon, reason):
    picture(tmp_path / "a.jpg")
    xml(tmp_path / "a.xml", "dog", f"<object><name>cat</name>{BOX}{polygon}</object>")
    dataset = open_dataset(tmp_path, task="instances")
    with pytest.warns(DataWarning, match=rf"a\.xml: object 2: {reason}.*; it is left out"):
        assert dataset[0][1]["has_mask"].tolist() == [False]
    xml(tmp_path / "a.xml", f"<object><name>cat</name>{BOX}{polygon}</object>")
    with pytest.raises(SampleError, match=rf"a\.xml: object 1: {reason}"):
        open_dataset(tmp_path, task="instances")[0]


@pytest.mark.parametrize("box", ["<bndbox/>", "<bndbox><xmin> </xmin></bndbox>"])
def test_a_polygon_gives_the_box_that_is_empty(tmp_path, box):
    polygon = "<polygon><x1>10</x1><y1>5</y1><x2>20</x2><y2>5</y2><x3>20</x3><y3>15</y3></polygon>"
    picture(tmp_path / "a.png")
    xml(tmp_path / "a.xml", f"<object><name>cat</name>{box}{polygon}</object>")
    dataset = open_complete(tmp_path)
    assert dataset[0][1]["boxes"].tolist() == [[10, 5, 20, 15]]
    assert not dataset.notes


def test_a_second_box_is_noted(tmp_path):
    picture(tmp_path / "a.png")
    xml(tmp_path / "a.xml", f"<object><name>cat</name>{BOX}<bndbox><xmin>1</xmin></bndbox></object>")
    with pytest.warns(DataWarning, match=r"a\.xml: object 1: has 2 <bndbox>, the first one is read"):
        assert len(open_dataset(tmp_path)[0][1]["boxes"]) == 1


def test_a_polygon_far_outside_leaves_the_box(tmp_path):
    picture(tmp_path / "a.jpg")
    xml(tmp_path / "a.xml", f"<object><name>cat</name>{BOX}{SQUARE.replace('24', '1e9')}</object>")
    dataset = open_dataset(tmp_path, task="instances")
    with pytest.warns(DataWarning, match="object 1: a polygon reaches .*; it is read without a mask"):
        target = dataset[0][1]
    assert (target["has_mask"].tolist(), target["boxes"].tolist()) == ([False], [[4, 5, 24, 15]])


# ------------------------------------------------------------------------------------------------------------- details

PERSON = (
    "<object><name>person</name><pose>Left</pose><truncated>1</truncated><occluded>0</occluded><difficult>1</difficult>"
    "<bndbox><xmin>5.5</xmin><ymin>6</ymin><xmax>24</xmax><ymax>15</ymax></bndbox><point><x>7</x><y>9</y></point>"
    "<part><name>head</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    "<part><name>hand</name><bndbox><xmax>4</xmax><xmin>1</xmin><ymin>2</ymin><ymax>3</ymax></bndbox></part>"
    "<actions><running>1</running><reading>0</reading></actions>"
    "<attributes><attribute><name>colour</name><value>red</value></attribute></attributes></object>"
)


def test_details_hold_all_that_is_said(tmp_path):
    picture(tmp_path / "a.jpg")
    source = "<source><database>mine</database></source><owner><name>me</name></owner><verified>yes</verified>"
    xml(tmp_path / "a.xml", PERSON, "cat", more=source)
    dataset = open_dataset(tmp_path, details=True)
    first, second = dataset[0][1]["details"]
    assert first.pop(STATED) == PERSON
    assert first == {
        "pose": "Left",
        "truncated": "1",
        "occluded": "0",
        "point": [7.0, 9.0],
        "part": [{"name": "head", "bndbox": [5.0, 6.0, 9.0, 9.0]}, {"name": "hand", "bndbox": [1.0, 2.0, 4.0, 3.0]}],
        "actions": {"running": "1", "reading": "0"},
        "attributes": {"attribute": {"name": "colour", "value": "red"}},
    }
    assert list(second) == [STATED]
    assert json.loads(json.dumps(first)) == first
    said = dataset.picture(0)
    assert said.name == "a.jpg"
    assert said.details == {"source": {"database": "mine"}, "owner": {"name": "me"}, "verified": "yes"}


def test_what_lies_somewhere_is_not_true_of_a_changed_instance(tmp_path):
    picture(tmp_path / "a.jpg")
    xml(tmp_path / "a.xml", PERSON)
    details = open_dataset(tmp_path, details=True)[0][1]["details"][0]
    lost: Counter[str] = Counter()
    assert set(still_true(details, untouched=True, same_layout=True, lost=lost)) == set(details)
    assert not lost
    kept = still_true(details, untouched=False, same_layout=True, lost=lost)
    assert set(kept) == {"pose", "truncated", "occluded", "actions", "attributes"}
    assert lost == {"part of instances that were changed": 1, "point of instances that were changed": 1}


# ----------------------------------------------------------------------------------------------------- classes and maps


def test_tables_of_classes(make_voc):
    root = make_voc({"a": [("Cat ", (1, 1, 9, 9), 0), ("cat", (1, 1, 9, 9), 0)]})
    assert open_dataset(root).classes == ("background", "Cat", "cat")
    (root / "classes.txt").write_bytes("\ufeffcat \r\n\r\nCat\r\nunused\r\n".encode())
    assert open_dataset(root).classes == ("background", "cat", "Cat", "unused")
    assert open_dataset(root)[0][1]["labels"].tolist() == [2, 1]
    (root / "classes.txt").unlink()
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,2,3:head,tail:run\nCat:3,2,1::\n"
    )
    assert open_dataset(root).classes == ("background", "cat", "Cat")
    many = [f"c{number}" for number in range(400)]
    (root / "labelmap.txt").write_text("".join(f"{name}:0,{i // 256},{i % 256}::\n" for i, name in enumerate(many, 1)))
    assert open_dataset(root, classes=[*many, "cat", "Cat"])[0][1]["labels"].tolist() == [402, 401]


def test_colours_mean_what_the_label_map_says(make_voc):
    root = make_voc({"a": [("tool", (5, 6, 24, 15), 0), ("nut", (31, 1, 40, 10), 0)]})
    table = (
        "# label:color_rgb:parts:actions\nnut:3,2,1::\nbackground:0,0,0::\ntool:250,50,83::\nignored:224,224,192::\n"
    )
    (root / "labelmap.txt").write_text(table)
    colors = np.zeros((40, 60, 3), dtype=np.uint8)
    colors[5:15, 4:24], colors[0:10, 30:40], colors[39] = (250, 50, 83), (3, 2, 1), (224, 224, 192)
    numbers = np.zeros((40, 60, 3), dtype=np.uint8)
    numbers[5:15, 4:24], numbers[0:10, 30:40] = (128, 0, 0), (0, 128, 0)  # VOC's colours of 1 and 2
    for kind, pixels in {"SegmentationClass": colors, "SegmentationObject": numbers}.items():
        (root / kind).mkdir()
        Image.fromarray(pixels).save(root / kind / "a.png")
    dataset = open_dataset(root, task="instances")
    assert dataset.classes == ("background", "nut", "tool")
    target = dataset[0][1]
    expected = np.zeros((40, 60))
    expected[5:15, 4:24], expected[0:10, 30:40], expected[39] = 2, 1, 255
    assert np.array_equal(target["semantic"].numpy(), expected)
    assert target["labels"].tolist() == [2, 1]
    assert np.array_equal(target["masks"].numpy(), np.stack([expected == 2, expected == 1]))
    palette = Image.fromarray(colors).quantize(8)  # a palette's colours count, not its numbers
    palette.save(root / "SegmentationClass" / "a.png")
    assert np.array_equal(open_dataset(root)[0][1]["semantic"].numpy(), expected)
    colors[7, 8] = (9, 9, 9)
    Image.fromarray(colors).save(root / "SegmentationClass" / "a.png")
    with pytest.raises(SampleError, match=r"SegmentationClass/a\.png: the colour \(9, 9, 9\) at row 7, column 8"):
        open_dataset(root)[0]


def test_maps_alone_are_instances(tmp_path):
    picture(tmp_path / "JPEGImages" / "a.jpg")
    kinds, ids = np.zeros((40, 60)), np.zeros((40, 60))
    kinds[5:15, 4:24], kinds[20:30, 30:40], kinds[39] = 8, 12, 255
    ids[5:15, 4:24], ids[20:30, 30:40], ids[35:38] = 1, 4, 7
    save_map(tmp_path, "SegmentationClass", "a", kinds)
    assert VocDataset.whole(tmp_path, "all") == {"task": "segmentation"}
    assert list(open_dataset(tmp_path)[0][1]) == ["image_id", "semantic"]
    save_map(tmp_path, "SegmentationObject", "a", ids)
    assert VocDataset.whole(tmp_path, "all") == {"task": "instances"}
    dataset = open_dataset(tmp_path, task="instances")
    with pytest.warns(DataWarning, match="index 7 has no class in the map of classes; it is left out"):
        target = dataset[0][1]
    assert target["boxes"].tolist() == [[4, 5, 24, 15], [30, 20, 40, 30]]
    assert [dataset.classes[label] for label in target["labels"]] == ["cat", "dog"]
    assert np.array_equal(target["masks"].numpy(), np.stack([ids == 1, ids == 4]))


def test_a_number_without_a_class_is_named(make_voc):
    root = make_voc({"a": [CAT]})
    ids = np.zeros((40, 60))
    ids[0, :3] = 30, 255, 20
    save_map(root, "SegmentationClass", "a", ids)
    with pytest.raises(SampleError, match=r"SegmentationClass/a\.png: holds 30, but there are 21 classes, 0 … 20"):
        open_dataset(root)[0]
    names = [f"c{number}" for number in range(1, 31)]
    assert open_dataset(root, classes=["cat", *names])[0][1]["semantic"][0, :3].tolist() == [30, 255, 20]


def test_maps_of_some_images_are_read_with_all(make_voc):
    root = make_voc({"a": [CAT], "b": [CAT, DOG]})
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    kinds = np.zeros((40, 60))
    kinds[5:15, 10:20] = 8
    save_map(root, "SegmentationClass", "a", kinds)
    save_map(root, "SegmentationObject", "a", kinds / 8)
    assert VocDataset.whole(root, "train") == {"task": "all"}
    assert len(open_dataset(root, task="instances")) == 1
    dataset = open_dataset(root, task="all")
    (_, first), (_, second) = dataset[0], dataset[1]
    assert list(first) == list(second)
    assert (first["has_mask"].tolist(), second["has_mask"].tolist()) == ([True], [False, False])
    assert np.array_equal(first["masks"][0].numpy(), kinds == 8)
    assert np.array_equal(first["semantic"].numpy(), kinds)
    assert (second["semantic"] == 255).all()
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nc\n")
    with pytest.warns(DataWarning, match=r"Segmentation/train\.txt: 1 of its images aren't in the list of that name"):
        VocDataset.whole(root, "train")


def test_the_filename_decides_between_pictures_of_one_stem(tmp_path):
    values = {"a.bmp": 10, "a.png": 20, "b.bmp": 30, "b.png": 40, "c.png": 50}
    for name, value in values.items():
        Image.new("RGB", (60, 40), (value,) * 3).save(tmp_path / name)
    for stem, said in {"a": "C:\\x\\a.PNG", "b": "b.jpg", "c": "other.bmp"}.items():
        xml(tmp_path / f"{stem}.xml", "cat", more=f"<filename>{said}</filename>")
    with pytest.warns(DataWarning, match=r"b\.xml: b\.bmp is taken for its picture, b\.png lies there, too"):
        dataset = open_dataset(tmp_path)
    assert [int(dataset[i][0].max()) for i in range(3)] == [20, 30, 50]
    assert [dataset.picture(i).name for i in range(3)] == ["a.png", "b.bmp", "c.png"]
    assert len(dataset.notes) == 1


def test_names_in_other_capitals_or_as_in_addresses(make_voc, tmp_path):
    root = make_voc({"im 0": [CAT], "im1": [DOG]})
    (root / "ImageSets" / "Main" / "train.txt").write_text("IM%200.JPG\nIm1\n")
    dataset = open_dataset(root)
    assert [dataset.image_path(i).name for i in range(2)] == ["im 0.jpg", "im1.jpg"]
    assert [dataset[i][1]["boxes"].tolist() for i in range(2)] == [[[10, 5, 20, 15]], [[0, 0, 60, 40]]]
    picture(tmp_path / "flat" / "a.png")
    xml(tmp_path / "flat" / "A.xml", "cat")
    flat = open_dataset(tmp_path / "flat", "voc", "all", images=tmp_path / "flat", annotations=tmp_path / "flat")
    assert flat.image_path(0).name == "a.png"
    assert len(flat[0][1]["labels"]) == 1
    assert not flat.notes
