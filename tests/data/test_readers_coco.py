"""COCO: what torchvision's class leaves out or gets wrong, and files that are broken."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.errors import DataWarning
from cutmix_dense.data.readers.coco_files import categories_named

SQUARE = [[10, 5, 20, 5, 20, 15, 10, 15]]


def annotation(number: int, image: int = 7, category: int = 90, bbox=(10, 5, 10, 10), **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(bbox), "iscrowd": 0, **more}


def test_types_labels_and_empty_images(make_coco):
    root = make_coco([annotation(1, segmentation=SQUARE, area=77.5), annotation(2, category=4, segmentation=SQUARE)])
    dataset = open_dataset(root)
    assert (dataset.layout, dataset.split, len(dataset)) == ("coco", "train", 2)
    assert dataset.classes == ("background", "ant", "zebra")
    assert dataset.category_ids == (-1, 4, 90)
    image, target = dataset[-1]
    assert dataset.image_path(1).name == "a.jpg"
    assert type(image) is tv_tensors.Image
    assert (image.dtype, image.shape) == (torch.uint8, (3, 40, 60))
    assert target["image_id"] == 7
    assert type(target["boxes"]) is tv_tensors.BoundingBoxes
    assert target["boxes"].canvas_size == (40, 60)
    assert target["boxes"].tolist() == [[10, 5, 20, 15]] * 2
    assert target["labels"].tolist() == [2, 1]
    assert target["area"].tolist() == [77.5, 100.0]
    assert target["masks"].dtype == torch.bool
    assert target["masks"][0].nonzero().amin(0).tolist() == [5, 10]
    _, empty = dataset[0]
    assert list(empty) == list(target)
    for key in ("boxes", "labels", "iscrowd", "area", "masks"):
        assert empty[key].dtype == target[key].dtype
        assert empty[key].shape == (0, *target[key].shape[1:])
        assert type(empty[key]) is type(target[key])


def test_segmentations_of_every_form(make_coco):
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[3:9, 30:50] = 1
    packed = mask_utils.encode(np.asfortranarray(mask))
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    forms = [
        {"size": [40, 60], "counts": packed["counts"].decode()},
        {"size": [40, 60], "counts": counts},
        [[30, 3, 50, 3, 50, 9, 30, 9]],
    ]
    none = [[], None, [[1, 2, 3, 4]], [[5.2, 5.2, 5.3, 5.2, 5.3, 5.3]]]
    dataset = open_dataset(
        make_coco([annotation(i, segmentation=s, iscrowd=i % 2) for i, s in enumerate(forms + none)])
    )
    target = dataset[1][1]
    for i in range(3):
        assert np.array_equal(target["masks"][i].numpy(), mask)
    assert not target["masks"][3:].any()
    assert target["iscrowd"].tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_no_segmentation_anywhere_means_no_masks_key(make_coco):
    target = open_dataset(make_coco([annotation(1)]))[1][1]
    assert "masks" not in target
    assert target["area"].tolist() == [100]


def test_broken_boxes_pass_but_nan_does_not(make_coco):
    odd = [(10, 5, 0, 4), (10, 5, -3, 4), (500, 500, 4, 4)]
    root = make_coco([annotation(i, bbox=box) for i, box in enumerate(odd)])
    assert open_dataset(root)[1][1]["boxes"].tolist() == [[10, 5, 10, 9], [10, 5, 7, 9], [500, 500, 504, 504]]
    dataset = open_dataset(make_coco([annotation(55, bbox=(1, float("nan"), 4, 4))]))
    with pytest.raises(SampleError, match=r"a\.jpg.*annotation 55 in .*instances_train\.json.*nan"):
        dataset[1]
    dataset[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, "bbox must be"),
        ({"bbox": None}, "has neither a bbox nor a segmentation"),
        ({"bbox": None, "segmentation": "abc"}, "must be polygons.*has neither a bbox nor a segmentation"),
        ({"category_id": 5}, "category_id 5"),
    ],
)
def test_one_bad_annotation_costs_itself_alone(make_coco, change, message):
    dataset = open_dataset(make_coco([annotation(1, segmentation=SQUARE), {**annotation(8), **change}]))
    with pytest.warns(DataWarning, match=rf"instances_train\.json: annotation 8 of a\.jpg is left out: .*{message}"):
        assert len(dataset[1][1]["boxes"]) == 1
    assert len(dataset.notes) == 1
    elsewhere = annotation(9, image=3)
    alone = open_dataset(make_coco([{**annotation(8), **change}, elsewhere]))
    with pytest.raises(SampleError, match=rf"a\.jpg: annotation 8 in .*instances_train\.json: .*{message}"):
        alone[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable JSON"),
        ("[1, 2]", "top level is a list"),
        ('{"a": 1}', "'images', 'annotations', 'categories'"),
        ('{"images": [], "annotations": []}', "'categories'"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', r"images\[0\] has no 'file_name'"),
        (
            '{"annotations": [], "categories": [], "images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": 0}]}',
            "two of the 'images' have the id 1",
        ),
    ],
)
def test_json_that_is_not_coco(make_coco, content, message):
    root = make_coco([])
    (root / "annotations" / "instances_train.json").write_text(content)
    with pytest.raises(DatasetError, match=rf"instances_train\.json: .*{message}"):
        open_dataset(root)


def test_annotations_of_unlisted_images_are_told(make_coco):
    with pytest.warns(DataWarning, match="1 annotations belong to images"):
        assert len(open_dataset(make_coco([annotation(1, image=99), annotation(2)]))[1][1]["boxes"]) == 1
    with pytest.raises(DatasetError, match="no annotation belongs to any of the images: image_id 99 .* ids 3, 7"):
        open_dataset(make_coco([annotation(1, image=99)]))


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "..\\secret.jpg", "x/../../secret.jpg"])
def test_file_names_stay_in_their_folder(make_coco, name):
    root = make_coco([], images=[{"id": 1, "file_name": name}])
    dataset = open_dataset(root)
    with pytest.raises(SampleError, match="leads out of the folder"):
        dataset[0]


def test_unreadable_images_are_named(make_coco):
    root = make_coco([])
    path = root / "train" / "a.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    dataset = open_dataset(root)
    with pytest.raises(
        SampleError, match=r"a\.jpg: .*truncated.*: the file is cut off or broken, copy it again"
    ) as caught:
        dataset[1]
    assert caught.value.path == path
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.reason, str(again)) == (path, caught.value.reason, str(caught.value))
    path.unlink()
    told = "file not found; if the pictures lie elsewhere, name their folder with images="
    with pytest.raises(SampleError, match=f"a.jpg: {told}") as caught:
        dataset[1]
    assert caught.value.path == path


def test_sample_errors_come_through_a_loader_worker(make_coco):
    root = make_coco([])
    (root / "train" / "b.jpg").write_bytes(b"nothing")
    loader = DataLoader(open_dataset(root), num_workers=1, collate_fn=list)
    with pytest.raises(SampleError, match=r"b\.jpg"):
        list(loader)


def test_image_of_another_size_than_stated(make_coco):
    root = make_coco([], images=[{"id": 1, "file_name": "a.jpg", "height": 60, "width": 40}])
    with pytest.raises(SampleError, match=r"is 60×40, but instances_train.json says 40×60"):
        open_dataset(root)[0]


def test_places_of_files(make_coco, tmp_path):
    root = make_coco([annotation(1)])
    official = root / "annotations" / "instances_train.json"
    dated = official.rename(root / "annotations" / "instances_train2017.json")
    (root / "train").rename(root / "train2017")
    for split in ("train", "train2017"):
        assert open_dataset(root, split=split)[0][0].shape == (3, 40, 60)
    (root / "images").mkdir()
    (root / "train2017").rename(root / "images" / "train2017")
    assert open_dataset(root, split="train").image_path(0).parent == root / "images" / "train2017"
    (root / "images" / "train2017").rename(root / "JPEGImages")
    assert open_dataset(root, split="train").image_path(0).parent == root / "JPEGImages"
    (root / "JPEGImages").rename(root / "elsewhere")
    dataset = open_dataset(root / "annotations", annotations=dated, images=root / "elsewhere")
    assert len(dataset) == 2
    roboflow = tmp_path / "roboflow"
    roboflow.mkdir()
    (root / "elsewhere").rename(roboflow / "valid")
    dated.rename(roboflow / "valid" / "_annotations.coco.json")
    for split in ("val", "valid"):
        assert open_dataset(roboflow, split=split)[0][0].shape == (3, 40, 60)
    with pytest.raises(DatasetError, match=r"no COCO annotations of split 'train'.*splits found: valid"):
        open_dataset(roboflow, split="train")
    assert open_dataset(roboflow).split == "valid"  # the only one


def test_two_years_are_ambiguous(make_coco):
    root = make_coco([])
    content = (root / "annotations" / "instances_train.json").read_text()
    (root / "annotations" / "instances_train.json").unlink()
    for year in (2014, 2017):
        (root / "annotations" / f"instances_train{year}.json").write_text(content)
    with pytest.raises(DatasetError, match="any of train2014, train2017"):
        open_dataset(root)


def test_index_errors_end_a_loop(make_coco):
    assert len(list(open_dataset(make_coco([])))) == 2


def test_opening_prints_nothing(make_coco, capsys):
    open_dataset(make_coco([annotation(1)]))[1]
    assert capsys.readouterr().out == ""


def test_string_ids(make_coco):
    root = make_coco([], images=[{"id": "x", "file_name": "a.jpg"}])
    assert open_dataset(root)[0][1]["image_id"] == "x"
    assert json.loads((root / "annotations" / "instances_train.json").read_text())["images"][0]["id"] == "x"


def test_stated_classes_number_the_labels(make_coco):
    """As of a split whose file lists other categories than the others' files."""
    root = make_coco([annotation(1, segmentation=SQUARE, area=77.5), annotation(2, category=4, segmentation=SQUARE)])
    dataset = open_dataset(root, classes=["zebra", "cow", "ant"])
    assert dataset.classes == ("background", "zebra", "cow", "ant")
    assert dataset.category_ids == (-1, 90, 91, 4)
    assert [category.get("name") for category in dataset.categories] == [None, "zebra", "cow", "ant"]
    target = dataset[-1][1]
    assert target["labels"].tolist() == [1, 3]
    assert target["area"].tolist() == [77.5, 100.0]
    only = make_coco([annotation(1)])
    assert open_dataset(only, classes=["background", "zebra"]).classes == ("background", "zebra")
    assert open_dataset(only, classes="zebra").classes == ("background", "zebra")
    for names, told in (
        (["cow"], r"classes must name every category with annotations, got \['cow'\] and no 'zebra'"),
        (["zebra", "zebra"], "'zebra' is there twice"),
        (["cow", "zebra", "cow"], "classes must differ"),
    ):
        with pytest.raises(DatasetError, match=told):
            open_dataset(only, classes=names)


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_categories_of_a_name_the_used_one_is_meant(first):
    """Roboflow's files have a category that no annotation uses, often with the only class's name."""
    categories = [{"id": 0, "name": "dogs"}, {"id": 1, "name": "dogs"}][:: 1 if first else -1]
    assert categories_named(categories, ["dogs"], [1], Path("a.json")) == [{"id": 1, "name": "dogs"}]
    with pytest.raises(DatasetError, match="'dogs' is there twice"):
        categories_named(categories, ["dogs"], [0, 1], Path("a.json"))
