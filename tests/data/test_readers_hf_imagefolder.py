"""Hugging Face's image folders: the metadata's forms, its splits and class names, boxes of another format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.readers.layouts import find_layouts, list_splits

from .conftest import save_image

pytestmark = pytest.mark.filterwarnings("ignore:.*left out")

TWO: dict[str, list[Any]] = {"bbox": [[1, 2, 10, 20], [30.5, 4, 5, 6]], "category": [1, 0]}


def write(folder: Path, rows: list[Any], name: str = "metadata.jsonl", pictures: bool = True) -> Path:
    """Metadata of rows, or of lines as they are, and a 40×60 picture for each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for row in rows:
        if pictures and isinstance(row, dict):
            save_image(folder / str(row["file_name"]))
    return folder


def row(objects: Any, name: str = "a.jpg", **more: Any) -> dict[str, Any]:
    return {"file_name": name, "objects": objects, **more}


def test_boxes_and_numbered_classes(tmp_path):
    empty = row({"bbox": [], "category": []}, "b.jpg")
    root = write(tmp_path / "train", [row(TWO), empty, row(None, "c.jpg")]).parent
    assert find_layouts(root) == ["hf_imagefolder"]
    dataset = open_dataset(root)
    assert (len(dataset), dataset.split, dataset.classes) == (3, "train", ("background", "0", "1"))
    image, target = dataset[0]
    assert image.shape == (3, 40, 60)
    assert target["boxes"].tolist() == [[1, 2, 11, 22], [30.5, 4, 35.5, 10]]
    assert target["labels"].tolist() == [2, 1]
    assert target["area"].tolist() == [200, 30]
    for index in (1, 2):
        other = dataset[index][1]
        assert list(other) == list(target)
        assert other["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    "objects",
    [
        {"bbox": TWO["bbox"], "categories": ["dog", "cat"]},
        {"bbox": TWO["bbox"], "label": ["dog", "cat"]},
        [{"bbox": TWO["bbox"][0], "category": "dog"}, {"bbox": TWO["bbox"][1], "category": "cat"}],
    ],
)
def test_named_classes_in_other_forms(tmp_path, objects):
    dataset = open_dataset(write(tmp_path, [row(objects)]))
    assert dataset.classes == ("background", "cat", "dog")
    assert dataset[0][1]["labels"].tolist() == [2, 1]
    assert dataset[0][1]["boxes"].tolist() == [[1, 2, 11, 22], [30.5, 4, 35.5, 10]]


def test_objects_in_columns_of_the_row_or_under_another_name(tmp_path):
    flat = {"file_name": "a.jpg", "bboxes": TWO["bbox"], "labels": [1, 0], "label": 7}
    assert open_dataset(write(tmp_path / "flat", [flat]))[0][1]["labels"].tolist() == [2, 1]
    named = {"image_file_name": "a.jpg", "file_name": "a.jpg", "things": TWO, "other": {"bbox": [[0, 0, 2, 2]]}}
    root = write(tmp_path / "named", [named])
    assert open_dataset(root, objects="other")[0][1]["boxes"].tolist() == [[0, 0, 2, 2]]
    assert open_dataset(root, objects="other").classes == ("background", "object")
    with pytest.raises(DatasetError, match="no row has in the column 'nothing' boxes"):
        open_dataset(root, objects="nothing")


def test_masks_areas_and_crowds(tmp_path):
    objects = {
        "bbox": [[10, 5, 10, 10], [0, 0, 4, 4]],
        "category": [0, 0],
        "segmentation": [[[10, 5, 20, 5, 20, 15, 10, 15]], None],
        "area": [77.5, None],
        "iscrowd": [0, 1],
        "id": [8, 9],
        "pose": ["up", None],
    }
    root = write(tmp_path, [row(objects, caption="two", width=60, height=40)])
    dataset = open_dataset(root, details=True)
    target = dataset[0][1]
    assert target["has_mask"].tolist() == [True, False]
    assert int(target["masks"][0].sum()) == 100
    assert target["masks"][0, 5:15, 10:20].all()
    assert target["area"].tolist() == [77.5, 16]
    assert target["iscrowd"].tolist() == [0, 1]
    assert [{k: v for k, v in each.items() if k != "_stated"} for each in target["details"]] == [{"pose": "up"}, {}]
    assert target["details"][0]["_stated"]["id"] == 8
    assert dataset.picture(0).details == {"caption": "two"}


def test_splits(tmp_path):
    write(tmp_path / "folders" / "train", [row(TWO)])
    write(tmp_path / "folders" / "test", [row({"bbox": [[0, 0, 3, 3]], "category": [4]})])
    assert list_splits(tmp_path / "folders", "hf_imagefolder") == ["test", "train"]
    train, test = (open_dataset(tmp_path / "folders", split=split) for split in ("train", "test"))
    assert train.classes == test.classes == ("background", "0", "1", "2", "3", "4")
    assert test[0][1]["labels"].tolist() == [5]
    one = write(tmp_path / "one", [row(TWO, "train/a.jpg"), row(TWO, "validation/sub/b.jpg")])
    assert list_splits(one, "hf_imagefolder") == ["train", "validation"]
    assert open_dataset(one, split="validation").picture(0).name == "validation/sub/b.jpg"
    assert len(open_dataset(one)) == 1
    with pytest.raises(DatasetError, match="splits found: train, validation"):
        open_dataset(one, split="test")
    write(tmp_path / "data_folder" / "data", [row(TWO)])
    assert open_dataset(tmp_path / "data_folder")[0][1]["labels"].tolist() == [2, 1]


