"""YOLO: every arrangement of folders and every kind of line, with values worked out by hand."""

from __future__ import annotations

import argparse
import contextlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from versions import needs_rotated

from cutmix_dense.cli.common import add_dataset_arguments, open_from
from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DataWarning
from cutmix_dense.data.readers import find_layouts, list_splits

from .conftest import save_image

YAML = "train: images/train\nval: images/val\nnames: [ant, bee]\n"
BOX = "1 0.5 0.25 0.2 0.3\n"  # of 40×60: x 24 … 36, y 4 … 16


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def make(
    root: Path, lines: dict[str, str | None], yaml: str | None = YAML, images="images/train", labels="labels/train"
):
    """A set of 40×60 images and their label files; None writes no file."""
    for name, text in lines.items():
        save_image(root / images / name)
        if text is not None:
            put((root / labels / name).with_suffix(".txt"), text)
    if yaml is not None:
        put(root / "data.yaml", yaml)
    return root


def read(root, text, **options):
    """The target of one image with these lines, and the set."""
    dataset = open_dataset(make(root, {"a.jpg": text}), "yolo", details=True, **options)
    return dataset[0][1], dataset


def test_boxes_backgrounds_and_types(tmp_path):
    root = make(tmp_path, {"a.jpg": "0 0.5 0.5 1 1\n\n" + BOX, "b.JPG": None, "sub dir/c 1.png": "", "d.txt.bmp": BOX})
    put(root / "labels" / "train.cache", "x")
    put(root / "images" / "train" / "notes.md", "x")
    assert find_layouts(root) == ["yolo"]
    assert list_splits(root, "yolo") == ["train"]  # val is named, and isn't there
    dataset = open_dataset(root)
    assert (dataset.layout, dataset.split, dataset.task, len(dataset)) == ("yolo", "train", "detect", 4)
    assert dataset.classes == ("background", "ant", "bee")
    names = [dataset.picture(i).name for i in range(4)]
    assert names == ["a.jpg", "b.JPG", "d.txt.bmp", "sub dir/c 1.png"]
    image, target = dataset[0]
    assert image.shape == (3, 40, 60)
    assert target["image_id"] == "a"
    assert target["boxes"].tolist() == [[0, 0, 60, 40], [24, 4, 36, 16]]
    assert target["labels"].tolist() == [1, 2]
    assert target["area"].tolist() == [2400, 144]
    assert [len(dataset[i][1]["labels"]) for i in range(4)] == [2, 0, 1, 0]
    assert dataset[3][1]["image_id"] == "sub dir/c 1"
    assert all(list(dataset[i][1]) == list(target) for i in range(4))
    assert dataset[1][1]["boxes"].shape == (0, 4)
    assert not dataset.notes
    assert pickle.loads(pickle.dumps(dataset))[0][1]["labels"].tolist() == [1, 2]


def test_words_of_every_spelling(tmp_path):
    text = "\ufeff0.0\t0.5 0.25  0.2 0.3 \r\n1 5e-1 .25 0.2 0.3 0.75\r\n1 0.5 0.25 0.2 0.3\r\n1 0.5 0.25 0.2 0.3"
    target, dataset = read(tmp_path, text)
    assert target["boxes"].tolist() == [[24, 4, 36, 16]] * 4
    assert target["labels"].tolist() == [1, 2, 2, 2]  # a repeated line is an instance more
    assert [each.get("score") for each in target["details"]] == [None, 0.75, None, None]
    assert target["details"][1][STATED] == {"line": ["5e-1", ".25", "0.2", "0.3", "0.75"], "size": [40, 60]}
    assert not dataset.notes


@pytest.mark.filterwarnings("ignore:.*has no area")
def test_coordinates_a_little_outside_are_kept(tmp_path):
    target, dataset = read(tmp_path, "0 0.0 1.0003 0.5 0.25\n0 0.1 0.1 0 -0.2\n")
    expected = [[-15, 0.8753 * 40, 15, 1.1253 * 40], [6, 8, 6, 0]]
    assert np.allclose(target["boxes"], expected, atol=1e-3)
    (note,) = dataset.notes
    assert note[1] == "instance 1 (counted from 0): its box has no area, got [6, 8, 6, 0]"


