"""The first minutes on a CUDA card: are the kernels right, and how fast are they? One command, one JSON.

    python tools/on_a_card.py                        # at most 8 minutes; prints the JSON, and writes it by --out
    python tools/on_a_card.py --parts tests syncs    # some parts alone
    python tools/on_a_card.py --quick                # tiny sizes: does it run?

From a checkout, without installing it and without a network. It needs torch with Triton, torchvision, numpy, jaxtyping,
rich, pytest and hypothesis; what is missing is named first ("missing"), and the parts that can do without it still run.

Every part is a process of its own with a limit of its own, so that none stops the others: ``tests`` is
``pytest tests/kernels/test_cuda.py``; each of the others is that job of ``tools/benchmark.py --device cuda --short``.
If a test loses the card, as an illegal access does, the tests behind it run in a new process.

The JSON: ``tests`` with the names of those that failed and how many didn't run; ``jobs`` with a row for the copy,
ours and each peer: time (device_us), times the copy, time of the host (host_us) and its waits; ``promises`` with what
was measured; ``failures``, one line for everything that went wrong.

Exit codes: 0 nothing failed, 1 something did, 2 a mistake in the arguments.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "triton", "torchvision", "numpy", "jaxtyping", "rich", "pytest", "hypothesis")
PARTS = {"tests": 210, "images": 90, "boxes": 70, "semantic": 50, "masks": 90, "syncs": 30}
"""Most seconds of each part, in the order they run."""

_LOST = 75
"""Exit code of tests that lost the card; see ``tests/kernels/test_cuda.py``."""

_OUTCOME = re.compile(r"^(\S+\.py::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
_COLLECTED = re.compile(r"^collected (\d+) items?(?: / .*?(\d+) selected)?")
_SUMMARY = re.compile(r"^(?:FAILED|ERROR) (\S+\.py::.+?) - (.*)$")


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = argparse.ArgumentParser(
        "on_a_card", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART", help=str([*PARTS])
    )
    result.add_argument("--minutes", type=float, default=8.0, help="most of all parts together (default: 8)")
    result.add_argument("--patience", type=float, default=1.0, help="factor of the limit of each part (default: 1)")
    result.add_argument("--select", default="", help="expression of the tests to run, as pytest's -k")
    result.add_argument("--quick", action="store_true", help="tiny sizes, one round: shows that it runs")
    result.add_argument("--python", default=sys.executable, help="what runs the parts (default: this interpreter)")
    result.add_argument("--out", type=Path, default=Path("runs/on_a_card.json"), help="(default: runs/on_a_card.json)")
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    for name in ("minutes", "patience"):
        if not 0 < getattr(arguments, name) < 1000:
            parser().error(f"--{name} must lie between 0 and 1000, got {getattr(arguments, name)}")
    began = time.monotonic()
    command = shlex.join(["python", "tools/on_a_card.py", *(sys.argv[1:] if argv is None else argv)])
    report: dict[str, Any] = {"command": command, "seconds": 0, "machine": {}}
    report["missing"] = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    report |= {"failures": [f"missing: {name}" for name in report["missing"]], "tests": {}, "promises": [], "jobs": []}
    python = shlex.split(arguments.python)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts:
        left = 60 * arguments.minutes - (time.monotonic() - began)
        limit = min(PARTS[part] * arguments.patience, left)
        if limit < 5:
            report["failures"].append(f"{part}: no time was left")
            continue
        print(f"{part}: at most {limit:.0f} s", file=sys.stderr, flush=True)
        try:
            run_tests(report, python, arguments.select, limit) if part == "tests" else run_job(
                report, python, part, arguments.quick, limit
            )
        except Exception as error:  # none stops the others
            report["failures"].append(f"{part}: {type(error).__name__}: {error}")
        report["seconds"] = round(time.monotonic() - began)
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = json.dumps(report, indent=1)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 1 if report["failures"] else 0


def run_tests(report: dict[str, Any], python: Sequence[str], select: str, limit: float) -> None:
    """Run the tests of the card, and once more what is left each time that one loses it."""
    outcomes: dict[str, str] = {}
    why: dict[str, str] = {}
    every = 0
    deadline, code, lines = time.monotonic() + limit, _LOST, [""]
    while code == _LOST and (left := deadline - time.monotonic()) > 5:
        before = len(outcomes)
        chosen = [option for name in outcomes for option in ("--deselect", name)]
        command = [
            *python,
            "-m",
            "pytest",
            "tests/kernels/test_cuda.py",
            "-v",
            "-rfE",
            "--tb=line",
            "-p",
            "no:cacheprovider",
        ]
        code, lines = _run([*command, *(["-k", select] if select else []), *chosen], left)
        for line in lines:
            if found := _OUTCOME.match(line):
                outcomes[found[1]] = found[2]
            elif (found := _SUMMARY.match(line)) and outcomes.get(found[1]) != "PASSED":
                outcomes.setdefault(found[1], "ERROR")
                why[found[1]] = found[2][:300]
            elif (found := _COLLECTED.match(line)) and not every:
                every = int(found[2] or found[1])
        if len(outcomes) == before:  # it doesn't even start
            break
    failed = {name: why.get(name, outcome) for name, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")}
    report["tests"] = {
        "passed": sum(outcome == "PASSED" for outcome in outcomes.values()),
        "skipped": [name for name, outcome in outcomes.items() if outcome == "SKIPPED"],
        "failed": failed,
        "not_run": max(0, every - len(outcomes)),
    }
    report["failures"] += [f"tests: {name}: {reason}" for name, reason in failed.items()]
    if not report["tests"]["passed"]:
        report["failures"].append(f"tests: none passed: {_last(lines)}")
    elif code not in (0, 1, _LOST):
        report["failures"].append(f"tests: {_ended(code, limit)}: {_last(lines)}")


def run_job(report: dict[str, Any], python: Sequence[str], job: str, quick: bool, limit: float) -> None:
    """Run one job of the benchmark, and add its rows."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = ["--quick", "--repeats", "1", "--size", "32", "--batch", "2", "--objects", "4"] if quick else []
        options = ["--device", "cuda", "--short", "--jobs", job, "--out", folder, *sizes]
        code, lines = _run([*python, "tools/benchmark.py", *options], limit)
        written = Path(folder) / "benchmark.json"
        record = json.loads(written.read_text(encoding="utf-8")) if written.exists() else None
    if record is None or code:
        report["failures"].append(f"{job}: {_ended(code, limit)}: {_last(lines)}")
    if record is None:
        return
    report["machine"] = record["machine"]
    report["promises"] += [
        {"what": check["name"], **{key: check[key] for key in ("measured", "limit", "verdict")}}
        for check in record["checks"]
    ]
    for made in record["jobs"]:
        rows = list(_rows(made["rows"]))
        report["jobs"].append({"job": made["job"], "title": made["title"], "rows": rows})
        report["failures"] += [
            f"{job}: {row['name']}: {row['problem']}"
            for row in rows
            if "problem" in row and not row["problem"].startswith("not installed")
        ]


