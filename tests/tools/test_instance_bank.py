"""The tool that makes a bank of cut-outs, of a data set and of a folder."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

import cutmix_dense as cd
from cutmix_dense.data.pictures import encode_picture
from tools import instance_bank


@pytest.mark.parametrize("layout", ["coco", "voc"])
def test_a_bank_of_a_data_set(demo, tmp_path, layout, capsys):
    out = tmp_path / "bank.pt"
    assert instance_bank.main([str(demo / layout), "--out", str(out), "--seed", "1"]) == 0
    bank = cd.InstanceBank.load(out)
    said = capsys.readouterr().out
    assert f"{len(bank)} instances" in said
    assert len(bank) > 20
    target = {"boxes": torch.tensor([[4.0, 4, 40, 40]]), "labels": torch.tensor([1])}
    mix = cd.CopyPaste(source=bank, instances=4, place="grid", p=1.0, boxes="estimate")
    out_images, after = mix(torch.zeros(2, 3, 240, 320, dtype=torch.uint8), [target] * 2)
    assert all(len(one["labels"]) >= 3 for one in after)
    assert (out_images != 0).any()


def test_pictures_as_mmdetection_loads_them(demo, tmp_path):
    for name, more in (("rgb.pt", []), ("bgr.pt", ["--bgr"])):
        assert (
            instance_bank.main([str(demo / "coco"), "--out", str(tmp_path / name), "--most-megabytes", "1", *more]) == 0
        )
    rgb, bgr = (cd.InstanceBank(file=tmp_path / name)._cuts for name in ("rgb.pt", "bgr.pt"))
    assert all(torch.equal(one.flip(0), other) for (one, _), (other, _) in zip(rgb, bgr, strict=True))
    assert any((one != other).any() for (one, _), (other, _) in zip(rgb, bgr))


def test_a_small_bank_is_another_part_of_the_data_for_another_seed(demo, tmp_path):
    counts = []
    for seed in ("1", "1", "2"):
        out = tmp_path / f"{len(counts)}.pt"
        arguments = [str(demo / "coco"), "--out", str(out), "--seed", seed, "--most-megabytes", "1"]
        assert instance_bank.main(arguments) == 0
        bank = cd.InstanceBank.load(out)
        assert bank.nbytes <= 2**20
        counts.append([float(image.float().mean()) for image, _ in bank._cuts])
    assert counts[0] == counts[1] != counts[2]


def test_a_folder_of_pictures_with_alpha(tmp_path, capsys):
    for name, shade in (("cat", 40), ("dog", 90)):
        (tmp_path / "cuts" / name).mkdir(parents=True)
        pixels = np.full((10, 14, 4), shade, np.uint8)
        pixels[..., 3] = 0
        pixels[2:7, 3:9, 3] = 255
        Image.fromarray(pixels).save(tmp_path / "cuts" / name / "one.png")
    Image.new("RGB", (5, 5)).save(tmp_path / "cuts" / "dog" / "opaque.png")
    out = tmp_path / "bank.pt"
    assert instance_bank.main([str(tmp_path / "cuts"), "--folder", "--margin", "0", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "cat: 1" in said.out
    assert "opaque.png: must have an alpha band behind grey or three colours, got 3 bands" in said.err
    bank = cd.InstanceBank.load(out)
    assert bank.counts == {1: 1, 2: 1}
    image, target = next(cut for cut in bank._cuts if cut[1]["labels"] == 2)
    assert tuple(image.shape) == (3, 5, 6)
    assert (image == 90).all()
    assert target["masks"].all()


def test_pictures_that_are_transparent_everywhere_are_named(tmp_path, capsys):
    """And a class that has no other pictures."""
    for name, depth, most, alpha in (
        ("cat/one", np.uint8, 255, 128),
        ("cat/faint", np.uint8, 255, 127),
        ("ghost/one", np.uint8, 255, 0),
        ("ghost/other", np.float32, 1, 0.5),
        ("spook/one", np.float32, 1, 0.75),
    ):
        pixels = np.full((10, 14, 4), most, depth)
        pixels[..., 3] = 0
        pixels[2:7, 3:9, 3] = alpha
        path = tmp_path / "cuts" / f"{name}.{'png' if depth is np.uint8 else 'tif'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_picture(pixels, path.suffix))
    arguments = [str(tmp_path / "cuts"), "--folder", "--out", str(tmp_path / "bank.pt"), "--most-megabytes", "9"]
    assert instance_bank.main(arguments) == 0
    said = capsys.readouterr()
    told = "cat/faint.png: alpha must be above 127.5 somewhere, got at most 127 (and 2 more like it, in 3 files)"
    assert told in said.err
    assert said.out.splitlines()[1:] == ["  cat: 1", "  spook: 1", "  without any: ghost"]


def test_grey_pictures_with_alpha_are_cut_outs(tmp_path):
    (tmp_path / "cuts" / "cat").mkdir(parents=True)
    pixels = np.zeros((10, 14, 2), np.uint8)
    pixels[..., 0] = np.arange(140).reshape(10, 14)
    pixels[2:7, 3:9, 1] = 255
    Image.fromarray(pixels, "LA").save(tmp_path / "cuts" / "cat" / "one.png")
    out = tmp_path / "bank.pt"
    assert instance_bank.main([str(tmp_path / "cuts"), "--folder", "--margin", "0", "--out", str(out)]) == 0
    ((image, target),) = cd.InstanceBank.load(out)._cuts
    assert torch.equal(image, torch.from_numpy(pixels[2:7, 3:9, 0]).expand(3, -1, -1))
    assert target["masks"].all()


def folder_of(path, sides):
    """Opaque squares of these sides; each is a class of its own, in order."""
    for number, side in enumerate(sides):
        place = path / f"{number:03}" / "one.png"
        place.parent.mkdir(parents=True)
        Image.fromarray(np.full((side, side, 4), 255, np.uint8)).save(place)
    return path


def test_a_small_bank_is_an_even_sample(tmp_path, capsys):
    """A full bank of a folder has large and small cut-outs in the same share, from all parts of the folder."""
    cuts = folder_of(tmp_path / "cuts", [150, 10] * 60)
    arguments = [str(cuts), "--folder", "--margin", "0", "--most-megabytes", "1", "--out"]
    large, small, first = 0, 0, 0
    for seed in range(4):
        assert instance_bank.main([*arguments, str(tmp_path / f"{seed}.pt"), "--seed", str(seed)]) == 0
        for label in cd.InstanceBank.load(tmp_path / f"{seed}.pt").counts:
            large, small, first = large + label % 2, small + (label - 1) % 2, first + (label <= 60)
    assert 40 <= large <= 48  # 11 fill a bank
    assert 30 <= small <= 65
    assert 30 <= first <= 60


def test_what_is_larger_than_the_bank_is_told_and_left_out(tmp_path, capsys):
    cuts = folder_of(tmp_path / "cuts", [800, 10, 800, 10])
    out = tmp_path / "bank.pt"
    assert instance_bank.main([str(cuts), "--folder", "--most-megabytes", "1", "--out", str(out)]) == 0
    assert cd.InstanceBank.load(out).counts == {2: 1, 4: 1}
    told = capsys.readouterr().err
    assert told.count("left out") == 1
    assert "raise --most-megabytes" in told


def test_a_folder_is_made_for_the_bank(demo, tmp_path):
    out = tmp_path / "new" / "folder" / "bank.pt"
    assert instance_bank.main([str(demo / "coco"), "--most-megabytes", "1", "--out", str(out)]) == 0
    assert len(cd.InstanceBank(file=out))
    with pytest.raises(FileNotFoundError):
        cd.InstanceBank().save(tmp_path / "none" / "bank.pt")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--out", "."], r"--out: \. is a folder: name the file to write in it"),
        (["--margin", "-1"], r"--margin: must lie in \[0, 10\], got -1"),
        (["--margin", "nan"], r"--margin: must lie in \[0, 10\], got nan"),
        (["--margin", "wide"], "--margin: must be a number, got 'wide'"),
        (["--folder", "--split", "val"], "--split is for data sets, not for --folder"),
        (["--folder", "--annotations", "a.json"], "--annotations is for data sets, not for --folder"),
    ],
)
def test_arguments_are_refused_before_a_picture_is_read(more, told, demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cd.InstanceBank, "add", None)
    with pytest.raises(SystemExit) as ended:
        instance_bank.main([str(demo / "coco"), "--out", "bank.pt", *more])
    assert ended.value.code == 2
    assert re.search(f"bank: error: {told}", capsys.readouterr().err)


def test_maps_alone_have_no_cut_outs(tmp_path, capsys):
    for name in ("images", "labels"):
        (tmp_path / "set" / name / "train").mkdir(parents=True)
        for number in range(2):
            picture = np.full((12, 16), number, np.uint8) if name == "labels" else np.zeros((12, 16, 3), np.uint8)
            Image.fromarray(picture).save(tmp_path / "set" / name / "train" / f"{number}.png")
    with pytest.raises(SystemExit) as ended:
        instance_bank.main([str(tmp_path / "set"), "--out", str(tmp_path / "bank.pt")])
    assert ended.value.code == 2
    assert "has no boxes or masks of instances (image_masks)" in capsys.readouterr().err


def test_mistakes_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        instance_bank.main([str(tmp_path), "--folder", "--out", str(tmp_path / "b.pt")])
    assert "alpha" in capsys.readouterr().err
