"""The losses of transformers' DETRs with weights of instances. Nothing of transformers is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cutmix_dense.losses.instances import Weighing
from cutmix_dense.losses.real_time import Criterion, RealTimeLoss
from cutmix_dense.losses.set_loss import Classification, SetLoss, weighted_set_loss

KINDS: dict[str, Classification] = {
    "ForObjectDetection": "softmax",
    "DeformableDetrForObjectDetection": "focal",
    "ConditionalDetrForObjectDetection": "focal",
    "DabDetrForObjectDetection": "focal",
}
"""The ``loss_type`` of DETR and its kin that can be weighed, and their class term."""

REAL_TIME: dict[str, Criterion] = {
    "RTDetrForObjectDetection": Criterion("loss_vfl"),
    "RTDetrV2ForObjectDetection": Criterion("loss_vfl"),
    "DFineForObjectDetection": Criterion("loss_vfl", inside=True),
    "Deimv2ForObjectDetection": Criterion("loss_mal", inside=True, united=True),
}
"""The same of RT-DETR's line, and what its criterion does."""


@dataclass(frozen=True)
class DetrLoss:
    """Stands in the place of ``model.loss_function``; coefficients and costs come from the model's ``config``.

    Example:
        >>> DetrLoss(Weighing("visibility"), "focal").classification
        'focal'
    """

    weighing: Weighing
    classification: Classification

    def __call__(
        self,
        logits: Tensor,
        labels: Sequence[dict[str, Tensor]],
        device: Any,
        pred_boxes: Tensor,
        config: Any,
        outputs_class: Any = None,
        outputs_coord: Any = None,
        **others: Any,
    ) -> tuple[Tensor, dict[str, Tensor], list[dict[str, Tensor]] | None]:
        """The loss, its parts by name, and the outputs of the auxiliary layers."""
        settings = SetLoss(
            self.classification,
            config.class_cost,
            config.bbox_cost,
            config.giou_cost,
            alpha=getattr(config, "focal_alpha", None),
            no_object=getattr(config, "eos_coefficient", 0.1),
        )
        scales = {"loss_ce": 1.0, "loss_bbox": config.bbox_loss_coefficient, "loss_giou": config.giou_loss_coefficient}
        auxiliary = None
        if config.auxiliary_loss:
            pairs = zip(outputs_class[:-1], outputs_coord[:-1])
            auxiliary = [{"logits": some, "pred_boxes": boxes} for some, boxes in pairs]
        losses: dict[str, Tensor] = {}
        total = logits.new_zeros(())
        for index, outputs in enumerate([{"logits": logits, "pred_boxes": pred_boxes}, *(auxiliary or [])]):
            by, normalize = self.weighing.by, self.weighing.normalize
            for name, value in weighted_set_loss(outputs, labels, by, settings, normalize=normalize).items():
                losses[name if index == 0 else f"{name}_{index - 1}"] = value
                total = total + scales[name] * value
        return total, losses, auxiliary


def weigh_detr(model: Any, weighing: Weighing) -> None:
    """Give a model of transformers the loss that weighs, in place.

    Raises:
        TypeError: a model whose loss has further parts (LW-DETR, RF-DETR, Grounding DINO) or isn't a DETR's.
        ValueError: ``mixed="interpolated"``, which needs the matching of each image's instances by themselves.
    """
    kind = getattr(model, "loss_type", None)
    if kind not in KINDS and kind not in REAL_TIME:
        raise TypeError(
            f"model must have one of the losses {sorted({*KINDS, *REAL_TIME})}, got {type(model).__name__} with "
            f"{kind!r}: weigh the terms of its criterion by weighted_matching_cost, pair_weights and query_weights"
        )
    if weighing.mixed != "united":
        raise ValueError(f"mixed must be 'united' for {type(model).__name__}, got {weighing.mixed!r}")
    model.loss_function = DetrLoss(weighing, KINDS[kind]) if kind in KINDS else RealTimeLoss(weighing, REAL_TIME[kind])
