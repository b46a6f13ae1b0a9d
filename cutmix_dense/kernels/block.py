"""Blocks of pixels, one slice per axis: what they share, what holds them, where a mask lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Shaped

__all__ = ["Block", "any_along", "bounds", "filled", "overlap", "spatial", "within"]

Block = tuple[slice, ...]
"""A block of pixels, one slice per axis."""

_LARGE = 2**20
"""Bytes; from so many on torch, whose threads share them, finds what isn't 0 sooner than numpy does."""


def spatial(block: Iterable[slice]) -> Any:
    """Index of a block of the last axes, whatever lies before them."""
    return (..., *block)


def overlap(one: Block, other: Block) -> Block | None:
    """What two blocks have in common; None if nothing."""
    both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other))
    return both if all(part.start < part.stop for part in both) else None


def bounds(blocks: Sequence[Block]) -> Block:
    """The least block that holds all."""
    return tuple(slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in zip(*blocks))


def within(block: Block, window: Block) -> Block:
    """A block in the coordinates of a window that holds it."""
    return tuple(slice(part.start - origin.start, part.stop - origin.start) for part, origin in zip(block, window))


def filled(mask: Shaped[np.ndarray, "*size"]) -> Block | None:
    """The least block that holds all of a mask; None if it is empty.

    Args:
        mask: not 0 is inside. On the host, where numpy reduces small bytes several times faster than torch.
    """
    block: list[slice] = []
    axes = tuple(range(mask.ndim))
    for axis in axes:
        at = any_along(mask, axes[:axis] + axes[axis + 1 :]).nonzero()[0]
        if not len(at):
            return None
        block.append(slice(int(at[0]), int(at[-1]) + 1))
        mask = mask[(slice(None),) * axis + (block[-1],)]
    return tuple(block)


def any_along(array: Shaped[np.ndarray, "..."], axis: int | tuple[int, ...]) -> Bool[np.ndarray, "..."]:
    """Whether anything along an axis (or several) is not 0."""
    if array.dtype.itemsize > 1:
        return np.asarray((array != 0).any(axis=axis))
    array = array.view(np.uint8)
    if array.size >= _LARGE:
        return torch.from_numpy(array).amax(dim=axis).numpy() != 0
    return np.asarray(np.maximum.reduce(array, axis=axis, initial=0) != 0)
