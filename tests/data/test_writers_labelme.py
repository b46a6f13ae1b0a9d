"""LabelMe files that are written: a copy of what was read is the same shapes, anything else reads back as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from cutmix_dense.data import open_dataset
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.writers import LabelMeWriter, YoloWriter

from .test_readers_labelme import make, shape, square  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore:.*left out")


def masked(rows: list[np.ndarray], boxes: list[list[float]], labels: list[int], **more):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32),
        "labels": torch.tensor(labels),
        "masks": torch.from_numpy(np.array(rows)),
        **more,
    }


def test_a_copy_has_the_same_shapes(make, tmp_path):  # noqa: F811
    shapes = [
        shape("rectangle", [[30.123, 20.5], [10, 5.25]], description="x", flags={"a": True}),
        square(2, 2, group_id=1),
        square(20, 2, group_id=1),
        shape("circle", [[30, 20], [33, 24]], "dog"),
    ]
    root = make({"a": shapes}, flags={"night": True}, camera="left")
    dataset = open_dataset(root, details=True, pixels="stored")
    writer = LabelMeWriter.like(dataset, tmp_path / "copy", "train")
    image, target = dataset[0]
    assert writer.add("a", image, target, dataset.picture(0)) == {}
    writer.finish()
    written = json.loads((tmp_path / "copy" / "train" / "a.json").read_text())
    assert written["shapes"] == shapes
    assert (written["flags"], written["camera"]) == ({"night": True}, "left")
    assert (written["imagePath"], written["imageHeight"], written["imageWidth"]) == ("a.jpg", 40, 60)
    assert (tmp_path / "copy" / "labels.txt").read_text() == "__ignore__\n_background_\ncat\ndog\n"
    again = open_dataset(tmp_path / "copy")
    assert again.split == "train"
    assert again.classes == dataset.classes
    for key in ("boxes", "labels", "masks", "has_mask", "area"):
        assert torch.equal(again[0][1][key], target[key]), key


def test_masks_of_any_form_read_back_to_the_pixel(tmp_path):
    rows = [np.zeros((30, 50), dtype=bool) for _ in range(4)]
    rows[0][3:9, 4:20] = True
    rows[1][2:20, 22:40] = True
    rows[1][8:12, 28:30] = False  # a hole
    rows[2][22:25, 1:4] = rows[2][26:29, 45:49] = True  # two parts
    boxes: list[list[float]] = [[4, 3, 20, 9], [22, 2, 40, 20], [1, 22, 49, 29], [10, 10, 12.5, 15.25]]
    target = masked(rows, boxes, [1, 2, 1, 2], has_mask=torch.tensor([True, True, True, False]))
    target |= {
        "weight": torch.tensor([1, 0.5, 0.75, 1]),
        "visibility": torch.tensor([1, 0.5, 0.25, 1]),
        "iscrowd": torch.tensor([0, 0, 1, 0]),
    }
    writer = LabelMeWriter(tmp_path, classes=("background", "cat", "dog"), split="train")
    assert writer.add("x", np.zeros((30, 50, 3), dtype=np.uint8), target) == {"crowd": 1}
    writer.finish()
    found = json.loads((tmp_path / "train" / "x.json").read_text())["shapes"]
    assert [each["shape_type"] for each in found] == ["polygon", "mask", "mask", "rectangle"]
    assert [each["visibility"] for each in found] == [1, 0.5, 0.25, 1]
    assert [each["weight"] for each in found] == [1, 0.5, 0.75, 1]
    assert found[1]["points"] == [[22, 2], [39, 19]]  # the last pixel, as LabelMe has it
    again = open_dataset(tmp_path)[0][1]
    assert np.array_equal(again["masks"][:3].numpy(), np.array(rows[:3]))
    assert again["boxes"].tolist() == boxes
    assert again["labels"].tolist() == [1, 2, 1, 2]
    assert again["has_mask"].tolist() == [True, True, True, False]


def test_instances_of_one_group_id_stay_two(tmp_path):
    boxes = torch.tensor([[1.0, 1, 5, 5], [10, 10, 20, 20], [30, 3, 40, 9]])
    target = {
        "boxes": boxes,
        "labels": torch.tensor([1, 1, 2]),
        "details": [{"group_id": 3}, {"group_id": 3}, {"group_id": 3}],
    }
    writer = LabelMeWriter(tmp_path, classes=("background", "cat", "dog"), split="train")
    assert writer.add("x", np.zeros((30, 50, 3), dtype=np.uint8), target) == {"group_id that another instance has": 1}
    writer.finish()
    assert open_dataset(tmp_path)[0][1]["boxes"].tolist() == boxes.tolist()


def test_what_has_no_place_is_counted(tmp_path):
    target = masked([np.ones((30, 50), dtype=bool)], [[0, 0, 50, 30]], [1])
    target |= {"keypoints": torch.zeros(1, 2, 3), "semantic": torch.zeros(30, 50, dtype=torch.uint8)}
    writer = LabelMeWriter(tmp_path, classes=("background", "cat"))
    assert writer.add("x", np.zeros((30, 50, 3), dtype=np.uint8), target) == {"keypoints": 1, "semantic map": 1}


def test_coco_converts(make_coco, tmp_path):
    found = {"image_id": 7, "bbox": [10, 5, 10, 10], "iscrowd": 0}
    root = make_coco(
        [
            {**found, "id": 1, "category_id": 90, "segmentation": [[10, 5, 20, 5, 20, 15, 10, 15]], "score": 0.5},
            {**found, "id": 2, "category_id": 4, "segmentation": []},
        ]
    )
    dataset = open_dataset(root)
    writer = LabelMeWriter.like(dataset, tmp_path / "labelme", "train")
    image, target = dataset[1]
    writer.add("a", image, target, dataset.picture(1))
    writer.finish()
    again = open_dataset(tmp_path / "labelme")
    assert again.classes == ("background", "ant", "zebra")
    for key in ("boxes", "labels", "masks", "has_mask"):
        assert torch.equal(again[0][1][key], target[key]), key


class Named:
    """A dataset of another layout with such classes."""

    layout, mix_layout, has_panoptic, has_instances, flip_pairs = "other", "BCHW", False, True, None

    def __init__(self, *names: str) -> None:
        self.classes = ("background", *names)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("cat", "dog", "cat"), "the classes 1 and 3 are both called 'cat'; rename one of them"),
        (("cat", "_background_"), "can't hold the class name '_background_': it means something else"),
        (("Background", "cat"), "can't hold the class name 'Background'"),
        (("cat", "dog "), "can't hold the class name 'dog '"),
        (("cat", "d\u2028og"), "can't hold the class name"),
    ],
)
def test_classes_that_a_label_cannot_name(tmp_path, names, reason):
    with pytest.raises(ValueError, match=reason):
        LabelMeWriter.like(Named(*names), tmp_path, "train")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_version_and_fields_of_pictures(make, tmp_path):  # noqa: F811
    root = make({"a": [square(2, 2)]}, version="3.16.7", camera="left")
    dataset = open_dataset(root, details=True, pixels="stored")
    image, target = dataset[0]
    writer = LabelMeWriter.like(dataset, tmp_path / "copy", "train")
    assert writer.add("a", image, target, dataset.picture(0)) == {}
    odd = PictureInfo("b.png", {"version": 2, "flags": ["x"], "shapes": 1, "weather": "rain"})
    assert writer.add("b", image, target, odd) == {f"{name} of pictures": 1 for name in ("version", "flags", "shapes")}
    writer.finish()
    a, b = (json.loads((tmp_path / "copy" / "train" / f"{key}.json").read_text()) for key in "ab")
    assert (a["version"], a["camera"]) == ("3.16.7", "left")
    assert (b["version"], b["flags"], b["weather"], len(b["shapes"])) == ("5.5.0", {}, "rain", 1)


@pytest.mark.parametrize("writer", [LabelMeWriter, YoloWriter])
@pytest.mark.parametrize("layout", ["coco", "cityscapes"])
def test_redrawn_polygons_are_counted(tmp_path, writer, layout):
    dataset = Named("cat")
    dataset.layout = layout
    rows = [np.zeros((30, 50), dtype=bool) for _ in range(3)]
    rows[0][3:9, 4:20] = rows[1][10:20, 4:20] = True
    target = masked(rows, [[4, 3, 20, 9], [4, 10, 20, 20], [1, 2, 3, 4]], [1, 1, 1])
    target["has_mask"] = torch.tensor([True, True, False])
    lost = writer.like(dataset, tmp_path, "train").add("x", np.zeros((30, 50, 3), dtype=np.uint8), target)
    counted = {name: count for name, count in lost.items() if "none stated" not in name}
    assert counted == ({"corners of polygons (redrawn along the pixels of their masks)": 2} if layout == "coco" else {})
