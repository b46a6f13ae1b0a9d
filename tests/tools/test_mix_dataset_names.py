"""What the samples of a mixed copy are called: no name is another sample's, of the same split or of another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cutmix_dense as cd
from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import open_complete


def save(path: Path, code: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 20, 3), code, np.uint8)).save(path)


def make_coco(root: Path, names: list[str]) -> Path:
    """Pictures of one colour each, 50, 60 and so on."""
    for number, name in enumerate(names):
        save(root / "images" / name, 50 + 10 * number)
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "ant"}]}
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def make_yolo(root: Path) -> Path:
    """0001.png in train, of code 50 with three boxes, and in val, of code 200 with one."""
    for split, code, count in (("train", 50, 3), ("val", 200, 1)):
        save(root / "images" / split / "0001.png", code)
        label = root / "labels" / split / "0001.txt"
        label.parent.mkdir(parents=True)
        label.write_text("0 .5 .5 .2 .2\n" * count)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [ant]\n")
    return root


def codes(root: Path, *words: str) -> dict[str, int]:
    """The names of a copy's pictures, and what each shows."""
    dataset = open_dataset(root, *words)
    return {dataset.image_path(index).name: int(dataset[index][0].max()) for index in range(len(dataset))}


def test_a_name_with_its_index_may_be_another_pictures_name(tmp_path):
    names = ["cam1/img.png", "cam2/img.png", "img-1.png"]
    report = mix_dataset(open_complete(make_coco(tmp_path / "set", names)), tmp_path / "out", cd.CutMix(p=0.0))
    assert report.written == 3
    assert codes(tmp_path / "out") == {"img-0-mix0.png": 50, "img-1-mix0.png": 60, "img-1-mix0-2.png": 70}


def test_originals_of_a_copy_that_has_originals(tmp_path):
    """The mix of a is called like the original of a's mix."""
    root = make_coco(tmp_path / "set", ["a.png", "B-mix0.png", "a-mix0.png", "b.png"])
    report = mix_dataset(open_complete(root), tmp_path / "out", cd.CutMix(p=0.0), with_originals=True)
    assert report.written == 8
    found = codes(tmp_path / "out")
    originals = {"a.png": 50, "B-mix0.png": 60, "a-mix0.png": 70, "b.png": 80}
    mixes = {"a-mix0-0.png": 50, "B-mix0-mix0.png": 60, "a-mix0-mix0.png": 70, "b-mix0-3.png": 80}
    assert found == {**originals, **mixes}


@pytest.mark.parametrize("splits", [("train", "val"), ("val", "train")])
def test_splits_that_share_folders_share_no_name(tmp_path, splits):
    source, out = make_yolo(tmp_path / "set"), tmp_path / "out"
    for split in splits:
        for _ in range(2):  # the finished copy is the one that is asked for again
            report = mix_dataset(open_complete(source, "yolo", split), out, cd.CutMix(p=0.0), to="voc", copies=2)
            assert report.written == 2
    first, second = splits
    shown, boxes = {"train": 50, "val": 200}, {"train": 3, "val": 1}
    assert codes(out, "voc", first) == {f"0001-mix{copy}.png": shown[first] for copy in range(2)}
    assert codes(out, "voc", second) == {f"0001-mix{copy}-{second}.png": shown[second] for copy in range(2)}
    for split in splits:
        assert [len(target["boxes"]) for _, target in open_dataset(out, "voc", split)] == [boxes[split]] * 2


def test_a_split_that_is_listed_meanwhile_keeps_its_files(tmp_path):
    """Two runs at once: the second refuses to list its samples, and run again it calls them otherwise."""
    source, out = make_yolo(tmp_path / "set"), tmp_path / "out"
    train, val = (open_complete(source, "yolo", split) for split in ("train", "val"))

    def other(done, total, record):
        if done == 0 and record is None:
            mix_dataset(train, out, cd.CutMix(p=0.0), to="voc")

    with pytest.raises(
        DatasetError, match=r"1 keys of the split 'val' are another split's, .*: 0001-mix0; give others"
    ):
        mix_dataset(val, out, cd.CutMix(p=0.0), to="voc", on_progress=other)
    mix_dataset(val, out, cd.CutMix(p=0.0), to="voc")
    assert codes(out, "voc", "train") == {"0001-mix0.png": 50}
    assert codes(out, "voc", "val") == {"0001-mix0-val.png": 200}
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == []
