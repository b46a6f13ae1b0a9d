"""Connected parts of a mask."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int


def components(mask: Bool[np.ndarray, "*size"]) -> Int[np.ndarray, "*size"]:
    """Number the connected parts of a mask from 1; 0 outside. Pixels connect along edges, not at corners.

    Example:
        >>> components(np.array([[True, False, True], [True, False, False]])).tolist()
        [[1, 0, 2], [1, 0, 0]]
    """
    padded = np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(1, 1)])
    # runs along the last axis are joined with those that they touch on neighbouring lines
    begins = padded[..., 1:] & ~padded[..., :-1]
    number = (begins[..., : mask.shape[-1]].ravel().cumsum() * mask.ravel()).reshape(mask.shape)  # of each pixel's run
    parent = np.arange(int(number.max(initial=0)) + 1)

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = run = int(parent[parent[run]])
        return run

    for axis in range(mask.ndim - 1):
        one = number[(slice(None),) * axis + (slice(None, -1),)]
        other = number[(slice(None),) * axis + (slice(1, None),)]
        both = (one > 0) & (other > 0)
        for a, b in np.unique(np.stack([one[both], other[both]]), axis=1).T.tolist():
            first, second = sorted((root(a), root(b)))
            parent[second] = first
    roots = np.array([root(run) for run in range(len(parent))])
    numbers: np.ndarray = np.unique(roots, return_inverse=True)[1].reshape(-1)[number]
    return numbers
