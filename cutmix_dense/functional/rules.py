"""How targets are judged and returned: thresholds, presets of other libraries, and further choices."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Literal, TypeVar, get_args

from jaxtyping import Float, Int

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import Column, module_of
from cutmix_dense.checks import finite
from cutmix_dense.functional.fields import Scaling, check_instance_keys
from cutmix_dense.functional.measured import Measured
from cutmix_dense.functional.report import Reason

__all__ = [
    "CORNERS",
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
    "rules_of",
    "takes_rules",
]

OnFiltered = Literal["drop", "ignore", "crowd"]
"""What happens to instances that fail but still show: dropped, moved to ``target["ignored"]``, or kept as a crowd."""

BoxesFrom = Literal["auto", "box", "mask"]
"""What the box of a changed instance encloses.

``auto``: its visible mask, or the visible part of its box if it has no mask. ``box``: the visible part of its box.
``mask``: as ``auto``, but targets must hold masks.
"""

Boxes = Literal["exact", "estimate"]
"""Whether the boxes of instances without a mask may be estimated under a free-form mask."""

Rotated = Literal["keep", "refit"]
"""What a changed rotated box becomes: the whole object's (keep), or the smallest round its visible part (refit)."""

Split = Literal["hull", "parts"]
"""What an instance split by a region becomes: one, with a box round all parts (hull), or one per part (parts)."""

SoftSemantic = Literal["pair", "probabilities"]
"""Form of semantic maps under a soft plan: ``SemanticPair``, or class probabilities."""


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
            if not 0 <= value <= 1:
                raise ValueError(f"min_visibility must lie in [0, 1], got {self.min_visibility!r}")
        for value in size:
            if not (finite(value) and value >= 0):
                raise ValueError(f"min_size must be at least 0 pixels, got {self.min_size!r}")
        if not self.max_aspect >= 1:
            raise ValueError(f"max_aspect must be at least 1, got {self.max_aspect!r}")
        limits = (float(visibility[0]), float(visibility[1])), (float(size[0]), float(size[1]))
        object.__setattr__(self, "limits", limits)

    def reasons(
        self, measured: Measured, visibility: Float[Column, " n"], layer: Int[Column, " n"]
    ) -> Int[Column, " n"]:
        """The first ``Reason`` to filter each instance; ``KEPT`` if there is none.

        Args:
            measured: visible area and box of each.
            visibility: visible share of the whole, times an incoming ``visibility``.
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
    """The rule of MMDetection's ``CopyPaste``: a base instance stays if its box hardly moved or enough pixels show.

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
        self, measured: Measured, visibility: Float[Column, " n"], layer: Int[Column, " n"]
    ) -> Int[Column, " n"]:
        """The first ``Reason`` to filter each instance; see ``FilterRule.reasons``."""
        reason = super().reasons(measured, visibility, layer)
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


