"""Between numpy arrays (H, W, C), as image libraries have them, and tensors (C, H, W), without copies."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

__all__ = ["to_array", "to_tensor"]


def to_tensor(array: Shaped[np.ndarray, "h w *c"]) -> Shaped[Tensor, "*c h w"]:
    """The array's memory as a tensor, channels in front; only mirrored or read-only views are copied.

    Args:
        array: (H, W) or (H, W, C), of a dtype that torch has.

    Raises:
        TypeError: no array, or of a dtype that torch hasn't.
        ValueError: another number of dimensions.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"a numpy array is needed, got {type(array).__name__}")
    if array.ndim not in (2, 3):
        raise ValueError(f"an array (H, W) or (H, W, C) is needed, got shape {array.shape}")
    if not array.flags.writeable or min(array.strides) < 0:
        array = array.copy()
    tensor = torch.from_numpy(array)
    return tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor


def to_array(tensor: Shaped[Tensor, "*c h w"]) -> Shaped[np.ndarray, "h w *c"]:
    """The tensor's memory as a C-contiguous array, channels behind; copied where it lies otherwise."""
    moved = tensor.permute(1, 2, 0) if tensor.ndim == 3 else tensor
    return np.ascontiguousarray(moved.numpy())
