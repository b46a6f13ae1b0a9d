"""The set loss of the DETR family with weights of instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou, sigmoid_focal_loss

from cutmix_dense.functional.fields import IGNORED
from cutmix_dense.losses.instances import By, Normalize, Weighing, instance_weights
from cutmix_dense.losses.queries import Pairs, match_queries, pair_weights, query_weights

Classification = Literal["softmax", "focal", "varifocal", "matchability"]
"""The class term: DETR's, with a class of no object behind the others; Deformable DETR's and DINO's; RT-DETR's; DEIM's.
"""

Read = tuple[Tensor, Tensor, Tensor]
"""Labels (N,), boxes (N, 4) and weights (N,) of an image."""


@dataclass(frozen=True)
class SetLoss:
    """The settings of ``weighted_set_loss``.

    Args:
        classification: see ``Classification``.
        class_cost: of the matching; None for the authors': 1 with ``"softmax"``, else 2.
        bbox_cost: of the matching, for the L1 distance.
        giou_cost: of the matching, for the overlap.
        alpha: of the class term; None for the authors': 0.25 with ``"focal"``, 0.75 with ``"varifocal"``, none with
            ``"matchability"``.
        gamma: of the class term; DEIM has 1.5.
        no_object: what the class of no object counts with ``"softmax"``.

    Raises:
        ValueError: an unknown class term, or costs that are all 0.

    Source: Carion et al., DETR (2020): 1, 5, 2 and 0.1; Zhu et al., Deformable DETR (2021) and Zhao et al., RT-DETR
    (2024): 2, 5, 2; Huang et al., DEIM (2025) for ``"matchability"``.

    Example:
        >>> SetLoss("focal").costs
        (2.0, 5.0, 2.0)
    """

    classification: Classification = "focal"
    class_cost: float | None = None
    bbox_cost: float = 5.0
    giou_cost: float = 2.0
    alpha: float | None = None
    gamma: float = 2.0
    no_object: float = 0.1

    def __post_init__(self) -> None:
        if self.classification not in get_args(Classification):
            raise ValueError(f"classification must be one of {get_args(Classification)}, got {self.classification!r}")
        if not any(self.costs):
            raise ValueError("class_cost, bbox_cost and giou_cost can't all be 0")

    @property
    def costs(self) -> tuple[float, float, float]:
        """The costs of classes, boxes and overlaps."""
        usual = 1.0 if self.classification == "softmax" else 2.0
        return usual if self.class_cost is None else self.class_cost, self.bbox_cost, self.giou_cost


def weighted_set_loss(
    outputs: Mapping[str, Tensor],
    targets: Sequence[Mapping[str, Any]],
    by: By,
    settings: SetLoss | None = None,
    *,
    normalize: Normalize = "count",
) -> dict[str, Float[Tensor, ""]]:
    """The losses of a DETR's queries against a batch of targets, each matched pair counting by its instance.

    Weights act in the matching cost (see ``weighted_matching_cost``) and in every term; queries without an instance
    count 1. Instances of weight 0, with ``iscrowd``, and of ``target["ignored"]`` get the queries that the others
    leave, by their boxes alone; these queries count in no term. With all weights 1 the losses are the authors' own.

    Call it for the last decoder layer and for each auxiliary one, and sum the terms by your own coefficients.

    Args:
        outputs: ``pred_logits`` or ``logits`` (B, Q, K), ``pred_boxes`` (B, Q, 4), normalised centres and sizes.
        targets: per image ``labels`` or ``class_labels`` (N,), ``boxes`` (N, 4) of that form, and what ``by`` names.
        by: see ``By``.
        settings: see ``SetLoss``.
        normalize: see ``Weighing``; of ``"count"`` the number of instances, averaged over processes.

    Returns:
        ``loss_ce``, ``loss_bbox`` (L1) and ``loss_giou``.

    Raises:
        KeyError: outputs or targets lack what is named above; see ``instance_weights``.

    Example:
        >>> outputs = {"pred_logits": torch.zeros(1, 5, 3), "pred_boxes": torch.full((1, 5, 4), 0.5)}
        >>> target = {"labels": torch.tensor([2]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]])}
        >>> weighed = weighted_set_loss(outputs, [{**target, "visibility": torch.tensor([0.5])}], "visibility")
        >>> round(float(weighed["loss_bbox"]), 3)  # half of 0.3 + 0.1
        0.2
    """
    settings = settings or SetLoss()
    weighing = Weighing(by, normalize)
    logits, guesses = _first(outputs, "outputs", "pred_logits", "logits"), _first(outputs, "outputs", "pred_boxes")
    read = [read_target(target, weighing, f"targets[{index}]") for index, target in enumerate(targets)]
    pairs = match_targets(logits, guesses, read, settings)
    places, labels, boxes = paired(read, pairs, logits.device)
    every = [weights for _, _, weights in read]
    each, counted = pair_weights(pairs, every), query_weights(pairs, every, logits.shape[1])
    divisor = _divisor(torch.cat(every), normalize)
    own = guesses[places]
    overlap = generalized_box_iou(corners(own), corners(boxes)).diagonal()
    if settings.classification == "softmax":
        loss_ce = _softmax_loss(logits.float(), places, labels, counted, settings.no_object, normalize)
    else:
        terms = sigmoid_terms(logits.float(), places, labels, box_iou(corners(own), corners(boxes)), settings)
        loss_ce = (terms * counted[..., None]).sum() / divisor
    return {
        "loss_ce": loss_ce,
        "loss_bbox": ((own - boxes).abs() * each[:, None]).sum() / divisor,
        "loss_giou": ((1 - overlap) * each).sum() / divisor,
    }


def _softmax_loss(
    logits: Float[Tensor, "b q k"],
    places: tuple[Tensor, Tensor],
    labels: Tensor,
    counted: Float[Tensor, "b q"],
    no_object: float,
    normalize: Normalize,
) -> Float[Tensor, ""]:
    """DETR's cross entropy, a mean over the queries that count, in which no object counts less."""
    classes = torch.full(logits.shape[:2], logits.shape[2] - 1, dtype=torch.int64, device=logits.device)
    classes[places] = labels
    scale = torch.ones(logits.shape[2], dtype=logits.dtype, device=logits.device)
    scale[-1] = no_object
    each = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), scale, reduction="none")
    weights = counted.flatten()
    over = scale[classes.flatten()] * (weights if normalize == "weight" else (weights > 0).to(weights))
    return (each * weights).sum() / over.sum().clamp(min=torch.finfo(torch.float32).tiny)


