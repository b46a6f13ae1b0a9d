"""The losses of transformers' RT-DETR, RT-DETRv2, D-FINE and DEIMv2 with weights of instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

from cutmix_dense.extras import require
from cutmix_dense.losses.instances import Weighing
from cutmix_dense.losses.queries import Pairs, pair_weights, query_weights
from cutmix_dense.losses.set_loss import (
    Read,
    SetLoss,
    corners,
    match_targets,
    paired,
    read_target,
    sigmoid_terms,
)

_TEMPERATURE = 5
"""Of D-FINE's distillation, ``T`` of ``DFineLoss.loss_local``."""


@dataclass(frozen=True)
class Criterion:
    """What the models of RT-DETR's line have of their own.

    Args:
        class_term: its name, ``"loss_vfl"`` or ``"loss_mal"``.
        inside: boxes are clipped to the image, as D-FINE does.
        united: box terms may take the pairs of all layers together, as DEIMv2's dense one-to-one matching does.

    Example:
        >>> Criterion("loss_vfl").inside
        False
    """

    class_term: str
    inside: bool = False
    united: bool = False


@dataclass(frozen=True)
class _Layer:
    """What a decoder layer, or the encoder, says, and the pairs that it is judged by."""

    name: str
    outputs: dict[str, Tensor]
    pairs: Pairs
    box_pairs: Pairs


