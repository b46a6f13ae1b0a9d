"""Decathlon volumes written: voxel for voxel where they were, in their place in space, labels beside them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cutmix_dense as cd
from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import mix_sample, open_complete
from cutmix_dense.data.writers.decathlon import DecathlonWriter

nibabel = pytest.importorskip("nibabel")

SHAPE = (7, 6, 5)  # x, y, z, as NIfTI holds them
AFFINE = np.array([[-0.5, 0.1, 0, 30], [0, 0.75, 0, -20], [0, 0, 3, 7.5], [0, 0, 0, 1]])
LABELS = {"0": "background", "1": "organ", "2": "lesion"}
NAMES = {"training": ("a", "b.c"), "validation": ("d",)}


def values_of(number, dtype):
    """Every voxel says where it is from: 1000·n + 100·x + 10·y + z; floats have a fraction."""
    x, y, z = np.indices(SHAPE)
    coded = 1000 * number + 100 * x + 10 * y + z
    return (coded + 0.25).astype(dtype) if np.dtype(dtype).kind == "f" else coded.astype(dtype)


@pytest.fixture(params=["int16", "uint16", "float32", "scaled"])
def volumes(tmp_path, request):
    root = tmp_path / "Task00_Code"
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)
    content = {
        "name": "code",
        "modality": {"0": "CT"},
        "labels": LABELS,
        "numTraining": 2,
        "test": ["./imagesTs/x.nii.gz"],
    }
    number = 0
    for section, names in NAMES.items():
        content[section] = []
        for name in names:
            number += 1
            dtype = "int16" if request.param == "scaled" else request.param
            image = nibabel.Nifti1Image(values_of(number, dtype), AFFINE)
            image.header.set_xyzt_units("mm", "sec")
            image.set_sform(AFFINE, code=2)
            if request.param == "scaled":
                image.header.set_slope_inter(0.5, -3)
            nibabel.save(image, root / "imagesTr" / f"{name}.nii.gz")
            labels = np.zeros(SHAPE, np.uint8)
            labels[: number + 1] = 1
            labels[5:, :2, 3:] = 2
            nibabel.save(nibabel.Nifti1Image(labels, AFFINE), root / "labelsTr" / f"{name}.nii.gz")
            content[section].append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def load(path):
    image = nibabel.load(path)
    return np.asarray(image.dataobj), image


def test_an_unmixed_copy_is_voxel_for_voxel_the_source(volumes, tmp_path):
    for split in ("train", "val"):
        report = mix_dataset(open_complete(volumes, split=split), tmp_path / "copy", cd.CutMix(p=0.0, layout="BCDHW"))
        assert (report.skipped, report.not_kept) == ([], {})
    for section, names in NAMES.items():
        for name in names:
            for part in ("imagesTr", "labelsTr"):
                old, source = load(volumes / part / f"{name}.nii.gz")
                new, copy = load(tmp_path / "copy" / part / f"{name}-mix0.nii.gz")
                assert np.array_equal(old, new), section
                assert np.array_equal(copy.affine, source.affine)
                assert np.allclose(copy.header.get_zooms(), source.header.get_zooms())
            image = nibabel.load(volumes / "imagesTr" / f"{name}.nii.gz")
            copied = nibabel.load(tmp_path / "copy" / "imagesTr" / f"{name}-mix0.nii.gz")
            assert copied.header.get_xyzt_units() == ("mm", "sec")
            assert int(copied.header["sform_code"]) == 2
            if image.header.get_slope_inter() == (1.0, 0.0):
                assert copied.get_data_dtype() == image.get_data_dtype()
    content = json.loads((tmp_path / "copy" / "dataset.json").read_text())
    assert content["labels"] == LABELS
    assert content["modality"] == {"0": "CT"}
    assert content["numTraining"] == 2
    assert "test" not in content
    assert [entry["label"] for entry in content["training"]] == [
        "./labelsTr/a-mix0.nii.gz",
        "./labelsTr/b.c-mix0.nii.gz",
    ]
    assert len(content["validation"]) == 1


def test_a_mixed_copy_holds_what_the_mix_made(volumes, tmp_path):
    transform = cd.CutMix(p=1.0, layout="BCDHW")
    report = mix_dataset(open_complete(volumes), tmp_path / "copy", transform, copies=3)
    assert report.written == 6
    samples = json.loads(report.path.read_text())["samples"]
    for sample in samples:
        got, _ = load(tmp_path / "copy" / "imagesTr" / f"{sample['sample']}.nii.gz")
        labels, _ = load(tmp_path / "copy" / "labelsTr" / f"{sample['sample']}.nii.gz")
        (base, base_labels), (other, other_labels) = (
            [load(volumes / name.replace("imagesTr", part))[0] for part in ("imagesTr", "labelsTr")]
            for name in (sample["base"], *sample["partners"])
        )
        from_other = got == other
        assert np.array_equal(got, np.where(from_other, other, base))
        assert np.array_equal(labels, np.where(from_other, other_labels, base_labels))
    dataset, again = open_complete(volumes), open_dataset(tmp_path / "copy")
    made = mix_sample(dataset, transform, 0)
    assert np.array_equal(again[0][0], made.image)
    assert np.array_equal(again[0][1]["semantic"], made.target["semantic"])


def test_several_channels(tmp_path):
    writer = DecathlonWriter(tmp_path, classes=tuple(LABELS.values()))
    volume = np.random.default_rng(0).normal(size=(2, *SHAPE[::-1])).astype(np.float32)
    semantic = np.zeros(SHAPE[::-1], np.uint8)
    writer.add("a", volume, {"semantic": semantic, "spacing": np.array([3.0, 0.75, 0.5])})
    writer.finish()
    values, image = load(tmp_path / "imagesTr" / "a.nii.gz")
    assert np.array_equal(values, volume.transpose(3, 2, 1, 0))
    assert image.header.get_zooms()[:3] == (0.5, 0.75, 3.0)
    assert np.array_equal(open_dataset(tmp_path)[0][0], volume)


def test_what_has_no_place(volumes, demo, tmp_path):
    writer = DecathlonWriter(tmp_path / "a", classes=tuple(LABELS.values()))
    volume = np.zeros((1, 4, 5, 6), np.float32)
    for label, words in ((255, "the label 255 is what no volume covers"), (3, "the label 3 is no class")):
        with pytest.raises(ValueError, match=words):
            writer.add("a", volume, {"semantic": np.full((4, 5, 6), label, np.uint8)})
    with pytest.raises(ValueError, match=r"its labels \(D, H, W\), got \(1, 4, 5, 6\), \(5, 6\)"):
        writer.add("a", volume, {"semantic": np.zeros((5, 6), np.uint8)})
    with pytest.raises(ValueError, match=r"split must be one of \('train', 'val'\)"):
        DecathlonWriter(tmp_path, classes=("a",), split="test")
    with pytest.raises(ValueError, match="decathlon holds volumes with labels, samples of coco are others"):
        mix_dataset(open_complete(demo / "coco"), tmp_path / "b", cd.CutMix(), to="decathlon")
    with pytest.raises(ValueError, match="coco holds instances of single pictures, samples of decathlon are others"):
        mix_dataset(open_complete(volumes), tmp_path / "c", cd.CutMix(layout="BCDHW"), to="coco")
    with pytest.raises(DatasetError, match=r"dataset\.json: has other labels than those of the split 'val'"):
        DecathlonWriter(volumes, classes=("background", "liver"), split="val")
    clash = DecathlonWriter(volumes, classes=tuple(LABELS.values()), split="val")
    clash.add("a", volume, {"semantic": np.zeros((4, 5, 6), np.uint8)})
    with pytest.raises(
        DatasetError, match=r"1 keys of the split 'val' are another split's, .* folders: a; give others"
    ):
        clash.finish()
