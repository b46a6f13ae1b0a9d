"""Detection and instance segmentation by torchvision's detectors, or by small ones made of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import detection, get_model, list_models
from torchvision.models.detection import FCOS, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork, FrozenBatchNorm2d, MultiScaleRoIAlign

from cutmix_dense.checks import whole
from cutmix_dense.functional.fields import IGNORED, INSTANCE_KEYS
from cutmix_dense.losses import Weighing, weigh_losses
from cutmix_dense.mmengine.scope import MODELS
from cutmix_dense.training.errors import TrainingError
from cutmix_dense.training.names import check_name
from cutmix_dense.training.preprocessor import data_sample
from cutmix_dense.training.query_detector import small_rtdetr


class _SmallBackbone(nn.Module):
    """A thin convolutional pyramid, finest level first.

    Args:
        widths: channels after each halving of the size, from the first on.
        levels: how many of the last of them the pyramid has.
        out_channels: of every level of the pyramid.
    """

    def __init__(self, widths: Sequence[int], levels: int, out_channels: int) -> None:
        super().__init__()
        if not whole(levels, "levels") <= len(widths):
            raise ValueError(f"levels must be at most {len(widths)}, the number of widths, got {levels}")
        self.stages = nn.ModuleList()
        before = 3
        for width in widths:
            self.stages.append(
                nn.Sequential(Conv2dNormActivation(before, width, stride=2), Conv2dNormActivation(width, width))
            )
            before = width
        self.levels = levels
        self.pyramid = FeaturePyramidNetwork(list(widths[-levels:]), out_channels)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = {}
        x = images
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index >= len(self.stages) - self.levels:
                features[str(index)] = x
        return self.pyramid(features)


def small_fcos(
    num_classes: int,
    widths: Sequence[int] = (16, 32, 48, 64),
    levels: int = 2,
    channels: int = 32,
    convs: int = 2,
    anchor: float = 4.0,
    reach: float = 0.0,
    **settings: Any,
) -> FCOS:
    """The FCOS of torchvision (Tian 2019) on a thin backbone, for small images and one core.

    Args:
        num_classes: with the background.
        widths: channels of the backbone after each halving.
        levels: of the pyramid: the strides are the last ``levels`` of 2, 4, 8 …
        channels: of the pyramid and the head; a multiple of 32, for the head's group norm.
        convs: in each branch of the head.
        anchor: of the finest level, pixels; it holds objects that reach up to 8 × as far from a pixel inside them, the
            next levels twice as far each.
        reach: distance from a pixel to each side of its box before training, in anchors of its level. torchvision's
            head ends in a ReLU and starts at 0: a thin one dies now and then and gives empty boxes. 1 prevents it.
        settings: of ``torchvision.models.detection.FCOS``.

    Raises:
        ValueError: ``channels`` isn't a multiple of 32, or ``levels`` is above the number of widths.
    """
    if whole(channels, "channels") % 32:
        raise ValueError(f"channels must be a multiple of 32, for the head's group norm, got {channels}")
    backbone = _SmallBackbone(widths, levels, channels)
    anchors = AnchorGenerator(sizes=tuple((anchor * 2**i,) for i in range(levels)), aspect_ratios=((1.0,),) * levels)
    head = FCOSHead(channels, 1, num_classes, num_convs=convs)
    nn.init.constant_(head.regression_head.bbox_reg.bias, reach)
    network = FCOS(backbone, num_classes, anchor_generator=anchors, head=head, **settings)
    return network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU


def maskrcnn_mobile(num_classes: int, backbone: str = "mobilenet_v3_small", **settings: Any) -> MaskRCNN:
    """The Mask R-CNN of torchvision (He 2017) on a MobileNetV3 pyramid, for which torchvision has no builder.

    Args:
        num_classes: with the background.
        backbone: ``"mobilenet_v3_small"`` or ``"mobilenet_v3_large"``.
        settings: of ``torchvision.models.detection.MaskRCNN``; ``weights_backbone`` for the backbone's.
    """
    weights = settings.pop("weights_backbone", None)
    norm = nn.BatchNorm2d if weights is None else FrozenBatchNorm2d  # frozen statistics of nothing don't train
    pyramid = mobilenet_backbone(
        backbone_name=backbone, weights=weights, fpn=True, norm_layer=norm, trainable_layers=6 if weights is None else 3
    )
    anchors = AnchorGenerator(sizes=((16, 32, 64, 128, 256),) * 3, aspect_ratios=((0.5, 1.0, 2.0),) * 3)
    return MaskRCNN(pyramid, num_classes, rpn_anchor_generator=anchors, **settings)


def small_maskrcnn(
    num_classes: int,
    widths: Sequence[int] = (16, 32, 48, 64),
    levels: int = 3,
    channels: int = 64,
    hidden: int = 128,
    anchor: float = 8.0,
    **settings: Any,
) -> MaskRCNN:
    """The Mask R-CNN of torchvision (He 2017) on a thin backbone, for small images and one core.

    Args:
        num_classes: with the background.
        widths: channels of the backbone after each halving.
        levels: of the pyramid: the strides are the last ``levels`` of 2, 4, 8 …
        channels: of the pyramid and the mask head.
        hidden: width of the box head.
        anchor: side of the finest level's anchors, pixels; twice as much at each next level.
        settings: of ``torchvision.models.detection.MaskRCNN``.

    Raises:
        ValueError: ``levels`` is above the number of widths.
    """
    backbone = _SmallBackbone(widths, levels, channels)
    names = [str(index) for index in range(len(widths) - levels, len(widths))]
    anchors = AnchorGenerator(
        sizes=tuple((anchor * 2**i,) for i in range(levels)), aspect_ratios=((0.5, 1.0, 2.0),) * levels
    )
    network = MaskRCNN(
        backbone,
        rpn_anchor_generator=anchors,
        box_roi_pool=MultiScaleRoIAlign(names, output_size=7, sampling_ratio=1),
        box_head=TwoMLPHead(channels * 7**2, hidden),
        box_predictor=FastRCNNPredictor(hidden, num_classes),
        mask_roi_pool=MultiScaleRoIAlign(names, output_size=14, sampling_ratio=1),
        mask_head=MaskRCNNHeads(channels, (channels, channels), dilation=1),
        mask_predictor=MaskRCNNPredictor(channels, channels, num_classes),
        **settings,
    )
    return network.to(memory_format=torch.channels_last)


_OURS: dict[str, Callable[..., nn.Module]] = {
    "maskrcnn_mobile": maskrcnn_mobile,
    "small_fcos": small_fcos,
    "small_maskrcnn": small_maskrcnn,
    "small_rtdetr": small_rtdetr,
}


@MODELS.register_module()
class Detector(BaseModel):
    """A torchvision detector, or a small RT-DETR, under MMEngine.

    These detectors know neither crowds nor ignore regions nor instance weights: without ``weighing`` crowds are
    left out of the training targets, and ``target["ignored"]``, ``visibility`` and ``weight`` aren't read.

    Args:
        num_classes: with the background, as torchvision counts.
        network: ``dict(type="small_fcos", ...)``, ``"small_maskrcnn"`` or ``"maskrcnn_mobile"`` of this module;
            ``"small_rtdetr"`` of ``query_detector``, which needs transformers; or ``dict(type=<name>)`` of a detector
            in ``torchvision.models.detection`` with further arguments of its builder. Without ``weights`` and
            ``weights_backbone`` nothing is downloaded. Mask R-CNN needs ``masks`` in the targets (``task="instances"``
            of ``DenseTrainingDataset``); Keypoint R-CNN needs ``keypoints``, which no task of it has, and so a dataset
            of your own.
        own_resize: let torchvision's own transform resize images (``min_size``, ``max_size`` in ``network``); False:
            they stay as the preprocessor gives them. The small networks never resize.
        weighing: for torchvision's networks, arguments of ``cutmix_dense.losses.weigh_losses``, such as
            ``dict(by="visibility")``: the losses weigh every instance, and leave out crowds and ignored instances.
            None: the network's own losses.
        data_preprocessor: see ``MixPreprocessor``, which normalises in the detector's place.

    Raises:
        ValueError: an unknown network, or fewer than two classes.
        TrainingError: (in training) targets without the masks or keypoints that the network learns from.
    """

    def __init__(
        self,
        num_classes: int,
        network: Mapping[str, Any] | None = None,
        own_resize: bool = True,
        weighing: Mapping[str, Any] | None = None,
        data_preprocessor: Any = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor or {"type": "cutmix_dense.MixPreprocessor"})
        settings = dict(network or {"type": "small_fcos"})
        name = settings.pop("type")
        self.num_classes = num_classes = whole(num_classes, "num_classes", 2)
        if name in _OURS:
            self.network = _OURS[name](num_classes, **settings)
        else:
            check_name(name, (*_OURS, *list_models(module=detection)))
            settings = {"weights": None, "weights_backbone": None, "num_classes": num_classes, **settings}
            self.network = get_model(name, **settings)
        transform: Any = getattr(self.network, "transform", None)  # of torchvision's networks
        if transform is not None:
            transform.image_mean, transform.image_std = [0.0] * 3, [1.0] * 3  # normalised already
            if name.startswith("small_") or not own_resize:
                transform.resize = _keep_size
        if weighing is not None:
            weigh_losses(self.network, **weighing)

    def forward(
        self, images: Any, targets: list[dict[str, Any]] | None = None, mode: str = "tensor", **others: Any
    ) -> Any:
        """A dict of losses (``"loss"``), data samples (``"predict"``) or torchvision's detections (``"tensor"``).

        What else a batch holds isn't read.
        """
        images = [image.as_subclass(Tensor) for image in images]
        if mode == "loss":
            weighing = getattr(self.network, "weighing", None)
            given, needed = targets or [], _learns_from(self.network)
            _check_needed(given, needed, type(self.network).__name__)
            given = training_targets(given, needed) if weighing is None else weighed_targets(given, weighing)
            losses = self.network(images, given)
            return {name if name.startswith("loss") else f"loss_{name}": value for name, value in losses.items()}
        found = self.network(images)
        if mode == "tensor":
            return found
        return [
            self.sample(image, detections, target)
            for image, detections, target in zip(images, found, targets or [{} for _ in images])
        ]

    def sample(self, image: Tensor, found: dict[str, Tensor], target: dict[str, Any]) -> dict[str, Any]:
        """The data sample of an image's detections, at the size that the image had before the preprocessor.

        A target without ``orig_size`` had the image's size.
        """
        # FCOS and RetinaNet have a score for the background too, which nothing was trained to have
        found = {name: value[found["labels"] > 0] for name, value in found.items()}
        height, width = target.get("orig_size", image.shape[-2:])
        scale = torch.tensor([width / image.shape[-1], height / image.shape[-2]] * 2, device=image.device)
        prediction = {
            "boxes": found["boxes"] * scale,
            "labels": found["labels"],
            "scores": found["scores"],
        }
        if "keypoints" in found:
            prediction["keypoints"] = found["keypoints"] * torch.cat([scale[:2], torch.ones_like(scale[:1])])
        if "masks" in found:
            masks = found["masks"]
            if tuple(masks.shape[-2:]) != (height, width) and len(masks):
                masks = F.interpolate(masks, size=(height, width), mode="bilinear", align_corners=False)
            prediction["masks"] = masks[:, 0] > 0.5 if len(masks) else masks.new_zeros(0, height, width).bool()
        return data_sample(target, prediction)


def _learns_from(network: nn.Module) -> list[str]:
    """What a network's heads learn from beside boxes and labels."""
    heads: Any = getattr(network, "roi_heads", None)  # of torchvision's R-CNNs
    has = {} if heads is None else {"masks": heads.has_mask(), "keypoints": heads.has_keypoint()}
    return [key for key, needed in has.items() if needed]


