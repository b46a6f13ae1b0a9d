"""A missing optional package gives one line that names what to install."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from cutmix_dense.extras import require


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("cutmix_dense.albumentations", "albumentations", "albumentations"),
        ("cutmix_dense.mmengine", "mmengine", "mmengine"),
        ("cutmix_dense.lightning", "lightning", "lightning"),
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
