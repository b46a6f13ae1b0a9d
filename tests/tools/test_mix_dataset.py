"""Mixed copies: the same at any number of workers and after any interruption, whole, and honest about what is left."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cutmix_dense as cd
from cutmix_dense.cli import mix as tool
from cutmix_dense.cli.specs import build_transform
from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.errors import MixError
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import mix_sample, never_mixes, open_complete
from cutmix_dense.data.readers import VocDataset
from cutmix_dense.data.writers import CocoPanopticWriter
from cutmix_dense.randomness import generator_from

LAYOUTS = ("coco", "voc", "cityscapes")
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def read_all(root: Path, layout: str, split: str = "train"):
    """Every listed sample, read whole; [] if nothing is listed."""
    try:
        dataset = open_complete(root, layout, split)
    except DatasetError:
        return []
    return [dataset[index] for index in range(len(dataset))]


def copy_of(demo: Path, layout: str, place: Path, **settings):
    dataset = open_complete(demo / layout, layout)
    settings = {"seed": 4, "copies": 2, **settings}
    return mix_dataset(dataset, place, cd.CutMix(p=1.0), **settings)


# -------------------------------------------------------------------------------------------------------- what is made


@pytest.mark.parametrize("layout", LAYOUTS)
def test_copy_holds_what_the_mix_made(demo, tmp_path, layout):
    source = open_complete(demo / layout, layout)
    report = mix_dataset(source, tmp_path / "out", cd.CutMix(p=1.0), seed=4)
    assert (report.written, report.unmixed, report.skipped, report.broken) == (len(source), 0, [], [])
    written = open_complete(tmp_path / "out", layout)
    assert len(written) == len(source)
    assert written.classes == source.classes
    for index in range(len(written)):
        made = mix_sample(source, cd.CutMix(p=1.0), index, seed=4)
        image, target = written[index]
        difference = (image.int() - made.image.int()).abs().float().mean()
        assert difference < (0.01 if layout == "cityscapes" else 6)  # PNG, or JPEG of the mixed picture
        assert len(made.rows) >= len(made.target["labels"])
        if layout == "coco":
            assert torch.equal(target["masks"], made.target["masks"])
            assert torch.equal(target["labels"], made.target["labels"])
            assert torch.allclose(target["boxes"].float(), made.target["boxes"].float(), atol=1e-3)
            assert torch.equal(target["iscrowd"], made.target["iscrowd"])
        if layout == "voc":
            assert torch.equal(target["labels"], made.target["labels"])
            assert torch.equal(target["semantic"], made.target["semantic"])
        if layout == "cityscapes":
            assert torch.equal(target["semantic"], made.target["semantic"])
            # Groups of a class have one id, and so do pixels whose instance was dropped: both are read as a crowd.
            expected = made.target["labels"][made.target["iscrowd"] == 0]
            assert sorted(target["labels"][target["iscrowd"] == 0].tolist()) == sorted(expected.tolist())


def test_pycocotools_reads_the_copy(demo, tmp_path):
    from pycocotools.coco import COCO

    copy_of(demo, "coco", tmp_path / "out", with_originals=True)
    coco = COCO(str(tmp_path / "out" / "annotations" / "instances_train.json"))
    dataset = open_complete(tmp_path / "out", "coco")
    assert len(coco.imgs) == 30
    for index, image_id in enumerate(sorted(coco.imgs)):
        _, target = dataset[index]
        found = coco.loadAnns(coco.getAnnIds(imgIds=[image_id]))
        assert len(found) == len(target["labels"])
        for annotation, mask in zip(found, target["masks"], strict=True):
            assert np.array_equal(coco.annToMask(annotation).astype(bool), mask.numpy())


def test_originals_are_copied_when_asked_for(demo, tmp_path):
    report = copy_of(demo, "voc", tmp_path / "out", with_originals=True, copies=1)
    assert report.written == 20
    source, written = open_complete(demo / "voc", "voc"), open_complete(tmp_path / "out", "voc")
    for index in range(10):
        (_, before), (_, after) = source[index], written[index]
        assert torch.equal(before["boxes"], after["boxes"])
        assert torch.equal(before["semantic"], after["semantic"])


def test_unmixed_samples_are_counted(demo, tmp_path):
    dataset = open_complete(demo / "coco", "coco")
    report = mix_dataset(dataset, tmp_path / "out", cd.CutMix(p=0.0))
    assert report.unmixed == report.written == len(dataset)


def test_copies_and_seeds_differ_and_splits_share_a_folder(demo, tmp_path, hashes):
    copy_of(demo, "coco", tmp_path / "a")
    copy_of(demo, "coco", tmp_path / "b", seed=5)
    first, second = hashes(tmp_path / "a" / "train"), hashes(tmp_path / "b" / "train")
    assert first.keys() == second.keys()
    assert sum(first[name] != second[name] for name in first) > 10
    assert len(set(first.values())) == 20  # copy 0 and copy 1 differ, too
    val = open_complete(demo / "coco", "coco", "val")
    mix_dataset(val, tmp_path / "a", cd.CutMix(p=1.0))
    assert (len(read_all(tmp_path / "a", "coco")), len(read_all(tmp_path / "a", "coco", "val"))) == (20, 4)


def test_ignored_instances_become_crowds(demo, tmp_path):
    transform = cd.CutMix(p=1.0, on_filtered="ignore", min_visibility=0.9)
    source = open_complete(demo / "coco", "coco")
    report = mix_dataset(source, tmp_path / "out", transform, seed=4)
    ignored = sum(count for (_, outcome, _), count in report.outcomes.items() if outcome == "ignored")
    crowds = sum(int(target["iscrowd"].sum()) for _, target in read_all(tmp_path / "out", "coco"))
    before = sum(
        int(mix_sample(source, transform, index, seed=4).target["iscrowd"].sum()) for index in range(len(source))
    )
    assert ignored > 0
    assert crowds == before + ignored


@pytest.fixture(scope="module")
def panoptic(demo, tmp_path_factory):
    """The demo's scenes as COCO panoptic: things on a background of stuff, and a strip of void."""
    source = open_complete(demo / "coco", "coco")
    root = tmp_path_factory.mktemp("panoptic")
    count = len(source.classes)
    writer = CocoPanopticWriter(root, classes=("ground", *source.classes[1:]), things=range(1, count))
    for index in range(len(source)):
        image, target = source[index]
        ids = torch.full(target["masks"].shape[1:], 1000)
        ids[:4] = 0
        infos = [{"id": 1000, "category_id": 0, "isthing": 0}]
        for number, (mask, label) in enumerate(zip(target["masks"], target["labels"].tolist()), start=1):
            ids[mask.bool()] = number
            infos.append({"id": number, "category_id": label, "isthing": 1})
        writer.add(source.image_path(index).stem, image, {"panoptic": ids, "segments_info": infos})
    writer.finish()
    return root


