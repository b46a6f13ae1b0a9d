"""COCO files as exports write them: nothing they say is lost on the way in, or taken for something else."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oriented import oriented
from PIL import Image, ImageDraw
from pycocotools import mask as mask_utils

import cutmix_dense as cd
from cutmix_dense.data import DatasetError, SampleError, find_layouts, list_splits, open_dataset
from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DataWarning

BOX = [4.0, 5.0, 20.0, 16.0]  # x, y, width, height
POLYGON = [[10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]]


def note(number, image=7, category=90, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": BOX, **more}


def rectangle(x0, y0, x1, y1, size=(40, 60)):
    """The pixels of a rectangle with whole corners."""
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


# ------------------------------------------------------------------------------------------------------- no mask stated


NONE = [
    {"segmentation": []},
    {"segmentation": None},
    {"segmentation": [[]]},
    {"segmentation": [[], []]},
    {"segmentation": [[4, 5, 24, 5]]},
    {"segmentation": {}},
    {"segmentation": {"size": [40, 60], "counts": []}},
    {"segmentation": [None]},
    {"segmentation": [{}]},
    {"segmentation": [[], None]},
    {"segmentation": ""},
    {},
]


@pytest.mark.parametrize("none", NONE, ids=str)
def test_an_instance_without_a_mask_beside_one_with(make_coco, none):
    root = make_coco([note(1, segmentation=POLYGON), note(2, category=4, area=99.0, **none)])
    dataset = open_dataset(root)
    _, target = dataset[1]
    assert target["has_mask"].tolist() == [True, False]
    assert np.array_equal(target["masks"][0].numpy(), rectangle(10, 5, 30, 25))
    assert not target["masks"][1].any()
    assert target["boxes"].tolist() == [[4, 5, 24, 21]] * 2
    assert target["area"].tolist() == [400.0, 99.0]
    assert target["labels"].tolist() == [2, 1]
    assert not dataset.notes
    image, _ = dataset[1]
    for boxes_from in ("auto", "box"):
        mixed = cd.CutMix(p=0.0, boxes_from=boxes_from)([image, image], [target, target])[1]
        assert mixed[0]["boxes"].tolist() == [[4, 5, 24, 21]] * 2
        assert mixed[0]["has_mask"].tolist() == [True, False]
        assert mixed[0]["visibility"].tolist() == [1.0, 1.0]


def test_no_instance_of_a_file_with_few_masks_vanishes(make_coco):
    """462 of 464 objects of a CVAT export did."""
    many = [note(number, image=3, segmentation=[]) for number in range(10, 40)]
    dataset = open_dataset(make_coco([note(1, segmentation=POLYGON), *many]))
    samples = [dataset[index] for index in range(2)]
    mixed = cd.CutMix(p=0.0)([image for image, _ in samples], [target for _, target in samples])[1]
    assert [len(target["labels"]) for target in mixed] == [30, 1]
    assert samples[0][1]["has_mask"].tolist() == [False] * 30
    assert samples[1][1]["has_mask"].tolist() == [True]


def test_all_masks_stated_needs_no_word_of_it(make_coco):
    target = open_dataset(make_coco([note(1, segmentation=POLYGON)]))[1][1]
    assert "has_mask" not in target


def test_a_stated_mask_without_pixels_is_reported_once_and_kept_untouched(make_coco):
    sliver = [[5.2, 5.2, 5.3, 5.2, 5.3, 5.3]]
    dataset = open_dataset(make_coco([note(8, segmentation=sliver), note(9, segmentation=POLYGON)]))
    with pytest.warns(DataWarning, match=r"instances_train\.json: annotation 8 of a\.jpg: its mask has no pixel"):
        image, target = dataset[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        dataset[1]
    assert list(dataset.notes.values()) == [2]
    assert "has_mask" not in target  # both state one
    mixed = cd.CutMix(p=0.0)([image, image], [target, target])[1][0]
    assert len(mixed["labels"]) == 2


# ------------------------------------------------------------------------------------------------------------------ ids


def spelled(value, how):
    return {"text": str(value), "float": float(value), "padded": f"{value:05d}", "int": value}[how]


@pytest.mark.parametrize("how", ["text", "float", "padded", "int"])
@pytest.mark.parametrize("where", ["images", "annotations"])
def test_ids_that_differ_in_type_alone_are_one_id(make_coco, how, where):
    ids = {"images": (7, 3), "annotations": (7, 3)}
    images = [
        {"id": spelled(number, how) if where == "images" else number, "file_name": name}
        for number, name in zip(ids["images"], ("a.jpg", "b.jpg"))
    ]
    annotations = [note(1, image=7), note(2, image=3, category=4), note(3, image=3)]
    if where == "annotations":
        for each in annotations:
            each["image_id"] = spelled(each["image_id"], how)
            each["category_id"] = spelled(each["category_id"], how)
    dataset = open_dataset(make_coco(annotations, images=images))
    found = {dataset.image_path(i).name: dataset[i][1]["labels"].tolist() for i in range(2)}
    assert found == {"a.jpg": [2], "b.jpg": [1, 2]}


def test_ids_of_both_types_in_one_list(make_coco):
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": "3", "file_name": "b.jpg"}]
    dataset = open_dataset(make_coco([note(1, image="7"), note(2, image=3)], images=images))
    assert [len(dataset[i][1]["labels"]) for i in range(2)] == [1, 1]


def test_ids_that_could_be_one_are_refused(make_coco):
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": "7", "file_name": "b.jpg"}]
    with pytest.raises(DatasetError, match="two of the 'images' have the id 7 and '7', one of them as text"):
        open_dataset(make_coco([], images=images))


def test_a_file_of_strays_is_refused_and_some_are_told(make_coco):
    with pytest.raises(DatasetError, match="no annotation belongs to any of the images: image_id 'x7'"):
        open_dataset(make_coco([note(1, image="x7"), note(2, image="x3")]))
    with pytest.raises(DatasetError, match="no annotation belongs to any of the categories: category_id 1 .* 90, 4"):
        open_dataset(make_coco([note(1, category=1)]))
    with pytest.warns(DataWarning, match="1 annotations belong to images that the file does not list"):
        dataset = open_dataset(make_coco([note(1, image="x7"), note(2)]))
    assert [len(dataset[i][1]["labels"]) for i in range(2)] == [0, 1]
    strays = "1 annotations belong to images that the file does not list"
    assert dataset.take_notes() == [(str(dataset.annotations), strays)]


# ---------------------------------------------------------------------------------------------- odd, but understandable


def test_a_byte_order_mark(make_coco):
    root = make_coco([note(1)])
    path = root / "annotations" / "instances_train.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(open_dataset(root)[1][1]["labels"]) == 1


@pytest.mark.parametrize(
    "form",
    [
        [10, 5, 30, 5, 30, 25, 10, 25],
        [[10, 5], [30, 5], [30, 25], [10, 25]],
        [[[10, 5], [30, 5], [30, 25], [10, 25]]],
        [[{"x": 10, "y": 5}, {"x": 30, "y": 5}, {"x": 30, "y": 25}, {"x": 10, "y": 25}]],
        [[10, 5, 30, 5, 30, 25, 10, 25], [1, 2]],
        [None, [10, 5, 30, 5, 30, 25, 10, 25], {}],
        [[10, 5, 30, 5, 30, 25, 10, 25], [1, 2, 3]],
        [[1], [10, 5, 30, 5, 30, 25, 10, 25], [1, 2, 3, 4, 5, 6, 7]],
    ],
    ids=[
        "flat",
        "points",
        "nested points",
        "named points",
        "a part of one point",
        "null",
        "half a point",
        "two halves",
    ],
)
def test_polygons_in_other_forms(make_coco, form):
    target = open_dataset(make_coco([note(1, segmentation=form)]))[1][1]
    assert np.array_equal(target["masks"][0].numpy(), rectangle(10, 5, 30, 25))


@pytest.mark.parametrize("size", [["40", "60"], [40.0, 60.0], ["40.0", 60]])
@pytest.mark.parametrize("kind", ["list", "floats", "string"])
def test_sizes_of_run_lengths_in_other_forms(make_coco, size, kind):
    mask = rectangle(3, 8, 11, 30)
    flat = mask.T.ravel()
    counts = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size])
    packed = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode()
    form = {"list": counts.tolist(), "floats": counts.astype(float).tolist(), "string": packed}[kind]
    dataset = open_dataset(make_coco([note(1, segmentation={"size": size, "counts": form}), note(2, image=3)]))
    assert np.array_equal(dataset[1][1]["masks"][0].numpy(), mask)
    assert not dataset.notes


ODD_MASKS = [
    ("abc", "segmentation must be polygons or run lengths, got str"),
    (7, "got int"),
    ([[1, 2, 3, float("inf"), 5, 6]], "finite"),
    ([["a", "b", "c", "d", "e", "f"]], "could not convert"),
    ([[1e300, 2, 3, 4, 5, 6]], "a polygon reaches 1e"),
    ({"size": [60, 40], "counts": [2400]}, "do not fit the image"),
    ({"size": [40, 60], "counts": [24]}, "sum to 24"),
    ({"size": [40, 60], "counts": "~~"}, "broken"),
    ({"size": "x", "counts": [24]}, "do not fit"),
]


@pytest.mark.parametrize(("odd", "why"), ODD_MASKS, ids=[str(odd)[:30] for odd, _ in ODD_MASKS])
@pytest.mark.parametrize("sized", [True, False])
def test_an_instance_with_a_mask_that_makes_no_sense_is_kept_by_its_box(make_coco, odd, why, sized):
    size = {"width": 60, "height": 40} if sized else {}
    images = [{"id": 7, "file_name": "a.jpg", **size}, {"id": 3, "file_name": "b.jpg", **size}]
    annotations = [note(1, segmentation=POLYGON), note(8, segmentation=odd), note(9, image=3, segmentation=POLYGON)]
    dataset = open_dataset(make_coco(annotations, images=images), details=True)
    with pytest.warns(DataWarning, match=rf"annotation 8 of a\.jpg: its segmentation is left out: .*{why}"):
        image, target = dataset[1]
    assert target["boxes"].tolist() == [[4, 5, 24, 21]] * 2
    assert target["has_mask"].tolist() == [True, False]
    assert target["area"].tolist() == [400.0, 320.0]
    assert "segmentation" in target["details"][0][STATED]
    assert "segmentation" not in target["details"][1][STATED]
    other_image, other = dataset[0]
    assert other["masks"].any()
    if sized:  # told by the file alone, so for every sample
        assert other["has_mask"].tolist() == [True]
    mixed = cd.CutMix(p=0.0)([image, other_image], [target, other])[1]
    assert [len(each["labels"]) for each in mixed] == [2, 1]


@pytest.mark.parametrize(
    "form", [[12, 8, 2, 20, 15, 1, 0, 0, 0], [[12, 8, 2], [20, 15, 1], [0, 0, 0]]], ids=["flat", "triples"]
)
def test_keypoints_in_two_forms(make_coco, form):
    target = open_dataset(make_coco([note(1, keypoints=form)]))[1][1]
    assert target["keypoints"].tolist() == [[[12, 8, 2], [20, 15, 1], [0, 0, 0]]]


@pytest.mark.parametrize(
    "odd", [[1, 2, 2, None, None, 0], [1, 2], [[1, 2], [3, 4, 2]], "xyz", [1, 2, float("inf")], 5], ids=str
)
def test_an_instance_with_keypoints_that_make_no_sense_is_kept_without(make_coco, odd):
    annotations = [note(1, keypoints=POINTS, num_keypoints=2), note(8, keypoints=odd, num_keypoints=1)]
    dataset = open_dataset(make_coco(annotations), details=True)
    with pytest.warns(DataWarning, match=r"annotation 8 of a\.jpg: its keypoints are left out"):
        target = dataset[1][1]
    assert target["boxes"].tolist() == [[4, 5, 24, 21]] * 2
    assert target["keypoints"][0].tolist() == [[12, 8, 2], [20, 15, 1], [0, 0, 0]]
    assert not target["keypoints"][1].any()
    assert set(target["details"][0][STATED]) == {"bbox", "keypoints", "num_keypoints"}
    assert set(target["details"][1][STATED]) == {"bbox"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"area": float("inf")}, "its area is measured: .* is not finite"),
        ({"area": "big"}, "its area is measured: must be a number, got 'big'"),
        ({"iscrowd": "no"}, "its iscrowd is taken for 0: invalid literal"),
        ({"iscrowd": 2**40}, "its iscrowd is taken for 0: must be 0 or 1"),
        ({"bbox": [1, 2, 3]}, "its bbox is measured round its segmentation: bbox must be"),
        ({"bbox": [1, float("nan"), 3, 4]}, "its bbox is measured round its segmentation: nan"),
    ],
)
def test_an_instance_with_something_odd_about_it_is_kept(make_coco, change, told):
    dataset = open_dataset(make_coco([{**note(8, segmentation=POLYGON, iscrowd=0), **change}]))
    with pytest.warns(DataWarning, match=rf"annotation 8 of a\.jpg: {told}"):
        target = dataset[1][1]
    box = [10, 5, 30, 25] if "bbox" in change else [4, 5, 24, 21]
    assert (target["boxes"].tolist(), target["area"].tolist(), target["iscrowd"].tolist()) == ([box], [400.0], [0])


def test_a_width_that_is_no_number_is_not_stated(make_coco):
    images = [{"id": 7, "file_name": "a.jpg", "width": float("nan"), "height": 40}]
    assert len(open_dataset(make_coco([note(1)], images=images))[0][1]["labels"]) == 1


def test_a_list_of_run_lengths(make_coco):
    codes = [mask_utils.encode(np.asfortranarray(rectangle(x, 5, x + 4, 9), dtype=np.uint8)) for x in (2, 30)]
    form = [{"size": [40, 60], "counts": code["counts"].decode()} for code in codes]
    target = open_dataset(make_coco([note(1, segmentation=form)]))[1][1]
    assert np.array_equal(target["masks"][0].numpy(), rectangle(2, 5, 6, 9) | rectangle(30, 5, 34, 9))


def test_a_missing_box_is_the_one_round_the_segmentation(make_coco):
    lengths = mask_utils.encode(np.asfortranarray(rectangle(3, 8, 11, 30), dtype=np.uint8))
    rle = {"size": [40, 60], "counts": lengths["counts"].decode()}
    annotations = [note(1, segmentation=[[10.5, 5.25, 30, 5.25, 30, 25.75]]), note(2, segmentation=rle), note(3)]
    del annotations[0]["bbox"]
    annotations[1]["bbox"] = None
    target = open_dataset(make_coco(annotations))[1][1]
    assert target["boxes"].tolist() == [[10.5, 5.25, 30, 25.75], [3, 8, 11, 30], [4, 5, 24, 21]]


@pytest.mark.parametrize("area", [float("nan"), None])
def test_an_area_that_is_no_number_is_measured(make_coco, area):
    assert open_dataset(make_coco([note(1, area=area)]))[1][1]["area"].tolist() == [320.0]


def test_repeated_categories_and_sizes_as_text(make_coco):
    categories = [{"id": 90, "name": "zebra"}, {"id": 4, "name": "ant"}, {"id": 90, "name": "zebra"}]
    images = [{"id": 7, "file_name": "a.jpg", "width": "60", "height": "40.0"}]
    dataset = open_dataset(make_coco([note(1)], categories=categories, images=images))
    assert dataset.classes == ("background", "ant", "zebra")
    assert dataset[0][0].shape == (3, 40, 60)
    with pytest.raises(DatasetError, match="'categories' have the id 4: 'ant' and 'bee'"):
        open_dataset(make_coco([], categories=[{"id": 4, "name": "ant"}, {"id": 4, "name": "bee"}]))
    odd = open_dataset(make_coco([], images=[{"id": 7, "file_name": "a.jpg", "width": "wide", "height": 40}]))
    with pytest.raises(SampleError, match="the width of 'a.jpg' must be a number, got 'wide'"):
        odd[0]


def test_annotations_need_no_ids_of_their_own(make_coco):
    annotations = [note(1), note(2)]
    for each in annotations:
        del each["id"]
    assert len(open_dataset(make_coco(annotations))[1][1]["labels"]) == 2


def test_a_file_without_categories_calls_them_by_their_ids(make_coco):
    root = make_coco([note(1), note(2, category=4)], categories=None)
    with pytest.warns(DataWarning, match="has no 'categories'; its classes are called by their ids, 4, 90"):
        dataset = open_dataset(root)
    assert (dataset.classes, dataset[1][1]["labels"].tolist()) == (("background", "4", "90"), [2, 1])


@pytest.mark.parametrize(
    "name",
    [
        "images/v1/patch8/a.jpg",
        "C:\\data\\set\\a.jpg",
        "/home/somebody/a.jpg",
        "https://host/bucket/a.jpg?token=1",
        "./a.jpg",
    ],
)
def test_names_with_folders_that_were_left_behind(make_coco, name):
    dataset = open_dataset(make_coco([note(1)], images=[{"id": 7, "file_name": name}]))
    assert dataset.image_path(0) == dataset.root / "train" / "a.jpg"
    assert len(dataset[0][1]["labels"]) == 1


def test_names_by_address_alone(make_coco):
    images = [{"id": 7, "coco_url": "http://images.cocodataset.org/train2017/a.jpg"}]
    assert open_dataset(make_coco([], images=images)).image_path(0).name == "a.jpg"


def test_boxes_in_shares_of_the_sides_are_refused(make_coco):
    """Azure ML's are."""
    shares = [note(number, bbox=[0.1, 0.2, 0.5, 1.0002]) for number in range(20)]
    told = (
        r"instances_train\.json: bbox must be .* 20 of 21 lie within the first pixel, \[0\.1, 0\.2, .*: they look like"
    )
    with pytest.raises(DatasetError, match=told):
        open_dataset(make_coco([note(99), *shares]))
    for few in ([note(1), note(2, bbox=[0.1, 0.2, 0.5, 0.5])], [note(1, bbox=[0.1, 0.2, 0.5, 0.5])]):
        assert len(open_dataset(make_coco(few))[1][1]["boxes"]) == len(few)
    none = [note(number, bbox=bbox) for number, bbox in enumerate([[0, 0, 0, 0], [0, 0, 1, 1], [1, 0, 1, 1]])]
    assert len(open_dataset(make_coco(none))[1][1]["boxes"]) == 3


