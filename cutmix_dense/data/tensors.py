"""Samples in numpy, as readers make them, as tensors of the classes that transforms know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

_MAPS = frozenset({"masks", "panoptic", "semantic"})


def sample_tensors(image: np.ndarray, target: Any, layout: str = "BCHW") -> tuple[Tensor, Any]:
    """The image and its target as tensors that share the arrays' memory.

    Args:
        image: (C, H, W), a clip (T, C, H, W) or a volume (C, D, H, W).
        target: a dict of arrays and plain values, or of clips a list of them.
        layout: of a batch of such samples.

    Returns:
        An `Image`, a `Video`, or of volumes a plain tensor; and the target with `BoundingBoxes` (XYXY, or XYXYXYXY for
        rows of eight), `Mask` for maps and masks, plain tensors for other arrays, and all else as it is.
    """
    tensor = _tensor(image)
    size = (int(image.shape[-2]), int(image.shape[-1]))
    if layout == "BCDHW":
        pixels: Tensor = tensor
    else:
        pixels = tv_tensors.Video(tensor) if layout == "BTCHW" else tv_tensors.Image(tensor)
    if isinstance(target, list):
        return pixels, [_target(frame, size) for frame in target]
    return pixels, _target(target, size)


def _target(target: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    return {key: _value(key, value, size) if isinstance(value, np.ndarray) else value for key, value in target.items()}


def _tensor(array: np.ndarray) -> Tensor:
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise ImportError(f"torch 2.3 or newer is needed for {array.dtype}: pip install -U torch") from error


def _value(key: str, array: np.ndarray, size: tuple[int, int]) -> Tensor:
    tensor = _tensor(np.ascontiguousarray(array))
    if key == "boxes":
        if array.shape[1] == 8 and not hasattr(tv_tensors.BoundingBoxFormat, "XYXYXYXY"):
            raise ImportError("torchvision 0.23 or newer is needed for rotated boxes: pip install -U torchvision")
        form = tv_tensors.BoundingBoxFormat["XYXYXYXY" if array.shape[1] == 8 else "XYXY"]
        return tv_tensors.BoundingBoxes(tensor, format=form, canvas_size=size)
    return tv_tensors.Mask(tensor) if key in _MAPS else tensor
