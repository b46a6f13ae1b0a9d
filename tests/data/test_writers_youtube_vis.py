"""YouTube-VIS written: untouched tracks as their file states them, mixed ones on their pixels in every frame."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks

import cutmix_dense as cd
from cutmix_dense.data import open_dataset
from cutmix_dense.data.demo import make_demo_set
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import mix_sample, open_complete
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.writers.youtube_vis import YouTubeVisWriter

SIZE = (24, 36)
LENGTHS = {1: 5, 2: 3, 3: 5}


def colour(video, track):
    return (60 * video, 200 - 30 * track, 90 + 50 * track)


def polygon(x0, y0, x1, y1):
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


@pytest.fixture
def clips(tmp_path):
    """Three videos of two lengths, two tracks each: polygons with odd boxes and areas, fields of the maker's own."""
    root = tmp_path / "clips"
    content = {
        "info": {"year": 2021},
        "licenses": [{"id": 4, "name": "free"}],
        "categories": [{"id": 4, "name": "fish", "supercategory": "animal"}, {"id": 9, "name": "bird"}],
        "videos": [],
        "annotations": [],
    }
    for video, length in LENGTHS.items():
        names = [f"set/v{video}/{5 * frame:05d}.png" for frame in range(length)]
        frames = [np.zeros((*SIZE, 3), np.uint8) for _ in names]
        for track in (1, 2):
            segmentations, boxes, areas = [], [], []
            for frame, pixels in enumerate(frames):
                x, y = 2 + 3 * frame + 6 * track, 11 * track - 9
                if track == 2 and frame == 1:
                    segmentations, boxes, areas = [*segmentations, None], [*boxes, None], [*areas, None]
                    continue
                pixels[y : y + 8, x : x + 6] = colour(video, track)
                segmentations.append(polygon(x, y, x + 6, y + 8))
                boxes.append([x + 0.25, y, 5.5, 8])
                areas.append(47.5)
            entry = {"id": 10 * video + track, "video_id": video, "category_id": (4, 9)[track - 1], "iscrowd": 0}
            entry |= {"segmentations": segmentations, "bboxes": boxes, "areas": areas, "length": length}
            content["annotations"].append({**entry, "width": SIZE[1], "height": SIZE[0], "mood": "calm", "score": 0.5})
        shape = {"height": SIZE[0], "width": SIZE[1], "length": length}
        content["videos"].append({"id": video, "file_names": names, **shape, "license": 4})
        for name, pixels in zip(names, frames):
            path = root / "train" / "JPEGImages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (root / "train" / "instances.json").write_text(json.dumps(content))
    return root


def read_json(root, split="train"):
    return json.loads((root / split / "instances.json").read_text())


def decoded(segmentation):
    code = coco_masks.frPyObjects(segmentation, *SIZE) if isinstance(segmentation, list) else segmentation
    return coco_masks.decode(coco_masks.merge(code) if isinstance(code, list) else code).astype(bool)


def without_ids(annotations):
    return [{key: value for key, value in each.items() if key not in ("id", "video_id")} for each in annotations]


def test_an_unmixed_copy_is_annotation_for_annotation_the_source(clips, tmp_path):
    report = mix_dataset(open_complete(clips), tmp_path / "copy", cd.CutMix(p=0.0, layout="BTCHW"))
    assert (report.written, report.not_kept, report.skipped) == (3, {}, [])
    assert report.made_anew == ["ids of videos and tracks"]
    source, copy = read_json(clips), read_json(tmp_path / "copy")
    assert without_ids(copy["annotations"]) == without_ids(source["annotations"])
    assert [each["video_id"] for each in copy["annotations"]] == [1, 1, 2, 2, 3, 3]
    assert [each["id"] for each in copy["annotations"]] == [1, 2, 3, 4, 5, 6]
    for key in ("categories", "info", "licenses"):
        assert copy[key] == source[key]
    for new, old in zip(copy["videos"], source["videos"], strict=True):
        assert {**new, "file_names": 0} == {**old, "file_names": 0}
        assert new["file_names"] == [
            name.replace(f"/v{old['id']}/", f"/v{old['id']}-mix0/") for name in old["file_names"]
        ]
        for ours, theirs in zip(new["file_names"], old["file_names"], strict=True):
            pixels = [
                np.asarray(Image.open(root / "train" / "JPEGImages" / name))
                for root, name in ((tmp_path / "copy", ours), (clips, theirs))
            ]
            assert np.array_equal(*pixels)
    assert open_dataset(tmp_path / "copy").layout == "youtube_vis"


