"""What every reader gives: the dataset interface and the one place where a target is put together."""

from __future__ import annotations

import operator
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from cutmix_dense.transforms.layout import Layout

__all__ = ["DenseDataset", "finite", "image_tensor", "instance_target", "map_tensor"]

_LARGEST = 1e18  # of a coordinate: the area of a box between two of them is finite in float32


class DenseDataset(Dataset[tuple[Tensor, Any]]):
    """A map-style dataset of `(image, target)` pairs whose targets have the same keys for every sample.

    The image is a `tv_tensors.Image`, uint8 (3, H, W); the readers of clips and volumes say what theirs is. The target
    has `image_id`, and where the layout knows them

    - instances: `boxes` (N, 4) `BoundingBoxes` XYXY float32, 0-based, half-open, in continuous pixels; `labels` (N,)
      int64; `iscrowd` (N,) int64; `area` (N,) float32, in pixels; `masks` (N, H, W) bool; `difficult` (N,) bool;
    - `semantic` (H, W) uint8, 255 = ignore;
    - `panoptic` (H, W) int32 ids of segments, 0 = void, and `segments_info`, what they are.

    Boxes that are broken in the file (zero or negative sides, outside the image) are passed on as they are.

    Attributes:
        layout: one of `LAYOUTS`: "coco", "voc" …
        root: the folder the dataset was opened from.
        split: its name.
        classes: label `i` means `classes[i]`.
        has_masks: whether targets have `masks`.
        has_semantic: whether targets have `semantic`.
        has_panoptic: whether targets have `panoptic` and `segments_info`.
        mix_layout: the `layout` that a transform needs for its samples: images, clips or volumes.
    """

    layout: str
    root: Path
    split: str
    classes: tuple[str, ...]
    has_masks: bool
    has_semantic: bool
    has_panoptic: bool = False
    mix_layout: Layout = "BCHW"

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image_path(self, index: int) -> Path:
        """The image file of sample `index`; SampleError if its name leads out of the image folder."""

    @abstractmethod
    def _load(self, index: int) -> tuple[Tensor, Any]:
        """Read sample `index`, which is in range."""

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Read one sample; SampleError names the file that cannot be read and says why."""
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of a split of {len(self)}")
        return self._load(number % len(self))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(root={str(self.root)!r}, split={self.split!r}, "
            f"samples={len(self)}, classes={len(self.classes)})"
        )


def finite(value: Any) -> float:
    """A coordinate or an area of a file; ValueError unless it is a number of at most 1e18 in size."""
    number = float(value)
    if not abs(number) <= _LARGEST:
        raise ValueError(f"{value!r} is not finite, or beyond {_LARGEST:g}")
    return number


def image_tensor(image: UInt8[np.ndarray, "h w 3"]) -> tv_tensors.Image:
    """An RGB array as a contiguous (3, H, W) uint8 `tv_tensors.Image`."""
    return tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))


def map_tensor(ids: np.ndarray) -> tv_tensors.Mask:
    """A map of class ids as a (H, W) uint8 `tv_tensors.Mask`."""
    return tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(ids, dtype=np.uint8)))


def instance_target(
    image_id: int | str,
    size: tuple[int, int],
    boxes: Float[np.ndarray, "n 4"],
    labels: Int[np.ndarray, " n"],
    *,
    iscrowd: Int[np.ndarray, " n"] | None = None,
    area: Float[np.ndarray, " n"] | None = None,
    masks: Bool[np.ndarray, "n h w"] | None = None,
    difficult: Bool[np.ndarray, " n"] | None = None,
    semantic: UInt8[np.ndarray, "h w"] | None = None,
) -> dict[str, Any]:
    """Put a target together; every given field has its key and type, with N = 0 too.

    Args:
        image_id: as the layout has it.
        size: (H, W) of the image.
        boxes: (N, 4) xyxy, half-open.
        labels: (N,).
        iscrowd: (N,); zeros if not given.
        area: (N,) pixels; NaN entries, or all if not given, become the area of the mask, else of the box.
        masks: (N, H, W); no key if not given.
        difficult: (N,); no key if not given.
        semantic: (H, W); no key if not given.
    """
    count = len(labels)
    xyxy = np.asarray(boxes, dtype=np.float32).reshape(count, 4)
    if masks is not None:
        measured = masks.reshape(count, size[0] * size[1]).sum(axis=1).astype(np.float32)
    else:
        measured = (xyxy[:, 2:] - xyxy[:, :2]).clip(min=0).prod(axis=1)
    given = np.full(count, np.nan, dtype=np.float32) if area is None else np.asarray(area, dtype=np.float32)
    crowd = np.zeros(count, dtype=np.int64) if iscrowd is None else np.asarray(iscrowd, dtype=np.int64)
    target: dict[str, Any] = {
        "image_id": image_id,
        "boxes": tv_tensors.BoundingBoxes(
            torch.from_numpy(xyxy), format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=size
        ),
        "labels": torch.from_numpy(np.asarray(labels, dtype=np.int64).reshape(count)),
        "iscrowd": torch.from_numpy(crowd.reshape(count)),
        "area": torch.from_numpy(np.where(np.isnan(given), measured, given).astype(np.float32)),
    }
    if masks is not None:
        target["masks"] = tv_tensors.Mask(torch.from_numpy(masks.reshape(count, *size)))
    if difficult is not None:
        target["difficult"] = torch.from_numpy(np.asarray(difficult, dtype=bool).reshape(count))
    if semantic is not None:
        target["semantic"] = map_tensor(semantic)
    return target