def test_a_panoptic_copy_holds_what_the_mix_made(panoptic, tmp_path):
    source = open_complete(panoptic)
    report = mix_dataset(source, tmp_path / "out", cd.CutMix(p=1.0), seed=4, with_originals=True)
    assert (report.written, report.skipped) == (2 * len(source), [])
    written = open_complete(tmp_path / "out")
    assert written.layout == "coco_panoptic"
    assert (written.classes, written.category_ids, written.things) == (
        source.classes,
        source.category_ids,
        source.things,
    )
    partners = 0
    for index in range(len(source)):
        for given, found in (
            (source[index][1], written[index][1]),
            (mix_sample(source, cd.CutMix(p=1.0), index, seed=4).target, written[len(source) + index][1]),
        ):
            assert torch.equal(found["panoptic"], given["panoptic"])
            keys = ("id", "category_id", "iscrowd", "area", "bbox")
            assert [[info[key] for key in keys] for info in found["segments_info"]] == [
                [info[key] for key in keys] for info in given["segments_info"]
            ]
        partners += any(origin[0] for info in given["segments_info"] for origin in info["origin"])
    assert partners > 5


def test_ignored_segments_become_crowds_of_their_own_ids(panoptic, tmp_path):
    transform = cd.CutMix(p=1.0, on_filtered="ignore", min_visibility=0.9)
    source = open_complete(panoptic)
    report = mix_dataset(source, tmp_path / "out", transform, seed=4)
    ignored = sum(count for (_, outcome, _), count in report.outcomes.items() if outcome == "ignored")
    written = open_complete(tmp_path / "out")
    crowds = 0
    for index in range(len(written)):
        infos = written[index][1]["segments_info"]
        crowds += sum(info["iscrowd"] for info in infos)
        made = mix_sample(source, transform, index, seed=4).target
        aside = made["ignored"]["panoptic"]
        assert torch.equal(written[index][1]["panoptic"], torch.where(aside != 0, aside, made["panoptic"]))
    assert crowds == ignored > 0


def test_a_panoptic_copy_is_the_same_at_any_number_of_workers(panoptic, tmp_path, hashes):
    made = {}
    for workers in (0, 2):
        place = tmp_path / str(workers) / "copy"
        arguments = [str(panoptic), str(place), "--workers", str(workers), "--transform", "CutMix", "--seed", "3"]
        assert tool.main(arguments) == 0
        made[workers] = hashes(tmp_path / str(workers))
    assert made[0] == made[2]
    assert "copy/annotations/panoptic_train.json" in made[0]
    assert len(read_all(tmp_path / "0" / "copy", "coco_panoptic")) == 10


def test_pixels_of_nobody_are_unlabeled_in_cityscapes(demo, tmp_path):
    dataset = open_complete(demo / "cityscapes", "cityscapes")
    dataset._to_label = np.where(np.arange(256) == 23, 255, np.arange(256)).astype(np.uint8)  # sky as unlabelled
    mix_dataset(dataset, tmp_path / "out", cd.CutMix(p=1.0), limit=4)
    for _, target in read_all(tmp_path / "out", "cityscapes"):
        assert int(target["semantic"].max()) <= 33


def test_report_lies_beside_the_data(demo, tmp_path):
    report = copy_of(demo, "voc", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "mixed_copy.train.json").read_text())
    assert report.path == tmp_path / "out" / "mixed_copy.train.json"
    assert content["finished"] is True
    assert content["parameters"]["seed"] == 4
    assert len(content["samples"]) == 20
    assert all(len(sample["partners"]) == 1 for sample in content["samples"])
    assert all(sample["base"] not in sample["partners"] for sample in content["samples"])
    assert sum(row["count"] for row in content["outcomes"]) > 100
    assert not list((tmp_path / "out").glob(".*"))


