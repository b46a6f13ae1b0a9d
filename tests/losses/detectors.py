"""Small detectors of torchvision's classes, and targets for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

SIZE = (64, 96)
CLASSES = 4
KINDS = ("fcos", "retinanet", "fasterrcnn", "maskrcnn", "keypointrcnn")
ONE_STAGE, TWO_STAGE = KINDS[:2], KINDS[2:]


class Backbone(nn.Module):
    """Two levels, of strides 4 and 8."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 5, stride=4, padding=2)
        self.second = nn.Conv2d(32, 32, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        fine = self.first(images).relu()
        return {"0": fine, "1": self.second(fine).relu()}


def detector(kind: str, seed: int = 0, **settings):
    """A detector of three classes and the background, in training."""
    torch.manual_seed(seed)
    common = {"min_size": SIZE[0], "max_size": SIZE[1], **settings}
    if kind == "fcos":
        anchors = AnchorGenerator(((4,), (8,)), ((1.0,),) * 2)
        return FCOS(
            Backbone(), CLASSES, anchor_generator=anchors, head=FCOSHead(32, 1, CLASSES, num_convs=1), **common
        ).train()
    anchors = AnchorGenerator(((12, 24), (32, 48)), ((0.5, 1.0, 2.0),) * 2)
    if kind == "retinanet":
        return RetinaNet(Backbone(), CLASSES, anchor_generator=anchors, **common).train()
    common = {
        "rpn_anchor_generator": anchors,
        "rpn_post_nms_top_n_train": 60,
        "rpn_batch_size_per_image": 64,
        "box_roi_pool": MultiScaleRoIAlign(["0", "1"], 5, 2),
        "box_head": TwoMLPHead(32 * 5**2, 48),
        "box_predictor": FastRCNNPredictor(48, CLASSES),
        "box_batch_size_per_image": 32,
        "box_detections_per_img": 5,
        **common,
    }
    if kind == "fasterrcnn":
        return FasterRCNN(Backbone(), **common).train()
    if kind == "maskrcnn":
        masks = {"mask_head": MaskRCNNHeads(32, (16,), 1), "mask_predictor": MaskRCNNPredictor(16, 16, CLASSES)}
        return MaskRCNN(Backbone(), mask_roi_pool=MultiScaleRoIAlign(["0", "1"], 7, 2), **masks, **common).train()
    points = {"keypoint_head": KeypointRCNNHeads(32, (16,)), "keypoint_predictor": KeypointRCNNPredictor(16, 3)}
    return KeypointRCNN(Backbone(), keypoint_roi_pool=MultiScaleRoIAlign(["0", "1"], 7, 2), **points, **common).train()


def target(boxes: list[list[float]], labels: list[int], **more) -> dict[str, Tensor]:
    """Boxes with masks and keypoints, weight 1 each."""
    where = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros((len(where), *SIZE), dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, where.long().tolist()):
        mask[top : bottom - 2, left : right - 2] = 1
    centre = (where[:, :2] + where[:, 2:]) / 2
    points = torch.stack([where[:, :2] + 2, centre, where[:, 2:] - 2], dim=1)
    shown = torch.tensor([1.0, 1.0, 0.0]).expand(len(where), 3)[..., None]
    return {
        "boxes": where,
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": masks,
        "keypoints": torch.cat([points, shown], dim=2),
        "weight": torch.ones(len(where)),
        "visibility": torch.ones(len(where)),
        **more,
    }


LEFT, RIGHT, LOW = [4.0, 6.0, 36.0, 40.0], [52.0, 10.0, 90.0, 58.0], [10.0, 44.0, 30.0, 60.0]


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images, one with three objects, one with one."""
    generator = torch.Generator().manual_seed(7)
    images = [torch.rand((3, *SIZE), generator=generator) for _ in range(2)]
    return images, [target([LEFT, RIGHT, LOW], [1, 2, 3]), target([RIGHT], [2])]


def losses(model, images, targets, seed: int = 5) -> dict[str, Tensor]:
    """The losses, with the same draws of samples each time."""
    torch.manual_seed(seed)
    return model(images, targets)
