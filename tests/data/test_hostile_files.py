"""Files made to harm: refused by name, before they take memory, and without a byte written or read elsewhere."""

from __future__ import annotations

import gzip
import json
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.errors import DataWarning
from cutmix_dense.data.mixed_sample import open_complete
from cutmix_dense.data.writers import VocWriter

OBJECT = (
    "<object><name>cat</name><difficult>{4}</difficult><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax>"
    "<ymax>{3}</ymax></bndbox></object>"
)
NESTED = b"[" * 100_000
ANNOTATION = {"id": 1, "image_id": 3, "category_id": 4, "bbox": [1, 2, 5, 6]}
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij"))
    + "]><annotation><filename>&j;</filename></annotation>"
)
EXTERNAL = (
    '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>'
)


# ---------------------------------------------------------------------------------------------------------- annotations


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a readable JSON"),
        (b'{"images": [', "not a readable JSON"),
        (NESTED, "nested too deeply"),
        (b'{"images": ' + b"9" * 10_000 + b"}", "not a readable JSON"),
        ('{"images": []}'.encode("utf-16"), "no list named 'annotations'"),
        (b"\xef\xbb\xbf{}", "no list named 'images'"),
        (b"\xff\xfe\xff", "not a readable JSON"),
        (b"null", "top level is a NoneType"),
        (b'{"images": {}, "annotations": [], "categories": []}', "no list named 'images'"),
        (b'{"images": [7], "annotations": [], "categories": []}', r"images\[0\] has no"),
        (b'{"images": [], "annotations": [{"id": 1}], "categories": []}', r"annotations\[0\] has no"),
    ],
)
@pytest.mark.parametrize("layout", ["coco", "coco_panoptic"])
def test_a_broken_json_is_named(make_coco, layout, content, reason):
    root = make_coco([])
    path = root / "annotations" / f"{'panoptic' if layout == 'coco_panoptic' else 'instances'}_train.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{path.name}: .*{reason}"):
        open_dataset(root, layout)


def test_a_folder_in_place_of_the_json_is_named(make_coco):
    root = make_coco([])
    path = root / "annotations" / "instances_train.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(DatasetError, match="instances_train"):
        open_dataset(root, "coco", annotations=path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [float("nan"), 0, 1, 1]}, "not finite"),
        ({"bbox": [float("inf"), 0, 1, 1]}, "not finite"),
        ({"bbox": [1e308, 0, 1e308, 1]}, "beyond 1e"),
        ({"bbox": [10**400, 0, 1, 1]}, "too large"),
        ({"bbox": "1234"}, "bbox must be"),
        ({"category_id": 5}, "not among the categories"),
        ({"category_id": None}, "not among the categories"),
    ],
)
def test_a_bad_annotation_costs_its_sample_alone(make_coco, change, reason):
    other = {**ANNOTATION, "id": 2, "image_id": 7, "segmentation": [[1, 2, 6, 2, 6, 8]]}
    dataset = open_dataset(make_coco([{**ANNOTATION, **change}, other]))
    with pytest.raises(SampleError, match=rf"b\.jpg: annotation 1 in .*instances_train\.json: .*{reason}"):
        dataset[0]
    assert len(dataset[1][1]["boxes"]) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"area": 1e308}, "beyond 1e"),
        ({"iscrowd": 2**70}, "iscrowd"),
        ({"iscrowd": "many"}, "iscrowd"),
        ({"segmentation": 7}, "must be polygons or run lengths"),
        ({"segmentation": [[1, 2, {}, 4, 5, 6]]}, "polygon"),
    ],
)
def test_an_odd_field_costs_itself_and_is_named(make_coco, change, reason):
    """The instance stays, by its box."""
    dataset = open_dataset(make_coco([{**ANNOTATION, **change}]))
    with pytest.warns(DataWarning, match=rf"instances_train\.json: annotation 1 of b\.jpg.*{reason}"):
        _, target = dataset[0]
    assert target["boxes"].tolist() == [[1, 2, 6, 8]]
    assert (target["iscrowd"].tolist(), target["area"].tolist()) == ([0], [30.0])
    assert not target["masks"].any() if "masks" in target else True


@pytest.mark.parametrize("key", ["id", "category_id", "image_id"])
@pytest.mark.parametrize("value", [[], {}])
def test_an_id_must_be_a_number_or_a_word(make_coco, key, value):
    with pytest.raises(DatasetError, match=rf"annotations\[0\]\['{key}'\] must be"):
        open_dataset(make_coco([{**ANNOTATION, key: value}]))