BAD = {
    "2 0.5 0.5 0.1 0.1": r"class 2 has no name, ids are 0\.\.1",
    "-1 0.5 0.5 0.1 0.1": "begins with the id of a class",
    "0.5 0.5 0.5 0.1 0.1": "begins with the id of a class",
    "cat 0.5 0.5 0.1 0.1": "must be a number, got 'cat'",
    "0,0.5,0.5,0.2,0.2": "must be a number, got '0,0.5,0.5,0.2,0.2'; decimals have a point, and",
    "0 0,5 0.5 0.1 0.1": "must be a number, got '0,5'; decimals have a point",
    "# a comment": "must be a number, got '#'",
    "0 nan 0.5 0.1 0.1": "nan",
    "0 0.5 inf 0.1 0.1": "inf",
    "0 352 120 40 30": "got 352: divide pixels",
    "0 0.5 0.5 0.1": "has 3",
    "0": "has 0",
    "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4": "has 7",
    "0 0.5 0.5 0.1 0.1 17": "confidence, which is in 0..1, got 17",
}


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize(("line", "message"), BAD.items())
def test_a_bad_line_is_left_out_and_an_image_of_bad_lines_is_refused(tmp_path, line, message):
    target, dataset = read(tmp_path / "some", f"{BOX}\n{line}\n{BOX}")
    assert target["boxes"].tolist() == [[24, 4, 36, 16]] * 2
    ((path, reason),) = dataset.notes
    assert path.endswith("a.txt")
    assert reason.startswith("line 3: ")
    assert reason.endswith("it is left out")
    with pytest.raises(SampleError, match=rf"a\.txt: line 1: .*{message}"):
        read(tmp_path / "all", f"{line}\n")


def test_files_that_are_no_text_or_too_deep(tmp_path):
    root = make(tmp_path, {"a.jpg": "", "b.jpg": BOX})
    (root / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe0\0")
    dataset = open_dataset(root)
    with pytest.raises(SampleError, match=r"a\.txt: is no text in UTF-8"):
        dataset[0]
    assert len(dataset[1][1]["labels"]) == 1


# ------------------------------------------------------------------------------------------------------------- tasks

TRIANGLE = "0 0.1 0.1 0.5 0.1 0.1 0.5\n"  # of 40×60: (6, 4), (30, 4), (6, 20)
RECTANGLE = "1 0.2 0.2 0.8 0.2 0.8 0.6 0.2 0.6\n"  # x 12 … 48, y 8 … 24


def test_polygons_and_boxes_in_one_file(tmp_path):
    target, dataset = read(tmp_path, TRIANGLE + BOX + RECTANGLE)
    assert dataset.task == "segment"
    assert target["boxes"].tolist() == [[6, 4, 30, 20], [24, 4, 36, 16], [12, 8, 48, 24]]
    assert target["has_mask"].tolist() == [True, False, True]
    expected = torch.zeros((40, 60), dtype=torch.bool)
    expected[8:24, 12:48] = True
    assert torch.equal(target["masks"][2], expected)
    assert not target["masks"][1].any()
    ys, xs = np.mgrid[:40, :60] + 0.5  # centres of pixels in the triangle
    within = (xs > 6) & (ys > 4) & ((xs - 6) / 24 + (ys - 4) / 16 < 1)
    assert (target["masks"][0].numpy() != within).sum() <= 24  # only along the sloping side
    assert target["area"].tolist() == [target["masks"][0].sum(), 144, 16 * 36]
    assert not dataset.notes


@needs_rotated
@pytest.mark.filterwarnings("ignore:.*read as")
def test_four_corners_in_every_line_are_rotated_boxes_unless_told(tmp_path):
    text = "1 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5\n"
    target, dataset = read(tmp_path, text)
    assert dataset.task == "obb"
    assert target["boxes"].tolist() == [[30, 4, 54, 20, 30, 36, 6, 20]]
    assert target["area"].tolist() == [48 * 32 / 2]
    assert any("task='segment'" in reason for _, reason in dataset.notes)
    target, dataset = read(tmp_path, text, task="segment")
    assert target["boxes"].tolist() == [[6, 4, 54, 36]]
    assert int(target["masks"].sum()) == pytest.approx(48 * 32 / 2, rel=0.05)
    assert not dataset.notes
    put(tmp_path / "data.yaml", YAML + "task: segment\n")
    assert open_dataset(tmp_path).task == "segment"


@needs_rotated
@pytest.mark.filterwarnings("ignore:.*read as")
def test_other_lines_in_a_set_of_rotated_boxes(tmp_path):
    quad = "1 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5 0.5\n"  # and a confidence
    five = "0 0.1 0.1 0.5 0.1 0.5 0.3 0.3 0.3 0.1 0.3\n"
    target, dataset = read(tmp_path, quad + BOX + five, task="obb")
    assert target["details"][0]["score"] == 0.5
    assert target["boxes"][1].tolist() == [24, 4, 36, 4, 36, 16, 24, 16]
    points = target["boxes"][2].reshape(4, 2)
    assert np.allclose([*points.min(0).values, *points.max(0).values], [6, 4, 30, 12], atol=1e-4)
    assert [reason[:7] for _, reason in dataset.notes] == ["line 3:"]


@pytest.mark.filterwarnings("ignore:.*read as")
def test_polygons_of_a_set_that_is_asked_for_boxes(tmp_path):
    target, dataset = read(tmp_path, TRIANGLE + BOX, task="detect")
    assert target["boxes"].tolist() == [[6, 4, 30, 20], [24, 4, 36, 16]]
    assert "masks" not in target
    assert [reason for _, reason in dataset.notes] == ["line 1: a polygon, read as its box; task='segment' reads masks"]


def test_a_polygon_without_a_pixel_is_told(tmp_path):
    with pytest.warns(UserWarning, match="line 1: its polygon has no pixel"):
        target, _ = read(tmp_path, "0 0.1 0.1 0.1 0.1 0.1 0.1\n")
    assert target["has_mask"].tolist() == [True]
    assert not target["masks"].any()
    assert target["boxes"].tolist() == [[6, 4, 6, 4]]


def test_the_task_is_that_of_all_splits(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX})
    make(tmp_path, {"b.jpg": TRIANGLE}, images="images/val", labels="labels/val")
    for split in ("train", "val"):
        assert open_dataset(root, split=split).task == "segment"
    assert open_dataset(root)[0][1]["has_mask"].tolist() == [False]