def sigmoid_terms(
    logits: Float[Tensor, "b q k"],
    places: tuple[Tensor, Tensor],
    labels: Tensor,
    overlaps: Float[Tensor, "m m"],
    settings: SetLoss,
) -> Float[Tensor, "b q k"]:
    """The term of every query and class; the varifocal and the matchability one aim at the overlap of each pair."""
    at = (places[0], places[1], labels)
    found = torch.zeros_like(logits)
    found[at] = 1.0
    if settings.classification == "focal":
        alpha = 0.25 if settings.alpha is None else settings.alpha
        return sigmoid_focal_loss(logits, found, alpha, settings.gamma)
    aim = torch.zeros_like(logits)
    aim[at] = overlaps.detach().diagonal().to(aim)
    background = logits.detach().sigmoid() ** settings.gamma * (1 - found)
    if settings.classification == "varifocal":
        weight = (0.75 if settings.alpha is None else settings.alpha) * background + aim
    else:
        aim = aim**settings.gamma
        weight = (1.0 if settings.alpha is None else settings.alpha) * background + found
    return F.binary_cross_entropy_with_logits(logits, aim, weight=weight, reduction="none")


def read_target(target: Mapping[str, Any], weighing: Weighing, where: str) -> Read:
    """Labels, boxes and weights of the instances and, behind them and with weight 0, of what is ignored."""
    labels, boxes = _first(target, where, "class_labels", "labels"), _first(target, where, "boxes")
    weights = instance_weights(target, weighing.by, where)
    if "iscrowd" in target:
        weights = weights * (target["iscrowd"] == 0)
    if IGNORED in target:
        more = target[IGNORED]["boxes"]
        labels = torch.cat([labels, labels.new_zeros(len(more))])  # whatever they are, they count in no term
        boxes, weights = torch.cat([boxes, more.to(boxes)]), torch.cat([weights, weights.new_zeros(len(more))])
    return labels, boxes, weights


def match_targets(
    logits: Float[Tensor, "b q k"],
    guesses: Float[Tensor, "b q 4"],
    read: Sequence[Read],
    settings: SetLoss,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> list[tuple[Tensor, Tensor]]:
    """Query and instance of every pair, image by image; those of weight 0 are matched last, by their boxes alone.

    ``alpha`` and ``gamma`` are of the class cost, the same in all authors' matchers whatever the loss has.
    """
    pairs = []
    for (labels, boxes, weights), some, rows in zip(read, logits.detach().float(), guesses.detach()):
        overlap = settings.bbox_cost * torch.cdist(rows.float(), boxes.float(), p=1)
        overlap = overlap - settings.giou_cost * generalized_box_iou(corners(rows), corners(boxes))
        if settings.classification == "softmax":
            cost = -some.softmax(-1)[:, labels]
        else:
            guess = some.sigmoid()[:, labels]
            positive = -alpha * (1 - guess) ** gamma * (guess + 1e-8).log()
            cost = positive + (1 - alpha) * guess**gamma * (1 - guess + 1e-8).log()
        pairs.append(match_queries(overlap + settings.costs[0] * cost, weights, overlap))
    return pairs


def paired(
    read: Sequence[Read], pairs: Pairs, device: torch.device
) -> tuple[tuple[Tensor, Tensor], Tensor, Float[Tensor, "m 4"]]:
    """Of every pair of a batch: image and query, the label, the box."""
    places = (
        torch.cat([torch.full_like(queries, index) for index, (queries, _) in enumerate(pairs)]).to(device),
        torch.cat([queries for queries, _ in pairs]).to(device),
    )
    labels, boxes = (
        torch.cat([one[kind][instances.to(one[kind].device)] for one, (_, instances) in zip(read, pairs)])
        for kind in (0, 1)
    )
    return places, labels, boxes


def _divisor(weights: Float[Tensor, " n"], normalize: Normalize) -> Float[Tensor, ""]:
    """The number of instances, or the sum of their weights, at least 1: the mean over the processes of a training."""
    total = weights.sum() if normalize == "weight" else (weights > 0).sum().to(weights)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        total = total / torch.distributed.get_world_size()
    return total.clamp(min=1)


def _first(values: Mapping[str, Any], where: str, *keys: str) -> Any:
    """The value of the first of some keys that is there."""
    for key in keys:
        if key in values:
            return values[key]
    raise KeyError(f"{where} must have {' or '.join(map(repr, keys))}, got {sorted(values)}")


def corners(boxes: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Centres and sizes as corners, float32."""
    return box_convert(boxes.float(), "cxcywh", "xyxy")
