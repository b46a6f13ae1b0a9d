"""What the splits of a dataset are called, and the folders that may be splits."""

from __future__ import annotations

import os
import re
from pathlib import Path

SPLITS = frozenset({"train", "val", "test"})
"""What splits are usually called, by `words_of`."""

_ALIKE = (("val", "valid", "validation"),)
_USUAL = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_PLAIN = frozenset({"annotation", "annotations", "coco", "data", "image", "images", "instances", "labels", "panoptic"})


def check_split_name(split: str) -> str:
    """The name of a split that is to be written; ValueError unless a folder can be called so."""
    if not split or split.startswith(".") or os.path.basename(split) != split:
        raise ValueError(f"split must be a plain folder name, got {split!r}")
    return split


def names_of_split(split: str) -> tuple[str, ...]:
    """The name itself, then others that it goes by: "valid" and "validation" for "val"."""
    return (split, *(name for alike in _ALIKE if split in alike for name in alike if name != split))


def words_of(name: str) -> frozenset[str]:
    """The words of a file's or folder's name that may say which split it is of: "val" of ``images_valid2017``."""
    words = (word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))
    return frozenset(_USUAL.get(word, word) for word in words if word not in _PLAIN)


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, hidden ones left out; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except (OSError, ValueError):  # a name with a zero byte
        return []
