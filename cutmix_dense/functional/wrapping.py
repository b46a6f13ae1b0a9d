"""Keep the class and metadata of tv_tensors from input to output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors


def are_tensors(values: Iterable[Any]) -> bool:
    """Whether all values are tensors, of any class."""
    return {*map(type, values)} == {Tensor} or all(isinstance(value, Tensor) for value in values)


def as_plain(value: Tensor) -> Tensor:
    """A tensor without its subclass; plain tensors are returned as they are.

    ``torch.compile`` can't trace ``as_subclass(Tensor)`` of a plain tensor.
    """
    return value if type(value) is Tensor else value.as_subclass(Tensor)


def channels_like(value: Tensor, like: Tensor, ndim: int) -> Tensor:
    """A batch with its channels last in memory where those of ``like`` are; ``ndim`` spatial axes."""
    behind = torch.channels_last if ndim == 2 else torch.channels_last_3d
    last = like.ndim == ndim + 2 and like.is_contiguous(memory_format=behind) and not like.is_contiguous()
    return value.contiguous(memory_format=behind) if last else value


def numpy_remedy(value: Any) -> str:
    """The end of a message that refuses a value: what makes a tensor of it, if it is an array."""
    return ": torch.from_numpy makes a tensor of it" if isinstance(value, np.ndarray) else ""


def rewrap(value: Tensor, like: Tensor, **metadata: Any) -> Tensor:
    """``value`` in the class of ``like``; a plain tensor stays plain.

    Args:
        value: a tensor.
        like: tensor or tv_tensor with the class and metadata.
        metadata: metadata that changes, such as ``canvas_size``.
    """
    if isinstance(like, tv_tensors.TVTensor):
        wrapped: Tensor = tv_tensors.wrap(as_plain(value), like=like, **metadata)
        return wrapped
    return as_plain(value)