def a_file_of(make_coco, boxes, images=6, stated=True, size=(40, 60), said=lambda *box: {}):
    """A file whose boxes belong to its images in turn; `said` gives what else an annotation says."""
    sizes = {"height": size[0], "width": size[1]} if stated else {}
    names = ("a.jpg", "b.jpg")
    entries = [{"id": i, "file_name": names[i % 2], **sizes} for i in range(images)]
    notes = [note(k, k % images, bbox=list(box), **said(*box)) for k, box in enumerate(boxes)]
    return make_coco(notes, images=entries)


def corners_anywhere(count=30, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.integers(0, (45, 26), (count, 2))
    return np.concatenate([low, low + rng.integers(3, 15, (count, 2))], axis=1).tolist()


@pytest.mark.parametrize("stated", [True, False])
def test_boxes_that_are_corners_are_refused(make_coco, stated):
    told = r"instances_train\.json: boxes must be \[x, y, width.* of 30 don't lie in .* they do: write \[x1"
    with pytest.raises(DatasetError, match=told):
        open_dataset(a_file_of(make_coco, corners_anywhere(), stated=stated))
    one_is_broken = [*corners_anywhere(29), [50, 30, 40, 20]]
    with pytest.raises(DatasetError, match=told):
        open_dataset(a_file_of(make_coco, one_is_broken, stated=stated))
    sides = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners_anywhere()]
    assert open_dataset(a_file_of(make_coco, sides, stated=stated))[0][1]["boxes"][0].tolist() == corners_anywhere()[0]