def test_what_a_partner_does_not_bring_along_is_left_out_not_dropped(demo, tmp_path, capsys):
    """Each instance of a partner once, and only what was in the pasted part and then lost counts as dropped."""
    source = open_complete(demo / "coco", "coco")
    paste = cd.CopyPaste(p=1.0, instances=2)
    for transform in (cd.CutMix(p=1.0), paste):
        place = tmp_path / type(transform).__name__
        report = mix_dataset(source, place, transform, seed=4)
        told = [(reason, count) for (side, kind, reason), count in report.outcomes.items() if kind == "left out"]
        assert [reason for reason, _ in told] == ["not in the pasted part"]
        gone = {reason for side, kind, reason in report.outcomes if side == "partner" and kind == "dropped"}
        assert not gone & {"covered", "outside", "not carried"}
        partners = {}
        for index in range(len(source)):
            partners[index] = mix_sample(source, transform, index, seed=4).indices[1]
        held = sum(len(source[partner][1]["labels"]) for partner in partners.values())
        assert sum(count for (side, *_), count in report.outcomes.items() if side == "partner") == held
        rows = json.loads(report.path.read_text())["outcomes"]
        assert {(row["side"], row["outcome"], row["reason"]): row["count"] for row in rows} == report.outcomes
    words = ("--seed", "4", "--workers", "0", "--transform", "CutMix", "p=1.0")
    assert tool.main([str(demo / "coco"), str(tmp_path / "CutMix"), *words]) == 0
    assert "not in the pasted part" in capsys.readouterr().out


@pytest.mark.parametrize(
    "transform",
    [cd.MixUp(p=1.0), cd.CopyPaste(p=1.0, source="partner", instances=2, blend=0.5)],
    ids=("MixUp", "CopyPaste"),
)
def test_half_transparent_objects_have_a_weight_or_are_counted(demo, tmp_path, transform):
    """As a field of COCO's and LabelMe's annotations; a layout without a place for it says how many it concerns."""
    source = open_complete(demo / "coco", "coco")
    expected = []
    for index in range(len(source)):
        made = mix_sample(source, transform, index, seed=4)
        expected += made.target["weight"].tolist() if made.mixed else [None] * len(source[index][1]["labels"])
    faint = sum(weight is not None and weight < 1 for weight in expected)
    assert faint
    word = "weight of half-transparent instances (written like opaque ones)"
    for layout in ("coco", "labelme", "yolo", "voc", "image_masks"):
        report = mix_dataset(source, tmp_path / layout, transform, seed=4, to=layout)
        assert report.not_kept.get(word, 0) == (0 if layout in ("coco", "labelme") else faint), layout
    table = json.loads((tmp_path / "coco" / "annotations" / "instances_train.json").read_text())
    assert [each.get("weight") for each in table["annotations"]] == pytest.approx(expected, abs=1e-6)
    shapes = []
    for path in sorted((tmp_path / "labelme" / "train").glob("*.json")):
        shapes += json.loads(path.read_text())["shapes"]
    assert [each.get("weight") for each in shapes] == pytest.approx(expected, abs=1e-6)
    again = mix_dataset(open_complete(tmp_path / "labelme"), tmp_path / "again", transform, seed=4)
    assert word not in again.not_kept
    shapes = []
    for path in sorted((tmp_path / "again" / "train").glob("*.json")):
        shapes += json.loads(path.read_text())["shapes"]
    assert all(0 < each.get("weight", 1) <= 1 for each in shapes)
    opaque = mix_dataset(source, tmp_path / "opaque", cd.CutMix(p=1.0), seed=4)
    assert word not in opaque.not_kept
    assert "weight" not in opaque.root.joinpath("annotations", "instances_train.json").read_text()


def test_reports_and_records_of_older_versions_are_read(demo, tmp_path, monkeypatch):
    """These call dropped what is left out."""
    whole = copy_of(demo, "coco", tmp_path / "whole")

    def older(rows, words):
        return [row if words(row)[1] != "left out" else words(row, ("dropped", "covered")) for row in rows]

    def of_record(row, new=None):
        return row if new is None else [row[0], *new, row[3]]

    def of_report(row, new=None):
        return (row["side"], row["outcome"]) if new is None else {**row, "outcome": new[0], "reason": new[1]}

    content = json.loads(whole.path.read_text())
    content["outcomes"] = older(content["outcomes"], of_report)
    assert "left out" not in json.dumps(content)
    whole.path.write_text(json.dumps(content))
    assert copy_of(demo, "coco", tmp_path / "whole").outcomes == whole.outcomes

    def stop(done, total, record):
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_of(demo, "coco", tmp_path / "out", on_progress=stop)
    records = list((tmp_path / "out" / ".mixed_copy.train").glob("*.json"))
    assert records
    for path in records:
        record = json.loads(path.read_text())
        record["outcomes"] = older(record["outcomes"], of_record)
        path.write_text(json.dumps(record))
    assert copy_of(demo, "coco", tmp_path / "out").outcomes == whole.outcomes


def test_the_split_that_ultralytics_misses_is_told_and_added_by_the_command_that_is_printed(demo, tmp_path, capsys):
    arguments = [str(demo / "coco"), str(tmp_path / "a copy"), "--to", "yolo", "--workers", "0", "--limit", "2"]
    arguments += ["--transform", "CutMix", "p=0"]
    for _ in range(2):  # a finished copy is told of again
        assert tool.main(arguments) == 0
        told = capsys.readouterr().out
        assert "missing: data.yaml has no val, and Ultralytics doesn't train without it." in told
    command = shlex.split(told.partition("This adds it, unmixed: ")[2].splitlines()[0])
    assert command[:2] == ["cutmix-dense", "mix"]
    assert tool.main([*command[2:], "--workers", "0"]) == 0
    assert "missing" not in capsys.readouterr().out
    said = (tmp_path / "a copy" / "data.yaml").read_text().splitlines()
    assert {"train: images/train", "val: images/val"} <= set(said)
    shutil.copytree(tmp_path / "a copy", tmp_path / "one")  # without a split for validation
    (tmp_path / "one" / "data.yaml").write_text("\n".join(line for line in said if not line.startswith("val:")))
    assert tool.main([str(tmp_path / "one"), str(tmp_path / "again"), "--workers", "0"]) == 0
    assert "The data set has none for validation. Put other pictures" in capsys.readouterr().out
    assert tool.main([str(demo / "coco"), str(tmp_path / "coco"), "--workers", "0", "--limit", "2"]) == 0
    assert "missing" not in capsys.readouterr().out


