"""MMDetection's heads, samplers, assigners and losses with weights of instances. Nothing of MMDetection is imported.

Each class comes before a stock class among the bases of an object (``losses.swapped.swap``). Every image's instances
carry ``loss_weights``, which ``WeighsDetector`` writes. Where a head hands its losses a weight for each position, that
one is multiplied; where it hands them none, the loss itself is told the weights of its rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.losses.instances import instance_weights
from cutmix_dense.losses.swapped import Swapped, Weighs
from cutmix_dense.mmengine.structures import padded_masks

WEIGHTS = "loss_weights"
"""Field of ``gt_instances`` that the heads read."""
BOX_TERMS = ("loss_bbox", "loss_dfl", "loss_centerness")
"""Losses of positions with an instance alone."""


class WeighsDetector(Weighs):
    """A whole detector: says what every instance weighs, and adds what is ignored with weight 0."""

    ignored: str

    def loss(self, batch_inputs: Any, batch_data_samples: Sequence[Any]) -> Any:
        """The detector's own losses, weighted; the data samples stay as they are."""
        samples = []
        for index, sample in enumerate(batch_data_samples):
            weighed = sample.new()
            weighed.gt_instances = self._weighed(sample, f"data_samples[{index}]")
            samples.append(weighed)
        stock: Any = super()
        return stock.loss(batch_inputs, samples)

    def _weighed(self, sample: Any, where: str) -> Any:
        """The instances of an image that the heads see."""
        rows = sample.gt_instances.new()
        fields = dict(rows.items())
        try:
            weights = instance_weights({**fields, "boxes": rows.bboxes}, self.weighing.by, f"{where}.gt_instances")
        except KeyError as error:
            raise KeyError(
                f"{error.args[0]}. Mixes in a pipeline write neither: mix batches, in model.data_preprocessor"
            ) from None
        setattr(rows, WEIGHTS, weights)
        aside = sample.get("ignored_instances")
        if self.ignored == "assigner" or aside is None or not len(aside):
            return rows
        absent = [key for key in ("bboxes", "labels", "masks") if key in fields and key not in aside]
        if absent:
            raise ValueError(
                f"{where}.ignored_instances lack {absent}, which gt_instances have, and can't be left out: give them "
                "all fields, or set ignored='assigner'"
            )
        shared = {key: value for key, value in aside.items() if key in fields}
        if "masks" in shared:
            shared["masks"] = padded_masks(shared["masks"], rows.masks)
        found = type(rows)(**{key: value for key, value in rows.items() if key in shared}, **{WEIGHTS: weights})
        return type(rows).cat([found, type(rows)(**shared, **{WEIGHTS: weights.new_zeros(len(aside))})])


class NotesSampling(Swapped):
    """A sampler that notes what the instances of its positive samples weigh."""

    noted: Tensor | None = None

    def sample(self, assign_result: Any, pred_instances: Any, gt_instances: Any, *args: Any, **settings: Any) -> Any:
        """The stock result, with ``instance_weights`` (P,) of the positive samples."""
        stock: Any = super()
        result = stock.sample(assign_result, pred_instances, gt_instances, *args, **settings)
        self.noted = result.instance_weights = getattr(gt_instances, WEIGHTS)[result.pos_assigned_gt_inds]
        return result


class NotesAssignment(Swapped):
    """An assigner that notes which instance each prediction got: 0 none, else its number from 1."""

    noted: Tensor

    def assign(self, *args: Any, **settings: Any) -> Any:
        """The stock result."""
        stock: Any = super()
        result = stock.assign(*args, **settings)
        self.noted = result.gt_inds
        return result


class WeighsAnchors(Weighs):
    """``AnchorHead`` and those whose losses are all multiplied by ``label_weights`` or ``bbox_weights``."""

    labels_at = 0
    """Where labels stand among the targets of an image; their weights stand behind them."""

    def _get_targets_single(self, *args: Any, **settings: Any) -> Any:
        """The stock targets of an image, weighted."""
        stock: Any = super()
        self.sampler.noted = None
        targets = stock._get_targets_single(*args, **settings)
        own = self.sampler.noted
        if own is not None:  # None where no anchor lies in the image
            labels, label_weights = targets[self.labels_at : self.labels_at + 2]
            found = (labels >= 0) & (labels < self.num_classes)
            label_weights[found] *= own.to(label_weights)
            if self.labels_at == 0:
                targets[3][found] *= own.to(label_weights)[:, None]
        return targets