def test_odd_boxes_are_no_corners(make_coco):
    """Careless, few, of one image, close to the lens, or of images that were made smaller: none is refused."""
    corners = corners_anywhere(200, seed=1)
    beyond = [box for box in corners if box[0] + box[2] > 62 or box[1] + box[3] > 42]
    sides = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners]
    files = {
        "over the right edge": [[x, y, 70 - x, h] for x, y, _, h in sides],
        "few": beyond[:7],
        "as large as the picture": [[0, 0, 60, 40]] * 20,
        "a little larger than the picture": [[-1, -1, 64, 44]] * 20,
        "close to the lens": [[4, 3, 55, 36]] * 20,
        "images made smaller": [[2 * value for value in box] for box in sides],
        "without area": [[0, 0, 0, 0]] * 20,
        "no boxes": [[1, 2, "x", 4], [3], ["nan"] * 4] * 5,
    }
    for name, boxes in files.items():
        assert len(open_dataset(a_file_of(make_coco, boxes))) == 6, name
    assert len(open_dataset(a_file_of(make_coco, beyond[:20], images=2))) == 2


def outline(x0, y0, x1, y1):
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


OFFSETS = {"a little": [3, 3, 60, 40], "padded": [5, 4, 58, 40]}


@pytest.mark.parametrize("box", OFFSETS.values(), ids=OFFSETS)
@pytest.mark.parametrize("stated", [True, False])
def test_the_file_s_areas_and_masks_tell_sides_from_corners(make_coco, box, stated):
    """Boxes as large as their pictures that begin inside them fit as corners, too."""
    x, y, third, fourth = box
    sides: dict[str, dict[str, Any]] = {
        "area": {"area": third * fourth},
        "area, rounded": {"area": third * fourth + 0.4},
        "mask beyond the edge": {"area": 7, "segmentation": outline(x, y, x + third, y + fourth)},
        "mask in the picture": {"area": 7, "segmentation": outline(x, y, 60, 40)},
    }
    corners: dict[str, dict[str, Any]] = {
        "area": {"area": (third - x) * (fourth - y)},
        "odd": {"area": "many", "segmentation": 3},
        "nothing": {},
    }
    for name, more in sides.items():
        dataset = open_dataset(a_file_of(make_coco, [box] * 20, stated=stated, said=lambda *_, more=more: more))
        assert dataset[0][1]["boxes"][0].tolist() == [x, y, x + third, y + fourth], name
    if box != [3, 3, 60, 40]:  # of which both formats mean the same part of the picture
        corners["mask"] = {"segmentation": outline(*box), "area": third * fourth}
    for more in corners.values():
        with pytest.raises(DatasetError, match=r"if they are sides, state each area, width"):
            open_dataset(a_file_of(make_coco, [box] * 20, stated=stated, said=lambda *_, more=more: more))


