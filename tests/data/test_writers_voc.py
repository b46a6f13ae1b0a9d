"""What a copy in VOC's layout keeps: elements word for word, classes, maps, details; and what it has no place for."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from versions import needs_rotated, needs_uint16

from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.details import STATED
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.readers import VocDataset
from cutmix_dense.data.writers import VocWriter

CLASSES = ("background", "cat", "dog")
SIZE = (40, 60)
IMAGE = torch.zeros(3, *SIZE, dtype=torch.uint8)

FULL = """<annotation><folder>x</folder><filename>a.jpg</filename><source><database>mine</database></source>
<owner><flickrid>me</flickrid><name>?</name></owner><size><width>60</width><height>40</height><depth>3</depth></size>
<segmented>0</segmented>
<object><name>person</name><pose>Left</pose><truncated>1</truncated><occluded>1</occluded><difficult>1</difficult>
  <bndbox><xmin>5.5</xmin><ymin>6</ymin><xmax>24.25</xmax><ymax>15</ymax></bndbox><point><x>7</x><y>9</y></point>
  <part><name>head</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>
  <actions><running>1</running></actions></object>
<object><name>cow</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>61</xmax><ymax>40</ymax></bndbox>
  <polygon><x1>4</x1><y1>5</y1><x2>24</x2><y2>5</y2><x3>24.5</x3><y3>15.5</y3></polygon>
  <difficult>Unspecified</difficult><attributes><attribute><name>colour</name><value>ü &amp; ö</value></attribute>
  </attributes></object></annotation>"""


def content(node: ElementTree.Element) -> tuple:
    """An element without the white space between its children."""
    return node.tag, (node.text or "").strip(), [content(child) for child in node]


def objects_in(path: Path) -> list[tuple]:
    return [content(node) for node in ElementTree.parse(path).getroot().findall("object")]


def save_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def copied(dataset, root: Path, split: str = "train") -> dict[str, int]:
    """A copy without a mix; returns what the layout has no place for."""
    writer = VocWriter.like(dataset, root, split)
    lost: dict[str, int] = {}
    keys = [dataset.image_path(i).stem for i in range(len(dataset))]
    for i, key in enumerate(keys):
        lost.update(writer.add(key, *dataset[i], dataset.picture(i)))
    writer.finish(keys)
    return lost


def add(tmp_path: Path, target, classes=CLASSES, **more) -> tuple[dict[str, int], ElementTree.Element]:
    """What a sample loses, and its XML."""
    writer = VocWriter(tmp_path, classes=classes)
    lost = writer.add("a", IMAGE, target, **more)
    writer.finish()
    return lost, ElementTree.parse(tmp_path / "Annotations" / "a.xml").getroot()


@pytest.mark.parametrize("task", ["detection", "instances"])
@pytest.mark.filterwarnings("ignore:.*objects have polygons")
def test_an_unmixed_copy_is_the_source_word_for_word(tmp_path, task):
    source = tmp_path / "source"
    save_picture(source / "images" / "a.png")
    (source / "boxes").mkdir()
    (source / "boxes" / "a.xml").write_text(FULL, encoding="utf-8")
    (source / "classes.txt").write_text("unused\nperson\ncow\n")
    dataset = open_dataset(source, task=task, details=True)
    assert copied(dataset, tmp_path / "copy") == {}
    assert objects_in(tmp_path / "copy" / "Annotations" / "a.xml") == objects_in(source / "boxes" / "a.xml")
    root = ElementTree.parse(tmp_path / "copy" / "Annotations" / "a.xml").getroot()
    assert [root.findtext(name) for name in ("source/database", "owner/flickrid", "owner/name")] == ["mine", "me", "?"]
    assert [root.findtext(name) for name in ("filename", "size/width", "size/height", "size/depth")] == (
        ["a.png", "60", "40", "3"]
    )
    again = open_dataset(tmp_path / "copy", task=task, details=True)
    assert again.classes == ("background", "unused", "person", "cow")
    assert torch.equal(again[0][0], dataset[0][0])
    for key in ("boxes", "labels", "difficult", *(("masks", "has_mask") if task == "instances" else ())):
        assert torch.equal(again[0][1][key], dataset[0][1][key]), key


def test_a_changed_instance_keeps_what_is_still_true(tmp_path):
    details = {
        "pose": "Left",
        "truncated": "1",
        "occluded": "0",
        "attributes": {"attribute": [{"name": "a", "value": "1"}, {"name": "b", "value": None}]},
        "track": 7,
        "no tag": "x",
    }
    target = {"boxes": torch.tensor([[1.5, 2, 9, 7]]), "labels": torch.tensor([2]), "details": [details]}
    lost, root = add(tmp_path, target)
    assert lost == {"no tag of instances": 1, "fractions of pixels in boxes (rounded outwards)": 1}
    (node,) = root.findall("object")
    assert [(child.tag, child.text) for child in node if not len(child)] == [
        ("name", "dog"),
        ("pose", "Left"),
        ("truncated", "1"),
        ("difficult", "0"),
        ("occluded", "0"),
        ("track", "7"),
    ]
    assert [node.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")] == ["2", "3", "9", "7"]
    pairs = [(each.findtext("name"), each.findtext("value")) for each in node.findall("attributes/attribute")]
    assert pairs == [("a", "1"), ("b", "")]


def test_parts_of_another_writer_come_back_as_they_were(tmp_path):
    """Details without the stated element, as another program may give them."""
    part = {"name": "head", "bndbox": [5.0, 6.0, 9.0, 9.0]}
    target = {"boxes": torch.tensor([[1.0, 2, 9, 7]]), "labels": torch.tensor([1])}
    add(tmp_path, {**target, "details": [{"part": [part, part], "point": [3.0, 4.0], STATED: 5}]})
    read = open_dataset(tmp_path, details=True)[0][1]["details"][0]
    assert (read["part"], read["point"]) == ([part, part], [3.0, 4.0])


def test_text_that_xml_has_no_form_for(tmp_path):
    target = {
        "boxes": torch.tensor([[1.0, 2, 9, 7]]),
        "labels": torch.tensor([1]),
        "details": [{"note": "a\x00<&\ud800"}],
    }
    _, root = add(tmp_path, target)
    assert root.findtext("object/note") == "a\ufffd<&\ufffd"


@needs_rotated
def test_what_has_no_place_is_counted(tmp_path):
    corners = tv_tensors.BoundingBoxes(
        torch.tensor([[10.0, 5, 20, 15, 10, 25, 0, 15], [1, 1, 5, 1, 5, 3, 1, 3]]), format="XYXYXYXY", canvas_size=SIZE
    )
    points = torch.tensor([[[1.0, 2, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
    target = {"boxes": corners, "labels": torch.tensor([1, 2]), "keypoints": points, "iscrowd": torch.tensor([0, 1])}
    lost, root = add(tmp_path, target)
    assert lost == {
        "rotated boxes (the upright ones round them are kept)": 2,
        "keypoints": 1,
        "crowds (written as difficult)": 1,
    }
    sides = [
        [node.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")] for node in root.iter("object")
    ]
    assert sides == [["1", "6", "20", "25"], ["2", "2", "5", "3"]]
    assert [node.findtext("difficult") for node in root.iter("object")] == ["0", "1"]


def test_instances_without_a_mask(tmp_path):
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 5:15, 4:24] = True
    boxes = torch.tensor([[4.0, 5, 24, 15], [20, 10, 30, 20]])
    target = {"boxes": boxes, "labels": torch.tensor([2, 1]), "masks": masks, "has_mask": torch.tensor([True, False])}
    lost, _ = add(tmp_path, target)
    assert lost == {}
    objects = np.asarray(Image.open(tmp_path / "SegmentationObject" / "a.png"))
    kinds = np.asarray(Image.open(tmp_path / "SegmentationClass" / "a.png"))
    unknown = np.zeros(SIZE, dtype=bool)
    unknown[10:20, 20:30] = True
    unknown &= ~masks[0].numpy()
    assert np.array_equal(kinds, np.where(masks[0], 2, np.where(unknown, 255, 0)))
    assert np.array_equal(objects, np.where(masks[0], 1, np.where(unknown, 255, 0)))
    read = open_dataset(tmp_path, task="instances")[0][1]
    for key in ("boxes", "labels", "masks", "has_mask"):
        assert torch.equal(read[key], target[key]), key


def test_masks_that_cover_one_another_are_counted(tmp_path):
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 5:15, 4:24] = masks[1, 8:10, 6:9] = True
    boxes = torch.tensor([[4.0, 5, 24, 15], [6, 8, 9, 10]])
    lost, _ = add(tmp_path, {"boxes": boxes, "labels": torch.tensor([2, 1]), "masks": masks})
    assert lost == {"pixels of masks where a smaller one lies over them": 1}


def test_more_objects_than_a_map_can_number(tmp_path):
    masks = torch.zeros(255, *SIZE, dtype=torch.bool)
    masks[:, 3, 4] = True
    target = {"boxes": torch.tensor([[4.0, 3, 5, 4]] * 255), "labels": torch.ones(255), "masks": masks}
    lost, root = add(tmp_path, target)
    assert lost == {"masks of pictures with more than 254 objects": 255}
    assert len(root.findall("object")) == 255
    assert not (tmp_path / "SegmentationObject").exists()
    assert not (tmp_path / "ImageSets" / "Segmentation").exists()


def test_a_class_that_a_map_cannot_number(tmp_path):
    classes = ("background", *(f"c{number}" for number in range(300)))
    target = {"boxes": torch.tensor([[4.0, 3, 5, 4]]), "labels": torch.tensor([300])}
    add(tmp_path, target, classes)
    assert open_dataset(tmp_path)[0][1]["labels"].tolist() == [300]
    masks = torch.ones(1, *SIZE, dtype=torch.bool)
    with pytest.raises(ValueError, match="SegmentationClass can number 254 classes, there are 300"):
        VocWriter(tmp_path, classes=classes).add("b", IMAGE, {**target, "masks": masks})
    with pytest.raises(ValueError, match=r"semantic holds 3, there are classes 0 … 2"):
        VocWriter(tmp_path / "other", classes=CLASSES).add("b", IMAGE, {"semantic": torch.full(SIZE, 3)})
    with pytest.raises(ValueError, match="label 0 is the background"):
        VocWriter(tmp_path / "other", classes=CLASSES).add("b", IMAGE, {**target, "labels": torch.tensor([0])})


@needs_uint16
def test_pictures_keep_ending_bands_and_name_in_one_folder(tmp_path):
    image = torch.arange(2 * 40 * 60, dtype=torch.int32).reshape(2, 40, 60).to(torch.uint16)
    writer = VocWriter(tmp_path, classes=CLASSES)
    writer.add("b-1", image, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}, PictureInfo("x/y/b.tif"))
    writer.add("a", IMAGE, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}, PictureInfo("x/a.PNG"))
    writer.finish(["b-1", "a"])
    assert sorted(path.name for path in (tmp_path / "JPEGImages").iterdir()) == ["a.PNG", "b-1.tif"]
    root = ElementTree.parse(tmp_path / "Annotations" / "b-1.xml").getroot()
    assert (root.findtext("filename"), root.findtext("size/depth")) == ("b-1.tif", "2")
    dataset = open_dataset(tmp_path)
    assert torch.equal(dataset[0][0].view(torch.int16), image.view(torch.int16))
    assert dataset.image_path(1).name == "a.PNG"


def write_coco(root: Path, **changes) -> Path:
    save_picture(root / "train" / "sub" / "a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 9, "bbox": [4, 5, 20, 10], "area": 200.0, "iscrowd": 0}
    mask = {"id": 2, "image_id": 1, "category_id": 3, "segmentation": [[30, 10, 50, 10, 50, 30, 30, 30]], "iscrowd": 0}
    data = {
        "images": [{"id": 1, "file_name": "sub/a.png", "height": 40, "width": 60, "license": 4}],
        "annotations": [{**annotation, "colour": "red"}, {**mask, "bbox": [30, 10, 20, 20], "score": 0.5}],
        "categories": [{"id": 3, "name": "zebra"}, {"id": 9, "name": "ant"}],
        **changes,
    }
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / "instances_train.json").write_text(json.dumps(data))
    return root


def test_coco_becomes_voc(tmp_path):
    dataset = open_dataset(write_coco(tmp_path / "coco"), details=True)
    copied(dataset, tmp_path / "voc")
    root = ElementTree.parse(tmp_path / "voc" / "Annotations" / "a.xml").getroot()
    assert root.findtext("license") == "4"
    nodes = root.findall("object")
    assert [node.findtext("name") for node in nodes] == ["ant", "zebra"]
    assert [node.findtext("colour") for node in nodes] == ["red", None]
    assert (tmp_path / "voc" / "classes.txt").read_text() == "background\nzebra\nant\n"
    assert VocDataset.whole(tmp_path / "voc", "train") == {"task": "instances"}
    read = open_dataset(tmp_path / "voc", task="instances")[0][1]
    assert read["boxes"].tolist() == [[4, 5, 24, 15], [30, 10, 50, 30]]
    assert read["has_mask"].tolist() == [False, True]
    square = np.zeros(SIZE, dtype=bool)
    square[10:30, 30:50] = True
    assert np.array_equal(read["masks"][1].numpy(), square)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("ant", "ant"), "the classes 1 and 2 are both called 'ant'; rename one of them"),
        (("ant", "background"), "can't hold the class name 'background': it means something else there"),
        (("ant", "b\nc"), r"can't hold the class name 'b\\nc'"),
        (("ant", "b\x85c"), r"can't hold the class name 'b\\x85c'"),
        (("ant", "b\x01"), r"can't hold the class name 'b\\x01'"),
        (("ant", " b"), "can't hold the class name ' b'"),
        (("ant", ""), "can't hold the class name ''"),
    ],
)
def test_classes_that_voc_cannot_tell_apart(tmp_path, names, reason):
    categories = [{"id": number, "name": name} for number, name in zip((3, 9), names)]
    dataset = open_dataset(write_coco(tmp_path, categories=categories))
    with pytest.raises(ValueError, match=reason):
        VocWriter.like(dataset, tmp_path / "voc", "train")


def test_odd_classes_come_back(tmp_path):
    names = ("1 ant", "b  c", "__ignore__", "# d", "e\tf", "<g> & ü", "h")
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 3)]
    dataset = open_dataset(write_coco(tmp_path, categories=categories))
    copied(dataset, tmp_path / "voc")
    assert open_dataset(tmp_path / "voc").classes == ("background", *names)


class Maps:
    """A dataset of another layout whose classes begin at 0."""

    layout, mix_layout, has_panoptic, has_semantic, has_masks = "other", "BCHW", False, True, False
    classes = ("road", "car")


def test_classes_that_begin_at_zero_move_up(tmp_path):
    writer = VocWriter.like(Maps(), tmp_path, "train")  # type: ignore[arg-type]
    semantic = torch.zeros(SIZE, dtype=torch.uint8)
    semantic[3, 4], semantic[0, 0] = 1, 255
    boxes = torch.tensor([[4.0, 3, 5, 4]])
    writer.add("a", IMAGE, {"semantic": semantic, "boxes": boxes, "labels": torch.tensor([1])})
    writer.finish()
    assert (tmp_path / "classes.txt").read_text() == "background\nroad\ncar\n"
    kinds = np.asarray(Image.open(tmp_path / "SegmentationClass" / "a.png"))
    assert (kinds[3, 4], kinds[0, 0], kinds[1, 1]) == (2, 255, 1)
    assert ElementTree.parse(tmp_path / "Annotations" / "a.xml").findtext("object/name") == "car"


def save_voc(root: Path, maps: dict[str, np.ndarray], segmented: str) -> Path:
    for name in "ab":
        save_picture(root / "JPEGImages" / f"{name}.png")
    for kind, ids in maps.items():
        (root / kind).mkdir()
        Image.fromarray(ids.astype(np.uint8)).save(root / kind / "a.png")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text(segmented)
    return root


def test_a_set_of_maps_alone_stays_one(tmp_path):
    kinds = np.zeros(SIZE)
    kinds[5:15, 4:24] = 8
    dataset = open_dataset(save_voc(tmp_path / "source", {"SegmentationClass": kinds}, "a\n"))
    assert copied(dataset, tmp_path / "copy") == {}
    assert not (tmp_path / "copy" / "Annotations").exists()
    assert not (tmp_path / "copy" / "ImageSets" / "Main").exists()
    again = open_dataset(tmp_path / "copy")
    assert (again.task, len(again)) == ("segmentation", 1)
    assert np.array_equal(again[0][1]["semantic"].numpy(), kinds)


def test_maps_of_some_images_stay_maps_of_those(tmp_path):
    kinds = np.zeros(SIZE)
    kinds[5:15, 4:24], kinds[3] = 8, 255
    root = save_voc(
        tmp_path / "source", {"SegmentationClass": kinds, "SegmentationObject": np.where(kinds == 8, 1, 0)}, "a\n"
    )
    (root / "ImageSets" / "Main").mkdir()
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    (root / "Annotations").mkdir()
    box = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>24</xmax><ymax>15</ymax></bndbox>"
    for name in "ab":
        xml = f"<annotation><object><name>cat</name>{box}</object></annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(xml)
    dataset = open_dataset(root, task="all", details=True)
    assert copied(dataset, tmp_path / "copy") == {}
    assert (tmp_path / "copy" / "ImageSets" / "Main" / "train.txt").read_text() == "a\nb\n"
    assert (tmp_path / "copy" / "ImageSets" / "Segmentation" / "train.txt").read_text() == "a\n"
    assert [path.name for path in (tmp_path / "copy" / "SegmentationClass").iterdir()] == ["a.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "copy" / "SegmentationClass" / "a.png")), kinds)
    assert VocDataset.whole(tmp_path / "copy", "train") == {"task": "all"}
    again = open_dataset(tmp_path / "copy", task="all")
    for i in range(2):
        for key in ("boxes", "labels", "masks", "has_mask", "semantic"):
            assert torch.equal(again[i][1][key], dataset[i][1][key]), key


@pytest.mark.parametrize("mode", ["RGB", "P"])
@pytest.mark.parametrize("boxes", [False, True])
def test_colours_of_a_label_map_are_kept(tmp_path, mode, boxes):
    source = tmp_path / "source"
    table = "# label:color_rgb:parts:actions\nfoo:10,20,30:head:run\nbackground:5,5,5::\nbar:0,200,0::\n"
    colours = {(5, 5, 5): 0, (10, 20, 30): 1, (0, 200, 0): 2, (224, 224, 192): 255}
    pixels = np.full((*SIZE, 3), 5, dtype=np.uint8)
    pixels[5:9], pixels[20:30, 7:50], pixels[0, :3] = list(colours)[1:]
    save_picture(source / "JPEGImages" / "a.png")
    drawn = Image.fromarray(pixels)
    (source / "SegmentationClass").mkdir()
    (drawn if mode == "RGB" else drawn.quantize(16)).save(source / "SegmentationClass" / "a.png")
    for kind in ("Main", "Segmentation"):
        (source / "ImageSets" / kind).mkdir(parents=True)
        (source / "ImageSets" / kind / "train.txt").write_text("a\n")
    if boxes:
        (source / "Annotations").mkdir()
        (source / "Annotations" / "a.xml").write_text(
            "<annotation><object><name>bar</name><bndbox><xmin>8</xmin><ymin>21</ymin><xmax>50</xmax><ymax>30</ymax>"
            "</bndbox></object></annotation>"
        )
    (source / "labelmap.txt").write_text(table)
    dataset = open_dataset(source, details=True)
    assert copied(dataset, tmp_path / "copy") == {}
    with Image.open(tmp_path / "copy" / "SegmentationClass" / "a.png") as image:
        assert image.mode == mode
        assert np.array_equal(np.array(image.convert("RGB")), pixels)
    assert (tmp_path / "copy" / "labelmap.txt").read_text() == table
    assert not (tmp_path / "copy" / "classes.txt").exists()
    again = open_dataset(tmp_path / "copy")
    assert again.classes == ("background", "foo", "bar")
    wanted = [[colours[tuple(pixel)] for pixel in row] for row in pixels.tolist()]
    assert again[0][1]["semantic"].tolist() == wanted
    (tmp_path / "copy" / "labelmap.txt").write_text("foo:10,20,30::\n")
    with pytest.raises(DatasetError, match=r"labelmap\.txt: is another one than"):
        VocWriter.like(dataset, tmp_path / "copy", "val")


ATTRIBUTES = """<annotation verified="yes"><folder>x</folder><filename>a.jpg</filename><source>web</source>
<owner id="7"><name lang="de">ü</name></owner><weather code="3">rain</weather>
<size><width>60</width><height>40</height><depth>3</depth></size>
<object id="4" z="1"><name>cow</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>24</xmax><ymax>15</ymax></bndbox>
<colour code="9">red</colour></object></annotation>"""


@pytest.mark.parametrize("changed", [False, True])
def test_attributes_of_elements_are_kept(tmp_path, changed):
    save_picture(tmp_path / "source" / "a.jpg")
    (tmp_path / "source" / "a.xml").write_text(ATTRIBUTES, encoding="utf-8")
    dataset = open_dataset(tmp_path / "source", details=True)
    writer = VocWriter.like(dataset, tmp_path / "copy", "train")
    image, target = dataset[0]
    if changed:
        target["details"] = [{key: value for key, value in target["details"][0].items() if key != STATED}]
    assert writer.add("a", image, target, dataset.picture(0)) == {}
    writer.finish()
    root = ElementTree.parse(tmp_path / "copy" / "Annotations" / "a.xml").getroot()
    assert root.attrib == {"verified": "yes"}
    assert root.findtext("source") == "web"
    found = {node.tag: (node.attrib, (node.text or "").strip()) for node in root.iter() if node.attrib}
    assert found == {
        "annotation": ({"verified": "yes"}, ""),
        "owner": ({"id": "7"}, ""),
        "name": ({"lang": "de"}, "ü"),
        "weather": ({"code": "3"}, "rain"),
        "object": ({"id": "4", "z": "1"}, ""),
        "colour": ({"code": "9"}, "red"),
    }


def test_what_is_said_of_pictures_and_has_no_place_is_counted(tmp_path):
    picture = PictureInfo("a.jpg", {"weather": "rain", "size": [3], "tags": [], "no tag": 1, "@odd name": "x"})
    target = {"boxes": torch.tensor([[1.0, 2, 9, 7]]), "labels": torch.tensor([2])}
    lost, root = add(tmp_path, target, picture=picture)
    assert lost == {f"{name} of pictures": 1 for name in ("size", "tags", "no tag", "@odd name")}
    assert (root.findtext("weather"), root.findtext("size/width")) == ("rain", "60")
    kinds = np.zeros(SIZE)
    dataset = open_dataset(save_voc(tmp_path / "source", {"SegmentationClass": kinds}, "a\n"))
    writer = VocWriter.like(dataset, tmp_path / "maps", "train")
    assert writer.add("a", *dataset[0], picture) == {f"{name} of pictures": 1 for name in picture.details}


def test_rounded_boxes_are_counted(tmp_path):
    boxes = torch.tensor([[3.5, 4.25, 30.7, 21.75], [3, 4, 30, 21], [3, 4, 30.5, 21]])
    lost, root = add(tmp_path, {"boxes": boxes, "labels": torch.tensor([1, 2, 1])})
    assert lost == {"fractions of pixels in boxes (rounded outwards)": 2}
    corners = [[int(node.text or 0) for node in box] for box in root.iter("bndbox")]
    assert corners == [[4, 5, 31, 22], [4, 5, 30, 21], [4, 5, 31, 21]]


@pytest.mark.parametrize("mixed", [False, True])
def test_ids_of_several_pictures_are_told_apart(tmp_path, mixed):
    """A mix has objects of another picture, whose ids mean others; in one picture nothing is touched."""
    element = "<object{0}><name>cat</name><bndbox/><id>{1}</id><parts><ispartof>{2}</ispartof></parts></object>"
    texts = [element.format(' id="0"', 0, ""), element.format("", 1, "0"), element.format(' id="0"', 0, "")]
    target = {
        "boxes": torch.tensor([[1.0, 2, 9, 9]] * 4),
        "labels": torch.ones(4, dtype=torch.int64),
        "details": [*({STATED: text} for text in texts), {"id": "1", "parts": {"hasparts": "2"}}],
    }
    lost, root = add(tmp_path, target | ({"visibility": torch.ones(4)} if mixed else {}))
    ids = [(node.get("id"), node.findtext("id")) for node in root.findall("object")]
    parts = [node.findtext("parts/ispartof", node.findtext("parts/hasparts")) for node in root.findall("object")]
    if mixed:
        assert ids == [("0", "0"), (None, "1"), ("2", "2"), (None, "3")]
        assert parts == ["", None, "", None]
        assert lost == {"id that another instance has": 2, "parts of instances in mixed pictures": 2}
    else:
        assert ids == [("0", "0"), (None, "1"), ("0", "0"), (None, "1")]
        assert parts == ["", "0", "", "2"]
        assert lost == {}
