"""The demo set's clips, volumes and aerial scenes: in their formats, exact, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
import os

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks
from torchvision import tv_tensors

from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.class_tables import DOTA_CLASSES
from cutmix_dense.data.demo import CLASSES, KINDS, make_demo_set
from cutmix_dense.data.demo.aerial import draw_aerial
from cutmix_dense.data.demo.aerial_things import paint_thing
from cutmix_dense.data.demo.clips import draw_clip
from cutmix_dense.data.demo.volumes import LABELS, draw_volume


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    pytest.importorskip("nibabel")
    pytest.importorskip("scipy")
    return make_demo_set(tmp_path_factory.mktemp("kinds"), kinds=("clips", "volumes", "aerial"), seed=4)


def digest(folder):
    """All files below a folder, names and bytes."""
    result = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        result.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return result.hexdigest()


def test_same_seed_same_files_and_finished_kinds_stay(kinds, tmp_path):
    assert sorted(path.name for path in kinds.iterdir()) == sorted(
        [*(f"demo-{name}.json" for name in KINDS), *(kind.layout for kind in KINDS.values())]
    )
    steps = []
    make_demo_set(
        tmp_path, kinds=("aerial", "clips"), seed=4, workers=1, progress=lambda done, total: steps.append((done, total))
    )
    assert steps == [(number, 29) for number in range(1, 30)]
    assert digest(tmp_path / "dota") == digest(kinds / "dota")
    assert digest(tmp_path / "youtube_vis") == digest(kinds / "youtube_vis")
    before = {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob("*")}
    make_demo_set(tmp_path, kinds=("clips",), seed=4)
    assert {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(DatasetError, match="holds the demo set of"):
        make_demo_set(tmp_path, kinds=("clips",), seed=5)
    make_demo_set(tmp_path, kinds=("clips",), seed=5, overwrite=True)
    assert digest(tmp_path / "youtube_vis") != digest(kinds / "youtube_vis")


def test_volumes_are_the_same_for_a_seed(kinds, tmp_path):
    make_demo_set(tmp_path, kinds=("volumes",), seed=4, workers=2)
    assert digest(tmp_path / "decathlon") == digest(kinds / "decathlon")


@pytest.mark.parametrize("given", ["clips", (), ("movies",), ("clips", "clips")])
def test_kinds_are_checked(tmp_path, given):
    with pytest.raises(ValueError, match="kinds must be some of"):
        make_demo_set(tmp_path, kinds=given)


def test_an_interrupted_kind_is_drawn_anew(kinds, tmp_path):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo_set(tmp_path, kinds=("clips",), seed=4, progress=stop)
    assert not (tmp_path / "youtube_vis" / "train" / "instances.json").exists()
    make_demo_set(tmp_path, kinds=("clips",), seed=4)
    assert digest(tmp_path / "youtube_vis") == digest(kinds / "youtube_vis")


def test_clips_as_their_format_says(kinds):
    """Read without our reader: pycocotools decodes what the JSON holds."""
    moved = 0
    for split, count in (("train", 8), ("val", 3)):
        folder = kinds / "youtube_vis" / split
        content = json.loads((folder / "instances.json").read_bytes())
        assert len(content["videos"]) == count
        assert [category["name"] for category in content["categories"]] == list(CLASSES)
        videos = {video["id"]: video for video in content["videos"]}
        for video in videos.values():
            assert len(video["file_names"]) == video["length"] == 8
            for name in video["file_names"]:
                with Image.open(folder / "JPEGImages" / name) as image:
                    assert image.size == (video["width"], video["height"])
        assert len({track["id"] for track in content["annotations"]}) == len(content["annotations"])
        for track in content["annotations"]:
            video = videos[track["video_id"]]
            places = []
            for code, box, area in zip(track["segmentations"], track["bboxes"], track["areas"], strict=True):
                assert (code is None) == (box is None) == (area is None)
                if code is not None:
                    assert code["size"] == [video["height"], video["width"]]
                    assert int(coco_masks.area(code)) == area > 0
                    assert coco_masks.toBbox(code).tolist() == box
                    places.append(box[:2])
            moved += len(np.unique(places, axis=0)) > 1
    assert moved > 20


def test_things_of_a_clip_keep_their_skin_and_hide_each_other():
    clip = draw_clip([9, 1, 2], (120, 160), 6)
    assert clip.masks.sum(1).max() == 1  # no pixel belongs to two
    hidden = 0
    for track in range(clip.masks.shape[1]):
        seen = clip.masks[:, track].sum((1, 2))
        colours = [
            clip.frames[frame][clip.masks[frame, track]].mean(0)
            for frame in range(6)
            if seen[frame] > 0.6 * seen.max() > 60
        ]
        if len(colours) > 1:
            assert np.abs(np.diff(colours, axis=0)).max() < 25
        hidden += seen.min() < 0.8 * seen.max()
    assert hidden


def test_volumes_as_their_format_says(kinds):
    nibabel = pytest.importorskip("nibabel")
    folder = kinds / "decathlon"
    content = json.loads((folder / "dataset.json").read_bytes())
    assert content["labels"] == {str(number): name for number, name in enumerate(LABELS)}
    assert (len(content["training"]), len(content["validation"])) == (6, 2) == (content["numTraining"], 2)
    shapes = set()
    for entry in content["training"] + content["validation"]:
        image, label = (nibabel.load(folder / entry[key]) for key in ("image", "label"))
        assert image.shape == label.shape
        assert image.get_data_dtype() == np.int16
        assert image.header.get_zooms()[2] > image.header.get_zooms()[0]  # thick slices
        assert np.unique(np.asarray(label.dataobj)).tolist() == [0, 1, 2]
        shapes.add(image.shape)
    assert len(shapes) > 4


def test_lesions_lie_in_the_organ_and_organs_in_the_body():
    ndimage = pytest.importorskip("scipy.ndimage")
    for seed in range(4):
        volume = draw_volume(np.random.default_rng(seed))
        organ, lesion = volume.labels > 0, volume.labels == 2
        assert 0 < lesion.sum() < 0.5 * organ.sum()
        assert ndimage.label(organ)[1] <= 3
        means = [float(volume.values[mask].mean()) for mask in (volume.labels == 0, volume.labels == 1, lesion)]
        assert means[1] - means[0] > 100
        assert abs(means[2] - means[1]) > 60
        assert volume.labels[:, [0, -1]].max() == volume.labels[:, :, [0, -1]].max() == 0


def test_aerial_scenes_as_their_format_says(kinds):
    names, angles, counted = set(), [], 0
    for split, count in (("train", 12), ("val", 6)):
        images = sorted((kinds / "dota" / split / "images").iterdir())
        assert len(images) == count
        for path in images:
            lines = (kinds / "dota" / split / "labelTxt" / f"{path.stem}.txt").read_text().splitlines()
            assert [line.partition(":")[0] for line in lines[:2]] == ["imagesource", "gsd"]
            for line in lines[2:]:
                *numbers, name, difficult = line.split()
                corners = np.array(numbers, dtype=float).reshape(4, 2)
                names.add(name)
                assert difficult in "01"
                side = np.roll(corners, -1, axis=0) - corners
                assert abs(side[0] @ side[1]) < 0.02 * np.linalg.norm(side[0]) * np.linalg.norm(side[1]) + 1
                angles.append(np.arctan2(side[0, 1], side[0, 0]))
                counted += 1
    assert names <= set(DOTA_CLASSES)
    assert len(names) >= 7
    assert counted > 300
    assert np.histogram(angles, 8, (-np.pi, np.pi))[0].min() > 5  # every way round


@pytest.mark.parametrize("number", range(3))
def test_boxes_are_tight_round_what_is_painted(number):
    scene = draw_aerial(np.random.default_rng(number), (400, 520), number)
    assert len(scene.things) >= 8
    for thing in scene.things:
        if not (60 < thing.x < 460 and 60 < thing.y < 340):
            continue
        black, white = np.zeros((3, 400, 520), np.float32), np.ones((3, 400, 520), np.float32)
        for canvas in (black, white):
            paint_thing(canvas, thing)
        cover = 1 - (white - black).mean(0)
        rows, columns = np.nonzero(cover > 0.5)
        points = np.stack([columns, rows], 1) + 0.5 - (thing.x, thing.y)
        turn = np.array([np.cos(thing.turn), np.sin(thing.turn)])
        along, across = points @ turn, points @ np.array([-turn[1], turn[0]])
        for values, half in ((along, thing.half[0]), (across, thing.half[1])):
            assert -half - 0.71 <= values.min() < -half + 1.7
            assert half - 1.7 < values.max() <= half + 0.71
        area = cv2.contourArea(thing.corners.astype(np.float32))
        assert area == pytest.approx(4 * thing.half[0] * thing.half[1], rel=1e-3)


@pytest.mark.skipif(
    not hasattr(tv_tensors.BoundingBoxFormat, "XYXYXYXY"), reason="this torchvision has no rotated boxes"
)
def test_the_readers_open_them(kinds):
    for kind in KINDS.values():
        for split, count in (("train", kind.train), ("val", kind.val)):
            dataset = open_dataset(kinds / kind.layout, split=split)
            assert dataset.layout == kind.layout
            assert len(dataset) == count
            image, target = dataset[count - 1]
            assert image.shape[-1] > 90
            if kind.layout == "youtube_vis":
                for frame, each in zip(image, target):
                    assert torch.isfinite(each["boxes"]).all()
                    assert len(each["boxes"]) == len(each["masks"]) == len(each["track_id"])
                    assert each["masks"].shape[1:] == frame.shape[1:]
