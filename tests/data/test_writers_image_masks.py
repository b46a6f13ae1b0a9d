"""Copies of images and masks are the source pixel for pixel, and other layouts become them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.map_forms import MapForm
from cutmix_dense.data.writers import ImageMasksWriter

from .mask_files import GREEN, RED, SIZE, TABLES, colored, ids, picture, put


def copied(dataset, root: Path, split: str) -> list[dict[str, int]]:
    """Write every sample of a dataset as it is; returns what was lost of each."""
    writer = type(dataset).writer.like(dataset, root, split)
    lost = []
    for index in range(len(dataset)):
        lost.append(writer.add(dataset.image_path(index).stem, *dataset[index], dataset.picture(index)))
    writer.finish()
    return lost


FORMS = {
    "grey": {"array": ids(1, 2, 255)},
    "grey, more ids": {"array": ids(1, 200, 255)},
    "rgb": {"array": ids(1, 2, 255), "mode": "RGB"},
    "rgba": {"array": ids(1, 2, 255), "mode": "RGBA"},
    "16 bits": {"array": ids(1, 2, 255, dtype=np.uint16)},
    "binary": {"array": ids(255, 0, 255)},
    "binary rgba": {"array": ids(255, 0, 255), "mode": "RGBA"},
    "bits": {"array": ids(1, 0, 1).astype(bool)},
    "only background": {"array": ids(0)},
    "colours": {"array": colored(RED, GREEN), "table": ("labelmap.txt", TABLES["labelmap.txt"])},
    "colours, rgba": {"array": colored(GREEN), "mode": "RGBA", "table": ("class_dict.csv", TABLES["class_dict.csv"])},
    "grey colours": {"array": ids(255), "table": ("class_dict.csv", "name,r,g,b\nobject,255,255,255\nground,0,0,0\n")},
    "names": {"array": ids(1, 2, 255), "table": ("codes.txt", "a\nb\nc\nd\n")},
    "numbers": {"array": ids(1, 2, 11), "table": ("classes.txt", "0 a\n1 b\n2 c\n11 nothing (ignore)\n")},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_has_the_same_masks_and_classes(tmp_path, form):
    source, copy = tmp_path / "source", tmp_path / "copy"
    options = dict(FORMS[form])
    array, table = options.pop("array"), options.pop("table", None)
    picture(source / "images" / "train" / "city" / "a.png")
    put(source / "masks" / "train" / "city" / "a.png", array, **options)
    if table is not None:
        (source / table[0]).write_bytes(table[1].encode())
    dataset = open_dataset(source)
    assert copied(dataset, copy, "train") == [{}]
    place = Path("train") / "city" / "a.png"
    stored, got = Image.open(source / "masks" / place), Image.open(copy / "masks" / place)
    assert got.mode == stored.mode
    assert np.array_equal(np.asarray(got), np.asarray(stored))
    assert np.array_equal(
        np.asarray(Image.open(copy / "images" / place)), np.asarray(Image.open(source / "images" / place))
    )
    if table is not None:
        assert (copy / table[0]).read_bytes() == table[1].encode()
    again = open_dataset(copy)
    assert again.classes == dataset.classes
    assert (again.split, again[0][1]["image_id"]) == ("train", "city/a")
    for index in range(1):
        assert torch.equal(again[index][1]["semantic"], dataset[index][1]["semantic"])


def test_a_palette_is_kept(tmp_path):
    image = Image.fromarray(ids(1, 2))
    image.putpalette([9, 8, 7, 6, 5, 4, 3, 2, 1])
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks" / "a.png")
    copied(open_dataset(tmp_path), tmp_path / "copy", "train")
    got = Image.open(tmp_path / "copy" / "masks" / "train" / "a.png")
    assert (got.mode, got.getpalette()[:9]) == ("P", [9, 8, 7, 6, 5, 4, 3, 2, 1])
    assert np.array_equal(np.asarray(got), ids(1, 2))


def test_what_options_say_reaches_the_copy(tmp_path):
    source = tmp_path / "source"
    picture(source / "images" / "a.jpg")
    put(source / "masks" / "a.png", ids(1, 128, 255))
    dataset = open_dataset(source, binary=True, ignore=(1, 128))
    copied(dataset, tmp_path / "binary", "train")
    again = open_dataset(tmp_path / "binary")
    assert again.classes == ("background", "foreground")
    assert again[0][1]["semantic"][0, :4].tolist() == [255, 255, 1, 0]
    put(source / "masks" / "a.png", ids(1, 7, 0))
    copied(open_dataset(source, classes=["3 a", "4 b", "5 c"], ignore=7), tmp_path / "ids", "train")
    again = open_dataset(tmp_path / "ids")
    assert again.classes == ("3 a", "4 b", "5 c")  # which looks like ids and names
    assert again[0][1]["semantic"][0, :3].tolist() == [1, 255, 0]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "ids" / "masks" / "train" / "a.png")), ids(1, 7, 0))
    put(source / "masks" / "a.png", colored(RED))
    copied(open_dataset(source, classes=["no", "red"], colors=[(0, 0, 0), RED], ignore=0), tmp_path / "colors", "train")
    again = open_dataset(tmp_path / "colors")
    assert again[0][1]["semantic"][0, :2].tolist() == [1, 255]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "colors" / "masks" / "train" / "a.png")), colored(RED))


@pytest.mark.parametrize(
    ("mask", "table", "written", "lost"),
    [
        (ids(255), None, 0, 6),  # as 255 it would be foreground
        (ids(1), None, 255, 0),
        (colored(RED), "none:0,0,0::\nred:224,64,64::\n", (0, 0, 0), 6),
        (colored(RED), "red:224,64,64::\nvoid:1,2,3::\nblack:0,0,0::\n", (1, 2, 3), 0),
    ],
)
def test_pixels_without_a_class_never_become_one(tmp_path, mask, table, written, lost):
    """A mix fills with 255; a map that has no such value gets what comes nearest, and that is counted."""
    picture(tmp_path / "images" / "a.jpg")
    put(tmp_path / "masks" / "a.png", mask)
    if table is not None:
        (tmp_path / "labelmap.txt").write_text(table)
    dataset = open_dataset(tmp_path)
    image, target = dataset[0]
    target["semantic"][:, 4] = 255
    writer = ImageMasksWriter.like(dataset, tmp_path / "copy", "train")
    told = writer.add("a", image, target)
    assert told == ({"pixels without a class, written as background": lost} if lost else {})
    writer.finish()
    got = np.asarray(Image.open(tmp_path / "copy" / "masks" / "train" / "a.png"))
    assert (got[:, 4] == written).all()


def test_two_splits_share_their_classes(tmp_path):
    for split in ("train", "val"):
        picture(tmp_path / "a" / "images" / split / f"{split}.jpg")
        put(tmp_path / "a" / "masks" / split / f"{split}.png", ids(1))
    for split in ("train", "val"):
        copied(open_dataset(tmp_path / "a", split=split), tmp_path / "copy", split)
    assert [len(open_dataset(tmp_path / "copy", split=split)) for split in ("train", "val")] == [1, 1]
    with pytest.raises(DatasetError, match=r"classes\.txt: states other classes"):
        ImageMasksWriter(tmp_path / "copy", classes=["x", "y"], split="test")
    with pytest.raises(ValueError, match="can hold 255 classes, got 256"):
        ImageMasksWriter(tmp_path / "b", classes=[str(number) for number in range(256)])


def test_files_are_the_same_whoever_writes_them(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    put(tmp_path / "masks" / "a.png", ids(1, 255))
    for copy in ("one", "two"):
        copied(open_dataset(tmp_path), tmp_path / copy, "train")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert [str(path) for path in files] == ["classes.txt", "images/train/a.jpg", "masks/train/a.png"]
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)


# ---------------------------------------------------------------------------------------------------------- conversions


def test_instances_are_painted_smaller_ones_on_top(tmp_path, make_coco):
    large = [0, 0, 20, 0, 20, 20, 0, 20]
    small = [5, 5, 10, 5, 10, 10, 5, 10]
    root = make_coco(
        [
            {"id": 1, "image_id": 3, "category_id": 4, "bbox": [5, 5, 5, 5], "segmentation": [small]},
            {"id": 2, "image_id": 3, "category_id": 90, "bbox": [0, 0, 20, 20], "segmentation": [large]},
            {"id": 3, "image_id": 3, "category_id": 90, "bbox": [30, 30, 5, 5]},
        ]
    )
    dataset = open_dataset(root, "coco")
    assert dataset.classes == ("background", "ant", "zebra")
    writer = ImageMasksWriter.like(dataset, tmp_path / "copy", "train")
    told = writer.add("b", *dataset[0], dataset.picture(0))
    assert told == {
        "boxes": 3,
        "instances (a map of classes doesn't tell them apart)": 2,
        "instances without a mask": 1,
    }
    writer.finish()
    expected = np.zeros((40, 60), dtype=np.uint8)
    expected[:20, :20] = 2
    expected[5:10, 5:10] = 1
    got = Image.open(tmp_path / "copy" / "masks" / "train" / "b.png")
    assert np.array_equal(np.asarray(got), expected)
    assert got.getpalette()[3:9] == [128, 0, 0, 0, 128, 0]  # VOC's
    again = open_dataset(tmp_path / "copy")
    assert again.classes == ("background", "ant", "zebra")
    assert np.array_equal(np.asarray(again[0][1]["semantic"]), expected)


def test_boxes_alone_say_no_class_of_a_pixel(tmp_path, make_coco):
    dataset = open_dataset(make_coco([{"id": 1, "image_id": 3, "category_id": 4, "bbox": [5, 5, 5, 5]}]), "coco")
    with pytest.raises(ValueError, match="this coco dataset has neither maps nor masks"):
        ImageMasksWriter.like(dataset, tmp_path / "copy", "train")
    writer = ImageMasksWriter(tmp_path / "copy", classes=dataset.classes)
    with pytest.raises(ValueError, match="neither a semantic map nor masks"):
        writer.add("a", *dataset[0])


def test_cityscapes_becomes_images_and_masks(tmp_path, make_cityscapes):
    labels = np.full((30, 50), 7)
    labels[:10], labels[10:20, 5:15] = 23, 26
    root = make_cityscapes("a_0_0", labels)
    dataset = open_dataset(root, label_ids="raw")
    copied_writer = ImageMasksWriter.like(dataset, tmp_path / "copy", "train")
    copied_writer.add("a_0_0", *dataset[0], dataset.picture(0))
    copied_writer.finish()
    again = open_dataset(tmp_path / "copy")
    assert again.classes == dataset.classes
    assert np.array_equal(np.asarray(again[0][1]["semantic"]), labels)
    assert (tmp_path / "copy" / "images" / "train" / "a" / "a_0_0.png").is_file()


def test_segments_become_their_classes(tmp_path):
    class Panoptic:
        layout, mix_layout, classes = "coco_panoptic", "BCHW", ("ant", "sky")
        has_semantic, has_panoptic, has_masks, labels = False, True, False, {3: 0, 90: 1}

    panoptic = np.zeros(SIZE, dtype=np.int64)
    panoptic[:, :2], panoptic[:, 2:4], panoptic[:, 4] = 70_000, 9, 8
    infos = [{"id": 70_000, "category_id": 90}, {"id": 9, "category_id": 3}, {"id": 8, "category_id": 90}]
    writer = ImageMasksWriter.like(Panoptic(), tmp_path, "train")
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    assert writer.add("a", image, {"panoptic": panoptic, "segments_info": infos}) == {
        "segments (a map of classes doesn't tell them apart)": 3
    }
    writer.finish()
    got = np.asarray(Image.open(tmp_path / "masks" / "train" / "a.png"))
    assert got[0].tolist() == [1, 1, 0, 0, 1, 255, 255, 255, 255]


def test_ids_beyond_the_classes_are_not_written(tmp_path):
    writer = ImageMasksWriter(tmp_path, classes=["a", "b"])
    with pytest.raises(ValueError, match="ids beyond those of its 2 classes"):
        writer.add("a", np.zeros((*SIZE, 3), dtype=np.uint8), {"semantic": ids(1, 2)})


@pytest.mark.parametrize("split", ["train", "val"])
def test_camvid_copied_as_it_lies(real, tmp_path, split):
    root = real("camvid")
    dataset = open_dataset(root, split=split)
    writer = ImageMasksWriter.like(dataset, tmp_path, split)
    for index in range(0, len(dataset), 40):
        assert writer.add(dataset.image_path(index).stem, *dataset[index], dataset.picture(index)) == {}
    writer.finish()
    again = open_dataset(tmp_path, split=split)
    assert again.classes == dataset.classes
    assert (tmp_path / "classes.txt").read_bytes() == (root / "classes.txt").read_bytes()
    for index in range(len(again)):
        name = f"{again.image_path(index).stem}.png"
        stored = np.asarray(Image.open(root / f"{split}annot" / name))
        assert np.array_equal(np.asarray(Image.open(again.mask_path(index))), stored)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["ids", "binary", "colors"]),
    mode=st.sampled_from(["L", "P", "RGB", "RGBA", "I;16"]),
    count=st.integers(1, 255),
    ignore=st.sets(st.integers(0, 300), max_size=3),
    seed=st.integers(0, 2**16),
)
def test_what_a_form_writes_it_reads_back(tmp_path_factory, kind, mode, count, ignore, seed):
    """Ids that the form can tell come back as they were, and so does a form that is found from what was written."""
    draw = np.random.default_rng(seed)
    count = 2 if kind == "binary" else count
    names = tuple(f"class {number}" for number in range(count))
    colors = tuple((number, 255 - number, 7) for number in range(count)) if kind == "colors" else ()
    skipped = tuple(sorted(ignore if kind == "ids" else ignore - {0, 255} if kind == "binary" else ()))
    skipped = (*skipped, *([255] if kind == "ids" and 255 not in skipped else []))
    if mode != "I;16":
        skipped = tuple(value for value in skipped if value < 256)
    mode = "RGB" if kind == "colors" else mode
    palette = bytes(range(256)) * 3 if mode == "P" else None
    form = MapForm(kind, names, skipped, colors, mode, palette)
    told = [number for number in range(count) if kind == "binary" or number not in skipped]
    usable = [*told, *([255] if kind == "ids" or (kind == "binary" and skipped) else [])]
    wanted = draw.choice(usable or [255], size=(5, 8)).astype(np.uint8)
    content, unplaced = form.encode(wanted)
    path = tmp_path_factory.mktemp("form") / "a.png"
    path.write_bytes(content)
    assert unplaced == 0 or (wanted == 255).any()
    if usable:
        assert np.array_equal(form.read(path), wanted)
