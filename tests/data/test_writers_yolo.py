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
from cutmix_dense.data.writers.edges import rotated_in_picture
from cutmix_dense.data.writers.yolo import one_polygon

CLASSES = ("background", "ant", "bee fly")
SIZE = (37, 53)
WITHOUT_AREA = "boxes without area in the picture, left out"


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


def has_area(box):
    if len(box) == 4:
        return box[2] > box[0] and box[3] > box[1]
    points = box.reshape(4, 2).astype(np.float64)
    return np.linalg.matrix_rank(points - points[0], tol=1e-4) == 2


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
    shown = np.array([has_area(box) for box in made["boxes"]], dtype=bool)
    assert lost == {"a": {} if shown.all() else {WITHOUT_AREA: int((~shown).sum())}}
    made = {key: value[shown] for key, value in made.items()}
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


CLIPPED = "boxes beyond the edge (clipped to the picture)"
REFITTED = "rotated boxes beyond the edge (the smallest round what the picture shows)"
BEYOND = [[50, 30, 70, 50], [-5, -5, 100, 80], [30, 30, 20, 20], [60, 40, 70, 45], [5, 5, 5, 9], [-20, 3, 0, 9]]
SHOWN = [[50, 30, 53, 37], [0, 0, 53, 37], None, None, None, None]


def taken_by_ultralytics(root, key, task, classes=2, shape=(0, 0)):
    """What Ultralytics says of a label file, "" if it takes it; the boxes that it reads, in pixels."""
    utils = pytest.importorskip("ultralytics.data.utils", reason="Ultralytics itself judges the files")
    (text,), (image,) = root.rglob(f"{key}.txt"), root.rglob(f"{key}.jpg")
    said = utils.verify_image_label((str(image), str(text), "", task == "pose", classes, *shape, False))
    return said[-1], None if said[1] is None else said[1][:, 1:] * [53, 37, 53, 37]


def points_of_ultralytics(root, key, shape):
    """(N, K, 3) shares and flags that Ultralytics reads of a label file."""
    utils = pytest.importorskip("ultralytics.data.utils", reason="Ultralytics itself judges the files")
    (text,), (image,) = root.rglob(f"{key}.txt"), root.rglob(f"{key}.jpg")
    return utils.verify_image_label((str(image), str(text), "", True, 2, *shape, False))[4]


AT_ZERO = "keypoints beyond the edge or not labelled (written at 0 0, which Ultralytics takes for labelled)"


def beyond(task):
    """A sample for each kind of box beyond the edge, each beside a good one."""
    samples, good = {}, [5, 5, 15, 15]
    for number, box in enumerate(BEYOND):
        made = target([good, box], [1, 2])
        if task == "segment":
            masks = torch.zeros(2, *SIZE, dtype=torch.bool)
            masks[0, 5:15, 5:15] = True
            made |= {"masks": masks, "has_mask": torch.tensor([True, False])}
        if task == "pose":
            made["keypoints"] = torch.tensor([[[6.0, 7, 2]], [[52, 36, 1]]])
        samples[f"a{number}"] = picture(), made
    return samples


@pytest.mark.parametrize("task", ["detect", "segment", "pose"])
def test_boxes_beyond_the_edge_are_clipped_or_left_out_and_counted(tmp_path, task):
    lost, lines = write(tmp_path, beyond(task), task=task)
    for number, box in enumerate(SHOWN):
        counted = {name: count for name, count in lost[f"a{number}"].items() if not name.startswith("masks")}
        assert counted == {CLIPPED: 1} if box else {WITHOUT_AREA: 1}
        found = lines[f"a{number}"]
        assert [line[0] for line in found] == ["0"] + ["1"] * bool(box)
        assert all(0 <= float(word) <= 1 for line in found for word in line[1:5])
        if box:
            x, y, w, h = np.array(found[1][1:5], dtype=float) * [53, 37, 53, 37]
            assert np.allclose([x - w / 2, y - h / 2, x + w / 2, y + h / 2], box, atol=1e-5)


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_ultralytics_takes_boxes_that_were_beyond_the_edge(tmp_path, task):
    write(tmp_path, beyond(task), task=task)
    for number, box in enumerate(SHOWN):
        reason, boxes = taken_by_ultralytics(tmp_path, f"a{number}", task, shape=(1, 3) if task == "pose" else (0, 0))
        assert reason == ""
        assert np.allclose(boxes[0], [10, 10, 10, 10], atol=1e-4)
        assert len(boxes) == 1 + bool(box)


def test_edges_rounded_are_not_counted(tmp_path):
    sample = picture(), target([[10, 4, 53.000004, 37.000004], [-0.000001, 0, 5, 5]], [1, 1])
    lost, lines = write(tmp_path, {"a": sample})
    assert lost == {"a": {}}
    assert all(0 <= float(word) <= 1 for line in lines["a"] for word in line[1:])


