"""Warnings that name the line of the caller, however deep in the package they arise."""

from __future__ import annotations

import sys
import warnings

__all__ = ["MixWarning", "warn_caller"]

_PASSED = ("albumentations", "cutmix_dense", "torch", "torchvision")
"""Packages whose frames lie between a warning and the caller: modules and pipelines call each other."""


class MixWarning(UserWarning):
    """Something in a call that mixes, or drops, less than its caller may think."""


def warn_caller(message: str) -> None:
    """Warn with a ``MixWarning`` of the innermost line outside of this package and what calls it in turn."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, MixWarning, stacklevel=level)
