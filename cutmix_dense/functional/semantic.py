"""Mix semantic maps by a plan: ids move, they never blend."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from cutmix_dense.functional.pixels import mix_pixels
from cutmix_dense.plan import MixPlan

__all__ = ["mix_semantic"]

Maps = TypeVar("Maps", bound="Tensor | list[Tensor]")


def mix_semantic(maps: Maps, plan: MixPlan, *, ignore_index: int = 255, inplace: bool = False) -> Maps:
    """Mix maps of class ids by the plan that mixed their images.

    Args:
        maps: (P, H, W) or (P, 1, H, W) of an integer dtype, or a list of (Hi, Wi), which gives a list.
        plan: who owns each output pixel.
        ignore_index: the id of pixels that nobody owns; carried like any other id where it stands in the maps.
        inplace: see ``mix_pixels``.

    Returns:
        (B, *frame) or a list of canvas-sized maps, in the dtype and class of the input.

    Raises:
        TypeError: maps that aren't integers.
        ValueError: an ``ignore_index`` that the dtype can't hold, when fill needs it; see ``mix_pixels``.
    """
    like = maps if isinstance(maps, Tensor) else next(iter(maps), None)
    if not isinstance(like, Tensor):
        raise TypeError(
            f"maps must be a tensor or a list of tensors, got {type(maps).__name__} of {type(like).__name__}"
        )
    if like.is_floating_point() or like.is_complex():
        raise TypeError(f"maps must hold integer class ids, got {like.dtype}; mix_pixels takes probabilities")
    fill: int | None = ignore_index
    if like.dtype == torch.bool:
        fill = None
    else:
        bounds = torch.iinfo(like.dtype)
        if not bounds.min <= ignore_index <= bounds.max:
            fill = None  # harmless as long as there is nothing to fill; mix_pixels refuses else
    return mix_pixels(maps, plan, fill=fill, interpolation="nearest", inplace=inplace)
