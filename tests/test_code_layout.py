"""The code layout holds: packages import one way only, and nothing below the transforms knows the name of a method."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import cutmix_dense as cd

PACKAGE = Path(cd.__file__).parent

MAY_IMPORT = {
    "native": {"native"},
    "arrays": {"arrays", "native"},
    "plan": {"arrays", "plan"},
    "extras.py": set(),
    "checks.py": set(),
    "setting_names.py": set(),
    "randomness.py": set(),
    "switch.py": set(),
    "warned.py": set(),
    "pairing.py": {"arrays"},
    "regions": {"arrays", "checks", "regions"},
    "noise.py": {"arrays"},
    "masks": {"arrays", "checks", "distance", "masks", "native", "noise", "regions"},
    "distance.py": {"arrays", "extras"},
    "saliency.py": {"arrays"},
    "kernels": {"arrays", "kernels", "native", "plan"},
    "functional": {"arrays", "checks", "functional", "kernels", "native", "plan", "warned"},
    "albumentations": {
        "albumentations",
        "arrays",
        "build",
        "extras",
        "functional",
        "plan",
        "setting_names",
        "transforms",
        "warned",
    },
    "lightning.py": {"detr", "extras", "huggingface", "randomness", "switch", "transforms"},
    "detr.py": {"arrays", "functional", "normalized", "plan", "randomness", "transforms"},
    "normalized.py": set(),
    "polygon_bitmaps.py": set(),
    "detectron2.py": {"arrays", "functional", "randomness", "transforms", "polygon_bitmaps", "warned"},
    "huggingface": {
        "extras",
        "functional",
        "huggingface",
        "normalized",
        "randomness",
        "switch",
        "transforms",
        "warned",
    },
    "ultralytics": {"arrays", "functional", "plan", "randomness", "transforms", "ultralytics", "warned"},
    "monai.py": {"extras", "functional", "plan", "randomness", "transforms"},
    "mmengine": {
        "arrays",
        "build",
        "checks",
        "extras",
        "functional",
        "losses",
        "mmengine",
        "plan",
        "polygon_bitmaps",
        "randomness",
        "recipes",
        "transforms",
    },
    "evaluation": {"data", "evaluation", "extras", "mmengine"},
    "cli": {
        "albumentations",
        "backends",
        "build",
        "cli",
        "data",
        "extras",
        "functional",
        "mmengine",
        "randomness",
        "regions",
        "setting_names",
        "study",
        "training",
        "transforms",
        "visualization",
        "warned",
    },
    "__main__.py": {"cli"},
    "semi": {"arrays", "checks", "functional", "plan", "randomness", "regions", "semi", "transforms", "warned"},
    "losses": {"extras", "functional", "losses"},
    "build.py": {"functional", "masks", "recipes", "regions", "setting_names", "transforms"},
    "recipes.py": {"checks", "setting_names", "transforms"},
    "data": {"data", "extras", "functional", "plan", "randomness", "transforms"},
    "visualization": {"data", "functional", "plan", "transforms", "visualization"},
    "training": {
        "build",
        "checks",
        "data",
        "extras",
        "functional",
        "losses",
        "mmengine",
        "randomness",
        "semi",
        "training",
        "transforms",
        "warned",
    },
    "study": {"data", "extras", "functional", "plan", "randomness", "study", "training", "visualization"},
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
        "setting_names",
        "switch",
        "transforms",
        "warned",
    },
}
"""What each part may import of the package, types alone included."""


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


def test_underscored_names_stay_in_their_module():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("cutmix_dense")):
                foreign = [alias.name for alias in node.names if re.match("_[^_]", alias.name)]
                assert not foreign, f"{path.relative_to(PACKAGE)} imports {foreign} of {node.module}"


def test_every_part_is_listed():
    parts = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__.py"} == set(MAY_IMPORT)


def graph() -> dict[str, set[str]]:
    """Per module, the modules that it imports when it is loaded or for its types."""
    modules = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        modules[name.removesuffix(".__init__")] = path
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        nodes: list[ast.AST] = [ast.parse(path.read_text())]
        named = set()
        for node in nodes:  # grows
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            if isinstance(node, ast.ImportFrom) and node.module:
                named |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            elif isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            nodes += ast.iter_child_nodes(node)
        deeper = {name for name in named if name in modules}
        inner = {name.rpartition(".")[0] for name in deeper}  # of ``from package import module`` the module counts
        found[module] = deeper - inner - {module}
    return found


def test_no_modules_import_each_other():
    arrows = graph()
    pair = {"cutmix_dense.data.readers.base", "cutmix_dense.data.writers.base"}  # each names the other's type
    arrows = {module: others - pair if module in pair else others for module, others in arrows.items()}
    while True:  # take away what leads nowhere; what is left is a circle
        ends = {module for module, others in arrows.items() if not others & arrows.keys()}
        if not ends:
            break
        arrows = {module: others for module, others in arrows.items() if module not in ends}
    assert not arrows, sorted(arrows)


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
                words += [] if path.name == "filters.py" else node.value.split()
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
