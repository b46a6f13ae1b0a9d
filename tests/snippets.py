"""The fenced blocks of a Markdown file, how they are run, and a watch over what they mix."""

from __future__ import annotations

import ast
import functools
import importlib.util
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import cutmix_dense as cd
from cutmix_dense import functional, transforms

ROOT = Path(__file__).parents[1]
ADAPTERS = ("albumentations", "lightning", "mmengine", "monai")
"""Adapters that import the package of their name; those of further stacks import nothing."""
NOT_ON_PYPI = ("detectron2", "mmdet", "mmseg", "mmcv")
"""What no test environment of pip's packages has: pages of these have tests of their own."""


def blocks(path: Path, language: str) -> list[str]:
    """What stands between the fences of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def lines_of_code(snippet: str) -> int:
    """Its lines but for blank ones and comments."""
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in snippet.splitlines())


def missing(snippet: str) -> list[str]:
    """The top packages that a snippet, or an adapter that it imports, asks for and that aren't installed."""
    names = []
    for node in ast.walk(ast.parse(snippet)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "cutmix_dense":
            names += [f"cutmix_dense.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    adapters = {f"cutmix_dense.{name}" for name in ADAPTERS}
    tops = {name.split(".")[1 if ".".join(name.split(".")[:2]) in adapters else 0] for name in names}
    return [name for name in sorted(tops) if importlib.util.find_spec(name) is None]


def top_names(snippet: str) -> tuple[set[str], set[str]]:
    """The names that a block binds, and those that it reads and doesn't bind."""
    tree = ast.parse(snippet)
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return bound, read - bound


def run(snippet: str, path: Path, number: int, names: dict[str, Any]) -> None:
    """Run one block; a traceback names file and block."""
    exec(compile(snippet, f"{path.name}, block {number}", "exec"), names)


def run_page(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Every Python block of a page, run from top to bottom, with what is defined after it; block k is seeded with k."""
    names: dict[str, Any] = {}
    steps = []
    for number, snippet in enumerate(blocks(path, "python")):
        torch.manual_seed(number)
        run(snippet, path, number, names)
        steps.append((snippet, dict(names)))
    return steps


def after(steps: list[tuple[str, dict[str, Any]]], line: str) -> dict[str, Any]:
    """What is defined after the one block of ``run_page`` that has a line."""
    (names,) = [names for snippet, names in steps if line in snippet]
    return names


# ------------------------------------------------------------------------------------------------ what blocks mix

_METHODS = "|".join(
    name for name in transforms.__all__ if isinstance(getattr(transforms, name), type) and name != "SampleBank"
)
_MIXES = re.compile(rf"\b({_METHODS}|Mixd|MixCallback|MixedLoader|\w*mix\w*)\b(?!\s*=)|\bmix\(")


def mentions_a_mix(snippet: str) -> bool:
    """Whether a block names a method, an adapter, or a function or variable called after mixing."""
    code = re.sub(r"#.*", "", snippet)
    code = re.sub(r"^\s*(import|from) .*", "", code, flags=re.MULTILINE).replace("cutmix_dense", "")
    return bool(_MIXES.search(code))


def only_defines(snippet: str) -> list[str]:
    """The functions and classes of a block that does nothing but define them; else none."""
    body = ast.parse(snippet).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    if not all(isinstance(node, (*kinds, ast.Import, ast.ImportFrom)) for node in body):
        return []
    return [node.name for node in body if isinstance(node, kinds)]


@dataclass
class Watch:
    """What was made and what was applied while blocks ran, in this process and in workers forked from it.

    Attributes:
        log: a file, one JSON line for each application.
        block: the block that is running; None: nothing is noted.
        made: the block in which each mix was made, by its number, and its class.
    """

    log: Path
    block: int | None = None
    made: dict[int, tuple[int, str]] = field(default_factory=dict)

    def note(self, what: int | str, before: Any, after: Any) -> None:
        """An application of a mix (its number) or a function (its name)."""
        if self.block is not None and what is not None:
            with self.log.open("a") as file:
                line = {"block": self.block, "what": what, "changed": differs(before, after)}
                file.write(json.dumps(line) + "\n")

    def applied(self) -> list[dict[str, Any]]:
        """Every application so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def changed(self) -> set[int | str]:
        """What changed something once or oftener."""
        return {line["what"] for line in self.applied() if line["changed"]}

    @contextmanager
    def during(self, block: int) -> Iterator[None]:
        """Note what happens in a block."""
        self.block = block
        try:
            yield
        finally:
            self.block = None


def differs(before: Any, after: Any) -> bool:
    """Whether what came out is other than what went in; of dicts, in the keys of both, of lists, in what both have.

    The coordinates say whether a row is someone else's, so ``origin`` and ``visibility`` aren't compared.
    """
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        if before.ndim == after.ndim and len(after) < len(before):  # those behind are partners only
            before = before[: len(after)]
        return before.shape != after.shape or not torch.equal(before.to(after.dtype), after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return any(differs(before[key], after[key]) for key in before.keys() & after.keys())
    if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
        return any(map(differs, before, after))
    return False


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, (list, tuple)) else value


@contextmanager
def watching(log: Path) -> Iterator[Watch]:
    """Note which mixes are made, and whether what they mix is another image afterwards.

    Every mix, those of adapters included, goes through ``mix_images`` of its class; plans that are applied by hand go
    through ``cutmix_dense.functional``. The members of a ``RandomMix`` count as one.
    """
    watch, numbers = Watch(log), itertools.count()
    with pytest.MonkeyPatch.context() as patch:

        def counted(kind: type) -> Callable[..., None]:
            init = kind.__init__

            @functools.wraps(init)
            def __init__(self: Any, *args: Any, **options: Any) -> None:
                init(self, *args, **options)
                if watch.block is not None:
                    number = next(numbers)
                    watch.made[number] = watch.block, type(self).__name__
                    for member in self.members if kind is cd.RandomMix else [self]:
                        watch.made.pop(getattr(member, "_number", None), None)
                        member._number = number
                    watch.made[number] = watch.block, type(self).__name__

            return __init__

        for kind in (cd.MixTransform, cd.RandomMix):
            patch.setattr(kind, "__init__", counted(kind))

        def noted(mix_images: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(mix_images)
            def called(self: Any, images: Any, plan: Any, **options: Any) -> Any:
                before = _copied(images)
                result = mix_images(self, images, plan, **options)
                watch.note(getattr(self, "_number", None), before, result)
                return result

            return called

        for kind in (cd.MixTransform, cd.Affine):
            patch.setattr(kind, "mix_images", noted(kind.mix_images))

        def by_hand(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def called(first: Any, *args: Any, **options: Any) -> Any:
                before = _copied(first)
                result = function(first, *args, **options)
                # of a pair of results, mixed targets and their report, the former
                after = result[0] if isinstance(result, tuple) and not isinstance(first, tuple) else result
                watch.note(f"functional.{name}", before, after)
                return result

            return called

        for name in functional.__all__:
            if name.startswith("mix_"):
                patch.setattr(functional, name, by_hand(name, getattr(functional, name)))
        yield watch
