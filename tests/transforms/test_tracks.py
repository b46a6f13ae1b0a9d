"""Ids of tracks: unique within a mixed clip, and one track one id."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.regions import AreaBox, PathBox
from cutmix_dense.transforms.tracks import _new_ids

SIZE, FRAMES = (24, 36), 4


def clip_of(index, ids, kind=torch.tensor, **more):
    """Two small objects in every frame, whose class says whose they are: clip and object."""
    boxes = torch.tensor([[2.0, 3, 8, 9], [26, 14, 33, 21]])
    return [
        {
            "boxes": boxes[: len(ids)] + t / 2,
            "labels": torch.tensor([10 * index, 10 * index + 1])[: len(ids)],
            "track_id": kind(ids),
            **more,
        }
        for t in range(FRAMES)
    ]


def mixed_tracks(targets, **settings):
    images = torch.stack([torch.full((FRAMES, 3, *SIZE), float(i)) for i in range(len(targets))])
    settings = {"p": 1.0, "region": AreaBox((0.3, 0.7)), "layout": "BTCHW", **settings}
    method = settings.pop("method", cd.CutMix)
    if method is not cd.CutMix:
        settings.pop("region")
    for seed in range(6):
        mixed, out = method(**settings)(images, targets, generator=torch.Generator().manual_seed(seed))
        assert any(len(clip.unique()) > 1 for clip in mixed)
        yield out


def objects_of(clip, part=lambda frame: frame):
    """The object behind every id of a clip."""
    found = {}
    for frame in clip:
        rows = part(frame)
        ids = rows["track_id"]
        for track, label in zip(ids.tolist() if isinstance(ids, torch.Tensor) else ids, rows["labels"].tolist()):
            found.setdefault(track, set()).add(label)
    return found


@pytest.mark.parametrize("region", [AreaBox((0.3, 0.7)), PathBox(AreaBox((0.3, 0.6)))])
@pytest.mark.parametrize("on_filtered", ["drop", "ignore", "crowd"])
def test_an_id_is_one_object(region, on_filtered):
    targets = [clip_of(0, [1, 2]), clip_of(1, [2, 5]), clip_of(2, [1, 5])]
    renamed = kept = 0
    settings = {"region": region, "on_filtered": on_filtered, "min_visibility": 0.4}
    for out in mixed_tracks(targets, **settings):
        for index, clip in enumerate(out):
            objects = objects_of(clip)
            if on_filtered == "ignore":
                for track, labels in objects_of(clip, lambda frame: frame["ignored"]).items():
                    objects.setdefault(track, set()).update(labels)
            assert all(len(labels) == 1 for labels in objects.values())
            ids = {label: track for track, labels in objects.items() for label in labels}
            assert len(ids) == len(objects)  # and one object has one id
            given = {
                int(label): int(track)
                for label, track in zip(targets[index][0]["labels"], targets[index][0]["track_id"])
            }
            assert all(ids[label] == track for label, track in given.items() if label in ids)
            for label, track in ids.items():
                renamed += track > 5
                kept += label not in given and track <= 5
    assert renamed
    assert kept


def test_one_clip_twice_in_a_mosaic_is_two_tracks():
    targets = [clip_of(0, [1, 2]), clip_of(1, [1, 2])]
    doubled = 0
    for out in mixed_tracks(targets, method=cd.Mosaic, min_visibility=0.0):
        for clip in out:
            for frame in clip:
                ids = frame["track_id"].tolist()
                assert len(set(ids)) == len(ids)
                doubled += len(ids) > len(set(frame["labels"].tolist()))
    assert doubled


def test_unmixed_clips_and_free_ids_stay_as_they_are():
    targets = [clip_of(0, [1, 2]), clip_of(1, [1, 2])]
    _, out = cd.CutMix(p=0.0, layout="BTCHW")(torch.zeros(2, FRAMES, 3, *SIZE), targets)
    assert [frame["track_id"].tolist() for clip in out for frame in clip] == [[1, 2]] * FRAMES * 2
    apart = [clip_of(0, [1, 2]), clip_of(1, [3, 4])]
    for out in mixed_tracks(apart):
        for clip in out:
            for track, labels in objects_of(clip).items():
                assert labels == {{1: 0, 2: 1, 3: 10, 4: 11}[track]}


def test_no_track_is_no_id():
    for out in mixed_tracks([clip_of(0, [-1, 2]), clip_of(1, [-1, 2])], min_visibility=0.0):
        for clip in out:
            objects = objects_of(clip)
            assert {label % 10 for label in objects.pop(-1, set())} <= {0}
            assert all(len(labels) == 1 for labels in objects.values())


def test_ids_in_lists_and_words():
    for out in mixed_tracks([clip_of(0, ["a", "b"], list), clip_of(1, ["a", "c"], list)]):
        for clip in out:
            objects = objects_of(clip)
            assert all(len(labels) == 1 for labels in objects.values())
            assert set(objects) <= {"a", "b", "c", "a-2"}


def test_which_ids_are_new():
    rows = [(0, 1), (1, 1), (0, 7), (1, 7), (2, 1), (1, 3), (0, -1), (1, -1)]
    assert _new_ids(rows) == {(1, 1): 8, (1, 7): 9, (2, 1): 10}
    assert _new_ids([(1, "a"), (0, "a"), (0, "a-2")]) == {(1, "a"): "a-3"}
    assert _new_ids([(0, 1), (1, 2)]) == {}


def of_numbers(*kinds):
    return [pytest.param(kind, id=name) for name, kind in kinds]


@pytest.mark.parametrize(
    "kind",
    of_numbers(
        ("float32", lambda ids: torch.tensor(ids, dtype=torch.float32)),
        ("float64", lambda ids: torch.tensor(ids, dtype=torch.float64)),
        ("uint8", lambda ids: torch.tensor(ids).to(torch.uint8)),
        ("int", list),
        ("float", lambda ids: [float(number) for number in ids]),
        ("np.int64", lambda ids: [np.int64(number) for number in ids]),
        ("np.uint8", lambda ids: [np.uint8(number) for number in ids]),
        ("np.float32", lambda ids: [np.float32(number) for number in ids]),
        ("tensors", lambda ids: [torch.tensor(number) for number in ids]),
        ("tuple", tuple),
    ),
)
def test_numbers_of_any_type_are_counted_up_in_their_type(kind):
    like, renamed = kind([1]), 0
    for out in mixed_tracks([clip_of(0, [1, 2], kind), clip_of(1, [2, 1], kind)], min_visibility=0.0):
        for clip in out:
            found = {}
            for frame in clip:
                ids = frame["track_id"]
                assert isinstance(ids, torch.Tensor) == isinstance(like, torch.Tensor)
                assert all(type(number) is type(like[0]) for number in ids)
                assert len({getattr(number, "dtype", None) for number in (*ids, like[0])}) == 1
                for track, label in zip([int(number) for number in ids], frame["labels"].tolist()):
                    found.setdefault(track, set()).add(label)
            assert all(len(labels) == 1 for labels in found.values())
            assert set(found) <= {1, 2, 3, 4}
            renamed += len(found) > 2
    assert renamed


@pytest.mark.parametrize("none", [None, -1, -1.0, np.int64(-1), torch.tensor(-7), -0.5])
def test_no_track_of_any_type_stays(none):
    for out in mixed_tracks([clip_of(0, [none, 2], list), clip_of(1, [none, 2], list)], min_visibility=0.0):
        for clip in out:
            for frame in clip:
                for track, label in zip(frame["track_id"], frame["labels"].tolist()):
                    assert (track is none or bool(track == none)) == (label % 10 == 0)


@pytest.mark.parametrize(
    ("ids", "error", "got"),
    [
        (torch.tensor([True, False]), TypeError, "got torch.bool"),
        ([True, False], TypeError, "got True"),
        ([np.bool_(True), np.bool_(False)], TypeError, "got True"),
        ([(1, 2), (3, 4)], TypeError, r"got \(1, 2\)"),
        (torch.tensor([1.5, 2]), ValueError, "got 1.5"),
        ([1.0, float("nan")], ValueError, "got nan"),
        ([1.0, float("inf")], ValueError, "got inf"),
        (torch.tensor([[1], [2]]), ValueError, r"got the shape \(2, 1\)"),
        ([torch.tensor([1]), torch.tensor([2])], TypeError, r"got tensor\(\[1\]\)"),
        (torch.tensor([254, 255]).to(torch.uint8), ValueError, "up to 255 in torch.uint8, which counts to 255"),
        (torch.tensor([1, 127]).to(torch.int8), ValueError, "which counts to 127"),
        (torch.tensor([1, 2**63 - 1]), ValueError, "torch.int64"),
        (torch.tensor([1.0, 2**24]), ValueError, "up to 16777216 in torch.float32"),
        ([np.uint8(255), np.uint8(1)], ValueError, "in uint8"),
        ([2.0**53, 1.0], ValueError, "in float64"),
    ],
)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_ids_that_can_not_be_counted_up_are_refused_in_every_call(ids, error, got, p):
    targets = [clip_of(0, [1, 2]), clip_of(1, [3, 4])]  # no clash
    targets[1][2]["track_id"] = ids
    match = rf"targets\[1\]\[2\]\['track_id'\] must .*{got}.*: give .*int64"
    with pytest.raises(error, match=match):
        cd.CutMix(p=p, layout="BTCHW")(torch.rand(2, FRAMES, 3, *SIZE), targets)


def test_ids_that_are_named_otherwise_are_no_tracks():
    targets = [clip_of(index, [True, False]) for index in range(2)]
    frames = [[{**frame, "track_id": 3} for frame in clip] for clip in targets]
    mix = cd.CutMix(p=1.0, layout="BTCHW", image_keys=("track_id",))
    assert mix(torch.rand(2, FRAMES, 3, *SIZE), frames)[1][0][0]["track_id"] == 3
