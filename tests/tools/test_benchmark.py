"""The benchmark runs on tiny sizes, its table has one row per contender, and who is missing is named."""

from __future__ import annotations

import builtins
import itertools
import json
import math
import time
from dataclasses import replace

import pytest
import torch

from cutmix_dense import MixPlan, functional
from tools import benchmark as tool
from tools.benchmarking import machine, plain, report
from tools.benchmarking.growth import Curve
from tools.benchmarking.jobs import FLOOR, JOBS, Result, Settings
from tools.benchmarking.samples import make_batches
from tools.benchmarking.timing import Contender, Timing, interleave, threads

PEERS = ("kornia", "monai", "ultralytics", "mmdet", "albumentations")


def run(folder, *arguments):
    code = tool.main(["--quick", "--repeats", "2", "--size", "48", "--batch", "2", "--out", str(folder), *arguments])
    return code, json.loads((folder / "benchmark.json").read_text()), (folder / "benchmark.md").read_text()


def rows_of(record, job):
    return {row["name"]: row for made in record["jobs"] if made["job"] == job for row in made["rows"]}


@pytest.fixture
def without_peers(monkeypatch):
    """As if none of the peers were installed."""
    real = builtins.__import__
    from tools.benchmarking import jobs, peers

    def import_module(name):
        if name.partition(".")[0] in PEERS or name == "cutmix_dense.albumentations":
            raise ImportError(f"No module named {name!r}")
        return real(name, fromlist=["_"])

    monkeypatch.setattr(peers, "import_module", import_module)
    monkeypatch.setattr(jobs, "import_module", import_module)


def test_every_job_has_rows_and_peers_that_are_missing_are_named(tmp_path, without_peers):
    jobs = [name for name in JOBS if name != "syncs"]
    code, record, table = run(tmp_path, "--jobs", *jobs)
    assert code == 0
    assert {made["job"] for made in record["jobs"]} == set(jobs)
    for made in record["jobs"]:
        assert f"## {made['title']}" in table
        floor = next((row for row in made["rows"] if row["name"] == made["floor"]), None)
        assert (floor is None) == (made["job"] == "boxes-only")
        for row in made["rows"]:
            assert f"| {row['name']} | " in table
            assert (row["n"] > 0) == (row["problem"] == "")
            assert row["problem"] == "" or row["problem"].startswith(("not installed: ", "can't: "))
            if row["n"]:
                low, high = row["quartiles_s"]
                assert 0 < low <= row["median_s"] <= high
                assert floor is None or row["ratio"] == pytest.approx(row["median_s"] / floor["median_s"])
    missing = {row["name"] for made in record["jobs"] for row in made["rows"] if row["problem"][:13] == "not installed"}
    assert {"kornia RandomCutMixV2", "MONAI CutMix", "mmdet CopyPaste", "albumentations Mosaic"} <= missing
    assert {"ultralytics Mosaic", "kornia RandomTransplantation", "mmdet CachedMosaic"} <= missing
    assert "not installed: No module named 'kornia.augmentation'" in table
    ours = [row for made in record["jobs"] for row in made["rows"] if row["name"].startswith("ours CutMix")]
    assert sum(row["n"] > 0 for row in ours) >= 8


def as_if_cropped(batch, count, height):
    """The first images of a batch without their lowest rows."""
    boxes = batch.boxes[:count].clone()
    boxes[..., 1::2] *= height / batch.images.shape[2]
    targets = [{"boxes": box, "labels": label} for box, label in zip(boxes, batch.labels)]
    return replace(
        batch,
        images=batch.images[:count, :, :height].clone(),
        targets=targets,
        boxes=boxes,
        labels=batch.labels[:count],
    )


@pytest.mark.parametrize("exchange", [False, True])
def test_the_yardstick_mixes_what_ours_mixes(exchange, generator):
    """Else it would be none: images bit for bit, boxes to single precision, labels, and who is kept."""
    whole = parts = 0
    for count, batch in zip(itertools.cycle([6, 5]), make_batches(12, 6, 80, 7)):
        batch = as_if_cropped(batch, count, height=60)
        partner, region = plain.draw(count, (60, 80), exchange, generator)
        rectangles = region.long()[:, None, [1, 0, 3, 2]]
        source = torch.stack([torch.arange(count), partner], dim=1)
        source[source[:, 1] == source[:, 0], 1] = -1  # the odd one
        plan = MixPlan.from_rectangles(source, rectangles, torch.tensor([(60, 80)] * count))
        expected, out = functional.mix_pixels(batch.images, plan), torch.empty_like(batch.images)
        if exchange:
            assert torch.equal(partner[partner], torch.arange(count))
            plain.swap_within(batch.images, partner, region)
            assert torch.equal(batch.images, expected)
        else:
            plain.mix_into(out, batch.images, partner, region)
            assert torch.equal(out, expected)
        ours = functional.mix_instances(batch.targets, plan)
        found = plain.mix_ragged(batch.targets, partner, region)
        for one, other in zip(found, ours):
            torch.testing.assert_close(one["boxes"], other["boxes"])
            assert torch.equal(one["labels"], other["labels"])
            whole += int((other["visibility"] == 1).sum())
            parts += int((other["visibility"] < 1).sum())
        slots = functional.mix_padded({"boxes": batch.boxes, "labels": batch.labels}, plan)
        assert torch.equal(plain.mix_padded(batch.boxes, batch.labels, partner, region)[2], slots["valid"])
    assert min(whole, parts) > 50


