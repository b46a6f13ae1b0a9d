"""A cache of results about a plan, valid until one of its tensors is written to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Generic, TypeVar

from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling

Found = TypeVar("Found")

_version = attrgetter("_version")


class Memo:
    """Cached results of functions of one plan.

    Args:
        tensors: all tensors of the plan.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self._found: dict[Once[Any], tuple[tuple[int, ...] | None, Any]] = {}

    def get(self, function: Once[Found]) -> tuple[Found] | None:
        """The cached result in a tuple; None if there is none or a tensor was written to since."""
        if function not in self._found:
            return None
        stamp, value = self._found[function]
        return (value,) if stamp == self._stamp() else None

    def put(self, function: Once[Found], value: Found) -> None:
        """Cache a result; in inference mode only on a device, since nothing shows when it goes out of date."""
        stamp = self._stamp()
        if stamp is not None or self._tensors[0].device.type != "cpu":  # computing it again is cheap on the host
            self._found[function] = (stamp, value)

    def _stamp(self) -> tuple[int, ...] | None:
        """How often torch wrote to each tensor (numpy's writes don't count); None in inference mode, without counts."""
        try:
            return tuple(map(_version, self._tensors))
        except RuntimeError:
            return None


class Once(Generic[Found]):
    """A function of a plan whose result is cached with the plan.

    Plans derived from another one, and pickled ones, start with an empty cache. Nothing is cached while
    ``torch.compile`` traces.

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

    def __call__(self, plan: Any) -> Found:
        """The result for a plan, cached."""
        if is_compiling():
            return self._find(plan)
        cached: tuple[Found] | None = plan.memo.get(self)
        if cached is not None:
            return cached[0]
        value = self._find(plan)
        plan.memo.put(self, value)
        return value

    def put(self, plan: Any, value: Found) -> None:
        """Cache a result that is known without calling the function."""
        if not is_compiling():
            plan.memo.put(self, value)

    def known(self, plan: Any) -> tuple[Found] | None:
        """The result in a tuple if it is cached, else None."""
        return None if is_compiling() else plan.memo.get(self)
