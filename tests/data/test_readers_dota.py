"""DOTA: corners, classes and difficult as the text files say; hostile files are refused by name."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.data import DatasetError, SampleError, find_layouts, list_splits, open_dataset
from cutmix_dense.data.class_tables import DOTA_CLASSES
from cutmix_dense.data.errors import DataWarning
from cutmix_dense.data.mixed_sample import mix_sample, open_complete
from cutmix_dense.functional.polygons import clipped_areas

pytestmark = pytest.mark.skipif(
    not hasattr(tv_tensors.BoundingBoxFormat, "XYXYXYXY"), reason="this torchvision has no rotated boxes"
)

DIAMOND = "30 10 50 30 30 50 10 30"
LINES = (
    f"imagesource:GoogleEarth\ngsd:0.15\n{DIAMOND} ship 0\n\n60 10 80 10 80 20 60 20 plane 1\n1 2 9 2 9 8 1 8 ship\n"
)


@pytest.fixture
def make_aerial(tmp_path):
    """Two images of one split, a third in another; `texts` by image name replace the usual lines."""

    def make(**texts):
        root = tmp_path / "aerial"
        for split, names in (("train", ("P1", "P2")), ("val", ("P3",))):
            for kind in ("images", "labelTxt"):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
            for name in names:
                rng = np.random.default_rng(ord(name[1]))
                picture = rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)
                Image.fromarray(picture).save(root / split / "images" / f"{name}.png")
                text = texts.get(name, LINES)
                if text is not None:
                    path = root / split / "labelTxt" / f"{name}.txt"
                    path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return root

    return make


def test_what_is_read(make_aerial):
    root = make_aerial(P2="")
    assert find_layouts(root) == ["dota"]
    assert list_splits(root, "dota") == ["train", "val"]
    dataset = open_dataset(root)
    assert len(dataset) == 2
    assert dataset.mix_layout == "BCHW"
    assert dataset.classes[:2] == ("background", "plane")
    image, target = dataset[0]
    assert image.shape == (3, 60, 90)
    assert target["boxes"].format == tv_tensors.BoundingBoxFormat["XYXYXYXY"]
    assert target["boxes"].canvas_size == (60, 90)
    assert target["boxes"][0].tolist() == [30, 10, 50, 30, 30, 50, 10, 30]
    assert [dataset.classes[label] for label in target["labels"]] == ["ship", "plane", "ship"]
    assert target["area"].tolist() == [800, 200, 48]
    assert target["difficult"].tolist() == [False, True, False]
    assert target["image_id"] == "P1"
    empty = dataset[1][1]
    assert empty["boxes"].shape == (0, 8)
    assert {key: len(value) for key, value in empty.items() if key != "image_id"} == dict.fromkeys(
        ("boxes", "labels", "iscrowd", "area", "difficult"), 0
    )


def test_a_complete_set_has_the_classes_that_were_named(make_aerial):
    names = ("ship", "plane")
    assert open_complete(make_aerial(), classes=names).classes == open_dataset(make_aerial(), classes=names).classes


def test_classes_are_numbered_alike_in_all_splits(make_aerial):
    root = make_aerial(P3=f"{DIAMOND} windmill 0")
    with pytest.warns(DataWarning, match=r"P3\.txt: 'windmill' is not among DOTA's class names, so the labels are not"):
        dataset = open_dataset(root)
    with pytest.warns(DataWarning, match="they count the 3 names that occur, sorted"):
        assert dataset.classes == open_dataset(root, split="val").classes
    assert dataset.classes == ("background", "plane", "ship", "windmill")
    given = open_dataset(root, "dota", classes=["ship", "plane"])
    assert given[0][1]["labels"].tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    "line",
    [
        f"{DIAMOND} small vehicle 0",  # a space in the name
        "30 10 50 30 30 50 10 tree 0",  # seven coordinates
        "30 10 50 30 30 50 10 30 7 tree 0",  # nine
        "30 10 50 30 30 50 10 30 7 tree",
        f"{DIAMOND} 0",  # no name
        f"{DIAMOND} tree maybe",
        "30 10 50 30 30 50 10 nan tree 0",
    ],
)
def test_a_line_that_cannot_be_read_names_no_class(make_aerial, recwarn, line):
    dataset = open_dataset(make_aerial(P2=f"{DIAMOND} plane 0\n{line}\n"))
    assert dataset.classes == ("background", *DOTA_CLASSES)
    assert not recwarn.list
    with pytest.warns(DataWarning, match=r"P2\.txt: line 2: .*; it is left out"):
        assert dataset[1][1]["labels"].tolist() == [1]


def test_names_of_one_s_own(make_aerial, recwarn):
    own = f"{DIAMOND} tree 0\n{DIAMOND} house 1\n{DIAMOND} tree"
    dataset = open_dataset(make_aerial(P1=own, P2=own, P3=own))
    assert dataset.classes == ("background", "house", "tree")
    numbers = f"{DIAMOND} 7 0\n{DIAMOND} 12 1"
    assert open_dataset(make_aerial(P1=numbers, P2=numbers, P3=numbers)).classes == ("background", "12", "7")
    assert not recwarn.list


def test_mixed_boxes_keep_the_visible_share_of_their_polygon(make_aerial):
    dataset = open_dataset(make_aerial())
    cut = 0
    for seed in range(10):
        made = mix_sample(dataset, cd.CutMix(p=1.0, min_visibility=0.0), 0, seed=seed)
        low, high = made.plan.edges[0][0], made.plan.edges[1][0]
        owner = made.plan.owner[0]
        for (source, number), visibility in zip(made.target["origin"].tolist(), made.target["visibility"].tolist()):
            layer = made.plan.source[0].tolist().index(source)
            polygon = made.targets[source]["boxes"][number].double().reshape(1, 4, 2).numpy()
            seen = 0.0
            for row, column in (owner == layer).nonzero().tolist():
                ends = [[float(high[column + k]), float(low[row + k])] for k in (0, 1)]
                seen += float(clipped_areas(polygon, np.array([ends[0]]), np.array([ends[1]]))[0])
            assert visibility == pytest.approx(seen / float(made.targets[source]["area"][number]), abs=1e-4)
            cut += 0 < visibility < 1
    assert cut >= 3


def test_it_travels(make_aerial):
    dataset = open_dataset(make_aerial())
    for twin in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert torch.equal(twin[0][1]["boxes"], dataset[0][1]["boxes"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "file not found"),
        ("1 2 3 ship", r"line 1: must be eight coordinates, a class and difficult, got '1 2 3 ship'"),
        (f"\n{DIAMOND} ship 0 0", "line 2: must be eight"),
        ("nan 2 9 2 9 8 1 8 ship 0", "line 1: 'nan' is not finite"),
        ("1e30 2 9 2 9 8 1 8 ship 0", "line 1: '1e30' is not finite, or beyond"),
        (f"{DIAMOND} ship maybe", "line 1: invalid literal"),
        (b"\xff\xfe1\x00 \x00", "can't decode"),
    ],
)
def test_a_text_that_cannot_be_read_is_named(make_aerial, text, words):
    dataset = open_dataset(make_aerial(P1=text))
    with pytest.raises(SampleError, match=words) as caught:
        dataset[0]
    assert caught.value.path.name == "P1.txt"
    assert len(dataset[1][1]["boxes"]) == 3


def test_what_is_missing_or_cannot_be(make_aerial, tmp_path):
    root = make_aerial()
    with pytest.raises(DatasetError, match=r"no such image folder \(splits found: train, val\)"):
        open_dataset(root, "dota", "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        open_dataset(root, images=tmp_path / "empty")
    with pytest.warns(DataWarning, match="line 3: class 'ship' is not among"):
        assert len(open_dataset(root, classes=["plane"])[0][1]["boxes"]) == 1
    with pytest.raises(SampleError, match="class 'ship' is not among"):
        open_dataset(root, classes=["tank"])[0]
    with pytest.raises(DatasetError, match="class names must differ"):
        open_dataset(root, classes=["plane", "plane"])


def test_one_bad_line_among_good_ones_is_left_out(make_aerial):
    dataset = open_dataset(make_aerial(P1=f"{DIAMOND} ship 0\n1 2 3 ship\n{DIAMOND} tank nan\n{DIAMOND} plane 1\n"))
    with pytest.warns(DataWarning, match=r"P1\.txt: line 2: must be eight coordinates.*; it is left out"):
        target = dataset[0][1]
    assert [dataset.classes[label] for label in target["labels"]] == ["ship", "plane"]
    assert [Path(path).name for path, _ in dataset.take_notes()] == ["P1.txt", "P1.txt"]


def test_details_and_the_lines_before_the_objects(make_aerial):
    dataset = open_dataset(make_aerial(P1=f"imagesource:GoogleEarth\ngsd:0.146\n  {DIAMOND}   ship 2 \n"), details=True)
    target = dataset[0][1]
    assert target["details"] == [{"difficult": 2, "_stated": f"{DIAMOND}   ship 2"}]
    assert target["difficult"].tolist() == [True]
    assert dataset.picture(0)[:2] == ("P1.png", {"imagesource": "GoogleEarth", "gsd": "0.146"})
    assert "details" not in open_dataset(make_aerial())[0][1]


def test_a_list_of_classes_in_the_folder(make_aerial):
    root = make_aerial()
    (root / "classes.txt").write_text("ship\nwindmill\nplane\n")
    assert open_dataset(root).classes == ("background", "ship", "windmill", "plane")
    assert open_dataset(root)[0][1]["labels"].tolist() == [1, 3, 1]
    assert find_layouts(root) == ["dota"]
    assert open_dataset(root, classes=["plane", "ship"])[0][1]["labels"].tolist() == [2, 1, 2]
