"""Blocks of pixels, one slice per axis: what they share, what holds them, where a mask lies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8

Block = tuple[slice, ...]
"""A block of pixels, one slice per axis."""

_LARGE = 2**20
"""Bytes; from so many on torch, whose threads share them, finds what isn't 0 sooner than numpy does."""


def block_of(size: Iterable[int]) -> Block:
    """The block of a whole canvas, or image, of a size."""
    return tuple(slice(0, length) for length in size)


def spatial(block: Iterable[slice]) -> Any:
    """Index of a block of the last axes, whatever lies before them."""
    return (..., *block)


def overlap(one: Block, other: Block) -> Block | None:
    """What two blocks have in common; None if nothing."""
    both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other))
    return both if all(part.start < part.stop for part in both) else None


def filled(mask: Shaped[np.ndarray, "*size"], rows: UInt8[np.ndarray, " length"] | None = None) -> Block | None:
    """The least block that holds all of a mask; None if it is empty.

    Args:
        mask: not 0 is inside. On the host, where numpy reduces small bytes several times faster than torch.
        rows: not 0 where anything is inside along the first axis, if that is known.
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
    """Bytes that are 0 where the array is."""
    return (array if array.dtype.itemsize == 1 else array != 0).view(np.uint8)


def joined(array: UInt8[np.ndarray, "..."], axis: int | tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """Bytes that are 0 where all along an axis (or several) are."""
    if array.size >= _LARGE:
        return torch.from_numpy(array).amax(dim=axis).numpy()
    return np.asarray(np.bitwise_or.reduce(array, axis=axis))
