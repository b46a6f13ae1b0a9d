"""A small demo set and the real sets beside the repository, for the command lines."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("pycocotools")
pytest.importorskip("cv2")
pytest.importorskip("rich")


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """A demo set of 10 + 4 scenes."""
    from cutmix_dense.data.demo import make_demo_set

    return make_demo_set(tmp_path_factory.mktemp("demo"), images=10, val=4, size=(72, 96), seed=11)


@pytest.fixture
def hashes():
    """A function that gives {path: hash} of everything under a folder; the hash of a folder is that of no bytes."""

    def of(root: Path) -> dict[str, str]:
        contents = {path: path.read_bytes() if path.is_file() else b"" for path in sorted(root.rglob("*"))}
        return {path.relative_to(root).as_posix(): hashlib.sha256(it).hexdigest() for path, it in contents.items()}

    return of
