"""COCO instances: `torchvision.datasets.CocoDetection` with labels, masks and crowds made whole."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import tv_tensors
from torchvision.datasets import CocoDetection, VisionDataset

from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.extras import coco_masks
from cutmix_dense.data.files import inside
from cutmix_dense.data.images import read_rgb
from cutmix_dense.data.masks import check_room, decode_segmentation
from cutmix_dense.data.readers.base import DenseDataset, finite, image_tensor, instance_target
from cutmix_dense.data.readers.coco_files import find_annotations, find_images, read_coco_json

__all__ = ["CocoDataset"]


class CocoDataset(DenseDataset):
    """COCO instances from the official layout, Roboflow's export, or explicit paths.

    Every target has `image_id`, `boxes`, `labels`, `iscrowd`, `area`, and `masks` if any annotation of the file has a
    segmentation; an annotation without one then has an empty mask. `classes[0]` is "background", the others follow
    the ids of the categories, and `category_ids[label]` is the file's id (-1 for the background).

    Args:
        root: the dataset folder.
        split: "train", "val", "train2017" …
        images: image folder, if it is not one of `<split>/`, `images/<split>/`, `JPEGImages/`, `images/`.
        annotations: JSON file, if it is not `annotations/instances_<split>.json`, `annotations/<split>.json` or
            `<split>/_annotations.coco.json`.

    Raises:
        DatasetError: no annotation file or image folder, or a JSON that is not COCO.
        SampleError: on access, an image that cannot be read or an annotation that makes no sense.
    """

    layout = "coco"

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
    ) -> None:
        self.root, self.split = Path(root), split
        self.annotations = Path(annotations) if annotations is not None else find_annotations(self.root, split)
        content = read_coco_json(self.annotations, more={"annotations": ("id", "category_id")})
        names = [str(image["file_name"]) for image in content["images"]]
        folder = Path(images) if images is not None else find_images(self.root, split, self.annotations, names[:1])
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such image folder")
        self.source = _CocoFiles(folder, content)
        categories = sorted(content["categories"], key=lambda category: category["id"])
        self.classes = ("background", *(str(category["name"]) for category in categories))
        self.category_ids: tuple[int, ...] = (-1, *(category["id"] for category in categories))
        self.has_masks = any(annotation.get("segmentation") for annotation in content["annotations"])
        self.has_semantic = False
        self._labels = {category: label for label, category in enumerate(self.category_ids) if label}

    def __len__(self) -> int:
        return len(self.source)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        name = str(self.source.coco.imgs[self.source.ids[index]]["file_name"])
        try:
            return inside(Path(self.source.root), name)
        except ValueError as error:
            raise SampleError(self.annotations, str(error)) from error

    def _load(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        image_id = self.source.ids[index]
        entry, path = self.source.coco.imgs[image_id], self.image_path(index)
        image = read_rgb(path)
        size = (image.shape[0], image.shape[1])
        stated = (entry.get("height") or size[0], entry.get("width") or size[1])
        if stated != size:
            raise SampleError(path, f"is {size[1]}×{size[0]}, but {self.annotations.name} says {stated[1]}×{stated[0]}")
        found = self.source._load_target(image_id)
        boxes = np.zeros((len(found), 4))
        labels, crowd = np.zeros(len(found), dtype=np.int64), np.zeros(len(found), dtype=np.int64)
        area = np.full(len(found), np.nan, dtype=np.float32)
        with blaming(path):
            check_room("masks", len(found) * self.has_masks, size)
        masks = np.zeros((len(found), *size), dtype=bool) if self.has_masks else None
        for i, annotation in enumerate(found):
            try:
                x, y, w, h = _numbers(annotation.get("bbox"))
                boxes[i] = x, y, x + w, y + h
                if annotation["category_id"] not in self._labels:
                    raise ValueError(f"category_id {annotation['category_id']} is not among the categories")
                labels[i] = self._labels[annotation["category_id"]]
                crowd[i] = int(annotation.get("iscrowd") or 0)
                if annotation.get("area") is not None:
                    area[i] = finite(annotation["area"])
                if masks is not None:
                    masks[i] = decode_segmentation(annotation.get("segmentation"), size)
            except (ValueError, TypeError, OverflowError) as error:
                reason = f"annotation {annotation.get('id')} in {self.annotations}: {error}"
                raise SampleError(path, reason) from error
        target = instance_target(image_id, size, boxes, labels, iscrowd=crowd, area=area, masks=masks)
        return image_tensor(image), target


class _CocoFiles(CocoDetection):
    """torchvision's class over a JSON that is parsed and checked already, and without its prints."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        VisionDataset.__init__(self, str(folder))
        coco_masks()  # the ImportError that names the extra
        from pycocotools.coco import COCO

        self.coco = COCO()
        self.coco.dataset = content
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco.createIndex()
        self.ids = sorted(self.coco.imgs)

    def _load_target(self, id: int | str) -> list[dict[str, Any]]:
        # pycocotools goes by the annotations' ids, which not every file keeps apart, and takes text for a list of ids.
        return self.coco.imgToAnns.get(id, [])


def _numbers(bbox: Any) -> list[float]:
    if not isinstance(bbox, (list, tuple)) or len(bbox) != 4:
        raise ValueError(f"bbox must be [x, y, width, height], got {bbox!r}")
    return [finite(value) for value in bbox]
