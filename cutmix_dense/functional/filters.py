"""Which instances stay: thresholds, and the presets of other libraries."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int

from cutmix_dense.arrays.host import Column, module_of
from cutmix_dense.checks import finite
from cutmix_dense.functional.measured import Measured
from cutmix_dense.functional.report import Reason


def _pair(value: float | tuple[float, float], name: str) -> tuple[float, float]:
    """A threshold as (base, pasted)."""
    if isinstance(value, (int, float)):
        return value, value
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return value[0], value[1]
    raise ValueError(f"{name} must be a number or (base, pasted), got {value!r}")


@dataclass(frozen=True)
class FilterRule:
    """Thresholds that a changed instance must reach (``>=``); an untouched one is never filtered.

    Args:
        min_visibility: least visible share of the whole instance, in [0, 1]; one for all, or (base, pasted).
        min_size: least length of both sides of the box, pixels; one for all, or (base, pasted).
        max_aspect: the longer side over the shorter must stay below this.
        strict: thresholds must be exceeded (``>``).

    Attributes:
        limits: ``min_visibility`` and ``min_size``, each as (base, pasted).

    Raises:
        ValueError: a threshold is out of range.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> box, sizes = torch.tensor([[[0, 0, 8, 3]]]), torch.tensor([[8, 12], [8, 12]])
        >>> plan = cd.MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
        >>> targets = [{"boxes": torch.tensor([[2.0, 1.0, 6.0, 5.0]])}] * 2  # 3/4 of one shows, 1/4 of the other
        >>> rules = (cd.FilterRule(min_visibility=least) for least in (0.1, 0.5))
        >>> [len(cd.functional.mix_instances(targets, plan, rule=rule)[0]["boxes"]) for rule in rules]
        [2, 1]
    """

    min_visibility: float | tuple[float, float] = 0.1
    min_size: float | tuple[float, float] = 1.0
    max_aspect: float = math.inf
    strict: bool = False
    limits: tuple[tuple[float, float], tuple[float, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        visibility, size = _pair(self.min_visibility, "min_visibility"), _pair(self.min_size, "min_size")
        for value in visibility:
            if not (finite(value) and 0 <= value <= 1):
                raise ValueError(f"min_visibility must lie in [0, 1], got {self.min_visibility!r}")
        for value in size:
            if not (finite(value) and value >= 0):
                raise ValueError(f"min_size must be at least 0 pixels, got {self.min_size!r}")
        if not (self.max_aspect == math.inf or (finite(self.max_aspect) and self.max_aspect >= 1)):
            raise ValueError(f"max_aspect must be at least 1, got {self.max_aspect!r}")
        limits = (float(visibility[0]), float(visibility[1])), (float(size[0]), float(size[1]))
        object.__setattr__(self, "limits", limits)

    def reasons(
        self, measured: Measured, visibility: Float[Column, " n"], output: Int[Column, " n"], layer: Int[Column, " n"]
    ) -> Int[Column, " n"]:
        """The first ``Reason`` to filter each instance; ``KEPT`` if there is none.

        Args:
            measured: visible area and box of each.
            visibility: visible share of the whole, times an incoming ``visibility``.
            output: the mixed image that each is part of.
            layer: 0 for base instances, else pasted.
        """
        xp, (least, size) = module_of(layer), self.limits

        def reached(value: Column, base: float, pasted: float) -> Column:
            limit: Any = base
            if base != pasted:
                limit = xp.where(layer > 0, xp.full_like(value, pasted), xp.full_like(value, base))
            return value > limit if self.strict else value >= limit

        reason = xp.full_like(layer, Reason.KEPT.value)
        if measured.boxes is not None:
            sides = measured.sides
            shortest = xp.amin(sides, axis=1)
            if self.max_aspect < math.inf:
                reason[xp.amax(sides, axis=1) >= self.max_aspect * shortest] = Reason.ELONGATED.value
            reason[~reached(shortest, *size)] = Reason.TOO_SMALL.value
        reason[~reached(visibility, *least)] = Reason.LOW_VISIBILITY.value
        reason[measured.visible <= 0] = Reason.COVERED.value
        return reason


CORNERS = 8
"""Columns of the four corners of a rotated box; upright boxes have four, or six in volumes."""


@dataclass(frozen=True)
class OcclusionRule(FilterRule):
    """The rule of MMDetection's ``CopyPaste``: a base instance stays if its box hardly moved or enough is visible.

    Pasted instances always stay.

    Args:
        min_visibility: as in ``FilterRule``, default 0.
        min_size: as in ``FilterRule``, default 0.
        max_aspect: as in ``FilterRule``.
        strict: as in ``FilterRule``.
        max_box_shift: a base instance stays if no coordinate of its box moved by more, pixels.
        min_pixels: a base instance also stays if more of its pixels show.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> box, sizes = torch.tensor([[[0, 0, 40, 30]]]), torch.tensor([[40, 60], [40, 60]])
        >>> plan = cd.MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
        >>> boxes = torch.tensor([[[2.0, 2.0, 36.0, 12.0]], [[2.0, 2.0, 9.0, 9.0]]])  # 60 pixels of the first show
        >>> mixed = cd.functional.mix_instances([{"boxes": rows} for rows in boxes], plan, rule=OcclusionRule())
        >>> mixed[0]["boxes"].tolist()  # the pasted one
        [[2.0, 2.0, 9.0, 9.0]]
    """

    min_visibility: float | tuple[float, float] = 0.0
    min_size: float | tuple[float, float] = 0.0
    max_box_shift: float = 10.0
    min_pixels: float = 300.0

    def reasons(
        self, measured: Measured, visibility: Float[Column, " n"], output: Int[Column, " n"], layer: Int[Column, " n"]
    ) -> Int[Column, " n"]:
        """The first ``Reason`` to filter each instance; see ``FilterRule.reasons``."""
        reason = super().reasons(measured, visibility, output, layer)
        stays = (measured.visible > self.min_pixels) | (layer > 0)
        # the corners of a rotated box stay as they are, whatever shows
        boxes, mapped = measured.boxes, measured.mapped
        if boxes is not None and mapped is not None and boxes.shape[1] < CORNERS:
            stays |= (abs(boxes - mapped) <= self.max_box_shift).all(axis=1)
        reason[~stays & (reason == Reason.KEPT.value)] = Reason.LOW_VISIBILITY.value
        return reason


RULES: dict[str, FilterRule] = {
    "ultralytics": FilterRule(min_visibility=0.1, min_size=2.0, max_aspect=100.0, strict=True),
    "mmdet": FilterRule(min_visibility=0.0, min_size=0.0),
    "mmdet_copy_paste": OcclusionRule(),
    "torchvision": FilterRule(min_visibility=0.0, min_size=(2.0, 0.0)),
}
"""Rules of other libraries by name.

``ultralytics``: ``box_candidates`` (sides > 2 px, more than 0.10 of the area left, aspect < 100). ``mmdet``: Mosaic and
MixUp (instances outside are dropped, without a test of visibility). ``mmdet_copy_paste``: CopyPaste. ``torchvision``:
the SimpleCopyPaste reference (drops base instances without a visible pixel, and those one pixel wide or high, whose
boxes have no width there).
"""