NONE = [None, [], [[]], {}]


def test_a_track_that_no_frame_shows_is_named(clips, tmp_path):
    content = read_json(clips)
    empty = {"size": list(SIZE), "counts": [SIZE[0] * SIZE[1]]}
    content["annotations"][0] |= {"segmentations": [None] * 5, "bboxes": [None] * 5}
    content["annotations"][3] |= {"segmentations": [empty] * 3, "bboxes": [[0, 0, 0, 0]] * 3}
    content["annotations"][5] |= {"id": 31, "segmentations": [None] * 5, "bboxes": [None] * 5}  # as the one before it
    content["annotations"] = [each for each in content["annotations"] if each["id"] != 21]  # video 2 has nothing else
    (clips / "train" / "instances.json").write_text(json.dumps(content))
    report = mix_dataset(open_complete(clips), tmp_path / "copy", cd.CutMix(p=0.0))
    assert report.written == 3
    reasons = [
        f"annotation {track} of video {video} is left out: no frame has a mask or a box of it"
        for track, video in ((11, 1), (22, 2), (31, 3))
    ]
    assert report.notes == [{"file": "train/instances.json", "reason": reason} for reason in reasons]
    assert [each["video_id"] for each in read_json(tmp_path / "copy")["annotations"]] == [1, 3]


def test_a_track_between_the_frames_that_are_read_is_not_noted(clips):
    content = read_json(clips)
    content["annotations"][0]["segmentations"][1:] = content["annotations"][0]["bboxes"][1:] = [None] * 4
    (clips / "train" / "instances.json").write_text(json.dumps(content))
    dataset = open_dataset(clips, frames=1)
    assert len(dataset[0][1][0]["labels"]) == 1
    assert not dataset.notes


def without_masks(clips, where, none=None):
    """Take masks out of the file: of (track, frame), or of all frames of (track, None)."""
    path = clips / "train" / "instances.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        for track, frame in where:
            if annotation["id"] == track and frame is None:
                del annotation["segmentations"]
            elif annotation["id"] == track:
                annotation["segmentations"][frame] = none
    path.write_text(json.dumps(content))
    return content


@pytest.mark.parametrize("none", NONE, ids=str)
def test_a_box_without_a_mask_stays_in_its_frame(clips, tmp_path, none):
    """They vanished, at p=0 too, without a word."""
    source = without_masks(clips, [(11, 0), (12, 1), (12, 3), (31, None)], none)
    dataset = open_complete(clips)
    targets = [target for index in range(3) for target in dataset[index][1]]
    assert all("has_mask" in target for target in targets)
    first = dataset[0][1]
    assert [target["track_id"].tolist() for target in first] == [[11, 12], [11], [11, 12], [11, 12], [11, 12]]
    assert [target["has_mask"].tolist() for target in first] == [[0, 1], [1], [1, 1], [1, 0], [1, 1]]
    assert first[0]["boxes"].tolist() == [[8.25, 2, 13.75, 10], [14.25, 13, 19.75, 21]]
    assert not first[0]["masks"][0].any()
    assert first[0]["area"].tolist() == [44.0, 48.0]  # of the box, of the mask
    assert [target["has_mask"].tolist()[0] for target in dataset[2][1]] == [0] * 5
    assert not dataset.notes
    report = mix_dataset(dataset, tmp_path / "copy", cd.CutMix(p=0.0, layout="BTCHW"))
    assert (report.not_kept, report.notes) == ({}, [])
    copy, expected = read_json(tmp_path / "copy"), without_ids(source["annotations"])
    expected[1]["segmentations"][1] = None  # neither mask nor box: not there
    assert without_ids(copy["annotations"]) == expected


