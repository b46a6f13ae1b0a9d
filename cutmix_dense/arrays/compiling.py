"""Whether ``torch.compile`` is tracing, for every supported version of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_SAID_BY_COMPILER = hasattr(torch.compiler, "is_compiling")
_SAID_AT_ONCE = hasattr(torch.compiler, "is_dynamo_compiling") and hasattr(torch.compiler, "_is_compiling_flag")


def is_compiling() -> bool:
    """Whether ``torch.compile`` is tracing the caller.

    This function is traced itself, so it says yes even after a graph break, where torch's own says no.
    """
    if _SAID_AT_ONCE:  # what the next line asks, without asking whether a script is made: every mix asks several times
        return torch.compiler.is_dynamo_compiling() or torch.compiler._is_compiling_flag
    return torch.compiler.is_compiling() if _SAID_BY_COMPILER else torch._utils.is_compiling()


def _untraced(work: Callable[..., Any], *given: Any) -> Any:
    return work(*given)


untraced: Callable[..., Any] = torch.compiler.disable(_untraced)
"""The result of some work, given first, that compiled code calls as it stands: one graph break, whatever it does."""
