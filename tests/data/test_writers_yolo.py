"""YOLO as it is written: the numbers in the files, read by this test alone, and what the reader makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors
from versions import needs_rotated

import cutmix_dense as cd
from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.details import STATED
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.writers import YoloWriter
from cutmix_dense.data.writers.yolo import one_polygon

CLASSES = ("background", "ant", "bee fly")
SIZE = (37, 53)


def picture(size=SIZE, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 255, (3, *size), dtype=np.uint8))


def target(boxes, labels, **more):
    values = {key: torch.as_tensor(np.asarray(value)) for key, value in more.items() if key != "details"}
    details = {"details": more["details"]} if "details" in more else {}
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(len(labels), -1 if boxes else 4)
    return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64), **values, **details}


def write(root, samples, split="train", **options):
    """Write {key: (image, target)}; returns what was lost of each, and the words of each label file."""
    writer = YoloWriter(root, classes=CLASSES, split=split, **options)
    lost = {key: writer.add(key, *sample) for key, sample in samples.items()}
    writer.finish()
    return lost, {key: words(root, key, split) for key in samples}


def words(root, key, split="train"):
    (path,) = [path for path in root.rglob(f"{key}.txt") if split in path.parts]
    assert path.parent.parts.count("labels") == 1
    return [line.split() for line in path.read_text().splitlines()]


def even_odd(polygon, size):
    """Pixels whose centre a polygon encloses: an odd number of its edges lie to the right."""
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    points = np.asarray(polygon).reshape(-1, 2)
    inside = np.zeros(size, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0)):
        if y0 != y1:
            crosses = (np.minimum(y0, y1) <= ys) & (ys < np.maximum(y0, y1))
            inside ^= crosses & (xs < x0 + (ys - y0) * (x1 - x0) / (y1 - y0))
    return inside


def test_boxes_backgrounds_and_the_list(tmp_path):
    sample = picture(), target([[3, 4, 20, 30], [0, 0, 53, 37]], [2, 1])
    lost, lines = write(tmp_path, {"a": sample, "b": (picture(seed=1), target([], []))})
    assert lost == {"a": {}, "b": {}}
    assert [line[0] for line in lines["a"]] == ["1", "0"]
    x, y, w, h = map(float, lines["a"][0][1:])
    assert np.allclose([x * 53, y * 37, w * 53, h * 37], [11.5, 17, 17, 26], atol=1e-6)
    assert lines["a"][1][1:] == ["0.5", "0.5", "1", "1"]
    assert lines["b"] == []
    assert (tmp_path / "labels" / "train" / "b.txt").read_bytes() == b""
    said = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert said == {"train": "images/train", "task": "detect", "nc": 2, "names": {0: "ant", 1: "bee fly"}}
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.classes) == ("yolo", CLASSES)
    assert dataset[0][1]["boxes"].tolist() == sample[1]["boxes"].tolist()
    assert dataset[1][1]["labels"].tolist() == []
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / ".staging").exists()


def test_one_polygon_for_holes_and_parts():
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    ring = (np.hypot(ys - 12, xs - 14) < 10) & (np.hypot(ys - 12, xs - 14) > 5)
    mask = ring | (np.hypot(ys - 12, xs - 14) < 2)  # a part in the hole
    mask[25:30, 30:40] = True
    mask[30:35, 40:50] = True  # touches it with a corner
    assert np.array_equal(even_odd(one_polygon(mask), SIZE), mask)
    rng = np.random.default_rng(0)
    for size in ((31, 47), (90, 70)):  # the larger one has more parts than are joined to the nearest
        noise = rng.random(size) < 0.4
        assert np.array_equal(even_odd(one_polygon(noise), size), noise)


def test_masks_and_what_is_lost(tmp_path):
    masks = np.zeros((5, *SIZE), dtype=bool)
    masks[0, 4:20, 3:30] = True
    masks[0, 8:12, 8:12] = False
    masks[1, 30:36, 2:9] = masks[1, 30:36, 20:29] = True
    masks[3, :9, 40:] = True
    boxes = [[3, 4, 30, 20], [2, 30, 29, 36], [10, 10, 20, 20], [40, 0, 53, 9], [1, 1, 9, 9]]
    sample = target(
        boxes,
        [1, 2, 1, 2, 1],
        masks=masks,
        has_mask=[True, True, False, True, True],
        iscrowd=[0, 0, 0, 1, 0],
        difficult=[False, True, False, False, False],
        semantic=np.zeros(SIZE, dtype=np.uint8),
        details=[{"score": 0.5}, {}, {}, {}, {"attributes": {"a": 1}}],
    )
    lost, lines = write(tmp_path, {"a": (picture(), sample)})
    assert [line[0] for line in lines["a"]] == ["0", "1", "0", "0"]
    for i in (0, 1):
        shares = np.array(lines["a"][i][1:], dtype=float).reshape(-1, 2)
        assert np.array_equal(even_odd(shares * SIZE[::-1], SIZE), masks[i])
    assert [len(line) for line in lines["a"][2:]] == [5, 5]
    counts = lost["a"]
    boxed = counts.pop(next(name for name in counts if name.startswith("masks (none stated")))
    assert (boxed, counts) == (
        2,
        {"crowds, left out": 1, "difficult": 1, "semantic map": 1, "score": 1, "attributes": 1},
    )
    again = open_dataset(tmp_path)[0][1]
    assert again["has_mask"].tolist() == [True, True, False, False]
    assert np.array_equal(again["masks"][:2].numpy(), masks[:2])
    assert again["boxes"].tolist() == [boxes[i] for i in (0, 1, 2, 4)]


def test_rectangles_as_masks_are_no_rotated_boxes_when_read_again(tmp_path):
    masks = np.zeros((1, *SIZE), dtype=bool)
    masks[0, 4:20, 3:30] = True
    _, lines = write(tmp_path, {"a": (picture(), target([[3, 4, 30, 20]], [1], masks=masks))})
    assert len(lines["a"][0]) == 9
    dataset = open_dataset(tmp_path)
    assert dataset.task == "segment"
    assert np.array_equal(dataset[0][1]["masks"].numpy(), masks)


def test_keypoints(tmp_path):
    points = [[[10.5, 20.25, 2], [3, 4, 1], [0, 0, 0]]]
    sample = picture(), target([[3, 4, 20, 30]], [1], keypoints=points, masks=np.ones((1, *SIZE), dtype=bool))
    lost, lines = write(tmp_path / "three", {"a": sample}, flip_pairs=((1, 2),))
    assert lost == {"a": {"masks": 1}}
    values = np.array(lines["a"][0][5:], dtype=float).reshape(3, 3)
    assert np.allclose(values * [53, 37, 1], points[0], atol=1e-6)
    said = yaml.safe_load((tmp_path / "three" / "data.yaml").read_text())
    assert (said["kpt_shape"], said["flip_idx"], said["task"]) == ([3, 3], [0, 2, 1], "pose")
    dataset = open_dataset(tmp_path / "three")
    assert dataset.flip_pairs == ((1, 2),)
    assert dataset[0][1]["keypoints"].tolist() == points
    lost, lines = write(tmp_path / "two", {"a": sample}, points=(3, 2), task="pose")
    assert lost["a"]["flags of hidden keypoints"] == 1
    assert len(lines["a"][0]) == 5 + 6
    assert open_dataset(tmp_path / "two")[0][1]["keypoints"][0, :, 2].tolist() == [2, 2, 0]
    lost, _ = write(tmp_path / "boxes", {"a": sample}, task="detect")
    assert lost == {"a": {"masks": 1, "keypoints": 1}}
    with pytest.raises(ValueError, match="keypoints must be 4 per instance, got 3"):
        write(tmp_path / "odd", {"a": sample}, points=(4, 3))


@needs_rotated
def test_rotated_boxes(tmp_path):
    corners = torch.tensor([[10.0, 4, 30, 20, 20, 30, 5, 16]])
    boxes = tv_tensors.BoundingBoxes(corners, format="XYXYXYXY", canvas_size=SIZE)
    _, lines = write(tmp_path, {"a": (picture(), {"boxes": boxes, "labels": torch.tensor([2])})})
    assert lines["a"][0][0] == "1"
    assert np.allclose(np.array(lines["a"][0][1:], dtype=float).reshape(4, 2) * [53, 37], corners.reshape(4, 2))
    dataset = open_dataset(tmp_path)
    assert dataset.task == "obb"
    assert torch.equal(dataset[0][1]["boxes"].as_subclass(torch.Tensor), corners)
    with pytest.raises(ValueError, match="needs rotated boxes"):
        write(tmp_path / "b", {"a": (picture(), target([[1, 2, 3, 4]], [1]))}, task="obb")


def test_an_untouched_line_stays_word_for_word_and_only_there(tmp_path):
    stated = [{"score": 0.9, STATED: {"line": [".50", "5e-1", "0.10", "0.1", "0.9"], "size": list(SIZE)}}]
    away = [{STATED: {"line": ["0.5", "0.5", "0.1", "0.1"], "size": [74, 106]}}]
    box = [[1.0, 2, 3, 4]]
    samples = {
        "a": (picture(), target(box, [2], details=stated)),
        "b": (picture(), target(box, [2], details=away)),
    }
    lost, lines = write(tmp_path, samples)
    assert lines["a"] == [["1", ".50", "5e-1", "0.10", "0.1", "0.9"]]
    assert np.allclose(np.array(lines["b"][0][1:], dtype=float), [2 / 53, 3 / 37, 2 / 53, 2 / 37])
    assert lost == {"a": {}, "b": {}}


@pytest.mark.parametrize(
    ("splits", "named"),
    [
        (("train2017", "val2017"), {"train": "images/train2017", "val": "images/val2017"}),
        (("train", "valid"), {"train": "images/train", "val": "images/valid"}),
        (("validation", "test"), {"val": "images/validation", "test": "images/test"}),
        (("val", "valid", "trainval"), {"val": "images/val", "valid": "images/valid", "trainval": "images/trainval"}),
    ],
)
def test_splits_are_called_as_ultralytics_wants_them(tmp_path, splits, named):
    for number, split in enumerate(splits):
        sample = {f"a{number}": (picture(), target([[1, 2, 3, 4]], [1]))}
        write(tmp_path, sample, split=split)
        write(tmp_path, sample, split=split)  # once more, and it has the same name
    said = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert {key: value for key, value in said.items() if "images" in str(value)} == named
    assert YoloWriter(tmp_path, classes=CLASSES).absent() == [each for each in ("train", "val") if each not in named]


def test_a_split_that_an_older_version_wrote_keeps_its_name(tmp_path):
    sample = {"a": (picture(), target([[1, 2, 3, 4]], [1]))}
    write(tmp_path, sample, split="train2017")
    path = tmp_path / "data.yaml"
    path.write_text(path.read_text().replace("train:", "train2017:"))
    write(tmp_path, sample, split="train2017")
    said = yaml.safe_load(path.read_text())
    assert said["train2017"] == "images/train2017"
    assert "train" not in said


def test_splits_share_one_list(tmp_path):
    one = {"a": (picture(), target([[1, 2, 3, 4]], [1]))}
    write(tmp_path, one, split="val")
    write(tmp_path, {"b": one["a"]}, split="train")
    write(tmp_path, {"c": one["a"]}, split="night test", by_split=True)
    said = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert list(said.items())[:3] == [
        ("train", "images/train"),
        ("val", "images/val"),
        ("night test", "night test/images"),
    ]
    for split in ("train", "val", "night test"):
        assert len(open_dataset(tmp_path, split=split)) == 1
    before = (tmp_path / "data.yaml").read_bytes()
    with pytest.raises(DatasetError, match="names other classes"):
        YoloWriter(tmp_path, classes=("background", "cat"), split="test")
    masks = np.ones((1, *SIZE), dtype=bool)
    with pytest.raises(DatasetError, match="is for task 'detect', the split 'test' for 'segment'"):
        write(tmp_path, {"d": (picture(), target([[1, 2, 3, 4]], [1], masks=masks))}, split="test")
    assert (tmp_path / "data.yaml").read_bytes() == before


def test_arguments_and_samples_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="task must be"):
        YoloWriter(tmp_path, classes=CLASSES, task="boxes")
    with pytest.raises(ValueError, match="label 0 is the background"):
        write(tmp_path, {"a": (picture(), target([[1, 2, 3, 4]], [0]))})
    keypoints = {"a": np.zeros((0, 3, 3)), "b": np.zeros((0, 4, 3))}
    samples = {key: (picture(), target([], [], keypoints=value)) for key, value in keypoints.items()}
    with pytest.raises(DatasetError, match="different numbers of keypoints"):
        write(tmp_path, samples)


@pytest.mark.parametrize("name", ["no", "a: b", 'say "x"', "- x", "größe", "#1", "1.10", "null", "two words", "a'b"])
def test_names_that_yaml_could_take_for_something_else(tmp_path, name):
    writer = YoloWriter(tmp_path, classes=("background", name, "other"))
    writer.add("a", picture(), target([[1, 2, 3, 4]], [1]))
    writer.finish()
    assert yaml.safe_load((tmp_path / "data.yaml").read_text("utf-8"))["names"] == {0: name, 1: "other"}
    assert open_dataset(tmp_path).classes[1] == name
    YoloWriter(tmp_path, classes=("background", name, "other"), split="val")  # the same classes


def test_sub_folders_and_endings(tmp_path):
    writer = YoloWriter(tmp_path, classes=CLASSES)
    for key, name in (("a", "site 1/x.PNG"), ("b", "images/y.jpg"), ("c", "z.gif")):
        writer.add(key, picture(), target([[1, 2, 3, 4]], [1]), PictureInfo(name))
    writer.finish()
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "data.yaml",
        "images/train/site 1/a.PNG",
        "labels/train/site 1/a.txt",
        "images/train/images/b.jpg",
        "images/train/labels/b.txt",  # where every trainer looks for it
        "images/train/c.png",
        "labels/train/c.txt",
    }
    dataset = open_dataset(tmp_path)
    assert [len(dataset[i][1]["labels"]) for i in range(3)] == [1, 1, 1]


# ------------------------------------------------------------------------------------------------- round trips


@st.composite
def written(draw):
    """A size, a task and one sample's target with coordinates anywhere in the picture."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 90))
    task = draw(st.sampled_from(["detect", "segment", "pose", "obb"]))
    count = draw(st.integers(0, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    whole = draw(st.booleans())
    points = rng.random((count, 4, 2)) * [width, height]
    points = np.round(points) if whole else points
    low, high = points[:, :2].min(axis=1), points[:, :2].max(axis=1)
    made = {"boxes": np.concatenate([low, high], axis=1).astype(np.float32)}
    if task == "obb":
        made["boxes"] = points.reshape(count, 8).astype(np.float32)
    if task == "segment":
        masks = rng.random((count, height, width)) < rng.random()
        masks[:, rng.integers(height), rng.integers(width)] = True
        made["masks"] = masks
        made["boxes"] = np.array([tight(mask) for mask in masks], dtype=np.float32).reshape(count, 4)
    if task == "pose":
        flags = rng.integers(0, 3, (count, 4, 1))
        made["keypoints"] = np.concatenate([points, flags], axis=2).astype(np.float32)
    made["labels"] = rng.integers(1, 3, count)
    return (height, width), task, made


def tight(mask):
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@needs_rotated
@settings(max_examples=60, deadline=None)
@given(written())
def test_what_is_written_reads_back(tmp_path_factory, case):
    size, task, made = case
    root = tmp_path_factory.mktemp("yolo")
    tensors = {key: torch.from_numpy(value) for key, value in made.items()}
    if task == "obb":
        tensors["boxes"] = tv_tensors.BoundingBoxes(tensors["boxes"], format="XYXYXYXY", canvas_size=size)
    lost, _ = write(root, {"a": (picture(size), tensors)}, task=task)
    assert lost == {"a": {}}
    dataset = open_dataset(root)
    again = dataset[0][1]
    assert dataset.task == task
    assert again["labels"].tolist() == made["labels"].tolist()
    for key in ("boxes", "keypoints"):
        if key in made:
            got = again[key].as_subclass(torch.Tensor).numpy()
            assert np.allclose(got, made[key], atol=1e-6, rtol=0), key
            whole = made[key] == np.round(made[key])
            assert np.array_equal(got[whole], made[key][whole]), key
    if task == "segment":
        assert np.array_equal(again["masks"].numpy(), made["masks"])
        assert again["has_mask"].all()


SOURCES = {
    "detect": "1 0.5 0.25 0.2 0.3\n0 0.333333 0.5 0.1 0.07 0.25\n",
    "segment": "0 0.1 0.1 0.5 0.1 0.1 0.5\n1 0.5 0.25 0.2 0.3\n1 0.2 0.2 0.8 0.2 0.8 0.6 0.2 0.6\n",
    "obb": "1 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5\n",
    "pose": "1 0.5 0.25 0.2 0.3 0.5 0.25 2 0.1 0.2 1\n",
}


@needs_rotated
@pytest.mark.parametrize("task", SOURCES)
def test_a_copy_that_mixes_nothing_is_the_source_line_for_line(tmp_path, task):
    source, copy = tmp_path / "source", tmp_path / "copy"
    for name in ("a", "b"):
        (source / "train" / "images" / "sub").mkdir(parents=True, exist_ok=True)
        (source / "train" / "labels" / "sub").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40)).save(source / "train" / "images" / "sub" / f"{name}.png")
    (source / "train" / "labels" / "sub" / "a.txt").write_text(SOURCES[task])
    shape = "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n" if task == "pose" else ""
    (source / "data.yaml").write_text(f"train: train/images\nnames: [ant, bee]\ntask: {task}\n{shape}")
    dataset = open_dataset(source, details=True)
    writer = YoloWriter.like(dataset, copy, "train")
    images, targets = map(list, zip(*[dataset[i] for i in range(2)]))
    images, targets = cd.CutMix(p=0.0)(images, targets)
    for i, key in enumerate("ab"):
        assert writer.add(key, images[i], targets[i], dataset.picture(i)) == {}
    writer.finish()
    assert (copy / "train" / "labels" / "sub" / "a.txt").read_text() == SOURCES[task]
    assert (copy / "train" / "labels" / "sub" / "b.txt").read_text() == ""
    again = open_dataset(copy, details=True)
    assert (again.task, again.classes, again.flip_pairs) == (task, dataset.classes, dataset.flip_pairs)
    for i in range(2):
        for key, value in dataset[i][1].items():
            other = again[i][1][key]
            same = torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
            assert same, key


