"""New memory on the host."""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor

from cutmix_dense import native
from cutmix_dense.arrays.compiling import is_compiling

_advise = native.declare("cutmix_dense_in_large_pages", "qq")

_LARGE = 2**22
"""Bytes; numpy asks from so many on, too."""


def in_large_pages(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The tensor itself, in large pages where the system has them: the faults of small ones cost several copies.

    Args:
        tensor: new, on the host; nothing was written to it yet.
    """
    if native.library is not None and tensor.nbytes >= _LARGE and not is_compiling():
        _advise(tensor.data_ptr(), tensor.nbytes)
    return tensor