def renamed(demo, root, *splits):
    """The demo set with its splits called otherwise, as CVAT calls its only one "default"."""
    (root / "annotations").mkdir(parents=True)
    for old, new in zip(("train", "val"), splits):
        shutil.copytree(demo / "coco" / old, root / new)
        shutil.copy(demo / "coco" / "annotations" / f"instances_{old}.json", root / f"annotations/instances_{new}.json")
    return root


def test_a_split_of_another_name_becomes_one_that_ultralytics_trains_on(demo, tmp_path, capsys):
    """What is printed leads to a set that has both splits."""
    only = renamed(demo, tmp_path / "only", "default")
    typed = [str(only), "--to", "yolo", "--workers", "0", "--limit", "2", "--transform", "CutMix", "p=0"]
    assert tool.main([typed[0], str(tmp_path / "first"), *typed[1:]]) == 0
    told = capsys.readouterr().out
    assert "If 'default' is for training, copy it into a new folder by the same command with --as-split train" in told
    assert "data.yaml has no val, and Ultralytics doesn't train without it. The data set has none for valid" in told
    out = tmp_path / "second"
    assert tool.main([typed[0], str(out), *typed[1:], "--as-split", "train"]) == 0
    told = capsys.readouterr().out
    assert "has no train" not in told
    assert "copy it into the same folder with --as-split val" in told
    other = renamed(demo, tmp_path / "other", "unused", "default")
    assert tool.main([str(other), str(out), *typed[1:], "--split", "default", "--as-split", "val"]) == 0
    assert "missing" not in capsys.readouterr().out
    assert {"train: images/train", "val: images/val"} <= set((out / "data.yaml").read_text().splitlines())
    assert len(open_dataset(out, split="train")) == len(open_dataset(out, split="val")) == 2


def test_a_split_that_may_be_for_validation_is_named(demo, tmp_path, capsys):
    root, out = renamed(demo, tmp_path / "set", "train", "checked"), tmp_path / "out"
    typed = [str(root), str(out), "--to", "yolo", "--workers", "0", "--transform", "CutMix", "p=0"]
    assert tool.main(typed) == 0
    told = capsys.readouterr().out
    assert "If 'checked' is for validation, this adds it: the same command with --split checked --as-split val" in told
    assert tool.main([*typed, "--split", "checked", "--as-split", "val"]) == 0
    assert "missing" not in capsys.readouterr().out


def test_the_name_of_a_split_is_checked_first(demo, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool.main([str(demo / "coco"), str(tmp_path / "out"), "--as-split", "a/b"])
    assert "--as-split: must be a plain folder name, as train, got 'a/b'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def added_by(told: str, words: str) -> list[str]:
    """The arguments of the command that adds a missing split, behind some words."""
    command = shlex.split(told.partition(f"This adds it{words}: cutmix-dense mix ")[2].splitlines()[0])
    return [*command, "--workers", "0"]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (["--transform", "CutMix", "p=0"], ", unmixed"),
        (["--copies", "0", "--with-originals"], ", unmixed"),
        (["--transform", "GridMix", "p=1.0", "--copies", "2", "--with-originals", "--seed", "3"], ""),
    ],
)
def test_a_missing_split_for_training_is_added_as_the_run_mixes(demo, tmp_path, capsys, own, words):
    arguments = [str(demo / "coco"), str(tmp_path / "copy"), "--to", "yolo", "--split", "val", "--workers", "0", *own]
    assert tool.main(arguments) == 0
    command = added_by(capsys.readouterr().out, words)
    assert command[command.index("--split") + 1] == "train"
    assert set(own) <= set(command)
    assert tool.main(command) == 0
    found = [image.int() for image, _ in read_all(tmp_path / "copy", "yolo")]
    sources = [image.int() for image, _ in read_all(demo / "coco", "coco")]
    # as JPEG files may be written anew, by the largest difference between pixels
    unmixed = [any((image - source).abs().max() < 40 for source in sources) for image in found]
    assert (len(found), sum(unmixed)) == ((10, 10) if words else (30, 10))


def test_a_missing_split_is_read_by_the_options_of_the_run(demo, tmp_path, capsys):
    both = tmp_path / "both"  # two layouts, so that one must be named
    shutil.copytree(demo / "coco", both)
    shutil.copytree(demo / "voc", both, dirs_exist_ok=True)
    usual = ["--to", "yolo", "--workers", "0", "--transform", "CutMix", "p=0"]
    for layout, options in (("coco", ["--quality", "90", "--pixels", "rgb"]), ("voc", ["--task", "detection"])):
        arguments = [str(both), str(tmp_path / layout), "--layout", layout, "--split", "train", *options, *usual]
        assert tool.main(arguments) == 0
        command = added_by(capsys.readouterr().out, ", unmixed")
        assert {"--layout", layout, "--split", "val", *options} <= set(command)
        assert tool.main(command) == 0
        assert "missing: " not in capsys.readouterr().out