def test_a_file_of_boxes_alone(clips, tmp_path):
    source = without_masks(clips, [(10 * video + track, None) for video in LENGTHS for track in (1, 2)])
    dataset = open_complete(clips)
    assert not dataset.has_masks
    targets = dataset[1][1]
    assert "masks" not in targets[0]
    assert targets[0]["boxes"].tolist() == [[8.25, 2, 13.75, 10], [14.25, 13, 19.75, 21]]
    assert [target["track_id"].tolist() for target in targets] == [[21, 22], [21], [21, 22]]
    mix_dataset(dataset, tmp_path / "copy", cd.CutMix(p=0.0, layout="BTCHW"))
    assert without_ids(read_json(tmp_path / "copy")["annotations"]) == without_ids(source["annotations"])
    report = mix_dataset(dataset, tmp_path / "mixed", cd.CutMix(p=1.0, layout="BTCHW"), copies=4)
    assert report.written == 12
    mixed = read_json(tmp_path / "mixed")
    partial = 0
    for annotation in mixed["annotations"]:
        assert "segmentations" not in annotation
        for box in annotation["bboxes"]:
            if box is not None:
                assert 0 < box[2] <= 5.5
                assert 0 < box[3] <= 8
                partial += box[2] * box[3] < 44
    assert partial > 3
    assert len(open_dataset(tmp_path / "mixed", frames=None)[0][1][0]["boxes"]) > 0


def test_mixed_clips_of_masks_and_boxes(clips, tmp_path):
    without_masks(clips, [(11, 0), (22, None), (31, 2)])
    report = mix_dataset(open_complete(clips), tmp_path / "copy", cd.CutMix(p=1.0, layout="BTCHW"), copies=4)
    assert (report.written, report.skipped) == (12, [])
    masks = [mask for each in read_json(tmp_path / "copy")["annotations"] for mask in each.get("segmentations", [])]
    assert sum(mask is not None for mask in masks) > 50
    again = open_dataset(tmp_path / "copy", frames=None)
    assert all(len(box) == 4 for index in range(12) for target in again[index][1] for box in target["boxes"])


def test_what_json_cannot_hold_costs_its_field_alone(clips, tmp_path):
    path = clips / "train" / "instances.json"
    content = json.loads(path.read_text())
    nan = float("nan")
    content["annotations"][0]["areas"][1] = nan
    content["annotations"][0]["mood"] = nan
    content["annotations"][1]["bboxes"][0] = [nan, 1, 2, 3]
    content["videos"][0]["rate"] = nan
    content["categories"][0]["weight"] = nan
    content["source"] = {"a": nan, "b": 2}
    path.write_text(json.dumps(content))
    report = mix_dataset(open_complete(clips), tmp_path / "copy", cd.CutMix(p=0.0, layout="BTCHW"))
    assert report.written == 3
    copy = read_json(tmp_path / "copy")
    assert copy["annotations"][0]["areas"] == [47.5, 48, 47.5, 47.5, 47.5]
    assert "mood" not in copy["annotations"][0]
    assert copy["annotations"][1]["bboxes"][0] == [14, 13, 6, 8]
    assert copy["categories"][0] == {"id": 4, "name": "fish", "supercategory": "animal"}
    assert copy["source"] == {"b": 2}
    assert "rate" not in copy["videos"][0]
    assert report.not_kept == {"NaN in mood": 5, "NaN in rate": 1}
    assert [note["reason"] for note in report.notes] == [
        "annotation 12 of v1, frame 0: its bbox is left out: nan is not finite, or beyond 1e+18",
        "is left out of its copies: NaN in categories.weight",
        "is left out of its copies: NaN in source.a",
    ]


