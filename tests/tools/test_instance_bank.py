"""The tool that makes a bank of cut-outs, of a data set and of a folder."""

from __future__ import annotations

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
    assert "four bands" in said.err
    bank = cd.InstanceBank.load(out)
    assert bank.counts == {1: 1, 2: 1}
    image, target = bank._cuts[1]
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


def test_mistakes_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        instance_bank.main([str(tmp_path), "--folder", "--out", str(tmp_path / "b.pt")])
    assert "alpha" in capsys.readouterr().err
