"""Whether ``torch.compile`` is tracing; torch 2.1 and 2.2 say so at another place than later versions."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["is_compiling"]


is_compiling: Callable[[], bool] = getattr(torch.compiler, "is_compiling", None) or torch._utils.is_compiling
"""Whether the code that runs is being traced by ``torch.compile``."""