def _rows(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row["problem"]:
            yield {"name": row["name"], "problem": row["problem"]}
            continue
        times = {"device_us": _micro(row["median_s"]), "times_copy": row["ratio"] and round(row["ratio"], 3)}
        yield {"name": row["name"], **times, "host_us": _micro(row.get("host_s")), "waits": row.get("waits")}


def _micro(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e6, 1)


def _run(command: Sequence[str], limit: float) -> tuple[int, list[str]]:
    """Exit code of a command in the checkout, and the lines that it printed; killed at its limit, with code -9."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    variables |= {"NO_ALBUMENTATIONS_UPDATE": "1", "COLUMNS": "400"}
    with tempfile.TemporaryFile() as printed:
        try:
            code = subprocess.run(
                command, cwd=ROOT, env=variables, stdout=printed, stderr=subprocess.STDOUT, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = -9
        printed.seek(0)
        return code, printed.read().decode(errors="replace").splitlines()


def _ended(code: int, limit: float) -> str:
    return f"not done in {limit:.0f} s" if code == -9 else f"exit code {code}"


def _last(lines: Sequence[str]) -> str:
    """The last lines that say something."""
    return " | ".join([line.strip() for line in lines if line.strip()][-3:])[-600:]


if __name__ == "__main__":
    sys.exit(main())
