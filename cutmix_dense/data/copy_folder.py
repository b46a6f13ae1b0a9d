"""Whether a folder may take a mixed copy; asked before torch is loaded."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.readers.base import DenseDataset


def check_output(root: Path, dataset: DenseDataset) -> None:
    """DatasetError for a folder that touches the dataset or holds something else than mixed copies.

    Links are followed: whatever the folders are called, where they lie counts. The folder of the first picture counts
    as the dataset, too, as it may be a link or be named by `images=`.
    """
    target, source = Path(os.path.realpath(root)), Path(os.path.realpath(dataset.root))
    pictures = source
    with suppress(SampleError, IndexError):  # said by who reads it
        pictures = Path(os.path.realpath(dataset.image_path(0).parent))
    if target.is_relative_to(source) or target.is_relative_to(pictures) or source.is_relative_to(target):
        touched = pictures if target.is_relative_to(pictures) else source
        raise DatasetError(
            f"{root}: the copy must not lie in the dataset it is made from, nor around it ({touched}); name "
            "a folder elsewhere"
        )
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root}: is a file, a folder is needed")
    # A stamp that was being written when its run was killed is no foreign file.
    filled = root.is_dir() and any(not path.match(".mixed_copy.*.tmp") for path in root.iterdir())
    if filled and not any(root.glob("mixed_copy.*.json")):
        raise DatasetError(f"{root}: is not empty and holds no mixed copy; name a new folder")