def test_line_ends_byte_order_mark_and_separators_in_strings(tmp_path):
    line = json.dumps(row(TWO, caption="a\u2028b"), ensure_ascii=False)
    write(tmp_path, [row(TWO)])
    (tmp_path / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\r\n".encode())
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 1
    assert dataset.notes == {}
    assert dataset.picture(0).details == {"caption": "a\u2028b"}


def test_csv(tmp_path):
    save_image(tmp_path / "a.jpg")
    cells = [
        '"{""bbox"": [[1, 2, 10, 20]], ""category"": [""cat""]}"',
        "\"{'bbox': [[1, 2, 10, 20]], 'category': ['cat']}\"",
    ]
    for cell in cells:
        (tmp_path / "metadata.csv").write_text(f"file_name,objects\r\na.jpg,{cell}\r\n", encoding="utf-8-sig")
        target = open_dataset(tmp_path)[0][1]
        assert target["boxes"].tolist() == [[1, 2, 11, 22]]


CARD = """---
dataset_info:
  features:
  - name: image
    dtype: image
  - name: objects
    sequence:
    - name: bbox
      sequence: float32
    - name: category
      dtype:
        class_label:
          names:
            '0': Coverall
            '1': Face Shield
  splits:
  - name: train
---
"""


def test_names_of_numbers(tmp_path):
    root = write(tmp_path, [row(TWO)])
    (root / "classes.txt").write_text("ant\r\nbee\r\ncow\r\n")
    assert open_dataset(root).classes == ("background", "ant", "bee", "cow")
    (root / "README.md").write_text(CARD)
    assert open_dataset(root).classes == ("background", "Coverall", "Face Shield")
    (root / "README.md").write_text(CARD.replace("dtype:\n        class_label", "list:\n        class_label"))
    assert open_dataset(root).classes == ("background", "Coverall", "Face Shield")
    assert open_dataset(root, classes=["x", "y"]).classes == ("background", "x", "y")
    dataset = open_dataset(root, classes=["background", "y"])  # number 0 is no class then
    assert dataset[0][1]["labels"].tolist() == [1]
    assert any("class 0 is not among" in reason for _, reason in dataset.notes)


@pytest.mark.parametrize(
    ("box_format", "box"),
    [
        ("xyxy", [30, 8, 42, 32]),
        ("cxcywh", [36, 20, 12, 24]),
        ("relative_xywh", [0.5, 0.2, 0.2, 0.6]),
        ("relative_xyxy", [0.5, 0.2, 0.7, 0.8]),
        ("relative_cxcywh", [0.6, 0.5, 0.2, 0.6]),
    ],
)
def test_box_formats(tmp_path, box_format, box):
    root = write(tmp_path, [row({"bbox": [box], "category": [0]})])
    found = open_dataset(root, box_format=box_format)[0][1]["boxes"][0].tolist()
    assert found == pytest.approx([30, 8, 42, 32], abs=1e-4)
    if box_format.startswith("relative"):
        with pytest.raises(DatasetError, match=r'no number of its 1 boxes is above 1.*box_format="relative_xywh"'):
            open_dataset(root)


CORNERS = [[30, 20, 55, 38], [35, 5, 50, 25], [20, 25, 50, 39], [40, 10, 58, 30]]
SIDES = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in CORNERS]


def rows_of(boxes: list[Any], count: int = 3, **more: Any) -> list[Any]:
    """Rows that have the same boxes each."""
    lists = {"bbox": boxes, "category": [0] * len(boxes), **more}
    return [row(lists, f"{i}.jpg") for i in range(count)]


def test_boxes_of_another_format_are_refused(tmp_path):
    told = r"12 of 12 don't lie in their pictures, \[30, .* of image 0 \(60×40\) .* they do: box_format=\"xyxy\" reads"
    with pytest.raises(DatasetError, match=told):
        open_dataset(write(tmp_path / "corners", rows_of(CORNERS)))
    one_is_odd = [*CORNERS * 6, [30, 20, 30, 20]]
    with pytest.raises(DatasetError, match="72 of 75 don't lie"):
        open_dataset(write(tmp_path / "odd", rows_of(one_is_odd)))
    with pytest.raises(DatasetError, match=r'must be \[x1, y1, x2, y2\].*box_format="xywh" reads'):
        open_dataset(write(tmp_path / "sides", rows_of(SIDES)), box_format="xyxy")
    assert open_dataset(tmp_path / "sides")[0][1]["boxes"].tolist() == CORNERS
    assert open_dataset(tmp_path / "corners", box_format="xyxy")[0][1]["boxes"].tolist() == CORNERS
    with pytest.raises(DatasetError, match=r'go up to 40.*box_format="xywh"'):
        open_dataset(tmp_path / "sides", box_format="relative_xywh")
    with pytest.raises(ValueError, match="box_format must be one of"):
        open_dataset(tmp_path / "sides", box_format="yolo")