def test_other_layouts_as_yolo(demo, tmp_path):
    for layout, root, task in (("coco", "coco", None), ("voc", "voc", "instances"), ("voc", "voc", "detection")):
        source = open_dataset(demo / root, layout, "val", **({"task": task} if task else {}))
        out = tmp_path / f"{layout}-{task}"
        writer = YoloWriter.like(source, out, "val")
        lost = [writer.add(f"{i}", *source[i]) for i in range(len(source))]
        writer.finish()
        again = open_dataset(out, split="val")
        assert again.classes == source.classes
        assert again.task == ("detect" if task == "detection" else "segment")
        crowds = 0
        for i in range(len(source)):
            old, new = source[i][1], again[i][1]
            kept = old["iscrowd"] == 0
            crowds += int((~kept).sum())
            assert torch.equal(new["labels"], old["labels"][kept])
            if task == "detection":
                assert torch.equal(new["boxes"], old["boxes"][kept])
            else:
                assert torch.equal(new["masks"], old["masks"][kept])
        assert sum(each.get("crowds, left out", 0) for each in lost) == crowds
        assert sum(each.get("semantic map", 0) for each in lost) == (len(source) if layout == "voc" else 0)


def test_what_has_no_place_in_yolo(demo, tmp_path):
    semantic = open_dataset(demo / "voc", "voc", "val", task="segmentation")
    with pytest.raises(ValueError, match="samples of this voc set are semantic maps"):
        YoloWriter.like(semantic, tmp_path, "val")


