"""Numbers in shared memory that a transform shares with all its copies: whether mixing is closed, the step."""

from __future__ import annotations

import ctypes
import uuid
import weakref
from collections.abc import Callable
from multiprocessing.context import get_spawning_popen
from multiprocessing.sharedctypes import RawValue
from typing import Any

import torch

__all__ = ["BY_HAND", "BY_SCHEDULE", "SharedNumber", "Switch"]

_known: weakref.WeakValueDictionary[str, SharedNumber] = weakref.WeakValueDictionary()
"""The numbers of this process by name; a fork inherits its parent's."""


BY_HAND, BY_SCHEDULE = 1, 2
"""Values of a switch that is on: who turned it on."""


class SharedNumber:
    """A whole number that a transform shares with all its copies.

    Shallow and deep copies are the same number. Forked and spawned workers share its memory and see it change. A plain
    pickle refers to it by name: a process that has this number, or a fork of one, loads that one; any other process (on
    another machine, in a later run) makes a new one with the pickled value.

    Args:
        value: the initial value.

    Example:
        >>> import copy
        >>> step = SharedNumber()
        >>> twin = copy.deepcopy(step)
        >>> step.set(7)
        >>> twin.get()
        7
    """

    def __init__(self, value: int = 0) -> None:
        self._join(uuid.uuid4().hex, RawValue(ctypes.c_longlong, value))

    def _join(self, name: str, cell: Any) -> None:
        self._name = name
        self._cell = cell
        _known[name] = self

    def set(self, value: int) -> None:
        """Set the value in all copies."""
        self._cell.value = int(value)

    @torch.compiler.disable(recursive=False)
    def get(self) -> int:
        """The value. Not traced, since a compiled graph would freeze it."""
        return self._cell.value

    def __copy__(self) -> SharedNumber:
        """The same number."""
        return self

    def __deepcopy__(self, memo: Any) -> SharedNumber:
        """The same number."""
        return self

    def __reduce__(self) -> tuple[Callable[..., SharedNumber], tuple[Any, ...]]:
        """Memory for a process being spawned, else name and value."""
        if get_spawning_popen() is not None:
            return _shared, (type(self), self._name, self._cell)
        return _named, (type(self), self._name, self.get())


class Switch(SharedNumber):
    """A shared number that is on or off: 1 where it was turned on by hand, 2 where a schedule did it.

    Example:
        >>> closed = Switch()
        >>> closed.set(True)
        >>> closed.schedule(False)  # not turned on by a schedule, so it stays
        >>> bool(closed)
        True
    """

    def schedule(self, on: bool) -> None:
        """Turn on or off by a schedule, which leaves alone what was turned on by hand."""
        if on and not self:
            self.set(BY_SCHEDULE)
        elif not on and self.get() == BY_SCHEDULE:
            self.set(False)

    @torch.compiler.disable(recursive=False)
    def __bool__(self) -> bool:
        """Whether the switch is on."""
        return bool(self._cell.value)


def _shared(kind: type[SharedNumber], name: str, cell: Any) -> SharedNumber:
    """The number of the parent process, by its memory."""
    number = _known.get(name)
    if number is None:
        number = kind.__new__(kind)
        number._join(name, cell)
    return number


def _named(kind: type[SharedNumber], name: str, value: int) -> SharedNumber:
    """The number of this name if the process has it, else a new one."""
    number = _known.get(name)
    if number is None:
        number = kind.__new__(kind)
        number._join(name, RawValue(ctypes.c_longlong, value))
    return number
