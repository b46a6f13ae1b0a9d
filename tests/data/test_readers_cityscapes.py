"""Cityscapes and the choice of a layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import Cityscapes

from cutmix_dense.data import DatasetError, SampleError, find_layouts, list_splits, open_dataset
from cutmix_dense.data.errors import DataWarning
from cutmix_dense.data.mixed_sample import open_complete
from cutmix_dense.data.writers import CityscapesWriter


def frame():
    """A road with two cars, a group of persons, and a caravan."""
    labels = np.full((30, 50), 7)
    labels[:10], labels[10:20, 5:15], labels[10:20, 20:30], labels[20:25, :4], labels[25:, 40:] = 23, 26, 26, 24, 29
    instances = labels.copy()
    instances[10:20, 5:15], instances[10:20, 20:30], instances[25:, 40:] = 26000, 26001, 29000
    return labels, instances


def test_train_ids_follow_torchvisions_table(make_cityscapes):
    table = {entry.id: entry.train_id for entry in Cityscapes.classes if entry.id >= 0}
    labels = np.arange(34).repeat(10).reshape(34, 10)
    dataset = open_dataset(make_cityscapes("a_0_0", labels))
    assert len(dataset.classes) == 19
    _, target = dataset[0]
    assert list(target) == ["image_id", "semantic"]
    expected = [table[i] for i in range(34)]
    assert target["semantic"][:, 0].tolist() == expected
    assert sorted(set(expected)) == [*range(19), 255]
    for i in range(19):
        names = [entry.name for entry in Cityscapes.classes if entry.train_id == i]
        assert dataset.classes[i] == names[0]
    raw = open_dataset(make_cityscapes("a_0_0", labels), label_ids="raw")
    assert len(raw.classes) == 34
    assert np.array_equal(raw[0][1]["semantic"].numpy(), labels)


def test_instances_groups_and_what_is_not_evaluated(make_cityscapes):
    labels, instances = frame()
    dataset = open_dataset(make_cityscapes("a_0_0", labels, instances))
    _, target = dataset[0]
    assert [dataset.classes[label] for label in target["labels"]] == ["person", "car", "car"]
    assert target["iscrowd"].tolist() == [1, 0, 0]
    assert target["boxes"].tolist() == [[0, 20, 4, 25], [5, 10, 15, 20], [20, 10, 30, 20]]
    assert target["area"].tolist() == [20, 100, 100]
    assert target["masks"].dtype == torch.bool
    assert (target["semantic"][25:, 40:] == 255).all()
    raw = open_dataset(dataset.root, label_ids="raw")
    assert raw[0][1]["labels"].tolist() == [24, 26, 26, 29]


def test_order_and_frames_without_objects(make_cityscapes):
    labels, instances = frame()
    make_cityscapes("b_0_0", labels * 0 + 7, labels * 0 + 7)
    make_cityscapes("a_0_1", labels, instances)
    root = make_cityscapes("a_0_0", labels, instances)
    (root / "leftImg8bit" / "train" / "a" / "notes.txt").write_text("not an image")
    dataset = open_dataset(root)
    assert [dataset[i][1]["image_id"] for i in range(3)] == ["a_0_0", "a_0_1", "b_0_0"]
    assert dataset[2][1]["masks"].shape == (0, 30, 50)
    assert list(dataset[2][1]) == list(dataset[0][1])


def test_missing_and_broken_files(make_cityscapes):
    labels, instances = frame()
    root = make_cityscapes("a_0_0", labels, instances)
    path = root / "gtFine" / "train" / "a" / "a_0_0_gtFine_labelIds.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(SampleError, match=r"labelIds\.png"):
        open_dataset(root)[0]
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(root, split="val")
    with pytest.raises(ValueError, match='must be "train" or "raw"'):
        open_dataset(root, label_ids="other")


def test_layouts_are_found(make_cityscapes, make_coco, make_voc, tmp_path):
    with pytest.raises(DatasetError, match="none of the known layouts"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="layout must be one of"):
        open_dataset(tmp_path, "cityscape")
    make_voc({"a": []}, base="sub")
    with pytest.raises(DatasetError, match=r"below it there are sub/ \(voc\)"):
        open_dataset(tmp_path)
    assert find_layouts(make_cityscapes("a_0_0", np.zeros((8, 8)))) == ["cityscapes"]
    root = make_coco([])
    assert find_layouts(root) == ["coco", "cityscapes"]
    with pytest.raises(DatasetError, match=r"has the layouts coco and cityscapes; say which with layout="):
        open_dataset(root)
    assert open_dataset(root, "coco").layout == "coco"
    with pytest.raises(ValueError, match="label_ids= is for the cityscapes layout"):
        open_dataset(root, "coco", label_ids="raw")
    assert list_splits(root, "coco") == list_splits(root, "cityscapes") == list_splits(root / "sub", "voc") == ["train"]


def test_a_folder_of_several_sets_is_none(tmp_path):
    """Each folder is what one split of its layout looks like, so the one above them could be a set of two layouts."""
    for name in ("one", "two words", "both"):
        (tmp_path / "sets" / name).mkdir(parents=True)
        Image.new("RGB", (6, 4)).save(tmp_path / "sets" / name / "a.jpg")
    table = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    xml = "<annotation><filename>a.jpg</filename><size><width>6</width><height>4</height></size></annotation>"
    for name in ("one", "both"):
        (tmp_path / "sets" / name / "_annotations.coco.json").write_text(json.dumps(table))
    for name in ("two words", "both"):
        (tmp_path / "sets" / name / "a.xml").write_text(xml)
    assert find_layouts(tmp_path / "sets") == ["coco", "voc"]
    with pytest.raises(DatasetError, match=r"holds several data sets, one/ \(coco\), two words/ \(voc\): name one of"):
        open_dataset(tmp_path / "sets")
    assert open_dataset(tmp_path / "sets" / "one").layout == "coco"
    assert open_dataset(tmp_path / "sets" / "two words").layout == "voc"
    with pytest.raises(DatasetError, match="both: has the layouts coco and voc; say which with layout="):
        open_dataset(tmp_path / "sets" / "both")
    (tmp_path / "apart").mkdir()
    (tmp_path / "sets" / "both").rename(tmp_path / "apart" / "both")  # one split in two layouts: a set
    with pytest.raises(DatasetError, match="apart: has the layouts coco and voc; say which with layout="):
        open_dataset(tmp_path / "apart")


def rename_to(root: Path, old: str, new: str) -> None:
    """Change a part of the names of all files."""
    for path in sorted(root.rglob(f"*{old}*")):
        path.rename(path.with_name(path.name.replace(old, new)))


def copy_of(root: Path, copy: Path, **options) -> None:
    """A copy of the split "train" in which nothing is mixed."""
    dataset = open_complete(root, "cityscapes", "train", **options)
    writer = CityscapesWriter.like(dataset, copy, "train")
    for index in range(len(dataset)):
        writer.add(writer.stem_of(dataset.image_path(index)), *dataset[index], dataset.picture(index))
    writer.finish()


def stored(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_labels_from_instance_ids_alone(make_cityscapes):
    labels, instances = frame()
    root = make_cityscapes("a_0_0", labels, instances)
    whole = open_dataset(root, label_ids="raw")[0][1]
    (root / "gtFine" / "train" / "a" / "a_0_0_gtFine_labelIds.png").unlink()
    alone = open_dataset(root, label_ids="raw")[0][1]
    assert np.array_equal(alone["semantic"].numpy(), labels)
    for key in ("boxes", "labels", "masks", "iscrowd", "area"):
        assert torch.equal(alone[key], whole[key]), key
    train = open_dataset(root)[0][1]["semantic"]
    assert train[:10].eq(10).all()  # sky
    assert train[10:20, 5:15].eq(13).all()  # car
    assert train[25:, 40:].eq(255).all()  # caravan


def test_instance_ids_of_eight_bits(make_cityscapes):
    """No instance has a number: all are groups."""
    labels, _ = frame()
    root = make_cityscapes("a_0_0", labels, labels)
    folder = root / "gtFine" / "train" / "a"
    Image.fromarray(labels.astype(np.uint8)).save(folder / "a_0_0_gtFine_instanceIds.png")
    (folder / "a_0_0_gtFine_labelIds.png").unlink()
    _, target = open_dataset(root)[0]
    assert target["iscrowd"].tolist() == [1, 1]
    assert target["labels"].tolist() == [11, 13]


def test_train_ids_alone(make_cityscapes):
    train = np.full((30, 50), 0)
    train[:10], train[10:20], train[20:25] = 10, 13, 255
    root = make_cityscapes("a_0_0", train)
    rename_to(root, "labelIds", "labelTrainIds")
    dataset = open_dataset(root)
    assert np.array_equal(dataset[0][1]["semantic"].numpy(), train)
    raw = open_dataset(root, label_ids="raw")[0][1]["semantic"]
    assert [int(raw[row, 0]) for row in (0, 10, 20, 29)] == [23, 26, 0, 7]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("labelIds", 34, r"holds the value 34 \(row 2, column 3\); the ids of Cityscapes are 0 … 33"),
        ("labelIds", 77, "holds the value 77"),
        ("labelIds", 255, "holds the value 255"),
        ("labelIds", 300, "holds the value 300"),
        ("labelTrainIds", 19, r"holds the value 19 \(row 2, column 3\); train ids are 0 … 18 and 255"),
        ("instanceIds", 77, "holds the value 77"),
        ("instanceIds", 34001, r"holds the value 34001 .*1000 · id \+ number"),
    ],
)
def test_ids_that_are_not_cityscapes_are_never_another_class(make_cityscapes, kind, value, told):
    root = make_cityscapes("a_0_0", np.full((8, 12), 7))
    folder = root / "gtFine" / "train" / "a"
    (folder / "a_0_0_gtFine_labelIds.png").unlink()
    values = np.full((8, 12), 7, dtype=np.uint16 if value > 255 else np.uint8)
    values[2, 3] = value
    Image.fromarray(values).save(folder / f"a_0_0_gtFine_{kind}.png")
    for label_ids in ("train", "raw"):
        with pytest.raises(SampleError, match=rf"a_0_0_gtFine_{kind}\.png: {told}"):
            open_dataset(root, label_ids=label_ids)[0]


def test_pictures_of_other_formats_and_maps_of_other_sizes(make_cityscapes):
    labels, instances = frame()
    root = make_cityscapes("a_0_0", labels, instances)
    path = root / "leftImg8bit" / "train" / "a" / "a_0_0_leftImg8bit.png"
    Image.open(path).save(path.with_suffix(".JPG"), "JPEG")
    path.unlink()
    dataset = open_dataset(root)
    assert dataset.image_path(0).suffix == ".JPG"
    assert dataset[0][1]["image_id"] == "a_0_0"
    other = root / "gtFine" / "train" / "a" / "a_0_0_gtFine_instanceIds.png"
    Image.fromarray(instances[:-1].astype(np.uint16)).save(other)
    with pytest.raises(SampleError, match=r"instanceIds\.png: the map is 50×29, its image is 50×30"):
        dataset[0]


def test_a_picture_is_turned_if_its_maps_are(make_cityscapes):
    labels = np.full((30, 50), 7)
    labels[:, :5] = 23
    root = make_cityscapes("a_0_0", labels)
    path = root / "leftImg8bit" / "train" / "a" / "a_0_0_leftImg8bit.png"
    pixels = np.zeros((50, 30, 3), dtype=np.uint8)
    pixels[-5:] = 255  # below, as stored; on the left once it is turned to the right
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    image, target = open_dataset(root)[0]
    assert np.array_equal(image[0].numpy() == 255, target["semantic"].numpy() == 10)


def test_maps_with_an_orientation_of_their_own_are_turned(make_cityscapes):
    labels, instances = frame()
    root = make_cityscapes("a_0_0", labels, instances)
    exif = Image.Exif()
    exif[274] = 3
    for folder in ("leftImg8bit", "gtFine"):
        for path in (root / folder).rglob("*.png"):
            Image.open(path).copy().save(path, exif=exif)
    dataset = open_dataset(root, label_ids="raw")
    _, target = dataset[0]
    assert np.array_equal(target["semantic"], labels[::-1, ::-1])
    assert target["boxes"].tolist() == [[46, 5, 50, 10], [35, 10, 45, 20], [20, 10, 30, 20], [0, 0, 10, 5]]
    assert not dataset.notes
    (path,) = root.rglob("*_leftImg8bit.png")
    Image.open(path).copy().save(path)
    dataset = open_dataset(root)
    with pytest.warns(DataWarning, match="has no EXIF orientation, its map a_0_0_gtFine_labelIds.png is turned by 3"):
        dataset[0]


def test_coarse_maps_and_images_without_a_city(make_cityscapes):
    root = make_cityscapes("a_0_0", np.full((8, 12), 7))
    rename_to(root / "gtFine", "gtFine_", "gtCoarse_")
    (root / "gtFine").rename(root / "gtCoarse")
    assert (open_dataset(root)[0][1]["semantic"] == 0).all()  # road
    for folder, name in (("leftImg8bit", "a_0_0_leftImg8bit.png"), ("gtCoarse", "a_0_0_gtCoarse_labelIds.png")):
        (root / folder / "train" / "a" / name).rename(root / folder / "train" / name)
    dataset = open_dataset(root)
    assert (len(dataset), dataset.picture(0).name) == (1, "a_0_0_leftImg8bit.png")
    assert (dataset[0][1]["semantic"] == 0).all()


def test_an_image_without_maps_costs_its_sample_alone(make_cityscapes):
    make_cityscapes("a_0_0", np.zeros((8, 12)))
    root = make_cityscapes("b_0_0", np.zeros((8, 12)))  # of zeros, as the maps of the test split are
    (root / "gtFine" / "train" / "a" / "a_0_0_gtFine_labelIds.png").unlink()
    dataset = open_dataset(root)
    with pytest.raises(SampleError, match=r"gtFine/train/a/a_0_0_gtFine_labelIds\.png: file not found"):
        dataset[0]
    assert dataset[1][1]["semantic"].eq(255).all()


@pytest.mark.parametrize("kinds", [("labelIds", "instanceIds"), ("labelTrainIds",), ("instanceIds",), ("labelIds",)])
@pytest.mark.parametrize("suffix", [".png", ".jpeg"])
def test_a_copy_has_the_same_maps(make_cityscapes, tmp_path, kinds, suffix):
    """Numbers of instances are kept though they aren't the first ones, and so are the city's folder and the endings."""
    labels, instances = frame()
    instances[10:20, 20:30] = 26007
    root = make_cityscapes("x_0_0", labels, instances)
    for folder in ("leftImg8bit", "gtFine"):
        (root / folder / "train" / "x").rename(root / folder / "train" / "another city")
    maps = root / "gtFine" / "train" / "another city"
    Image.fromarray(np.where(labels == 23, 10, np.where(labels == 7, 0, 255)).astype(np.uint8)).save(
        maps / "x_0_0_gtFine_labelTrainIds.png"
    )
    for path in list(maps.iterdir()):
        if not path.stem.endswith(kinds):
            path.unlink()
    path = root / "leftImg8bit" / "train" / "another city" / "x_0_0_leftImg8bit.png"
    Image.open(path).save(path.with_suffix(suffix), "JPEG" if suffix == ".jpeg" else "PNG")
    if suffix != ".png":
        path.unlink()
    copy_of(root, tmp_path / "copy")
    written = sorted(path.relative_to(tmp_path / "copy") for path in (tmp_path / "copy").rglob("*") if path.is_file())
    names = [f"x_0_0_gtFine_{kind}.png" for kind in kinds]
    others = ["x_0_0_gtFine_polygons.json", f"x_0_0_leftImg8bit{suffix}"]
    assert sorted(path.name for path in written) == sorted([*names, *others])
    for name in names:
        copied = stored(tmp_path / "copy" / "gtFine" / "train" / "another city" / name)
        assert np.array_equal(copied, stored(maps / name)), name


def test_polygons_that_are_not_kept_are_said(make_cityscapes, tmp_path):
    root = make_cityscapes("a_0_0", *frame())
    (root / "gtFine" / "train" / "a" / "a_0_0_gtFine_polygons.json").write_text("{}")
    dataset = open_dataset(root)
    writer = CityscapesWriter.like(dataset, tmp_path / "copy", "train")
    assert writer.add("a_0_0", *dataset[0], dataset.picture(0)) == {"lists of polygons, written empty": 1}


def test_other_layouts_become_cityscapes_by_the_names_of_their_classes(tmp_path):
    for folder, content in (("images", np.zeros((6, 9, 3), np.uint8)), ("masks", np.arange(54).reshape(6, 9) % 3)):
        (tmp_path / folder).mkdir()
        Image.fromarray(content.astype(np.uint8)).save(tmp_path / folder / "a_1.png")
    for names, told in (("background\ncar\nsky\n", None), ("background\ncar\nkangaroo\n", "kangaroo isn't among them")):
        (tmp_path / "classes.txt").write_text(names)
        dataset = open_dataset(tmp_path, "image_masks")
        if told is not None:
            with pytest.raises(ValueError, match=told):
                CityscapesWriter.like(dataset, tmp_path / "other", "train")
            continue
        writer = CityscapesWriter.like(dataset, tmp_path / "copy", "train")
        writer.add("a_1", *dataset[0], dataset.picture(0))
        writer.finish()
    got = stored(tmp_path / "copy" / "gtFine" / "train" / "a" / "a_1_gtFine_labelIds.png")
    assert got[0].tolist() == [0, 26, 23] * 3


def test_ids_beyond_cityscapes_are_not_written(tmp_path):
    writer = CityscapesWriter(tmp_path, label_ids="raw")
    semantic = np.zeros((6, 9), dtype=np.uint8)
    semantic[1, 1] = 34
    with pytest.raises(ValueError, match="holds the id 34, Cityscapes' go up to 33"):
        writer.add("a_1", np.zeros((6, 9, 3), dtype=np.uint8), {"semantic": semantic})
