"""Whether ``torch.compile`` is tracing; torch 2.1 and 2.2 say so at another place than later versions."""

from __future__ import annotations

import torch

__all__ = ["is_compiling"]

_SAID_BY_COMPILER = hasattr(torch.compiler, "is_compiling")


def is_compiling() -> bool:
    """Whether the code that runs is being traced by ``torch.compile``.

    Asked by a function of ours, which is traced itself: torch's own says no to a caller that fell out of a graph.
    """
    return torch.compiler.is_compiling() if _SAID_BY_COMPILER else torch._utils.is_compiling()
