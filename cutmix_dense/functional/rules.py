"""How targets are judged and returned: all choices that mixes of targets accept."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Literal, TypeVar, get_args

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.checks import whole
from cutmix_dense.functional.fields import FIELDS, Scaling, check_instance_keys
from cutmix_dense.functional.filters import RULES, FilterRule
from cutmix_dense.functional.keypoints import FlipPairs

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


_CHANGES = {key: known.change for key, known in FIELDS.items() if known.of == "instance"}


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
        changes: what a mix does to the rows of each instance key: ``fields.Field.change``, or the ``Scaling`` of one of
            ``instance_keys``.

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
    flip_pairs: FlipPairs | None = None
    instance_weights: bool = False
    soft_semantic: SoftSemantic = "pair"
    num_classes: int | None = None
    rotated: Rotated = "keep"
    split: Split = "hull"
    filter: FilterRule = field(init=False, repr=False, compare=False)
    changes: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {get_args(allowed)}, got {getattr(self, name)!r}")
        if self.num_classes is not None:
            object.__setattr__(self, "num_classes", whole(self.num_classes, "num_classes"))
        object.__setattr__(self, "ignore_index", whole(self.ignore_index, "ignore_index", least=None))
        for name in ("instance_keys", "image_keys", "semantic_keys"):
            keys = getattr(self, name)
            if isinstance(keys, str) or not isinstance(keys, Iterable) or not all(isinstance(key, str) for key in keys):
                raise TypeError(f"{name} must be a sequence of keys, got {keys!r}")
            object.__setattr__(self, name, dict(keys) if isinstance(keys, Mapping) else tuple(keys))
        if self.flip_pairs is not None:
            try:
                pairs = tuple((int(left), int(right)) for left, right in self.flip_pairs)
            except (TypeError, ValueError):
                raise ValueError(
                    f"flip_pairs must be pairs of keypoint indices such as ((1, 2), (3, 4)), got {self.flip_pairs!r}"
                ) from None
            object.__setattr__(self, "flip_pairs", pairs)
        check_instance_keys(self.instance_keys)
        if self.rule is not None and not isinstance(self.rule, (str, FilterRule)):
            kind = type(self.rule).__name__
            raise TypeError(f"rule must be a FilterRule, a preset's name or None, got {kind}")
        if isinstance(self.rule, str) and self.rule not in RULES:
            raise ValueError(f"rule must be a FilterRule or one of {sorted(RULES)}, got {self.rule!r}")
        own, rule, keys = FilterRule(self.min_visibility, self.min_size), self.rule, self.instance_keys
        object.__setattr__(self, "filter", own if rule is None else RULES[rule] if isinstance(rule, str) else rule)
        named = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, "unchanged")
        object.__setattr__(self, "changes", {**_CHANGES, **named})

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
    given = _rules_among(holder)
    known: TargetRules | None = holder.__dict__.get("_rules")
    try:
        same = known is not None and _rules_among(known) == given
    except (RuntimeError, TypeError, ValueError):  # an array among them
        same = False
    if known is None or not same:
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
