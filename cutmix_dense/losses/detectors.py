"""Detectors of torchvision and transformers, told what every instance weighs."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.retinanet import (
    RetinaNetClassificationHead,
    RetinaNetHead,
    RetinaNetRegressionHead,
)
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork

from cutmix_dense.losses.dense import WeighsFCOS, WeighsRetinaNet
from cutmix_dense.losses.huggingface import weigh_detr
from cutmix_dense.losses.instances import By, Mixed, Normalize, Weighing
from cutmix_dense.losses.swapped import WeighsModel, stock_class, swap
from cutmix_dense.losses.two_stage import WeighsHeads, WeighsProposals

_Model = TypeVar("_Model", bound=nn.Module)


def weigh_losses(
    model: _Model,
    by: By,
    *,
    normalize: Normalize = "count",
    mixed: Mixed = "united",
    crowd_iof: float = 0.5,
) -> _Model:
    """Make the losses of a detector weigh each instance; changes the model in place and returns it.

    Every term of an anchor, point or proposal is multiplied by the weight of its instance: class, box, centredness,
    mask and keypoint terms, in the region proposal network and in the heads. Background counts 1. With all weights 1
    and nothing ignored the losses are the stock model's.

    Left out, neither found nor background, is what would belong to an *ignored* instance and belongs to no other: those
    of weight 0, those with ``iscrowd``, and those of ``target["ignored"]`` (``on_filtered="ignore"``). So an instance
    of weight 0 is absent from the box terms, and in the class terms its anchors don't count. In a crowd, whatever lies
    within its box is left out, too. Rows of ``has_mask`` False are left out of the mask loss.

    Parameters, ``state_dict``, evaluation and predictions stay as they were; copies and pickles keep the weights.
    A second call changes the settings. The model can't be scripted afterwards.

    Args:
        model: ``FCOS``, ``RetinaNet``, ``FasterRCNN``, ``MaskRCNN`` or ``KeypointRCNN`` of torchvision 0.16 or newer;
            or a DETR, Conditional, DAB or Deformable DETR, RT-DETR, RT-DETRv2, D-FINE or DEIMv2 of transformers, which
            gets another ``loss_function`` (see ``weighted_set_loss``). MMDetection's detectors have
            ``cutmix_dense.mmengine.weigh_detector``.
        by: see ``By``: ``"visibility"``, ``"weight"``, ``("visibility", "weight")``, ``"scores"``, a function of a
            target.
        normalize: see ``Weighing``.
        mixed: see ``Weighing``; ``"interpolated"`` is LossMix, for a single ``MixUp``.
        crowd_iof: see ``Weighing``.

    Raises:
        TypeError: another model, or one whose loss was replaced; see ``Weighing`` for ``by``.
        ValueError: see ``Weighing``.

    Example:
        >>> import torch
        >>> from torchvision.models.detection import fcos_resnet50_fpn
        >>> model = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2, min_size=64, max_size=64)
        >>> model = weigh_losses(model, by="visibility")
        >>> target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        >>> sorted(model(torch.rand(1, 3, 64, 64), [{**target, "visibility": torch.tensor([0.5])}]))
        ['bbox_ctrness', 'bbox_regression', 'classification']
    """
    weighing = Weighing(by, normalize, mixed, crowd_iof)
    if isinstance(model, FCOS):
        _refuse_replaced(model, FCOS, "forward", "compute_loss")
        _refuse_replaced(model.head, FCOSHead, "compute_loss")
        swap(model, WeighsFCOS, weighing)
    elif isinstance(model, RetinaNet):
        _refuse_replaced(model, RetinaNet, "forward", "compute_loss")
        _refuse_replaced(model.head, RetinaNetHead, "compute_loss")
        _refuse_replaced(model.head.classification_head, RetinaNetClassificationHead, "compute_loss")
        _refuse_replaced(model.head.regression_head, RetinaNetRegressionHead, "compute_loss")
        swap(model, WeighsRetinaNet, weighing)
    elif isinstance(model, GeneralizedRCNN):
        _refuse_replaced(model, GeneralizedRCNN, "forward")
        _refuse_replaced(model.rpn, RegionProposalNetwork, "forward", "compute_loss", "assign_targets_to_anchors")
        _refuse_replaced(
            model.roi_heads, RoIHeads, "forward", "select_training_samples", "assign_targets_to_proposals", "subsample"
        )
        swap(model, WeighsModel, weighing)
        swap(model.rpn, WeighsProposals, weighing)
        swap(model.roi_heads, WeighsHeads, weighing)
    elif hasattr(model, "loss_function") and hasattr(model, "config"):
        weigh_detr(model, weighing)
    else:
        raise TypeError(
            "model must be a FCOS, RetinaNet, FasterRCNN, MaskRCNN or KeypointRCNN of torchvision, got "
            f"{type(model).__name__}; a DETR's losses are weighed by cutmix_dense.losses.weighted_set_loss, "
            "MMDetection's by cutmix_dense.mmengine.weigh_detector"
        )
    return model


def _refuse_replaced(module: nn.Module, stock: type[nn.Module], *methods: str) -> None:
    """Raise TypeError if a part isn't torchvision's own in what weighing replaces."""
    kind = stock_class(module)
    for name in methods:
        if not issubclass(kind, stock) or getattr(kind, name) is not getattr(stock, name):
            raise TypeError(
                f"model must have torchvision's own {stock.__name__}.{name}, which weighing replaces; that of "
                f"{kind.__name__} would be lost: weigh its terms there by instance_weights"
            )
