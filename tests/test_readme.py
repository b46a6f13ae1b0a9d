"""What the README promises beyond running (see test_docs.py): short paths that work, commands that name what exists."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from snippets import ROOT, blocks, lines_of_code, run

import cutmix_dense
from cutmix_dense.cli import main as command_line

README = ROOT / "README.md"
PAGES = [
    README,
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name / "README.md" for name in ("configs", "datasets")),
]
ADAPTERS = {
    "cutmix_dense.albumentations": "albumentations",
    "cutmix_dense.mmengine": "mmengine",
    "cutmix_dense.lightning": "lightning",
}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("module", ADAPTERS)
def test_a_newcomers_path_is_short_and_works(module, tmp_path, monkeypatch):
    """What its framework makes of the configs of MMEngine is told in tests/frameworks."""
    pytest.importorskip(ADAPTERS[module])
    page = ROOT / "docs" / "stacks" / f"{ADAPTERS[module]}.md"
    snippet = next(block for block in blocks(page, "python") if module in block)
    assert lines_of_code(snippet) <= 15
    monkeypatch.chdir(tmp_path)
    names = {"torch": torch, "cd": cutmix_dense}
    run(snippet, page, 0, names)
    if module == "cutmix_dense.albumentations":
        seen = set()
        for _ in range(20):
            result = names["pipeline"](**names["base"], mix_metadata=[names["partner"]])
            assert len(result["bboxes"]) == len(result["labels"])
            seen |= set(result["labels"])
        assert seen == {"cat", "dog"}
    elif module == "cutmix_dense.lightning":
        assert names["trainer"].current_epoch == 3
        assert names["trainer"].callbacks[0].last_seed is not None
    else:
        assert names["custom_imports"]["imports"] == [module]


def test_the_readme_is_short_and_shows_a_picture_a_call_and_a_table_first():
    text = README.read_text()
    assert len(text.splitlines()) <= 200
    first = text.partition("## Install")[0]
    assert "docs/pictures/front.webp" in first
    (snippet,) = blocks(README, "python")
    assert lines_of_code(snippet) <= 6
    assert first.index("front.webp") < first.index(snippet) < first.index("| licence |")


# ------------------------------------------------------------------------------------------------------- commands


def commands(page: Path) -> list[str]:
    """The commands of a page: of its fenced blocks, fences without a language included, and those within its lines."""
    text = page.read_text()
    fenced = re.findall(r"^```(?:bash)?\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    continued = (re.sub(r"\\\n\s*", "", block) for block in fenced)
    lines = [line.split("  #")[0] for block in continued for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    found = [part.strip() for line in lines for part in re.split(r"&&|;|\bdo\b", line)]
    heads = ("cutmix-dense ", "python ", "pip ", "pytest", "torchrun ", "srun ", "mim ", ".ci/", "mkdocs ")
    return [command for command in found if command.startswith(heads)]


COMMANDS = sorted({(page, command) for page in PAGES for command in commands(page)})


def extras() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text()
    table = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    return set(re.findall(r"^([\w-]+) = \[", table, flags=re.MULTILINE))


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{name_of(p)}: {c[:50]}" for p, c in COMMANDS])
def test_a_command_names_what_exists(page, command):
    for named in re.findall(r"(?:cutmix_dense|\.)\[([\w,-]+)\]", command):
        assert set(named.split(",")) <= extras()
    for path in re.findall(r"(?<![\w/.-])((?:tools|configs|tests|datasets|\.ci)/[\w./-]*[\w/])", command):
        made = path.startswith("datasets/") and not path.endswith(".py")  # what a command writes
        assert made or (ROOT / path).exists(), path
    command = re.sub(r"<[^>]*>", "OWN", command)
    script = re.search(r"(?<!/)\btools/(\w+)\.py(.*)", command)
    if script:
        parses(f"tools.{script[1]}", re.sub(r"--launcher \S+", "", script[2]))
    if command.startswith("cutmix-dense "):
        name, _, arguments = command.removeprefix("cutmix-dense ").partition(" ")
        assert name in command_line.COMMANDS
        if arguments:
            parses(f"cutmix_dense.cli.{name}", re.sub(r"--launcher \S+", "", arguments))
    for path, arguments in re.findall(r"(datasets/\w+\.py)(.*)", command):
        has_flags(ROOT / path, arguments)
    if "tests.fuzz.run" in command:
        has_flags(ROOT / "tests" / "fuzz" / "run.py", command.partition("run")[2])


def parses(module: str, arguments: str) -> None:
    """A tool's own parser takes them; one whose packages aren't installed is skipped."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"{module} needs {error.name or error}")
    found.parser().parse_args(shlex.split(arguments))  # exits if it doesn't know


def has_flags(script: Path, arguments: str) -> None:
    flags = re.findall(r"--[\w-]+", arguments)
    assert all(f'"{flag}"' in script.read_text() for flag in flags), flags


def test_commands_are_found():
    by_page = {name_of(page) for page, _ in COMMANDS}
    assert {"README.md", "docs/training.md", "docs/own_data.md", "docs/hardening.md", "configs/README.md"} <= by_page
    assert len(COMMANDS) >= 30
    assert sys.version_info >= (3, 10)
