"""Small things on the host are computed by numpy, whose calls on a few numbers cost a fraction of torch's.

What works on the targets' device takes *columns*: numpy arrays on the host, tensors elsewhere. Code over them keeps to
what both have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling

__all__ = [
    "HOST",
    "Column",
    "as_column",
    "as_tensor",
    "fetched",
    "in_numpy",
    "looked_up",
    "module_of",
    "pick",
    "sent",
    "tensor_of",
]

HOST = torch.device("cpu")

_FEW = 2**16
"""So many numbers are looked up at once; the indices of more of them would leave the caches."""

if TYPE_CHECKING:
    Column = Any  # code over columns keeps to what both have
else:
    Column = np.ndarray | Tensor
"""A numpy array on the host, a tensor on a device."""


def module_of(column: Column) -> Any:
    """The module whose functions take such a column: numpy or torch."""
    return np if isinstance(column, np.ndarray) else torch


def as_column(values: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."], device: torch.device) -> Column:
    """Values where they are worked on: in numpy for the host, else as a tensor on the device.

    Of bfloat16, which numpy hasn't, float32 is made there.
    """
    if device.type == "cpu":
        if not isinstance(values, Tensor):
            return values
        values = values.detach()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return sent(values, device)


def sent(
    values: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."], device: torch.device, dtype: torch.dtype | None = None
) -> Shaped[Tensor, "..."]:
    """Values on a device; from the host without waiting for what it is doing: CUDA takes its own copy at once.

    Pinned memory it would read later; that of a caller, who may change it, is waited for.
    """
    tensor = as_tensor(values)
    if dtype is None and tensor.device == device:
        return tensor
    # MPS, too, reads the host's memory later
    waits = tensor.device.type != "cpu" or device.type == "mps" or (device.type == "cuda" and tensor.is_pinned())
    return tensor.to(device, dtype, non_blocking=not waits)


def fetched(columns: Sequence[Tensor]) -> list[Tensor]:
    """Columns of one form on the host: from a device by one transfer for all."""
    if not columns or columns[0].device.type == "cpu":
        return list(columns)
    joined = torch.cat([column.as_subclass(Tensor) for column in columns]).to("cpu")
    return list(joined.split([len(column) for column in columns]))


def as_tensor(column: Column) -> Shaped[Tensor, "..."]:
    """A column as a tensor, of the same memory."""
    return torch.from_numpy(column) if isinstance(column, np.ndarray) else column


def tensor_of(values: Any) -> Shaped[Tensor, "..."]:
    """Values that a user gave, as a tensor: one stays where it lies, all else is on the host, fractions in float32.

    ``torch.as_tensor`` would move tensors to torch's default device and count in its default dtype.
    """
    if isinstance(values, Tensor):
        return values
    made = torch.as_tensor(values, device=HOST)
    if made.is_floating_point() and not isinstance(values, (np.ndarray, np.generic)):
        return torch.as_tensor(values, dtype=torch.float32, device=HOST)
    return made


def in_numpy(*tensors: Tensor) -> bool:
    """Whether numpy may do it: all on the host, as they lie in memory, no gradient, nothing that is being compiled."""
    if is_compiling():  # before anything else is traced
        return False
    return all(t.is_cpu and not (t.requires_grad or t.is_neg() or t.is_conj()) for t in tensors)


def looked_up(table: Shaped[np.ndarray, "b n"], places: Int[np.ndarray, "b *m"]) -> Shaped[np.ndarray, "b *m"]:
    """What each row of a table holds at the places that are asked for in its row; -1 is the last one."""
    if places.size <= _FEW:
        rows = np.arange(len(table)).reshape(-1, *(1,) * (places.ndim - 1))
        return np.asarray(table[rows, places])
    found = np.empty(places.shape, dtype=table.dtype)
    for row, at, into in zip(table, places, found):
        into[...] = row.take(at)
    return found


def pick(column: Column, rows: Int[np.ndarray, " k"]) -> Shaped[Tensor, "k ..."]:
    """Some rows of a column, as a tensor."""
    if isinstance(column, np.ndarray):
        return torch.from_numpy(column[rows])
    return column.index_select(0, sent(rows, column.device))
