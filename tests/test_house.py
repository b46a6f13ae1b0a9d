"""The house keeps its walls: arrows run one way, and nothing below the transforms knows a method's name."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import cutmix_dense as cd

PACKAGE = Path(cd.__file__).parent

MAY_IMPORT = {
    "arrays": {"arrays"},
    "plan": {"arrays", "plan"},
    "extras.py": set(),
    "checks.py": set(),
    "randomness.py": set(),
    "switch.py": set(),
    "pairing.py": {"arrays"},
    "regions.py": {"arrays", "checks"},
    "noise.py": {"arrays"},
    "masks.py": {"arrays", "checks", "distance", "noise", "regions"},
    "distance.py": {"arrays", "extras"},
    "saliency.py": {"arrays"},
    "kernels": {"arrays", "kernels", "plan"},
    "functional": {"arrays", "checks", "functional", "kernels", "plan"},
    "albumentations": {"albumentations", "arrays", "build", "extras", "functional", "plan", "transforms"},
    "lightning.py": {"detr", "extras", "randomness", "transforms"},
    "detr.py": {"arrays", "functional", "plan", "randomness", "transforms"},
    "windows.py": set(),
    "detectron2.py": {"arrays", "functional", "randomness", "transforms", "windows"},
    "huggingface": {"extras", "functional", "huggingface", "randomness", "switch", "transforms"},
    "ultralytics": {"arrays", "functional", "plan", "randomness", "transforms", "ultralytics"},
    "monai.py": {"extras", "functional", "plan", "randomness", "transforms"},
    "mmengine": {"arrays", "build", "extras", "functional", "mmengine", "plan", "randomness", "transforms"},
    "evaluation": {"data", "evaluation", "extras", "mmengine"},
    "semi": {"arrays", "functional", "plan", "randomness", "regions", "semi", "transforms"},
    "build.py": {"functional", "masks", "regions", "transforms"},
    "transforms": {
        "arrays",
        "checks",
        "functional",
        "masks",
        "pairing",
        "plan",
        "randomness",
        "regions",
        "saliency",
        "switch",
        "transforms",
    },
}
"""What each part may import of the package; what isn't listed here may import what it likes."""


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        names |= {module.split(".")[1] for module in modules if module.startswith("cutmix_dense.")}
    return names


def files(part: str) -> list[Path]:
    path = PACKAGE / part
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_arrows_run_one_way(part):
    for path in files(part):
        assert imported(path) <= MAY_IMPORT[part], path.name


@pytest.mark.parametrize("part", ["plan", "kernels", "functional"])
def test_nothing_below_knows_a_method(part):
    methods = [
        name
        for name in cd.__all__
        if inspect.isclass(value := getattr(cd, name)) and issubclass(value, cd.MixTransform)
    ]
    methods.remove("MixTransform")
    assert len(methods) >= 12
    for path in files(part):
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            words = [getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", "")]
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                words += [] if path.name == "rules.py" else node.value.split()
            assert not set(words) & set(methods), f"{path.name}:{getattr(node, 'lineno', 0)}"


@pytest.mark.parametrize("method", ["ResizeMix", "Mosaic", "RICAP", "CopyPaste", "ClassMix", "MixUp", "SaliencyMix"])
def test_a_method_is_a_short_class(method):
    body = ast.parse(inspect.getsource(getattr(cd, method)))
    lines = {
        node.lineno
        for node in ast.walk(body)
        if isinstance(node, ast.stmt) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    }
    assert len(lines) < 80
