"""What must hold of every sample that is read and of every batch that is mixed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import convert_bounding_box_format
from torchvision.tv_tensors import BoundingBoxFormat

ROWS = ("labels", "iscrowd", "area", "difficult", "masks", "visibility", "origin", "keypoints", "track_id", "weight")
"""Keys with one row per instance."""


def check_words(error: Exception, name: object = "") -> None:
    """An error says something, and names the file (the folder that it lies in) or what else is to be named."""
    assert str(error).strip(), "an error without words"
    assert str(name) in str(error), f"{name} is not named: {error}"


def check_sample(image: Tensor, target: Any, classes: int) -> None:
    """A sample of a reader has the types, sizes and ranges that its class promises."""
    if isinstance(target, list):
        assert len(image) == len(target), image.shape
        for frame, entry in zip(image, target):
            check_sample(frame, entry, classes)
        return
    size = tuple(image.shape[1:])
    if len(size) == 3:
        assert image.dtype == torch.float32, image.dtype
        assert bool(image.isfinite().all())
        assert bool(target["spacing"].isfinite().all()), target["spacing"]
    else:
        assert image.dtype.is_floating_point or not image.dtype.is_signed or image.dtype in (torch.int16, torch.int32)
        assert image.dtype != torch.uint8 or image.shape[0] >= 3, image.shape  # grey bytes come as RGB
    if "boxes" in target:
        boxes = target["boxes"].as_subclass(Tensor)
        assert boxes.dtype == torch.float32, boxes.dtype
        assert boxes.shape == (len(boxes), boxes.shape[1]), boxes.shape
        assert bool(boxes.isfinite().all()), boxes
        assert bool(target["area"].isfinite().all()), target["area"]
        assert bool(((target["labels"] >= 0) & (target["labels"] < classes)).all()), target["labels"]
        for key in ROWS:
            assert key not in target or len(target[key]) == len(boxes), key
    if "masks" in target:
        assert target["masks"].dtype == torch.bool, target["masks"].dtype
        assert target["masks"].shape == (len(target["boxes"]), *size), target["masks"].shape
    if "semantic" in target:
        assert target["semantic"].dtype == torch.uint8
        assert target["semantic"].shape == size
    if "panoptic" in target:
        known = {0, *(info["id"] for info in target["segments_info"])}
        assert set(target["panoptic"].unique().tolist()) <= known


def within(boxes: Tensor, size: tuple[int, ...]) -> bool:
    """Whether boxes of any upright format lie in an image, as far as their type can say."""
    form = getattr(boxes, "format", BoundingBoxFormat.XYXY)
    plain = boxes.as_subclass(Tensor).double()
    low, high = convert_bounding_box_format(plain, old_format=form, new_format=BoundingBoxFormat.XYXY).split(2, dim=1)
    slack = 1e-3 if boxes.dtype in (torch.float32, torch.float64) else 0.5
    limit = torch.tensor(size[::-1]) + slack
    return bool(((low >= -slack) & (low <= high + slack) & (high <= limit)).all())


def check_mixed(images: Any, targets: list[dict[str, Any]], *, visible: bool = True, inside: bool = False) -> None:
    """Boxes are finite, in their image if `inside`, with a row per field; visibilities lie in [0, 1] if `visible`."""
    assert len(images) == len(targets)
    for image, target in zip(images, targets):
        size = tuple(image.shape[-2:])
        if "boxes" in target:
            boxes = target["boxes"].as_subclass(Tensor)
            assert bool(boxes.isfinite().all()), boxes
            assert not inside or within(target["boxes"], size), (target["boxes"], size)
            for key in ROWS:
                assert key not in target or len(target[key]) == len(boxes), key
        if "visibility" in target and visible:
            seen = target["visibility"]
            assert bool(((seen >= 0) & (seen <= 1 + 1e-5)).all()), seen
        if "masks" in target:
            assert tuple(target["masks"].shape[1:]) == size, target["masks"].shape
