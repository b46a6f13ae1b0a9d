"""The workflows start parts of .ci/run that exist, and every part is started by one of them."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from snippets import ROOT

yaml = pytest.importorskip("yaml")

RUN = str(ROOT / ".ci" / "run")
PARTS = subprocess.run([RUN, "--list"], capture_output=True, text=True, check=True).stdout.split()
UNATTENDED = {"speed"}
"""Parts that no workflow starts: they need a quiet machine."""


def workflows():
    return {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def test_workflows_and_parts_name_each_other():
    started = set()
    for workflow in workflows().values():
        for job in workflow["jobs"].values():
            words = {word for step in job["steps"] for word in re.findall(r"\.ci/run ([\w ]+|\$)", step.get("run", ""))}
            named = {part for word in words if word != "$" for part in word.split()}
            if "$" in words:
                named |= set(job["strategy"]["matrix"]["part"])
            started |= named
    assert started == set(PARTS) - UNATTENDED


def test_a_part_is_a_script_or_lines_of_run():
    text = (ROOT / ".ci" / "run").read_text()
    for part in PARTS:
        script = ROOT / ".ci" / part
        assert (script.is_file() and os.access(script, os.X_OK)) or re.search(
            rf"^    (\w+ \| )?{part}( \| \w+)?\)", text, re.M
        )


def test_an_unknown_part_is_refused_before_anything_runs():
    done = subprocess.run([RUN, "style", "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown part 'nothing'" in done.stderr
    assert done.stdout == ""


def test_a_part_that_fails_ends_the_run(tmp_path):
    """With tools in its way that fail or say that they ran."""
    for name, code in (("ruff", 0), ("mypy", 3), ("pytest", 0)):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\necho {name} ran\nexit {code}\n")
        tool.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run([RUN, "style", "speed"], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 3
    assert done.stdout.splitlines() == ["== style", "ruff ran", "ruff ran", "mypy ran"]


def test_a_whole_run_goes_through_both_rows_and_stops_each_at_its_failure(tmp_path):
    """With tools in its way: environments are empty folders; mypy fails in one row, Python in the other."""
    tools = dict.fromkeys(("pip", "cutmix-dense", "pytest", "ruff"), "exit 0") | {"mypy": "exit 3"}
    tools["python"] = '[ "$2" = venv ] && mkdir -p "$3/bin" && : > "$3/bin/activate" && exit 0\nexit 4'
    for path, code in ((tmp_path / name, code) for name, code in tools.items()):
        path.write_text(f"#!/bin/sh\n{code}\n")
        path.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(tmp_path / "python")
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": str(tmp_path / "python")}
    environment = {**os.environ, **own, "CUTMIX_DENSE_FRAMEWORKS": str(tmp_path)}
    done = subprocess.run([RUN], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    begun = re.findall(r"^== (\w+)$", done.stdout, re.M)
    assert begun == ["first", "test", "style", "frameworks"]
    assert re.findall(r"^== (\w+): passed in \d+ s$", done.stdout, re.M) == ["first", "test"]
    assert "a part failed" in done.stderr