class WeighsPositives(WeighsAnchors):
    """``ATSSHead``, ``GFLHead``, ``RTMDetHead``: box terms have a weight of their own, that of a position's quality."""

    labels_at = 1

    def loss_by_feat_single(self, *args: Any, **settings: Any) -> Any:
        """The stock losses of a level, weighted."""
        single: Any = super().loss_by_feat_single  # type: ignore[misc]
        given = inspect.signature(single).bind(*args, **settings).arguments
        labels, label_weights = given["labels"].reshape(-1), given["label_weights"].reshape(-1)
        rows = label_weights[(labels >= 0) & (labels < self.num_classes)]
        try:
            _tell(self, rows, *BOX_TERMS)
            return single(*args, **settings)
        finally:
            _forget(self)


class TellsLosses(Weighs):
    """A head whose targets tell its losses what their rows weigh, until these are reckoned."""

    def loss_by_feat(self, *args: Any, **settings: Any) -> Any:
        """The stock losses, weighted."""
        stock: Any = super()
        try:
            return stock.loss_by_feat(*args, **settings)
        finally:
            _forget(self)


class WeighsPoints(TellsLosses):
    """``FCOSHead``, whose losses get no weights of classes, and whose targets don't say the instance of a point."""

    def get_targets(self, points: Sequence[Tensor], batch_gt_instances: Sequence[Any]) -> Any:
        """The stock targets of every level; the losses learn the weights of the points."""
        numbered, background = [], self.num_classes
        start = background + 1  # above all classes: points of no instance have the class of background
        for one in batch_gt_instances:
            labels = torch.arange(start, start + len(one), device=one.labels.device, dtype=one.labels.dtype)
            numbered.append(type(one)(bboxes=one.bboxes, labels=labels))
            start += len(one)
        stock: Any = super()
        numbers, boxes = stock.get_targets(points, numbered)
        every = torch.cat([*(one.labels for one in batch_gt_instances), numbers[0].new_tensor([background])])
        weights = torch.cat([getattr(one, WEIGHTS) for one in batch_gt_instances])
        weights = torch.cat([weights, weights.new_ones(1)])
        rows = [torch.where(some > background, some - background - 1, len(every) - 1) for some in numbers]
        classes = [every[some] for some in rows]
        of_points = torch.cat([weights[some] for some in rows])
        _tell(self, of_points, "loss_cls")
        _tell(self, of_points[torch.cat(classes) < background], *BOX_TERMS)
        return classes, boxes


class WeighsPriors(TellsLosses):
    """``YOLOXHead``, whose losses get no weights."""

    def _get_targets_single(self, *args: Any, **settings: Any) -> Any:
        """The stock targets of an image; the losses learn the weights of its priors."""
        stock: Any = super()
        self.sampler.noted = None
        targets = stock._get_targets_single(*args, **settings)
        found, objectness = targets[0], targets[2]
        every = torch.ones_like(objectness[:, 0])
        own = every[:0] if self.sampler.noted is None else self.sampler.noted.to(every)
        every[found] = own
        _tell(self, every, "loss_obj")
        _tell(self, own, "loss_cls", "loss_bbox", "loss_l1")
        return targets


