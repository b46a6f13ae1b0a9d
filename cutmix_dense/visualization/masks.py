"""Draw instance masks over a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from cutmix_dense.visualization.colors import Color
from cutmix_dense.visualization.pictures import grow_mask, line_width_for, picture_size


def draw_masks(
    pixels: UInt8[Tensor, "3 h w"], masks: Sequence[tuple[Bool[Tensor, "h w"], Color]], alpha: float
) -> UInt8[Tensor, "3 h w"]:
    """Translucent masks with a contour; the smaller lies on top."""
    drawn = [(int(mask.sum()), mask, color) for mask, color in masks]
    drawn = sorted((each for each in drawn if each[0] > 0), key=lambda each: -each[0])
    if not drawn:
        return pixels
    fill = pixels.clone()
    covered, lines = (torch.zeros(pixels.shape[-2:], dtype=torch.bool) for _ in range(2))
    line = max(1, line_width_for(picture_size(pixels)) // 2)
    for _, mask, color in drawn:  # the small ones last
        rows, columns = (mask.any(dim=axis).nonzero() for axis in (1, 0))
        window = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        inside = mask[window]
        # Contour just inside the mask; the picture's border is no contour.
        margins = [line if edge else 0 for edge in _free_sides(window, mask.shape)]
        outside = torch.nn.functional.pad(~inside, margins, value=True)
        contour = grow_mask(outside, line)[_without(margins, outside.shape)] & inside
        painted = fill[:, window[0], window[1]]
        painted[:, inside] = torch.tensor(color, dtype=torch.uint8)[:, None]
        covered[window] |= inside
        lines[window] = torch.where(inside, contour, lines[window])
    opacity = torch.where(lines, 0.9 + 0.1 * alpha, alpha) * covered
    return (pixels + opacity * (fill.float() - pixels)).round().to(torch.uint8)


def _free_sides(window: tuple[slice, slice], size: Sequence[int]) -> tuple[bool, bool, bool, bool]:
    """Whether a window ends within the picture: left, right, top, bottom."""
    rows, columns = window
    return columns.start > 0, columns.stop < size[1], rows.start > 0, rows.stop < size[0]


def _without(margins: Sequence[int], size: Sequence[int]) -> tuple[slice, slice]:
    """The inner part of a picture that was padded by left, right, top, bottom."""
    left, right, top, bottom = margins
    return slice(top, size[0] - bottom), slice(left, size[1] - right)
