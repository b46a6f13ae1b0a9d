"""A CUDA device that isn't there, and what it was asked for: launches, copies and waits.

Tensors are those of ``stand_in``, which say ``cuda:0`` here. Triton's kernels are interpreted on what the tensors hold,
so results are real: it needs a process with ``TRITON_INTERPRET=1``.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import torch
from stand_in import Away, StandIn, fetch
from torch import Tensor
from torch.utils._pytree import tree_flatten
from triton.runtime.interpreter import GridExecutor

__all__ = ["Copy", "SimulatedDevice"]

aten = torch.ops.aten

_LAUNCHES = {aten.sort.default: 3, aten.cumsum.default: 2, aten.index_put_.default: 2, aten.nonzero.default: 4}
"""Operations of more than one launch, about as torch 2 makes them."""

_NOTHING = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "_local_scalar_dense",
    "is_pinned",
}
"""Operations without a launch, besides views."""


class Copy(NamedTuple):
    """One copy between host and device."""

    sent: bool
    size: int
    pinned: bool


class _Event:
    """What ``torch.cuda.Event`` is asked for; the device is done as soon as the host is."""

    def __init__(self, **_: Any) -> None:
        self.at = 0.0

    def record(self, stream: Any = None) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing is under way."""

    def elapsed_time(self, end: _Event) -> float:
        return (end.at - self.at) * 1e3


class SimulatedDevice(StandIn):
    """While it is on, ``cuda:0`` is there.

    Attributes:
        launches: names of the kernels launched, in order: Triton's as they are called, torch's by their operation.
        copies: between host and device, in order.
        on_wait: what a wait does, as ``torch.cuda.set_sync_debug_mode`` names it.
    """

    def __init__(self) -> None:
        super().__init__(torch.device("cuda", 0))
        self.launches: list[str] = []
        self.copies: list[Copy] = []
        self.on_wait: str | int = "default"
        self._pinned: set[int] = set()
        self._patches = contextlib.ExitStack()

    @property
    def fused(self) -> list[str]:
        """The launches of Triton's kernels."""
        return [name for name in self.launches if not name.startswith("aten")]

    def __enter__(self) -> SimulatedDevice:
        """Switch the device on."""
        device, execute = self, GridExecutor.__call__

        def launch(executor: Any, *args: Any, **kwargs: Any) -> None:
            if any(isinstance(arg, Away) for arg in args):
                device.launches.append(executor.fn.__name__.lstrip("_"))
            execute(executor, *fetch(args), **kwargs)

        stream = SimpleNamespace(cuda_stream=7)
        facts = SimpleNamespace(name="no card", total_memory=2**33, L2_cache_size=2**20, multi_processor_count=1)
        for name, value in {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "get_device_properties": lambda device=None: facts,
            "current_stream": lambda device=None: stream,
            "current_device": lambda: 0,
            "is_current_stream_capturing": lambda: False,
            "device": lambda device: contextlib.nullcontext(),
            "synchronize": lambda device=None: None,
            "Event": _Event,
            "get_sync_debug_mode": lambda: self.on_wait,
            "set_sync_debug_mode": lambda mode: setattr(self, "on_wait", mode),
        }.items():
            self._patches.enter_context(mock.patch.object(torch.cuda, name, value))
        self._patches.enter_context(mock.patch.object(GridExecutor, "__call__", launch))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Switch it off."""
        super().__exit__(*error)
        self._patches.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation, noted."""
        given = [leaf for leaf in tree_flatten((args, kwargs or {}))[0] if isinstance(leaf, Tensor)]
        result = super().__torch_dispatch__(func, types, args, kwargs)
        made = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
        if (kwargs or {}).get("pin_memory"):
            self._pinned.add(result.untyped_storage().data_ptr())
        away = [isinstance(tensor, Away) for tensor in (*given, *made)]
        if func is aten._to_copy.default and away[0] != away[-1]:
            self._note_copy(given[0], sent=away[-1])
        elif func is aten.copy_.default and away[0] != away[1]:
            self._note_copy(given[1], sent=away[0])
        elif any(away) and func._opname not in _NOTHING and not _is_view(func):
            self.launches += [f"aten.{func._opname}"] * _LAUNCHES.get(func, 1)
        return result

    def note_wait(self, what: str) -> None:
        """As CUDA does in the mode that was set."""
        super().note_wait(what)
        said = f"called a synchronizing CUDA operation: {what}"
        if self.on_wait in ("error", 2):
            raise RuntimeError(said)
        if self.on_wait in ("warn", 1):
            warnings.warn(said, UserWarning, stacklevel=2)

    def _note_copy(self, tensor: Tensor, *, sent: bool) -> None:
        pinned = sent and tensor.untyped_storage().data_ptr() in self._pinned
        self.copies.append(Copy(sent, tensor.nbytes, pinned))


def _is_view(func: Any) -> bool:
    """Whether an operation only says anew how memory is read."""
    returns = func._schema.returns
    return bool(returns) and all(part.alias_info is not None and not part.alias_info.is_write for part in returns)
