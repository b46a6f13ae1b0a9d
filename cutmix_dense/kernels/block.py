"""Blocks of pixels, one slice per axis: what they share, what holds them, where a mask lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

__all__ = ["Block", "any_along", "bounds", "filled", "overlap", "spatial", "within"]

Block = tuple[slice, ...]
"""A block of pixels, one slice per axis."""


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


def filled(mask: Shaped[np.ndarray, "*size"], lines: Bool[np.ndarray, " n"] | None = None) -> Block | None:
    """The least block that holds all of a mask; None if it is empty.

    Args:
        mask: not 0 is inside. On the host, where numpy reduces bytes several times faster than torch.
        lines: which lines of its first axis hold something, if that is known.
    """
    if not mask.size:
        return None
    block: list[slice] = []
    for axis in range(mask.ndim):
        if axis or lines is None:
            lines = any_along(np.moveaxis(mask, axis, 0).reshape(mask.shape[axis], -1), axis=1)
        at = np.flatnonzero(lines)
        if not len(at):
            return None
        block.append(slice(int(at[0]), int(at[-1]) + 1))
        mask = mask[(slice(None),) * axis + (block[-1],)]
    return tuple(block)


def any_along(array: Shaped[np.ndarray, "..."], axis: int) -> Bool[np.ndarray, "..."]:
    """Whether anything along an axis is not 0."""
    if array.dtype == np.bool_:
        return np.asarray(array.any(axis=axis))
    if array.dtype == np.uint8 and array.shape[-1]:
        return np.asarray(array.max(axis=axis) != 0)
    return np.asarray((array != 0).any(axis=axis))
