"""YouTube-VIS: tracks keep their ids, masks lie on their pixels frame by frame, hostile files are refused by name."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.data import DatasetError, SampleError, find_layouts, list_splits, open_dataset
from cutmix_dense.data.errors import DataWarning
from cutmix_dense.data.masks import encode_rle
from cutmix_dense.data.mixed_sample import mix_sample, open_complete

LENGTHS = (5, 3)
SIZE = (24, 36)


def colour(video, track):
    """Every track has a colour of its own, so pixels tell whose they are."""
    return (40 * video + 20 * track, 200 - 30 * track, 90 + 50 * video)


@pytest.fixture
def make_clips(tmp_path):
    """A folder with two videos in which two things move; `change` edits the JSON before it is written."""

    def make(change=lambda content: None):
        root = tmp_path / "clips"
        content = {
            "videos": [],
            "annotations": [],
            "categories": [{"id": 4, "name": "fish"}, {"id": 9, "name": "bird"}],
        }
        for video, length in enumerate(LENGTHS, 1):
            frames = [np.zeros((*SIZE, 3), np.uint8) for _ in range(length)]
            for track in (1, 2):
                segmentations = []
                for frame, pixels in enumerate(frames):
                    mask = np.zeros(SIZE, bool)
                    if not (track == 2 and frame == 1):  # the second one is away in frame 1
                        mask[4 * track : 4 * track + 5, 3 + 4 * frame : 12 + 4 * frame] = True
                        if track == 1:
                            mask[8:] = False
                        pixels[mask] = colour(video, track)
                    segmentations.append(encode_rle(mask) if mask.any() else None)
                content["annotations"].append(
                    {
                        "id": 10 * video + track,
                        "video_id": video,
                        "category_id": (4, 9)[track - 1],
                        "iscrowd": 0,
                        "segmentations": segmentations,
                    }
                )
            names = [f"clip{video}/{frame:05d}.png" for frame in range(length)]
            content["videos"].append({"id": video, "file_names": names, "height": SIZE[0], "width": SIZE[1]})
            for name, pixels in zip(names, frames):
                path = root / "train" / "JPEGImages" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        change(content)
        (root / "train" / "instances.json").write_text(json.dumps(content))
        return root

    return make


def check_pixels(video, targets):
    """Masks are exactly the pixels of their track's colour; boxes are tight round them."""
    assert len(video) == len(targets)
    for picture, target in zip(video, targets):
        for mask, box, track, label in zip(target["masks"], target["boxes"], target["track_id"], target["labels"]):
            number, which = divmod(int(track), 10)
            wanted = torch.tensor(colour(number, which), dtype=torch.uint8)[:, None, None]
            assert torch.equal(mask.as_subclass(torch.Tensor), (picture == wanted).all(0).as_subclass(torch.Tensor))
            assert int(label) == which
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_whole_videos(make_clips):
    root = make_clips()
    assert find_layouts(root) == ["youtube_vis"]
    assert list_splits(root, "youtube_vis") == ["train"]
    dataset = open_dataset(root, frames=None)
    assert dataset.mix_layout == "BTCHW"
    assert dataset.classes == ("background", "fish", "bird")
    assert dataset.category_ids == (-1, 4, 9)
    for index, length in enumerate(LENGTHS):
        video, targets = dataset[index]
        assert isinstance(video, tv_tensors.Video)
        assert video.shape == (length, 3, *SIZE)
        check_pixels(video, targets)
        assert [target["track_id"].tolist() for target in targets] == [
            [10 * (index + 1) + 1] if frame == 1 else [10 * (index + 1) + 1, 10 * (index + 1) + 2]
            for frame in range(length)
        ]
    assert dataset.image_path(1) == root / "train" / "JPEGImages" / "clip2"


@pytest.mark.parametrize("indent", [None, 1])
def test_a_named_file_says_that_it_is_of_videos(make_clips, tmp_path, indent):
    root = make_clips()
    table = tmp_path / "named.json"
    table.write_text(json.dumps(json.loads((root / "train" / "instances.json").read_text()), indent=indent))
    dataset = open_dataset(root, annotations=table)
    assert (dataset.layout, len(dataset)) == ("youtube_vis", len(LENGTHS))
    assert open_complete(root, annotations=table).layout == "youtube_vis"


def test_a_named_file_that_is_none_is_refused_as_coco(make_clips, tmp_path):
    for path in (tmp_path / "nowhere.json", tmp_path / "empty.json"):
        if path.stem == "empty":
            path.write_text("")
        with pytest.raises(DatasetError, match=path.name):
            open_dataset(make_clips(), annotations=path)