class WeighsQueries(Weighs):
    """``DETRHead`` and its kin, DINO's denoising queries among them."""

    def _get_targets_single(self, cls_score: Tensor, bbox_pred: Tensor, gt_instances: Any, *args: Any) -> Any:
        """The stock targets of an image's queries, weighted."""
        stock: Any = super()
        targets = stock._get_targets_single(cls_score, bbox_pred, gt_instances, *args)
        _weigh_queries(targets, getattr(gt_instances, WEIGHTS)[self.assigner.noted[targets[4]] - 1])
        return targets

    def _get_dn_targets_single(self, gt_instances: Any, *args: Any, **settings: Any) -> Any:
        """The stock targets of an image's denoising queries, weighted: each group has every instance in their order."""
        stock: Any = super()
        targets = stock._get_dn_targets_single(gt_instances, *args, **settings)
        own = getattr(gt_instances, WEIGHTS)
        _weigh_queries(targets, own.repeat(len(targets[4]) // max(len(own), 1)))
        return targets


class WeighsBoxHead(Weighs):
    """``BBoxHead``, the box head of an R-CNN."""

    def get_targets(self, sampling_results: Sequence[Any], rcnn_train_cfg: Any, concat: bool = True) -> Any:
        """The stock targets of the proposals, weighted; positive ones come first in every image."""
        stock: Any = super()
        targets = stock.get_targets(sampling_results, rcnn_train_cfg, concat=False)
        for result, label_weights, box_weights in zip(sampling_results, targets[1], targets[3]):
            own = result.instance_weights.to(label_weights)
            label_weights[: len(own)] *= own
            box_weights[: len(own)] *= own[:, None]
        return tuple(torch.cat(part) for part in targets) if concat else targets


class WeighsMaskHead(Weighs):
    """``FCNMaskHead``, the mask head of an R-CNN."""

    def loss_and_target(self, mask_preds: Tensor, sampling_results: Sequence[Any], *args: Any, **settings: Any) -> Any:
        """The stock loss and targets, weighted."""
        stock: Any = super()
        self.loss_mask.rows = [result.instance_weights for result in sampling_results]
        try:
            return stock.loss_and_target(mask_preds, sampling_results, *args, **settings)
        finally:
            self.loss_mask.rows = []


class WeighsMaskTerm(Weighs):
    """``CrossEntropyLoss`` with ``use_mask``: a mean over all pixels of all masks."""

    rows: list[Tensor]

    def forward(self, pred: Float[Tensor, "p k h w"], target: Float[Tensor, "p h w"], label: Tensor) -> Tensor:
        """The loss of each mask's own class, weighted."""
        own = pred[torch.arange(len(pred), device=pred.device), label]
        weights = torch.cat(self.rows).to(own)[:, None, None].expand_as(own)
        return self.loss_weight * F.binary_cross_entropy_with_logits(own, target, weights)[None]


class WeighsTerm(Weighs):
    """A loss of MMDetection that is told what its rows weigh."""

    rows: list[Tensor]

    def forward(self, pred: Tensor, target: Any, weight: Tensor | None = None, *args: Any, **settings: Any) -> Tensor:
        """The stock loss; with ``rows``, each row of it counts by its weight."""
        if self.rows:
            weight = _times(weight, torch.cat(self.rows), pred, target)
        stock: Any = super()
        return stock.forward(pred, target, weight, *args, **settings)


def _times(
    weight: Tensor | None, rows: Float[Tensor, " n"], pred: Float[Tensor, "m ..."], target: Any
) -> Float[Tensor, "m ..."]:
    """A loss's own weight, or ones, times those of rows; each row may stand for several entries of ``pred``."""
    each = len(pred) // max(len(rows), 1)
    if len(pred) != each * len(rows):
        raise RuntimeError(f"a loss got {len(pred)} entries where {len(rows)} weights of positions were noted")
    rows = rows.to(pred).repeat_interleave(each)
    like = weight if weight is not None else pred if isinstance(target, Tensor) and target.ndim == pred.ndim else rows
    rows = rows.reshape(-1, *[1] * (like.ndim - 1)).expand_as(like)
    return rows if weight is None else weight * rows


def _tell(head: Any, rows: Float[Tensor, " n"], *terms: str) -> None:
    """Add weights of rows to what some losses of a head know."""
    for term in terms:
        loss = getattr(head, term, None)
        if isinstance(loss, WeighsTerm):
            loss.rows = [*loss.rows, rows]


def _forget(head: Any) -> None:
    """Let all losses of a head be stock ones until they are told again."""
    for loss in head.children():
        if isinstance(loss, WeighsTerm):
            loss.rows = []


def _weigh_queries(targets: Any, own: Float[Tensor, " p"]) -> None:
    """Multiply the weights of matched queries."""
    label_weights, box_weights, found = targets[1], targets[3], targets[4]
    label_weights[found] *= own.to(label_weights)
    box_weights[found] *= own.to(box_weights)[:, None]