POSE = YAML + "kpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\n"


def test_keypoints_with_flags(tmp_path):
    line = BOX.strip() + " 0.5 0.25 2 0.1 0.2 1 0 0 0"
    root = make(tmp_path, {"a.jpg": f"{line}\n{line} 0.5\n{BOX}", "b.jpg": None}, POSE)
    dataset = open_dataset(root, details=True)
    assert (dataset.task, dataset.kpt_shape, dataset.flip_pairs) == ("pose", (3, 3), ((1, 2),))
    target = dataset[0][1]
    points = [[30, 10, 2], [6, 8, 1], [0, 0, 0]]
    assert target["keypoints"].tolist() == [points, points, [[0, 0, 0]] * 3]
    assert target["boxes"].tolist() == [[24, 4, 36, 16]] * 3
    assert [each.get("score") for each in target["details"]] == [None, 0.5, None]
    assert dataset[1][1]["keypoints"].shape == (0, 3, 3)
    assert open_dataset(root, task="detect")[0][1]["boxes"].tolist() == [[24, 4, 36, 16]] * 3


@pytest.mark.filterwarnings("ignore:.*left out")
def test_keypoints_without_flags_and_broken_ones(tmp_path):
    line = BOX.strip() + " 0.5 0.25 0 0 -0.1 0.5\n"
    root = make(tmp_path, {"a.jpg": line + BOX.strip() + " 0.5 0.25\n"}, YAML + "kpt_shape: [3, 2]\n")
    dataset = open_dataset(root)
    assert dataset[0][1]["keypoints"].tolist() == [[[30, 10, 2], [0, 0, 0], [-6, 20, 0]]]
    assert [reason for _, reason in dataset.notes] == [
        "line 2: must have 4 or 10 numbers after the class (kpt_shape [3, 2]), has 6; it is left out"
    ]
    put(root / "data.yaml", POSE)
    put(root / "labels" / "train" / "a.txt", BOX.strip() + " 0.5 0.25 0.97 0 0 0 0 0 0\n")
    with pytest.raises(SampleError, match=r"line 1: the flag of a keypoint is 0, 1 or 2, got 0\.97"):
        open_dataset(root)[0]


@pytest.mark.parametrize("shape", ["[3]", "[3, 4]", "[0, 3]", "seventeen", "{a: 1}"])
def test_a_kpt_shape_that_makes_no_sense(tmp_path, shape):
    root = make(tmp_path, {"a.jpg": BOX}, YAML + f"kpt_shape: {shape}\n")
    with pytest.raises(DatasetError, match=r"data\.yaml: kpt_shape must be"):
        open_dataset(root, "yolo")


def test_a_flip_idx_that_exchanges_nothing_is_told(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX}, YAML + "kpt_shape: [3, 3]\nflip_idx: [1, 2, 0]\n")
    with pytest.warns(UserWarning, match="flip_idx must exchange pairs"):
        assert open_dataset(root).flip_pairs is None


