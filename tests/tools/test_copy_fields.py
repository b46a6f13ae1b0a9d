"""What a mixed copy keeps of a COCO file besides boxes and masks, what it leaves out, and what it says of that."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

import cutmix_dense as cd
from cutmix_dense.cli import mix as tool
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import open_complete

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


def change_source(root: Path, change) -> dict:
    """Edit the source's JSON; returns it."""
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return content


def test_a_copy_with_p_0_adds_no_field_that_nobody_stated(root, tmp_path):
    """Beside others that state them: no mask, no keypoints, no area."""

    def change(content):
        for each, gone in zip(content["annotations"], (("area",), ("segmentation",), ("keypoints", "num_keypoints"))):
            for key in gone:
                del each[key]
        for each in content["annotations"][3:]:
            if each["category_id"] == 2:
                for key in ("keypoints", "num_keypoints", "segmentation", "iscrowd"):
                    del each[key]
        del content["categories"][1]["supercategory"]

    source = change_source(root, change)
    report = mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=0.0))
    content = read(tmp_path / "copy")
    key = {"id", "image_id"}
    told = [{name: value for name, value in each.items() if name not in key} for each in content["annotations"]]
    assert told == [{name: value for name, value in each.items() if name not in key} for each in source["annotations"]]
    assert sorted(content["categories"], key=lambda each: each["id"]) == sorted(
        source["categories"], key=lambda each: each["id"]
    )
    assert (report.not_kept, report.notes) == ({}, [])
    made = tmp_path / "mixed"
    mix_dataset(open_complete(root), made, cd.CutMix(p=1.0), seed=3, copies=3)
    trees = [each for each in read(made)["annotations"] if each["category_id"] == 2]
    assert any(each["visibility"] < 1 for each in trees)
    assert not any(each.get("keypoints") for each in trees)


def test_a_box_is_added_where_only_a_mask_is_stated(root, tmp_path):
    change_source(root, lambda content: content["annotations"][1].pop("bbox"))
    mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=0.0))
    x, y = 21.5, 10.25  # of the polygon
    assert read(tmp_path / "copy")["annotations"][1]["bbox"] == [x, y, 14, 13]


def test_what_json_cannot_hold_costs_its_field_alone(root, tmp_path):
    """Python writes NaN into JSON, and a copy of such a file lost the whole image."""
    nan, inf = float("nan"), float("inf")

    def change(content):
        content["annotations"][0]["area"] = nan
        content["annotations"][0]["attributes"]["rotation"] = nan
        content["annotations"][1]["iou"] = -inf
        content["annotations"][2]["area"] = "large"
        content["annotations"][3]["num_keypoints"] = nan
        content["annotations"][4]["iscrowd"] = nan
        content["annotations"][5]["segmentation"].append([nan])
        content["images"][0]["exposure"] = nan
        content["categories"][1]["weight"] = inf
        content["weights"] = {"a": nan, "b": 1}
        content["info"]["version"] = nan

    source = change_source(root, change)
    report = mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=0.0))
    assert (report.written, report.skipped) == (4, [])
    content = json.loads((tmp_path / "copy" / "annotations" / "instances_train.json").read_text())
    found = content["annotations"]
    assert len(found) == len(source["annotations"]) == 12
    assert found[0]["area"] == pytest.approx(14.125 * 13)
    assert found[0]["attributes"] == {"occluded": False, "note": "n100"}
    assert "iou" not in found[1]
    assert found[1]["area"] == 181.7
    assert found[2]["area"] == pytest.approx(14 * 13, abs=14)  # of the polygon's pixels
    assert found[3]["num_keypoints"] == 2
    assert found[4]["iscrowd"] == 0
    mask = mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(found[5]["segmentation"], *SIZE)))
    first = [source["annotations"][5]["segmentation"][0]]
    assert np.array_equal(mask, mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(first, *SIZE))))
    assert [x for x in content["categories"] if x["id"] == 2] == [{"id": 2, "name": "tree", "supercategory": "alive"}]
    assert "exposure" not in content["images"][0]
    assert content["images"][0]["weather"] == "w0"
    assert content["weights"] == {"b": 1}
    assert content["info"]["year"] == 2026
    names = ("attributes.rotation", "iou", "exposure")
    assert report.not_kept == {f"NaN in {name}": 1 for name in names}
    reasons = [note["reason"] for note in report.notes]
    assert reasons == [
        "annotation 102 of a.png: its area is measured: must be a number, got 'large'",
        "annotation 112 of b.png: parts of its segmentation that hold half a point are left out (1)",
        "is left out of its copies: NaN in categories.weight",
        "is left out of its copies: NaN in info.version",
        "is left out of its copies: NaN in weights.a",
    ]


def test_what_a_file_says_beside_its_lists_is_kept(root, tmp_path):
    change_source(root, lambda content: content.update(type="instances", dataset={"n": [1, 2]}, nothing=None))
    stray = {"id": 1000, "image_id": 77, "category_id": 9, "bbox": [1, 2, 3, 4]}
    change_source(root, lambda content: content["annotations"].append(stray))
    with pytest.warns(match="1 annotations belong to images that the file does not list"):
        dataset = open_complete(root)
    report = mix_dataset(dataset, tmp_path / "copy", cd.CutMix(p=1.0), workers=1)
    content = read(tmp_path / "copy")
    assert (content["type"], content["dataset"]) == ("instances", {"n": [1, 2]})
    reason = "1 annotations belong to images that the file does not list"
    assert report.notes == [{"file": "annotations/instances_train.json", "reason": reason}]


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
    assert "recomputed: ids of images and annotations" in told
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
    assert "noted: annotations/instances_train.json: annotation 100 of a.png is left out: bbox must be" in told
    assert "annotation 111 of b.png: its mask has no pixel" in told
    assert len(read(tmp_path / "copy")["annotations"]) == 11  # the first has no mask to measure a box round


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
