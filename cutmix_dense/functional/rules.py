"""How targets are judged and returned: thresholds, presets of peers, and every other choice there is."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

from jaxtyping import Float, Int

from cutmix_dense.arrays.host import Column, module_of
from cutmix_dense.checks import finite
from cutmix_dense.functional.fields import Scaling, check_instance_keys
from cutmix_dense.functional.measured import Measured
from cutmix_dense.functional.report import Reason

__all__ = [
    "RULES",
    "Boxes",
    "BoxesFrom",
    "FilterRule",
    "OcclusionRule",
    "OnFiltered",
    "Rotated",
    "SoftSemantic",
    "Split",
    "TargetRules",
    "takes_rules",
]

OnFiltered = Literal["drop", "ignore", "crowd"]
"""What becomes of what fails but still shows: dropped, moved to ``target["ignored"]``, or kept as a crowd."""

BoxesFrom = Literal["auto", "box", "mask"]
"""What a changed instance's box encloses: its visible mask where it has one (auto), its visible box, or its mask.

``mask`` needs targets with masks; a row that states none gives its visible box there, too.
"""

Boxes = Literal["exact", "estimate"]
"""Whether boxes without masks may be guessed under a free-form mask."""

Rotated = Literal["keep", "refit"]
"""What a changed rotated box becomes: the whole object's (keep), or the smallest round what is visible (refit)."""

Split = Literal["hull", "parts"]
"""What an instance becomes that a region splits: one, with a box round all that shows (hull), or one for each part."""

SoftSemantic = Literal["pair", "probabilities"]
"""Form of semantic maps under a soft plan: ``SemanticPair``, or class probabilities."""


def _pair(value: float | tuple[float, float], name: str) -> tuple[float, float]:
    if isinstance(value, (int, float)):
        return value, value
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return value[0], value[1]
    raise ValueError(f"{name} must be a number or (base, pasted), got {value!r}")


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

    def reasons(
        self, measured: Measured, visibility: Float[Column, " n"], layer: Int[Column, " n"]
    ) -> Int[Column, " n"]:
        """The first ``Reason`` that speaks against each instance.

        Args:
            measured: what shows of it.
            visibility: the share of the whole that this is, times an incoming one.
            layer: 0 is the base, all others are pasted.
        """
        xp = module_of(layer)

        def reached(value: Column, threshold: float | tuple[float, float], name: str) -> Column:
            base, pasted = map(float, _pair(threshold, name))
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
            reason[~reached(shortest, self.min_size, "min_size")] = Reason.TOO_SMALL.value
        reason[~reached(visibility, self.min_visibility, "min_visibility")] = Reason.LOW_VISIBILITY.value
        reason[measured.visible <= 0] = Reason.COVERED.value
        return reason


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

    def reasons(
        self, measured: Measured, visibility: Float[Column, " n"], layer: Int[Column, " n"]
    ) -> Int[Column, " n"]:
        """The first ``Reason`` that speaks against each instance; see ``FilterRule.reasons``."""
        reason = super().reasons(measured, visibility, layer)
        stays = (measured.visible > self.min_pixels) | (layer > 0)
        # corners of a rotated box that is kept as it is say nothing about what shows of it
        boxes, mapped = measured.boxes, measured.mapped
        if boxes is not None and mapped is not None and boxes.shape[1] < _CORNERS:
            stays |= (abs(boxes - mapped) <= self.max_box_shift).all(axis=1)
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