# --------------------------------------------------------------------------------------------------------- data.yaml


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("names: [ant, bee]", ["ant", "bee"]),
        ("names:\n  0: ant\n  1: bee", ["ant", "bee"]),
        ("names: {'1': bee, '0': ant}", ["ant", "bee"]),
        ("names: [no, 1.10]", ["no", "1.10"]),  # words, not False and 1.1
        ("names: {0: ant, 3: bee}", ["ant", "1", "2", "bee"]),
        ("nc: 2", ["0", "1"]),
        ("names: lists/my.names", ["größe", "bee fly"]),
    ],
)
def test_names_of_every_form(tmp_path, names, classes):
    put(tmp_path / "lists" / "my.names", "größe\r\nbee fly\r\n\r\n")
    root = make(tmp_path, {"a.jpg": BOX}, f"train: images/train\n{names}\n")
    assert open_dataset(root).classes == ("background", *classes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: [ant, ant]", "'ant' is the name of the classes 0 and 1"),
        ("names: {ant: 0}", "names must be a list, or a map from ids"),
        ("names: {-1: ant}", "ids of classes must be in"),
        ("names: {0: ant, 999999999: bee}", "ids of classes must be in"),
        ("names: [[ant], bee]", "every class must have one name"),
        ("names: ant", "names must be a list"),
        ("names: [ant\n", "not a readable YAML file"),
        ("names: " + "[" * 3000, "not a readable YAML file"),
    ],
)
def test_names_that_make_no_sense(tmp_path, names, message):
    root = make(tmp_path, {"a.jpg": BOX}, f"train: images/train\n{names}\n")
    with pytest.raises(DatasetError, match=message):
        open_dataset(root, "yolo")


def test_a_number_of_classes_that_differs_is_told(tmp_path):
    with pytest.warns(UserWarning, match="names 2 classes, and says that there are 3"):
        open_dataset(make(tmp_path, {"a.jpg": BOX}, YAML + "nc: 3\n"))


@pytest.mark.parametrize(
    "stated",
    [
        "path: .\ntrain: images/train",
        "path: ./\ntrain: ./images/train/",
        "path: 'G:\\bolts\\dataset'\ntrain: images/train",
        "path: /content/drive/MyDrive/ds\ntrain: images/train",
        "path: ../datasets/ds\ntrain: images/train",
        "path:\ntrain: ../images/train",
        "train: /home/someone/ds/images/train",
        "train: 'C:\\data\\ds\\images\\train'",
        "train: ds/images/train",
        "train: [images/train]",
        "train: [images/train/a.jpg]",
        "train: lists/train.txt",
        "train: data/lists/train.txt",
        "train: images",
    ],
)
def test_paths_of_every_form(tmp_path, stated):
    root = make(tmp_path / "ds", {"a.jpg": BOX}, f"{stated}\nnames: [ant, bee]\nroboflow:\n  project: x\n")
    put(root / "lists" / "train.txt", "\ufeff./images/train/a.jpg\r\n\r\n")
    dataset = open_dataset(root)
    assert list_splits(root, "yolo") == ["train"]
    assert [dataset.image_path(i).relative_to(root).as_posix() for i in range(len(dataset))] == ["images/train/a.jpg"]
    assert dataset[0][1]["boxes"].tolist() == [[24, 4, 36, 16]]
    assert dataset.picture(0).name == "a.jpg"


def test_roots_of_every_form(tmp_path, monkeypatch):
    root = make(tmp_path / "ds", {"a.jpg": BOX}, f"path: {tmp_path}/ds\n{YAML}")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    for form in (root, "ds", "other/../ds", "./ds/"):
        assert open_dataset(form)[0][1]["boxes"].tolist() == [[24, 4, 36, 16]]
    monkeypatch.chdir(root)
    assert len(open_dataset(".")) == 1


def test_a_file_beside_its_folder_and_one_that_points_out_of_it(tmp_path):
    root = make(tmp_path / "coco8", {"a.jpg": BOX}, None)
    put(tmp_path / "coco8.yaml", f"path: coco8\n{YAML}")
    for folder in (root, tmp_path):
        assert list_splits(folder, "yolo") == ["train"]
        assert open_dataset(folder).classes == ("background", "ant", "bee")
    away = put(tmp_path / "project" / "my.yaml", f"path: {root}\n{YAML}")
    with pytest.raises(DatasetError, match=r"train is .*images/train, outside of .*project; give the folder above"):
        open_dataset(tmp_path / "project", "yolo")
    assert open_dataset(root, annotations=away)[0][1]["labels"].tolist() == [2]


