"""Cityscapes: `torchvision.datasets.Cityscapes` with train ids, instances and a stable order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torchvision import tv_tensors
from torchvision.datasets import Cityscapes, VisionDataset

from cutmix_dense.data.class_tables import RAW_CLASSES, TRAIN_CLASSES, countable_ids, id_to_train_id
from cutmix_dense.data.errors import DatasetError, blaming
from cutmix_dense.data.images import read_indices, read_rgb
from cutmix_dense.data.masks import boxes_from_masks, check_room
from cutmix_dense.data.readers.base import DenseDataset, image_tensor, instance_target, map_tensor

__all__ = ["CityscapesDataset"]

_IMAGE, _LABELS, _INSTANCES = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_instanceIds.png"


class CityscapesDataset(DenseDataset):
    """`leftImg8bit/<split>/<city>/*.png` with `gtFine`, in the order of their names.

    Every target has `image_id` and `semantic`; if all images of the split have an instance map, also `boxes` (tight
    round the masks), `labels`, `masks`, `iscrowd` and `area`. A region drawn as a group, whose instances nobody told
    apart (a value under 1000 of a class that has instances), is one instance with `iscrowd` = 1.

    Args:
        root: the folder that holds `leftImg8bit` and `gtFine`.
        split: "train", "val" or any other folder in them.
        images: instead of `<root>/leftImg8bit`.
        annotations: instead of `<root>/gtFine`.
        label_ids: "train": the 19 train ids, 255 elsewhere, instances of the 8 evaluated classes; "raw": the 34 ids.

    Raises:
        DatasetError: a folder that is missing.
        SampleError: on access, a file that cannot be read.
    """

    layout = "cityscapes"

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        label_ids: str = "train",
    ) -> None:
        if label_ids not in ("train", "raw"):
            raise ValueError(f'label_ids must be "train" or "raw", got {label_ids!r}')
        self.root, self.split, self.label_ids = Path(root), split, label_ids
        image_folder = Path(images) if images is not None else self.root / "leftImg8bit"
        target_folder = Path(annotations) if annotations is not None else self.root / "gtFine"
        for folder in (image_folder / split, target_folder / split):
            if not folder.is_dir():
                raise DatasetError(f"{folder}: no such folder")
        self.source = _CityscapesFiles(image_folder / split, target_folder / split)
        self.classes = TRAIN_CLASSES if label_ids == "train" else RAW_CLASSES
        there = {path.name for path in target_folder.glob(f"{split}/*/*{_INSTANCES}")}
        self.has_masks = len(self) > 0 and all(Path(maps[1]).name in there for maps in self.source.targets)
        self.has_semantic = True
        self._to_label = id_to_train_id() if label_ids == "train" else np.arange(256, dtype=np.uint8)
        self._countable = countable_ids(evaluated=label_ids == "train")

    def __len__(self) -> int:
        return len(self.source)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        return Path(self.source.images[index])

    def _load(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        path = self.image_path(index)
        image_id = path.name.removesuffix(_IMAGE)
        image = read_rgb(path)
        size = (image.shape[0], image.shape[1])
        label_map, instance_map = map(Path, self.source.targets[index])
        semantic = self._to_label[read_indices(label_map, size).clip(0, 255)]
        if not self.has_masks:
            return image_tensor(image), {"image_id": image_id, "semantic": map_tensor(semantic)}
        instances = read_indices(instance_map, size)
        values = [int(value) for value in np.unique(instances)]
        kinds = [value // 1000 if value >= 1000 else value for value in values]
        kept = [i for i, kind in enumerate(kinds) if kind in self._countable]
        with blaming(instance_map):
            check_room("masks", len(kept), size)
        masks = instances[None] == np.array([values[i] for i in kept], dtype=instances.dtype).reshape(-1, 1, 1)
        target = instance_target(
            image_id,
            size,
            boxes_from_masks(masks),
            self._to_label[np.array([kinds[i] for i in kept], dtype=np.int64)].astype(np.int64),
            iscrowd=np.array([values[i] < 1000 for i in kept], dtype=np.int64),
            masks=masks,
            semantic=semantic,
        )
        return image_tensor(image), target


class _CityscapesFiles(Cityscapes):
    """torchvision's class over any split, in the order of the names and without what is no image."""

    def __init__(self, images: Path, targets: Path) -> None:
        VisionDataset.__init__(self, str(images.parent.parent))
        self.mode, self.split, self.target_type = "gtFine", images.name, ["semantic", "instance"]
        self.images_dir, self.targets_dir = str(images), str(targets)
        self.images, self.targets = [], []
        for path in sorted(images.glob(f"*/*{_IMAGE}"), key=lambda path: (path.parent.name, path.name)):
            stem = str(targets / path.parent.name / path.name.removesuffix(_IMAGE))
            self.images.append(str(path))
            self.targets.append([stem + _LABELS, stem + _INSTANCES])


def cityscapes_splits(root: Path) -> list[str]:
    """The names of the folders in `leftImg8bit`."""
    return sorted(path.name for path in (root / "leftImg8bit").iterdir() if path.is_dir())
