"""Every public function and class of the core has a short example, and what the example shows is true."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

import pytest
import torch

import cutmix_dense as cd

CORE = (
    "arrays",
    "build",
    "checks",
    "distance",
    "extras",
    "functional",
    "masks",
    "noise",
    "pairing",
    "plan",
    "randomness",
    "regions",
    "saliency",
    "semi",
    "switch",
    "transforms",
)
"""The modules and packages whose ``__all__`` is the public core, with that of ``cutmix_dense`` itself."""

WITHOUT = {
    "functional.mix_instances": "docs/boxes.md shows it at length",
    "functional.object_pixels": "weights of mix_labels, which shows the shares",
    "functional.MixedPanoptic": "a result: mix_panoptic shows it",
    "functional.SemanticPair": "a result: mix_semantic_pair shows it",
    "functional.RULES": "a constant",
    "masks.NoiseDraws": "a named tuple that samplers hand to themselves",
    "noise.Band": "a result: bands_of_blur shows it",
    "pairing.PAIRINGS": "a constant",
    "plan.PlanFacts": "a view of the fields of MixPlan",
    "regions.ObjectBoxes": "an argument: ObjectBox shows it",
    "switch.BY_HAND": "a constant",
    "switch.BY_SCHEDULE": "a constant",
    "semi.DetectionView": "a result: MixPL shows it",
    "semi.MakesViews": "a protocol: MixPL is one",
    "semi.MixedConsistency": "a result: mixed_consistency shows it",
    "semi.MixedDetection": "a result: mixed_detection shows it",
    "semi.MixedViews": "a result: mixed_views shows it",
}
"""Public objects without an example, and why."""

MOST_LINES = 6
"""Lines of code of an example, imports not counted."""

SCIPY = {"distance", "masks.maps", "transforms.carvemix"}
"""Modules with an example that needs scipy."""


def modules() -> list[str]:
    names = [info.name.removeprefix("cutmix_dense.") for info in pkgutil.walk_packages(cd.__path__, "cutmix_dense.")]
    return [name for name in names if name.split(".")[0] in CORE]


def module_of(name: str) -> ModuleType:
    return importlib.import_module(f"cutmix_dense.{name}")


def public() -> dict[str, Any]:
    """The public objects of the core by name; the ones that ``cutmix_dense`` itself has stand under their module."""
    found: dict[str, Any] = {}
    for module in CORE:
        found |= {f"{module}.{name}": getattr(module_of(module), name) for name in module_of(module).__all__}
    top = {name: getattr(cd, name) for name in cd.__all__ if name != "__version__"}
    known = {id(value) for value in found.values()}
    return found | {name: v for name, v in top.items() if not inspect.ismodule(v) and id(v) not in known}


PUBLIC = public()


def example_of(value: Any) -> doctest.DocTest:
    text = inspect.getdoc(value) if callable(value) else None
    return doctest.DocTestParser().get_doctest(text or "", {}, "", None, None)


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_are_true(name):
    if name in SCIPY:
        pytest.importorskip("scipy")
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module_of(name)):
        torch.manual_seed(0)
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in WITHOUT])
def test_a_public_object_has_a_short_example(name):
    examples = example_of(PUBLIC[name]).examples
    assert examples, f"{name} has no example"
    assert any(example.want for example in examples), f"the example of {name} shows no result"
    lines = [
        line
        for example in examples
        if not isinstance(ast.parse(example.source).body[0], (ast.Import, ast.ImportFrom))
        for line in example.source.splitlines()
    ]
    assert len(lines) <= MOST_LINES, f"the example of {name} has {len(lines)} lines"


def test_what_has_no_example_is_public_and_has_none():
    assert set(WITHOUT) <= set(PUBLIC)
    assert not [name for name in WITHOUT if example_of(PUBLIC[name]).examples]


def test_the_whole_core_is_looked_at():
    assert len(modules()) > 60
    assert len(PUBLIC) > 80
    assert {"CutMix", "Mosaic"} <= {name.rpartition(".")[2] for name in PUBLIC}
