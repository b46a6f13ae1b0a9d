"""The fenced blocks of a Markdown file, and how they are run."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def blocks(path: Path, language: str) -> list[str]:
    """What stands between the fences of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def missing(snippet: str) -> list[str]:
    """The top packages that a snippet, or an adapter that it imports, asks for and that aren't installed."""
    names = []
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    adapters = {f"cutmix_dense.{name}" for name in ("albumentations", "lightning", "mmengine", "monai")}
    tops = sorted({name.split(".")[1 if name in adapters else 0] for name in names})
    return [name for name in tops if importlib.util.find_spec(name) is None]


def run(snippet: str, path: Path, number: int, names: dict[str, Any]) -> None:
    """Run one block; a traceback names file and block."""
    exec(compile(snippet, f"{path.name}, block {number}", "exec"), names)
