"""Folders of images beside folders of masks: which belong together, and what the values of masks mean."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutmix_dense.data import DatasetError, SampleError, find_layouts, list_splits, open_dataset
from cutmix_dense.data.colors import read_color_classes, read_color_table, read_labelmap
from cutmix_dense.data.errors import DataWarning
from cutmix_dense.data.maps import read_indices

from .mask_files import GREEN, RED, SIZE, TABLES, colored, ids, picture, put


def one_each(root: Path, mask: np.ndarray, **options) -> Path:
    picture(root / "images" / "a.jpg")
    put(root / "masks" / "a.png", mask, **options)
    return root


# ---------------------------------------------------------------------------------------------------- folders and names


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        # (picture, mask) of each split
        ({"all": ("images/a.jpg", "masks/a.png")}, ["all"]),
        ({"all": ("img/a.jpg", "mask/a.png")}, ["all"]),
        ({"all": ("imgs/a_img.jpg", "gts/a_gt.png")}, ["all"]),
        ({"all": ("Images/x/a.JPG", "Masks/x/a.PNG")}, ["all"]),
        ({"all": ("JPEGImages/a.jpg", "SegmentationClass/a.png")}, ["all"]),
        ({"all": ("image/a.tif", "label/a.tif")}, ["all"]),
        ({"all": ("images/a.png", "labels/a_P.png")}, ["all"]),
        ({"all": ("images/image_01.png", "masks/gt_01.png")}, ["all"]),
        ({"all": ("images/a.png", "masks/a_labelIds.png")}, ["all"]),
        ({"all": ("a.jpg", "a_mask.png")}, ["all"]),
        ({"all": ("a_img.jpg", "a_gt.png")}, ["all"]),
        (
            {
                "training": ("images/training/a.jpg", "annotations/training/a.png"),
                "validation": ("images/validation/b.jpg", "annotations/validation/b.png"),
            },
            ["training", "validation"],
        ),
        ({"train": ("img_dir/train/a.jpg", "ann_dir/train/a.png")}, ["train"]),
        (
            {"train": ("train/images/a.jpg", "train/masks/a.png"), "val": ("val/images/a.jpg", "val/masks/a.png")},
            ["train", "val"],
        ),
        ({"train": ("train/a.png", "trainannot/a.png"), "test": ("test/b.png", "testannot/b.png")}, ["test", "train"]),
        ({"train": ("train/a.png", "train_labels/a_L.png")}, ["train"]),
        ({"train": ("train_images/a.png", "train_masks/a.png")}, ["train"]),
        ({"Train": ("Train/Rural/images_png/0.png", "Train/Rural/masks_png/0.png")}, ["Train"]),
        ({"training": ("training/images/a.jpg", "training/v2.0/labels/a.png")}, ["training"]),
        ({"train": ("train/7_sat.jpg", "train/7_mask.png")}, ["train"]),
    ],
)
def test_folders_and_names_as_people_have_them(tmp_path, files, splits):
    for number, (image, mask) in enumerate(files.values()):
        picture(tmp_path / image)
        put(tmp_path / mask, ids(1, 2 + number, 255))
    assert find_layouts(tmp_path) == ["image_masks"] or "SegmentationClass" in str(files)
    assert list_splits(tmp_path, "image_masks") == splits
    for number, (split, (image, mask)) in enumerate(files.items()):
        dataset = open_dataset(tmp_path, "image_masks", split)
        assert (len(dataset), dataset.image_path(0), dataset.mask_path(0)) == (1, tmp_path / image, tmp_path / mask)
        _, target = dataset[0]
        assert target["semantic"][2, :4].tolist() == [1, 2 + number, 255, 0]
        assert dict(dataset.notes) == {}


def test_names_of_samples_keep_their_folders(tmp_path):
    for folder in ("Rural", "Urban"):
        picture(tmp_path / "Train" / folder / "images_png" / "0.png")
        put(tmp_path / "Train" / folder / "masks_png" / "0.png", ids(len(folder)))
    dataset = open_dataset(tmp_path, split="Train")
    assert [dataset[i][1]["image_id"] for i in range(2)] == ["Rural/0", "Urban/0"]
    assert [dataset.picture(i).name for i in range(2)] == ["Rural/0.png", "Urban/0.png"]


def test_pictures_of_one_name_are_told_apart(tmp_path):
    one_each(tmp_path, ids(1))
    picture(tmp_path / "images" / "a.png")
    dataset = open_dataset(tmp_path)
    assert [dataset[i][1]["image_id"] for i in range(2)] == ["a.jpg", "a.png"]


def test_lists_split_what_folders_do_not(tmp_path):
    for name in ("a b 1", "c", "d"):
        picture(tmp_path / "imgs" / f"{name}_img.jpg")
        put(tmp_path / "gts" / f"{name}_gt.png", ids(1))
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_bytes("\ufeffd\r\na b 1\r\n\r\n".encode())
    (tmp_path / "splits" / "val.txt").write_text("imgs/c_img.jpg gts/c_gt.png\nnowhere\nneither\n")
    (tmp_path / "splits" / "test.txt").write_text("nowhere\n")
    assert list_splits(tmp_path, "image_masks") == ["test", "train", "val"]
    dataset = open_dataset(tmp_path, split="train")
    assert [dataset.image_path(i).name for i in range(2)] == ["d_img.jpg", "a b 1_img.jpg"]
    with pytest.warns(UserWarning, match="2 names have no picture with a mask"):
        val = open_dataset(tmp_path, split="val")
    assert [val.image_path(i).name for i in range(len(val))] == ["c_img.jpg"]
    with pytest.raises(DatasetError, match=r"test\.txt: names no picture with a mask, the first is 'nowhere'"):
        open_dataset(tmp_path, split="test")
    with pytest.raises(DatasetError, match=r"no split 'dev' .*splits found: test, train, val"):
        open_dataset(tmp_path, split="dev")


def test_what_has_no_partner_is_counted_in_one_line(tmp_path):
    root = one_each(tmp_path, ids(1))
    for name in ("x", "y", "z"):
        picture(root / "images" / f"{name}.jpg")
    put(root / "masks" / "lonely.png", ids(1))
    with pytest.warns(UserWarning, match=r"3 pictures have no mask; they are left out, the first is x\.jpg"):
        dataset = open_dataset(root)
    assert len(dataset) == 1
    told = sorted((Path(path).name, reason) for path, reason in dataset.notes)
    assert told == [
        ("images", "3 pictures have no mask; they are left out, the first is x.jpg"),
        ("masks", "1 masks have no picture; they are left out, the first is lonely.png"),
    ]


def test_names_that_never_match_and_that_match_twice(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    put(tmp_path / "masks" / "b.png", ids(1))
    with pytest.raises(
        DatasetError, match=r"none of its 1 pictures \(first: a\.jpg\) has a mask among the 1 of .*_labelids"
    ):
        open_dataset(tmp_path)
    put(tmp_path / "masks" / "a_mask.png", ids(1))
    put(tmp_path / "masks" / "a_gt.png", ids(2))
    with pytest.raises(DatasetError, match=r"a_gt\.png and a_mask\.png would all be the mask of a\.jpg"):
        open_dataset(tmp_path)
    put(tmp_path / "masks" / "a.png", ids(3))  # the same name goes before others
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert open_dataset(tmp_path)[0][1]["semantic"][0, 0] == 3


def test_folders_that_are_named(tmp_path):
    picture(tmp_path / "photos of mine" / "a.jpg")
    put(tmp_path / "truth" / "a.png", ids(4))
    with pytest.raises(DatasetError, match="none of the known layouts"):
        open_dataset(tmp_path)
    dataset = open_dataset(tmp_path, "image_masks", images="photos of mine", annotations="truth")
    assert dataset[0][1]["semantic"][0, 0] == 4
    for name in ("train", "val"):
        picture(tmp_path / "photos of mine" / name / f"{name}.jpg")
        put(tmp_path / "truth" / name / f"{name}.png", ids(5))
    dataset = open_dataset(tmp_path, "image_masks", "val", images="photos of mine", annotations="truth")
    assert [dataset.image_path(i).name for i in range(len(dataset))] == ["val.jpg"]


def test_the_newer_of_two_versions_is_taken_and_said(tmp_path):
    picture(tmp_path / "training" / "images" / "a.jpg")
    for version, value in (("v1.2", 1), ("v2.0", 2)):
        put(tmp_path / "training" / version / "labels" / "a.png", ids(value))
        names = [{"name": f"{version} {number}", "readable": "", "color": [number, 0, 9]} for number in range(3)]
        (tmp_path / f"config_{version}.json").write_text(json.dumps({"labels": names}))
    with pytest.warns(UserWarning, match=r"annotations= takes others: .*v1\.2"):
        dataset = open_dataset(tmp_path)
    assert dataset[0][1]["semantic"][0, 0] == 2
    assert dataset.classes == ("v2.0 0", "v2.0 1", "v2.0 2")
    older = open_dataset(tmp_path, "image_masks", "training", annotations="training/v1.2/labels")
    assert older[0][1]["semantic"][0, 0] == 1
    assert older.classes[1] == "v1.2 1"


def test_other_folders_are_no_masks(tmp_path, make_coco):
    picture(tmp_path / "plain" / "images" / "a.jpg")
    (tmp_path / "plain" / "labels").mkdir()
    (tmp_path / "plain" / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "plain" / "masks").mkdir()
    assert "image_masks" not in find_layouts(tmp_path / "plain")
    put(tmp_path / "masks" / "a.png", ids(1))
    assert find_layouts(make_coco([])) == ["coco"]  # a general layout only where there is no other


# ------------------------------------------------------------------------------------------------------------------ ids


def test_ids_are_never_wrapped(tmp_path):
    root = one_each(tmp_path, ids(1, 300, dtype=np.uint16))
    with pytest.raises(
        SampleError, match=r"masks/a\.png: holds the value 300 \(row 0, column 1\), and 254 is the largest id; renumber"
    ):
        open_dataset(root)[0]
    ((_, reason),) = open_dataset(root).notes
    assert reason.startswith("masks hold 300, and 254 is the largest id, so the masks with these are refused; renumber")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_dataset(root, ignore=300)
    assert open_dataset(root, ignore=300)[0][1]["semantic"][0, :3].tolist() == [1, 255, 0]


def test_ids_beyond_the_classes_are_refused_by_file_and_value(tmp_path, monkeypatch):
    monkeypatch.setattr("cutmix_dense.data.map_forms._MANY_MAPS", 1)
    root = one_each(tmp_path, ids(1, 2, 255))
    picture(root / "images" / "b.jpg")
    put(root / "masks" / "b.png", ids(1, 7))
    dataset = open_dataset(root)
    assert dataset.classes == ("0", "1", "2")
    with pytest.raises(SampleError, match=r"b\.png: holds the value 7 \(row 0, column 1\).*classes=.*ignore="):
        dataset[1]
    named = open_dataset(root, classes=[f"class {number}" for number in range(8)])
    assert named[1][1]["semantic"].max() == 7
    assert open_dataset(root, ignore=7)[1][1]["semantic"][0, :2].tolist() == [1, 255]


@pytest.mark.parametrize(
    ("name", "text", "classes"),
    [
        ("codes.txt", "sky\ncar\nbig tree\n", ("sky", "car", "big tree")),
        ("classes.txt", "\ufeff0 sky\r\n1 car\r\n2 tree\r\n11 Unlabelled(ignore)\r\n", ("sky", "car", "tree")),
        ("labels.txt", "__ignore__\n_background_\ncar\ntree\n", ("_background_", "car", "tree")),
        ("dataset_meta.json", '{"label_map": {"0": "sky", "1": "car", "2": "tree"}}', ("sky", "car", "tree")),
        ("class_id_to_name.json", '{"0": "sky", "2": "tree", "255": "void"}', ("sky", "1", "tree")),
        ("classes.json", '["sky", "car", "tree"]', ("sky", "car", "tree")),
        ("class_dict.csv", "name,r,g,b\nsky,1,2,3\ncar,4,5,6\ntree,7,8,9\n", ("sky", "car", "tree")),
        ("_classes.csv", "Pixel Value, Class\n0, sky\n1, big car\n2, tree\n", ("sky", "big car", "tree")),  # Roboflow
        ("classes.csv", "\ufeffname;id\r\ntree;2\r\n\r\nsky;0\r\ncar;1\r\n", ("sky", "car", "tree")),
        ("classes.csv", '0,sky\n2,"tree, big"\n', ("sky", "1", "tree, big")),
        ("classes.csv", "name,r,g,b\nsky,1,2,3\ncar,4,5,6\ntree,7,8,9\n", ("sky", "car", "tree")),
    ],
)
def test_names_of_ids(tmp_path, name, text, classes):
    root = one_each(tmp_path, ids(1, 2, 255))
    (root / name).write_bytes(text.encode())
    dataset = open_dataset(root)
    assert dataset.classes == classes
    assert dataset[0][1]["semantic"][0, :4].tolist() == [1, 2, 255, 0]


@pytest.mark.parametrize("text", ["id,name,area\n0,sky,1\n", "sky,blue\ncar,red\n", "0\n1\n"])
def test_a_table_of_classes_that_names_no_ids_is_refused(tmp_path, text):
    root = one_each(tmp_path, ids(1, 2, 255))
    (root / "classes.csv").write_text(text)
    with pytest.raises(DatasetError, match=r"classes\.csv: must have two columns, ids and names of classes"):
        open_dataset(root)


def test_ids_that_mean_nothing_by_their_name(tmp_path):
    root = one_each(tmp_path, ids(1, 3))
    (root / "classes.txt").write_text("a\nb\nc\nnothing (ignore)\n")
    dataset = open_dataset(root)
    assert dataset.classes == ("a", "b", "c")
    assert dataset[0][1]["semantic"][0, :3].tolist() == [1, 255, 0]


def test_zero_may_mean_no_class(tmp_path):
    dataset = open_dataset(one_each(tmp_path, ids(0, 150)), ignore=0)
    assert dataset[0][1]["semantic"][0, :3].tolist() == [255, 150, 255]
    assert len(dataset.classes) == 151


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".gif"])
def test_maps_of_other_formats(tmp_path, suffix):
    picture(tmp_path / "images" / "a.jpg")
    options = {"lossless": True, "quality": 100} if suffix == ".webp" else {}
    put(tmp_path / "masks" / f"a{suffix}", ids(1, 2, 255), **options)
    assert open_dataset(tmp_path)[0][1]["semantic"][3, :4].tolist() == [1, 2, 255, 0]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_maps(tmp_path, dtype):
    picture(tmp_path / "images" / "a.jpg")
    put(tmp_path / "masks" / "a.tif", ids(1, 2, 255, dtype=dtype))
    assert open_dataset(tmp_path)[0][1]["semantic"][3, :4].tolist() == [1, 2, 255, 0]


def test_fractions_and_what_is_stored_with_loss_are_refused(tmp_path):
    path = put(tmp_path / "a.tif", np.full(SIZE, 0.5, dtype=np.float32))
    with pytest.raises(SampleError, match="ids must be whole numbers"):
        read_indices(path, SIZE)
    for name, options in (("a.jpg", {}), ("a.webp", {"quality": 80})):
        path = put(tmp_path / name, ids(1, 2), **options)
        with pytest.raises(SampleError, match=rf"{name}: is stored with loss .* write maps as PNG"):
            read_indices(path, SIZE)
    with pytest.raises(SampleError, match="stored with loss"):
        read_color_classes(put(tmp_path / "c.jpg", colored((255, 0, 0))), SIZE, [(0, 0, 0), (255, 0, 0)])
    picture(tmp_path / "images" / "a.jpg")
    put(tmp_path / "masks" / "a.jpg", ids(1, 2))
    with pytest.raises(DatasetError, match=r"no map can be read; the first: .*a\.jpg: is stored with loss"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_that_is_stored_as_colours(tmp_path, mode):
    dataset = open_dataset(one_each(tmp_path, ids(1, 2, 255), mode=mode))
    assert dataset[0][1]["semantic"][3, :4].tolist() == [1, 2, 255, 0]
    transparent = np.array(Image.fromarray(ids(1, 2)).convert("RGBA"))
    transparent[2, 2, 3] = 0
    path = put(tmp_path / "t.png", transparent)
    with pytest.raises(SampleError, match="partly transparent"):
        read_indices(path, SIZE, equal_bands=True)
    with pytest.raises(SampleError, match="must be a palette or grey PNG"):
        read_indices(path, SIZE)


# --------------------------------------------------------------------------------------------------------------- binary


def test_zero_and_255_are_background_and_foreground_in_every_split(tmp_path):
    for split, values in (("train", (255,)), ("val", (0,))):
        picture(tmp_path / "images" / split / "a.jpg")
        put(tmp_path / "masks" / split / "a.png", ids(*values))
    for split, expected in (("train", 1), ("val", 0)):
        dataset = open_dataset(tmp_path, split=split)
        assert dataset.classes == ("background", "foreground")
        assert dataset[0][1]["semantic"].max() == expected
    forced = open_dataset(tmp_path, split="train", binary=False)
    assert forced[0][1]["semantic"][0, :2].tolist() == [255, 0]


def test_other_values_of_a_binary_dataset_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cutmix_dense.data.map_forms._MANY_MAPS", 1)
    root = one_each(tmp_path, ids(255))
    picture(root / "images" / "b.jpg")
    put(root / "masks" / "b.png", ids(255, 128))
    dataset = open_dataset(root)
    assert dataset[0][1]["semantic"][0, :2].tolist() == [1, 0]
    with pytest.raises(SampleError, match=r"b\.png: holds the value 128 \(row 0, column 1\).*binary=False"):
        dataset[1]
    assert open_dataset(root, binary=True, ignore=128)[1][1]["semantic"][0, :3].tolist() == [1, 255, 0]


def test_255_is_refused_where_nothing_tells_what_it_means(tmp_path, monkeypatch):
    monkeypatch.setattr("cutmix_dense.data.map_forms._MANY_MAPS", 1)
    root = one_each(tmp_path, ids(0))
    picture(root / "images" / "b.jpg")
    put(root / "masks" / "b.png", ids(255))
    with pytest.raises(SampleError, match=r"b\.png: holds the value 255 .* give binary=True or binary=False"):
        open_dataset(root)[1]
    assert open_dataset(root, binary=True)[1][1]["semantic"][0, :2].tolist() == [1, 0]
    assert open_dataset(root, binary=False)[1][1]["semantic"][0, :2].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("lines", "expected", "classes"),
    [
        ("building\n", 1, ("background", "building")),
        ("ground\nbuilding\n", 1, ("ground", "building")),
        ("0 ground\n255 building\n", 1, ("ground", "building")),
        ("a\nb\nc\n", 255, ("a", "b", "c")),
        ("0 ground\n255 void\n", 255, ("ground",)),
    ],
)
def test_names_say_whether_maps_are_binary(tmp_path, lines, expected, classes):
    root = one_each(tmp_path, ids(255))
    (root / "classes.txt").write_text(lines)
    dataset = open_dataset(root)
    assert dataset.classes == classes
    assert dataset[0][1]["semantic"][0, :2].tolist() == [expected, 0]


def test_pictures_of_one_bit(tmp_path):
    dataset = open_dataset(one_each(tmp_path, ids(255).astype(bool)))
    assert dataset.classes == ("background", "foreground")
    assert dataset[0][1]["semantic"][0, :2].tolist() == [1, 0]


# -------------------------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize("name", TABLES)
def test_colours_mean_what_their_table_says(tmp_path, name):
    root = one_each(tmp_path, colored(RED, GREEN))
    (root / name).write_bytes(TABLES[name].encode())
    assert read_color_table(root / name) == [("none", (0, 0, 0)), ("red thing", RED), ("green", GREEN)]
    dataset = open_dataset(root)
    assert dataset.classes == ("none", "red thing", "green")
    assert dataset[0][1]["semantic"][4, :4].tolist() == [1, 2, 0, 0]


def test_a_colour_that_is_not_listed_is_named_with_its_place(tmp_path):
    root = one_each(tmp_path, colored(RED, GREEN, (9, 8, 7)))
    (root / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    told = r"a\.png: the colour \(9, 8, 7\) at row 0, column 2 isn't among the 3 of the table \(6 pixels"
    with pytest.raises(SampleError, match=told):
        open_dataset(root)[0]


def test_colours_without_a_table_are_refused_with_the_remedy(tmp_path):
    root = one_each(tmp_path, colored(RED, RED, GREEN))
    told = r"a\.png: is a map of colours.*\(0, 0, 0\), \(224, 64, 64\), \(0, 128, 0\).*class_dict\.csv.*labelmap\.txt"
    with pytest.raises(DatasetError, match=told):
        open_dataset(root)
    dataset = open_dataset(root, classes=["none", "red", "green"], colors=[(0, 0, 0), RED, GREEN])
    assert dataset.classes == ("none", "red", "green")
    assert dataset[0][1]["semantic"][0, :4].tolist() == [1, 1, 2, 0]
    ignoring = open_dataset(root, colors=[(0, 0, 0), RED, GREEN], ignore=0)
    assert ignoring[0][1]["semantic"][0, :4].tolist() == [1, 1, 2, 255]
    with pytest.raises(DatasetError, match="classes= names 1 classes, colors= has 2"):
        open_dataset(root, classes=["none"], colors=[(0, 0, 0), RED])


def test_palettes_give_indices_or_colours(tmp_path):
    """Indices, unless the colours are all in a table that has them in another order."""
    palette = [0, 0, 0, *GREEN, *RED]
    image = Image.fromarray(ids(1, 2))
    image.putpalette(palette)
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks" / "a.png")
    picture(tmp_path / "images" / "a.jpg")
    assert open_dataset(tmp_path)[0][1]["semantic"][0, :3].tolist() == [1, 2, 0]
    (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    assert open_dataset(tmp_path)[0][1]["semantic"][0, :3].tolist() == [2, 1, 0]
    image.putpalette([1, 1, 1, 2, 2, 2, 3, 3, 3])  # not the table's: the values are its rows
    image.save(tmp_path / "masks" / "a.png")
    dataset = open_dataset(tmp_path)
    assert dataset[0][1]["semantic"][0, :3].tolist() == [1, 2, 0]
    assert dataset.classes == ("none", "red thing", "green")


def test_grey_that_a_table_lists_as_colours(tmp_path):
    root = one_each(tmp_path, ids(255))
    (root / "class_dict.csv").write_text("name,r,g,b\nobject,255,255,255\nground,0,0,0\n")
    dataset = open_dataset(root)
    assert dataset.classes == ("object", "ground")
    assert dataset[0][1]["semantic"][0, :2].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("labelmap.txt", "cat:1,2::\n", r"line 1 must be name:r,g,b:parts:actions, got 'cat:1,2::'"),
        ("labelmap.txt", "cat:1,2,300::\n", r"line 1: a colour's numbers must be in 0 … 255, got 1, 2, 300"),
        ("labelmap.txt", "# nothing\n", "lists no class"),
        ("labelmap.txt", "cat:1,2,3::\ndog:1,2,3::\n", r"'cat' and 'dog' have the same colour \(1, 2, 3\)"),
        ("class_dict.csv", "id,colour\n1,2\n", "must name the columns name, r, g, b"),
        ("class_dict.csv", "name,r,g,b\ncat,1,2\n", "line 2"),
        ("config.json", "{]", "not a table of labels"),
        ("label_colors.txt", "cat dog\n", "line 1 must be r g b name"),
    ],
)
def test_broken_tables_name_their_line(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=rf"{re.escape(name)}: .*{told}"):
        (read_labelmap if name == "labelmap.txt" else read_color_table)(tmp_path / name)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_black_and_white_jpegs_are_read_where_binary_is_asked_for(tmp_path, mode):
    on = np.kron(np.random.default_rng(0).random((8, 13)) > 0.5, np.ones((5, 5), dtype=bool))[:37, :61]
    picture(tmp_path / "images" / "a.png", on.shape)
    put(tmp_path / "masks" / "a.jpg", on.astype(np.uint8) * 255, mode, quality=80)
    with Image.open(tmp_path / "masks" / "a.jpg") as image:
        assert len(np.unique(np.asarray(image))) > 2  # or nothing was lost
    with pytest.warns(DataWarning, match=r"a\.jpg is stored with loss; its values from 128 on are read as foreground"):
        dataset = open_dataset(tmp_path, binary=True)
    assert dataset.classes == ("background", "foreground")
    assert np.array_equal(dataset[0][1]["semantic"], on)
    for options in ({}, {"binary": False}):
        with pytest.raises(DatasetError, match=r"stored with loss \(JPEG\).*binary=True reads one of black and white"):
            open_dataset(tmp_path, **options)
    put(tmp_path / "masks" / "a.jpg", on[..., None] * np.array([255, 0, 0], dtype=np.uint8))
    with pytest.raises(DatasetError, match="is stored with loss and in colour"):
        open_dataset(tmp_path, binary=True)


def of_codings(root, *codings):
    """A set with a mask for each of some codings: the values that it holds besides 0, from the left."""
    for number, values in enumerate(codings):
        picture(root / "images" / f"{number}.jpg")
        put(root / "masks" / f"{number}.png", ids(*values))
    return root


@pytest.mark.parametrize("names", [None, "background\ncat\n"])
def test_two_codings_of_one_object_are_noted(tmp_path, names):
    root = of_codings(tmp_path, [1], [255], [255], [])
    if names:
        (root / "classes.txt").write_text(names)
    with pytest.warns(DataWarning, match="some masks hold 0 and 255"):
        dataset = open_dataset(root)
    ((_, reason),) = dataset.take_notes()
    assert "(1.png and 1 more of those that were looked at), others 0 and 1 (0.png and 0 more)" in reason
    assert [int(dataset[i][1]["semantic"][0, 0]) for i in range(4)] == [1, 255, 255, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_dataset(root, binary=False)
        open_dataset(root, ignore=[255])
        pixels = np.asarray(Image.open(root / "masks" / "0.png"))
        Image.fromarray(pixels * 255).save(root / "masks" / "0.png")  # what the note says
        dataset = open_dataset(root)
    assert [int(dataset[i][1]["semantic"][0, 0]) for i in range(4)] == [1, 1, 1, 0]


@pytest.mark.parametrize("codings", [([1], [255], [1, 255]), ([1], [1], []), ([1], [2], [255]), ([1, 2], [255])])
def test_values_for_no_class_are_no_coding(tmp_path, codings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_dataset(of_codings(tmp_path, *codings))


@pytest.mark.parametrize(
    ("values", "told"),
    [((128, 255), "0, 128, 255"), ((85, 170), "0, 85, 170"), ((1, 2), ""), ((7, 11, 21), ""), ((1, 255), "")],
)
def test_ids_that_look_like_grey_levels_are_noted(tmp_path, values, told):
    root = one_each(tmp_path, ids(*values))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = open_dataset(root)
    reasons = [reason for _, reason in dataset.notes]
    assert [f"masks hold {told} and nothing names the classes" in reason for reason in reasons] == [True] * bool(told)
    assert len(caught) == bool(told)
    (tmp_path / "classes.txt").write_text(
        "0 ground\n" + "".join(f"{value} c{value}\n" for value in values if value < 255)
    )
    assert not open_dataset(root).notes


def test_read_color_classes_takes_ids_of_colours(tmp_path):
    path = put(tmp_path / "a.png", colored(RED, GREEN), mode="RGBA")
    got = read_color_classes(path, SIZE, {(0, 0, 0): 255, RED: 7, GREEN: 0})
    assert got.dtype == np.uint8
    assert got[0, :3].tolist() == [7, 0, 255]
    with pytest.raises(SampleError, match="the map is 9×6, its image is 8×6"):
        read_color_classes(path, (6, 8), [(0, 0, 0), RED, GREEN])


# ----------------------------------------------------------------------------------------------------- sizes and CamVid


SHOWN = {
    1: lambda array: array,
    2: lambda array: array[:, ::-1],
    3: lambda array: np.rot90(array, 2),
    4: lambda array: array[::-1],
    5: lambda array: np.rot90(array[:, ::-1]),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(array[:, ::-1], -1),
    8: lambda array: np.rot90(array),
}
"""What EXIF's orientations do, by its specification: 6 is shown turned clockwise by a quarter."""


