"""Host and device: numpy for a few numbers on the host, where its calls cost a fraction of torch's; tensors elsewhere.

Code that runs on the targets' device takes *columns*, numpy arrays on the host and tensors elsewhere, and uses only
what both offer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling

HOST = torch.device("cpu")

_FEW = 2**16
"""Up to this many numbers are looked up at once; the indices of more would leave the CPU's caches."""

if TYPE_CHECKING:
    Column = Any  # code over columns keeps to what both have
else:
    Column = np.ndarray | Tensor
"""A numpy array on the host, a tensor on a device."""


def module_of(column: Column) -> Any:
    """The module numpy for a numpy array, torch for a tensor."""
    return np if isinstance(column, np.ndarray) else torch


def as_column(values: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."], device: torch.device) -> Column:
    """Values as a column: a numpy array if ``device`` is the host, else a tensor on it.

    In numpy, bfloat16 becomes float32.
    """
    if device.type == "cpu":
        if not isinstance(values, Tensor):
            return values
        values = values.detach() if values.requires_grad else values
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return sent(values, device)


def sent(
    values: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."], device: torch.device, dtype: torch.dtype | None = None
) -> Shaped[Tensor, "..."]:
    """Values as a tensor on ``device``, copied asynchronously from the host where that is safe.

    CUDA copies pageable memory at once but reads pinned memory later, when its owner may have changed it: that waits.
    """
    tensor = as_tensor(values)
    if dtype is None and tensor.device == device:
        return tensor
    # MPS also reads the host's memory later
    waits = tensor.device.type != "cpu" or device.type == "mps" or (device.type == "cuda" and tensor.is_pinned())
    return tensor.to(device, dtype, non_blocking=not waits)


def fetched(columns: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one dtype and trailing shape on the host; from a device, one transfer fetches all."""
    if not columns or columns[0].device.type == "cpu":
        return list(columns)
    joined = torch.cat([column.as_subclass(Tensor) for column in columns]).to("cpu")
    return list(joined.split([len(column) for column in columns]))


def as_tensor(column: Column) -> Shaped[Tensor, "..."]:
    """A column as a tensor that shares its memory."""
    return torch.from_numpy(column) if isinstance(column, np.ndarray) else column


def tensor_of(values: Any) -> Shaped[Tensor, "..."]:
    """A user's values as a tensor: tensors stay as they are, others go to the host, Python floats as float32.

    ``torch.as_tensor`` would use torch's default device and dtype.
    """
    if isinstance(values, Tensor):
        return values
    made = torch.as_tensor(values, device=HOST)
    if made.is_floating_point() and not isinstance(values, (np.ndarray, np.generic)):
        return torch.as_tensor(values, dtype=torch.float32, device=HOST)
    return made


def in_numpy(*tensors: Tensor) -> bool:
    """Whether numpy may work on tensors: on the host, plain memory, no gradient, nothing being compiled."""
    if is_compiling():  # before anything else is traced
        return False
    return all(t.is_cpu and not (t.requires_grad or t.is_neg() or t.is_conj()) for t in tensors)


def looked_up(table: Shaped[np.ndarray, "b n"], places: Int[np.ndarray, "b *m"]) -> Shaped[np.ndarray, "b *m"]:
    """Look up ``places`` row by row: entry ``table[b, places[b, …]]``; -1 is the last entry."""
    if places.size <= _FEW:
        rows = np.arange(len(table)).reshape(-1, *(1,) * (places.ndim - 1))
        return np.asarray(table[rows, places])
    found = np.empty(places.shape, dtype=table.dtype)
    for row, at, into in zip(table, places, found):
        into[...] = row.take(at)
    return found


def pick(column: Column, rows: Int[np.ndarray, " k"]) -> Shaped[Tensor, "k ..."]:
    """The given rows of a column, as a tensor."""
    if isinstance(column, np.ndarray):
        return torch.from_numpy(column[rows])
    picked: Tensor = column.index_select(0, sent(rows, column.device))
    return picked
