"""The script for the first minutes on a card: rehearsed on a simulated one, and what it says when parts go wrong."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tools import on_a_card as tool

SIMULATED = Path(__file__).parents[1] / "kernels" / "simulated" / "python.py"


def report_of(folder, python, *arguments):
    out = folder / "card.json"
    code = tool.main(["--python", shlex.join([sys.executable, str(python)]), "--out", str(out), *arguments])
    return code, json.loads(out.read_text())


def assert_rehearsed(code, report, *jobs):
    assert report["failures"] == []
    assert code == 0
    assert report["missing"] == []
    assert report["machine"]["gpu"].startswith("no card")
    assert report["tests"]["passed"] >= 3
    assert not report["tests"]["failed"]
    assert not report["tests"]["not_run"]
    assert [made["job"] for made in report["jobs"]] == [*jobs]
    rows = {row["name"]: row for made in report["jobs"] for row in made["rows"] if "problem" not in row}
    assert rows["floor: copy_ of the images"]["times_copy"] == 1
    for name in ("ours CutMix + map, out=", "ours CutMix + map + padded boxes, out="):
        assert rows[name]["device_us"] >= rows[name]["host_us"] > 0
        assert rows[name]["waits"] == 0
    assert rows["ours CutMix + map + ragged boxes, out="]["waits"] == 1


SELECT = "test_boxes_without_a_sync or (test_every_method_equals_the_cpu and cutmix)"


def test_it_is_rehearsed_on_a_simulated_card(tmp_path):
    pytest.importorskip("triton", minversion="3.3", reason="Triton, which comes with torch for CUDA, isn't installed")
    arguments = ("--quick", "--patience", "20", "--minutes", "60", "--select", SELECT)
    assert_rehearsed(
        *report_of(tmp_path, SIMULATED, *arguments, "--parts", "tests", "semantic", "syncs"), "semantic", "syncs"
    )


@pytest.mark.slow
def test_all_of_it_is_rehearsed_on_a_simulated_card(tmp_path):
    pytest.importorskip("triton", minversion="3.3", reason="Triton, which comes with torch for CUDA, isn't installed")
    select = "not compiled and not captured and not larger"  # interpreted kernels can't be compiled, and are slow
    arguments = ("--quick", "--patience", "30", "--minutes", "120", "--select", select)
    assert_rehearsed(*report_of(tmp_path, SIMULATED, *arguments), "images", "boxes", "semantic", "masks", "syncs")


FAKE = """
import sys
if sys.argv[1] == "-m":
    names = [f"tests/kernels/test_cuda.py::test_{name}" for name in ("a", "b[x y]", "c", "d")]
    left = [name for name in names if name not in sys.argv]
    print("collected 4 items")
    for name in left:
        print(name, "FAILED" if name[-1] in "]d" else "PASSED", "[ 25%]")
        if name[-1] == "]":
            print(f"FAILED {name} - RuntimeError: an illegal access")
            sys.exit(75)
    print(f"FAILED {names[3]} - assert 1 == 2")
    sys.exit(1)
print("Traceback")
print("RuntimeError: out of luck")
sys.exit(3)
"""


def test_no_failure_stops_the_rest_and_each_is_named(tmp_path, capsys):
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    code, report = report_of(tmp_path, fake, "--parts", "tests", "images", "boxes")
    assert code == 1
    assert json.loads(capsys.readouterr().out) == report
    assert report["tests"] == {
        "passed": 2,
        "skipped": [],
        "failed": {
            "tests/kernels/test_cuda.py::test_b[x y]": "RuntimeError: an illegal access",
            "tests/kernels/test_cuda.py::test_d": "assert 1 == 2",
        },
        "not_run": 0,
    }
    assert [line.partition(": ")[0] for line in report["failures"]] == ["tests", "tests", "images", "boxes"]
    assert report["failures"][2] == "images: exit code 3: Traceback | RuntimeError: out of luck"


def test_a_part_ends_at_its_limit_and_what_is_left_is_named(tmp_path):
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(60)\n")
    code, report = report_of(tmp_path, slow, "--parts", "images", "boxes", "--minutes", "0.1")
    assert code == 1
    assert report["failures"][0].startswith("images: not done in 6 s")
    assert report["failures"][1] == "boxes: no time was left"


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "NEEDED", ("json", "no_such_package"))
    nothing = tmp_path / "nothing.py"
    nothing.write_text("")
    code, report = report_of(tmp_path, nothing, "--parts", "syncs")
    assert code == 1
    assert report["missing"] == ["no_such_package"]
    assert report["failures"][0] == "missing: no_such_package"


def test_numbers_out_of_range_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        tool.main(["--patience", "0"])
    assert stopped.value.code == 2
    assert "--patience" in capsys.readouterr().err