def test_mixed_tracks_lie_on_their_pixels(clips, tmp_path):
    """Also where base and partner have videos of different lengths."""
    transform = cd.CutMix(p=1.0, layout="BTCHW")
    report = mix_dataset(open_complete(clips), tmp_path / "copy", transform, copies=6)
    assert report.written == 18
    assert not report.skipped
    content = read_json(tmp_path / "copy")
    assert len({each["id"] for each in content["annotations"]}) == len(content["annotations"])
    samples = json.loads(report.path.read_text())["samples"]
    stated, both = 0, 0
    for video, sample in zip(content["videos"], samples, strict=True):
        base, partner = (int(name.rsplit("v", 1)[1]) for name in (sample["base"], *sample["partners"]))
        assert video["length"] == len(video["file_names"]) == LENGTHS[base]
        frames = [np.asarray(Image.open(tmp_path / "copy" / "train" / "JPEGImages" / n)) for n in video["file_names"]]
        tracks = [each for each in content["annotations"] if each["video_id"] == video["id"]]
        owners = set()
        for track in tracks:
            number = {4: 1, 9: 2}[track["category_id"]]
            shown = [decoded(mask) if mask else None for mask in track["segmentations"]]
            (owner,) = {
                which
                for mask, pixels in zip(shown, frames)
                if mask is not None
                for which in (base, partner)
                if (pixels[mask] == colour(which, number)).all()
            }
            owners.add((owner, number))
            for frame, (mask, pixels) in enumerate(zip(shown, frames)):
                box, area = track["bboxes"][frame], track["areas"][frame]
                if mask is None:
                    assert box is None
                    assert area is None
                    continue
                assert np.array_equal(mask, (pixels == colour(owner, number)).all(axis=2))
                if area == 47.5:  # the maker's own number: every pixel is there
                    stated += 1
                    assert mask.sum() == 48
                    assert isinstance(track["segmentations"][frame], list)
                else:
                    rows, columns = np.nonzero(mask)
                    assert area == mask.sum()
                    assert box == [
                        columns.min(),
                        rows.min(),
                        columns.max() + 1 - columns.min(),
                        rows.max() + 1 - rows.min(),
                    ]
            assert track["mood"] == "calm"
            whole = all(area in (None, 47.5) for area in track["areas"])
            assert ("score" in track) == whole  # what was found of it before it was cut
        assert len(owners) == len(tracks)
        both += len({owner for owner, _ in owners}) == 2
    assert stated > 20
    assert both > 5
    assert report.not_kept["score of instances that were changed"] > 0
    again = open_dataset(tmp_path / "copy", frames=None)
    assert [len(again[index][1]) for index in range(18)] == [video["length"] for video in content["videos"]]


def test_a_partner_has_as_many_frames_as_its_base(clips):
    dataset = open_complete(clips)
    whole = dataset[1][0]  # three frames
    for seed in range(20):
        made = mix_sample(dataset, cd.CutMix(p=1.0, layout="BTCHW"), 0, seed=seed)
        assert made.image.shape[0] == len(made.target) == 5
        if made.indices[1] == 1:
            assert torch.equal(made.images[1], whole[[0, 0, 1, 2, 2]])  # at (i + 1/2) · 3/5
            return
    pytest.fail("never drawn")


def frame_target(ids, crowd=None, origin=None, labels=None):
    """A track's mask is the row of pixels of its place in the list."""
    masks = np.zeros((len(ids), *SIZE), dtype=bool)
    for place, _ in enumerate(ids):
        masks[place, 2 * place, 3:9] = True
    target = {
        "masks": masks,
        "labels": np.array([1] * len(ids) if labels is None else labels),
        "track_id": np.array(ids, dtype=np.int64),
    }
    target["iscrowd"] = np.array(crowd or [0] * len(ids))
    if origin is not None:
        target["origin"] = np.array(origin)
    return target


def test_tracks_with_one_id_in_two_clips_are_two(tmp_path):
    writer = YouTubeVisWriter(tmp_path, classes=("background", "fish", "bird"))
    clip = np.zeros((2, *SIZE, 3), dtype=np.uint8)
    first = frame_target([7, 7, 8], origin=[[0, 0], [2, 0], [2, 1]])
    second = frame_target([7, 7], origin=[[1, 0], [3, 0]])
    assert writer.add("a", clip, [first, second]) == {}
    writer.add("b", clip, [frame_target([7, 7]), frame_target([7], crowd=[1])])  # twice in a frame; then ignored
    writer.finish()
    content = read_json(tmp_path)
    rows = [
        (each["video_id"], each["iscrowd"], [bool(mask) for mask in each["segmentations"]])
        for each in content["annotations"]
    ]
    assert rows == [
        (1, 0, [True, True]),
        (1, 0, [True, True]),
        (1, 0, [True, False]),
        (2, 0, [True, False]),
        (2, 0, [True, False]),
        (2, 1, [False, True]),
    ]
    assert np.array_equal(decoded(content["annotations"][1]["segmentations"][1]), second["masks"][1])
    assert content["annotations"][0]["bboxes"][0] == [3, 0, 6, 1]
    assert content["annotations"][0]["areas"] == [6, 6]
    assert content["videos"][0]["file_names"] == ["a/00000.jpg", "a/00001.jpg"]
    assert content["categories"] == [{"id": 1, "name": "fish"}, {"id": 2, "name": "bird"}]