@dataclass(frozen=True)
class RealTimeLoss:
    """Stands in the place of ``model.loss_function``; coefficients, costs and bins come from the model's ``config``.

    Weights act in the matching and in every term: the class, L1 and GIoU terms of all decoder layers, of the encoder's
    proposals and of the denoising queries, D-FINE's distributions and their distillation. Instances of weight 0, crowds
    and ``ignored`` ones are matched last; their queries, denoising ones too, count in no term and no divisor.

    Example:
        >>> RealTimeLoss(Weighing("visibility"), Criterion("loss_vfl")).criterion.class_term
        'loss_vfl'
    """

    weighing: Weighing
    criterion: Criterion

    def __call__(
        self,
        logits: Tensor,
        labels: Sequence[dict[str, Tensor]],
        device: Any,
        pred_boxes: Tensor,
        config: Any,
        outputs_class: Any = None,
        outputs_coord: Any = None,
        enc_topk_logits: Any = None,
        enc_topk_bboxes: Any = None,
        denoising_meta_values: Any = None,
        predicted_corners: Any = None,
        initial_reference_points: Any = None,
        **others: Any,
    ) -> tuple[Tensor, dict[str, Tensor], list[dict[str, Tensor]] | None]:
        """The loss, its parts by name, and the outputs of the auxiliary layers."""
        read = [read_target(one, self.weighing, f"labels[{index}]") for index, one in enumerate(labels)]
        own = [len(one["boxes"]) for one in labels]
        layered = {"logits": outputs_class, "pred_boxes": outputs_coord}
        if predicted_corners is not None:
            layered |= {"pred_corners": predicted_corners, "ref_points": initial_reference_points}
        noisy: dict[str, Tensor] = {}
        if denoising_meta_values is not None:
            split = [int(size) for size in denoising_meta_values["dn_num_split"]]
            if logits.shape[1] == sum(split):
                logits, pred_boxes = logits[:, split[0] :], pred_boxes[:, split[0] :]
            noisy = {name: value[:, :, : split[0]] for name, value in layered.items()}
            layered = {name: value[:, :, split[0] :] for name, value in layered.items()}
        last, auxiliary, denoising = {"logits": logits, "pred_boxes": pred_boxes}, [], []
        if config.auxiliary_loss:
            auxiliary = [*_layers(layered, slice(None, -1)), {"logits": enc_topk_logits, "pred_boxes": enc_topk_bboxes}]
            denoising = list(_layers(noisy, slice(None))) if noisy else []
        if self.criterion.inside:
            for outputs in (last, *auxiliary, *denoising):
                outputs["pred_boxes"] = outputs["pred_boxes"].clamp(min=0, max=1)

        losses: dict[str, Tensor] = {}
        for layer in self._matched(read, last, auxiliary, config):
            losses |= self._terms(layer, read, config)
        if denoising:
            groups = denoising_meta_values["dn_num_group"]
            rows = [torch.arange(count).repeat(groups) for count in own]
            given = denoising_meta_values["dn_positive_idx"]
            pairs = [(given[index].cpu() if len(row) else row, row) for index, row in enumerate(rows)]
            for index, outputs in enumerate(denoising):
                # the ignored ones behind the labels have no denoising queries, and weigh nothing
                losses |= self._terms(_Layer(f"_dn_{index}", outputs, pairs, pairs), read, config, groups)
        return torch.stack([value.float() for value in losses.values()]).sum(), losses, auxiliary or None

    def _matched(
        self, read: Sequence[Read], last: dict[str, Tensor], auxiliary: Sequence[dict[str, Tensor]], config: Any
    ) -> list[_Layer]:
        """All layers but the denoising ones, each with its pairs."""
        costs = SetLoss(
            "focal" if config.use_focal_loss else "softmax",
            config.matcher_class_cost,
            config.matcher_bbox_cost,
            config.matcher_giou_cost,
        )
        powers = {"alpha": config.matcher_alpha, "gamma": config.matcher_gamma}
        every = [("", last), *((f"_aux_{index}", outputs) for index, outputs in enumerate(auxiliary))]
        pairs = [match_targets(one["logits"], one["pred_boxes"], read, costs, **powers) for _, one in every]
        united = _united(pairs) if self.criterion.united and config.use_dense_one_to_one else None
        return [_Layer(name, one, own, united or own) for (name, one), own in zip(every, pairs)]

    def _terms(self, layer: _Layer, read: Sequence[Read], config: Any, groups: int = 1) -> dict[str, Tensor]:
        """The terms of a layer by their names, times their coefficients."""
        weights = [one[2] for one in read]
        logits, guesses = layer.outputs["logits"].float(), layer.outputs["pred_boxes"]
        count = self._divisor(torch.cat(weights)) * groups
        places, labels, boxes = paired(read, layer.pairs, logits.device)
        overlaps = box_iou(corners(guesses[places].detach()), corners(boxes))
        terms = sigmoid_terms(logits, places, labels, overlaps, self._class_settings(config))
        terms = terms * query_weights(layer.pairs, weights, logits.shape[1])[..., None]
        losses = {self.criterion.class_term: terms.sum() / count}

        each = pair_weights(layer.box_pairs, weights)
        if layer.box_pairs is not layer.pairs:
            places, labels, boxes = paired(read, layer.box_pairs, logits.device)
            count = self._divisor(each)
        own = guesses[places]
        losses["loss_bbox"] = ((own - boxes).abs() * each[:, None]).sum() / count
        giou = generalized_box_iou(corners(own), corners(boxes)).diagonal()
        losses["loss_giou"] = ((1 - giou) * each).sum() / count
        if "pred_corners" in layer.outputs:
            overlap = box_iou(corners(own.detach()), corners(boxes)).diagonal()
            losses["loss_fgl"] = _distribution_loss(layer.outputs, places, boxes, overlap * each, config) / count
            losses["loss_ddf"] = self._distillation_loss(layer.outputs, places, overlap, each)
        return {f"{name}{layer.name}": getattr(config, f"weight_{name}") * loss for name, loss in losses.items()}

    def _class_settings(self, config: Any) -> SetLoss:
        if self.criterion.class_term == "loss_mal":
            return SetLoss("matchability", alpha=config.mal_alpha, gamma=config.focal_loss_gamma)
        return SetLoss("varifocal", alpha=config.focal_loss_alpha, gamma=config.focal_loss_gamma)

    def _divisor(self, weights: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        return self.weighing.divisor(weights[weights > 0])

    def _distillation_loss(
        self, outputs: Mapping[str, Tensor], places: tuple[Tensor, Tensor], overlap: Tensor, each: Tensor
    ) -> Float[Tensor, ""]:
        """The distance of every query's distributions from the last layer's: a mean of matched ones, and one of others.

        Their shares are the roots of how many there are of each; a matched query counts by its instance.
        """
        guess, teacher = outputs["pred_corners"], outputs["teacher_corners"].detach()
        if torch.equal(guess, teacher):
            return guess.sum() * 0
        certain = outputs["teacher_logits"].detach().sigmoid().amax(-1).float()
        certain[places] = overlap.to(certain)
        bins = guess.shape[-1] // 4
        guess, teacher = (one.float().unflatten(-1, (4, bins)) / _TEMPERATURE for one in (guess, teacher))
        far = F.kl_div(guess.log_softmax(-1), teacher.softmax(-1), reduction="none").sum((-1, -2))  # of four sides
        far = far * certain * _TEMPERATURE**2
        rest = torch.ones_like(certain)
        rest[places] = 0.0
        found = 4 * (each > 0).sum(), 4 * rest.sum()
        shares = [(some / len(guess)) ** 0.5 for some in found]
        over = 4 * each.sum() if self.weighing.normalize == "weight" else found[0]
        tiny = torch.finfo(torch.float32).tiny
        matched = (far[places] * each).sum() / over.clamp(min=tiny)
        others = (far * rest).sum() / found[1].clamp(min=tiny)
        return (matched * shares[0] + others * shares[1]) / (shares[0] + shares[1])


def _layers(layered: Mapping[str, Tensor], which: slice) -> Iterator[dict[str, Tensor]]:
    """The outputs of some decoder layers, each with the last layer's as its teacher; as many as all outputs have."""
    some = {name: value[:, which] for name, value in layered.items()}
    for index in range(min(value.shape[1] for value in some.values())):
        outputs = {name: value[:, index] for name, value in some.items()}
        if "pred_corners" in layered:
            outputs |= {"teacher_corners": layered["pred_corners"][:, -1], "teacher_logits": layered["logits"][:, -1]}
        yield outputs


def _distribution_loss(
    outputs: Mapping[str, Tensor], places: tuple[Tensor, Tensor], boxes: Tensor, weights: Tensor, config: Any
) -> Float[Tensor, ""]:
    """D-FINE's fine-grained localisation: cross entropy with the two bins that each side of a box lies between."""
    distances = require("transformers.loss.loss_d_fine", "huggingface").bbox2distance
    guess, points = outputs["pred_corners"][places].float(), outputs["ref_points"][places].detach()
    up = torch.tensor([config.up], device=guess.device)
    side, right, left = distances(points, corners(boxes), config.max_num_bins, config.reg_scale, up)
    guess, low = guess.reshape(-1, config.max_num_bins + 1), side.long()
    terms = F.cross_entropy(guess, low, reduction="none") * left.reshape(-1)
    terms = terms + F.cross_entropy(guess, low + 1, reduction="none") * right.reshape(-1)
    return (terms * weights.repeat_interleave(4)).sum()


def _united(pairs: Sequence[Pairs]) -> list[tuple[Tensor, Tensor]]:
    """Of every query the instance that most layers gave it, image by image."""
    result = []
    for layers in zip(*pairs):
        both = torch.cat([torch.stack([queries, instances], dim=1) for queries, instances in layers])
        unique, counts = both.unique(dim=0, return_counts=True)
        chosen: dict[int, int] = {}
        for query, instance in unique[counts.argsort(descending=True, stable=True)].tolist():
            chosen.setdefault(query, instance)
        result.append((torch.tensor([*chosen], dtype=torch.int64), torch.tensor([*chosen.values()], dtype=torch.int64)))
    return result
