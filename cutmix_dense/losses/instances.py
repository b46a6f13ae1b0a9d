"""What every instance weighs in a loss, which instances it looks for, and which regions it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.functional.fields import IGNORED, STATED

By = str | Sequence[str] | Callable[[Mapping[str, Any]], Tensor]
"""Where the weights are: a key of the targets, several whose product counts, or a function of a target."""
Normalize = Literal["count", "weight"]
"""What a sum of weighted terms is divided by; see ``Weighing``."""
Mixed = Literal["united", "interpolated"]
"""How the instances of several blended images make one loss; see ``Weighing``."""

_PER_INSTANCE = ("labels", "masks", "keypoints", STATED)
_SHARE_KEY = "weight"
_LEAST = 1e-4
"""Shares of an image below this don't show; those of a target may differ by as much."""
_EVERY = -1
"""Stands for the image of an ignored instance that doesn't say it: it is ignored in every image's set."""
_Set = tuple[Tensor | None, float, Tensor | None]
"""Rows among the instances that are found, the share of their image, and which regions are its own; None: all."""


@dataclass(frozen=True)
class Weighing:
    """How weights of instances act in a loss.

    Args:
        by: see ``By``. ``"visibility"`` and ``"weight"`` come from a mix, ``"scores"`` from a teacher.
        normalize: ``"count"``: by the number of matched anchors, proposals or queries, weighted or not, as the stock
            losses do, so that an instance of weight 0.5 pulls half as hard. ``"weight"``: by the sum of their weights,
            at least 1, so that weights only say how instances share the pull (as the class loss of Soft Teacher does,
            Xu et al. 2021: ``ssod/models/soft_teacher.py``, ``unsup_rcnn_cls_loss``).
        mixed: ``"united"``: all instances of a target make one set of labels, and each of its terms counts by its
            weight. ``"interpolated"``: LossMix; the instances of each blended image make a set of their own, with its
            own crowds and ignored instances, and the losses of the sets count by the shares of their images. It serves
            a single ``MixUp``: after a ``Chain`` or
            a recipe, ``origin`` doesn't say which of the two blended images an instance came with.
        crowd_iof: a crowd leaves out the anchors, proposals and points of which at least this share lies within its
            box, in (0, 1], as ``ignore_iof_thr`` of MMDetection's ``MaxIoUAssigner``.

    Raises:
        TypeError: ``by`` is neither a key, nor keys, nor a function.
        ValueError: another argument is unknown or out of range; ``"interpolated"`` without ``"weight"`` in ``by``.

    Source: Vu et al., Supervision Interpolation via LossMix (2024), for ``"interpolated"``.

    Example:
        >>> Weighing(by="visibility").keys
        ('visibility',)
    """

    by: By
    normalize: Normalize = "count"
    mixed: Mixed = "united"
    crowd_iof: float = 0.5

    def __post_init__(self) -> None:
        if not callable(self.by):
            keys = (self.by,) if isinstance(self.by, str) else tuple(self.by) if isinstance(self.by, Sequence) else ()
            if not keys or not all(isinstance(key, str) for key in keys):
                raise TypeError(
                    f"by must be a key such as 'visibility', several keys, or a function of a target, got {self.by!r}"
                )
            object.__setattr__(self, "by", keys)
        choices: dict[str, Any] = {"normalize": Normalize, "mixed": Mixed}
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {get_args(allowed)}, got {getattr(self, name)!r}")
        if not 0 < self.crowd_iof <= 1:
            raise ValueError(f"crowd_iof must lie in (0, 1], got {self.crowd_iof!r}")
        if self.mixed == "interpolated" and _SHARE_KEY not in self.keys:
            raise ValueError(
                f"mixed='interpolated' takes the shares of the images from {_SHARE_KEY!r}, which MixUp writes: name it "
                f"in by, got {self.by!r}"
            )

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys whose product counts; none if ``by`` is a function."""
        return () if callable(self.by) else tuple(self.by)

    def divisor(self, weights: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        """What a sum of terms with these weights is divided by, at least 1."""
        if self.normalize == "weight":
            return weights.sum().clamp(min=1)
        return weights.new_tensor(float(max(1, weights.numel())))


def instance_weights(target: Mapping[str, Any], by: By, where: str = "target") -> Float[Tensor, " n"]:
    """The weight of every instance of a target, float32 and without gradient.

    Args:
        target: with ``boxes`` (N, 4) and what ``by`` names, (N,) each.
        by: see ``By``; several keys are multiplied.
        where: what messages call the target.

    Raises:
        KeyError: a key isn't there; an image without objects counts as having it.
        ValueError: another shape than (N,), or weights that are negative, infinite or NaN.

    Example:
        >>> half = torch.tensor([0.5, 0.5])
        >>> target = {"boxes": torch.rand(2, 4), "visibility": torch.tensor([1.0, 0.5]), "weight": half}
        >>> instance_weights(target, ("visibility", "weight")).tolist()
        [0.5, 0.25]
    """
    boxes = target["boxes"]
    weights = torch.ones(len(boxes), dtype=torch.float32, device=boxes.device)
    if callable(by):
        found = {"by": by(target)}
    else:
        keys = (by,) if isinstance(by, str) else tuple(by)
        absent = [key for key in keys if key not in target]
        if absent and len(boxes):
            raise KeyError(
                f"{where} has no {absent[0]!r}, which by={by!r} names; it has {sorted(target)}. A mix writes "
                "'visibility'; MixUp, and every mix with instance_weights=True, writes 'weight'"
            )
        found = {key: target[key] for key in keys if key in target}
    for name, value in found.items():
        if not isinstance(value, Tensor) or value.shape != weights.shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{where}[{name!r}] must hold one weight for each of {len(boxes)} boxes, got {got}")
        weights = weights * value.detach().to(weights)
    if not bool(((weights >= 0) & weights.isfinite()).all()):
        raise ValueError(f"weights of {where} must be finite and at least 0, got {weights.tolist()}")
    return weights


@dataclass(frozen=True)
class Labels:
    """What a loss looks for in an image: one set of instances.

    Attributes:
        target: ``boxes`` (M, 4), ``labels`` (M,), and ``masks``, ``keypoints``, ``has_mask`` where they are given.
        weights: of these instances, above 0.
        share: what the whole image counts with this set of labels; the shares of its sets add up to 1.
        regions: boxes of its ignored instances and crowds, which are neither found nor background.
        crowd: which of these regions are crowds.
    """

    target: dict[str, Tensor]
    weights: Float[Tensor, " m"]
    share: float
    regions: Float[Tensor, "i 4"]
    crowd: Bool[Tensor, " i"]


def prepared(target: Mapping[str, Any], weighing: Weighing, index: int = 0) -> dict[str, Any]:
    """A target as torchvision's transform takes it: what is found first, behind it the boxes of what is left out.

    Instances of weight 0, crowds and those of ``target["ignored"]`` are left out; their boxes travel behind the others,
    so that they are resized too. Boxes of them without an area say nothing and are dropped. ``index`` is the place of
    the target in its batch.

    Raises:
        KeyError, ValueError: see ``instance_weights``; for ``mixed="interpolated"`` weights that aren't those of a
            single ``MixUp``.
        TypeError: boxes that aren't floating point, labels that aren't int64, as torchvision's.
    """
    where = f"targets[{index}]"
    boxes, labels = _boxes(target, where), target["labels"]
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(
            f"{where}['labels'] must be an int64 tensor, got {getattr(labels, 'dtype', type(labels).__name__)}"
        )
    weights = instance_weights(target, weighing.by, where)
    crowd = target["iscrowd"] != 0 if "iscrowd" in target else torch.zeros_like(weights, dtype=torch.bool)
    found = (weights > 0) & ~crowd
    regions, crowds, left_out = [boxes], [crowd], [~found]
    if IGNORED in target:
        more = _boxes(target[IGNORED], f"{where}[{IGNORED!r}]")
        flags = target[IGNORED].get("iscrowd")
        regions.append(more.to(boxes))
        crowds.append(flags != 0 if flags is not None else crowd.new_zeros(len(more)))
        left_out.append(torch.ones_like(crowds[1]))
    region, out = torch.cat(regions), torch.cat(left_out)
    out &= (region[:, 2:] > region[:, :2]).all(dim=1)
    sets: list[_Set] = [(None, 1.0, None)]
    if weighing.mixed == "interpolated":
        images, shares = _images(target, where)
        out &= shares > _LEAST  # an image that doesn't show has no part, nor do its instances
        sets = _sets(images, shares, found, index, where)
        sets = [(rows, share, None if own is None else own[out]) for rows, share, own in sets]
    kept = {key: target[key][found] for key in _PER_INSTANCE if key in target}
    weights = weights[found]
    if weighing.mixed == "interpolated":
        weights = weights / target[_SHARE_KEY].to(weights)[found] if len(weights) else weights
    return {
        **kept,
        "boxes": torch.cat([boxes[found], region[out]]),
        "loss_weights": weights,
        "loss_crowd": torch.cat(crowds)[out],
        "loss_sets": sets,
    }


def label_sets(targets: Sequence[Mapping[str, Any]]) -> list[list[Labels]]:
    """The sets of labels of a batch of ``prepared`` targets: per set, one for each image.

    An image with fewer sets than another has its last one several times, with a part of its share each, which is the
    same loss.
    """
    most = max((len(target["loss_sets"]) for target in targets), default=1)
    return [[_labels(target, index, most) for target in targets] for index in range(most)]


def _labels(target: Mapping[str, Any], index: int, most: int) -> Labels:
    sets = target["loss_sets"]
    last = len(sets) - 1
    rows, share, own = sets[min(index, last)]
    if index >= last:
        share = share / (most - last)
    weights = target["loss_weights"]
    count = len(weights)
    boxes, regions, crowd = target["boxes"][:count], target["boxes"][count:], target["loss_crowd"]
    one = {"boxes": boxes, **{key: target[key] for key in _PER_INSTANCE if key in target}}
    if rows is not None:
        one, weights = {key: value[rows] for key, value in one.items()}, weights[rows]
    if own is not None:
        regions, crowd = regions[own], crowd[own]
    return Labels(one, weights, share, regions, crowd)


def _images(target: Mapping[str, Any], where: str) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The image of every instance and its share, then those of the ignored ones: _EVERY and 1 where it isn't known."""
    if len(target["boxes"]) and "origin" not in target:
        raise KeyError(
            f"{where} has no 'origin', which says the image of every instance: a mix of this package writes it"
        )
    images, shares = [], []
    for part in (target, target.get(IGNORED)):
        if part is None:
            continue
        count, device = len(part["boxes"]), part["boxes"].device
        known = count > 0 and "origin" in part and _SHARE_KEY in part
        images.append(part["origin"][:, 0].long() if known else torch.full((count,), _EVERY, device=device))
        shares.append(part[_SHARE_KEY].detach().float() if known else torch.ones_like(images[-1], dtype=torch.float32))
    return torch.cat(images), torch.cat(shares)