@dataclass(frozen=True, kw_only=True)
class TargetRules:
    """Every choice about targets that ``mix_instances`` and the transforms take, checked once.

    Args:
        min_visibility: least visibility, in [0, 1]; for all, or (base, pasted). The product with an incoming
            ``visibility`` counts.
        min_size: least length of a box's sides, pixels; for all, or (base, pasted).
        on_filtered: ``"drop"`` what fails; ``"ignore"``: move what still shows to ``target["ignored"]``; ``"crowd"``:
            keep it with ``iscrowd`` = 1.
        boxes_from: what a changed instance's box encloses; see ``BoxesFrom``.
        rule: a ``FilterRule`` or the name of a peer's (``RULES``) in place of the two thresholds.
        instance_keys: further keys with one row (tensor) or item (list) per instance. They follow it unchanged; a dict
            says of each what its numbers are (``Scaling``): ``{"radius": "length", "name": "unchanged"}``.
        image_keys: further keys that stay the base image's.
        semantic_keys: further keys that hold a map of class ids, mixed by ``mix_semantic``.
        ignore_index: id of a semantic map's pixels that nobody owns.
        boxes: ``"exact"``: boxes without masks under a free-form mask are refused, since the pixels owned inside a box
            include background; ``"estimate"``: take those pixels as the object's. Rows without a mask among others are
            refused only where a free-form mask cuts their box.
        flip_pairs: (left, right) keypoints that change names where their image is mirrored; needed there.
        instance_weights: whether instances carry ``weight`` (N,) under a hard plan too, where it is 1; under a soft
            plan it is their layer's share. An incoming one is multiplied.
        soft_semantic: form of semantic maps under a soft plan; see ``mix_maps``.
        num_classes: number of classes, for ``soft_semantic="probabilities"`` and for integer image-level labels.
        rotated: what boxes of rotated formats become that aren't untouched. ``"keep"``: where anything of it stays,
            the whole object's box, mapped with its image; ``"refit"``: the smallest rotated rectangle round what is
            visible. Unequal scales turn a rectangle into a parallelogram: XYXYXYXY holds it, the formats with an angle
            get the smallest rectangle round it either way. Sides, for ``min_size``, are the rotated box's own.
        split: ``"hull"``: an instance of which a region leaves several parts stays one; ``"parts"``: each part becomes
            an instance, with its own box, mask and visibility, judged by itself; ``origin`` says that they were one.
            Not for padded or rotated boxes, nor beside keypoints; segments of panoptic maps stay whole.

    Raises:
        ValueError: an argument out of range, named.
        TypeError: keys that aren't strings; a rule of another kind.

    Example:
        >>> TargetRules(min_visibility=0.3).filter.min_visibility
        0.3
    """

    min_visibility: float | tuple[float, float] = 0.1
    min_size: float | tuple[float, float] = 1.0
    on_filtered: OnFiltered = "drop"
    boxes_from: BoxesFrom = "auto"
    rule: FilterRule | str | None = None
    instance_keys: Sequence[str] | Mapping[str, Scaling] = ()
    image_keys: Sequence[str] = ()
    semantic_keys: Sequence[str] = ()
    ignore_index: int = 255
    boxes: Boxes = "exact"
    flip_pairs: Sequence[tuple[int, int]] | None = None
    instance_weights: bool = False
    soft_semantic: SoftSemantic = "pair"
    num_classes: int | None = None
    rotated: Rotated = "keep"
    split: Split = "hull"

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {get_args(allowed)}, got {getattr(self, name)!r}")
        if self.num_classes is not None and self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {self.num_classes!r}")
        for name in ("instance_keys", "image_keys", "semantic_keys"):
            keys = getattr(self, name)
            if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
                raise TypeError(f"{name} must be a sequence of keys, got {keys!r}")
            object.__setattr__(self, name, dict(keys) if isinstance(keys, Mapping) else tuple(keys))
        if self.flip_pairs is not None:
            object.__setattr__(self, "flip_pairs", tuple((int(a), int(b)) for a, b in self.flip_pairs))
        check_instance_keys(self.instance_keys)
        if self.rule is not None and not isinstance(self.rule, (str, FilterRule)):
            kind = type(self.rule).__name__
            raise TypeError(f"rule must be a FilterRule, a preset's name or None, got {kind}")
        if isinstance(self.rule, str) and self.rule not in RULES:
            raise ValueError(f"rule must be a FilterRule or one of {sorted(RULES)}, got {self.rule!r}")
        FilterRule(self.min_visibility, self.min_size)

    @cached_property
    def filter(self) -> FilterRule:
        """The thresholds: ``rule`` if given, else ``min_visibility`` and ``min_size``."""
        if isinstance(self.rule, str):
            return RULES[self.rule]
        return FilterRule(self.min_visibility, self.min_size) if self.rule is None else self.rule

    @property
    def scaling(self) -> Mapping[str, Scaling]:
        """What the numbers of each of ``instance_keys`` are."""
        keys = self.instance_keys
        return keys if isinstance(keys, Mapping) else dict.fromkeys(keys, "unchanged")

    @classmethod
    def of(cls, rules: Mapping[str, Any], taker: str) -> TargetRules:
        """The rules that keyword arguments say; ``taker`` is the function that got them.

        Raises:
            TypeError: a name that isn't one, with a hint.
        """
        names = [item.name for item in fields(cls)]
        for name in rules:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
                raise TypeError(f"{taker} has no argument {name!r}: {hint}")
        return cls(**rules)


_CHOICES: dict[str, Any] = {
    "on_filtered": OnFiltered,
    "boxes_from": BoxesFrom,
    "boxes": Boxes,
    "soft_semantic": SoftSemantic,
    "rotated": Rotated,
    "split": Split,
}

Function = TypeVar("Function", bound=Callable[..., Any])


def takes_rules(function: Function) -> Function:
    """Show the fields of ``TargetRules``, which a function takes as ``**rules``, in its signature."""
    signature = inspect.signature(function)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    more = [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=item.type)
        for item in fields(TargetRules)
    ]
    function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    return function
