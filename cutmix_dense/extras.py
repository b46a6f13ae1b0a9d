"""Optional packages, imported where they are first needed and never before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]


def require(package: str, extra: str, *, distribution: str | None = None) -> Any:
    """The module of an optional package.

    Args:
        package: name that is imported, ``"albumentations"`` or ``"pycocotools.mask"``.
        extra: the extra of ``cutmix_dense`` that installs it.
        distribution: name it is installed under, default the package's.

    Raises:
        ImportError: it isn't there (or doesn't import); the message says what to install.
    """
    try:
        return import_module(package)
    except ImportError as error:
        name = distribution or package.partition(".")[0]
        raise ImportError(f'{name} is needed for this: pip install "cutmix_dense[{extra}]"') from error