@pytest.mark.parametrize("dims", [2, 3])
def test_keypoints_beyond_the_edge_are_not_labelled(tmp_path, dims):
    points = [[[10.5, 20.25, 2], [54, 4, 1], [-1, 5, 2], [99, -99, 0], [53, 37, 2], [4, 37.5, 2]]]
    sample = picture(), target([[3, 4, 60, 30]], [1], keypoints=points)
    lost, lines = write(tmp_path, {"a": sample}, task="pose", points=(6, dims))
    told = {3: {"keypoints beyond the edge (written as not labelled)": 3}, 2: {AT_ZERO: 4}}
    assert lost["a"] == {CLIPPED: 1, **told[dims]}
    values = np.array(lines["a"][0][5:], dtype=float).reshape(6, dims)
    assert np.allclose(values[:, :2] * [53, 37], [[10.5, 20.25], [0, 0], [0, 0], [0, 0], [53, 37], [0, 0]], atol=1e-5)
    if dims == 3:
        assert values[:, 2].tolist() == [2, 0, 0, 0, 2, 0]
    reason, _ = taken_by_ultralytics(tmp_path, "a", "pose", shape=(6, dims))
    assert reason == ""
    labelled = points_of_ultralytics(tmp_path, "a", (6, dims))[0, :, 2] > 0
    assert labelled.tolist() == ([True, False, False, False, True, False] if dims == 3 else [True] * 6)


def test_points_without_flags_that_are_not_labelled_are_counted(tmp_path):
    """In two columns, points at 0 0 are labelled for Ultralytics: of a copy, too, what a mix covered."""
    points = [[[0, 0, 0], [7, 8, 0], [10, 9, 1], [-3, 4, 0]]]
    sample = picture(), target([[3, 4, 40, 30]], [1], keypoints=points)
    lost, lines = write(tmp_path, {"a": sample}, task="pose", points=(4, 2))
    assert lost["a"] == {AT_ZERO: 3, "flags of hidden keypoints": 1}
    assert [lines["a"][0][k] for k in (5, 6, 7, 8, 11, 12)] == ["0"] * 6
    assert open_dataset(tmp_path)[0][1]["keypoints"][0, :, 2].tolist() == [0, 0, 2, 0]
    assert (points_of_ultralytics(tmp_path, "a", (4, 2))[0, :, 2] > 0).all()


def turned(x, y, width, height, degrees):
    angle = np.deg2rad(degrees)
    corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    return (corners @ [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]] + [x, y]).ravel().tolist()


OVER = {  # and whether it stays, is refitted, or shows nothing
    "a little": (turned(50, 20, 14, 6, 30), "stays"),
    "its centre": (turned(56, 20, 14, 6, 30), "refitted"),
    "larger than the picture": (turned(25, 18, 90, 70, 20), "refitted"),
    "corner": (turned(-3, -3, 20, 12, 45), "refitted"),
    "outside": (turned(80, 20, 14, 6, 30), "left out"),
    "no area": ([5, 5, 20, 20, 20, 20, 5, 5], "left out"),
}


def rotated_sample(corners):
    boxes = torch.tensor([turned(20, 15, 12, 6, 10), corners], dtype=torch.float32)
    boxes = tv_tensors.BoundingBoxes(boxes, format="XYXYXYXY", canvas_size=SIZE)
    return picture(), {"boxes": boxes, "labels": torch.tensor([1, 2])}


@needs_rotated
@pytest.mark.parametrize("name", OVER)
def test_rotated_boxes_beyond_the_edge(tmp_path, name):
    corners, outcome = OVER[name]
    lost, lines = write(tmp_path, {"a": rotated_sample(corners)})
    assert lost["a"] == {"stays": {}, "refitted": {REFITTED: 1}, "left out": {WITHOUT_AREA: 1}}[outcome]
    assert [line[0] for line in lines["a"]] == ["0"] + ["1"] * (outcome != "left out")
    if outcome == "left out":
        return
    found = np.array(lines["a"][1][1:], dtype=float).reshape(4, 2) * [53, 37]
    if outcome == "stays":
        assert np.allclose(found.ravel(), corners, atol=1e-4)
    # each point of the box that the picture shows lies in what is written
    ys, xs = np.mgrid[:37:0.25, :53:0.25]
    was, now = (pixels_in(each, xs, ys) for each in (np.reshape(corners, (4, 2)), found))
    assert was.any()
    assert now[was].all()


def pixels_in(corners, xs, ys):
    sides = np.roll(corners, -1, axis=0) - corners
    turns = [dx * (ys - y) - dy * (xs - x) for (x, y), (dx, dy) in zip(corners, sides)]
    return np.all([turn >= -1e-3 for turn in turns], axis=0) | np.all([turn <= 1e-3 for turn in turns], axis=0)


@needs_rotated
@pytest.mark.parametrize("name", OVER)
def test_ultralytics_takes_rotated_boxes_that_were_beyond_the_edge(tmp_path, name):
    write(tmp_path, {"a": rotated_sample(OVER[name][0])})
    reason, boxes = taken_by_ultralytics(tmp_path, "a", "obb")
    assert reason == ""
    assert len(boxes) == 1 + (OVER[name][1] != "left out")


@needs_rotated
@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_rotated_box_goes_no_further_than_ultralytics_takes(seed):
    rng = np.random.default_rng(seed)
    corners = np.array(turned(*rng.uniform(-60, 100, 2), *rng.uniform(1, 150, 2), rng.uniform(0, 360)))
    found, _ = rotated_in_picture(corners, SIZE)
    if found is not None:
        low, high = found.reshape(4, 2).min(axis=0) / [53, 37], found.reshape(4, 2).max(axis=0) / [53, 37]
        assert ((low + high) / 2 >= 0).all()
        assert max(*(low + high) / 2, *(high - low)) <= 1.01
