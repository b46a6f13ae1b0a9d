"""What transforms and samplers take, read from their source, so that what is typed is checked before torch is loaded.

A class is found where the package's ``__init__`` files import it from. Its arguments are those of its ``__init__``, or
the fields of a dataclass; behind ``**common`` those of its bases follow.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_PACKAGE = "cutmix_dense"
_ROOT = Path(__file__).parents[1]
_PARTS = {
    f"{_PACKAGE}.transforms": ("InstanceBank", "SampleBank"),
    f"{_PACKAGE}.functional": ("FilterRule", "OcclusionRule"),
}
"""What arguments may be besides samplers."""


class Sketch:
    """Stands for a class or a preset of one: it has its signature and presets, and calling it makes nothing."""

    def __init__(self, name: str, parameters: Sequence[inspect.Parameter], presets: Sequence[Sketch] = ()) -> None:
        self.__name__ = name
        self.__signature__ = inspect.Signature(sorted(parameters, key=lambda parameter: parameter.kind))
        self.presets = {preset.__name__: preset for preset in presets}

    def __call__(self, *values: Any, **settings: Any) -> Sketch:
        """The sketch itself, which then stands for an object of the class."""
        return self

    def __repr__(self) -> str:
        return self.__name__


def sketches_of_transforms(names: Sequence[str]) -> dict[str, Sketch]:
    """The public transforms of these names."""
    return {name: _sketch(f"{_PACKAGE}.transforms", name) for name in names}


def sketches_of_parts() -> dict[str, Sketch]:
    """The public samplers, rules and banks: those of ``build.known_parts``."""
    found = {}
    for package in (f"{_PACKAGE}.regions", f"{_PACKAGE}.masks"):
        for name in _source(package).imports:
            place = _find(package, name)
            if place is not None and _is_dataclass(place[1]):  # the others are bases and what samplers give back
                found[name] = _sketch(package, name)
    return {**found, **{name: _sketch(package, name) for package, names in _PARTS.items() for name in names}}


class _Source(NamedTuple):
    """A module: its classes, and where its other names are imported from."""

    classes: dict[str, ast.ClassDef]
    imports: dict[str, str]


@cache
def _source(module: str) -> _Source:
    path = _ROOT.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(file.read_text(encoding="utf-8")).body
    lazily = [each for node in body if isinstance(node, ast.If) for each in node.body]  # for type checkers
    imports = [each for each in (*body, *lazily) if isinstance(each, ast.ImportFrom)]
    imports = [each for each in imports if (each.module or "").startswith(_PACKAGE)]
    return _Source(
        {node.name: node for node in body if isinstance(node, ast.ClassDef)},
        {each.name: str(node.module) for node in imports for each in node.names},
    )


def _find(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """A class as a module names it, and the module that defines it; None if that is none of the package."""
    source = _source(module)
    if name in source.classes:
        return module, source.classes[name]
    return _find(source.imports[name], name) if name in source.imports else None


def _sketch(module: str, name: str) -> Sketch:
    place = _find(module, name)
    assert place is not None, f"{module} has no class {name}"
    presets = [
        Sketch(each.name, _arguments(each.args))
        for each in _functions(place[1])
        if not each.name.startswith("_") and "classmethod" in _decorators(each)
    ]
    return Sketch(name, list(_parameters(*place).values()), presets)


def _parameters(module: str, node: ast.ClassDef) -> dict[str, inspect.Parameter]:
    """The arguments of a class by name: its own first, then those of its bases."""
    bases = [place for base in node.bases if (place := _find(module, ast.unparse(base))) is not None]
    own = next((each for each in _functions(node) if each.name == "__init__"), None)
    found: dict[str, inspect.Parameter] = {}
    if own is not None:
        found = {parameter.name: parameter for parameter in _arguments(own.args)}
        if "takes_rules" in _decorators(own):
            rules = _fields(_source(f"{_PACKAGE}.functional.rules").classes["TargetRules"])
            return {**found, **{name: each.replace(kind=each.KEYWORD_ONLY) for name, each in rules.items()}}
        if own.args.kwarg is None:
            return found
    inherited = {name: each for base in bases for name, each in _parameters(*base).items()}
    if _is_dataclass(node):
        return {**inherited, **_fields(node)}
    return {**found, **{name: each for name, each in inherited.items() if name not in found}}


def _arguments(given: ast.arguments) -> list[inspect.Parameter]:
    """The arguments of a function, the first of which is the object or the class."""
    named = [*given.posonlyargs, *given.args]
    needed = len(named) - len(given.defaults)
    positional = [
        _parameter(each.arg, each.annotation, place >= needed, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for place, each in enumerate(named)
    ][1:]
    keyword = [
        _parameter(each.arg, each.annotation, default is not None, inspect.Parameter.KEYWORD_ONLY)
        for each, default in zip(given.kwonlyargs, given.kw_defaults)
    ]
    return [*positional, *keyword]


def _fields(node: ast.ClassDef) -> dict[str, inspect.Parameter]:
    """The fields of a dataclass that are arguments."""
    found = {}
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            value = "" if each.value is None else ast.unparse(each.value)
            if not ("ClassVar" in ast.unparse(each.annotation) or "init=False" in value):
                kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
                found[each.target.id] = _parameter(each.target.id, each.annotation, bool(value), kind)
    return found


def _parameter(name: str, annotation: ast.expr | None, optional: bool, kind: Any) -> inspect.Parameter:
    """An argument; which default it has doesn't matter."""
    text = inspect.Parameter.empty if annotation is None else ast.unparse(annotation)
    return inspect.Parameter(name, kind, default=None if optional else inspect.Parameter.empty, annotation=text)


def _functions(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    return (each for each in node.body if isinstance(each, ast.FunctionDef))


def _decorators(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    return [ast.unparse(each).partition("(")[0] for each in node.decorator_list]


def _is_dataclass(node: ast.ClassDef) -> bool:
    return "dataclass" in _decorators(node)