@pytest.mark.parametrize("named", ["instances_train.json", "own.json"])
def test_files_of_one_split_are_not_read_as_another(demo, tmp_path, capsys, named):
    source = tmp_path / "coco"
    shutil.copytree(demo / "coco", source)
    (source / "annotations" / "instances_train.json").rename(source / "annotations" / named)
    arguments = [str(source), str(tmp_path / "copy"), "--to", "yolo", "--workers", "0", "--layout", "coco"]
    arguments += ["--annotations", f"annotations/{named}", "--transform", "CutMix", "p=0"]
    assert tool.main(arguments) == 0
    command = added_by(capsys.readouterr().out, ", unmixed")
    assert f"annotations/{named}" not in command
    assert tool.main(command) == 0
    images = {split: set((tmp_path / "copy" / "images" / split).iterdir()) for split in ("train", "val")}
    assert {split: len(found) for split, found in images.items()} == {"train": 10, "val": 4}


def test_where_no_option_leads_to_the_missing_split_the_remedy_says_so(demo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tool, "_leads_elsewhere", lambda *_: False)
    arguments = [str(demo / "coco"), str(tmp_path / "copy"), "--to", "yolo", "--workers", "0", "--limit", "2"]
    assert tool.main([*arguments, "--annotations", "annotations/instances_train.json"]) == 0
    told = capsys.readouterr().out
    assert "This adds it: the same command with --split val and with the --annotations of that split" in told


def test_a_voc_set_is_read_whole(demo, tmp_path):
    assert VocDataset.whole(demo / "voc", "train") == {"task": "instances"}
    copy = tmp_path / "voc"
    shutil.copytree(demo / "voc", copy)
    next((copy / "SegmentationObject").glob("*.png")).unlink()
    assert {VocDataset.whole(copy, split)["task"] for split in ("train", "val")} == {"instances", "all"}


HARD = ["CutMix", "ResizeMix", "Mosaic", "RICAP", "GridMix", "StripeMix", "CopyPaste", "CowMix", "FMix", "SaliencyMix"]


@pytest.mark.parametrize("name", [*HARD, "ClassMix"])
def test_every_method_can_be_written(demo, tmp_path, hashes, name):
    if not hasattr(cd, name):
        pytest.skip(f"no {name} yet")
    layout = "voc" if name == "ClassMix" else "coco"
    dataset = open_complete(demo / layout, layout)
    for place, workers in (("a", 0), ("b", 1)):
        report = mix_dataset(dataset, tmp_path / place / "copy", build_transform([name]), limit=4, workers=workers)
        assert report.written == 4
        assert not report.skipped
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert len(read_all(tmp_path / "a" / "copy", layout)) == 4


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["CutMix"], 2),
        (["CutMix", "p=0.1"], 2),
        (["Mosaic"], 4),
        (["Mosaic", "grid=2,3"], 6),
        (["RICAP"], 4),
        (["RandomMix(transforms=[CutMix(), Mosaic(grid=(3, 3))])"], 9),
    ],
)
def test_a_method_gets_the_images_it_needs(demo, words, count):
    dataset = open_complete(demo / "coco", "coco")
    assert build_transform(words).partners == count - 1
    made = mix_sample(dataset, build_transform(words), 0)
    assert len(set(made.indices)) == count


def test_one_of_several_methods_is_the_one_the_transform_would_draw(demo):
    dataset = open_complete(demo / "coco", "coco")
    transform = build_transform(["RandomMix(transforms=[CutMix(p=1.0), MixUp(p=1.0)], weights=(1, 2))"])
    soft = 0
    for seed in range(8):
        made = mix_sample(dataset, transform, 1, seed=seed)
        image, _ = transform(made.images, made.targets, outputs=1, generator=generator_from("mix", seed, 0, 1))
        assert torch.equal(image[0], made.image)
        soft += made.plan.weight is not None
    assert 0 < soft < 8


def test_two_ids_per_pixel_cannot_be_written(demo, tmp_path):
    transform = build_transform(["MixUp"])
    with pytest.raises(MixError, match=r"demo_000000.*two ids per pixel"):
        mix_dataset(open_complete(demo / "voc", "voc"), tmp_path / "voc", transform)
    report = mix_dataset(open_complete(demo / "coco", "coco"), tmp_path / "coco", transform)  # boxes and masks can
    assert report.written == 10


# -------------------------------------------------------------------------------------------- workers and interruptions


@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_bytes_at_any_number_of_workers(demo, tmp_path, hashes, layout):
    made = {}
    for workers in (0, 1, 2):
        # One name for the folder, which VOC's files state.
        copy_of(demo, layout, tmp_path / str(workers) / "copy", workers=workers, copies=1)
        made[workers] = hashes(tmp_path / str(workers))
    assert made[0] == made[1] == made[2]
    assert len(made[0]) >= 11


def in_child(function) -> multiprocessing.Process:
    """Run something in a forked process."""
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    return process


@forking
@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_at_every_change(demo, tmp_path, hashes, layout):
    """All that a run changes on disk goes through three functions: stop right before and after many of their calls."""
    settings = {"copies": 1, "limit": 3, "with_originals": True}
    whole = tmp_path / "whole" / "copy"
    changes = ("replace", "unlink", "rmdir")

    def stopping(place, stop):
        """Copy, and end the process right before the call `stop` if that is odd, else right after; their number."""
        counter = itertools.count(1)

        def counted(change):
            def call(*places, **options):
                here = next(counter)
                if here == stop and stop % 2:
                    os._exit(9)
                change(*places, **options)
                if here == stop:
                    os._exit(9)

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in changes:
                patch.setattr(os, name, counted(getattr(os, name)))
            copy_of(demo, layout, place, **settings)
        return next(counter) - 1

    total = stopping(whole, None)
    expected = hashes(whole)
    assert total > 24
    for number, stop in enumerate(sorted({1, 2, *np.linspace(3, total, 17).astype(int).tolist()})):
        place = tmp_path / f"stopped{number}" / "copy"
        child = in_child(partial(stopping, place, stop))
        child.join(60)
        assert child.exitcode == 9
        read_all(place, layout)  # whatever is listed can be read
        report = copy_of(demo, layout, place, **settings)
        assert report.written == 6
        assert hashes(place) == expected, f"stopped at change {stop} of {total}"


