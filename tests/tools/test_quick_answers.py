"""What was typed wrong is said before torch is loaded, which takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cutmix_dense.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
RUN = """
import runpy, sys
sys.argv = {words!r}
try:
    {call}
except SystemExit as done:
    print("exit", done.code)
print("torch", "torch" in sys.modules, "cv2", "cv2" in sys.modules)
"""
MOST_MODULES = 450
"""Modules of Python, numpy and ours, once the arguments are read. With torch there are over 1,300."""


def run(tool: str, *words: str) -> tuple[str, str]:
    """Standard output and error of a tool, and whether it loaded torch and OpenCV, at the end of the first."""
    script = str(ROOT / "tools" / f"{tool}.py")
    return started(f"runpy.run_path({script!r}, run_name='__main__')", script, *words)


def command(*words: str) -> tuple[str, str]:
    """The same of ``cutmix-dense``."""
    return started("from cutmix_dense.cli.main import main; sys.exit(main())", "cutmix-dense", *words)


def started(call: str, *words: str) -> tuple[str, str]:
    """What a process of its own prints."""
    code = RUN.format(call=call, words=list(words))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout, done.stderr


SCRIPTS = {"mix": "mix_dataset", "bank": "instance_bank"}
"""The scripts in tools/ that are called otherwise than their command."""


def test_the_package_is_the_command():
    words = [sys.executable, "-m", "cutmix_dense", "mix", "a", "b", "--transform", "CutMx"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert "did you mean" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_loads_no_torch(name):
    told, _ = command(name, "--help")
    assert told.endswith("exit 0\ntorch False cv2 False\n")
    assert told.startswith(f"usage: cutmix-dense {name}")
    assert f"cutmix-dense {name}" in told.partition("\n\n")[2]  # an example to copy
    assert run(SCRIPTS.get(name, name), "--help")[0] == told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "commands:"),
        (["brwse"], "unknown command 'brwse'; did you mean 'browse'?"),
        (["demo", "--images", "3"], "must be at least 8, got 3"),
        (["explore", "--port", "a"], "must be a whole number, got 'a'"),
        (["train", "none.py"], "train: error: none.py: no such config"),
        (["evaluate", "none.py", "none.pth"], "evaluate: error: none.pth: no such checkpoint"),
        (["study", "run", "none.py"], "study: error: there is no study none.py"),
        (["benchmark", "--jobs", "none"], "invalid choice: 'none'"),
    ],
)
def test_a_mistake_in_the_arguments_loads_no_torch(words, message):
    told, error = command(*words)
    assert told == "exit 2\ntorch False cv2 False\n"
    assert message in error


SEVERAL = (
    (["benchmark", "--device", "nowhere"], "benchmark: error: --device must be cpu, cuda, or cuda and a number"),
    (["benchmark", "--jobs", "syncs"], "benchmark: error: --jobs syncs needs --device cuda"),
    (["explore", "/nowhere"], "explore: error: /nowhere: no such folder"),
    (["explore", "--port", "65536"], "explore: error: --port: must lie in 1..65535, got 65536"),
    (["explore", "--host", "no host"], "explore: error: --host must be an address of this machine, got 'no host'"),
    (["train", "configs/segmentation/unet-small_camvid_cutmix.py", "--cfg-options", "p"], "must be KEY=VALUE, got 'p'"),
    (["mix", "a", "b", "--copies", "0"], "mix: error: --copies must be at least 1, got 0"),
    (["mix", "a", "b", "--quality", "101"], "mix: error: --quality: must lie in 1..100, got 101"),
    (["browse", "a", "--font", "none.ttf"], "--font must be a TrueType file, none.ttf can't be opened as one"),
    (["browse", "a", "--transform", "CutMix", "p", "1"], "browse: error: CutMix: expected key=value, got 'p'"),
    (["browse", "a", "--transform", "CutMix", "prob=1"], "browse: error: CutMix has no argument 'prob'"),
    (["browse", "a", "--transform", "CutMix(p=1"], "browse: error: --transform: cannot read 'CutMix(p=1'"),
    (["browse", "a", "--transform", "CutMix", "p=abc"], "browse: error: CutMix: p must be a number, got abc"),
    (["browse", "a", "--family", "--transform", "CutMix"], "--family draws every method as it is by default"),
)


def test_mistakes_in_what_arguments_mean_load_no_torch():
    """One process for all: none of them loads torch."""
    call = f"""
    from cutmix_dense.cli.main import main
    for words in {[words for words, _ in SEVERAL]!r}:
        try:
            main(words)
        except SystemExit as end:
            print("----", end.code, file=sys.stderr)
