"""Convert between numpy arrays (H, W, C), as image libraries use them, and tensors (C, H, W), without copies."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor


def to_tensor(array: Shaped[np.ndarray, "h w *c"]) -> Shaped[Tensor, "*c h w"]:
    """A numpy image as a tensor (C, H, W) that shares its memory; mirrored and read-only views are copied.

    Args:
        array: (H, W) or (H, W, C), of a dtype that torch supports.

    Raises:
        TypeError: the input isn't a numpy array, or torch lacks its dtype.
        ValueError: the array has another number of dimensions.

    Example:
        >>> to_tensor(np.zeros((4, 6, 3), dtype=np.uint8)).shape
        torch.Size([3, 4, 6])
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
    """A tensor (H, W) or (C, H, W) as a C-contiguous numpy image, channels last; copied only if it must be.

    Example:
        >>> to_array(torch.zeros(3, 4, 6)).shape
        (4, 6, 3)
    """
    moved = tensor.permute(1, 2, 0) if tensor.ndim == 3 else tensor
    return np.ascontiguousarray(moved.numpy())
