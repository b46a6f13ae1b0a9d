"""COCO: `<split>/<key>.jpg` and `annotations/instances_<split>.json`, and what its panoptic kind shares with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutmix_dense.data.addresses import renamed
from cutmix_dense.data.details import STATED, finite_fields
from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.data.masks import encode_segmentation
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.writers.base import Sample, Writer

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset


class CocoLayout(Writer):
    """What all kinds of COCO annotations share: the images, their entries, and the categories' ids.

    Image ids count from 1 in the order of `finish`. An address that names its picture, as LVIS' `coco_url`, ends with
    folder and name of the file in the copy, which LVIS' readers open.

    Args:
        root: the folder of the dataset.
        classes: names by label.
        split: name of the split.
        category_ids: the file's category id of every label; default: the label itself.
        image_format: "jpg" or "png", for samples whose picture has no name.
        quality: JPEG quality.
        categories: by label, what the file says of each category besides id and name.
        header: `info` and `licenses` of the file, and whatever else it says beside its lists.

    Raises:
        ValueError: another format, or another number of ids than of classes.
    """

    renames_addresses = True

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str],
        split: str = "train",
        category_ids: Sequence[int | str] | None = None,
        image_format: str = "jpg",
        quality: int = 95,
        categories: Sequence[Mapping[str, Any]] = (),
        header: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        if image_format not in ("jpg", "png"):
            raise ValueError(f'image_format must be "jpg" or "png", got {image_format!r}')
        self.image_format = image_format
        self.header, self.categories = dict(header or {}), tuple(categories)
        self.category_ids = tuple(category_ids) if category_ids is not None else tuple(range(len(self.classes)))
        if len(self.category_ids) != len(self.classes):
            raise ValueError(f"{len(self.category_ids)} category_ids for {len(self.classes)} classes")

    def image_of(self, key: str, sample: Sample) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The image file (path under the root: content), and the image's entry in the lists but for its id."""
        path, content = self.picture_file(self.split, key, sample, f".{self.image_format}")
        height, width = sample.size
        entry = {"file_name": path.removeprefix(f"{self.split}/"), "width": width, "height": height}
        picture = PictureInfo("") if sample.picture is None else sample.picture
        details = {key: value for key, value in picture.details.items() if key not in entry and key != "id"}
        if picture.address in details:
            details[picture.address] = renamed(details[picture.address], path)
        return {path: content}, {**entry, **finite_fields(details, sample.lost)}

    def category_of(self, label: int, **more: Any) -> dict[str, Any]:
        """The entry of a category in the lists: what its file says of it, else what every file has."""
        stated = self.categories[label] if label < len(self.categories) else {}
        further = stated or {"supercategory": "none"}
        return {**further, "id": self.category_ids[label], "name": self.classes[label], **more}

    def write_json(self, kind: str, images: list[Any], annotations: list[Any], categories: list[Any]) -> None:
        """Write `annotations/<kind>_<split>.json`."""
        written = f"{self.split}, written by cutmix_dense"
        info = dict(self.header.get("info") or {}) if isinstance(self.header.get("info"), dict) else {}
        described = info.get("description")
        info["description"] = f"{described}; {written}" if described else written
        content = {
            "info": info,
            "licenses": self.header.get("licenses") or [],
            "categories": categories,
            "images": images,
            "annotations": annotations,
        }
        content |= {key: value for key, value in self.header.items() if key not in content}
        write_atomic(self.root / "annotations" / f"{kind}_{self.split}.json", dump_json(content))


class CocoWriter(CocoLayout):
    """Writes a COCO split whose every annotation decodes, by pycocotools, to exactly the mask it was given.

    Polygons where they draw exactly the mask; run lengths for crowds, holes, several parts and the rest; an empty
    `segmentation` for an instance without a mask beside others with one, none for samples without masks. `visibility`
    and `weight` are kept as extra fields of the annotation, and so are `details`. An instance that is as its COCO file
    states it has the fields that the file has, and a box. Keypoints are those of the category's names; a category
    without names beside others with them has none. Image and annotation ids count from 1 in the order of `finish`.

    Args: as for `CocoLayout`; `classes[0]` is "background", and entry 0 of `category_ids` is not used.
    """

    layout = "coco"
    holds_weights = True
    made_anew = ("ids of images and annotations",)

    def __init__(self, root: str | Path, *, classes: Sequence[str], **common: Any) -> None:
        super().__init__(root, classes=classes, **common)
        self._shift = 0  # of labels, where the first class of a dataset is no background

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> CocoWriter:
        """The writer of a copy of a dataset: of COCO with its ids, categories and licences."""
        classes, shift = cls.instances_of(dataset)
        writer = cls(
            root,
            classes=classes,
            split=split,
            category_ids=None if shift else getattr(dataset, "category_ids", None),
            quality=quality,
            categories=getattr(dataset, "categories", ()),
            header=getattr(dataset, "header", {}),
        )
        writer._shift = shift
        return writer

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        labels = sample.labels + self._shift
        if len(labels) and labels.min() < 1:
            raise ValueError("label 0 is the background, which COCO has no category for")
        annotations = []
        for i, (x1, y1, x2, y2) in enumerate(sample.boxes.tolist()):
            crowd = bool(sample.iscrowd[i])
            annotation: dict[str, Any] = {
                "category_id": self.category_ids[int(labels[i])],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(sample.area[i]),
                "iscrowd": int(crowd),
            }
            if sample.masks is not None:
                drawn = sample.has_mask[i]
                annotation["segmentation"] = encode_segmentation(sample.masks[i], crowd=crowd) if drawn else []
            elif sample.corners is not None:
                annotation["segmentation"] = [sample.corners[i].tolist()]
            points = None if sample.keypoints is None else self._points(sample.keypoints[i], int(labels[i]))
            if points is not None:
                annotation["keypoints"] = [int(v) if v == int(v) else v for v in points.reshape(-1).tolist()]
                annotation["num_keypoints"] = int((points[:, 2] > 0).sum())
            stated = sample.details[i].get(STATED)
            if stated is not None:
                written = {"category_id", "bbox", *stated, *(("iscrowd",) if crowd else ())}
                measured = {key: value for key, value in annotation.items() if key in written}
                own = finite_fields(stated, Counter())  # others are measured
                sample.lost.update({f"NaN in {key}": 1 for key in stated if key not in own and key not in measured})
                annotation = {**measured, **own, **({"iscrowd": 1} if crowd and not own.get("iscrowd") else {})}
            if sample.visibility is not None:
                annotation["visibility"] = round(float(sample.visibility[i]), 6)
            if sample.weight is not None:
                annotation["weight"] = round(float(sample.weight[i]), 6)
            if sample.difficult[i]:
                annotation["difficult"] = sample.level(i)
            details = {
                key: value
                for key, value in sample.details[i].items()
                if key not in annotation and key not in (STATED, "id", "image_id")
            }
            annotations.append(finite_fields({**annotation, **details}, sample.lost))
        if sample.semantic is not None:
            sample.lost["semantic map"] += 1
        files, entry = self.image_of(key, sample)
        return files, {**entry, "annotations": annotations}

    def _points(self, points: np.ndarray, label: int) -> np.ndarray | None:
        """The keypoints that the category has; where the categories say nothing, all if one of them is labelled."""
        names = [category.get("keypoints") for category in self.categories]
        own = names[label] if label < len(names) else None
        if own:
            return points[: len(own)]
        return points if (points[:, 2] > 0).any() else None

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
        categories = [self.category_of(label) for label in range(1, len(self.classes))]
        self.write_json("instances", images, annotations, categories)
