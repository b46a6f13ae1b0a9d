"""Which instances are kept after a mix, and why the others are not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple, get_args

from jaxtyping import Float, Int

from cutmix_dense.arrays.host import Column, module_of
from cutmix_dense.checks import finite

__all__ = ["RULES", "Facts", "FilterRule", "OcclusionRule", "OnFiltered", "Reason", "rule_of"]

OnFiltered = Literal["drop", "ignore", "crowd"]
"""What becomes of what fails but still shows: dropped, moved to ``target["ignored"]``, or kept as a crowd."""


def _pair(value: float | tuple[float, float], name: str) -> tuple[float, float]:
    if isinstance(value, (int, float)):
        return value, value
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return value[0], value[1]
    raise ValueError(f"{name} must be a number or (base, pasted), got {value!r}")


class Reason(IntEnum):
    """Why an instance was not kept; ``KEPT`` if it was."""

    KEPT = 0
    NOT_CARRIED = 1
    BROKEN_BOX = 2
    EMPTY_MASK = 3
    OUTSIDE = 4
    COVERED = 5
    LOW_VISIBILITY = 6
    TOO_SMALL = 7
    ELONGATED = 8
    NOT_FINITE = 9

    @property
    def text(self) -> str:
        """As reports show it; empty for a kept instance."""
        return "" if self is Reason.KEPT else self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class FilterRule:
    """Thresholds that a changed instance must reach; an untouched one is never filtered.

    Args:
        min_visibility: least visible share of the whole instance, in [0, 1]; for base and pasted instances alike, or
            (base, pasted). Reached when ``>=``.
        min_size: least length of both sides of the box, pixels; alike or (base, pasted). Reached when ``>=``.
        max_aspect: the longer side over the shorter must stay below this.
        strict: thresholds must be exceeded (``>``) instead of reached.
    """

    min_visibility: float | tuple[float, float] = 0.1
    min_size: float | tuple[float, float] = 1.0
    max_aspect: float = math.inf
    strict: bool = False

    def __post_init__(self) -> None:
        for value in _pair(self.min_visibility, "min_visibility"):
            if not 0 <= value <= 1:
                raise ValueError(f"min_visibility must lie in [0, 1], got {self.min_visibility!r}")
        for value in _pair(self.min_size, "min_size"):
            if not (finite(value) and value >= 0):
                raise ValueError(f"min_size must be at least 0 pixels, got {self.min_size!r}")
        if not self.max_aspect >= 1:
            raise ValueError(f"max_aspect must be at least 1, got {self.max_aspect!r}")

    def reasons(self, facts: Facts) -> Int[Column, " n"]:
        """The first ``Reason`` that speaks against each instance."""
        xp = module_of(facts.layer)

        def reached(value: Column, threshold: float | tuple[float, float], name: str) -> Column:
            base, pasted = map(float, _pair(threshold, name))
            limit: Any = base
            if base != pasted:
                limit = xp.where(facts.layer > 0, xp.full_like(value, pasted), xp.full_like(value, base))
            return value > limit if self.strict else value >= limit

        reason = xp.full_like(facts.layer, Reason.KEPT.value)
        if facts.boxes is not None:
            sides = facts.sides
            shortest = xp.amin(sides, axis=1)
            if self.max_aspect < math.inf:
                reason[xp.amax(sides, axis=1) >= self.max_aspect * shortest] = Reason.ELONGATED.value
            reason[~reached(shortest, self.min_size, "min_size")] = Reason.TOO_SMALL.value
        reason[~reached(facts.visibility, self.min_visibility, "min_visibility")] = Reason.LOW_VISIBILITY.value
        reason[facts.visible <= 0] = Reason.COVERED.value
        return reason


class Facts(NamedTuple):
    """What a rule may look at, one row per instance: numpy arrays on the host, tensors on a device.

    Attributes:
        visibility: visible share of the whole.
        visible: visible pixels (of the mask, or of the box's area).
        boxes: the box after the mix, of rotated ones four corners (n, 8); None where there are none.
        whole_boxes: the box as mapped onto the canvas, before anything was cut; None where there are none.
        layer: 0 is the base, all others are pasted.
    """

    visibility: Float[Column, " n"]
    visible: Float[Column, " n"]
    boxes: Float[Column, "n 2*d"] | None
    whole_boxes: Float[Column, "n 2*d"] | None
    layer: Int[Column, " n"]

    @property
    def sides(self) -> Float[Column, "n s"]:
        """Lengths of the boxes' sides: one per axis, or of rotated boxes all four."""
        assert self.boxes is not None
        half = self.boxes.shape[1] // 2
        if half == 4:
            corners = self.boxes.reshape(-1, 4, 2)
            return ((corners[:, [1, 2, 3, 0]] - corners) ** 2).sum(axis=2) ** 0.5
        return self.boxes[:, half:] - self.boxes[:, :half]


_CORNERS = 8
"""Columns of a rotated box's four corners; upright ones have four, in volumes six."""


@dataclass(frozen=True)
class OcclusionRule(FilterRule):
    """MMDetection's ``CopyPaste``: a base instance stays if its box hardly moved or enough of its mask is left.

    Args:
        max_box_shift: a base instance stays if no coordinate of its box moved by more, pixels …
        min_pixels: … or if more than this many of its pixels show. Pasted instances always stay.
    """

    min_visibility: float | tuple[float, float] = 0.0
    min_size: float | tuple[float, float] = 0.0
    max_box_shift: float = 10.0
    min_pixels: float = 300.0

    def reasons(self, facts: Facts) -> Int[Column, " n"]:
        """The first ``Reason`` that speaks against each instance."""
        reason = super().reasons(facts)
        stays = (facts.visible > self.min_pixels) | (facts.layer > 0)
        # corners of a rotated box that is kept as it is say nothing about what shows of it
        if facts.boxes is not None and facts.whole_boxes is not None and facts.boxes.shape[1] < _CORNERS:
            stays |= (abs(facts.boxes - facts.whole_boxes) <= self.max_box_shift).all(axis=1)
        reason[~stays & (reason == Reason.KEPT.value)] = Reason.LOW_VISIBILITY.value
        return reason


RULES: dict[str, FilterRule] = {
    "ultralytics": FilterRule(min_visibility=0.1, min_size=2.0, max_aspect=100.0, strict=True),
    "mmdet": FilterRule(min_visibility=0.0, min_size=0.0),
    "mmdet_copy_paste": OcclusionRule(),
    "torchvision": FilterRule(min_visibility=0.0, min_size=(2.0, 0.0)),
}
"""Rules of peers: Ultralytics' ``box_candidates`` (sides > 2 px, more than 0.10 of the area kept, aspect < 100);
MMDetection's Mosaic and MixUp (what lies outside is dropped, there is no visibility test) and its CopyPaste;
torchvision's SimpleCopyPaste reference (base instances without a visible pixel are dropped, and those one pixel
wide or high, whose boxes have no width there)."""


def rule_of(
    rule: FilterRule | str | None,
    min_visibility: float | tuple[float, float],
    min_size: float | tuple[float, float],
) -> FilterRule:
    """The rule that three arguments name together: ``rule`` if given, else the two thresholds.

    Raises:
        ValueError: an unknown preset.
        TypeError: something else.
    """
    if rule is None:
        return FilterRule(min_visibility, min_size)
    if isinstance(rule, FilterRule):
        return rule
    if isinstance(rule, str):
        if rule not in RULES:
            raise ValueError(f"rule must be a FilterRule or one of {sorted(RULES)}, got {rule!r}")
        return RULES[rule]
    raise TypeError(f"rule must be a FilterRule, a preset's name or None, got {type(rule).__name__}")


def check_on_filtered(value: str) -> None:
    """Raise ValueError unless ``value`` is one of ``OnFiltered``."""
    if value not in get_args(OnFiltered):
        raise ValueError(f"on_filtered must be one of {get_args(OnFiltered)}, got {value!r}")
