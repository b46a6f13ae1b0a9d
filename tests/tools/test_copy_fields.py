"""What a mixed copy keeps of a COCO file besides boxes and masks, what it leaves out, and what it says of that."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cutmix_dense as cd
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import open_complete
from tools import mix_dataset as tool

SIZE = (40, 60)
NAMES = ["left_eye", "right_eye", "nose"]
CATEGORIES = [
    {"id": 9, "name": "person", "supercategory": "alive", "keypoints": NAMES, "skeleton": [[1, 3], [2, 3]]},
    {"id": 2, "name": "tree", "supercategory": "alive"},
    {"id": 5, "name": "never used", "supercategory": "thing"},
]
IMAGES = ["one/a.png", "one/b.png", "two/a.png", "two/c.png"]


def annotations() -> list[dict]:
    """Three instances on each picture, with everything that files say of one."""
    found = []
    for image in range(len(IMAGES)):
        for place in range(3):
            x, y = 3.5 + 18 * place, 4.25 + 6 * place
            number = 100 + 10 * image + place
            found.append(
                {
                    "id": number,
                    "image_id": image + 1,
                    "category_id": (9, 2, 9)[place],
                    "bbox": [x, y, 14.125, 13.0],
                    "area": 181.7,
                    "segmentation": [[x, y, x + 14, y, x + 14, y + 13, x, y + 13]] if place else [],
                    "iscrowd": 0,
                    "ignore": place % 2,
                    "attributes": {"occluded": bool(place), "note": f"n{number}", "rotation": 0.5},
                    "track_id": number,
                    "score": 0.875,
                    "extreme_points": [[x, y], [x + 1, y + 1]],
                    "keypoints": [x + 1, y + 1, 2, x + 12, y + 2, 1, 0, 0, 0] if place != 1 else [],
                    "num_keypoints": 2 if place != 1 else 0,
                }
            )
    return found


@pytest.fixture
def root(tmp_path) -> Path:
    for number, name in enumerate(IMAGES):
        path = tmp_path / "set" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    content = {
        "info": {"description": "a set", "year": 2026},
        "licenses": [{"id": 1, "name": "CC BY 4.0", "url": "https://example.org"}],
        "categories": CATEGORIES,
        "images": [
            {"id": i + 1, "file_name": name, "width": 60, "height": 40, "license": 1, "weather": f"w{i}"}
            for i, name in enumerate(IMAGES)
        ],
        "annotations": annotations(),
    }
    (tmp_path / "set" / "annotations").mkdir()
    (tmp_path / "set" / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return tmp_path / "set"


def read(copy: Path) -> dict:
    return json.loads((copy / "annotations" / "instances_train.json").read_text())


def test_a_copy_with_p_0_says_what_the_source_says(root, tmp_path):
    report = mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=0.0))
    content, source = read(tmp_path / "copy"), json.loads((root / "annotations" / "instances_train.json").read_text())
    key = {"id", "image_id"}
    told = [{name: value for name, value in each.items() if name not in key} for each in content["annotations"]]
    assert told == [{name: value for name, value in each.items() if name not in key} for each in source["annotations"]]
    assert sorted(content["categories"], key=lambda each: each["id"]) == sorted(CATEGORIES, key=lambda each: each["id"])
    assert content["licenses"] == source["licenses"]
    assert content["info"]["year"] == 2026
    assert [(each["license"], each["weather"]) for each in content["images"]] == [(1, f"w{i}") for i in range(4)]
    for number, image in enumerate(content["images"]):
        path = tmp_path / "copy" / "train" / image["file_name"]
        assert Path(image["file_name"]).parent == Path(IMAGES[number]).parent
        assert path.suffix == ".png"
        assert np.array_equal(np.array(Image.open(path)), np.array(Image.open(root / "train" / IMAGES[number])))
    assert report.not_kept == {}
    assert report.made_anew == ["ids of images and annotations"]


def test_what_is_about_an_instance_follows_it(root, tmp_path):
    report = mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=1.0), seed=3, copies=3)
    content = read(tmp_path / "copy")
    source = {each["track_id"]: each for each in annotations()}
    changed = followed = 0
    for each in content["annotations"]:
        first = source[each["track_id"]]
        for name in ("category_id", "ignore", "attributes", "iscrowd"):
            assert each[name] == first[name]
        if each["visibility"] == 1:
            expected = {name: value for name, value in first.items() if name not in ("id", "image_id")}
            assert {name: each[name] for name in expected} == expected
            followed += 1
            continue
        changed += 1
        assert "score" not in each
        assert "extreme_points" not in each
        if each["category_id"] == 9:
            points = np.array(each["keypoints"]).reshape(-1, 3)
            given = np.array(first["keypoints"]).reshape(-1, 3)
            assert each["num_keypoints"] == (points[:, 2] > 0).sum()
            shows = points[:, 2] > 0
            assert np.array_equal(points[shows], given[shows])
            assert not points[~shows].any()
    assert changed > 5
    assert followed > 5
    names = {"score of instances that were changed", "extreme_points of instances that were changed"}
    assert set(report.not_kept) == names
    assert set(report.not_kept.values()) == {changed}
    samples = json.loads((tmp_path / "copy" / "mixed_copy.train.json").read_text())["samples"]
    for image, sample in zip(content["images"], samples):
        assert image["weather"] == f"w{IMAGES.index(sample['base'].removeprefix('train/'))}"


def test_the_command_says_what_was_not_kept(root, tmp_path, capsys):
    assert tool.main([str(root), str(tmp_path / "copy"), "--seed", "3", "--workers", "0"]) == 0
    told = capsys.readouterr().out
    assert "not kept: score of instances that were changed (" in told
    assert "made anew: ids of images and annotations" in told
    content = json.loads((tmp_path / "copy" / "mixed_copy.train.json").read_text())
    assert content["not_kept"]["score of instances that were changed"] > 0


def test_a_file_with_something_wrong_is_told_at_the_end(root, tmp_path, capsys):
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [1, 2, 3]
    content["annotations"][4]["segmentation"] = [[5.2, 5.2, 5.3, 5.2, 5.3, 5.3]]
    path.write_text(json.dumps(content))
    assert tool.main([str(root), str(tmp_path / "copy"), "--transform", "CutMix", "p=0", "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "left out: annotations/instances_train.json: annotation 100 of a.png is left out: bbox must be" in told
    assert "annotation 111 of b.png: its mask has no pixel" in told
    assert len(read(tmp_path / "copy")["annotations"]) == 11


def test_missing_files_are_one_line(root, tmp_path, capsys):
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["images"] += [{"id": 50 + i, "file_name": f"gone/{i}.png"} for i in range(30)]
    path.write_text(json.dumps(content))
    assert tool.main([str(root), str(tmp_path / "copy"), "--transform", "CutMix", "p=0", "--workers", "0"]) == 0
    told = capsys.readouterr().out
    lines = [line for line in told.splitlines() if "file not found" in line]
    assert len(lines) == 1
    assert "30 files: file not found" in lines[0]
    assert "train/gone/0.png" in lines[0]
