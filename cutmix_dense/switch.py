"""Numbers that a transform shares with all its copies, in shared memory: whether mixing is closed, the current step."""

from __future__ import annotations

import ctypes
import uuid
import weakref
from collections.abc import Callable
from multiprocessing.context import get_spawning_popen
from multiprocessing.sharedctypes import RawValue
from typing import Any

import torch

__all__ = ["SharedNumber", "Switch"]

_known: weakref.WeakValueDictionary[str, SharedNumber] = weakref.WeakValueDictionary()
"""The numbers of this process by name; a forked process has its parent's."""


class SharedNumber:
    """A whole number that a transform and every copy of it have in common.

    Shallow and deep copies are the same number. Workers that were forked or spawned share its memory and see it change
    while they live. A plain pickle knows its number by name: loaded in a process that has it, or in a fork of one, it
    is that one; elsewhere (another machine, a later run) it is a new one with the value that was pickled.

    Args:
        value: how it starts.
    """

    def __init__(self, value: int = 0) -> None:
        self._join(uuid.uuid4().hex, RawValue(ctypes.c_longlong, value))

    def _join(self, name: str, cell: Any) -> None:
        self._name = name
        self._cell = cell
        _known[name] = self

    def set(self, value: int) -> None:
        """Change it, everywhere."""
        self._cell.value = int(value)

    @torch.compiler.disable
    def get(self) -> int:
        """Its value. Not traced: a compiled graph must not keep the answer."""
        return self._cell.value

    def __copy__(self) -> SharedNumber:
        """Itself."""
        return self

    def __deepcopy__(self, memo: Any) -> SharedNumber:
        """Itself."""
        return self

    def __reduce__(self) -> tuple[Callable[..., SharedNumber], tuple[Any, ...]]:
        """Its memory for a process that is being spawned, else its name and value."""
        if get_spawning_popen() is not None:
            return _shared, (type(self), self._name, self._cell)
        return _named, (type(self), self._name, self.get())


class Switch(SharedNumber):
    """On or off."""

    @torch.compiler.disable
    def __bool__(self) -> bool:
        """Whether it is on."""
        return bool(self._cell.value)


def _shared(kind: type[SharedNumber], name: str, cell: Any) -> SharedNumber:
    """The number of a parent process."""
    number = _known.get(name)
    if number is None:
        number = kind.__new__(kind)
        number._join(name, cell)
    return number


def _named(kind: type[SharedNumber], name: str, value: int) -> SharedNumber:
    """The number of this name if there is one, else a new one."""
    number = _known.get(name)
    if number is None:
        number = kind.__new__(kind)
        number._join(name, RawValue(ctypes.c_longlong, value))
    return number