def test_what_is_ignored_becomes_a_crowd(clips, tmp_path):
    transform = cd.CutMix(p=1.0, layout="BTCHW", on_filtered="ignore", min_visibility=0.9)
    mix_dataset(open_complete(clips), tmp_path / "copy", transform, copies=4)
    content = read_json(tmp_path / "copy")
    crowds = [each for each in content["annotations"] if each["iscrowd"]]
    assert crowds
    assert all(0 < area < 0.9 * 48 for each in crowds for area in each["areas"] if area)


def test_names_of_frames(tmp_path):
    writer = YouTubeVisWriter(tmp_path, classes=("background", "fish"), split="valid")
    clip = torch.zeros(3, 4, *SIZE, dtype=torch.uint8)
    empty = [{"labels": np.zeros(0, np.int64)}] * 3
    names = ["x/v/b.png", "x/v/a.png", "x/v/c.png"]
    writer.add("k", clip, empty, PictureInfo("x/v/b.png", {"file_names": names, "license": 3}))
    writer.add("l", clip, empty, PictureInfo("x/v/b.png", {"file_names": ["x/v/b.png"] * 3}))
    writer.add("m", clip[:, :3], empty)
    backslashes = [name.replace("/", "\\") for name in names]
    writer.add("n", clip[:, :3], empty, PictureInfo("x/v/b.png", {"file_names": backslashes}))
    writer.finish()
    first, second, third, fourth = read_json(tmp_path, "valid")["videos"]
    assert first["file_names"] == ["x/k/b.png", "x/k/a.png", "x/k/c.png"]
    assert first["license"] == 3
    assert second["file_names"] == ["x/l/00000.png", "x/l/00001.png", "x/l/00002.png"]
    assert third["file_names"] == ["m/00000.jpg", "m/00001.jpg", "m/00002.jpg"]
    assert fourth["file_names"] == ["x/n/b.png", "x/n/a.png", "x/n/c.png"]
    with Image.open(tmp_path / "valid" / "JPEGImages" / "x" / "k" / "b.png") as image:
        assert image.mode == "RGBA"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([frame_target([1])], "target must be a list of 2, one for each frame"),
        (frame_target([1]), "target must be a list of 2"),
        ([frame_target([1], labels=[3])] * 2, r"labels must be in 0\.\.2"),
        ([frame_target([1], labels=[0]), frame_target([])], "label 0 is the background"),
        ([{"boxes": np.zeros((1, 4)), "labels": np.ones(1)}] * 2, "instances of a clip need track_id"),
    ],
)
def test_what_does_not_fit_together(tmp_path, target, words):
    writer = YouTubeVisWriter(tmp_path, classes=("background", "fish", "bird"))
    with pytest.raises(ValueError, match=words):
        writer.add("a", np.zeros((2, *SIZE, 3), np.uint8), target)


def test_clips_have_no_place_in_layouts_of_pictures(clips, demo, tmp_path):
    for layout in ("coco", "voc", "yolo", "dota", "labelme"):
        with pytest.raises(ValueError, match=f"{layout} holds .*samples of youtube_vis are"):
            mix_dataset(open_complete(clips), tmp_path / layout, cd.CutMix(layout="BTCHW"), to=layout)
    with pytest.raises(ValueError, match="youtube_vis holds clips with tracks, samples of coco are others"):
        mix_dataset(open_complete(demo / "coco"), tmp_path / "vis", cd.CutMix(), to="youtube_vis")


def test_an_interrupted_copy_goes_on(clips, tmp_path):
    transform = cd.CutMix(p=1.0, layout="BTCHW")
    mix_dataset(open_complete(clips), tmp_path / "whole", transform)

    def stop(done, total, record):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mix_dataset(open_complete(clips), tmp_path / "parts", transform, on_progress=stop)
    assert not (tmp_path / "parts" / "train").exists()
    report = mix_dataset(open_complete(clips), tmp_path / "parts", transform, workers=2)
    assert report.resumed == 2
    files = [
        {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
        for root in (tmp_path / "whole", tmp_path / "parts")
    ]
    assert files[0] == files[1]


def test_the_demo_set(tmp_path):
    root = make_demo_set(tmp_path / "demo", kinds=("clips",), seed=2) / "youtube_vis"
    mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=0.0, layout="BTCHW"))
    source, copy = read_json(root), read_json(tmp_path / "copy")
    assert copy["annotations"] == source["annotations"]
    assert copy["categories"] == source["categories"]
