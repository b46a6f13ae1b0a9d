"""The region proposal network and the heads of torchvision's R-CNNs, whose losses weigh every box by its instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import keypoints_to_heatmap, project_masks_on_boxes
from torchvision.models.detection.rpn import concat_box_prediction_layers

from cutmix_dense.functional.fields import STATED
from cutmix_dense.losses.instances import Labels
from cutmix_dense.losses.matching import LEFT_OUT, match_boxes, match_labels, weights_of
from cutmix_dense.losses.swapped import Weighs, summed

_BETA = 1 / 9
"""Where the box losses of torchvision's R-CNNs turn from squared to linear."""


class WeighsProposals(Weighs):
    """Comes before ``RegionProposalNetwork`` among the bases of a module."""

    def forward(
        self, images: Any, features: dict[str, Tensor], targets: list[dict[str, Any]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals, and in training the losses of objectness and boxes, weighted."""
        if not self.training or targets is None:
            return super().forward(images, features, targets)
        levels = list(features.values())
        objectness, deltas = self.head(levels)
        anchors = self.anchor_generator(images, levels)
        per_level = [one[0].numel() for one in objectness]
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        proposals = self.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
        boxes, _ = self.filter_proposals(proposals, objectness, images.image_sizes, per_level)

        def match(some: list[Mapping[str, Tensor]]) -> list[Tensor]:
            return [match_boxes(self.proposal_matcher, one["boxes"], own) for one, own in zip(some, anchors)]

        def losses(labels: list[Labels]) -> dict[str, Tensor]:
            matched = match_labels(match, labels, anchors, self.weighing.crowd_iof)
            return self._losses(labels, matched, anchors, objectness.flatten(), deltas)

        return boxes, summed(targets, losses)

    def _losses(
        self, labels: list[Labels], matched: list[Tensor], anchors: list[Tensor], objectness: Tensor, deltas: Tensor
    ) -> dict[str, Tensor]:
        # 1 is found, 0 background, -1 neither, as the sampler reads them
        kinds = [(index >= 0).float() - (index == LEFT_OUT).float() for index in matched]
        positive, negative = (torch.where(torch.cat(some))[0] for some in self.fg_bg_sampler(kinds))
        sampled = torch.cat([positive, negative])
        boxes = [_matched_boxes(one, index) for one, index in zip(labels, matched)]
        codes = torch.cat(self.box_coder.encode(boxes, anchors))
        weights = torch.cat([weights_of(index, one.weights) for one, index in zip(labels, matched)])
        divisor = self.weighing.divisor(weights[sampled])
        weights = weights * torch.cat([torch.full_like(kind, one.share) for one, kind in zip(labels, kinds)])
        box = F.smooth_l1_loss(deltas[positive], codes[positive], beta=_BETA, reduction="none")
        found = F.binary_cross_entropy_with_logits(objectness[sampled], torch.cat(kinds)[sampled], reduction="none")
        return {
            "loss_objectness": (found * weights[sampled]).sum() / divisor,
            "loss_rpn_box_reg": (box * weights[positive, None]).sum() / divisor,
        }


class WeighsHeads(Weighs):
    """Comes before ``RoIHeads`` among the bases of a module."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Any]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections; in training the losses of classes, boxes, masks and keypoints, weighted."""
        if not self.training or targets is None:
            return super().forward(features, proposals, image_shapes, targets)

        def match(some: list[Mapping[str, Tensor]]) -> list[Tensor]:
            return [match_boxes(self.proposal_matcher, one["boxes"], own) for one, own in zip(some, proposals)]

        def losses(labels: list[Labels]) -> dict[str, Tensor]:
            kept = proposals
            if any(len(one.regions) for one in labels):
                matched = match_labels(match, labels, proposals, self.weighing.crowd_iof)
                kept = [own[index != LEFT_OUT] for own, index in zip(proposals, matched)]
            return self._losses(labels, features, kept, image_shapes)

        return [], summed(targets, losses)

    def _losses(
        self,
        labels: list[Labels],
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> dict[str, Tensor]:
        targets = [one.target for one in labels]
        boxes, rows, classes, codes = self.select_training_samples(proposals, targets)
        weights = [_row_weights(one, row, kind > 0) for one, row, kind in zip(labels, rows, classes)]
        shares = torch.cat([torch.full_like(weight, one.share) for one, weight in zip(labels, weights)])
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, boxes, image_shapes)))
        flat, weight = torch.cat(classes), torch.cat(weights)
        losses = self._box_losses(logits, deltas, flat, torch.cat(codes), weight, shares)

        found = [torch.where(kind > 0)[0] for kind in classes]
        boxes = [box[own] for box, own in zip(boxes, found)]
        rows = [row[own] for row, own in zip(rows, found)]
        weights = [one[own] for one, own in zip(weights, found)]
        shares = shares[flat > 0]
        if self.has_mask():
            mask_logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, image_shapes)))
            losses["loss_mask"] = self._mask_loss(mask_logits, boxes, targets, rows, torch.cat(weights), shares)
        if self.has_keypoint():
            pooled = self.keypoint_roi_pool(features, boxes, image_shapes)
            maps = self.keypoint_predictor(self.keypoint_head(pooled))
            losses["loss_keypoint"] = self._keypoint_loss(maps, boxes, targets, rows, torch.cat(weights), shares)
        return losses

    def _box_losses(
        self, logits: Tensor, deltas: Tensor, classes: Tensor, codes: Tensor, weights: Tensor, shares: Tensor
    ) -> dict[str, Tensor]:
        """As ``fastrcnn_loss``."""
        divisor = self.weighing.divisor(weights)
        weights = weights * shares
        positive = torch.where(classes > 0)[0]
        own = deltas.reshape(len(logits), deltas.shape[1] // 4, 4)[positive, classes[positive]]
        box = F.smooth_l1_loss(own, codes[positive], beta=_BETA, reduction="none")
        return {
            "loss_classifier": (F.cross_entropy(logits, classes, reduction="none") * weights).sum() / divisor,
            "loss_box_reg": (box * weights[positive, None]).sum() / divisor,
        }

    def _mask_loss(
        self,
        logits: Tensor,
        boxes: list[Tensor],
        targets: list[dict[str, Tensor]],
        rows: list[Tensor],
        weights: Tensor,
        shares: Tensor,
    ) -> Tensor:
        """As ``maskrcnn_loss``, but without the rows that state no mask."""
        if not len(weights):
            return logits.sum() * 0
        side = logits.shape[-1]
        masks = torch.cat(
            [
                project_masks_on_boxes(t["masks"], box, row, side)
                for t, box, row in zip(targets, boxes, rows)
                if len(row)
            ]
        )
        classes = torch.cat([target["labels"][row] for target, row in zip(targets, rows)])
        stated = torch.cat(
            [t[STATED][row] if STATED in t else torch.ones_like(row, dtype=torch.bool) for t, row in zip(targets, rows)]
        )
        own = logits[torch.arange(len(classes), device=classes.device), classes]
        each = F.binary_cross_entropy_with_logits(own, masks, reduction="none").mean(dim=(1, 2))
        return (each * weights * shares)[stated].sum() / self.weighing.divisor(weights[stated])

    def _keypoint_loss(
        self,
        logits: Tensor,
        boxes: list[Tensor],
        targets: list[dict[str, Tensor]],
        rows: list[Tensor],
        weights: Tensor,
        shares: Tensor,
    ) -> Tensor:
        """As ``keypointrcnn_loss``: each keypoint that shows counts by its instance."""
        side = logits.shape[-1]
        if logits.shape[-2] != side:
            raise ValueError(f"keypoint_logits must be square, got {tuple(logits.shape)}")
        placed = [
            keypoints_to_heatmap(target["keypoints"][row], box, side) for target, box, row in zip(targets, boxes, rows)
        ]
        where, shows = (torch.cat(parts) for parts in zip(*placed))
        shows = shows > 0
        if not bool(shows.any()):
            return logits.sum() * 0
        each = F.cross_entropy(logits.flatten(2)[shows], where[shows], reduction="none")
        point_weights = weights[:, None].expand_as(shows)[shows]
        return (each * point_weights * shares[:, None].expand_as(shows)[shows]).sum() / self.weighing.divisor(
            point_weights
        )


def _matched_boxes(one: Labels, matched: Tensor) -> Tensor:
    """The box of every anchor's instance; any box where there is none."""
    boxes = one.target["boxes"]
    if not len(boxes):
        return boxes.new_zeros(len(matched), 4)
    return boxes[matched.clamp(min=0)]


def _row_weights(one: Labels, rows: Tensor, found: Tensor) -> Tensor:
    """The weight of every sampled proposal: its instance's, 1 for background."""
    if not len(one.weights):
        return torch.ones(len(rows), dtype=one.weights.dtype, device=rows.device)
    return torch.where(found, one.weights[rows], 1.0)