def test_annotations_of_one_id_stay_with_their_images(make_coco):
    """pycocotools would give the image of the first one the second one's box."""
    annotations = [{**ANNOTATION, "image_id": image, "bbox": [image, 0, 5, 6]} for image in (3, 7)]
    dataset = open_dataset(make_coco(annotations))
    assert [dataset[i][1]["boxes"][:, 0].tolist() for i in range(2)] == [[3.0], [7.0]]


def test_images_with_words_for_ids_keep_their_annotations(make_coco):
    """pycocotools would take the word for a list of ids."""
    images = [{"id": "left", "file_name": "a.jpg"}, {"id": "right", "file_name": "b.jpg"}]
    dataset = open_dataset(make_coco([{**ANNOTATION, "image_id": "right"}], images=images))
    assert [len(dataset[i][1]["boxes"]) for i in range(2)] == [0, 1]


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("", "no element found"),
        (LAUGHS, "DOCTYPE"),
        (EXTERNAL, "DOCTYPE"),
        ("<annotation>" + "<part>" * 100_000, "no element found|recursion|too"),
        (f"<annotation>{OBJECT.format('1', '1e308', '2', '2', 0)}</annotation>", "beyond 1e"),
        (f"<annotation>{OBJECT.format(1, 1, 'x', 2, 0)}</annotation>", "object 1: must be a number, got 'x'"),
    ],
)
def test_a_broken_xml_is_named(make_voc, xml, reason):
    dataset = open_dataset(make_voc({"a": "<annotation/>", "b": []}), "voc")
    (dataset.folder / "Annotations" / "a.xml").write_text(xml)
    with pytest.raises(SampleError, match=rf"a\.xml: .*({reason})"):
        dataset[0]
    dataset[1]


def test_deeply_nested_xml_is_read(make_voc):
    dataset = open_dataset(make_voc({"a": f"<annotation>{'<part>' * 50_000}{'</part>' * 50_000}</annotation>"}), "voc")
    assert len(dataset[0][1]["boxes"]) == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_xml_in_other_encodings_is_read(make_voc, encoding):
    box = OBJECT.format(2, 3, 9, 10, 0)
    dataset = open_dataset(make_voc({"a": [("cat", (1, 1, 2, 2), 0)]}), "voc")
    (dataset.folder / "Annotations" / "a.xml").write_bytes(f"<annotation>{box}</annotation>".encode(encoding))
    assert dataset[0][1]["boxes"].tolist() == [[1, 2, 9, 10]]


@pytest.mark.parametrize("name", ["ImageSets/Main/train.txt", "ImageSets/Segmentation/train.txt", "classes.txt"])
@pytest.mark.parametrize("content", ["a\nb\n".encode("utf-16"), b"a\xff\n", bytes(range(256))])
def test_a_list_of_voc_that_is_no_text_is_named(make_voc, name, content):
    root = make_voc({"a": []})
    (root / name).write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{name}: not a readable text file"):
        open_dataset(root, "voc", task="segmentation" if "Segmentation" in name else "detection")
    with pytest.raises(DatasetError, match=rf"{name}: not a readable text file"):
        open_complete(root, "voc")
    if name == "classes.txt":
        with pytest.raises(DatasetError, match=rf"{name}: not a readable text file"):
            VocWriter(root, classes=["background", "a"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("cat\ndog\ncat\n", "class names must differ"),
        ("0 background\n2 cat\n", "the class numbers must count up from 0 or 1"),
        ("2 cat\n3 dog\n", "the class numbers must count up from 0 or 1"),
        (f"0 background\n{'9' * 10_000} cat\n", "the class numbers must count up from 0 or 1"),
    ],
)
def test_class_names_that_make_no_sense_are_named(make_voc, content, reason):
    root = make_voc({"a": []})
    (root / "classes.txt").write_text(content)
    with pytest.raises(DatasetError, match=rf"classes\.txt: {reason}"):
        open_dataset(root, "voc")


@pytest.mark.parametrize(
    ("content", "classes"), [("² cat\n³ dog\n", ("² cat", "³ dog")), ("01 cat\n02 dog\n", ("cat", "dog")), ("", ())]
)
def test_odd_class_names_are_read(make_voc, content, classes):
    root = make_voc({"a": []})
    (root / "classes.txt").write_text(content)
    assert open_dataset(root, "voc").classes == ("background", *classes)