@forking
def test_ctrl_c_says_how_to_go_on(demo, tmp_path, hashes, capfd):
    arguments = [str(demo / "voc"), str(tmp_path / "out"), "--copies", "30", "--workers", "1"]

    def run():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os._exit(tool.main(arguments))

    child = in_child(run)
    records = tmp_path / "out" / ".mixed_copy.train"
    for _ in range(300):
        if records.is_dir() and len(list(records.glob("*.json"))) > 5:
            break
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGINT)
    child.join(30)
    assert child.exitcode == 130
    told = capfd.readouterr().err
    assert "the same command continues" in told
    assert "Traceback" not in told
    assert read_all(tmp_path / "out", "voc") == []


def test_finished_copy_is_left_alone(demo, tmp_path, hashes):
    copy_of(demo, "coco", tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    report = copy_of(demo, "coco", tmp_path / "out")
    assert report.resumed == report.written == 20
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_other_parameters_are_refused(demo, tmp_path):
    copy_of(demo, "coco", tmp_path / "out", copies=1)
    for change, told in (
        ({"seed": 5}, "seed: 4 there, 5 now"),
        ({"copies": 3}, "copies"),
        ({"limit": 4}, r"\(images: 10 there, 4 now\)"),
    ):
        with pytest.raises(DatasetError, match=told):
            copy_of(demo, "coco", tmp_path / "out", **{"copies": 1, **change})
    dataset = open_complete(demo / "coco", "coco")
    with pytest.raises(DatasetError, match="transform"):
        mix_dataset(dataset, tmp_path / "out", cd.CutMix(p=0.5), seed=4, copies=1)


@pytest.mark.parametrize("what", ["picture", "annotation"])
def test_a_copy_of_a_data_set_that_has_changed_says_so(demo, tmp_path, what):
    shutil.copytree(demo / "coco", tmp_path / "set" / "coco")
    copy_of(tmp_path / "set", "coco", tmp_path / "out", copies=1)
    if what == "picture":
        next((tmp_path / "set" / "coco" / "train").glob("*.jpg")).open("ab").write(b"\0")
    else:
        table = tmp_path / "set" / "coco" / "annotations" / "instances_train.json"
        table.write_text(table.read_text() + "\n")
    with pytest.raises(DatasetError, match="the pictures or annotations of 'coco' were others.* Name a new folder"):
        copy_of(tmp_path / "set", "coco", tmp_path / "out", copies=1)
    with pytest.raises(DatasetError, match=r"\(seed: 4 there, 5 now\)|have changed since; seed: 4 there"):
        copy_of(tmp_path / "set", "coco", tmp_path / "out", copies=1, seed=5)


def test_foreign_folders_are_refused(demo, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("two years of work")
    with pytest.raises(DatasetError, match="not empty"):
        copy_of(demo, "coco", tmp_path / "full")
    for place in (demo / "coco", demo / "coco" / "mixed", demo):
        with pytest.raises(DatasetError, match="must not lie"):
            copy_of(demo, "coco", place)
    (tmp_path / "link").symlink_to(demo)
    (tmp_path / "pictures").symlink_to(demo / "coco" / "train")
    for place in ("link", "link/coco", "link/coco/mixed", "pictures/mixed"):
        with pytest.raises(DatasetError, match="must not lie.*name a folder elsewhere"):
            copy_of(demo, "coco", tmp_path / place)
    with pytest.raises(DatasetError, match="must not lie"):
        copy_of(tmp_path / "link", "coco", demo / "coco" / "mixed")
    set_of_links = tmp_path / "set"
    set_of_links.mkdir()
    for part in ("annotations", "train"):
        (set_of_links / part).symlink_to(demo / "coco" / part)
    dataset = open_complete(set_of_links, "coco")
    with pytest.raises(DatasetError, match="must not lie"):
        mix_dataset(dataset, demo / "coco" / "train" / "mixed", cd.CutMix())
    assert not list((demo / "coco").rglob("mixed*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="is a file"):
        copy_of(demo, "coco", tmp_path / "file")


# -------------------------------------------------------------------------------------------------------- broken data


@pytest.fixture
def damaged(demo, tmp_path):
    """A function that copies a layout and returns the copy and its image paths."""

    def copy(layout):
        shutil.copytree(demo / layout, tmp_path / "damaged")
        dataset = open_complete(tmp_path / "damaged", layout)
        return tmp_path / "damaged", [dataset.image_path(index) for index in range(len(dataset))]

    return copy


@pytest.mark.parametrize("workers", [0, 2])
def test_truncated_picture_is_named_skipped_and_replaced(damaged, tmp_path, workers):
    root, images = damaged("coco")
    images[3].write_bytes(images[3].read_bytes()[:700])
    dataset = open_complete(root, "coco")
    report = mix_dataset(dataset, tmp_path / "out", cd.CutMix(p=1.0), copies=4, workers=workers)
    assert report.written == 36
    assert [row["sample"] for row in report.skipped] == [f"{images[3].stem}-mix{copy}" for copy in range(4)]
    (broken,) = report.broken
    assert broken["file"] == f"train/{images[3].name}"
    assert broken["reason"]
    assert broken["as_base"] == 4
    assert broken["as_partner"] >= 1
    listed = read_all(tmp_path / "out", "coco")
    assert len(listed) == 36
    content = json.loads(report.path.read_text())
    assert not any(f"train/{images[3].name}" in sample["partners"] for sample in content["samples"])


def test_broken_annotations_are_named(damaged, tmp_path, capsys):
    root, images = damaged("voc")
    (root / "Annotations" / f"{images[0].stem}.xml").write_text("<annotation><object>")
    (root / "SegmentationObject" / f"{images[1].stem}.png").write_bytes(b"no picture")
    images[2].unlink()
    arguments = [str(root), str(tmp_path / "out"), "--workers", "0"]
    assert tool.main(arguments) == 0
    told = capsys.readouterr().out
    for name in (f"Annotations/{images[0].stem}.xml", f"{images[1].stem}.png", f"JPEGImages/{images[2].stem}.jpg"):
        assert name in told
    assert "3 files could not be used, 3 samples skipped" in told
    assert len(read_all(tmp_path / "out", "voc")) == 7
    assert tool.main([*arguments, "--strict"]) == 3


@forking
def test_report_is_the_same_after_an_interruption(damaged, tmp_path, hashes):
    root, images = damaged("coco")
    images[3].write_bytes(b"")
    whole = mix_dataset(open_complete(root, "coco"), tmp_path / "whole", cd.CutMix(p=1.0), copies=2)

    def run():
        def stop(done, total, record):
            if done == 12:
                os._exit(9)

        mix_dataset(open_complete(root, "coco"), tmp_path / "out", cd.CutMix(p=1.0), copies=2, on_progress=stop)

    child = in_child(run)
    child.join(60)
    assert child.exitcode == 9
    report = mix_dataset(open_complete(root, "coco"), tmp_path / "out", cd.CutMix(p=1.0), copies=2)
    assert report.resumed > 5
    assert (report.skipped, report.broken, report.outcomes) == (whole.skipped, whole.broken, whole.outcomes)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_nothing_readable_is_an_error(damaged, tmp_path, capsys):
    root, images = damaged("coco")
    for image in images:
        image.write_bytes(b"")
    with pytest.raises(SystemExit) as end:
        tool.main([str(root), str(tmp_path / "out"), "--workers", "0"])
    assert end.value.code == 2
    assert "none of the 10 samples" in capsys.readouterr().err
    assert read_all(tmp_path / "out", "coco") == []


def test_one_readable_image_has_no_partner(damaged, tmp_path):
    root, images = damaged("coco")
    for image in images[1:]:
        image.write_bytes(b"")
    reason = r"no other image can be its partner; the first: train/demo_0000\d\d\.jpg: cannot identify image file"
    with pytest.raises(DatasetError, match=reason):
        mix_dataset(open_complete(root, "coco"), tmp_path / "out", cd.CutMix(p=1.0))
    with pytest.raises(SampleError, match="no other image can be its partner"):
        mix_sample(open_complete(root, "coco"), cd.CutMix(p=1.0), 0)
    report = mix_dataset(open_complete(root, "coco"), tmp_path / "plain", cd.CutMix(p=0.0))
    assert (report.written, report.unmixed, len(report.skipped)) == (1, 1, 9)


def test_a_sample_that_stays_unmixed_needs_no_partner(damaged, tmp_path):
    """Under p = 0.5 the draw decides: with every other picture gone, it leaves the same samples as before unmixed."""
    root, images = damaged("coco")
    transform = cd.CutMix(p=0.5)
    dataset = open_complete(root, "coco")
    unmixed = {copy for copy in range(20) if not mix_sample(dataset, transform, 0, copy=copy).mixed}
    assert 3 < len(unmixed) < 17
    whole = dataset[0]
    for image in images[1:]:
        image.unlink()
    for copy in range(20):
        if copy not in unmixed:
            with pytest.raises(SampleError, match="no other image can be its partner.*: file not found"):
                mix_sample(dataset, transform, 0, copy=copy)
            continue
        made = mix_sample(dataset, transform, 0, copy=copy)
        assert not made.mixed
        assert len(made.replaced) == 9
        assert torch.equal(made.image, whole[0])
        assert torch.equal(made.target["boxes"], whole[1]["boxes"])


def test_what_never_mixes():
    assert never_mixes(cd.CutMix(p=0.0))
    assert not never_mixes(cd.CutMix(p=0.01))
    assert never_mixes(cd.RandomMix([cd.CutMix(p=0.0), cd.Mosaic(p=0.0)]))
    assert not never_mixes(cd.RandomMix([cd.CutMix(p=0.0), cd.Mosaic(p=0.5)]))
    assert never_mixes(cd.RandomMix([cd.CutMix(p=0.0), cd.Mosaic(p=0.5)], weights=[1.0, 0.0]))
    mix = cd.RandomMix([cd.CutMix(), cd.Mosaic()])
    mix.close()
    assert never_mixes(mix)


@pytest.mark.parametrize(
    "transform",
    [cd.FMix(p=0.0), cd.CowMix(p=0.0), cd.CarveMix(p=0.0), cd.ClassMix(p=0.0)],
    ids=lambda it: type(it).__name__,
)
def test_what_never_mixes_copies_sets_that_its_method_could_not_mix(tmp_path, transform):
    """Boxes only: a free form needs masks or maps, and so do the two that paste by them; p = 0 is the converter."""
    root = tmp_path / "set"
    (root / "train").mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in range(2):
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(root / "train" / f"{number}.png")
    (root / "annotations" / "instances_train.json").write_text(
        json.dumps(
            {
                "images": [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in range(2)],
                "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3.5, 4], "iscrowd": 0}],
                "categories": [{"id": 1, "name": "a"}],
            }
        )
    )
    report = mix_dataset(open_complete(root), tmp_path / "out", transform)
    assert (report.written, report.unmixed, report.outcomes) == (2, 2, {("base", "kept", ""): 1})
    table = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    assert [annotation["bbox"] for annotation in table["annotations"]] == [[1, 2, 3.5, 4]]


def test_a_dataset_of_one_image_is_left_unmixed(demo, tmp_path):
    report = copy_of(demo, "coco", tmp_path / "out", limit=1, copies=1)
    assert (report.written, report.unmixed) == (1, 1)


class _Faulty(cd.CutMix):
    def draw_plan(self, pool, generator):
        raise KeyError("a fault of the transform")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_faulty_transform_is_no_broken_file(demo, tmp_path, workers):
    dataset = open_complete(demo / "coco", "coco")
    with pytest.raises(MixError, match=r"train/demo_000000\.jpg.*a fault of the transform"):
        mix_dataset(dataset, tmp_path / "out", _Faulty(), workers=workers)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"copies": 0}, "copies"),
        ({"workers": -1}, "workers"),
        ({"limit": 0}, "limit"),
        ({"quality": 0}, "quality"),
        ({"pool": 0}, "pool"),
    ],
)
def test_arguments_are_checked(demo, tmp_path, settings, told):
    with pytest.raises(ValueError, match=told):
        copy_of(demo, "coco", tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------------------- real sets


@pytest.mark.parametrize(
    ("name", "extra", "layout"),
    [
        ("bccd", ["--split", "val"], "voc"),
        ("facade", ["--layout", "coco", "--split", "gval"], "coco"),
        ("facade", ["--layout", "voc", "--split", "gval"], "voc"),
        ("animals_oi", ["--split", "valid"], "coco"),
        ("coco_by33", ["--split", "train2017"], "coco"),
    ],
)
def test_real_sets(real, tmp_path, name, extra, layout):
    arguments = [str(real(name)), str(tmp_path / "out"), *extra, "--limit", "8", "--workers", "0", "--strict"]
    assert tool.main(arguments) == 0
    split = extra[extra.index("--split") + 1]
    dataset = open_dataset(tmp_path / "out", layout, split)
    assert len(dataset) == 8
    for index in range(8):
        image, target = dataset[index]
        boxes = target["boxes"]
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes[:, 0::2] <= image.shape[2]).all()
        assert (boxes[:, 1::2] <= image.shape[1]).all()


