"""Writers: what is written reads back the same, whoever reads it, and nothing half-written is ever listed."""

from __future__ import annotations

import contextlib
import io
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from torchvision import tv_tensors
from torchvision.datasets import Cityscapes, CocoDetection, VOCDetection, VOCSegmentation

from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.masks import boxes_from_masks
from cutmix_dense.data.writers import CityscapesWriter, CocoPanopticWriter, CocoWriter, VocWriter

CLASSES = ("background", "disc", "ring", "twin")
SIZE = (37, 53)


def sample(seed, raw=False):
    """An image and a target with masks that do not overlap: one with a hole, one of two parts, a crowd."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    owner = np.full(SIZE, -1)
    owner[np.hypot(ys - 12, xs - 12 - seed % 3) < 9] = 0
    owner[np.hypot(ys - 12, xs - 12 - seed % 3) < 4] = -1
    owner[20:25, 30:36] = 1
    owner[20:25, 40:44] = 1
    owner[30:, 10:50:3] = 2
    owner[2:9, 35:50] = 3
    masks = owner[None] == np.arange(4).reshape(-1, 1, 1)
    labels = np.array([24, 26, 33, 24]) if raw else np.array([2, 3, 1, 1])
    semantic = np.where(owner < 0, 7 if raw else 0, np.append(labels, 0)[owner])
    semantic[:2] = 0 if raw else 255
    target = {
        "boxes": torch.from_numpy(boxes_from_masks(masks)),
        "labels": torch.from_numpy(labels),
        "masks": torch.from_numpy(masks),
        "iscrowd": torch.tensor([0, 0, 1, 0]),
        "area": torch.tensor([1.5, 2.25, 3.0, 105.0]),
        "difficult": torch.tensor([False, False, False, True]),
        "semantic": torch.from_numpy(semantic),
    }
    return torch.from_numpy(rng.integers(0, 255, (3, *SIZE), dtype=np.uint8)), target


def panoptic_sample(seed):
    """A thing with a hole, one of two parts, a crowd, stuff and void; ids of one, two and three bytes."""
    image, target = sample(seed)
    ids = torch.full(SIZE, 7)
    for number, mask in zip((300, 70_000, 256**3 - 1, 8), target["masks"]):
        ids[mask] = number
    ids[:2] = 0
    categories = {7: 3, 300: 90, 70_000: 7, 256**3 - 1: 90, 8: 7}
    infos = [
        {"id": number, "category_id": category, "isthing": category != 3, "iscrowd": int(number == 256**3 - 1)}
        for number, category in categories.items()
    ]
    return image, {"panoptic": ids, "segments_info": infos}


def empty():
    image, target = sample(9)
    kept = {key: value[:0] for key, value in target.items() if key != "semantic"}
    return image, {**kept, "semantic": torch.zeros(SIZE, dtype=torch.uint8)}


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_coco_reads_back_the_same(tmp_path):
    writer = CocoWriter(tmp_path, classes=CLASSES, category_ids=(0, 5, 90, 7), image_format="png")
    image, target = sample(0)
    writer.add("a", image, target)
    writer.add("b", *empty())
    writer.finish(["b", "a"])
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ("background", "disc", "twin", "ring")  # in the order of the ids
    assert [dataset.image_path(i).name for i in range(2)] == ["b.png", "a.png"]
    got_image, got = dataset[1]
    assert torch.equal(got_image, image)
    for key in ("boxes", "masks", "iscrowd", "area"):
        assert torch.equal(got[key], target[key]), key
    assert [dataset.classes[label] for label in got["labels"]] == ["ring", "twin", "disc", "disc"]
    assert len(dataset[0][1]["labels"]) == 0
    with contextlib.redirect_stdout(io.StringIO()):
        official = COCO(str(tmp_path / "annotations" / "instances_train.json"))
        images = CocoDetection(tmp_path / "train", str(tmp_path / "annotations" / "instances_train.json"))
    assert len(images) == 2
    for annotation, mask in zip(images[1][1], target["masks"], strict=True):
        assert np.array_equal(official.annToMask(annotation), mask.numpy())
    forms = [type(annotation["segmentation"]) for annotation in images[1][1]]
    assert forms == [dict, dict, dict, list]  # a hole, two parts, a crowd, a plain box


def test_coco_without_masks_has_boxes_to_the_last_bit(tmp_path):
    boxes = torch.rand(50, 4) * 20
    boxes[:, 2:] += boxes[:, :2] + 0.1
    target = {"boxes": boxes, "labels": torch.ones(50), "visibility": torch.full((50,), 0.25)}
    writer = CocoWriter(tmp_path, classes=CLASSES)
    writer.add("a", sample(0)[0], target)
    writer.finish()
    assert torch.equal(open_dataset(tmp_path)[0][1]["boxes"], boxes)
    annotation = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())["annotations"][0]
    assert annotation["visibility"] == 0.25
    assert "segmentation" not in annotation


def test_boxes_of_other_formats_are_converted(tmp_path):
    boxes = tv_tensors.BoundingBoxes(torch.tensor([[10.0, 12.0, 4.0, 6.0]]), format="CXCYWH", canvas_size=SIZE)
    writer = CocoWriter(tmp_path, classes=CLASSES)
    writer.add("a", sample(0)[0], {"boxes": boxes, "labels": torch.ones(1)})
    writer.finish()
    assert open_dataset(tmp_path)[0][1]["boxes"].tolist() == [[8, 9, 12, 15]]


def test_an_empty_mask_is_written_as_what_it_is(tmp_path):
    writer = CocoWriter(tmp_path, classes=CLASSES)
    target = {"boxes": torch.tensor([[1.0, 2, 3, 4]]), "labels": torch.ones(1), "masks": torch.zeros(1, *SIZE)}
    writer.add("a", sample(0)[0], target)
    writer.finish()
    with contextlib.redirect_stdout(io.StringIO()):
        official = COCO(str(tmp_path / "annotations" / "instances_train.json"))
    assert official.annToMask(official.anns[1]).sum() == 0


def test_voc_reads_back_the_same(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    writer = VocWriter(root, classes=CLASSES, split="train")
    image, target = sample(1)
    writer.add("x", image, target)
    writer.add("y", *empty())
    writer.finish(["x", "y"])
    dataset = open_dataset(root, task="instances")
    assert dataset.classes == CLASSES
    _, got = dataset[0]
    for key in ("boxes", "labels", "masks", "semantic"):
        assert torch.equal(got[key], target[key]), key
    assert got["difficult"].tolist() == [False, False, True, True]  # a crowd is difficult
    assert dataset[1][1]["masks"].shape == (0, *SIZE)
    assert list(open_dataset(root)[1][1]) == ["image_id", "boxes", "labels", "iscrowd", "area", "difficult", "semantic"]
    found = VOCDetection(tmp_path, year="2012", image_set="train")[0][1]["annotation"]["object"]
    assert [thing["name"] for thing in found] == ["ring", "twin", "disc", "disc"]
    assert found[3]["bndbox"] == {"xmin": "36", "ymin": "3", "xmax": "50", "ymax": "9"}
    mask = VOCSegmentation(tmp_path, year="2012", image_set="train")[0][1]
    assert mask.mode == "P"
    assert np.array_equal(np.asarray(mask), target["semantic"].numpy())
    assert mask.getpalette()[3:9] == [128, 0, 0, 0, 128, 0]


def test_voc_rounds_boxes_outwards_and_keeps_its_class_list(tmp_path):
    writer = VocWriter(tmp_path, classes=CLASSES)
    writer.add("a", sample(0)[0], {"boxes": torch.tensor([[1.2, 2.0, 9.9, 7.1]]), "labels": torch.ones(1)})
    writer.finish()
    assert open_dataset(tmp_path)[0][1]["boxes"].tolist() == [[1, 2, 10, 8]]
    assert not (tmp_path / "SegmentationClass").exists()
    with pytest.raises(DatasetError, match="names other classes"):
        VocWriter(tmp_path, classes=("background", "other"), split="val")


def test_voc_paints_a_missing_semantic_map(tmp_path):
    image, target = sample(0)
    expected = target.pop("semantic")
    writer = VocWriter(tmp_path, classes=CLASSES)
    writer.add("a", image, target)
    writer.finish()
    expected[expected == 255] = 0
    assert torch.equal(open_dataset(tmp_path)[0][1]["semantic"], expected)


@pytest.mark.parametrize("label_ids", ["raw", "train"])
def test_cityscapes_reads_back_the_same(tmp_path, label_ids):
    image, target = sample(2, raw=True)
    if label_ids == "train":
        table = {24: 11, 26: 13, 33: 18, 7: 0, 0: 255}
        for key in ("labels", "semantic"):
            target[key] = target[key].clone().apply_(table.get)
    writer = CityscapesWriter(tmp_path, label_ids=label_ids)
    writer.add("aachen_000001_000019", image, target)
    writer.finish()
    got_image, got = open_dataset(tmp_path, label_ids=label_ids)[0]
    assert got["image_id"] == "aachen_000001_000019"
    assert torch.equal(got_image, image)
    assert torch.equal(got["semantic"].long(), target["semantic"])
    order = [2, 0, 3, 1]  # by value in the map: the group first, then class by class
    for key in ("boxes", "labels", "masks", "iscrowd"):
        assert torch.equal(got[key], target[key][order]), key
    official = Cityscapes(tmp_path, target_type=["semantic", "instance", "polygon"])
    semantic, instance, polygon = official[0][1]
    assert sorted(np.unique(np.asarray(semantic)).tolist()) == [0, 7, 24, 26, 33]
    assert sorted(np.unique(np.asarray(instance)).tolist()) == [0, 7, 33, 24000, 24001, 26000]
    assert polygon == {"imgHeight": 37, "imgWidth": 53, "objects": []}


def test_cityscapes_of_maps_only(tmp_path):
    writer = CityscapesWriter(tmp_path, city="here")
    writer.add("a", sample(0)[0], {"semantic": torch.full(SIZE, 10)})
    writer.finish()
    assert list(open_dataset(tmp_path)[0][1]) == ["image_id", "semantic"]
    assert (tmp_path / "leftImg8bit" / "train" / "here" / "a_leftImg8bit.png").is_file()


def panoptic_writer(root, **settings):
    classes, ids = ("sky", "ring", "disc"), (3, 7, 90)
    return CocoPanopticWriter(root, classes=classes, category_ids=ids, things=(90, 7), **settings)


def test_coco_panoptic_reads_back_the_same(tmp_path):
    writer = panoptic_writer(tmp_path, image_format="png")
    image, target = panoptic_sample(0)
    nothing = {"panoptic": torch.zeros(SIZE, dtype=torch.int32), "segments_info": []}
    writer.add("a", image, target)
    writer.add("b", image, nothing)
    writer.finish(["b", "a"])
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "coco_panoptic"
    assert (dataset.classes, dataset.category_ids, dataset.things) == (("sky", "ring", "disc"), (3, 7, 90), (7, 90))
    assert [dataset.image_path(i).name for i in range(2)] == ["b.png", "a.png"]
    assert dataset[0][1]["segments_info"] == []
    got_image, got = dataset[1]
    assert torch.equal(got_image, image)
    assert torch.equal(got["panoptic"].long(), target["panoptic"])
    assert len(got["segments_info"]) == len(target["segments_info"]) == 5
    for found, given in zip(got["segments_info"], target["segments_info"]):
        assert {key: found[key] for key in given} == given
        rows, columns = (target["panoptic"] == given["id"]).nonzero(as_tuple=True)
        assert found["area"] == len(rows)
        x, y, width, height = found["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
    colors = np.asarray(Image.open(tmp_path / "annotations" / "panoptic_train" / "a.png")).astype(int)
    assert np.array_equal(colors @ [1, 256, 256**2], target["panoptic"].numpy())
    again = panoptic_writer(tmp_path / "again", image_format="png")
    for index, key in enumerate("ba"):
        again.add(key, *dataset[index])
    again.finish(["b", "a"])
    assert files_of(tmp_path / "again") == {
        name: content for name, content in files_of(tmp_path).items() if not name.startswith("again")
    }


def test_a_segment_without_pixels_is_left_out_and_visibility_is_kept(tmp_path):
    image, target = panoptic_sample(0)
    infos = [{**info, "visibility": 0.25, "origin": [[0, 0]]} for info in target["segments_info"]]
    infos.append({"id": 5, "category_id": 7, "isthing": 1})
    writer = panoptic_writer(tmp_path)
    writer.add("a", image, {**target, "segments_info": infos})
    writer.finish()
    found = open_dataset(tmp_path)[0][1]["segments_info"]
    assert [info["id"] for info in found] == [info["id"] for info in target["segments_info"]]
    assert all(info["visibility"] == 0.25 and "origin" not in info for info in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"panoptic": torch.zeros(5, 5)}, r"panoptic must be \(37, 53\) like the image"),
        ({"panoptic": None}, "panoptic and segments_info must be given"),
        ({"segments_info": None}, "panoptic and segments_info must be given"),
        ({"segments_info": []}, "panoptic holds ids that segments_info doesn't list"),
        ({"panoptic": torch.full(SIZE, 256**3)}, "ids of segments must be below 2²⁴"),
        ({"panoptic": torch.full(SIZE, 6)}, "category_id must be one of"),
    ],
)
def test_panoptic_targets_that_do_not_fit_are_refused(tmp_path, change, message):
    image, target = panoptic_sample(0)
    more = {256**3: 7, 6: 11} if "panoptic" in change else {}
    whole = [{"id": number, "category_id": category, "isthing": 1} for number, category in more.items()]
    number = int(change["panoptic"].max()) if isinstance(change.get("panoptic"), torch.Tensor) else 0
    infos = [info for info in whole if info["id"] == number] or target["segments_info"]
    writer = panoptic_writer(tmp_path)
    with pytest.raises(ValueError, match=message):
        writer.add("a", image, {**target, "segments_info": infos, **change})
    assert not writer.has("a")
    with pytest.raises(ValueError, match="things must be among"):
        CocoPanopticWriter(tmp_path, classes=("sky",), things=(4,))


def make_writer(kind, root):
    if kind is CityscapesWriter:
        return CityscapesWriter(root, label_ids="raw", city="c")
    if kind is CocoPanopticWriter:
        return panoptic_writer(root)
    return kind(root, classes=CLASSES)


def stage(kind, root, key):
    """What a worker process does."""
    number = int(key[1:])
    data = panoptic_sample(number) if kind is CocoPanopticWriter else sample(number, raw=kind is CityscapesWriter)
    make_writer(kind, root).add(key, *data)


@pytest.mark.parametrize("kind", [CocoWriter, CocoPanopticWriter, VocWriter, CityscapesWriter])
def test_output_depends_on_the_keys_alone(kind, tmp_path):
    keys = [f"k{i}" for i in range(6)]
    for key in keys:
        stage(kind, tmp_path / "one", key)
    make_writer(kind, tmp_path / "one").finish(keys)
    with ProcessPoolExecutor(2) as pool:
        for result in [pool.submit(stage, kind, tmp_path / "two", key) for key in reversed(keys)]:
            result.result()
    stage(kind, tmp_path / "two", "k99")  # staged, but not asked for
    writer = make_writer(kind, tmp_path / "two")
    assert all(writer.has(key) for key in keys)
    assert not writer.has("k6")
    writer.finish(keys)
    assert not any(writer.has(key) for key in keys)
    expected, got = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    got = {name: content.replace(b"<folder>two", b"<folder>one") for name, content in got.items()}
    assert got == expected
    assert not list(tmp_path.rglob(".staging"))


@pytest.mark.parametrize("kind", [CocoWriter, CocoPanopticWriter, VocWriter, CityscapesWriter])
def test_nothing_is_listed_before_the_end_and_an_interrupted_end_can_be_repeated(kind, tmp_path, monkeypatch):
    for key in ("k1", "k2"):
        stage(kind, tmp_path, key)
    assert [path.name for path in tmp_path.iterdir()] == [".staging"]
    writer = make_writer(kind, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_write_lists", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.finish(["k1", "k2"])
    if kind is not CityscapesWriter:
        listed = ("instances_*.json", "panoptic_*.json", "ImageSets")
        assert not [path for name in listed for path in tmp_path.rglob(name)]
    again = make_writer(kind, tmp_path)
    assert again.has("k1")
    again.finish(["k1", "k2"])
    assert len(open_dataset(tmp_path)) == 2


def test_an_interrupted_add_is_not_staged(tmp_path, monkeypatch):
    writer = CocoWriter(tmp_path, classes=CLASSES)
    monkeypatch.setattr("cutmix_dense.data.writers.base.dump_json", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.add("a", *sample(0))
    assert not writer.has("a")
    with pytest.raises(DatasetError, match="1 not staged in split 'train': a"):
        writer.finish(["a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.ones(3)}, r"labels must be \(4,\)"),
        ({"masks": torch.ones(4, 10, 10)}, "masks must be"),
        ({"boxes": torch.full((4, 4), float("nan"))}, "finite"),
        ({"boxes": torch.ones(4, 5)}, r"boxes must be \(N, 4\)"),
        ({"labels": torch.full((4,), 7)}, r"labels must be in 0\.\.3"),
        ({"labels": torch.zeros(4)}, "label 0 is the background"),
        ({"semantic": torch.zeros(5, 5)}, "semantic must be"),
    ],
)
def test_targets_that_do_not_fit_are_refused(tmp_path, change, message):
    image, target = sample(0)
    writer = CocoWriter(tmp_path, classes=CLASSES)
    with pytest.raises(ValueError, match=message):
        writer.add("a", image, {**target, **change})
    assert not writer.has("a")


def test_keys_splits_and_images_that_do_not_fit_are_refused(tmp_path):
    image, target = sample(0)
    writer = CocoWriter(tmp_path, classes=CLASSES)
    for key in ("", "../a", "a/b", ".a", "a\\b"):
        with pytest.raises(ValueError, match="key must be"):
            writer.add(key, image, target)
    with pytest.raises(ValueError, match="split must be"):
        CocoWriter(tmp_path, classes=CLASSES, split="../x")
    with pytest.raises(ValueError, match="must hold integers or floating point, got bool"):
        writer.add("a", image.bool(), target)
    with pytest.raises(ValueError, match="category_ids"):
        CocoWriter(tmp_path, classes=CLASSES, category_ids=(1, 2))
    writer.add("a", Image.fromarray(image.permute(1, 2, 0).numpy()), target)
    writer.add("a", image.permute(1, 2, 0).numpy(), target)
    with pytest.raises(DatasetError, match="given twice"):
        writer.finish(["a", "a"])