"""
    told, error = started(call.strip(), "cutmix-dense")
    assert told == "torch False cv2 False\n"
    parts = error.split("---- 2\n")
    assert len(parts) == len(SEVERAL) + 1
    for (words, message), part in zip(SEVERAL, parts):
        assert message in part, words
        assert part.count("\n") == 1, words


def test_few_modules_are_loaded_before_the_arguments_are_read():
    told, _ = started("import cutmix_dense.cli.study; print(len(sys.modules))")
    assert int(told.split()[0]) < MOST_MODULES
    listed, _ = started("from cutmix_dense.cli.main import main; print(main(['--help'])); print(len(sys.modules))")
    *usage, code, count = listed.splitlines()[:-1]
    assert code == "0"
    assert int(count) < 150
    assert all(any(line.strip().startswith(name) for line in usage) for name in COMMANDS)


@pytest.mark.parametrize("tool", ["browse", "mix_dataset"])
def test_a_folder_of_nothing_known_loads_no_torch(tool, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("x\n")
    output = [str(tmp_path / "out")] if tool == "mix_dataset" else []
    told, error = run(tool, str(tmp_path), *output)
    assert told == "exit 2\ntorch False cv2 False\n"
    assert f"{tool.removesuffix('_dataset')}: error: {tmp_path}: none of the known layouts" in error


def test_what_does_not_fit_the_folder_loads_no_torch(tmp_path):
    (tmp_path / "annotations").mkdir()
    table = {
        "images": [{"id": 1, "file_name": "a.png", "width": 3, "height": 2}],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(table))
    (tmp_path / "train").mkdir()
    for words, message in (
        (["--task", "instances"], "--task is for voc, yolo"),
        (["--split", "test"], f"--split test: {tmp_path} has train"),
        (["--layout", "nothing"], "invalid choice: 'nothing'"),
        (["--count", "none"], "must be a whole number"),
        (["--layout", "voc"], "not PASCAL VOC, no ImageSets folder"),
        (["--images", "nope"], f"{tmp_path / 'nope'}: no such image folder"),
        (["--annotations", "nope.json"], f"{tmp_path / 'nope.json'}: not a readable JSON file (file not found)"),
        (["--layout", "coco", "--label-ids", "raw"], "--label-ids is for cityscapes"),
        (["--transform", "CutMx"], "unknown name 'CutMx'; did you mean 'CutMix'?"),
        (["--transform", "CutMx(p=1)"], "unknown name 'CutMx'; did you mean 'CutMix'?"),
        (["--transform", "mosaic", "p=1"], "did you mean Mosaic?"),
        (["--index", "0", "1"], "--index 1: the split has 1 sample, 0 to 0"),
    ):
        told, error = run("browse", str(tmp_path), *words)
        assert told == "exit 2\ntorch False cv2 False\n"
        assert message in error
    for output, words, message in (
        (tmp_path / "out", [], f"mix: error: {tmp_path / 'out'}: the copy must not lie in the dataset"),
        (tmp_path.parent / "out", ["--to", "decathlon"], "; leave out --to for a copy as coco"),
    ):
        told, error = run("mix_dataset", str(tmp_path), str(output), *words)
        assert told == "exit 2\ntorch False cv2 False\n"
        assert message in error


def test_a_copy_of_a_folder_with_a_mistake_loads_no_torch(tmp_path):
    """Values of options that only the reader knows, and the name of a transform."""
    (tmp_path / "leftImg8bit" / "train" / "ulm").mkdir(parents=True)
    (tmp_path / "gtFine" / "train" / "ulm").mkdir(parents=True)
    for words, message in (
        (["--label-ids", "nope"], "mix: error: --label-ids must be"),
        (["--transform", "CutMx"], "did you mean 'CutMix'?"),
    ):
        told, error = run("mix_dataset", str(tmp_path), str(tmp_path / "out"), "--layout", "cityscapes", *words)
        assert told == "exit 2\ntorch False cv2 False\n"
        assert message in error
