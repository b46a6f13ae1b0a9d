"""Blocks of pixels, one slice per axis: overlaps, bounds, and the block that a mask fills."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8

__all__ = ["Block", "as_bytes", "block_of", "bounds", "filled", "joined", "overlap", "spatial", "within"]

Block = tuple[slice, ...]
"""A block of pixels, one slice per axis."""

_LARGE = 2**20
"""Bytes; larger arrays are reduced faster by torch, which uses several threads."""


def block_of(size: Iterable[int]) -> Block:
    """The block of a whole image or canvas of a given size.

    Example:
        >>> overlap(block_of((4, 6)), (slice(2, 9), slice(1, 3)))
        (slice(2, 4, None), slice(1, 3, None))
    """
    return tuple(slice(0, length) for length in size)


def spatial(block: Iterable[slice]) -> Any:
    """Index of a block of the last axes of a tensor."""
    return (..., *block)


def overlap(one: Block, other: Block) -> Block | None:
    """The intersection of two blocks; None if it is empty."""
    both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other))
    return both if all(part.start < part.stop for part in both) else None


def bounds(blocks: Sequence[Block]) -> Block:
    """The smallest block that holds all of the given ones."""
    return tuple(slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in zip(*blocks))


def within(block: Block, window: Block) -> Block:
    """A block in the coordinates of a window that holds it."""
    return tuple(slice(part.start - origin.start, part.stop - origin.start) for part, origin in zip(block, window))


def filled(mask: Shaped[np.ndarray, "*size"], rows: UInt8[np.ndarray, " length"] | None = None) -> Block | None:
    """The smallest block that holds all of a mask; None if the mask is empty.

    Args:
        mask: not 0 inside.
        rows: not 0 where a line of the first axis holds anything, if that is known.
    """
    block: list[slice] = []
    axes = tuple(range(mask.ndim))
    mask = as_bytes(mask)
    for axis in axes:
        others = axes[:axis] + axes[axis + 1 :]
        line = (joined(mask, others) if axis or rows is None else rows).tobytes()
        stop = len(line.rstrip(b"\0"))
        if not stop:
            return None
        block.append(slice(len(line) - len(line.lstrip(b"\0")), stop))
        mask = mask[(slice(None),) * axis + (block[-1],)]
    return tuple(block)


def as_bytes(array: Shaped[np.ndarray, "*size"]) -> UInt8[np.ndarray, "*size"]:
    """Bytes that are 0 where the array is 0."""
    return (array if array.dtype.itemsize == 1 else array != 0).view(np.uint8)


def joined(array: UInt8[np.ndarray, "..."], axis: int | tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """Bytes that are 0 where all along the given axes are 0."""
    if array.size >= _LARGE:
        return torch.from_numpy(array).amax(dim=axis).numpy()
    return np.asarray(np.bitwise_or.reduce(array, axis=axis))
