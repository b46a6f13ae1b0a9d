"""Pictures that a table names: which folder is a split's, and which file a name means."""

from __future__ import annotations

import json

import pytest

from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.readers.picture_files import NamedFiles, find_images, located

from .conftest import save_image


def make(root, table, names, folder=None, **fields):
    """A COCO table of empty pictures; the pictures lie in `folder` if one is given."""
    path = root / table
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": number, "file_name": name, **fields} for number, name in enumerate(names)]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "ant"}]}))
    for name in names if folder is not None else ():
        save_image(root / folder / name)
    return root


# ------------------------------------------------------------------------------------------- the folder of a split


@pytest.mark.parametrize(
    ("table", "folder"),
    [
        ("annotations/instances_{}.json", "images_{}"),
        ("annotations/{}.json", "{}_images"),
        ("annotations/{}.json", "images/{}_images"),
        ("coco_{}.json", "{}"),
        ("{}_annotations.json", "{}"),
        ("via_{}_coco.json", "{}2017"),
    ],
)
@pytest.mark.parametrize("name", ["val", "valid"])
def test_splits_whose_pictures_are_called_alike_have_folders_of_their_own(tmp_path, table, folder, name):
    for split in ("train", name):
        make(tmp_path, table.format(split), ["1.png"], folder.format(split))
    found = {path.name: find_images(tmp_path, path.stem, path, ["1.png"]) for path in tmp_path.rglob("*.json")}
    assert found == {table.format(s).rpartition("/")[2]: tmp_path / folder.format(s) for s in ("train", name)}


@pytest.mark.parametrize("other", ["images", "masks_val", "val_masks"])
def test_a_folder_called_like_the_split_goes_before_others(tmp_path, other):
    """Those of train, or masks."""
    save_image(tmp_path / other / "1.png")
    assert find_images(
        make(tmp_path, "val.json", ["1.png"], "images_val"), "val", tmp_path / "val.json", ["1.png"]
    ) == (tmp_path / "images_val")
    save_image(tmp_path / "images" / "1.png")
    (tmp_path / "images_val" / "1.png").unlink()
    assert find_images(tmp_path, "val", tmp_path / "val.json", ["1.png"]) == tmp_path / "images"


def test_a_folder_that_is_as_likely_as_another_must_be_named(tmp_path):
    for folder in ("day", "night"):
        make(tmp_path, "boxes.json", ["1.png"], folder)
    with pytest.raises(DatasetError, match=r"images of boxes\.json lie in day/ and night/; name .* with images="):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, images="night").image_path(0) == tmp_path / "night" / "1.png"


def test_the_folder_of_another_split_must_be_named(tmp_path):
    make(tmp_path, "coco_train.json", ["1.png"], "train")
    make(tmp_path, "coco_val.json", ["1.png"])
    with pytest.raises(DatasetError, match=r"images of coco_val\.json lie in no folder but train/.* images=train"):
        open_dataset(tmp_path, split="coco_val")
    assert open_dataset(tmp_path, split="coco_val", images="train").image_path(0).is_file()
    (tmp_path / "coco_train.json").unlink()  # nothing else claims them
    assert open_dataset(tmp_path, split="coco_val").image_path(0).is_file()


def test_one_picture_says_little_of_a_folder(tmp_path):
    """The first is missing in its folder; a cover in the root is called like the second."""
    make(tmp_path, "val.json", ["1.png", "2.png", "3.png", "4.png"], "images_val")
    (tmp_path / "images_val" / "1.png").unlink()
    save_image(tmp_path / "2.png")
    assert open_dataset(tmp_path).image_path(2) == tmp_path / "images_val" / "3.png"


def test_pictures_of_one_table_in_several_folders(tmp_path):
    """LVIS' val, which names its pictures by their address."""
    make(tmp_path, "annotations/lvis_v1_val.json", ["val2017/1.jpg", "train2017/2.jpg"], ".")
    path = tmp_path / "annotations" / "lvis_v1_val.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/{image.pop('file_name')}"
    path.write_text(json.dumps(content))
    dataset = open_dataset(tmp_path)
    assert [dataset.picture(index).name for index in range(2)] == ["val2017/1.jpg", "train2017/2.jpg"]
    assert all(dataset.image_path(index).is_file() for index in range(2))


# ------------------------------------------------------------------------------------------------ the file of a name


