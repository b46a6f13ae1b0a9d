"""Whether a folder may take a mixed copy; asked before torch is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.readers.base import DenseDataset

__all__ = ["check_output"]


def check_output(root: Path, dataset: DenseDataset) -> None:
    """DatasetError for a folder that touches the dataset or holds something else than mixed copies."""
    source, target = os.path.abspath(dataset.root), os.path.abspath(root)
    if target == source or target.startswith(source + os.sep) or source.startswith(target + os.sep):
        raise DatasetError(f"{root}: the copy must not lie in the dataset it is made from, nor around it ({source})")
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root}: is a file, a folder is needed")
    # A stamp that was being written when its run was killed is no foreign file.
    filled = root.is_dir() and any(not path.match(".mixed_copy.*.tmp") for path in root.iterdir())
    if filled and not any(root.glob("mixed_copy.*.json")):
        raise DatasetError(f"{root}: is not empty and holds no mixed copy; name a new folder")