def test_most_areas_decide(make_coco):
    def with_areas(share):
        turns = iter(range(20))
        return a_file_of(
            make_coco, [[5, 4, 58, 40]] * 20, said=lambda *_: {"area": 2320} if next(turns) < 20 * share else {}
        )

    assert len(open_dataset(with_areas(0.6))) == 6
    with pytest.raises(DatasetError, match="boxes must be"):
        open_dataset(with_areas(0.4))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_odd_costs_itself_alone(make_coco, data):
    """Two good annotations of an image stay, whatever a third one says."""
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["counts", "size", "x"]), inner),
        max_leaves=8,
    )
    fields = ["bbox", "segmentation", "area", "iscrowd", "keypoints"]
    odd = {**note(9), **data.draw(st.dictionaries(st.sampled_from(fields), junk, min_size=1))}
    good = [note(1, segmentation=POLYGON), note(2, category=4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        target = open_dataset(make_coco([*good, odd]))[1][1]
    assert target["labels"].tolist()[:2] == [2, 1]
    assert target["boxes"].tolist()[:2] == [[4, 5, 24, 21]] * 2
    assert len(target["labels"]) in ((2, 3) if "bbox" in odd else (3,))  # whose box is good is kept by it


# ------------------------------------------------------------------------------------------------------------ keypoints


POINTS = [12, 8, 2, 20, 15, 1, 0, 0, 0]


def test_keypoints_follow_their_instance_and_are_cut_with_it(make_coco):
    names = ["left_eye", "right_eye", "nose"]
    categories = [{"id": 90, "name": "zebra", "keypoints": names, "skeleton": [[1, 2]]}, {"id": 4, "name": "ant"}]
    root = make_coco([note(1, keypoints=POINTS, num_keypoints=2), note(2, category=4)], categories=categories)
    dataset = open_dataset(root)
    assert dataset.flip_pairs == ((0, 1),)
    _, target = dataset[1]
    assert target["keypoints"].tolist() == [[[12, 8, 2], [20, 15, 1], [0, 0, 0]], [[0, 0, 0]] * 3]
    other = {key: value[:0] for key, value in target.items() if isinstance(value, torch.Tensor)}
    plan = cd.MixPlan.from_rectangles(
        torch.tensor([[0, 1]]), torch.tensor([[[0, 18, 40, 60]]]), torch.tensor([[40, 60]] * 2), frame=(40, 60)
    )
    mixed = cd.functional.mix_instances([target, {"image_id": 0, **other}], plan)[0]
    assert mixed["keypoints"][0].tolist() == [[12, 8, 2], [0, 0, 0], [0, 0, 0]]  # the second lies under the partner


# ----------------------------------------------------------------------------------------------------------------- EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("states", ["stored", "turned", "nothing"])
def test_boxes_lie_on_the_pixels_they_were_drawn_on(make_coco, orientation, states):
    """A red rectangle, drawn on the picture as the annotations know it, lies in its box."""
    root = make_coco([])
    turned = orientation > 4
    drawn = Image.new("RGB", (60, 40), "white")
    ImageDraw.Draw(drawn).rectangle((10, 5, 29, 14), fill="red")
    stored_is_known = states == "stored" and turned
    oriented(drawn, 1 if stored_is_known else orientation, root / "train" / "a.jpg", tag=orientation)
    size = {} if states == "nothing" else {"width": 60, "height": 40}
    content = json.loads((root / "annotations" / "instances_train.json").read_text())
    content["images"] = [{"id": 7, "file_name": "a.jpg", **size}]
    content["annotations"] = [note(1) | {"bbox": [10, 5, 20, 10]}]
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    image, target = open_dataset(root)[0]
    assert image.shape == (3, 40, 60)
    x0, y0, x1, y1 = (int(value) for value in target["boxes"][0])
    red = (image[0] > 200) & (image[1] < 100)
    assert red[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].all()
    assert int(red.sum()) <= 22 * 12


def test_a_size_that_fits_neither_names_exif(make_coco):
    root = make_coco([], images=[{"id": 7, "file_name": "a.jpg", "width": 50, "height": 30}])
    oriented(Image.new("RGB", (60, 40)), 1, root / "train" / "a.jpg", tag=6)
    with pytest.raises(SampleError, match=r"is 60×40 \(40×60 turned by its EXIF orientation 6\), but .* says 50×30"):
        open_dataset(root)[0]


# --------------------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    ("table", "folder", "split"),
    [
        ("result.json", "images", "train"),
        ("labels.json", "data", "train"),
        ("_annotations.coco.json", ".", "train"),
        ("train.json", "train", "train"),
        ("annotations/instances_default.json", "images", "default"),
        ("annotations/person_keypoints_val2017.json", "val2017", "person_keypoints_val2017"),
        ("lvis_v1_val.json", "val2017", "lvis_v1_val"),
        ("valid/_annotations.coco.json", "valid", "valid"),
        ("train/labels.json", "train/data", "train"),
        ("my export.json", "my pictures", "my export"),
    ],
)
def test_a_json_under_any_name_beside_or_above_its_images(make_coco, tmp_path, table, folder, split):
    root = tmp_path / "set"
    made = make_coco([note(1), note(2, image=3)])
    (root / table).parent.mkdir(parents=True, exist_ok=True)
    (root / folder).mkdir(parents=True, exist_ok=True)
    (made / "annotations" / "instances_train.json").rename(root / table)
    for name in ("a.jpg", "b.jpg"):
        (made / "train" / name).rename(root / folder / name)
    shutil.rmtree(made / "annotations")
    shutil.rmtree(made / "train")
    assert find_layouts(root) == ["coco"]
    assert list_splits(root, "coco") == [split]
    dataset = open_dataset(root)
    assert (dataset.split, len(dataset)) == (split, 2)
    assert [len(dataset[i][1]["labels"]) for i in range(2)] == [1, 1]


def test_paths_count_from_the_root(make_coco, tmp_path, monkeypatch):
    root = make_coco([note(1)])
    (root / "annotations" / "instances_train.json").rename(root / "boxes.json")
    monkeypatch.chdir(tmp_path.parent)
    dataset = open_dataset(root, annotations="boxes.json", images="train")
    assert (dataset.annotations, dataset.layout) == (root / "boxes.json", "coco")
    assert len(dataset[1][1]["labels"]) == 1