def test_frames_at_even_distances(make_clips):
    root = make_clips()
    whole = open_dataset(root, frames=None)
    for count, chosen in ((2, ([1, 3], [0, 2])), (4, ([0, 1, 3, 4], [0, 1, 1, 2]))):
        dataset = open_dataset(root, frames=count)
        for index in range(2):
            video, targets = dataset[index]
            assert torch.equal(video, whole[index][0][chosen[index]])
            check_pixels(video, targets)
    with pytest.raises(ValueError, match="frames must be at least 1, got 0"):
        open_dataset(root, frames=0)
    with pytest.raises(ValueError, match="frames= is for the youtube_vis layout"):
        open_dataset(root, "coco", frames=4)


def test_mixed_clips_keep_tracks_on_their_pixels(make_clips):
    dataset = open_dataset(make_clips(), frames=6)
    seen = set()
    for seed in range(8):
        made = mix_sample(dataset, cd.CutMix(p=1.0, layout="BTCHW"), 0, seed=seed)
        check_pixels(made.image, made.target)
        seen |= {int(track) for target in made.target for track in target["track_id"]}
    assert seen == {11, 12, 21, 22}


def test_it_travels_to_workers(make_clips):
    dataset = open_dataset(make_clips(), frames=3)
    for twin in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert torch.equal(twin[1][0], dataset[1][0])
    loader = DataLoader(dataset, batch_size=None, num_workers=2)
    for (video, targets), (expected, _) in zip(loader, dataset):
        assert torch.equal(video, expected)
        check_pixels(video, targets)


def put(content, *path, value):
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("videos",), {}, "no list named 'videos'"),
        (("videos", 0, "file_names"), [], r"videos\[0\]\['file_names'\] must list one frame or more"),
        (("videos", 0, "file_names"), [3], r"videos\[0\]\['file_names'\] must list"),
        (("videos", 1, "id"), 1, "two of the 'videos' have the id 1"),
        (("annotations", 0), {"id": 1}, r"annotations\[0\] has no 'video_id', 'category_id'"),
        (
            ("annotations",),
            [{"id": 1, "video_id": 1, "category_id": 4}],
            "not YouTube-VIS, no annotation has segmentations or bboxes",
        ),
    ],
)
def test_a_json_of_another_kind(make_clips, path, value, words):
    root = make_clips(lambda content: put(content, *path, value=value))
    with pytest.raises(DatasetError, match=words) as caught:
        open_dataset(root)
    assert "instances.json" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("videos", 0, "file_names"), ["../../../etc/passwd"] * 5, "leads out of the folder"),
        (("videos", 0, "file_names"), ["/etc/passwd"] * 5, "leads out of the folder"),
        (("videos", 0, "file_names"), ["clip1/none.png"] * 5, "file not found"),
    ],
)
def test_a_sample_that_cannot_be_read_is_named(make_clips, path, value, words):
    dataset = open_dataset(make_clips(lambda content: put(content, *path, value=value)))
    with pytest.raises(SampleError, match=words):
        dataset[0]
    assert len(dataset[1][1]) == 8


def only(content, key, value):
    """Every track of the first video has this."""
    for annotation in content["annotations"]:
        if annotation["video_id"] == 1:
            annotation[key] = value


WRONG = {"size": [9, 9], "counts": [81]}


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("segmentations", [None], "segmentations must have an entry for each of 5 frames"),
        ("segmentations", None, "has neither segmentations nor bboxes"),
        ("segmentations", {}, "has neither segmentations nor bboxes"),
        ("category_id", 5, "category_id 5 is not among the categories"),
        ("segmentations", [WRONG] * 5, "its segmentation is left out: run lengths of size"),
    ],
)
def test_a_track_that_makes_no_sense_costs_itself_alone(make_clips, key, value, reason):
    dataset = open_dataset(make_clips(lambda content: put(content, "annotations", 0, key, value=value)), frames=None)
    with pytest.warns(DataWarning, match=rf"instances.json: annotation 11 of .* is left out: {reason}"):
        video, targets = dataset[0]
    assert [target["track_id"].tolist() for target in targets] == [[12], [], [12], [12], [12]]
    check_pixels(video, targets)
    assert len(dataset.take_notes()) == (5 if reason.startswith("its") else 1)
    alone = open_dataset(make_clips(lambda content: only(content, key, value)), frames=None)
    with pytest.raises(SampleError, match=reason):
        alone[0]
    assert len(alone[1][1]) == 3


