"""FCOS and RetinaNet of torchvision, whose losses weigh every anchor by its instance."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import FCOS
from torchvision.ops import (
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

from cutmix_dense.losses.instances import Labels
from cutmix_dense.losses.matching import LEFT_OUT, match_boxes, match_labels, weights_of
from cutmix_dense.losses.swapped import WeighsModel, summed

_BY_BOX: dict[str, Any] = {
    "ciou": complete_box_iou_loss,
    "diou": distance_box_iou_loss,
    "giou": generalized_box_iou_loss,
}


class WeighsFCOS(WeighsModel):
    """Comes before ``FCOS`` among the bases of a model."""

    center_sampling_radius: float
    head: Any

    def compute_loss(
        self,
        targets: list[dict[str, Any]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        num_anchors_per_level: list[int],
    ) -> dict[str, Tensor]:
        """The losses of ``FCOSHead.compute_loss``, weighted."""
        # torchvision's own matching, whose last step hands what it matched to the head
        hands_back = SimpleNamespace(compute_loss=lambda targets, outputs, anchors, matched: matched)
        matching: Any = SimpleNamespace(center_sampling_radius=self.center_sampling_radius, head=hands_back)

        def match(some: list[Mapping[str, Tensor]]) -> list[Tensor]:
            return FCOS.compute_loss(matching, some, head_outputs, anchors, num_anchors_per_level)

        def losses(labels: list[Labels]) -> dict[str, Tensor]:
            matched = match_labels(match, labels, anchors, self.weighing.crowd_iof)
            return self._losses(labels, matched, head_outputs, torch.stack(anchors))

        return summed(targets, losses)

    def _losses(
        self, labels: list[Labels], matched: list[Tensor], outputs: dict[str, Tensor], anchors: Tensor
    ) -> dict[str, Tensor]:
        index = torch.stack(matched)
        found = index >= 0
        weights = torch.stack([weights_of(index, one.weights) for index, one in zip(matched, labels)])
        divisor = self.weighing.divisor(weights[found])
        weights = weights * weights.new_tensor([one.share for one in labels])[:, None]

        logits = outputs["cls_logits"]
        classes = torch.zeros_like(logits)
        classes[found, _matched_rows("labels", labels, matched)] = 1.0
        classification = sigmoid_focal_loss(logits, classes) * weights[..., None]

        boxes = _matched_rows("boxes", labels, matched)
        coder = self.head.box_coder
        overlap = generalized_box_iou_loss(coder.decode(outputs["bbox_regression"], anchors)[found], boxes)

        reach = coder.encode(anchors[found], boxes)
        across, along = reach[:, [0, 2]], reach[:, [1, 3]]
        centre = torch.sqrt((across.amin(1) / across.amax(1)) * (along.amin(1) / along.amax(1)))
        centredness = F.binary_cross_entropy_with_logits(
            outputs["bbox_ctrness"].squeeze(dim=2)[found], centre, reduction="none"
        )
        return {
            "classification": classification.sum() / divisor,
            "bbox_regression": (overlap * weights[found]).sum() / divisor,
            "bbox_ctrness": (centredness * weights[found]).sum() / divisor,
        }


class WeighsRetinaNet(WeighsModel):
    """Comes before ``RetinaNet`` among the bases of a model."""

    proposal_matcher: Any
    head: Any

    def compute_loss(
        self, targets: list[dict[str, Any]], head_outputs: dict[str, Tensor], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        """The losses of ``RetinaNetHead.compute_loss``, weighted."""

        def match(some: list[Mapping[str, Tensor]]) -> list[Tensor]:
            return [match_boxes(self.proposal_matcher, one["boxes"], own) for one, own in zip(some, anchors)]

        def losses(labels: list[Labels]) -> dict[str, Tensor]:
            matched = match_labels(match, labels, anchors, self.weighing.crowd_iof)
            each = [
                self._losses(one, index, logits, deltas, own)
                for one, index, logits, deltas, own in zip(
                    labels, matched, head_outputs["cls_logits"], head_outputs["bbox_regression"], anchors
                )
            ]
            return {name: torch.stack([loss[name] for loss in each]).sum() / len(each) for name in each[0]}

        return summed(targets, losses)

    def _losses(
        self, one: Labels, matched: Tensor, logits: Tensor, deltas: Tensor, anchors: Tensor
    ) -> dict[str, Tensor]:
        """The losses of one image."""
        found, counts = matched >= 0, matched != LEFT_OUT
        weights = weights_of(matched, one.weights)
        divisor = self.weighing.divisor(weights[found])
        weights = weights * one.share
        classes = torch.zeros_like(logits)
        classes[found, one.target["labels"][matched[found]]] = 1.0
        classification = sigmoid_focal_loss(logits[counts], classes[counts]) * weights[counts, None]
        head = self.head.regression_head
        terms = _box_terms(
            head._loss_type, head.box_coder, anchors[found], one.target["boxes"][matched[found]], deltas[found]
        )
        box = terms * (weights[found] if terms.ndim == 1 else weights[found, None])
        return {"classification": classification.sum() / divisor, "bbox_regression": box.sum() / divisor}


def _box_terms(kind: str, coder: Any, anchors: Tensor, boxes: Tensor, deltas: Tensor) -> Tensor:
    """The regression loss of every box, (F,), or of every number of it, (F, 4)."""
    if kind in _BY_BOX:
        return _BY_BOX[kind](coder.decode_single(deltas, anchors), boxes)
    target = coder.encode_single(boxes, anchors)
    if kind == "l1":
        return F.l1_loss(deltas, target, reduction="none")
    return F.smooth_l1_loss(deltas, target, reduction="none")


def _matched_rows(key: str, labels: list[Labels], matched: list[Tensor]) -> Tensor:
    """The rows of the instances that anchors belong to, image by image."""
    return torch.cat([one.target[key][index[index >= 0]] for one, index in zip(labels, matched)])