def test_table_is_a_table(tmp_path):
    _, record, table = run(tmp_path, "--jobs", "images", "boxes-only")
    for block in table.split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("| "):
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert record["interrupted"] is False
    assert record["machine"]["versions"]["torch"]
    assert record["machine"]["last_level_cache_mib"] > 0
    assert record["settings"]["seed"] == 0
    assert record["command"].startswith("python tools/benchmark.py --quick --repeats 2")
    assert {check["verdict"] for check in record["checks"]} == {"too small to tell"}


def test_growth_and_pipeline(tmp_path):
    pytest.importorskip("matplotlib")
    code, record, table = run(tmp_path, "--jobs", "pipeline", "growth")
    assert code == 0
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    assert "growth.png" in table
    assert len({curve["panel"] for curve in record["growth"]}) == 6
    assert all(len(curve["sizes"]) == len(curve["seconds"]) == 2 for curve in record["growth"])
    rows = rows_of(record, "pipeline")
    assert len(rows) == 3
    assert all("images/s" in row["does"] for row in rows.values())


def test_interrupted_run_keeps_what_is_done(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setitem(JOBS, "boxes", stop)
    code, record, table = run(tmp_path, "--jobs", "images", "boxes", "semantic")
    assert code == 130
    assert record["interrupted"] is True
    assert [made["job"] for made in record["jobs"]] == ["images"]
    assert "**interrupted**" in table


@pytest.mark.parametrize("arguments", [["--device", "cuda:99"], ["--device", "nowhere"], ["--device", "meta"]])
def test_a_device_that_is_not_there(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        tool.main(["--quick", *arguments])
    assert stopped.value.code == 2
    assert "--device" in capsys.readouterr().err


def test_contenders_take_turns():
    seen = []
    rows = [Contender(name, lambda name=name: lambda index: seen.append((name, index))) for name in "abc"]
    timings = interleave(rows, 4, repeats=6)
    assert [row.calls for row in timings] == [6, 6, 6]
    turns = seen[6:]  # two calls each before it starts
    assert all({name for name, _ in turns[at : at + 3]} == set("abc") for at in range(0, 18, 3))
    assert [index for _, index in turns] == [(at + 1) % 4 for at in range(18)]


def test_a_contender_that_breaks_or_is_slow_leaves():
    calls = []

    def breaks(index):
        calls.append(index)
        if len(calls) > 3:
            raise RuntimeError("out of luck")

    rows = [
        Contender("breaks", lambda: breaks),
        Contender("slow", lambda: lambda index: time.sleep(0.02)),
        Contender("fine", lambda: lambda index: None),
        Contender("rare", lambda: lambda index: index, fired=lambda argument, result: result == 0, per_round=3),
    ]
    broken, slow, fine, rare = interleave(rows, 3, repeats=5, budget=0.03)
    assert broken.problem == "can't: RuntimeError: out of luck"
    assert slow.calls < 5
    assert fine.calls == len(fine.seconds) == 5
    assert rare.calls == 15
    assert 0 < len(rare.seconds) < 15


def test_threads_are_given_back():
    import torch

    with threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1


def test_ring_is_larger_than_the_caches():
    settings = Settings()
    one = 16 * 3 * 640 * 640
    assert settings.ring(one) * one >= 8 * machine.last_level_cache()


def test_promises_are_judged():
    def result(job, title, floor=FLOOR, **medians):
        rows = [Timing(name, seconds=[seconds]) for name, seconds in medians.items()]
        return Result(job, title, rows, floor)

    images = result("images", "images, B=16, ...", **{FLOOR: 1.0, "ours CutMix, out=": 1.7})
    checks = {check.what: check for check in report.checks_of([images], Settings())}
    assert checks["CutMix, out=: B=16, times the copy"].verdict == "yes"
    assert checks["CutMix, in place (swap): B=16, times the copy"].verdict == "not measured"
    masks = result("sample-masks", "", **{"mmdet CopyPaste": 2.0, "ours mmengine.CopyPaste": 1.0})
    (check,) = report.checks_of([masks], Settings())
    assert (check.measured, check.verdict) == (2.0, "no")
    assert math.isnan(masks.ratio(masks.rows[0]))


def test_plot_without_matplotlib(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **settings):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert report.draw([Curve("a", "b", "c", [1.0], [1.0])], tmp_path / "plot.png") is False
