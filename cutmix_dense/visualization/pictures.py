"""Pictures as tensors: bytes, sizes to draw at, and enlarging before anything is drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

if TYPE_CHECKING:
    pass

_OVERSHOOT = 0.1
"""Bicubic resizing leaves [0, 1] by less; it is clipped."""


def to_pil(image: Tensor) -> Image.Image:
    """A (3, H, W) or (1, H, W) image, uint8 or float in [0, 1], as a Pillow RGB image."""
    return tvf.to_pil_image(as_rgb(image)).convert("RGB")


def as_rgb(image: Tensor) -> UInt8[Tensor, "3 h w"]:
    """Any image tensor as plain uint8 RGB on the CPU, in memory of its own.

    Raises:
        TypeError: no tensor.
        ValueError: another shape or dtype, or floats that aren't in [0, 1].
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"image must be a tensor of shape (C, H, W), got {type(image).__name__}")
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"image must have the shape (3, H, W) or (1, H, W), got {tuple(image.shape)}")
    pixels = image.detach().cpu().as_subclass(Tensor)
    if pixels.dtype == torch.bool:
        pixels = pixels.to(torch.uint8) * 255
    elif pixels.is_floating_point():
        low, high = (float(value) for value in pixels.aminmax()) if pixels.numel() else (0.0, 0.0)
        if not -_OVERSHOOT <= low <= high <= 1 + _OVERSHOOT:  # NaN isn't, either
            remedy = (
                "undo Normalize, or divide by 255 what was bytes" if math.isfinite(high - low) else "it isn't finite"
            )
            raise ValueError(f"image of {pixels.dtype} must be in [0, 1], got {low:.3g} to {high:.3g}: {remedy}")
        pixels = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8)
    elif pixels.dtype != torch.uint8:
        raise ValueError(f"image must be uint8 or float in [0, 1], got {pixels.dtype}")
    return pixels.expand(3, -1, -1).clone()


def picture_size(image: Tensor) -> Size:
    """(height, width) of an image."""
    return int(image.shape[-2]), int(image.shape[-1])


def size_to_draw(height: int, width: int, fit: tuple[int, int] | None, min_size: int) -> tuple[int, int]:
    """Size of an image's drawing: filling `fit` (height, width), else enlarged by a whole factor up to `min_size`."""
    if fit is not None:
        scale = min(fit[0] / height, fit[1] / width)
        return max(1, round(height * scale)), max(1, round(width * scale))
    factor = max(1, -(-min_size // max(height, width)))
    return height * factor, width * factor


def resize_image(image: UInt8[Tensor, "3 h w"], size: tuple[int, int]) -> UInt8[Tensor, "3 H W"]:
    """The picture at another size, bicubic; itself if it has it."""
    if picture_size(image) == size:
        return image
    return tvf.resize(image, list(size), interpolation=tvf.InterpolationMode.BICUBIC, antialias=True)


def resize_nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest neighbour for the last two axes: the source pixel under each output pixel's centre."""
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    rows = ((torch.arange(size[0]) + 0.5) * (height / size[0])).long().clamp_(max=height - 1)
    columns = ((torch.arange(size[1]) + 0.5) * (width / size[1])).long().clamp_(max=width - 1)
    return maps.index_select(-2, rows).index_select(-1, columns)


def grow_mask(mask: Bool[Tensor, "*n h w"], radius: int) -> Bool[Tensor, "*n h w"]:
    """The mask grown by `radius` pixels in every direction (a square)."""
    if radius <= 0 or mask.numel() == 0:
        return mask
    stack = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    grown = torch.nn.functional.max_pool2d(stack, 2 * radius + 1, stride=1, padding=radius)
    return (grown > 0.5).reshape(mask.shape)


Size = tuple[int, int]


def line_width_for(size: tuple[int, ...]) -> int:
    """Width of lines on a picture of some size, pixels."""
    return 2 if max(size) < 900 else 3
