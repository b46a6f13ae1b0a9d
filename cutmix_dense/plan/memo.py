"""What was found out about a plan is cached with it, until one of its tensors is written to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling

__all__ = ["Memo", "Once", "Remembers"]

Found = TypeVar("Found")


class Memo:
    """The results of functions of a plan, by the function.

    Args:
        tensors: all tensors of the plan.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self._found: dict[Once[Any], tuple[tuple[int, ...] | None, Any]] = {}

    def get(self, function: Once[Found]) -> tuple[Found] | None:
        """The result in a tuple; None if there is none, or if a tensor was written to since."""
        stamp, value = self._found.get(function, (None, None))
        return (value,) if function in self._found and stamp == self._stamp() else None

    def put(self, function: Once[Found], value: Found) -> None:
        """Cache a result, if it can be told when it is out of date."""
        stamp = self._stamp()
        if stamp is not None or self._tensors[0].device.type != "cpu":  # on the host finding it again costs little
            self._found[function] = (stamp, value)

    def _stamp(self) -> tuple[int, ...] | None:
        """How often each tensor was written to; None in inference mode, which doesn't count. Numpy's writes don't."""
        try:
            return tuple([tensor._version for tensor in self._tensors])
        except RuntimeError:
            return None


@runtime_checkable
class Remembers(Protocol):
    """A plan, as far as caching goes."""

    @property
    def memo(self) -> Memo:
        """Where its results are."""

    @property
    def device(self) -> torch.device:
        """Where it lies."""


class Once(Generic[Found]):
    """A function of a plan that is worked out once per plan.

    Plans made of another one start without its results, and so do pickled ones. While ``torch.compile`` traces, nothing
    is cached.

    Example:
        >>> import torch
        >>> from cutmix_dense import MixPlan
        >>> outputs = Once(len)
        >>> plan = MixPlan.blend(torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]), torch.tensor([[4, 6], [4, 6]]))
        >>> outputs(plan), outputs(plan)
        (1, 1)
    """

    def __init__(self, find: Callable[[Any], Found]) -> None:
        self._find = find
        functools.update_wrapper(self, find)

    def __call__(self, plan: Remembers) -> Found:
        """The result for a plan."""
        if is_compiling():
            return self._find(plan)
        held = plan.memo.get(self)
        if held is not None:
            return held[0]
        value = self._find(plan)
        plan.memo.put(self, value)
        return value

    def put(self, plan: Remembers, value: Found) -> None:
        """Say what the result is where it is known already."""
        if not is_compiling():
            plan.memo.put(self, value)

    def known(self, plan: Remembers) -> tuple[Found] | None:
        """The result in a tuple if it was worked out; else None."""
        return None if is_compiling() else plan.memo.get(self)
