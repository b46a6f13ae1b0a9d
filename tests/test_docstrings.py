"""The examples of docstrings run as they stand, print what they say, and mix where they call a mix."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch
from snippets import ROOT, missing, watching

MODULES = sorted((ROOT / "cutmix_dense").rglob("*.py"))


def docstrings(path: Path) -> list[tuple[str, str]]:
    """Name and docstring of a module and of everything that is defined in it."""
    found = []

    def walk(node: ast.AST, name: str) -> None:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node)
            if text:
                found.append((name, text))
            for child in node.body:
                walk(child, f"{name}.{child.name}" if hasattr(child, "name") else name)

    parts = path.relative_to(ROOT).with_suffix("").parts
    walk(ast.parse(path.read_text()), ".".join(part for part in parts if part != "__init__"))
    return found


ALL = [(path, name, text) for path in MODULES for name, text in docstrings(path)]
EXAMPLES = [(path, name, text) for path, name, text in ALL if ">>>" in text]

UNMIXED = {"cutmix_dense.ultralytics.closing.close_with_mosaic": "shows how a mix is closed"}
"""Examples that make a mix and don't apply it, and why."""


@pytest.mark.parametrize(("path", "name", "text"), EXAMPLES, ids=[name for _, name, _ in EXAMPLES])
def test_an_example_runs_and_mixes(path, name, text, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    test = doctest.DocTestParser().get_doctest(text, {}, name, str(path), 0)
    code = "".join(example.source for example in test.examples)
    if lacking := missing(f"import {module}\n{code}"):
        pytest.skip(f"needs {', '.join(lacking)}")
    test.globs.update(vars(importlib.import_module(module)))  # as doctest gives an example its module's names
    report: list[str] = []
    torch.manual_seed(0)
    with watching(tmp_path / "applied.jsonl") as watch, watch.during(0):
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        failed = runner.run(test, out=report.append).failed
    assert failed == 0, "".join(report)
    changed = watch.changed()
    useless = [kind for number, (_, kind) in watch.made.items() if number not in changed]
    assert not useless or name in UNMIXED, f"made without effect: {useless}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_are_of_the_form_that_runs(path):
    """A fenced block in a docstring would run nowhere."""
    for name, text in docstrings(path):
        assert not re.search(r"^\s*```python", text, flags=re.MULTILINE), f"{name}: write it with >>>"


def test_there_are_examples():
    assert len(EXAMPLES) >= 2
    assert set(UNMIXED) <= {name for _, name, _ in EXAMPLES}
