"""Optional packages, imported only when they are first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]


def require(package: str, extra: str, *, distribution: str | None = None) -> Any:
    """Import a module of an optional package.

    Args:
        package: name to import, such as ``"albumentations"`` or ``"pycocotools.mask"``.
        extra: the extra of ``cutmix_dense`` that installs it.
        distribution: name to install, default that of the package.

    Raises:
        ImportError: the import fails; the message says what to install.

    Example:
        >>> require("json", "anything").loads("1")
        1
    """
    try:
        return import_module(package)
    except ImportError as error:
        name = distribution or package.partition(".")[0]
        raise ImportError(f'{name} is needed for this: pip install "cutmix_dense[{extra}]"') from error
