"""Which anchor, proposal or point belongs to which instance, and which ones a loss leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_area, box_iou

from cutmix_dense.losses.instances import Labels

BACKGROUND, LEFT_OUT = -1, -2
"""Indices of anchors without an instance, as torchvision's ``Matcher`` gives them."""


def match_boxes(matcher: Any, boxes: Float[Tensor, "m 4"], anchors: Float[Tensor, "a 4"]) -> Int[Tensor, " a"]:
    """The instance of every anchor by a ``Matcher`` of torchvision; all are background where no box is.

    Example:
        >>> from torchvision.models.detection._utils import Matcher
        >>> anchors = torch.tensor([[0.0, 0.0, 8.0, 8.0], [20.0, 0.0, 28.0, 8.0]])
        >>> match_boxes(Matcher(0.5, 0.5), torch.tensor([[0.0, 0.0, 8.0, 9.0]]), anchors).tolist()
        [0, -1]
    """
    if not len(boxes) or not len(anchors):
        return torch.full((len(anchors),), BACKGROUND, dtype=torch.int64, device=anchors.device)
    return matcher(box_iou(boxes, anchors))


def match_labels(
    match: Callable[[list[Mapping[str, Tensor]]], list[Tensor]],
    labels: Sequence[Labels],
    anchors: Sequence[Float[Tensor, "a 4"]],
    crowd_iof: float,
) -> list[Int[Tensor, " a"]]:
    """The instance of every anchor; -1 is background, -2 is left out.

    Left out is what belongs to no instance, but would belong to an ignored one if that were looked for, or of which a
    share of at least ``crowd_iof`` lies within a crowd.

    Args:
        match: gives the indices of a batch of targets, of which it reads ``boxes``.
        labels: of every image.
        anchors: of every image.
        crowd_iof: see ``Weighing``.
    """
    matched = match([one.target for one in labels])
    if not any(len(one.regions) for one in labels):
        return matched
    others = match([{"boxes": one.regions} for one in labels])
    for index, one in enumerate(labels):
        out = (others[index] != BACKGROUND) | _within(anchors[index], one.regions[one.crowd], crowd_iof)
        matched[index] = matched[index].masked_fill((matched[index] == BACKGROUND) & out, LEFT_OUT)
    return matched


def weights_of(matched: Int[Tensor, " a"], weights: Float[Tensor, " m"]) -> Float[Tensor, " a"]:
    """The weight of every anchor: its instance's; background counts 1, what is left out 0.

    Example:
        >>> weights_of(torch.tensor([1, -1, -2, 0]), torch.tensor([0.25, 0.5])).tolist()
        [0.5, 1.0, 0.0, 0.25]
    """
    if not len(weights):
        return (matched != LEFT_OUT).to(weights)
    own = weights[matched.clamp(min=0)]
    return torch.where(matched >= 0, own, (matched != LEFT_OUT).to(weights))


def _within(anchors: Float[Tensor, "a 4"], regions: Float[Tensor, "i 4"], share: float) -> Bool[Tensor, " a"]:
    """Whether at least a share of an anchor lies in one of the regions."""
    if not len(regions):
        return torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    low = torch.maximum(anchors[:, None, :2], regions[:, :2])
    high = torch.minimum(anchors[:, None, 2:], regions[:, 2:])
    inside = (high - low).clamp(min=0).prod(dim=2).amax(dim=1)
    return inside >= share * box_area(anchors)
