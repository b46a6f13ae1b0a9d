"""A plugin that checks every signature of the core while tests run, ``pytest -p checked tests/test_plan.py …``.

The shapes, dtypes and kinds that signatures state (jaxtyping) are held against what is given and returned (beartype). A
test that hands over something wrong on purpose, within ``pytest.raises``, is skipped: there the checker is first.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from beartype import BeartypeConf, beartype

PARTS = ("arrays", "plan", "functional", "kernels", "regions", "masks", "pairing", "noise", "saliency", "transforms")
"""The parts of the package whose signatures are checked."""

checker: Any = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Takes whole numbers for floating point, as Python does."""

loaded = [name for name in sys.modules if name.startswith("cutmix_dense.")]
assert not loaded, f"the core must not be imported before it is checked, but is: {loaded}"
jaxtyping.install_import_hook([f"cutmix_dense.{part}" for part in PARTS], "checked.checker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what counts calls or asks which line called: the checker's are among them."""
    for item in items:
        if item.path.name == "test_calls.py" or item.name == "test_a_batch_of_one_warns_once":
            item.add_marker(pytest.mark.skip(reason="looks at calls, the checker's too"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run a test; skip it where the checker refuses what the test wants the code to refuse."""
    try:
        return (yield)
    except AssertionError as error:  # of pytest.raises, about the words of the checker's error
        if "Type-check error whilst checking" in str(error):
            pytest.skip("the checker refuses it first")
        raise
    except jaxtyping.TypeCheckError as error:
        trace: Any = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(item.path) and _is_expected(item.path, trace.tb_lineno):
                pytest.skip("the checker refuses it first")
            trace = trace.tb_next
        raise


def _is_expected(path: Path, line: int) -> bool:
    """Whether a line lies within ``with pytest.raises``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.With) and node.lineno <= line <= (node.end_lineno or 0):
            return any("raises" in ast.unparse(part.context_expr) for part in node.items)
    return False
