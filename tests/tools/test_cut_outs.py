"""Cut-outs of a bank on the pictures of a data set: drawn on sheets, written in mixed copies, refused where foreign."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cutmix_dense as cd
from cutmix_dense.cli import bank as bank_tool
from cutmix_dense.cli import browse, mix
from cutmix_dense.cli.specs import SpecError, build_transform, transform_for
from cutmix_dense.data import DatasetError
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import mix_sample, open_complete
from cutmix_dense.visualization import sample_rows

SIZE = (48, 64)
SHADE = 200
"""Of every cut-out; the set's pictures are darker."""


@pytest.fixture
def root(tmp_path) -> Path:
    """A COCO set of three dark pictures with one object each, and attributes of it."""
    folder = tmp_path / "set"
    (folder / "train").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, rows = [], []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 90, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "train" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]})
        box = [4, 5, 10, 12]
        outline = [[4, 5, 14, 5, 14, 17, 4, 17]]
        row = {"id": number, "image_id": number, "bbox": box, "area": 120, "segmentation": outline, "iscrowd": 0}
        rows.append({**row, "category_id": 3, "attributes": {"note": f"n{number}"}})
    names = [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]
    content = {"images": images, "annotations": rows, "categories": names}
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return folder


def bank_of(path: Path, labels=(1, 2), classes=(), shade: int = SHADE) -> Path:
    """A file of bright cut-outs: a triangle for each label, 9 pixels wide and 6 high."""
    bank = cd.InstanceBank(margin=0, classes=classes)
    mask = torch.zeros(1, 20, 30, dtype=torch.bool)
    for line in range(6):
        mask[0, 3 + line, 2 : 11 - line] = True
    picture = torch.full((3, 20, 30), shade, dtype=torch.uint8)
    for label in labels:
        bank.add(
            [picture], [{"masks": mask, "boxes": torch.tensor([[2.0, 3, 11, 9]]), "labels": torch.tensor([label])}]
        )
    bank.save(path)
    return path


def words(bank: Path, *more: str) -> list[str]:
    return ["CopyPaste", f"source={bank}", "instances=1,3", "place=random", "overlap=0.2", *more]


def test_a_copy_holds_the_cut_outs(root, tmp_path, capsys):
    bank = bank_of(tmp_path / "my-bank.pt")
    arguments = [str(root), str(tmp_path / "copy"), "--copies", "4", "--workers", "0", "--transform", *words(bank)]
    assert mix.main(arguments) == 0
    report = capsys.readouterr().out
    copy = open_complete(tmp_path / "copy")
    assert copy.classes == open_complete(root).classes
    pasted, seen = 0, set()
    for image, target in (copy[index] for index in range(len(copy))):
        own = target["labels"].new_tensor([row.get("attributes") is not None for row in target["details"]]).bool()
        bright = (image == SHADE).all(dim=0)
        masks = target["masks"].as_subclass(torch.Tensor)[~own]
        assert 1 <= len(masks) <= 3
        assert torch.equal(masks.any(dim=0), bright)
        for mask, box, label in zip(masks, target["boxes"][~own].tolist(), target["labels"][~own].tolist()):
            y, x = mask.nonzero().T.tolist()
            assert box == [min(x), min(y), max(x) + 1, max(y) + 1]
            seen.add(copy.classes[label])
            pasted += 1
    assert seen == {"cat", "dog"}
    assert pasted > 12
    content = json.loads((tmp_path / "copy" / "mixed_copy.train.json").read_text())
    assert content["not_kept"]["details of cut-outs"] == pasted
    came = sum(row["count"] for row in content["outcomes"] if row["side"] == "cut-out" and row["outcome"] != "dropped")
    assert came == pasted
    assert all(sample["partners"] == [] for sample in content["samples"])
    assert "details of cut-outs" in report


def test_a_copy_is_the_same_for_a_seed(root, tmp_path, hashes):
    bank = bank_of(tmp_path / "bank.pt")
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        mix_dataset(open_complete(root), tmp_path / name, build_transform(words(bank)), seed=seed)
        found.append(hashes(tmp_path / name))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_copy_goes_on_with_the_bank_that_it_was_begun_with(root, tmp_path):
    source = open_complete(root)
    first = build_transform(words(bank_of(tmp_path / "bank.pt")))
    mix_dataset(source, tmp_path / "copy", first, seed=3)
    assert mix_dataset(source, tmp_path / "copy", first, seed=3).resumed == len(source)
    other = build_transform(words(bank_of(tmp_path / "bank.pt", shade=SHADE + 1)))
    assert repr(other) == repr(first)  # as many cut-outs of as many bytes
    with pytest.raises(DatasetError, match="other parameters.*cut_outs"):
        mix_dataset(source, tmp_path / "copy", other, seed=3)


