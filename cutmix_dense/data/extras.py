"""The optional packages of the extra `data`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cutmix_dense.extras import require


@lru_cache(maxsize=1)
def coco_masks() -> Any:
    """The module `pycocotools.mask`."""
    return require("pycocotools.mask", "data")


@lru_cache(maxsize=1)
def opencv() -> Any:
    """The module `cv2`."""
    return require("cv2", "data", distribution="opencv-python-headless")


@lru_cache(maxsize=1)
def tiff() -> Any:
    """The module `tifffile`."""
    return require("tifffile", "data")
