"""Whether mixing is closed: a switch in shared memory, one for a transform and all its copies."""

from __future__ import annotations

import ctypes
import uuid
import weakref
from collections.abc import Callable
from multiprocessing.context import get_spawning_popen
from multiprocessing.sharedctypes import RawValue
from typing import Any

import torch

__all__ = ["Switch"]

_known: weakref.WeakValueDictionary[str, Switch] = weakref.WeakValueDictionary()
"""The switches of this process by name; a forked process has its parent's."""


class Switch:
    """On or off, for a transform and every copy of it.

    Shallow and deep copies are the same switch. Workers that were forked or spawned share its memory and see it change
    while they live. A plain pickle knows its switch by name: loaded in a process that has the switch, or in a fork of
    one, it is that switch; elsewhere (another machine, a later run) it is a new one in the state that was pickled.

    Args:
        on: how it starts.
    """

    def __init__(self, on: bool = False) -> None:
        self._join(uuid.uuid4().hex, RawValue(ctypes.c_bool, on))

    def _join(self, name: str, cell: Any) -> None:
        self._name = name
        self._cell = cell
        _known[name] = self

    def set(self, on: bool) -> None:
        """Turn it on or off, everywhere."""
        self._cell.value = bool(on)

    @torch.compiler.disable
    def __bool__(self) -> bool:
        """Whether it is on. Not traced: a compiled graph must not keep the answer."""
        return self._cell.value

    def __copy__(self) -> Switch:
        """Itself."""
        return self

    def __deepcopy__(self, memo: Any) -> Switch:
        """Itself."""
        return self

    def __reduce__(self) -> tuple[Callable[..., Switch], tuple[Any, ...]]:
        """Its memory for a process that is being spawned, else its name and state."""
        if get_spawning_popen() is not None:
            return _shared, (self._name, self._cell)
        return _named, (self._name, bool(self))


def _shared(name: str, cell: Any) -> Switch:
    """The switch of a parent process."""
    switch = _known.get(name)
    if switch is None:
        switch = Switch.__new__(Switch)
        switch._join(name, cell)
    return switch


def _named(name: str, on: bool) -> Switch:
    """The switch of this name if there is one, else a new one."""
    switch = _known.get(name)
    if switch is None:
        switch = Switch.__new__(Switch)
        switch._join(name, RawValue(ctypes.c_bool, on))
    return switch
