"""Small things on the host are computed by numpy, whose calls on a few numbers cost a fraction of torch's.

What works on the targets' device takes *columns*: numpy arrays on the host, tensors elsewhere. Code over them keeps to
what both have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

__all__ = ["HOST", "Column", "as_column", "as_tensor", "module_of", "pick", "sent"]

HOST = torch.device("cpu")

Column = Any
"""A numpy array on the host, a tensor on a device."""


def module_of(column: Column) -> Any:
    """The module whose functions take such a column: numpy or torch."""
    return np if isinstance(column, np.ndarray) else torch


def as_column(values: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."], device: torch.device) -> Column:
    """Values where they are worked on: in numpy for the host, else as a tensor on the device."""
    if device.type == "cpu":
        return values.detach().numpy() if isinstance(values, Tensor) else values
    return sent(values, device)


def sent(
    values: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."], device: torch.device, dtype: torch.dtype | None = None
) -> Shaped[Tensor, "..."]:
    """Values on a device; from the host without waiting for what it is doing: CUDA takes its own copy at once."""
    tensor = as_tensor(values)
    if dtype is None and tensor.device == device:
        return tensor
    # MPS reads the host's memory later, when it may hold something else
    return tensor.to(device, dtype, non_blocking=tensor.device.type == "cpu" and device.type != "mps")


def as_tensor(column: Column) -> Shaped[Tensor, "..."]:
    """A column as a tensor, of the same memory."""
    return torch.from_numpy(column) if isinstance(column, np.ndarray) else column


def pick(column: Column, rows: Int[np.ndarray, " k"]) -> Shaped[Tensor, "k ..."]:
    """Some rows of a column, as a tensor."""
    if isinstance(column, np.ndarray):
        return torch.from_numpy(column[rows])
    return column.index_select(0, sent(rows, column.device))
