"""The fixed classes of PASCAL VOC, Cityscapes and DOTA."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import UInt8

# The official order; with the background before them, the numbers are those of SegmentationClass.
VOC_CLASSES: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

# The official order of version 1.0, then what 1.5 and 2.0 added.
DOTA_CLASSES: tuple[str, ...] = (
    *("plane", "baseball-diamond", "bridge", "ground-track-field", "small-vehicle", "large-vehicle", "ship"),
    *("tennis-court", "basketball-court", "storage-tank", "soccer-ball-field", "roundabout", "harbor", "swimming-pool"),
    *("helicopter", "container-crane", "airport", "helipad"),
)


def __getattr__(name: str) -> tuple[str, ...]:
    """`TRAIN_CLASSES` and `RAW_CLASSES`, the names of Cityscapes' 19 and 34 ids, when they are first asked for."""
    if name == "TRAIN_CLASSES":
        return tuple(entry.name for entry in _trained())
    if name == "RAW_CLASSES":
        return tuple(entry.name for entry in sorted(_table(), key=lambda entry: entry.id))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@lru_cache(maxsize=1)
def _table() -> tuple[Any, ...]:
    """Torchvision's entries of the classes; the licence plate, -1, is never drawn."""
    from torchvision.datasets import Cityscapes  # loads torch, which a look at a folder doesn't need

    return tuple(entry for entry in Cityscapes.classes if entry.id >= 0)


def _trained() -> list[Any]:
    return sorted((entry for entry in _table() if 0 <= entry.train_id < 255), key=lambda entry: entry.train_id)


def id_to_train_id() -> UInt8[np.ndarray, 256]:
    """A table of 256: train id of every id of torchvision's class table, 255 for the others."""
    table = np.full(256, 255, dtype=np.uint8)
    for entry in _trained():
        table[entry.id] = entry.train_id
    return table


def train_id_to_id() -> UInt8[np.ndarray, 256]:
    """A table of 256: id of every train id, 0 (unlabeled) for the others."""
    table = np.zeros(256, dtype=np.uint8)
    for entry in _trained():
        table[entry.train_id] = entry.id
    return table


def countable_ids(*, evaluated: bool) -> frozenset[int]:
    """The ids of the classes that have instances: the 8 evaluated ones, or all 10 (caravan and trailer too)."""
    return frozenset(entry.id for entry in _table() if entry.has_instances and not (evaluated and entry.ignore_in_eval))