def test_a_frame_of_a_track_that_makes_no_sense_costs_itself_alone(make_clips):
    """One of three frames cost the whole clip."""

    def change(content):
        put(content, "annotations", 0, "segmentations", 2, value=WRONG)
        put(content, "annotations", 1, "segmentations", 3, value=[[1, 2, 3]])
        put(content, "annotations", 1, "segmentations", 4, value="x")
        put(content, "annotations", 1, "bboxes", value=[None, None, None, None, [1, 2, 3, 4]])

    dataset = open_dataset(make_clips(change), frames=None)
    with pytest.warns(DataWarning, match=r"annotation 11 of clip1, frame 2 is left out: its segmentation"):
        targets = dataset[0][1]
    assert [target["track_id"].tolist() for target in targets] == [[11, 12], [11], [12], [11], [11, 12]]
    assert targets[4]["has_mask"].tolist() == [True, False]
    assert targets[4]["boxes"][1].tolist() == [1, 2, 4, 6]
    assert all("has_mask" in target for index in range(2) for target in dataset[index][1])
    assert sorted({reason.split(":")[0] for _, reason in dataset.take_notes()}) == [
        "annotation 11 of clip1, frame 2 is left out",
        "annotation 12 of clip1, frame 3 is left out",
        "annotation 12 of clip1, frame 4",
    ]


@pytest.mark.parametrize(
    ("ids", "numbers", "told"),
    [
        (["11", "12", "021", "22"], [11, 12, 21, 22], []),
        ([11.0, 12, "21", 22], [11, 12, 21, 22], []),
        (["x", "y", "x", 22], [23, 24, 23, 22], ["2 ids of tracks are no integers and are numbered, 'x' as 23"]),
        ([None, "a-1", 3, 10**30], [4, 5, 3, 6], ["3 ids of tracks are no integers and are numbered, None as 4"]),
    ],
    ids=str,
)
def test_ids_of_tracks_in_other_forms(make_clips, ids, numbers, told):
    def change(content):
        for annotation, number in zip(content["annotations"], ids):
            annotation["id"] = number

    dataset = open_dataset(make_clips(change), frames=None)
    assert [dataset[index][1][0]["track_id"].tolist() for index in range(2)] == [numbers[:2], numbers[2:]]
    assert dataset.take_notes() == [(str(dataset.annotations), reason) for reason in told]


def test_what_is_missing(make_clips, tmp_path):
    root = make_clips()
    with pytest.raises(DatasetError, match=r"split 'val'; tried val/instances.json, val.json \(splits found: train\)"):
        open_dataset(root, "youtube_vis", "val")
    with pytest.raises(DatasetError, match="no such image folder"):
        open_dataset(root, images=tmp_path / "none")
    Image.new("RGB", (9, 9)).save(root / "train" / "JPEGImages" / "clip1" / "00002.png")
    with pytest.raises(SampleError, match="the frames of a video must have one size"):
        open_dataset(root, frames=None)[0]


def test_a_clip_that_fills_the_memory_is_not_made(make_clips, monkeypatch):
    """A name takes a few bytes in the file; the same picture can be named a million times."""

    def change(content):
        content["videos"][0]["file_names"] *= 20
        for annotation in content["annotations"]:
            annotation["segmentations"] *= 20 if annotation["video_id"] == 1 else 1

    monkeypatch.setattr("cutmix_dense.data.masks._ROOM", 5 * 99 * SIZE[0] * SIZE[1])
    dataset = open_dataset(make_clips(change), "youtube_vis", frames=None)
    with pytest.raises(SampleError, match=r"00000\.png: 500 channels and masks of 36×24 take"):
        dataset[0]
    assert len(dataset[1][1]) == 3


@pytest.mark.parametrize(("videos", "area", "refused"), [(3, None, True), (3, 96, False), (2, None, False)])
def test_boxes_that_are_corners_are_refused(make_clips, videos, area, refused):
    """Boxes of three videos or more; the areas of the file tell sides, and four zeros are no box."""
    box = [5, 6, SIZE[1] - 2, SIZE[0] - 2]

    def change(content):
        content["videos"] = [{**content["videos"][0], "id": number + 1} for number in range(videos)]
        count = LENGTHS[0]
        content["annotations"] = [
            {
                "id": number + 1,
                "video_id": number % videos + 1,
                "category_id": 4,
                "bboxes": [[0, 0, 0, 0], *[box] * (count - 1)],
                "areas": [0, *[area and box[2] * box[3]] * (count - 1)],
            }
            for number in range(4 * videos)
        ]

    root = make_clips(change)
    if refused:
        with pytest.raises(
            DatasetError, match=r"instances\.json: boxes must be \[x, y, width.*they do: write \[x1, y1"
        ):
            open_dataset(root, frames=None)
        return
    targets = open_dataset(root, frames=None)[0][1]
    assert len(targets[0]["boxes"]) == 0
    assert targets[1]["boxes"][0].tolist() == [5, 6, 5 + box[2], 6 + box[3]]
