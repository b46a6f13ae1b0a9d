"""The demo set: the same scenes three times, exact, varied, deterministic."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.class_tables import RAW_CLASSES
from cutmix_dense.data.demo import CITYSCAPES_NAMES, CLASSES, make_demo_set
from cutmix_dense.data.demo.scenes import draw_scene
from cutmix_dense.data.demo.shapes import distance


def test_three_layouts_hold_the_same_scenes(demo):
    for split, count in (("train", 30), ("val", 6)):
        coco = open_dataset(demo / "coco", split=split)
        voc = open_dataset(demo / "voc", split=split, task="instances")
        boxes = open_dataset(demo / "voc", split=split)
        cityscapes = open_dataset(demo / "cityscapes", split=split, label_ids="raw")
        assert len(coco) == len(voc) == len(boxes) == len(cityscapes) == count
        assert coco.classes == voc.classes == ("background", *CLASSES)
        for i in range(count):
            (image, a), (other, b), (exact, c) = coco[i], voc[i], cityscapes[i]
            assert torch.equal(image, other)
            assert (image.int() - exact.int()).abs().float().mean() < 3  # JPEG against PNG
            for key in ("boxes", "labels", "masks"):
                assert torch.equal(a[key], b[key]), key
            assert torch.equal(boxes[i][1]["boxes"], a["boxes"])
            names = [CITYSCAPES_NAMES[coco.classes[label]] for label in a["labels"]]
            mine = {(name, mask.numpy().tobytes()) for name, mask in zip(names, a["masks"], strict=True)}
            theirs = {(RAW_CLASSES[v], m.numpy().tobytes()) for v, m in zip(c["labels"], c["masks"], strict=True)}
            assert mine == theirs
            assert a["iscrowd"].sum() == c["iscrowd"].sum()
            painted = torch.zeros(96, 128, dtype=torch.long)
            for label, mask in zip(a["labels"], a["masks"], strict=True):
                assert not painted[mask].any()  # no pixel belongs to two
                painted[mask] = label
            line = b["semantic"] == 255
            assert torch.equal(torch.where(line, 0, b["semantic"].long()), painted)
            assert not (line & (painted > 0)).any()


def test_train_ids_know_every_shape(demo):
    dataset = open_dataset(demo / "cityscapes")
    labels = torch.cat([dataset[i][1]["labels"] for i in range(len(dataset))])
    assert set(labels.tolist()) == set(range(11, 19))
    values = np.unique(np.concatenate([dataset[i][1]["semantic"].numpy().ravel() for i in range(len(dataset))]))
    assert values.max() == 255
    assert len(values) > 14


def test_same_seed_same_files_and_finished_sets_stay(tmp_path, demo):
    parameters = {"images": 4, "val": 1, "size": (48, 64), "seed": 5}
    steps = []
    make_demo_set(tmp_path / "a", **parameters, workers=3, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(i, 5) for i in range(1, 6)]
    make_demo_set(tmp_path / "b", **parameters, workers=1)
    one, two = ({p.relative_to(r): p for p in r.rglob("*") if p.is_file()} for r in (tmp_path / "a", tmp_path / "b"))
    assert sorted(one) == sorted(two)
    assert all(one[name].read_bytes() == two[name].read_bytes() for name in one)
    times = {path: path.stat().st_mtime_ns for path in one.values()}
    make_demo_set(tmp_path / "a", **parameters)
    assert times == {path: path.stat().st_mtime_ns for path in one.values()}


def test_interrupted_sets_are_drawn_anew_and_others_left_alone(tmp_path):
    small = {"images": 2, "val": 1, "size": (32, 40)}
    make_demo_set(tmp_path, **small)
    with pytest.raises(DatasetError, match="overwrite=True"):
        make_demo_set(tmp_path, **small, seed=1)
    make_demo_set(tmp_path, **small, seed=1, overwrite=True)
    stamp = json.loads((tmp_path / "demo.json").read_text())
    assert (stamp["seed"], stamp["finished"]) == (1, True)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo_set(tmp_path, **small, overwrite=True, progress=stop)
    assert not json.loads((tmp_path / "demo.json").read_text())["finished"]
    make_demo_set(tmp_path, **small)
    assert len(open_dataset(tmp_path / "coco")) == 2
    (tmp_path / "demo.json").unlink()
    with pytest.raises(DatasetError, match="not a demo set"):
        make_demo_set(tmp_path, **small)
    with pytest.raises(ValueError, match="size at least 32"):
        make_demo_set(tmp_path / "c", size=(8, 8))
    with pytest.raises(ValueError, match="workers must be at least 1"):
        make_demo_set(tmp_path / "c", workers=0)


def test_the_default_stays_what_it_was(tmp_path):
    """Sets of version 2 that people have drawn already: same names, same stamp, same scenes."""
    make_demo_set(tmp_path, images=1, val=1, size=(32, 40))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cityscapes", "coco", "demo.json", "voc"]
    stamp = '{"version":2,"images":1,"val":1,"size":[32,40],"seed":0,"finished":true}\n'
    assert (tmp_path / "demo.json").read_text() == stamp
    scenes = [draw_scene(np.random.default_rng([0, i]), (240, 320)) for i in range(3)]
    assert scenes[0].labels.tolist() == [4, 2, 7, 1, 7, 6, 2, 7, 8, 1, 4, 8, 8, 3, 6, 5, 7, 8, 5, 8, 6, 7, 5, 7]
    assert [scene.labels.tolist() for scene in scenes[1:]] == [[3, 7, 2], [6, 2]]
    # not to the bit: other builds of numpy and OpenCV may round otherwise
    areas = [int(mask.sum()) for scene in scenes[1:] for mask in scene.masks]
    np.testing.assert_allclose(areas, [2200, 2003, 1937, 12256, 8932], atol=4)
    means = [scene.image.mean((0, 1)) for scene in scenes]
    expected = [[135.18, 137.17, 136.12], [95.76, 110.15, 130.11], [111.45, 96.07, 119.68]]
    np.testing.assert_allclose(means, expected, atol=0.1)


def test_scenes_are_varied():
    scenes = [draw_scene(np.random.default_rng([0, i]), (120, 160)) for i in range(80)]
    counts = np.array([len(scene.labels) for scene in scenes])
    assert (counts == 0).any()
    assert counts.max() > 10
    assert set(np.concatenate([scene.labels for scene in scenes])) == set(range(1, 9))
    assert sum(scene.iscrowd.sum() for scene in scenes) >= 2
    assert sum(scene.difficult.sum() for scene in scenes) >= 10
    areas = np.concatenate([scene.masks.sum(axis=(1, 2)) for scene in scenes])
    assert areas.min() < 20
    assert areas.max() > 3000
    border = sum(
        mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any() for s in scenes for mask in s.masks
    )
    assert border > 20
    assert len({scene.stuff[0, 0] for scene in scenes}) >= 5
    means = np.array([scene.image.mean() for scene in scenes])
    assert means.min() > 50
    assert means.max() < 235


@pytest.mark.parametrize("size", [(32, 400), (300, 40), (96, 128)])
def test_scenes_agree_with_themselves(size):
    for i in range(30):
        scene = draw_scene(np.random.default_rng([7, i]), size)
        assert scene.image.shape == (*size, 3)
        assert scene.masks.any(axis=(1, 2)).all()
        assert scene.masks.sum(axis=0).max(initial=0) <= 1
        assert np.array_equal((scene.masks * scene.labels.reshape(-1, 1, 1)).sum(axis=0), scene.things)
        again = draw_scene(np.random.default_rng([7, i]), size)
        assert np.array_equal(scene.image, again.image)
        assert np.array_equal(scene.masks, again.masks)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("form", [0.0, 0.5, 0.99])
def test_shapes_have_the_parts_and_holes_they_promise(kind, form):
    y, x = np.mgrid[-1.2:1.2:161j, -1.2:1.2:161j].astype(np.float32)
    inside = distance(kind, x, y, form) < 0
    parts = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)[0] - 1
    outside = cv2.connectedComponents((~inside).astype(np.uint8), connectivity=4)[0] - 1
    assert parts == (2 if kind == "twin" else 1)
    assert outside == (2 if kind == "ring" else 1)
    assert np.hypot(x, y)[inside].max() <= 1.06  # the square it is painted in is that large
    assert 0.15 < inside.sum() * (2.4 / 160) ** 2 <= 3.2