def test_more_objects_than_a_map_can_number_are_not_paired(make_voc):
    root = make_voc({"a": [("cat", (1, 1, 9, 9), 0)] * 10_000})
    for kind in ("SegmentationClass", "SegmentationObject"):
        (root / kind).mkdir()
        Image.fromarray(np.ones((40, 60), dtype=np.uint8)).save(root / kind / "a.png")
    with pytest.raises(SampleError, match=r"a\.png: a map has indices for 254 objects, the XML file has 10000"):
        open_dataset(root, "voc", task="instances")[0]


@pytest.mark.parametrize(
    ("layout", "folders", "files"),
    [
        ("yolo", ("images/train", "labels/train"), (".png", ".txt")),
        ("image_masks", ("images", "masks"), (".png", ".png")),
        ("voc", ("JPEGImages", "Annotations"), (".png", ".xml")),
        ("labelme", ("train", "train"), (".png", ".json")),
    ],
)
def test_links_to_folders_are_followed(tmp_path, layout, folders, files):
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[1, 2], [5, 6]]}
    texts = {
        ".txt": "0 0.5 0.5 0.2 0.2\n",
        ".xml": f"<annotation>{OBJECT.format(1, 2, 5, 6, 0)}</annotation>",
        ".json": json.dumps({"shapes": [shape], "imagePath": "b.png", "imageHeight": 6, "imageWidth": 9}),
    }
    root, other = tmp_path / "set", tmp_path / "other"
    for number, (folder, suffix) in enumerate(zip(folders, files)):
        for name, place in (("a", root / folder), ("b", other / f"{number}")):
            place.mkdir(parents=True, exist_ok=True)
            if suffix == ".png":
                Image.fromarray(np.eye(6, 9, dtype=np.uint8)).save(place / f"{name}.png")
            else:
                (place / f"{name}{suffix}").write_text(texts[suffix].replace("b.png", f"{name}.png"))
    if folders[0] == folders[1]:
        Image.fromarray(np.eye(6, 9, dtype=np.uint8)).save(other / "1" / "b.png")
    for number, folder in enumerate(folders):
        link = root / folder / "cam"
        link.unlink(missing_ok=True)
        link.symlink_to(other / f"{number}")
    if layout == "yolo":
        (root / "data.yaml").write_text("train: images/train\nnames: [cat]\n")
    dataset = open_complete(root, layout)
    assert [dataset.picture(index).name for index in range(len(dataset))] == ["a.png", "cam/b.png"]
    wanted = "semantic" if layout == "image_masks" else "boxes"
    assert all(len(dataset[index][1][wanted]) for index in range(2))
    assert not dataset.notes


def test_a_folder_in_place_of_an_xml_is_named(make_voc):
    dataset = open_dataset(make_voc({"a": []}), "voc")
    path = dataset.folder / "Annotations" / "a.xml"
    path.unlink()
    path.mkdir()
    with pytest.raises(SampleError, match=r"a\.xml"):
        dataset[0]


@pytest.mark.parametrize(
    ("form", "at", "values", "reason"),
    [
        ("<f", 80, [float("nan")], "must have a finite spacing"),  # pixdim
        ("<f", 80, [float("inf")], "must have a finite spacing"),
        ("<3h", 42, [1000, 1000, 1000], "more than its bytes can hold"),  # dim
        ("<3h", 42, [32767, 32767, 32767], "declares .* voxels, more than"),
        ("<3h", 42, [0, 5, 6], "three axes"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_hostile_volume_is_named(tmp_path, form, at, values, reason, suffix):
    nibabel = pytest.importorskip("nibabel", reason="volumes are read with nibabel")
    header = bytearray(nibabel.Nifti1Image(np.zeros((4, 5, 6), dtype=np.uint8), np.eye(4)).to_bytes())
    struct.pack_into(form, header, at, *values)
    for name in ("image", "label"):
        (tmp_path / f"{name}{suffix}").write_bytes(gzip.compress(header) if suffix == ".nii.gz" else header)
    content = {"labels": {"0": "all"}, "training": [{"image": f"image{suffix}", "label": f"label{suffix}"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path, "decathlon")
    tracemalloc.start()
    try:
        with pytest.raises(SampleError, match=rf"image{suffix}: .*{reason}"):
            dataset[0]
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