def tagged(path, array, orientation, form="PNG"):
    """A file with an EXIF orientation; 1: with none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(array).save(path, form, **({"exif": exif} if orientation > 1 else {}))


@pytest.mark.parametrize("size", [(6, 9), (7, 7)])
@pytest.mark.parametrize("form", ["grey", "colors", "tiff"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_mask_with_an_orientation_of_its_own_is_turned_as_its_picture_is(tmp_path, orientation, form, size):
    values = np.random.default_rng(0).integers(0, 3, size, dtype=np.uint8)
    table = np.array([(0, 0, 0), RED, GREEN], dtype=np.uint8)
    tagged(tmp_path / "images" / "a.png", np.stack([values * 90] * 3, axis=-1), orientation)
    if form == "tiff":
        mask = tmp_path / "masks" / "a.tif"
        tagged(mask, values, orientation, "TIFF")
    else:
        mask = tmp_path / "masks" / "a.png"
        tagged(mask, table[values] if form == "colors" else values, orientation)
    if form == "colors":
        (tmp_path / "labelmap.txt").write_text(TABLES["labelmap.txt"])
    dataset = open_dataset(tmp_path, pixels="stored")
    image, target = dataset[0]
    wanted = SHOWN[orientation](values)
    assert np.array_equal(target["semantic"], wanted)
    assert np.array_equal(image[0], wanted * 90)
    assert not dataset.notes


def test_an_orientation_that_only_one_of_a_pair_has_is_noted_where_sizes_do_not_tell(tmp_path):
    values = np.random.default_rng(0).integers(0, 3, (7, 7), dtype=np.uint8)
    wide = np.random.default_rng(0).integers(0, 3, (6, 9), dtype=np.uint8)
    pixels = np.stack([values * 90] * 3, axis=-1)
    tagged(tmp_path / "images" / "a.png", pixels, 6)
    tagged(tmp_path / "masks" / "a.png", values, 1)
    tagged(tmp_path / "images" / "b.png", pixels, 1)
    tagged(tmp_path / "masks" / "b.png", values, 3)
    tagged(tmp_path / "images" / "c.png", np.stack([wide * 90] * 3, axis=-1), 8)
    tagged(tmp_path / "masks" / "c.png", wide, 1)
    tagged(tmp_path / "images" / "d.png", np.stack([wide * 90] * 3, axis=-1), 1)
    tagged(tmp_path / "masks" / "d.png", wide, 6)
    dataset = open_dataset(tmp_path, pixels="stored")
    wanted = [
        (SHOWN[6](values), values),  # as cv2.imread reads the picture; the mask says nothing
        (values, SHOWN[3](values)),
        (wide, wide),  # the sizes tell that both are as stored
        (wide, wide),
    ]
    with pytest.warns(DataWarning, match=r"a\.png: is turned by its EXIF orientation 6, its map a\.png has none"):
        samples = [dataset[index] for index in range(4)]
    for (image, target), (pixels, semantic) in zip(samples, wanted, strict=True):
        assert np.array_equal(image[0], pixels * 90)
        assert np.array_equal(target["semantic"], semantic)
    assert list(dataset.notes) == [
        (
            str(tmp_path / "images" / "a.png"),
            "is turned by its EXIF orientation 6, its map a.png has none",
        ),
        (
            str(tmp_path / "images" / "b.png"),
            "has no EXIF orientation, its map b.png is turned by 3",
        ),
    ]


@pytest.mark.parametrize(("orientation", "first"), [(1, "stored"), (6, "turned"), (6, "stored")])
def test_a_picture_is_turned_if_its_mask_is(tmp_path, orientation, first):
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.zeros((6, 9, 3), dtype=np.uint8)
    pixels[:, :2] = 255  # on the left as stored; on top once turned to the right
    put(tmp_path / "images" / "a.png", pixels, exif=exif)
    mask = np.zeros((9, 6) if first == "turned" else (6, 9), dtype=np.uint8)
    mask[(slice(0, 2), slice(None)) if first == "turned" else (slice(None), slice(0, 2))] = 1
    put(tmp_path / "masks" / "a.png", mask)
    image, target = open_dataset(tmp_path)[0]
    assert np.array_equal(np.asarray(image[0]) == 255, np.asarray(target["semantic"]) == 1)


def test_a_mask_of_another_size_is_refused_before_it_is_decoded(tmp_path):
    root = one_each(tmp_path, np.zeros((6, 8), dtype=np.uint8))
    with pytest.raises(
        DatasetError, match=r"no map can be read; the first: .*a\.png: the map is 8×6, its image is 9×6"
    ):
        open_dataset(root)
    picture(root / "images" / "b.jpg")
    put(root / "masks" / "b.png", ids(1))
    with pytest.raises(SampleError, match=r"masks/a\.png: the map is 8×6, its image is 9×6"):
        open_dataset(root)[0]
    put(root / "masks" / "a.png", np.zeros((9, 6), dtype=np.uint8))
    with pytest.raises(SampleError, match=r"masks/a\.png: the map is 6×9, its image is 9×6"):
        open_dataset(root)[0]


def test_camvid_of_segnet_without_a_list_of_names(tmp_path):
    for folder, other in (("CamVid", "0001TP_006690"), ("mine", "frame_1")):
        picture(tmp_path / folder / "train" / f"{other}.png")
        put(tmp_path / folder / "trainannot" / f"{other}.png", ids(10, 11))
    camvid = open_dataset(tmp_path / "CamVid")
    assert len(camvid.classes) == 11
    assert (camvid.classes[0], camvid.classes[10]) == ("sky", "bicyclist")
    assert camvid[0][1]["semantic"][0, :3].tolist() == [10, 255, 0]
    mine = open_dataset(tmp_path / "mine")  # 11 is a class like others
    assert mine[0][1]["semantic"][0, :3].tolist() == [10, 11, 0]


def test_camvid_as_it_lies(real):
    root = real("camvid")
    assert list_splits(root, "image_masks") == ["test", "train", "val"]
    for split, count in (("train", 367), ("val", 101), ("test", 233)):
        dataset = open_dataset(root, split=split)
        assert (dataset.layout, len(dataset), len(dataset.classes)) == ("image_masks", count, 11)
        assert dict(dataset.notes) == {}
        for index in (0, count // 2):
            _, target = dataset[index]
            stored = np.array(Image.open(root / f"{split}annot" / f"{target['image_id']}.png"))
            assert np.array_equal(np.asarray(target["semantic"]), np.where(stored == 11, 255, stored))


def test_options_as_a_command_line_gives_them(tmp_path):
    root = one_each(tmp_path, colored(RED, GREEN))
    dataset = open_dataset(root, classes="none,red,green", colors=["0,0,0", "224,64,64", "0,128,0"], ignore=["0", "2"])
    assert dataset.classes == ("none", "red", "green")
    assert dataset[0][1]["semantic"][0, :3].tolist() == [1, 255, 255]
    with pytest.raises(ValueError, match="colors must be r,g,b in 0 … 255, got '1,2'"):
        open_dataset(root, colors="1,2")
    put(root / "masks" / "a.png", ids(255, 7))
    assert open_dataset(root, binary="true", ignore="7")[0][1]["semantic"][0, :3].tolist() == [1, 255, 0]
    for name, value in (("binary", "perhaps"), ("ignore", "70000")):
        with pytest.raises(ValueError, match=rf"{name} must .*got '{value}'"):
            open_dataset(root, **{name: value})


def test_splits_of_any_name_can_be_opened(tmp_path):
    picture(tmp_path / "images" / "part 1" / "a.jpg")
    put(tmp_path / "masks" / "part 1" / "a.png", ids(3))
    assert list_splits(tmp_path, "image_masks") == ["all"]
    assert open_dataset(tmp_path)[0][1]["image_id"] == "part 1/a"
    assert open_dataset(tmp_path, split="part 1")[0][1]["image_id"] == "a"


def test_other_config_files_are_no_tables(tmp_path):
    root = one_each(tmp_path, ids(1, 2))
    (root / "config.json").write_text('{"color": "red", "rate": 0.1}')
    (root / "dataset_meta.json").write_text('{"label_map": {"0": "a", "1": "b", "2": "c"}}')
    assert open_dataset(root).classes == ("a", "b", "c")