class Named:
    """A dataset of another layout with such classes."""

    layout, mix_layout, has_panoptic, has_instances, flip_pairs = "other", "BCHW", False, True, None

    def __init__(self, *names: str) -> None:
        self.classes = ("background", *names)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("cat", "cat"), "yolo tells classes by their names, but the classes 1 and 2 are both called 'cat'; rename"),
        (("cat", ""), "can't hold the class name ''"),
    ],
)
def test_classes_of_one_name_are_refused(tmp_path, names, reason):
    with pytest.raises(ValueError, match=reason):
        YoloWriter.like(Named(*names), tmp_path, "train")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_odd_class_names_come_back(tmp_path):
    names = (" a", "b\n", "c\x85d\u2028e", "\x7f\x01", "\U0001f41c", "no", '"\\"', "ü: #")
    writer = YoloWriter.like(Named(*names), tmp_path, "train")  # type: ignore[arg-type]
    writer.add("a", picture(), target([[3, 4, 20, 30]], [8]))
    writer.finish()
    assert open_dataset(tmp_path).classes == ("background", *names)


def test_fields_of_pictures_are_counted(tmp_path):
    info = PictureInfo("a.png", {"license": 3, "weather": "rain"})
    lost, _ = write(tmp_path, {"a": (picture(), target([[3, 4, 20, 30]], [2]), info), "b": (picture(), target([], []))})
    assert lost == {"a": {"license of pictures": 1, "weather of pictures": 1}, "b": {}}
