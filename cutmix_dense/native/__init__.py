"""The compiled library: C functions over pointers, strides and sizes, loaded by ctypes, which releases the GIL.

``pip install`` compiles all ``*.c`` of this folder into one library where a C compiler exists (``build.py``); in a
checkout ``python cutmix_dense/native/build.py`` does. Without it everything works by the reference.

How a function is added: write it in a ``.c`` file here, mark it ``EXPORT``, name it ``cutmix_dense_…``, and declare it
in the module that calls it, by one letter per argument: ``p`` a pointer (``tensor.data_ptr()``, 0 for NULL), ``q`` an
int64, ``d`` a double; ``result`` is such a letter or "" for none::

    _area = native.declare("cutmix_dense_area", "pqqp")
    ...
    if native.library is not None:  # asked for at every call: tests take it away
        _area(mask.data_ptr(), *mask.shape, areas.ctypes.data)
    else:
        ...  # the reference

Functions get memory that is contiguous, or its strides, and check what they index by: a wrong plan writes nothing
outside. They make no threads; ``threads.split`` shares the outputs of a batch among those of Python.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from cutmix_dense.native.build import LIBRARY, digest

__all__ = ["ELEMENTS", "INTERPOLATIONS", "Backend", "backends", "declare", "library"]

SWITCH = "CUTMIX_DENSE_BACKEND"
"""Environment variable: ``native`` demands the library, ``reference`` does without it."""

ELEMENTS = ("uint8", "int8", "float32", "uint16", "int16", "uint32", "int32", "float64")
"""Dtypes that are filtered, in the order of ``elements`` of ``resample.c``."""

INTERPOLATIONS = {"nearest": 0, "bilinear": 1, "antialias": 2}
"""How scaled images are read, as ``native.h`` counts it."""

_KINDS = {"p": ctypes.c_void_p, "q": ctypes.c_int64, "d": ctypes.c_double}


class Backend(NamedTuple):
    """What mixes tensors on the host: ``"native"`` or ``"reference"``, and why."""

    host: str
    reason: str


def _load() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None, and the reason."""
    wanted = os.environ.get(SWITCH, "")
    if wanted not in ("", "native", "reference"):
        raise ValueError(f"{SWITCH} must be 'native' or 'reference', got {wanted!r}")
    if wanted == "reference":
        return None, f"{SWITCH} says so"
    found = None
    if not LIBRARY.is_file():
        reason = f"{LIBRARY.name} wasn't built: install with a C compiler, or a wheel of this platform"
    else:
        try:
            found = ctypes.CDLL(str(LIBRARY))
            found.cutmix_dense_sources.restype = ctypes.c_char_p
            reason = f"{LIBRARY.name} was found"
            if found.cutmix_dense_sources() != digest().encode():
                found, reason = None, f"{LIBRARY.name} was built from other sources: install again"
        except (OSError, AttributeError) as error:
            found, reason = None, f"{LIBRARY.name} can't be loaded: {error}"
    if found is None and wanted == "native":
        raise ImportError(f"{SWITCH} is 'native', but {reason}")
    return found, reason


library, _reason = _load()
"""The library; None: everything is done by the reference."""


def declare(name: str, arguments: str, result: str = "") -> Callable[..., Any]:
    """A function of the library, ready to be called; see above. Without the library one that must not be called."""
    if library is None:
        return _missing
    function = getattr(library, name)
    function.argtypes = [_KINDS[letter] for letter in arguments]
    function.restype = _KINDS[result] if result else None
    declared: Callable[..., Any] = function
    return declared


def _missing(*_: Any) -> Any:
    raise RuntimeError("the compiled library isn't there")


def backends() -> Backend:
    """The backend that mixes tensors on the host, and why: the compiled library or the reference in torch.

    ``CUTMIX_DENSE_BACKEND=native`` or ``reference`` in the environment forces either. Both give the same mixes
    but for rounding: a filtered pixel may differ by one level, and a pixel at the border of a cow mask may fall to the
    other side. Tensors on a device and those that need a gradient don't use the library.

    Example:
        >>> import cutmix_dense as cd
        >>> cd.backends().host in ("native", "reference")
        True
    """
    return Backend("reference" if library is None else "native", _reason)
