"""The benchmark runs on tiny sizes, its table has one row per contender, and who is missing is named."""

from __future__ import annotations

import builtins
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cutmix_dense.cli import benchmark as tool
from cutmix_dense.cli.benchmarking import loader, machine
from cutmix_dense.cli.benchmarking.calls import count_calls
from cutmix_dense.cli.benchmarking.jobs import JOBS
from cutmix_dense.cli.benchmarking.promises import checks_of
from cutmix_dense.cli.benchmarking.results import FLOOR, Result, Settings
from cutmix_dense.cli.benchmarking.timing import Contender, Timing, busy_core, interleave, threads

ROOT = Path(__file__).parents[2]
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
    from cutmix_dense.cli.benchmarking import peers, per_sample

    def import_module(name):
        if name.partition(".")[0] in PEERS or name == "cutmix_dense.albumentations":
            raise ImportError(f"No module named {name!r}")
        return real(name, fromlist=["_"])

    monkeypatch.setattr(peers, "import_module", import_module)
    monkeypatch.setattr(loader, "import_module", import_module)
    monkeypatch.setattr(per_sample, "import_module", import_module)


def test_every_job_has_rows_and_peers_that_are_missing_are_named(tmp_path, without_peers):
    jobs = [name for name in JOBS if name != "syncs"]
    code, record, table = run(tmp_path, "--jobs", *jobs)
    assert code == 0
    assert {made["job"] for made in record["jobs"]} == set(jobs)
    for made in record["jobs"]:
        assert f"### {made['title']}" in table
        floors = {row["threads"]: row["median_s"] for row in made["rows"] if row["name"] == made["floor"]}
        for row in made["rows"]:
            assert f"| {row['name']} | " in table
            assert (row["n"] > 0) == (row["problem"] == "")
            assert row["problem"] == "" or row["problem"].startswith(("not installed: ", "can't: "))
            if row["n"]:
                low, high = row["quartiles_s"]
                assert 0 < low <= row["median_s"] <= high
                assert row["ratio"] == pytest.approx(row["median_s"] / floors[row["threads"]])
    missing = {row["name"] for made in record["jobs"] for row in made["rows"] if row["problem"][:13] == "not installed"}
    assert {"kornia RandomCutMixV2", "MONAI CutMix", "mmdet CopyPaste", "albumentations Mosaic"} <= missing
    assert {"ultralytics Mosaic", "kornia RandomTransplantation", "mmdet CachedMosaic"} <= missing
    assert "not installed: No module named 'kornia.augmentation'" in table
    ours = [row for made in record["jobs"] for row in made["rows"] if row["name"].startswith("ours CutMix")]
    assert sum(row["n"] > 0 for row in ours) >= 8


def test_table_is_a_table(tmp_path):
    _, record, table = run(tmp_path, "--jobs", "images", "sample")
    for block in table.split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("| "):
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert record["interrupted"] is False
    assert record["machine"]["versions"]["torch"]
    assert record["machine"]["last_level_cache_mib"] > 0
    assert record["settings"]["seed"] == 0
    assert record["command"].startswith("cutmix-dense benchmark --quick --repeats 2")
    assert {check["verdict"] for check in record["checks"]} == {"too small to tell"}


def test_rows_say_threads_calls_and_what_a_busy_core_costs(tmp_path):
    _, record, table = run(tmp_path, "--jobs", "images")
    rows = record["jobs"][0]["rows"]
    ours = {(row["name"], row["threads"]): row for row in rows if row["name"].startswith(("ours", "floor"))}
    assert {count for _, count in ours} == {1, 2}
    for (name, count), row in ours.items():
        assert row["ratio"] == pytest.approx(row["median_s"] / ours[FLOOR, count]["median_s"])
        assert row["slowed"] > 0
        assert (row["calls"] is None) == (count == 2)  # calls of a pool's threads aren't seen
        assert f"| {name} | {count} | " in table
    assert ours["ours CutMix, out=", 1]["calls"] > ours[FLOOR, 1]["calls"] > 0
    worst = [check for check in record["checks"] if "beside a busy loop" in check["name"]]
    for check, threads_ in zip(worst, (1, 2), strict=True):
        slowed = {name: row["slowed"] for (name, count), row in ours.items() if count == threads_ and name != FLOOR}
        assert check["measured"] == max(slowed.values())
        assert check["name"].endswith(max(slowed, key=slowed.get))


def test_a_busy_core_spins_and_ends_after_ctrl_c():
    psutil = pytest.importorskip("psutil")
    children, others = [], set(psutil.Process().children())

    def interrupted():
        with busy_core():
            children.extend(set(psutil.Process().children()) - others)
            (child,), deadline = children, time.monotonic() + 120
            while sum(child.cpu_times()[:2]) < 0.2 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert sum(child.cpu_times()[:2]) >= 0.2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not children[0].is_running()


def test_a_busy_core_ends_when_its_parent_is_killed():
    psutil = pytest.importorskip("psutil")
    script = "import psutil, time; from cutmix_dense.cli.benchmarking.timing import busy_core\nwith busy_core():\n"
    script += "  print(psutil.Process().children()[0].pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(timeout=120)
    assert not child.is_running()


