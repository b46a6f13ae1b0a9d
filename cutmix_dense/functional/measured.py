"""Visible area and box of instances under a plan: the one type that every measurement returns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from cutmix_dense.arrays.host import Column, as_column
from cutmix_dense.plan import MixPlan


class Measured(NamedTuple):
    """One row per instance: arrays on the host, tensors on a device.

    Attributes:
        visible: visible area: pixels of the mask, or square pixels of the box.
        whole: area of the whole instance as mapped onto the canvas, before anything is cut.
        boxes: tight box of the visible part, xyxy on the canvas, zeros if nothing shows; four corners (n, 8) for
            rotated boxes; None without instances.
        mapped: box of the whole instance as mapped onto the canvas; None if unknown.
        untouched: whether all of it shows under the identity map.
        broken: whether its box has no area (zero or inverted sides); None without boxes.
        outside: whether its box lies wholly outside of the valid part of its image; None without boxes.
        finite: whether all coordinates are finite; None without boxes.
    """

    visible: Float[Column, " n"]
    whole: Float[Column, " n"]
    boxes: Float[Column, "n k"] | None
    mapped: Float[Column, "n k"] | None
    untouched: Bool[Column, " n"]
    broken: Bool[Column, " n"] | None = None
    outside: Bool[Column, " n"] | None = None
    finite: Bool[Column, " n"] | None = None

    @property
    def sides(self) -> Float[Column, "n s"]:
        """Lengths of the boxes' sides: one per axis, or all four for rotated boxes."""
        assert self.boxes is not None
        half = self.boxes.shape[1] // 2
        if half == 4:
            corners = self.boxes.reshape(-1, 4, 2)
            return ((corners[:, [1, 2, 3, 0]] - corners) ** 2).sum(axis=2) ** 0.5
        return self.boxes[:, half:] - self.boxes[:, :half]


def base_apart(pasted: Measured, base: Measured, layer: Int[Column, " n"]) -> Measured:
    """The rows of ``base`` where the layer is 0, else those of ``pasted``: two measurements of the same instances."""
    xp: Any = np if isinstance(layer, np.ndarray) else torch

    def chosen(here: Column | None, there: Column | None) -> Column | None:
        if here is None or there is None:
            return None
        return xp.where((layer == 0).reshape(-1, *(1,) * (here.ndim - 1)), there, here)

    return Measured(*(chosen(here, there) for here, there in zip(pasted, base)))


def identity_of(plan: MixPlan, output: Int[Column, " n"], layer: Int[Column, " n"]) -> Bool[Column, " n"]:
    """Whether each layer lies on the canvas unscaled and unmoved."""
    scale, shift = as_column(plan.scale, plan.device), as_column(plan.shift, plan.device)
    return ((scale == 1) & (shift == 0)).all(axis=2)[output, layer]
