"""LabelMe: shapes of every type, groups, pictures beside the JSON or embedded in it, and what is left out."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from versions import needs_uint16

from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.readers.labelme import LabelMeDataset
from cutmix_dense.data.readers.layouts import find_layouts, list_splits

from .conftest import save_image

pytestmark = pytest.mark.filterwarnings("ignore:.*left out")


def shape(kind: str | None, points: Any, label: Any = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def square(x: float, y: float, side: float = 10, label: Any = "cat", **more: Any) -> dict[str, Any]:
    return shape("polygon", [[x, y], [x + side, y], [x + side, y + side], [x, y + side]], label, **more)


def png(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.fixture
def make(tmp_path):
    """Write LabelMe files {path without ending: shapes or content}, with a 40×60 picture each; returns the root."""

    def write(files: dict[str, Any], pictures: str | None = ".jpg", encoding: str = "utf-8", **more: Any):
        for name, content in files.items():
            path = tmp_path / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, list):
                content = {"version": "5.5.0", "flags": {}, "shapes": content, "imagePath": f"{path.stem}.jpg"}
                content |= {"imageData": None, "imageHeight": 40, "imageWidth": 60, **more}
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding=encoding)
            if pictures:
                save_image(path.with_suffix(pictures))
        return tmp_path

    return write


def test_shapes_of_every_type(make):
    bitmap = np.zeros((4, 6), dtype=bool)
    bitmap[1:3, 2:5] = True
    shapes = [
        shape("rectangle", [[30.5, 20], [10, 5.25]]),
        shape("rectangle", [[10, 5], [30, 5], [30, 20], [10, 20]], "dog"),
        square(3, 4),
        shape("circle", [[30, 20], [33, 24]]),
        shape("mask", [[40.0, 10.0], [45.0, 13.0]], mask=png(bitmap)),
        shape(None, [[0, 0], [8, 0], [8, 6], [0, 6]]),
    ]
    dataset = open_dataset(make({"a": shapes}))
    assert (dataset.layout, dataset.split, dataset.classes) == ("labelme", "all", ("background", "cat", "dog"))
    image, target = dataset[0]
    assert image.shape == (3, 40, 60)
    assert target["boxes"].tolist() == [
        [10, 5.25, 30.5, 20],
        [10, 5, 30, 20],
        [3, 4, 13, 14],
        [25, 15, 35, 25],
        [42, 11, 45, 13],
        [0, 0, 8, 6],
    ]
    assert target["labels"].tolist() == [1, 2, 1, 1, 1, 1]
    assert target["has_mask"].tolist() == [False, False, True, True, True, True]
    expected = np.zeros((6, 40, 60), dtype=bool)
    expected[2, 4:14, 3:13] = True
    for row in range(40):
        for column in range(60):
            expected[3, row, column] = (column + 0.5 - 30) ** 2 + (row + 0.5 - 20) ** 2 <= 25
    expected[4, 11:13, 42:45] = True
    expected[5, :6, :8] = True
    assert np.array_equal(target["masks"].numpy(), expected)
    assert target["area"].tolist() == [20.5 * 14.75, 300, 100, expected[3].sum(), 6, 48]
    assert target["image_id"] == "a"


def test_what_has_no_area_or_no_class_is_noted(make):
    shapes = [
        shape("line", [[1, 1], [5, 5]]),
        shape("linestrip", [[1, 1], [5, 5], [9, 1]], "wire"),
        shape("point", [[1, 1]]),
        shape("points", [[1, 1]]),
        square(1, 1, label="__ignore__"),
        square(1, 1, label="_background_"),
        square(1, 1),
    ]
    dataset = open_dataset(make({"a": shapes, "b": shapes[:2]}))
    assert dataset.classes == ("background", "cat")
    assert dataset[0][1]["labels"].tolist() == [1]
    reasons = [reason for path, reason in dataset.notes if path.endswith("a.json")]
    assert len(reasons) == 6
    assert "linestrip of 'wire': has no area; it is left out" in reasons
    assert "polygon of '__ignore__': marks pixels and is no class; it is left out" in reasons
    assert dataset[1][1]["boxes"].shape == (0, 4)


def test_shapes_of_a_group_are_one_instance(make):
    shapes = [
        square(2, 2, group_id=1),
        square(30, 20, group_id=2),
        square(20, 2, group_id=1),
        square(40, 2, label="dog", group_id=1),
        shape("rectangle", [[2, 20], [6, 25]], group_id=2),
        shape("rectangle", [[50, 30], [52, 32]], "dog", group_id=7),
        shape("rectangle", [[54, 34], [56, 36]], "dog", group_id=7),
    ]
    target = open_dataset(make({"a": shapes}))[0][1]
    assert target["boxes"].tolist() == [[2, 2, 30, 12], [2, 20, 40, 30], [40, 2, 50, 12], [50, 30, 56, 36]]
    assert target["labels"].tolist() == [1, 1, 2, 2]
    assert target["has_mask"].tolist() == [True, True, True, False]
    assert target["masks"].sum(dim=(1, 2)).tolist() == [200, 120, 100, 0]
    assert target["masks"][1, 20:25, 2:6].all()


def test_a_turned_rectangle_of_four_points_states_its_mask(make):
    turned = shape("rectangle", [[20, 10], [30, 20], [20, 30], [10, 20]])
    target = open_dataset(make({"a": [turned]}))[0][1]
    assert target["boxes"].tolist() == [[10, 10, 30, 30]]
    assert abs(int(target["masks"].sum()) - 200) <= 20
    assert not target["masks"][0, 12, 12]


def test_masks_that_reach_over_the_border_are_cut(make):
    full = np.ones((10, 12), dtype=bool)
    target = open_dataset(make({"a": [shape("mask", [[-4, -3], [7, 6]], mask=png(full))]}))[0][1]
    assert target["boxes"].tolist() == [[-4, -3, 8, 7]]
    assert int(target["masks"].sum()) == 8 * 7
    assert target["masks"][0, :7, :8].all()


def test_rectangles_alone_have_no_masks_key(make):
    assert "masks" not in open_dataset(make({"a": [shape("rectangle", [[1, 2], [5, 9]])]}))[0][1]


def test_polygons_alone_have_no_has_mask_key(make):
    assert "has_mask" not in open_dataset(make({"a": [square(1, 2)]}))[0][1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(make, encoding):
    root = make({"a": [square(1, 1, label="Käfer")]}, encoding=encoding)
    assert find_layouts(root) == ["labelme"]
    assert open_dataset(root).classes == ("background", "Käfer")


def test_splits_number_their_classes_alike(make, tmp_path):
    root = make(
        {"train/a": [square(1, 1, label="zebra")], "train/deep/b": [square(1, 1)], "val/c": [square(1, 1, label="ant")]}
    )
    assert list_splits(root, "labelme") == ["train", "val"]
    train, val = open_dataset(root), open_dataset(root, split="val")
    assert train.classes == val.classes == ("background", "ant", "cat", "zebra")
    assert [train.picture(i).name for i in range(2)] == ["a.jpg", "deep/b.jpg"]
    assert [train[0][1]["labels"].tolist(), train[1][1]["labels"].tolist(), val[0][1]["labels"].tolist()] == [
        [3],
        [2],
        [1],
    ]
    with pytest.raises(DatasetError, match="splits found: train, val"):
        open_dataset(root, split="test")


@pytest.mark.parametrize("name", ["labels.txt", "class_names.txt"])
def test_listed_labels_give_the_order(make, name):
    root = make({"a": [square(1, 1, label="dog")], "b": [square(1, 1, label="cat"), square(20, 1, label="emu")]})
    (root / name).write_bytes("\ufeff__ignore__\r\n_background_\r\ndog\r\ncat\r\n".encode())
    dataset = open_dataset(root)
    assert dataset.classes == ("background", "dog", "cat")
    assert dataset[1][1]["labels"].tolist() == [2]
    assert any("class 'emu' is not among ('dog', 'cat')" in reason for _, reason in dataset.notes)
    (root / name).write_text("horse\n")
    with pytest.raises(DatasetError, match=r"none of its classes \['horse'\] occurs"):
        open_dataset(root)
    assert open_dataset(root, classes=["background", "cat", "dog", "emu"]).classes[1] == "cat"


def test_labels_above_the_folder_count_where_they_are_labelmes(make):
    root = make({"data_annotated/a": [square(1, 1, label="dog")]})
    (root / "labels.txt").write_text("__ignore__\n_background_\ncat\ndog\n")
    for folder, split in ((root, "data_annotated"), (root / "data_annotated", "all")):
        dataset = open_dataset(folder)
        assert (dataset.split, dataset.classes) == (split, ("background", "cat", "dog"))
    (root / "labels.txt").write_text("cat\ndog\n")
    assert open_dataset(root / "data_annotated").classes == ("background", "dog")


@pytest.mark.parametrize(
    ("stated", "there"),
    [
        ("a.jpg", "a.jpg"),
        ("..\\pictures\\a.jpg", "pictures/a.jpg"),
        ("../pictures/a.jpg", "pictures/a.jpg"),
        ("C:\\Users\\me\\a.jpg", "train/a.jpg"),
        ("/home/me/shots/a.jpg", "train/a.jpg"),
        ("a.png", "train/a.jpg"),
        ("a.jpg", "train/a.JPG"),
        ("other.jpg", "train/one.jpg"),
        ("a.jpg", "train/images/a.jpg"),
        (None, "train/one.jpg"),
    ],
)
def test_pictures_are_found(make, stated, there):
    there = there if "/" in there else f"train/{there}"
    root = make({"train/one": [square(1, 1)]}, None, imagePath=stated)
    save_image(root / there)
    dataset = open_dataset(root)
    assert dataset.image_path(0) == root / there
    assert dataset[0][0].shape == (3, 40, 60)


def test_json_in_a_folder_beside_the_pictures(make):
    root = make({"annotations/a": [square(1, 1)]}, None)
    save_image(root / "images" / "a.jpg")
    assert list_splits(root, "labelme") == ["all"]
    assert open_dataset(root).image_path(0) == root / "images" / "a.jpg"
    (root / "images").rename(root / "elsewhere")
    with pytest.raises(SampleError, match="file not found"):
        open_dataset(root)[0]
    assert open_dataset(root, images="elsewhere")[0][0].shape == (3, 40, 60)


def test_pictures_outside_are_refused_with_the_remedy(make):
    root = make({"set/a": [square(1, 1)]}, None, imagePath="../a.jpg")
    save_image(root / "a.jpg")
    with pytest.raises(SampleError, match=r"'../a.jpg' leads out of .*set.*images="):
        open_dataset(root / "set")[0]
    assert open_dataset(root)[0][0].shape == (3, 40, 60)


@needs_uint16
def test_embedded_pictures(make):
    pixels = (np.arange(40 * 60).reshape(40, 60) * 25).astype(np.uint16)
    root = make({"a": [square(1, 1)], "b": [square(1, 1)]}, None, imageData=png(pixels))
    data = json.loads((root / "b.json").read_text())
    data["imageData"] = "not base64!"
    (root / "b.json").write_text(json.dumps(data))
    dataset = open_dataset(root)
    assert dataset.image_path(0) == root / "a.json"
    assert dataset.picture(0).name == "a.png"
    assert np.array_equal(dataset[0][0][0].numpy(), pixels)
    with pytest.raises(SampleError, match=r"b\.json"):
        dataset[1]
    save_image(root / "a.jpg")
    assert open_dataset(root).image_path(0) == root / "a.jpg"


def test_a_picture_of_another_size_than_stated(make):
    with pytest.raises(SampleError, match=r"is 60×40, but a\.json says 60×41"):
        open_dataset(make({"a": [square(1, 1)]}, imageHeight=41))[0]
    assert open_dataset(make({"a": [square(1, 1)]}, imageHeight=None))[0][0].shape == (3, 40, 60)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (shape("rectangle", [[1, 2]]), "two corners or four"),
        (shape("circle", [[1, 2]]), "centre and one on it"),
        (shape("polygon", [[1, 2], [3, 4]]), "three points or more"),
        (shape("polygon", [[1, 2], [3, float("nan")], [5, 6]]), "not finite"),
        (shape("polygon", "abc"), "points must be a list"),
        (shape("star", [[1, 2], [3, 4], [5, 6]]), "'star' isn't known"),
        (shape("mask", [[1, 2], [3, 4]]), "a PNG in base64"),
        (shape("mask", [[1, 2], [3, 4]], mask="aGVsbG8="), "no readable PNG"),
        (shape("mask", [[1, 2], [30, 4]], mask=png(np.ones((3, 3), dtype=bool))), "3×3 doesn't fit its points, 30×3"),
    ],
)
def test_a_shape_that_makes_no_sense(make, bad, reason):
    dataset = open_dataset(make({"a": [bad, square(1, 1)], "b": [bad]}))
    assert dataset[0][1]["boxes"].tolist() == [[1, 1, 11, 11]]
    assert any(reason in text and text.endswith("it is left out") for _, text in dataset.notes)
    with pytest.raises(SampleError, match=rf"b\.json: {bad['shape_type']} of 'cat': .*{reason}"):
        dataset[1]


def test_broken_files_are_samples_and_others_are_not(make):
    root = make({"a": [square(1, 1)]})
    (root / "b.json").write_text('{"shapes": [')
    (root / "instances.json").write_text('{"images": [], "annotations": []}')
    dataset = open_dataset(root, "labelme")
    assert len(dataset) == 2
    with pytest.raises(SampleError, match=r"b\.json: not a readable JSON"):
        dataset[1]
    assert any(path.endswith("instances.json") for path, _ in dataset.notes)


def test_details(make):
    own = square(1, 1, group_id=3, description="old", flags={"hidden": True}, mask=None, attributes={"age": 4})
    root = make({"a": [own, square(20, 1)]}, flags={"night": True}, camera="left")
    dataset = open_dataset(root, details=True)
    assert dataset[0][1]["details"] == [
        {
            "group_id": 3,
            "description": "old",
            "flags": {"hidden": True},
            "attributes": {"age": 4},
            "_stated": {"shapes": [own]},
        },
        {"_stated": {"shapes": [square(20, 1)]}},
    ]
    assert dataset.picture(0).details == {"version": "5.5.0", "flags": {"night": True}, "camera": "left"}


def test_other_folders_are_none(tmp_path):
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [], "shapes": 3}')
    (tmp_path / "sub").mkdir()
    assert LabelMeDataset.find_splits(tmp_path) == []
    assert LabelMeDataset.find_splits(tmp_path / "nothing") == []
    with pytest.raises(DatasetError, match="holds no LabelMe JSON"):
        LabelMeDataset(tmp_path)


def test_a_folder_of_many_others_is_soon_seen_to_be_none(tmp_path, monkeypatch):
    """As many files are looked into as the first folders have, not as all of them."""
    from cutmix_dense.data.readers import labelme

    looked_at = []
    monkeypatch.setattr(labelme, "_is_labelme", lambda path: looked_at.append(path) or False)
    for number in range(300):
        (tmp_path / f"{number:03}").mkdir()
        (tmp_path / f"{number:03}" / "a.json").write_text("{}")
    assert LabelMeDataset.find_splits(tmp_path) == []
    assert len(looked_at) == 100
