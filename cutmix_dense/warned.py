"""Warnings that name the line of the caller, however deep in the package they arise."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PASSED = ("albumentations", "cutmix_dense", "torch", "torchvision")
"""Packages whose frames lie between a warning and the caller: modules and pipelines call each other."""


_rewrite: ContextVar[Callable[[str], str] | None] = ContextVar("rewrite", default=None)
"""How messages are worded within a block of ``reworded``."""


class MixWarning(UserWarning):
    """Something in a call that mixes, or drops, less than its caller may think."""


def warn_caller(message: str) -> None:
    """Warn with a ``MixWarning`` of the innermost line outside of this package and what calls it in turn."""
    rewrite = _rewrite.get()
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED:
        frame, level = frame.f_back, level + 1
    message = rewrite(message) if rewrite else message
    if message:
        warnings.warn(message, MixWarning, stacklevel=level)


@contextmanager
def reworded(rewrite: Callable[[str], str]) -> Iterator[None]:
    """A block whose warnings by ``warn_caller``, and whose TypeErrors and ValueErrors, get a rewritten message.

    A warning whose new message is empty isn't told.
    """
    before = _rewrite.set(rewrite)
    try:
        yield
    except (TypeError, ValueError) as error:
        error.args = tuple(rewrite(part) if isinstance(part, str) else part for part in error.args)
        raise
    finally:
        _rewrite.reset(before)
