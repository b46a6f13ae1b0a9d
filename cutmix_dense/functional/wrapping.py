"""Keep tv_tensors what they are: the class and metadata of the input go to the output."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchvision import tv_tensors

__all__ = ["as_plain", "rewrap"]


def as_plain(value: Tensor) -> Tensor:
    """The tensor without its class; one that has none is returned as it is.

    ``torch.compile`` can't trace ``as_subclass(Tensor)`` of a plain tensor, which would break the graph.
    """
    return value if type(value) is Tensor else value.as_subclass(Tensor)


def rewrap(value: Tensor, like: Tensor, **metadata: Any) -> Tensor:
    """``value`` in the class of ``like``; a plain tensor stays plain.

    Args:
        value: a tensor.
        like: tensor or tv_tensor whose class and metadata are taken.
        metadata: what changed, e.g. ``canvas_size``.
    """
    if isinstance(like, tv_tensors.TVTensor):
        return tv_tensors.wrap(as_plain(value), like=like, **metadata)
    return as_plain(value)
