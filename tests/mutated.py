"""One line of the library is changed, and a named test must fail.

``test_mutations.py`` puts the errors of real libraries into ours for the oracle to find. Here every measurement of what
shows of an instance (``test_mutated_measurements.py``) and every option of how targets are judged and methods are
scheduled (``test_mutated_options.py``, ``test_mutated_chains.py``) has one line changed. The changed function keeps its
identity, only its code is replaced, so every module that imported it runs the wrong line.
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import textwrap
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest
import torch

from cutmix_dense import native

__all__ = ["Mutation", "changed", "must_be_found", "run"]


class Mutation(NamedTuple):
    """A line of a function, what it becomes, and the test that must fail; both as module:name."""

    place: str
    line: str
    wrong: str
    test: str
    arguments: dict[str, Any] | None = None
    library: bool = True


def changed(source: str, line: str, wrong: str) -> str:
    assert source.count(line) == 1, f"{line!r} must be there once, not {source.count(line)} times"
    return source.replace(line, wrong)


def named(place: str, package: str) -> Any:
    """What ``module:name`` or ``module:Class.name`` stands for."""
    module, name = place.split(":")
    found: Any = importlib.import_module(f"{package}{module}")
    for part in name.split("."):
        found = inspect.getattr_static(found, part)
    return found


def code_of(source: str, function: FunctionType) -> CodeType:
    """The code of a function of changed source; globals, defaults and identity stay those of the function."""
    source, free = textwrap.dedent(source), function.__code__.co_freevars
    if free:  # such as the class that super() means: as within a function that has it
        source = f"def enclosing({', '.join(free)}):\n" + textwrap.indent(source, "    ")
    flags = __future__.annotations.compiler_flag
    module = compile(source, function.__code__.co_filename, "exec", flags, dont_inherit=True)
    if free:
        (module,) = (found for found in module.co_consts if isinstance(found, CodeType))
    (code,) = (
        found for found in module.co_consts if isinstance(found, CodeType) and found.co_name == function.__name__
    )
    return code


def mutate(mutation: Mutation, patch: pytest.MonkeyPatch) -> None:
    inner = mutation.place.split(":")[0]
    found = named(mutation.place, "cutmix_dense." if "." in inner else "cutmix_dense.functional.")
    function = getattr(found, "__func__", getattr(found, "fget", found))
    source = changed(inspect.getsource(function), mutation.line, mutation.wrong)
    patch.setattr(function, "__code__", code_of(source, function))


def run(mutation: Mutation) -> None:
    """Call the named test as pytest would, with its fixtures."""
    test, (module, name) = named(mutation.test, ""), mutation.test.split(":")
    test = getattr(getattr(test, "hypothesis", None), "inner_test", test)  # one example, nothing to shrink
    given = dict(mutation.arguments or {})
    if "." in name:
        given["self"] = named(f"{module}:{name.split('.')[0]}", "")()
    with pytest.MonkeyPatch.context() as patch:
        fixtures = {"generator": torch.Generator().manual_seed(0), "monkeypatch": patch}
        test(**given, **{key: value for key, value in fixtures.items() if key in inspect.signature(test).parameters})


def must_be_found(mutation: Mutation, patch: pytest.MonkeyPatch) -> None:
    """The test passes as the library is, and fails with the wrong line."""
    if not mutation.library:
        patch.setattr(native, "library", None)
    elif native.library is None and mutation.test.startswith(("functional.test_masks:", "functional.test_boxes:")):
        pytest.skip("the compiled library isn't there")
    run(mutation)
    mutate(mutation, patch)
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        run(mutation)