@pytest.mark.parametrize("twin", ["cam1/2.png", "cam1/1.png"])
@pytest.mark.parametrize("before", ["", "/home/somebody/set/"])
def test_a_picture_that_is_missing_is_not_another_of_its_name(tmp_path, twin, before):
    for name in (twin, "1.png"):
        save_image(tmp_path / "train" / name)
    make(tmp_path, "annotations/instances_train.json", [before + twin, before + "cam2/1.png"])
    dataset = open_dataset(tmp_path)
    assert dataset.image_path(0) == tmp_path / "train" / twin
    with pytest.raises(SampleError, match=r"leads out of" if before else r"cam2/1\.png: file not found"):
        dataset[1]


@pytest.mark.parametrize("there", [True, False])
def test_why_a_picture_is_not_taken_is_true(tmp_path, there):
    for file in ("sub/c.png", "e.png")[: 1 + there]:
        save_image(tmp_path / file)
    files = NamedFiles(tmp_path, ["/home/u/set/e.png", "sub/c.png"], tmp_path / "table.json")
    reason = r"the 'e.png' there isn't taken for it, as 'sub/c.png' is there with" if there else "which has no 'e.png'"
    with pytest.raises(SampleError, match=f"{reason}.*; correct the name, or give its folder with images="):
        files.path(0)


def test_two_names_never_mean_one_file(tmp_path):
    names = ["cam1/1.png", "cam2/1.png", "cam2/2.png", "/a/cam3/2.png", "cam4/3.png"]
    for name in ("1.png", "2.png", "3.png"):
        save_image(tmp_path / name)
    files = NamedFiles(tmp_path, names, tmp_path / "table.json")
    with pytest.raises(SampleError, match=r"'cam1/1\.png' and 'cam2/1\.png' would both be 1\.png in .* images="):
        files.path(0)
    for number in (1, 2, 3):
        with pytest.raises(SampleError, match="would both be"):
            files.path(number)
    assert files.path(4) == tmp_path / "3.png"
    files = NamedFiles(tmp_path, ["x/cam1/1.png", "y/1.png", "1.png"], tmp_path / "table.json")
    assert files.path(2) == tmp_path / "1.png"  # as it is written
    repeated = NamedFiles(tmp_path, ["x/1.png", "x/1.png"], tmp_path / "table.json")
    assert repeated.path(1) == tmp_path / "1.png"


def test_pictures_of_several_machines(tmp_path):
    names = ["/home/bob/set/1.png", "C:\\data\\2.png", "3.png"]
    for name in ("1.png", "2.png", "3.png"):
        save_image(tmp_path / name)
    files = NamedFiles(tmp_path, names, tmp_path / "table.json")
    assert [files.path(number).name for number in range(3)] == ["1.png", "2.png", "3.png"]


@pytest.mark.parametrize(
    "name",
    [
        "../../label-studio/data/media/upload/1/a.png",
        "/data/local-files/?d=images/a.png",
        "/data/local-files/?d=disk%2Fimages%2Fa.png&x=1",
        "../images/a.png",
        "https://host/images/a.png?d=b.png",
        "images/../images/a.png",
    ],
)
def test_names_that_lead_out_of_the_folder_mean_the_file_in_it(tmp_path, name):
    """Label Studio's are of its server."""
    save_image(tmp_path / "images" / "a.png")
    assert located(tmp_path / "images", name) == tmp_path / "images" / "a.png"


def test_a_folder_before_the_last_dots_stays(tmp_path):
    save_image(tmp_path / "x" / "a.png")
    save_image(tmp_path / "a.png")
    assert located(tmp_path, "x/y/../a.png") == tmp_path / "x" / "a.png"
    (tmp_path / "set").mkdir()
    with pytest.raises(
        ValueError, match=r"'\.\./a\.png' leads out of the folder .*set, which has no 'a\.png'; .* images="
    ):
        located(tmp_path / "set", "../a.png")


def test_panoptic_pictures_have_the_same_names(tmp_path):
    save_image(tmp_path / "train" / "a.jpg")
    path = make(tmp_path, "annotations/panoptic_train.json", ["images/v1/a.jpg"]) / "annotations"
    content = json.loads((path / "panoptic_train.json").read_text())
    content["categories"][0]["isthing"] = 1
    (path / "panoptic_train.json").write_text(json.dumps(content))
    (path / "panoptic_train").mkdir()
    assert open_dataset(tmp_path).image_path(0) == tmp_path / "train" / "a.jpg"


def test_the_only_split_stays_it_where_its_pictures_are_named(tmp_path):
    make(tmp_path, "boxes_2024.json", ["1.png"], "photos/deep")
    save_image(tmp_path / "cover.png")
    dataset = open_dataset(tmp_path, images="photos/deep")
    assert (dataset.split, dataset.image_path(0).is_file()) == ("boxes_2024", True)