def test_few_odd_boxes_are_of_no_other_format(tmp_path):
    """Two in five beyond the edge, boxes of too few images, and whole pictures whose areas say what they are."""
    beyond = [[30, 20, 40, 30]] * 4 + [[1, 1, 20, 20]] * 6
    whole = [[5, 4, 58, 40]] * 4
    for name, rows in {
        "beyond": rows_of(beyond),
        "one image": rows_of(CORNERS * 3, count=1),
        "areas": rows_of(whole, area=[58 * 40] * 4),
        "masks": rows_of(whole, segmentation=[[[5, 4, 60, 4, 60, 40, 5, 40]]] * 4),
    }.items():
        x, y, width, height = rows[0]["objects"]["bbox"][0]
        boxes = open_dataset(write(tmp_path / name, rows))[0][1]["boxes"]
        assert boxes[0].tolist() == [x, y, x + width, y + height], name
    with pytest.raises(DatasetError, match="boxes must be"):
        open_dataset(write(tmp_path / "whole", rows_of(whole)))


def test_a_one_pixel_picture_of_boxes_is_read(tmp_path):
    """Boxes on the very first pixel are not enough to say so of pictures: but all of a split are."""
    root = write(tmp_path, [row({"bbox": [[0, 0, 1, 1], [0, 0, 2, 1]], "category": [0, 0]})])
    assert open_dataset(root)[0][1]["boxes"].tolist() == [[0, 0, 1, 1], [0, 0, 2, 1]]


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ({"bbox": [[1, 2, 3]], "category": [0]}, "four numbers"),
        ({"bbox": [[1, 2, 3, float("nan")]], "category": [0]}, "not finite"),
        ({"bbox": [[1, 2, 3, 10**400]], "category": [0]}, "int too large"),
        ({"bbox": [[1, 2, 3, 4]], "category": [-1]}, "class -1 is not among"),
        ({"bbox": [[1, 2, 3, 4]], "category": [None]}, "class None is not among"),
    ],
)
def test_one_bad_object_among_good_ones(tmp_path, objects, reason):
    both = {key: objects[key] + TWO[key] for key in TWO}
    dataset = open_dataset(write(tmp_path, [row(both), row(objects, "b.jpg")]))
    assert dataset[0][1]["labels"].tolist() == [2, 1]
    assert any(reason in text and text.endswith("it is left out") for _, text in dataset.notes)
    with pytest.raises(SampleError, match=rf"b\.jpg: object 0 of b: .*{reason}.* in .*metadata\.jsonl"):
        dataset[1]


@pytest.mark.parametrize(("crowd", "expected"), [(1e308, None), (True, 1), (2, 1), ("1", 1), (None, 0)])
def test_crowds_of_any_spelling(tmp_path, crowd, expected):
    dataset = open_dataset(write(tmp_path, [row({**TWO, "iscrowd": [0, crowd]})]))
    assert dataset[0][1]["iscrowd"].tolist() == [0] + [expected] * (expected is not None)


def test_lists_of_different_lengths(tmp_path):
    dataset = open_dataset(write(tmp_path, [row(TWO), row({"bbox": TWO["bbox"], "category": [1]}, "b.jpg")]))
    with pytest.raises(SampleError, match="2 in 'bbox', but 1 in 'category'"):
        dataset[1]


def test_bad_lines_are_noted(tmp_path):
    dataset = open_dataset(write(tmp_path, [row(TWO), "{", '{"file": 3}', "[1]"]))
    assert len(dataset) == 1
    assert sorted(reason.split(";")[0] for _, reason in dataset.notes) == [
        "line 2 is no JSON object",
        "line 3 has no file_name",
        "line 4 is no JSON object",
    ]
    with pytest.raises(DatasetError, match=r"metadata\.jsonl: line 1 is no JSON object"):
        open_dataset(write(tmp_path / "all", ["{"]), "hf_imagefolder")


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd"])
def test_file_names_stay_in_their_folder(tmp_path, name):
    root = write(tmp_path / "set", [row(TWO, name)], pictures=False)
    save_image(tmp_path / "a.jpg")
    with pytest.raises(SampleError, match="leads out of the folder"):
        open_dataset(root)[0]


def test_stated_sizes_follow_exif(tmp_path):
    root = write(tmp_path, [row(TWO, width=40, height=60)])
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (60, 40)).save(root / "a.jpg", exif=exif)
    assert open_dataset(root)[0][0].shape == (3, 60, 40)


def test_captions_alone_are_no_such_layout(tmp_path):
    assert find_layouts(write(tmp_path, [{"file_name": "a.jpg", "text": "a cat"}])) == []