def test_several_yaml_files(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX}, None)
    put(root / "one.yaml", YAML)
    put(root / "two.yml", YAML.replace("ant", "cat"))
    put(root / "hyp.yaml", "lr0: 0.01\nnames: 3\n")
    with pytest.raises(DatasetError, match=r"holds one\.yaml, two\.yml; name one with annotations="):
        open_dataset(root)
    assert open_dataset(root, annotations="two.yml").classes[1] == "cat"
    put(root / "data.yaml", YAML.replace("ant", "dog"))
    assert open_dataset(root).classes[1] == "dog"
    with pytest.raises(DatasetError, match=r"hyp\.yaml: does not describe a YOLO set"):
        open_dataset(root, "yolo", annotations="hyp.yaml")


def test_yaml_files_that_cannot_be_read(tmp_path, monkeypatch):
    root = make(tmp_path, {"a.jpg": BOX}, None)
    put(root / "classes.txt", "ant\nbee\n")
    put(root / "compose.yaml", "a: names\n---\nb: 1\n")  # of something else
    assert open_dataset(root)[0][1]["labels"].tolist() == [2]
    put(root / "data.yaml", YAML.replace("]", ""))
    assert find_layouts(root) == ["yolo"]
    with pytest.raises(DatasetError, match=r"data\.yaml: not a readable YAML file \(.*line 4"):
        open_dataset(root)
    put(root / "data.yaml", YAML)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert list_splits(root, "yolo") == ["train", "val"]
    with pytest.raises(ImportError, match=r'pyyaml is needed for this: pip install "cutmix_dense\[data\]"'):
        open_dataset(root)


def test_val_valid_and_splits_that_are_not_there(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX}, "train: ../train/images\nval: ../valid/images\nnames: [ant, bee]\n",
                "val/images", "val/labels")  # fmt: skip
    assert list_splits(root, "yolo") == ["val"]
    for split in ("val", "valid"):
        dataset = open_dataset(root, split=split)
        assert dataset[0][1]["image_id"] == "a"
        assert dataset.by_split
    with pytest.raises(DatasetError, match=r"data\.yaml: train is '\.\./train/images', which isn't there"):
        open_dataset(root, split="train")
    with pytest.raises(DatasetError, match=r"has no split 'minival' \(splits found: train, val\)"):
        open_dataset(root, split="minival")
    (tmp_path / "images").mkdir()  # another split's, perhaps
    with pytest.raises(DatasetError, match="which isn't there"):
        open_dataset(root, split="train")


def test_lists_several_folders_and_names_that_are_alike(tmp_path):
    yaml = "train: [a/images, b/images]\nval: val.txt\nnames: [ant, bee]\n"
    root = make(tmp_path, {"1.jpg": BOX}, yaml, "a/images", "a/labels")
    make(tmp_path, {"1.jpg": "", "2.jpg": None}, yaml, "b/images", "b/labels")
    put(root / "val.txt", "b/images/2.jpg\na/images/1.jpg\nb/images/gone.jpg\n../../etc/x.jpg\n")
    dataset = open_dataset(root)
    assert [len(dataset[i][1]["labels"]) for i in range(3)] == [1, 0, 0]
    assert [dataset[i][1]["image_id"] for i in range(3)] == ["a/1", "b/1", "2"]
    assert [dataset.picture(i).name for i in range(3)] == ["a/1.jpg", "b/1.jpg", "2.jpg"]
    listed = open_dataset(root, split="val")
    assert [len(listed[i][1]["labels"]) for i in range(2)] == [0, 1]  # in the list's order
    for i in (2, 3):
        with pytest.raises(SampleError, match="file not found"):
            listed[i]
        assert listed.image_path(i).is_relative_to(root)
    put(root / "val.txt", "gone.jpg\n" * 2000)
    with pytest.raises(DatasetError, match=r"val\.txt: names 2000 images, none of which is there; .*'gone\.jpg'"):
        open_dataset(root, split="val")


def test_a_train_that_is_stated_and_not_there_is_told(tmp_path):
    """No other split is opened in its place, though it be the only one that is there."""
    make(tmp_path, {"a.jpg": BOX}, YAML + "test: images/test\n", "images/val", "labels/val")
    assert list_splits(tmp_path, "yolo") == ["val"]
    told = r"data\.yaml: train is 'images/train', which isn't there .*images= \(splits found: val\)"
    with pytest.raises(DatasetError, match=told):
        open_dataset(tmp_path)
    words = add_dataset_arguments(parser := argparse.ArgumentParser()) or parser.parse_args
    with pytest.raises(DatasetError, match=r"test is 'images/test', which isn't there"):
        open_from(words([str(tmp_path), "--split", "test"]))
    put(tmp_path / "data.yaml", YAML.replace("train", "training"))
    assert open_dataset(tmp_path).split == "val"


