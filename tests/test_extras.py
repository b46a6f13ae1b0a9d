"""A missing optional package gives one line that names what to install."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

import cutmix_dense
from cutmix_dense.extras import require


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("cutmix_dense.albumentations", "albumentations", "albumentations"),
        ("cutmix_dense.mmengine", "mmengine", "mmengine"),
        ("cutmix_dense.lightning", "lightning", "lightning"),
        ("cutmix_dense.monai", "monai", "monai"),
        ("cutmix_dense.training", "mmengine", "train"),
        ("cutmix_dense.evaluation", "mmengine", "evaluation"),
    ],
)
def test_an_adapter_without_its_framework(module, package, extra):
    hidden = [package, "pytorch_lightning", "lightning.pytorch"] if package == "lightning" else [package]
    code = f"import sys\nfor name in {hidden}: sys.modules[name] = None\nimport {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith(f'needed for this: pip install "cutmix_dense[{extra}]"')


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("DetDataPreprocessor", "mmdet", "mmdet"), ("SegDataPreProcessor", "mmseg", "mmseg")]
)
def test_a_preprocessor_without_its_framework(name, package, extra):
    mmengine = pytest.importorskip("cutmix_dense.mmengine", reason="needs MMEngine")
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(ImportError, match=rf'pip install "cutmix_dense\[{extra}\]"'):
        getattr(mmengine, name)()


def test_the_distribution_is_named_where_it_is_called_otherwise():
    with pytest.raises(ImportError, match=r'some-package is needed for this: pip install "cutmix_dense\[tools\]"'):
        require("no_such_package", "tools", distribution="some-package")


def test_every_extra_that_is_named_exists():
    """In ``require(package, extra)`` and in every message or docstring that says what to install."""
    extras = set(metadata("cutmix_dense").get_all("Provides-Extra"))
    named = {}
    for path in Path(cutmix_dense.__file__).parent.rglob("*.py"):
        source = path.read_text()
        for extra in re.findall(r"cutmix_dense\[([\w,-]+)\]", source):
            named.update(dict.fromkeys(extra.split(","), path.name))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                second = node.args[1]
                if isinstance(second, ast.Constant):
                    named[second.value] = path.name
    named.pop("extra", None)
    assert len(named) >= 8
    assert {name: path for name, path in named.items() if name not in extras} == {}


def test_scipy_is_asked_for_where_distances_are():
    code = (
        "import sys\nsys.modules['scipy'] = sys.modules['scipy.ndimage'] = None\n"
        "import torch, cutmix_dense as cd\nimages = torch.rand(2, 3, 8, 9)\n"
        "cd.CarveMix(p=1.0)(images, torch.ones(2, 8, 9, dtype=torch.long))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr.strip().splitlines()[-1].endswith('scipy is needed for this: pip install "cutmix_dense[volumes]"')
    )
