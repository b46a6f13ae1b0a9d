"""DOTA written: untouched lines word for word, mixed ones from the corners, upright boxes as their corners."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.data.class_tables import DOTA_CLASSES
from cutmix_dense.data.demo import make_demo_set
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import open_complete
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.readers import open_dataset
from cutmix_dense.data.writers.dota import DotaWriter

pytestmark = pytest.mark.skipif(
    not hasattr(tv_tensors.BoundingBoxFormat, "XYXYXYXY"), reason="this torchvision has no rotated boxes"
)

SIZE = (60, 90)
TEXTS = {
    "P0001": [
        "imagesource:GoogleEarth",
        "gsd:0.146343590643",
        "30.50 10 50.0 30 30 50 10 30.0 ship 0",
        "60 10 80 10 80 20 60 20 small-vehicle 1",
        "3 40 9 40 9 46 3 46 ship 2",
    ],
    "P0002": ["imagesource:null", "gsd:null"],
    "P0003": ["70 30 85 45 70 58 55 45 harbor 0", "1 1 20 1 20 12 1 12 small-vehicle"],
}


@pytest.fixture
def aerial(tmp_path):
    root = tmp_path / "aerial"
    for folder in ("images", "labelTxt"):
        (root / "train" / folder).mkdir(parents=True)
    for seed, (name, lines) in enumerate(TEXTS.items()):
        pixels = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "train" / "images" / f"{name}.png")
        (root / "train" / "labelTxt" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def read_lines(path):
    return path.read_text().splitlines()


def test_an_unmixed_copy_is_line_for_line_the_source(aerial, tmp_path):
    report = mix_dataset(open_complete(aerial), tmp_path / "copy", cd.CutMix(p=0.0))
    assert (report.written, report.not_kept) == (3, {})
    for name, lines in TEXTS.items():
        assert read_lines(tmp_path / "copy" / "train" / "labelTxt" / f"{name}-mix0.txt") == lines
        pixels = [
            np.asarray(Image.open(root / "train" / "images" / file))
            for root, file in ((aerial, f"{name}.png"), (tmp_path / "copy", f"{name}-mix0.png"))
        ]
        assert np.array_equal(*pixels)
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["mixed_copy.train.json", "train"]
    copied, source = open_complete(tmp_path / "copy"), open_complete(aerial)
    assert copied.classes == source.classes == ("background", *DOTA_CLASSES)


def test_a_mixed_copy_keeps_whole_lines_and_writes_the_others(aerial, tmp_path):
    source = open_complete(aerial)
    report = mix_dataset(source, tmp_path / "copy", cd.CutMix(p=1.0), copies=8)
    whole = {line for lines in TEXTS.values() for line in lines if ":" not in line}
    kept = changed = 0
    samples = json.loads(report.path.read_text())["samples"]
    for entry in samples:
        lines = read_lines(tmp_path / "copy" / "train" / "labelTxt" / f"{entry['sample']}.txt")
        header = [line for line in TEXTS[entry["base"].split("/")[-1][:5]] if ":" in line]
        assert lines[: len(header)] == header  # the base's
        for line in lines[len(header) :]:
            words = line.split()
            assert words[8] in ("ship", "small-vehicle", "harbor")
            kept += line in whole
            changed += line not in whole
            if line not in whole:
                assert words[9] in "012"
                assert all(-1 <= float(word) <= 91 for word in words[:8])
    assert kept > 10
    assert changed > 5
    again = open_dataset(tmp_path / "copy", details=True)
    outcomes = sum(
        count for (_, outcome, _), count in report.outcomes.items() if outcome in ("kept", "shrunk", "ignored")
    )
    assert sum(len(again[index][1]["labels"]) for index in range(len(again))) == outcomes


def test_what_is_written_of_each_kind(tmp_path):
    writer = DotaWriter(tmp_path, classes=("background", "plane", "traffic light"), split="val")
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    rotated = tv_tensors.BoundingBoxes(
        np.array([[30.5, 10, 50, 30, 30, 50, 10, 30.25]], dtype=np.float32), format="XYXYXYXY", canvas_size=SIZE
    )
    info = PictureInfo("sub/x.png", {"gsd": "0.2", "imagesource": "a\nb", "licence": 3})
    lost = writer.add("a", image, {"boxes": rotated, "labels": np.array([1]), "difficult": np.array([True])}, info)
    assert lost == {"licence of pictures": 1}
    upright = {
        "boxes": np.array([[1, 2, 30.1, 40], [5, 6, 7, 8], [50, 10, 60, 20]]),
        "labels": np.array([2, 1, 2]),
        "iscrowd": np.array([0, 1, 0]),
        "masks": np.zeros((3, *SIZE), dtype=bool),
        "has_mask": np.array([True, False, True]),
        "keypoints": np.array([[[1, 2, 2]], [[0, 0, 0]], [[4, 4, 1]]]),
        "semantic": np.zeros(SIZE, dtype=np.uint8),
        "details": [{"colour": "red"}, {"difficult": 2}, {"difficult": 2}],
    }
    lost = writer.add("b", image, upright)
    assert lost == {
        "masks": 2,
        "keypoints": 2,
        "semantic map": 1,
        "crowds (written as difficult)": 1,
        "spaces in class names (written as hyphens)": 2,
        "colour of instances": 1,
    }
    writer.finish()
    assert read_lines(tmp_path / "val" / "labelTxt" / "a.txt") == [
        "imagesource:a b",
        "gsd:0.2",
        "30.5 10.0 50.0 30.0 30.0 50.0 10.0 30.25 plane 1",
    ]
    assert read_lines(tmp_path / "val" / "labelTxt" / "b.txt") == [
        "1.0 2.0 30.1 2.0 30.1 40.0 1.0 40.0 traffic-light 0",
        "5.0 6.0 7.0 6.0 7.0 8.0 5.0 8.0 plane 2",
        "50.0 10.0 60.0 10.0 60.0 20.0 50.0 20.0 traffic-light 0",
    ]
    assert read_lines(tmp_path / "classes.txt") == ["plane", "traffic-light"]
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ("background", "plane", "traffic-light")
    assert dataset[1][1]["labels"].tolist() == [2, 1, 2]
    assert dataset[1][1]["boxes"][0].tolist() == pytest.approx([1, 2, 30.1, 2, 30.1, 40, 1, 40])


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("background", "a b", "a-b"), "the classes 1 and 2 are both called 'a-b'"),
        (("background", " "), "can't hold the class name ''"),
    ],
)
def test_classes_that_have_no_word(tmp_path, classes, words):
    with pytest.raises(ValueError, match=words):
        DotaWriter(tmp_path, classes=classes)


def test_splits_of_other_classes_are_refused(tmp_path):
    (tmp_path / "classes.txt").write_text("ship\n")
    with pytest.raises(DatasetError, match=r"classes\.txt: names other classes than those of the split 'val'"):
        DotaWriter(tmp_path, classes=("background", "plane"), split="val")


def test_boxes_of_other_layouts(demo, tmp_path):
    source = open_complete(demo / "coco")
    report = mix_dataset(source, tmp_path / "copy", cd.CutMix(p=0.0), to="dota", limit=4)
    written = open_dataset(tmp_path / "copy")
    total = 0
    for index in range(4):
        boxes, target = source[index][1]["boxes"], written[index][1]
        total += len(boxes)
        x1, y1, x2, y2 = boxes.numpy().T
        assert np.array_equal(target["boxes"].numpy(), np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1))
        names = [source.classes[label].replace(" ", "-") for label in source[index][1]["labels"]]
        assert [written.classes[label] for label in target["labels"]] == names
    assert report.not_kept["masks"] == total


def test_what_dota_has_no_place_for(demo, tmp_path):
    maps = open_complete(demo / "voc", task="segmentation")
    with pytest.raises(ValueError, match="dota holds instances, samples of this voc set are semantic maps"):
        mix_dataset(maps, tmp_path / "copy", cd.CutMix(), to="dota")
    assert not list((tmp_path / "copy").glob("train"))


def test_rotated_boxes_in_other_layouts(aerial, tmp_path):
    mix_dataset(open_complete(aerial), tmp_path / "copy", cd.CutMix(p=0.0), to="coco")
    content = json.loads((tmp_path / "copy" / "annotations" / "instances_train.json").read_text())
    first = content["annotations"][0]
    assert first["segmentation"] == [[30.5, 10, 50, 30, 30, 50, 10, 30]]
    assert first["bbox"] == [10, 10, 40, 40]
    assert content["images"][0]["imagesource"] == "GoogleEarth"
    assert content["images"][0]["gsd"] == "0.146343590643"


@pytest.mark.parametrize(
    ("layout", "lost"),
    [
        ("coco", {}),
        ("labelme", {}),
        ("yolo", {"difficult": 2}),
        ("voc", {"levels of difficult (above 1, written as 1)": 1}),
    ],
)
def test_levels_of_difficult_in_other_layouts(aerial, tmp_path, layout, lost):
    report = mix_dataset(open_complete(aerial), tmp_path / "copy", cd.CutMix(p=0.0), to=layout)
    assert {name: count for name, count in report.not_kept.items() if "difficult" in name} == lost
    if layout == "coco":
        table = json.loads((tmp_path / "copy" / "annotations" / "instances_train.json").read_text())
        assert [each.get("difficult") for each in table["annotations"]] == [None, 1, 2, None, None]
    if layout == "labelme":
        shapes = json.loads((tmp_path / "copy" / "train" / "P0001-mix0.json").read_text())["shapes"]
        assert [shape.get("difficult") for shape in shapes] == [None, None, 2]
        assert [shape["flags"].get("difficult") for shape in shapes] == [None, True, True]


def test_the_demo_set(tmp_path):
    root = make_demo_set(tmp_path / "demo", kinds=("aerial",), seed=2) / "dota"
    mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=0.0))
    texts = sorted((root / "train" / "labelTxt").iterdir())
    assert len(texts) > 5
    for path in texts:
        assert (tmp_path / "copy" / "train" / "labelTxt" / f"{path.stem}-mix0.txt").read_text() == path.read_text()