def test_label_files_of_another_spelling(tmp_path):
    lines = {"B.png": "b.txt", "a.png": "a.TXT", "e\u0301.png": "\u00e9.txt", "c.png": "c.txt", "C.png": None}
    root = make(tmp_path, dict.fromkeys(lines), images="images/train/Sub", labels="labels/train/sub")
    for name in lines.values():
        put(root / "labels" / "train" / "sub" / (name or "C.none"), BOX)
    dataset = open_dataset(root)
    found = {dataset.picture(i).name: len(dataset[i][1]["labels"]) for i in range(5)}
    assert found == {f"Sub/{name}": int(label is not None) for name, label in lines.items()}
    assert not dataset.notes


@pytest.mark.parametrize("labels", ["labels", "images"])
def test_label_files_without_a_picture_are_counted(tmp_path, labels):
    """Those of pictures in no split or in another one have theirs."""
    lines = {"a.jpg": BOX, "b.jpg": BOX, "c.jpg": BOX}
    root = make(tmp_path, lines, "train: train.txt\nval: val.txt\nnames: [ant, bee]\n", "images", labels)
    put(root / "train.txt", "images/a.jpg\n")
    put(root / "val.txt", "images/b.jpg\n")
    for name, text in (("classes.txt", "ant\nbee\n"), ("README.txt", "words\n"), ("empty.txt", "")):
        put(root / labels / name, text)
    assert not open_dataset(root).notes
    for name in ("orphan.txt", "x.TXT"):
        put(root / labels / name, BOX)
    told = "2 label files have no picture; they are left out, the first is orphan.txt"
    with pytest.warns(DataWarning, match=told):
        assert list(open_dataset(root).notes) == [(str(root / labels), told)]


def test_an_image_without_a_label_anywhere_is_told(tmp_path):
    with pytest.warns(UserWarning, match=r"no label files, so images count as backgrounds \(looked for a\.txt\)"):
        assert len(open_dataset(make(tmp_path, {"a.jpg": None}))[0][1]["labels"]) == 0


def test_exif_orientation_is_followed(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX})
    exif = Image.Exif()
    exif[274] = 6  # turned by 90°: shown as 60 high, 40 wide
    Image.new("RGB", (60, 40)).save(root / "images" / "train" / "a.jpg", exif=exif)
    image, target = open_dataset(root)[0]
    assert image.shape == (3, 60, 40)
    assert target["boxes"].tolist() == [[16, 6, 24, 24]]


# ---------------------------------------------------------------------------------------------------- without a YAML


def test_splits_of_folders_alone(tmp_path):
    above = make(tmp_path / "above", {"a.jpg": BOX}, None)
    make(above, {"b.jpg": BOX}, None, "images/val", "labels/val")
    below = make(tmp_path / "below", {"a.jpg": BOX}, None, "train/images", "train/labels")
    flat = make(tmp_path / "flat", {"a.jpg": BOX, "site/b.jpg": BOX}, None, "images", "labels")
    mixed = make(tmp_path / "mixed", {"a.jpg": BOX, "b.jpg": None}, None, ".", ".")
    capitals = make(tmp_path / "capitals", {"a.jpg": BOX}, None, "Images", "Annotations")
    for root in (above, below, flat, mixed, capitals):
        put(root / "classes.txt", "ant\nbee\n")
    splits = {root.name: list_splits(root, "yolo") for root in (above, below, flat, mixed, capitals)}
    assert splits == {
        "above": ["train", "val"],
        "below": ["train"],
        "flat": ["all"],
        "mixed": ["all"],
        "capitals": ["all"],
    }
    for root, count in ((above, 1), (below, 1), (flat, 2), (mixed, 2), (capitals, 1)):
        assert find_layouts(root) == ["yolo"]
        dataset = open_dataset(root)
        assert dataset.classes == ("background", "ant", "bee")
        assert len(dataset) == count
        assert dataset[0][1]["boxes"].tolist() == [[24, 4, 36, 16]]
    assert open_dataset(flat).picture(1).name == "site/b.jpg"
    assert open_dataset(flat)[1][1]["labels"].tolist() == [2]


@pytest.mark.parametrize("place", ["classes.txt", "labels/classes.txt", "obj.names", "my.names", "notes.json"])
def test_where_names_may_stand(tmp_path, place):
    root = make(tmp_path, {"a.jpg": BOX}, None, "images", "labels")
    names = [{"id": 1, "name": "bee"}, {"id": 0, "name": "ant"}]
    put(root / place, json.dumps({"categories": names}) if place.endswith("json") else "\ufeffant\r\nbee\r\n")
    assert open_dataset(root).classes == ("background", "ant", "bee")


