"""Decathlon: coded voxels say that no axis is mixed up; hostile files are refused by name, before memory is taken."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import struct

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.data import DatasetError, SampleError, find_layouts, list_splits, open_dataset
from cutmix_dense.data.mixed_sample import mix_sample

nibabel = pytest.importorskip("nibabel")

SHAPE = (7, 6, 5)  # x, y, z, as NIfTI holds them
SPACING = (0.5, 0.75, 3.0)


def coded(number):
    """Every voxel says where it is from: 10000·n + 100·x + 10·y + z."""
    x, y, z = np.indices(SHAPE)
    return (10000 * number + 100 * x + 10 * y + z).astype(np.int16)


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*SPACING, 1])), path)


@pytest.fixture
def make_volumes(tmp_path):
    """Two volumes; labels are 1 in the half of small x, 2 in a corner. `change` edits dataset.json."""

    def make(change=lambda content: None):
        root = tmp_path / "Task00_Code"
        names = ("a", "b")
        for number, name in enumerate(names):
            save(root / "imagesTr" / f"{name}.nii.gz", coded(number + 1))
            labels = np.zeros(SHAPE, np.uint8)
            labels[:3] = 1
            labels[5:, :2, 3:] = 2
            save(root / "labelsTr" / f"{name}.nii.gz", labels)
        content = {
            "labels": {"0": "background", "1": "organ", "2": "lesion"},
            "modality": {"0": "CT"},
            "training": [
                {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names
            ],
        }
        change(content)
        (root / "dataset.json").write_text(json.dumps(content))
        return root

    return make


def test_axes_spacing_and_labels(make_volumes):
    root = make_volumes()
    assert find_layouts(root) == ["decathlon"]
    assert list_splits(root, "decathlon") == ["train"]
    dataset = open_dataset(root)
    assert dataset.mix_layout == "BCDHW"
    assert dataset.classes == ("background", "organ", "lesion")
    for index in range(2):
        image, target = dataset[index]
        assert image.dtype == torch.float32
        assert image.shape == (1, 5, 6, 7)
        z, y, x = torch.meshgrid(*(torch.arange(side) for side in (5, 6, 7)), indexing="ij")
        assert torch.equal(image[0], (10000 * (index + 1) + 100 * x + 10 * y + z).float())
        expected = torch.where(x < 3, 1, 0)
        expected[3:, :2, 5:] = 2
        assert torch.equal(target["semantic"], expected.to(torch.uint8))
        torch.testing.assert_close(target["spacing"], torch.tensor([3.0, 0.75, 0.5]))
        assert target["image_id"] == "ab"[index]


def test_channels_come_first(make_volumes):
    root = make_volumes()
    values = np.stack([coded(1), -coded(1)], axis=-1)
    save(root / "imagesTr" / "a.nii.gz", values)
    image, _ = open_dataset(root)[0]
    assert image.shape == (2, 5, 6, 7)
    assert torch.equal(image[1], -image[0])
    assert image[0, 4, 3, 2] == 10000 + 200 + 30 + 4


@pytest.mark.parametrize("method", [cd.CutMix, cd.CowMix, cd.FMix])
def test_labels_of_a_mix_stay_on_their_voxels(make_volumes, method):
    dataset = open_dataset(make_volumes())
    both = 0
    for seed in range(6):
        made = mix_sample(dataset, method(p=1.0, layout="BCDHW"), 0, seed=seed)
        code = made.image[0].round().long()
        source, rest = code // 10000 - 1, code % 10000
        x, y, z = rest // 100, rest // 10 % 10, rest % 10
        for number in (0, 1):
            labels = made.targets[number]["semantic"].as_subclass(torch.Tensor)
            there = source == number
            assert torch.equal(made.target["semantic"].as_subclass(torch.Tensor)[there], labels[z, y, x][there])
        both += len(source.unique()) == 2
        assert made.target["spacing"].tolist() == [3.0, 0.75, 0.5]
    assert both >= 3


def test_it_travels(make_volumes):
    dataset = open_dataset(make_volumes())
    for twin in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert torch.equal(twin[1][0], dataset[1][0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.pop("training"), r"no split 'train' \(splits found: none\)"),
        (lambda content: content["training"].append("a"), r"training\[2\] must name an 'image' and a 'label'"),
        (lambda content: content.pop("labels"), "'labels' must name the numbers 0, 1, …"),
        (lambda content: content["labels"].pop("1"), "'labels' must name the numbers 0, 1, …"),
    ],
)
def test_a_dataset_json_that_is_none(make_volumes, change, words):
    with pytest.raises(DatasetError, match=words) as caught:
        open_dataset(make_volumes(change), "decathlon")
    assert "dataset.json" in str(caught.value)


def header(shape, kind=16, bits=32):
    """A NIfTI header that declares a shape, and not one voxel behind it."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<hh", head, 70, kind, bits)
    struct.pack_into("<8f", head, 76, 1, *[1.0] * 7)
    struct.pack_into("<f", head, 108, 352.0)
    head[344:348] = b"n+1\0"
    return bytes(head)


def packed(content):
    """Without the time of day, which would be part of a test's name."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a readable NIfTI|Empty file"),
        (b"\x1f\x8b\x08\x00" + b"\x00" * 40, "a.nii.gz"),
        (packed(b"no volume" * 99), "not a readable NIfTI"),
        (packed(header((32767, 32767, 32767))), "more than 1073741824"),
        (packed(header((900, 900, 900))), "more than its bytes can hold"),
        (packed(header((9, 9))), "must hold a volume of three axes"),
        (packed(header((5, 5, 5), kind=32, bits=64) + bytes(1000)), "must hold numbers, got complex64"),
        (packed(header((5, 5, 5)) + struct.pack("<f", float("nan")) * 125), "not finite"),
    ],
)
def test_a_volume_that_cannot_be_read_is_named(make_volumes, content, words):
    root = make_volumes()
    (root / "imagesTr" / "a.nii.gz").write_bytes(content)
    dataset = open_dataset(root)
    with pytest.raises(SampleError, match=words) as caught:
        dataset[0]
    assert caught.value.path.name == "a.nii.gz"
    assert dataset[1][0].shape == (1, 5, 6, 7)


def test_cut_off_files_and_foreign_labels(make_volumes):
    root = make_volumes()
    path = root / "imagesTr" / "a.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SampleError, match=r"a\.nii\.gz"):
        open_dataset(root)[0]
    path.unlink()
    with pytest.raises(SampleError, match="file not found"):
        open_dataset(root)[0]
    for labels, words in (
        (np.full(SHAPE, 3, np.uint8), "labels must be whole numbers of .* got 3 … 3"),
        (np.full(SHAPE, 0.5, np.float32), "labels must be whole numbers"),
        (np.zeros((7, 6, 4), np.uint8), "labels and image must have one size"),
    ):
        save(root / "labelsTr" / "b.nii.gz", labels)
        with pytest.raises(SampleError, match=words):
            open_dataset(root)[1]


def test_paths_stay_inside(make_volumes):
    root = make_volumes(lambda content: content["training"][0].update(image="../../etc/passwd"))
    with pytest.raises(SampleError, match="leads out of the folder"):
        open_dataset(root)[0]