def test_loader_says_what_a_mix_takes(tmp_path):
    pytest.importorskip("albumentations")
    _, record, table = run(tmp_path, "--jobs", "loader")
    rows = rows_of(record, "loader")
    assert len(rows) == 14
    assert all(f"{1 / row['median_s']:.0f} images/s" in row["does"] for row in rows.values())
    for workers in ("0 workers", "1 worker"):
        for way, base in (("as collate_fn", "without a mix"), ("per sample", "empty A.Compose per sample")):
            mixed = {n: row for n, row in rows.items() if "Mosaic" in n and n.endswith(f"{way}, {workers}")}
            assert len(mixed) == (1 if way == "as collate_fn" else 2)
            for row in mixed.values():
                share = max(0.0, 1 - rows[f"{base}, {workers}"]["median_s"] / row["median_s"])
                assert row["does"].endswith(f"; the mix takes {share:.0%} of loading")
    assert "| without a mix | " in table


def test_samples_of_a_loader_are_mixed_with_those_before(tmp_path):
    files = loader.write_pictures(tmp_path, 3, (48, 64), seed=0)
    boxes, given = np.zeros((3, 2, 4), dtype=np.float32), []

    def through(**sample):
        given.append(sample)
        return sample

    data = loader.Pictures(files, boxes, through, "partners")
    images = [data[index][0] for index in range(3)]
    assert [image.shape for image in images] == [(3, 48, 64)] * 3
    assert not torch.equal(images[0], images[1])
    assert [len(sample["partners"]) for sample in given] == [0, 1, 2]
    assert given[2]["partners"][0]["image"] is given[0]["image"]


def test_calls_are_counted_alike_every_time():
    def work():
        return [len([n]) for n in (1, 2)]

    assert count_calls(work) == count_calls(work, warmup=0) > 2
    assert count_calls(lambda: None) == 1
    assert sys.getprofile() is None


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


@pytest.mark.parametrize(
    "arguments", [["--device", "cuda:99"], ["--device", "nowhere"], ["--device", "meta"], ["--jobs", "syncs"]]
)
def test_a_device_that_is_not_there(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        tool.main(["--quick", *arguments])
    assert stopped.value.code == 2
    assert "--device" in capsys.readouterr().err


def test_contenders_take_turns():
    seen = []
    rows = [Contender(name, lambda name=name: lambda index: seen.append((name, index))) for name in "abc"]
    timings = interleave(rows, 4, repeats=6)
    assert [row.runs for row in timings] == [6, 6, 6]
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
    assert slow.runs < 5
    assert fine.runs == len(fine.seconds) == 5
    assert rare.runs == 15
    assert 0 < len(rare.seconds) < 15


def test_threads_are_given_back():
    with threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1


def test_ring_is_larger_than_the_caches():
    settings = Settings()
    one = 16 * 3 * 640 * 640
    assert settings.ring(one) * one >= 8 * machine.last_level_cache()


def test_promises_are_judged():
    def result(job, title, floor=FLOOR, **medians):
        rows = [Timing(name, seconds=[seconds], calls=200) for name, seconds in medians.items()]
        return Result(job, title, rows, floor)

    images = result("images", "", **{FLOOR: 1.0, "ours CutMix, out=": 1.7})
    images.rows += [Timing(FLOOR, seconds=[1.0], threads=2), Timing("ours CutMix, out=", seconds=[1.5], threads=2)]
    images.rows[-1].beside = [3.3]
    checks = {check.what: check for check in checks_of([images], Settings())}
    assert checks["CutMix, out=: over a copy, 1 thread"].verdict == "no"
    assert checks["CutMix, out=: over a copy, 2 threads"].verdict == "yes"
    assert checks["CutMix, out=: calls"].verdict == "yes"
    assert checks["CutMix, in place (swap): over a copy, 1 thread"].verdict == "not measured"
    (beside,) = (check for what, check in checks.items() if "busy loop" in what)
    assert (beside.measured, beside.verdict) == (pytest.approx(2.2), "no")
    assert {check.verdict for check in checks_of([images], Settings(quick=True))} == {"too small to tell"}
    assert checks_of([images], Settings(batch=8))[0].verdict == "not measured"
    masks = result("sample-masks", "", **{"mmdet CopyPaste": 6.0, "ours mmengine.CopyPaste": 1.0})
    (check,) = checks_of([masks], Settings())
    assert (check.measured, check.verdict) == (6.0, "yes")
    assert math.isnan(masks.ratio(masks.rows[0]))
    empty = {"empty A.Compose": 1.0, "albumentations Mosaic": 2.0}
    sample = result("sample", "", **empty, **{"ours albumentations.CutMix": 3.1, "ours albumentations.Mosaic": 1.0})
    checks = {check.what: check for check in checks_of([sample], Settings())}
    assert checks["albumentations.CutMix: above an empty Compose, in times that"].measured == pytest.approx(2.1)
    assert checks["albumentations.Mosaic: faster than albumentations Mosaic"].verdict == "no"
    assert checks["albumentations.Mosaic: calls above an empty Compose"].measured == 0
    assert checks["albumentations.CopyPaste: calls above an empty Compose"].verdict == "not measured"


def test_every_promise_has_its_rows(tmp_path):
    """A limit of a row that is called otherwise would be kept by nobody."""
    pytest.importorskip("albumentations")
    _, record, _ = run(tmp_path, "--batch", "16", "--jobs", "images", "boxes", "semantic", "sample")
    missing = [check["name"] for check in record["checks"] if check["measured"] is None]
    assert all("mmdet" in name for name in missing), missing