def _check_needed(targets: Sequence[dict[str, Any]], needed: Sequence[str], network: str) -> None:
    """Refuse targets without what a network's heads learn from, which torchvision looks up and doesn't find."""
    remedies = {
        "masks": "the task 'instances' of DenseTrainingDataset has them",
        "keypoints": "no task of DenseTrainingDataset reads them, so take another network, or a dataset of your own",
    }
    for key in needed:
        if any(key not in target for target in targets):
            raise TrainingError(f"the targets of a {network} must have {key}, got {list(targets[0])}: {remedies[key]}")


def training_targets(targets: Sequence[dict[str, Any]], keys: Sequence[str] = ("masks",)) -> list[dict[str, Tensor]]:
    """What torchvision's losses take: boxes, labels and ``keys`` of the instances that are to be found.

    Crowds are left out, as well as boxes without an area, on which torchvision raises.
    """
    kept = []
    for target in targets:
        boxes = target["boxes"].as_subclass(Tensor)
        keep = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        if "iscrowd" in target:
            keep &= target["iscrowd"] == 0
        entry = {"boxes": boxes[keep].float(), "labels": target["labels"][keep]}
        for key in keys:
            if key in target:
                entry[key] = target[key].as_subclass(Tensor)[keep]
        kept.append(entry)
    return kept


def weighed_targets(targets: Sequence[dict[str, Any]], weighing: Weighing) -> list[dict[str, Any]]:
    """What the losses of a weighed detector take: every instance with an area, what it weighs, and what is ignored."""
    kept = []
    for target in targets:
        boxes = target["boxes"].as_subclass(Tensor).float()
        keep = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        keys = [key for key in (*INSTANCE_KEYS, *weighing.keys) if isinstance(target.get(key), Tensor)]
        entry: dict[str, Any] = {key: target[key].as_subclass(Tensor)[keep] for key in keys}
        entry["boxes"] = boxes[keep]
        if IGNORED in target:
            ignored = target[IGNORED]
            entry[IGNORED] = {**ignored, "boxes": ignored["boxes"].as_subclass(Tensor).float()}
        kept.append(entry)
    return kept


def _keep_size(image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
    """In place of ``GeneralizedRCNNTransform.resize``."""
    return image, target