@pytest.mark.parametrize(
    ("bank", "told"),
    [
        ({"labels": (1, 3)}, r"class 3 of the bank is one without a name, and .* has 3 classes"),
        ({"labels": (1, 2), "classes": ("", "cat", "zebra")}, r"class 2 of the bank is 'zebra', and .* calls it 'dog'"),
    ],
)
def test_foreign_classes_are_refused_by_name(root, tmp_path, capsys, bank, told):
    file = bank_of(tmp_path / "bank.pt", **bank)
    with pytest.raises(SpecError, match=told):
        transform_for(open_complete(root), words(file))
    with pytest.raises(ValueError, match=told):
        mix_dataset(open_complete(root), tmp_path / "copy", build_transform(words(file)))
    with pytest.raises(SystemExit):
        browse.main([str(root), "--out", str(tmp_path / "sheets"), "--transform", *words(file)])
    assert "'cat', 'dog'" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


def test_maps_are_refused_and_a_bank_of_the_same_set_fits(demo, tmp_path):
    out = tmp_path / "bank.pt"
    assert bank_tool.main([str(demo / "voc"), "--out", str(out)]) == 0
    assert cd.InstanceBank(file=out).classes == open_complete(demo / "voc").classes
    with pytest.raises(SpecError, match="semantic map.*source='partner'"):
        transform_for(open_complete(demo / "voc"), words(out))
    shutil.copytree(demo / "voc", tmp_path / "boxes", ignore=shutil.ignore_patterns("Segmentation*"))
    boxes = open_complete(tmp_path / "boxes")
    made = mix_sample(boxes, transform_for(boxes, words(out, "boxes=estimate")), 0)
    assert made.mixed


def test_sheets_show_the_cut_outs(root, tmp_path):
    transform = build_transform(words(bank_of(tmp_path / "bank.pt")))
    dataset = open_complete(root)
    made = mix_sample(dataset, transform, 1)
    assert made.cut_outs == len(made.images) - 1 > 0
    (row,) = sample_rows(made, ["one"], dataset.classes)
    assert len(row) == 3
    assert set(row[1].caption.split(", ")) <= {"cat", "dog"}
    assert "cut-outs: " in row[2].caption
    arguments = [str(root), "--width", "160", "--out", str(tmp_path / "sheets"), "--transform"]
    assert browse.main([*arguments, *words(tmp_path / "bank.pt")]) == 0
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 1


def test_one_of_several_methods_pastes_cut_outs(root, tmp_path):
    paste = build_transform(words(bank_of(tmp_path / "bank.pt")))
    both = cd.RandomMix([paste, cd.CutMix(p=1.0)])
    dataset, kinds = open_complete(root), set()
    for seed in range(8):
        made = mix_sample(dataset, both, 0, seed=seed)
        bright = bool((made.image == SHADE).all(dim=0).any())
        assert bright == bool(made.cut_outs)
        assert len(made.indices) == (1 if bright else 2)
        kinds.add(bright)
    assert kinds == {True, False}
    mix_dataset(dataset, tmp_path / "copy", both)
    stamp = json.loads((tmp_path / "copy" / "mixed_copy.train.json").read_text())
    assert stamp["parameters"]["cut_outs"] == [paste.source.fingerprint]


@pytest.mark.parametrize(
    "text", ["CopyPaste(source='{}', instances=2, place='grid')", "CopyPaste(source={}, instances=2, place='grid')"]
)
def test_a_bank_is_named_as_in_python(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    bank_of(tmp_path / "bank.pt")
    assert len(build_transform([text.format("bank.pt")]).source) == 2


def test_files_that_hold_no_bank_are_named(tmp_path):
    with pytest.raises(SpecError, match=r"nothing\.pt"):
        build_transform(words(tmp_path / "nothing.pt"))
    (tmp_path / "text.pt").write_text("no bank")
    torch.save({"model": 1}, tmp_path / "model.pt")
    for name in ("text.pt", "model.pt"):
        with pytest.raises(SpecError, match=f"cutmix-dense bank.*{name}"):
            build_transform(words(tmp_path / name))


def test_a_picture_pasted_on_itself_is_drawn_once(demo, tmp_path):
    dataset = open_complete(demo / "coco")
    transform = build_transform(["CopyPaste", "source=self", "instances=2", "place=random"])
    made = next(made for made in (mix_sample(dataset, transform, index) for index in range(9)) if made.mixed)
    (row,) = sample_rows(made, ["one"], dataset.classes)
    assert len(row) == 2
    cut = mix_sample(dataset, build_transform(["CutMix"]), 1)
    assert len(sample_rows(cut, ["one", "two"], dataset.classes)[0]) == 3
