"""Detectors of MMDetection's own configs, made tiny, and a batch for them."""

from __future__ import annotations

from pathlib import Path

import mmdet
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
HEIGHT, WIDTH = 96, 128
LEFT, RIGHT = (6.0, 10.0, 54.0, 70.0), (72.0, 20.0, 124.0, 86.0)
"""Two objects, one in each half of a picture."""

DENSE = {
    "retinanet": "retinanet/retinanet_r50_fpn_1x_coco.py",
    "atss": "atss/atss_r50_fpn_1x_coco.py",
    "gfl": "gfl/gfl_r50_fpn_1x_coco.py",
    "fcos": "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "rtmdet": "rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    "yolox": "yolox/yolox_tiny_8xb8-300e_coco.py",
    "ssd": "ssd/ssd300_coco.py",
}
TWO_STAGE = {
    "faster": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "cascade": "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
}
QUERIES = {
    "detr": "detr/detr_r50_8xb2-150e_coco.py",
    "conditional": "conditional_detr/conditional-detr_r50_8xb2-50e_coco.py",
    "dab": "dab_detr/dab-detr_r50_8xb2-50e_coco.py",
    "deformable": "deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py",
    "dino": "dino/dino-4scale_r50_8xb2-12e_coco.py",
}
ALL = {**DENSE, **TWO_STAGE, **QUERIES}


def small_model(path):
    """The model of a config: a ResNet of few channels, few layers, queries and proposals."""
    model = Config.fromfile(CONFIGS / path).model
    _shrink(model)
    model.data_preprocessor = {"type": "DetDataPreprocessor", "pad_mask": True}
    if model.backbone.type in ("ResNet", "CSPNeXt", "CSPDarknet") and "neck" in model:
        given = model.neck.in_channels
        stages = model.backbone.get("out_indices", (0, 1, 2, 3)) if model.backbone.type == "ResNet" else (1, 2, 3)
        model.backbone = {"type": "ResNet", "depth": 18, "base_channels": 8, "out_indices": tuple(stages)}
        channels = [8 * 2**stage for stage in stages]
        model.neck.in_channels = channels if len(given) == len(channels) else channels[-len(given) :]
        if model.neck.type in ("CSPNeXtPAFPN", "YOLOXPAFPN"):
            model.backbone["base_channels"], model.neck.in_channels = 48, [96, 192, 384]
    if model.bbox_head.type == "SSDHead" if "bbox_head" in model else False:
        model.backbone, model.neck = {"type": "ResNet", "depth": 18, "base_channels": 8}, None
        sizes = {"min_sizes": [10, 20, 40, 60], "max_sizes": [20, 40, 60, 90], "strides": [4, 8, 16, 32]}
        ratios = [[2], [2, 3], [2, 3], [2]]
        anchors = {"type": "SSDAnchorGenerator", "scale_major": False, "input_size": 128, "ratios": ratios, **sizes}
        model.bbox_head.update({"in_channels": (8, 16, 32, 64), "anchor_generator": anchors})
    return model


def _shrink(part):
    if isinstance(part, dict):
        for key, value in {
            "num_queries": 20,
            "num_layers": 2,
            "feedforward_channels": 32,
            "fc_out_channels": 32,
            "nms_pre": 60,
            "max_per_img": 40,
            "init_cfg": None,
        }.items():
            if key in part:
                part[key] = value
        if part.get("type") == "RandomSampler":
            part["num"] = 64
        if part.get("type") == "RoIAlign":
            part["use_torchvision"] = True
        for value in part.values():
            _shrink(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            _shrink(value)


def small_detector(name):
    """One of ``ALL`` in training mode, its weights drawn by a seed."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = revert_sync_batchnorm(MODELS.build(small_model(ALL[name])))
    if hasattr(model, "level_embed"):  # of Deformable DETR and DINO: until init_weights() memory as it was found
        torch.nn.init.normal_(model.level_embed)
    return model.train()


def pictures(count=3):
    return torch.rand(count, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) * 4 - 2


def data_samples(weights=None, ignored=(), masks=False):
    """Three pictures: one with two objects, one with one, one without; rows of the first can be set aside."""
    samples = []
    objects = [(LEFT, 3), (RIGHT, 5)], [((30.0, 16.0, 100.0, 80.0), 2)], []
    for index, rows in enumerate(objects):
        size = (HEIGHT, WIDTH)
        meta = {"img_shape": size, "ori_shape": size, "batch_input_shape": size, "pad_shape": size}
        sample = DetDataSample(metainfo={**meta, "scale_factor": (1.0, 1.0), "img_id": index})
        every = InstanceData(
            bboxes=torch.tensor([box for box, _ in rows]).reshape(-1, 4),
            labels=torch.tensor([label for _, label in rows], dtype=torch.int64),
        )
        if masks:
            every.masks = masks_of([box for box, _ in rows])
        aside = torch.tensor([index == 0 and row in ignored for row in range(len(rows))], dtype=torch.bool)
        sample.gt_instances, sample.ignored_instances = every[~aside], every[aside]
        if weights is not None:
            own = torch.tensor(weights[index]) if index < len(weights) else torch.ones(len(rows))
            sample.gt_instances.visibility = own[~aside]
        samples.append(sample)
    return samples


def masks_of(boxes):
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[int(y0) : int(y1), int(x0) + 2 : int(x1)] = 1
    return BitmapMasks(masks.numpy(), HEIGHT, WIDTH)
