"""Array helpers, below everything else: host and device, broadcasting, blocks, dtypes, blur."""

from __future__ import annotations

from cutmix_dense.arrays.images import to_array, to_tensor

__all__ = ["to_array", "to_tensor"]
