"""What was typed wrong is said before torch is loaded, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = """
import runpy, sys
sys.argv = [{tool!r}, *{words!r}]
try:
    runpy.run_path({tool!r}, run_name="__main__")
except SystemExit as done:
    print("exit", done.code)
print("torch", "torch" in sys.modules, "cv2", "cv2" in sys.modules)
"""


def run(tool: str, *words: str) -> tuple[str, str]:
    """Standard output and error of a tool, and whether it loaded torch and OpenCV, at the end of the first."""
    code = RUN.format(tool=str(ROOT / "tools" / f"{tool}.py"), words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout, done.stderr


@pytest.mark.parametrize("tool", ["browse", "mix_dataset", "explore"])
def test_help_loads_no_torch(tool):
    told, _ = run(tool, "--help")
    assert told.endswith("exit 0\ntorch False cv2 False\n")
    assert "--layout" in told


@pytest.mark.parametrize("tool", ["browse", "mix_dataset"])
def test_a_folder_of_nothing_known_loads_no_torch(tool, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("x\n")
    output = [str(tmp_path / "out")] if tool == "mix_dataset" else []
    told, error = run(tool, str(tmp_path), *output)
    assert told == "exit 2\ntorch False cv2 False\n"
    assert f"{tool}: error: {tmp_path}: none of the known layouts" in error


def test_what_does_not_fit_the_folder_loads_no_torch(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text('{"images": [], "annotations": [], "categories": []}')
    for words, message in (
        (["--task", "instances"], "--task is for voc, yolo"),
        (["--split", "test"], f"--split test: {tmp_path} has train"),
        (["--layout", "nothing"], "invalid choice: 'nothing'"),
        (["--count", "none"], "must be a whole number"),
    ):
        told, error = run("browse", str(tmp_path), *words)
        assert told == "exit 2\ntorch False cv2 False\n"
        assert message in error
