"""COCO panoptic: images, PNG maps of segment ids, and what each id means."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.maps import read_color_ids
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.readers.base import DenseDataset, inside_folder, needed_folder
from cutmix_dense.data.readers.coco_files import (
    categories_of,
    find_annotations,
    header_of,
    picture_of,
    read_coco_json,
    splits_of,
    stated_size,
    whole_number,
)
from cutmix_dense.data.readers.picture_files import NamedFiles, find_images
from cutmix_dense.data.writers.coco_panoptic import OF_ANNOTATION, CocoPanopticWriter

_OF_ITSELF = frozenset({"id", "image_id", "file_name", "segments_info"})


class CocoPanopticDataset(DenseDataset):
    """COCO panoptic from the official layout or explicit paths.

    Every target has `image_id`; `panoptic` (H, W), a `Mask` of int32 ids, 0 = void; and `segments_info`, the dicts of
    the file with `isthing` of their category: what `functional.mix_panoptic` and the transforms take. `category_id`
    stays the file's; `labels[category_id]` is its index in `classes`, which has no background, and `category_ids` the
    way back. Ids of segments and categories may be texts or floats that mean whole numbers. With
    `functional.panoptic_targets(..., labels=dataset.labels)` a target is Mask2Former's.

    Args:
        root: the dataset folder.
        split: "train", "val", "train2017" …
        images: image folder, if it is not one of `<split>/`, `images/<split>/`, `JPEGImages/`, `images/`.
        annotations: JSON file, if it is not `annotations/panoptic_<split>.json`.
        maps: PNG folder, if it is not the JSON file's name without `.json`, beside it or in `root`.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        DatasetError: no annotation file, image or PNG folder, or a JSON that is not COCO panoptic.
        SampleError: on access, an image or a map that cannot be read, or segments that don't fit it.
    """

    layout = "coco_panoptic"
    title = "COCO panoptic"
    options: ClassVar = {
        "images": "image folder, if it is not <split>/, images/<split>/, JPEGImages/ or images/",
        "annotations": "JSON file, if it is not annotations/panoptic_<split>.json",
        "maps": "PNG folder, if it is not the JSON file's name without .json",
    }
    writer = CocoPanopticWriter

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        maps: str | Path | None = None,
        **common: Any,
    ) -> None:
        super().__init__(root, split, **common)
        self.annotations = (
            Path(annotations) if annotations is not None else find_annotations(self.root, split, "panoptic")
        )
        more = {"annotations": ("file_name", "segments_info"), "categories": ("isthing",)}
        told: list[str] = []
        content = read_coco_json(self.annotations, "panoptic", more, told=told)
        names = [str(image["file_name"]) for image in content["images"]]
        self._images = (
            Path(images) if images is not None else find_images(self.root, split, self.annotations, names, "panoptic")
        )
        beside = self.annotations.with_suffix("")
        places = [Path(maps)] if maps is not None else [beside, self.root / beside.name]
        self._maps = next((folder for folder in places if folder.is_dir()), places[0])
        for folder, what in ((self._images, "image"), (self._maps, "PNG")):
            needed_folder(folder, what)
        for category in content["categories"]:
            category["id"] = whole_number(category["id"])
        if any(type(entry["id"]) is not int or not 0 <= entry["id"] < 2**16 for entry in content["categories"]):
            raise DatasetError(f"{self.annotations}: the ids of 'categories' must be integers in 0 … 65535")
        categories = categories_of(content, told)
        self.categories: tuple[dict[str, Any], ...] = tuple(categories)
        self.classes = tuple(str(category["name"]) for category in categories)
        self.category_ids: tuple[int, ...] = tuple(category["id"] for category in categories)
        self.labels = {category: label for label, category in enumerate(self.category_ids)}
        self.has_panoptic, self.has_instances = True, False
        self.header = header_of(content, told)
        self.notes.update({(str(self.annotations), reason): 1 for reason in told})
        self._things = {entry["id"]: int(bool(whole_number(entry["isthing"]))) for entry in content["categories"]}
        self._entries = sorted(content["images"], key=lambda image: image["id"])
        self._files = NamedFiles(self._images, (entry["file_name"] for entry in self._entries), self.annotations)
        self._annotation_of: dict[Any, dict[str, Any]] = {}
        for annotation in content["annotations"]:
            if self._annotation_of.setdefault(annotation["image_id"], annotation) is not annotation:
                raise DatasetError(f"{self.annotations}: two annotations of the image {annotation['image_id']!r}")

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the splits whose panoptic annotations are found under `root`."""
        return splits_of(root, "panoptic")

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def things(self) -> tuple[int, ...]:
        """The category ids that are things."""
        return tuple(number for number in self.category_ids if self._things[number])

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names by `category_id`, for drawing; empty where no category has the number."""
        names = dict(zip(self.category_ids, self.classes))
        return tuple(names.get(number, "") for number in range(max(names, default=-1) + 1))

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        return self._files.path(index)

    def picture(self, index: int) -> PictureInfo:
        """Name and further fields of the image's entry in the file, and of its annotation."""
        entry = self._entries[index]
        name = self.image_path(index).relative_to(self._images).as_posix()
        annotation = self._annotation_of.get(entry["id"], {})
        further = {key: value for key, value in annotation.items() if key not in _OF_ITSELF}
        return picture_of({**entry, **({OF_ANNOTATION: further} if further else {})}, name)

    def map_path(self, index: int) -> Path:
        """The PNG file of sample `index`; SampleError if its name leads out of the PNG folder, or none is named."""
        image = self._entries[index]
        if image["id"] not in self._annotation_of:
            raise SampleError(self.annotations, f"has no annotation of the image {image['id']!r}")
        return inside_folder(self._maps, self._annotation_of[image["id"]]["file_name"], self.annotations)

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        import torch

        from cutmix_dense.functional.segments import Part, coded  # loads torch, which a look at a folder doesn't need

        entry, path = self._entries[index], self.image_path(index)
        map_path = self.map_path(index)
        image = self.read_image(path, stated_size(entry, self.annotations), self.annotations.name)
        ids = read_color_ids(map_path, (image.shape[1], image.shape[2]))
        annotation = self._annotation_of[entry["id"]]
        try:
            infos = [self._segment(info) for info in _listed(annotation["segments_info"])]
            coded(Part(torch.from_numpy(ids), infos, "the map", "segments_info"))
        except (ValueError, TypeError) as error:
            raise SampleError(map_path, f"with its segments in {self.annotations}: {error}") from error
        return image, {"image_id": entry["id"], "panoptic": ids, "segments_info": infos}

    def _segment(self, info: Any) -> dict[str, Any]:
        """A segment of the file, with `isthing`."""
        if not isinstance(info, dict):
            raise ValueError(f"a segment must be an object, got {type(info).__name__}")
        numbers = {key: whole_number(info[key]) for key in ("id", "category_id", "iscrowd") if key in info}
        category = operator.index(numbers.get("category_id"))  # type: ignore[arg-type]  # None raises, as any other
        if category not in self._things:
            raise ValueError(f"category_id {category} is not among the categories")
        return {"iscrowd": 0, **info, **numbers, "isthing": self._things[category]}


def _listed(segments: Any) -> list[Any]:
    if not isinstance(segments, list):
        raise ValueError(f"segments_info must be a list, got {type(segments).__name__}")
    return segments
