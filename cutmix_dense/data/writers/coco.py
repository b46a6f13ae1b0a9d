"""COCO: `<split>/<key>.jpg` and `annotations/instances_<split>.json`, and what its panoptic kind shares with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.data.images import encode_rgb
from cutmix_dense.data.masks import encode_segmentation
from cutmix_dense.data.writers.base import Sample, Writer

__all__ = ["CocoLayout", "CocoWriter"]


class CocoLayout(Writer):
    """What all kinds of COCO annotations share: the images, their entries, and the categories' ids.

    Image ids count from 1 in the order of `finish`.

    Args:
        root: the folder of the dataset.
        classes: names by label.
        split: name of the split.
        category_ids: the file's category id of every label; default: the label itself.
        image_format: "jpg" or "png".
        quality: JPEG quality.

    Raises:
        ValueError: another format, or another number of ids than of classes.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str],
        split: str = "train",
        category_ids: Sequence[int] | None = None,
        image_format: str = "jpg",
        quality: int = 95,
    ) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        if image_format not in ("jpg", "png"):
            raise ValueError(f'image_format must be "jpg" or "png", got {image_format!r}')
        self.image_format = image_format
        self.category_ids = tuple(category_ids) if category_ids is not None else tuple(range(len(self.classes)))
        if len(self.category_ids) != len(self.classes):
            raise ValueError(f"{len(self.category_ids)} category_ids for {len(self.classes)} classes")

    def image_of(self, key: str, sample: Sample) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The image file (path under the root: content), and the image's entry in the lists but for its id."""
        name = f"{key}.{self.image_format}"
        height, width = sample.size
        content = encode_rgb(sample.image, f".{self.image_format}", self.quality)
        return {f"{self.split}/{name}": content}, {"file_name": name, "width": width, "height": height}

    def write_json(self, kind: str, images: list[Any], annotations: list[Any], categories: list[Any]) -> None:
        """Write `annotations/<kind>_<split>.json`."""
        content = {
            "info": {"description": f"{self.split}, written by cutmix_dense"},
            "licenses": [],
            "categories": categories,
            "images": images,
            "annotations": annotations,
        }
        write_atomic(self.root / "annotations" / f"{kind}_{self.split}.json", dump_json(content))


class CocoWriter(CocoLayout):
    """Writes a COCO split whose every annotation decodes, by pycocotools, to exactly the mask it was given.

    Polygons where they draw exactly the mask; run lengths for crowds, holes, several parts and the rest; no
    `segmentation` for samples without masks. `visibility` is kept as an extra field of the annotation. Image and
    annotation ids count from 1 in the order of `finish`.

    Args: as for `CocoLayout`; `classes[0]` is "background", and entry 0 of `category_ids` is not used.
    """

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        if len(sample.labels) and sample.labels.min() < 1:
            raise ValueError("label 0 is the background, which COCO has no category for")
        annotations = []
        for i, (x1, y1, x2, y2) in enumerate(sample.boxes.tolist()):
            crowd = bool(sample.iscrowd[i])
            annotation: dict[str, Any] = {
                "category_id": self.category_ids[int(sample.labels[i])],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(sample.area[i]),
                "iscrowd": int(crowd),
            }
            if sample.masks is not None:
                annotation["segmentation"] = encode_segmentation(sample.masks[i], crowd=crowd)
            if sample.visibility is not None:
                annotation["visibility"] = round(float(sample.visibility[i]), 6)
            annotations.append(annotation)
        files, entry = self.image_of(key, sample)
        return files, {**entry, "annotations": annotations}

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, sample in enumerate(samples, start=1):
            found = sample.pop("annotations")
            images.append({"id": image_id, **sample})
            annotations += [
                {"id": len(annotations) + i, "image_id": image_id, **annotation}
                for i, annotation in enumerate(found, start=1)
            ]
        categories = [
            {"id": self.category_ids[label], "name": name, "supercategory": "none"}
            for label, name in enumerate(self.classes)
            if label
        ]
        self.write_json("instances", images, annotations, categories)