@dataclass(frozen=True, kw_only=True)
class TargetRules:
    """All choices about targets that ``mix_instances`` and the transforms accept, checked when made.

    Args:
        min_visibility: least visibility, in [0, 1]; one for all, or (base, pasted). It applies to the product with an
            incoming ``visibility``.
        min_size: least length of a box's sides, pixels; one for all, or (base, pasted).
        on_filtered: what happens to instances that fail: ``"drop"``; ``"ignore"``: those that still show move to
            ``target["ignored"]``; ``"crowd"``: those that still show stay, with ``iscrowd`` = 1.
        boxes_from: what the box of a changed instance encloses; see ``BoxesFrom``.
        rule: a ``FilterRule``, or a name in ``RULES``, instead of the two thresholds.
        instance_keys: further keys with one row (tensor) or item (list) per instance. They follow it unchanged, unless
            a dict gives their ``Scaling``: ``{"radius": "length", "name": "unchanged"}``.
        image_keys: further keys whose value stays the base image's.
        semantic_keys: further keys of maps of class ids, mixed by ``mix_semantic``.
        ignore_index: id of semantic pixels without an owner.
        boxes: under a free-form mask, ``"exact"`` refuses boxes without masks, since the pixels owned inside a box
            include background; ``"estimate"`` takes those pixels as the object's. If other instances have masks, those
            without are refused only where the free-form mask cuts their box.
        flip_pairs: (left, right) indices of keypoints that swap in mirrored images; required if any is mirrored.
        instance_weights: whether instances also carry ``weight`` (N,) under hard plans, where it is 1; under a soft
            plan it is their layer's share. An incoming ``weight`` is multiplied.
        soft_semantic: form of semantic maps under a soft plan; see ``SoftSemantic``.
        num_classes: number of classes, for ``soft_semantic="probabilities"`` and for integer image-level labels.
        rotated: what changed rotated boxes become: ``"keep"``, the whole object's box, mapped with its image;
            ``"refit"``, the smallest rotated rectangle round the visible part. Unequal scales make parallelograms:
            XYXYXYXY holds them, formats with an angle get the smallest rectangle round them. ``min_size`` applies to
            the sides of the rotated box.
        split: what an instance becomes if a region leaves several parts of it: ``"hull"``, one instance; ``"parts"``,
            an instance per part, each with its own box, mask and visibility, judged separately, and with the same
            ``origin``. ``"parts"`` isn't for padded or rotated boxes, nor with keypoints; panoptic segments stay whole.

    Attributes:
        filter: the thresholds: ``rule`` if given, else ``min_visibility`` and ``min_size``.
        scaling: the ``Scaling`` of each of ``instance_keys``.

    Raises:
        ValueError: an argument is out of range; the message names it.
        TypeError: keys aren't strings, or ``rule`` is of another type.

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
    filter: FilterRule = field(init=False, repr=False, compare=False)
    scaling: Mapping[str, Scaling] = field(init=False, repr=False, compare=False)

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
        own, rule, keys = FilterRule(self.min_visibility, self.min_size), self.rule, self.instance_keys
        object.__setattr__(self, "filter", own if rule is None else RULES[rule] if isinstance(rule, str) else rule)
        scaling = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, "unchanged")
        object.__setattr__(self, "scaling", scaling)

    @classmethod
    def of(cls, rules: Mapping[str, Any], taker: str) -> TargetRules:
        """The rules from the keyword arguments of ``taker``, the name of a function or class.

        Raises:
            TypeError: a name is unknown; the message has a hint.
        """
        for name in rules:
            if name not in RULE_NAMES:
                near = difflib.get_close_matches(name, RULE_NAMES, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(RULE_NAMES)}"
                raise TypeError(f"{taker} has no argument {name!r}: {hint}")
        return cls(**rules)


RULE_NAMES = tuple(item.name for item in fields(TargetRules) if item.init)
"""Names of all target rules; ``torch.compile`` can't trace ``dataclasses.fields``."""

_rules_among = attrgetter(*RULE_NAMES)


def rules_of(holder: Any) -> TargetRules:
    """The rules that an object has as attributes; it keeps them until one differs.

    Values are compared with the copies in the rules, so that a change within a dict or list is seen too.
    """
    if is_compiling():
        return TargetRules(**{name: getattr(holder, name) for name in RULE_NAMES})
    known, given = holder.__dict__.get("_rules"), _rules_among(holder)
    try:
        same = known is not None and _rules_among(known) == given
    except (RuntimeError, TypeError, ValueError):  # an array among them
        same = False
    if not same:
        known = holder.__dict__["_rules"] = TargetRules(**dict(zip(RULE_NAMES, given)))
    return known


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
    """Decorate a function with ``**rules`` so that its signature shows the fields of ``TargetRules``."""
    signature = inspect.signature(function)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    more = [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=item.type)
        for item in fields(TargetRules)
        if item.init
    ]
    function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    return function
