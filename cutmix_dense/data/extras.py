"""The optional packages of the extra `data`, imported where they are first needed and never before."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

__all__ = ["coco_masks", "opencv"]


def _load(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f'{package} is needed for this: pip install "cutmix_dense[data]"') from error


@lru_cache(maxsize=1)
def coco_masks() -> Any:
    """The module `pycocotools.mask`."""
    return _load("pycocotools.mask", "pycocotools")


@lru_cache(maxsize=1)
def opencv() -> Any:
    """The module `cv2`."""
    return _load("cv2", "opencv-python-headless")
