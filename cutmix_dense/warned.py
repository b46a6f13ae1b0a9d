"""Warnings that name the line of the caller, however deep in the package they arise."""

from __future__ import annotations

import sys
import warnings

__all__ = ["warn_caller"]

_PASSED = ("cutmix_dense", "torch", "torchvision")
"""Packages whose frames lie between a warning and the caller: modules and pipelines call each other."""


def warn_caller(message: str) -> None:
    """Warn with a UserWarning of the innermost line outside of this package, torch and torchvision."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