def _sets(
    images: Int[Tensor, " n"], shares: Float[Tensor, " n"], found: Bool[Tensor, " m"], own: int, where: str
) -> list[_Set]:
    """The sets of both blended images; one without objects has the rest.

    The base's set comes first, since some losses divide by what the whole batch holds in its first sets, its second ….
    """
    if bool((shares == 1).all()):  # nothing is blended: all instances are those of one picture
        return [(None, 1.0, None)]
    sets: dict[int, _Set] = {}
    rank, every = found.cumsum(0) - 1, images == _EVERY
    for number in images[~every].unique().tolist():
        rows = images == number
        low, high = torch.stack([shares[rows].min(), shares[rows].max()]).tolist()
        if high - low > _LEAST:
            raise ValueError(_not_lossmix(where, f"weights from {low:g} to {high:g} with the 'origin' {number}"))
        if high > _LEAST:
            sets[number] = (rank[rows[: len(found)] & found], high, rows | every)
    parts = [share for _, share, _ in sets.values()]
    rest = 1 - sum(parts)
    if len(parts) > 2 or (abs(rest) if len(parts) == 2 else -rest) > 10 * _LEAST:
        of_images = ", ".join(f"{share:g} of image {number}" for number, (_, share, _) in sets.items())
        raise ValueError(_not_lossmix(where, f"the weights {of_images}"))
    none = (rank[:0], rest, every)
    first = [sets.pop(own)] if own in sets else []
    if rest <= _LEAST:
        return [*first, *sets.values()]
    return [*first, *sets.values(), none] if first else [none, *sets.values()]


def _not_lossmix(where: str, got: str) -> str:
    return (
        f"{where}['weight'] must be that of a single MixUp for mixed='interpolated' (LossMix): alike for all instances "
        f"of an image, and adding up to 1 over its two images, got {got}. After a Chain, a recipe or "
        "CopyPaste(blend=…), and for weights of your own, use mixed='united'"
    )


def _boxes(target: Mapping[str, Any], where: str) -> Float[Tensor, "n 4"]:
    boxes = target["boxes"]
    if not isinstance(boxes, Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        got = f"{boxes.dtype} {tuple(boxes.shape)}" if isinstance(boxes, Tensor) else type(boxes).__name__
        raise TypeError(f"{where}['boxes'] must be a floating point tensor (N, 4) of xyxy pixels, got {got}")
    return boxes.as_subclass(Tensor)
