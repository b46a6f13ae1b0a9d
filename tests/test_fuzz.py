"""The fuzz targets, each for a moment; `python -m tests.fuzz.run` runs them for long (docs/hardening.md)."""

from __future__ import annotations

import random

import pytest
from fuzz.invariants import check_mixed, check_sample
from fuzz.mutators import edit_json, edit_png, edit_xml
from fuzz.run import main
from fuzz.target import MODULES, fault_of, load

from cutmix_dense.data import open_dataset

NEEDED = {"decathlon": ["nibabel"], "pipelines": ["mmengine"], "albumentations": ["albumentations"]}
"""What else than the package a target needs."""


@pytest.mark.parametrize("name", MODULES)
def test_a_target_finds_nothing_in_its_first_inputs(name, tmp_path):
    for needed in NEEDED.get(name, ()):
        pytest.importorskip(needed)
    target = load(name, tmp_path.resolve() / name)
    for seed in target.seeds:
        target.run(seed)
    draw = random.Random(7)
    for number in range(40 if target.mutate else 10):
        data = draw.choice(target.seeds)
        if target.mutate:
            for step in range(draw.randint(1, 3)):
                data = target.mutate(data, 8192, 100 * number + step)
        else:
            data = draw.randbytes(2000)
        target.run(data)


LAYOUTS = {
    "coco_json": "coco",
    "coco_panoptic": "coco_panoptic",
    "voc_xml": "voc",
    "voc_lists": "voc",
    "cityscapes_png": "cityscapes",
    "image_masks": "image_masks",
    "yolo_text": "yolo",
    "labelme_json": "labelme",
    "hf_metadata": "hf_imagefolder",
    "dota_text": "dota",
    "youtube_vis_json": "youtube_vis",
    "decathlon": "decathlon",
    "journals": "coco",
}


@pytest.mark.parametrize(("name", "layout"), LAYOUTS.items())
def test_a_seed_is_a_whole_data_set(name, layout, tmp_path):
    """From one that is refused, no edit would reach what comes after the refusal."""
    for needed in NEEDED.get(name, ()):
        pytest.importorskip(needed)
    target = load(name, tmp_path.resolve())
    for seed in target.seeds:
        target.run(seed)
        dataset = open_dataset(tmp_path / "out" if name == "journals" else tmp_path, layout, "train")
        samples = [dataset[index] for index in range(len(dataset))]
        assert len(samples) == (1 if layout == "cityscapes" else 2)


@pytest.mark.parametrize("edit", [edit_json, edit_xml, edit_png])
def test_edits_take_any_bytes(edit):
    draw = random.Random(7)
    for number in range(200):
        data = draw.randbytes(draw.randint(0, 40))
        assert edit(data, 8192, number) == data or data[:4] == b"\x89PNG"


def test_a_fault_has_one_name_for_all_its_inputs():
    def fault(check, *values):
        with pytest.raises(Exception) as caught:
            check(*values)
        return fault_of(caught.value)

    assert fault(check_sample, 1, {}, 1) == fault(check_sample, "two", {}, 1)
    assert fault(check_sample, 1, {}, 1) != fault(check_mixed, [1], [{}])


def test_a_run_keeps_inputs_and_counts(tmp_path, capsys, monkeypatch):
    pytest.importorskip("atheris", reason="targets are fuzzed with atheris")
    monkeypatch.setattr("sys.argv", ["run", "segmentations", "--minutes", "0.05", "--corpus", str(tmp_path)])
    assert main() == 0
    assert main() == 0  # its minutes are over
    shown = capsys.readouterr().out
    assert "segmentations" in shown
    assert "none" in shown
    assert len(list((tmp_path / "segmentations" / "corpus").iterdir())) > 4