def test_a_copy_that_is_interrupted_says_how_to_go_on(demo, tmp_path, monkeypatch, capsys):
    from cutmix_dense.data import mixed_copy

    def interrupted(*_, on_progress, **__):
        on_progress(3, 10, None)
        raise KeyboardInterrupt

    monkeypatch.setattr(mixed_copy, "mix_dataset", interrupted)
    assert tool.main([str(demo / "coco"), str(tmp_path / "out")]) == 130
    told = capsys.readouterr()
    assert told.err == (
        "mix: interrupted, 3 of 10 samples made; the annotations of the copy are written at its end: the same command "
        "continues from here\n"
    )
    assert "3/10" in told.out


def test_a_layout_that_cannot_hold_the_copy_is_told_with_the_argument(demo, tmp_path, capsys):
    for root, to, told in (
        (demo / "coco", "decathlon", "; leave out --to for a copy as coco\n"),
        (demo / "cityscapes", "youtube_vis", "; leave out --to for a copy as cityscapes\n"),
    ):
        with pytest.raises(SystemExit) as end:
            tool.main([str(root), str(tmp_path / "out"), "--to", to])
        assert end.value.code == 2
        shown = capsys.readouterr()
        assert shown.err.startswith(f"mix: error: --to {to}: ")
        assert shown.err.endswith(told)
        assert shown.out == ""  # no bar of progress
    assert not (tmp_path / "out").exists()


