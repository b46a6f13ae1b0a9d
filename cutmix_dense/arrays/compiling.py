"""Whether ``torch.compile`` is tracing, for every supported version of torch."""

from __future__ import annotations

import torch

__all__ = ["is_compiling"]


def is_compiling() -> bool:
    """Whether ``torch.compile`` is tracing the caller.

    A function of ours is traced too, so it also answers right for a caller after a graph break.
    """
    if hasattr(torch.compiler, "is_compiling"):
        return torch.compiler.is_compiling()
    return torch._utils.is_compiling()
