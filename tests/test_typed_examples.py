"""The Python of README and docs is what a type checker accepts of the package, as one sees it who installed it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from snippets import ROOT, blocks

PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if blocks(path, "python")]

GIVEN = "from typing import Any\n\ndataset: Any = ...\n"  # what a page leaves to its reader
LOOPS = "epochs: int = 12\nloader: Any = ...\nmodel: Any = ...\ncriterion: Any = ...\nsolver: Any = ...\n"
"""What a page of training loops leaves to its reader, too."""

# Only what is called of this package counts: a list that torch takes as a dataset, say, has no such type there.
CONFIG = """
[mypy]
python_version = {version}
ignore_missing_imports = True
check_untyped_defs = True
allow_redefinition = True
no_implicit_optional = True

[mypy-transformers.*,lightning.*,pytorch_lightning.*,torch.utils.data.*,monai.*,albumentations.*,mmengine.*,gradio.*,rfdetr.*,ultralytics.*,segmentation_models_pytorch.*,datasets.*,detectron2.*]
follow_imports = skip
"""


def test_the_examples_are_typed(tmp_path):
    """One run for all pages: reading torch is what takes the time."""
    api = pytest.importorskip("mypy.api")
    files = {}
    for page in PAGES:
        name = "_".join(page.relative_to(ROOT).with_suffix("").parts).replace("-", "_").lower()
        path = tmp_path / f"example_{name}.py"
        path.write_text(GIVEN + (LOOPS if page.stem == "detr" else "") + "\n".join(blocks(page, "python")))
        files[path.name] = page
    assert len(files) >= 2
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG.format(version=f"{sys.version_info.major}.{sys.version_info.minor}"))
    # the package is found as an import, not given as a file, so only its public types matter
    out, err, code = api.run(
        [
            f"--config-file={config}",
            f"--cache-dir={ROOT / '.mypy_cache' / 'examples'}",
            *map(str, tmp_path.glob("*.py")),
        ]
    )
    told = [line for line in out.splitlines() if re.match(r".*example_\w+\.py:", line)]
    assert code == 0, "\n".join([*(_where(line, files) for line in told), err])


def _where(line: str, files: dict[str, Path]) -> str:
    """An error with the page's name for the file's; the lines are those of the page's blocks, one after the other."""
    name = line.split(":", 1)[0].rsplit("/", 1)[-1]
    return f"{files[name].relative_to(ROOT)}: {line}" if name in files else line