def test_without_any_names_the_ids_stand_for_them(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX}, None)
    make(tmp_path, {"b.jpg": "5 0.5 0.5 0.1 0.1"}, None, "images/val", "labels/val")
    with pytest.warns(UserWarning, match="nothing names the classes"):
        dataset = open_dataset(root)
    assert dataset.classes == ("background", "0", "1", "2", "3", "4", "5")
    assert open_dataset(root, classes=["a", "b"]).classes == ("background", "a", "b")
    with pytest.raises(DatasetError, match="names must differ"):
        open_dataset(root, classes=["a", "a"])


@pytest.mark.parametrize("train", ["data/train.txt", "train.txt", "/abs/data/train.txt"])
def test_darknet_as_cvat_exports_it(tmp_path, train):
    root = make(tmp_path, {"a.jpg": BOX, "b.jpg": ""}, None, "obj_train_data", "obj_train_data")
    put(root / "obj.data", f"classes = 2\ntrain = {train}\nnames = data/obj.names\nbackup = backup/\n")
    put(root / "obj.names", "ant\nbee\n")
    put(root / "train.txt", "data/obj_train_data/b.jpg\ndata/obj_train_data/a.jpg\n")
    assert find_layouts(root) == ["yolo"]
    dataset = open_dataset(root)
    assert dataset.classes == ("background", "ant", "bee")
    assert [dataset.picture(i).name for i in range(2)] == ["b.jpg", "a.jpg"]
    assert [len(dataset[i][1]["labels"]) for i in range(2)] == [0, 1]


def test_folders_that_are_named(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX, "deep/b.jpg": BOX}, None, "pictures", "texts")
    assert list_splits(root, "yolo") == []
    dataset = open_dataset(root, "yolo", images="pictures", annotations="texts", classes=["ant", "bee"])
    assert [len(dataset[i][1]["labels"]) for i in range(2)] == [1, 1]
    assert dataset.picture(1).name == "deep/b.jpg"
    with pytest.raises(DatasetError, match="no such image folder"):
        open_dataset(root, "yolo", images="nowhere")
    with pytest.raises(DatasetError, match="lies outside of"):
        open_dataset(root / "pictures", "yolo", images=root / "texts")
    with pytest.raises(DatasetError, match="no such file or folder"):
        open_dataset(root, "yolo", annotations="nowhere")
    with pytest.raises(ValueError, match="task must be one of"):
        open_dataset(root, "yolo", task="boxes")


