"""What the splits of a dataset are called, and the folders that may be splits."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["folders_in", "names_of_split"]

_ALIKE = (("val", "valid", "validation"),)


def names_of_split(split: str) -> tuple[str, ...]:
    """The name itself, then others that it goes by: "valid" and "validation" for "val"."""
    return (split, *(name for alike in _ALIKE if split in alike for name in alike if name != split))


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, hidden ones left out; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except (OSError, ValueError):  # a name with a zero byte
        return []