def test_boxes_that_are_broken_as_a_whole_are_mended_in_the_data_set(tmp_path, capsys):
    """No program's remedy is told here, and no option that the layout doesn't have."""
    for name in ("a", "b"):
        Image.new("RGB", (60, 40)).save(tmp_path / f"{name}.png")
        shape = {"label": "ant", "shape_type": "rectangle", "points": [[0.1, 0.2], [0.4, 0.6]]}
        content = {"shapes": [shape], "imagePath": f"{name}.png"}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path), str(tmp_path.parent / "out"), "--workers", "0", "--transform", "CutMix", "p=1"])
    assert capsys.readouterr().err.endswith("they look like normalised xyxy or xywh; correct them in the data set\n")


def test_two_runs_of_one_copy_at_once(demo, tmp_path):
    """The second is told who writes, and afterwards finds the copy finished; nothing else is left."""

    def again(done, total, record):
        if done == 2:
            with pytest.raises(DatasetError, match=rf"another run is writing the split 'train'.*process {os.getpid()}"):
                copy_of(demo, "coco", tmp_path / "out")
            tried.append(done)

    tried = []
    first = copy_of(demo, "coco", tmp_path / "out", on_progress=again)
    assert tried
    assert copy_of(demo, "coco", tmp_path / "out").written == first.written
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