def test_what_is_not_yolo(tmp_path):
    dota = make(tmp_path / "dota", {"a.jpg": None}, "train: ../train/images\nnames: [a]\n", "train/images")
    put(dota / "train" / "labelTxt" / "a.txt", "0 0 2 2 2 2 0 2 ship 0\n")
    kitti = make(tmp_path / "kitti", {"a.png": "Car 0 0 -1 1 2 3 4\n"}, None, "images", "labels")
    maps = make(tmp_path / "maps", {"a.png": None}, None, "images")
    save_image(maps / "labels" / "a.png")
    several = tmp_path / "several"
    for name in ("one", "two"):
        make(several / name, {"a.jpg": BOX}, YAML)
    plain = make(tmp_path / "plain", {"a.jpg": "a caption\n"}, None, ".", ".")
    put(plain / "classes.txt", "ant\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    for root in (dota, kitti, maps, several, plain, empty):
        assert list_splits(root, "yolo") == [], root
        with contextlib.suppress(DatasetError):
            assert open_dataset(root, "yolo") is not None
    with pytest.raises(DatasetError, match="not YOLO, no YAML file with names"):
        open_dataset(empty, "yolo")


@pytest.mark.parametrize("split", ["", "train"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 50 50 30 30\n", "line 1: coordinates are shares of the image's width and height, got 50: divide pixels by"),
        ("Car 0 0 -1 1 2 3 4\n", "line 1: must be the id of a class and at least 4 numbers, got 'Car 0 0 -1 1 2 3 4'"),
        ("0 0.5 0.5\n", "line 1: must be the id of a class and at least 4 numbers, got '0 0.5 0.5'"),
        ("-1 0.5 0.5 0.5 0.5\n", "line 1: a line begins with the id of a class, got '-1'"),
        ("0 0.5 0.5 0.5 \xe9\n", "line 1: must be the id of a class"),
    ],
)
def test_folders_whose_texts_are_not_yolo_are_told(tmp_path, split, text, reason):
    """Not that the folders are missing, which are there."""
    below = f"{split}/" * bool(split)
    root = make(tmp_path, {"b.jpg": text, "a.jpg": text}, None, f"{below}images", f"{below}labels")
    with pytest.raises(DatasetError) as caught:
        open_dataset(root, "yolo")
    told = f"{root}: not YOLO, {below}images/ lies beside {below}labels/, but {below}labels/a.txt isn't YOLO's: "
    assert str(caught.value).startswith(told + reason)


def test_a_folder_of_labels_without_texts_is_told(tmp_path):
    root = make(tmp_path, {"a.jpg": None}, None, "images", "labels")
    save_image(root / "labels" / "a.png")
    with pytest.raises(DatasetError, match="images/ lies beside labels/, which holds no text files"):
        open_dataset(root, "yolo")


def test_looking_at_a_large_folder_reads_no_more_than_its_yaml(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX})
    script = (
        "import sys, pathlib, builtins\n"
        "from cutmix_dense.data.readers.yolo import YoloDataset\n"
        "read = []\n"
        "sys.addaudithook(lambda kind, what: read.append(str(what[0])) if kind == 'open' else None)\n"
        f"assert YoloDataset.find_splits(pathlib.Path({str(root)!r})) == ['train']\n"
        f"print(len([name for name in read if name.startswith({str(root)!r})]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 2, done.stdout


def test_two_pictures_of_one_name_share_their_label_file(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX, "a.png": BOX, "sub/a.bmp": "", "b.jpg": BOX})
    dataset = open_dataset(root)
    names = [dataset.picture(i).name for i in range(len(dataset))]
    assert names == ["a.jpg", "a.png", "b.jpg", "sub/a.bmp"]
    samples = [dataset[i][1] for i in range(4)]
    assert [sample["image_id"] for sample in samples] == ["a.jpg", "a.png", "b", "sub/a"]
    assert [sample["labels"].tolist() for sample in samples] == [[2], [2], [2], []]
    given = open_dataset(root, "yolo", annotations=root / "labels" / "train")
    assert [given[i][1]["labels"].tolist() for i in range(4)] == [[2], [2], [2], []]


def test_lists_in_other_capitals_or_as_in_addresses(tmp_path):
    root = make(
        tmp_path, {"im0.png": BOX, "im 1.jpg": BOX, "c.jpg": BOX, "C.jpg": ""}, "train: train.txt\nnames: [a, b]\n"
    )
    put(root / "train.txt", "Images/train/IM0.PNG\n./images/train/im%201.jpg\nimages/train/C.JPG\n")
    dataset = open_dataset(root)
    assert [dataset.picture(i).name for i in range(2)] == ["im0.png", "im 1.jpg"]
    assert [dataset[i][1]["labels"].tolist() for i in range(2)] == [[2], [2]]
    with pytest.raises(SampleError, match=r"C\.JPG"):  # c.jpg and C.jpg: neither is meant without doubt
        dataset[2]


@pytest.mark.parametrize("labels", ["labels/train", "images/train"])
def test_label_files_that_are_nearly_all_empty(tmp_path, labels):
    lines = {f"{number:04}.jpg": "" for number in range(150)} | {"zz.jpg": BOX}
    root = tmp_path / "train" if labels == "images/train" else tmp_path
    make(root, lines, None, labels=labels)
    if labels == "images/train":
        root = root / "images" / "train"
        put(root / "classes.txt", "ant\nbee\n")
    assert find_layouts(root) == ["yolo"]
    put(next(root.rglob("zz.txt")), "")
    assert find_layouts(root) == ["yolo"]
    for path in root.rglob("*.txt"):
        if path.name != "classes.txt":
            put(path, "some words of a person\n")
    assert find_layouts(root) == []


def test_classes_that_are_counted_and_not_named(tmp_path):
    root = make(tmp_path, {"a.jpg": BOX}, "train: images/train\nnc: 3\n")
    with pytest.warns(DataWarning, match=r"data\.yaml: counts the classes \(nc\) and names none.*classes= names them"):
        dataset = open_dataset(root)
    assert dataset.classes == ("background", "0", "1", "2")
    assert not open_dataset(root, classes=["a", "b", "c"]).notes


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_text_that_is_not_utf_8_says_what_to_do(tmp_path, encoding):
    _, dataset = read(tmp_path, "0 0.5 0.5 0.1 0.1\n")
    (text,) = tmp_path.rglob("a.txt")
    text.write_bytes("0 0.5 0.5 0.1 0.1 ä\n".encode(encoding))
    with pytest.raises(SampleError, match=r"a\.txt: is no text in UTF-8; save it as UTF-8"):
        dataset[0]
