"""What an installed wheel must have: every module imports, from where pip put it, and the types come along."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from importlib.metadata import metadata, version
from pathlib import Path

import cutmix_dense

# not installed there: their modules say so when they are used, not before
FRAMEWORKS = ("gradio", "mmdet", "mmseg", "ray", "transformers")

repository = Path(sys.argv[1]).resolve()
home = Path(cutmix_dense.__file__).resolve().parent
assert repository not in home.parents, f"imported from the repository: {home}"
assert (home / "py.typed").is_file()
assert version("cutmix_dense") == cutmix_dense.__version__
assert f"version: {cutmix_dense.__version__}" in (repository / "CITATION.cff").read_text()
assert "cutmix_dense" in (metadata("cutmix_dense").get_payload() or "")  # the README is its page

# the compiled library is loaded by its path, and is no module of Python
names = [info.name for info in pkgutil.walk_packages([str(home)], "cutmix_dense.") if not info.name.endswith("_native")]
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        missing = getattr(error, "name", None) or str(error)
        if not any(framework in missing for framework in FRAMEWORKS):
            raise
found = {str(path.relative_to(home)) for path in home.rglob("*.py")}
meant = {str(path.relative_to(repository / "cutmix_dense")) for path in (repository / "cutmix_dense").rglob("*.py")}
assert found == meant, f"not in the wheel, or left over in it: {found ^ meant}"
print(f"{len(names)} modules of {home.parent.name}/cutmix_dense {cutmix_dense.__version__}")
