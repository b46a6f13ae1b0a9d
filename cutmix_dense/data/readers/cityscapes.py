"""Cityscapes: train ids or raw ids, instances, and a stable order."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int

from cutmix_dense.data import class_tables
from cutmix_dense.data.class_tables import countable_ids, id_to_train_id, train_id_to_id
from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.maps import read_indices, size_in_common
from cutmix_dense.data.masks import boxes_from_masks, check_room
from cutmix_dense.data.pictures import PICTURE_SUFFIXES, PictureInfo
from cutmix_dense.data.readers.base import DenseDataset, instance_target
from cutmix_dense.data.writers.cityscapes import CityscapesWriter

_IMAGE = re.compile(r"(.+)_leftImg8bit\.\w+")
_MAP = re.compile(r"(.+)_gt(?:Fine|Coarse)_(labelIds|labelTrainIds|instanceIds)\.png")
_IGNORE = 255


class _Frame(NamedTuple):
    """A picture and its maps by kind: "labelIds", "labelTrainIds", "instanceIds"."""

    name: str
    image: Path
    maps: Mapping[str, Path]


class CityscapesDataset(DenseDataset):
    """`leftImg8bit/<split>/<city>/*` with `gtFine` or `gtCoarse`, in the order of their names.

    Every target has `image_id` and `semantic`; if all images of the split have an instance map, also `boxes` (tight
    round the masks), `labels`, `masks`, `iscrowd` and `area`. A region drawn as a group, whose instances nobody told
    apart (a value under 1000 of a class that has instances), is one instance with `iscrowd` = 1.

    Labels are read from `labelIds`; where there is none, from `instanceIds`, whose values from 1000 on are 1000 · id +
    number; else from `labelTrainIds`, which don't tell the classes apart that aren't evaluated: all are 0, "unlabeled".
    Pictures may be PNG, JPEG or any other kind.

    Args:
        root: the folder that holds `leftImg8bit` and `gtFine` or `gtCoarse`.
        split: "train", "val" or any other folder in them.
        images: instead of `<root>/leftImg8bit`.
        annotations: instead of `<root>/gtFine`, or of `<root>/gtCoarse` where `gtFine` doesn't have the split.
        label_ids: "train": the 19 train ids, 255 elsewhere, instances of the 8 evaluated classes; "raw": the 34 ids.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        DatasetError: a folder that is missing.
        SampleError: on access, a file that cannot be read, or an id that isn't Cityscapes'.
    """

    layout = "cityscapes"
    title = "Cityscapes"
    options: ClassVar = {
        "images": "instead of leftImg8bit",
        "annotations": "instead of gtFine or gtCoarse",
        "label_ids": "train (19 classes) or raw (34 ids)",
    }
    writer = CityscapesWriter

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        label_ids: str = "train",
        **common: Any,
    ) -> None:
        if label_ids not in ("train", "raw"):
            raise ValueError(f'label_ids must be "train" or "raw", got {label_ids!r}')
        super().__init__(root, split, **common)
        self.label_ids = label_ids
        image_folder = Path(images) if images is not None else self.root / "leftImg8bit"
        target_folder = Path(annotations) if annotations is not None else _ground_truth(self.root, split)
        for folder in (image_folder / split, target_folder / split):
            if not folder.is_dir():
                raise DatasetError(f"{folder}: no such folder")
        self._images, self._targets = image_folder / split, target_folder / split
        self._frames = _frames(self._images, self._targets)
        self.classes = class_tables.TRAIN_CLASSES if label_ids == "train" else class_tables.RAW_CLASSES
        self.has_masks = len(self) > 0 and all("instanceIds" in frame.maps for frame in self._frames)
        self.has_semantic, self.has_instances = True, self.has_masks
        self._train_ids = id_to_train_id()
        self._countable = countable_ids(evaluated=label_ids == "train")

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the folders in `leftImg8bit`."""
        folder = root / "leftImg8bit"
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    @classmethod
    def whole(cls, root: Path, split: str) -> dict[str, Any]:
        """All 34 ids."""
        return {"label_ids": "raw"}

    @property
    def map_kinds(self) -> frozenset[str]:
        """Which of `labelIds`, `instanceIds` and `labelTrainIds` every image of the split has."""
        found = [frozenset(frame.maps) for frame in self._frames]
        return frozenset.intersection(*found) if found else frozenset()

    @property
    def ground_truth(self) -> str:
        """As in the names of the maps: "gtFine" or "gtCoarse"."""
        name = next((path.name for frame in self._frames for path in frame.maps.values()), "")
        return "gtCoarse" if "_gtCoarse_" in name else "gtFine"

    @property
    def has_polygons(self) -> bool:
        """Whether the first image has a list of polygons, which isn't read."""
        maps = self._frames[0].maps if self._frames else {}
        lists = (Path(re.sub(r"_[a-zA-Z]+Ids\.png$", "_polygons.json", str(path))) for path in maps.values())
        return any(path.is_file() for path in lists)

    def __len__(self) -> int:
        return len(self._frames)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        return self._frames[index].image

    def picture(self, index: int) -> PictureInfo:
        """The picture's name, the city's folder before it."""
        path = self._frames[index].image
        return PictureInfo(path.relative_to(self._images).as_posix())

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        frame = self._frames[index]
        first = next(iter(frame.maps.values()), None)
        if first is None:
            where = self._targets / frame.image.parent.name / f"{frame.name}_gtFine_labelIds.png"
            raise SampleError(where, "file not found, nor a map of instances or of train ids")
        size, doubt = size_in_common(first, frame.image)
        if doubt is not None:
            self.note(frame.image, doubt)
        instances = None
        if self.has_masks:
            instances = _read_instances(frame.maps["instanceIds"], size)
        ids = self._ids(frame, instances, size)
        image = self.read_image(frame.image, size, "its map")
        semantic = self._train_ids[ids] if self.label_ids == "train" else ids
        if instances is None:
            return image, {"image_id": frame.name, "semantic": semantic}
        path = frame.maps["instanceIds"]
        values = [int(value) for value in np.unique(instances)]
        kinds = [value // 1000 if value >= 1000 else value for value in values]
        numbered = [value >= 1000 and self.label_ids == "raw" for value in values]
        kept = [i for i, kind in enumerate(kinds) if kind in self._countable or numbered[i]]
        with blaming(path):
            check_room("masks", len(kept), size)
        masks = instances[None] == np.array([values[i] for i in kept], dtype=instances.dtype).reshape(-1, 1, 1)
        labels = np.array([kinds[i] for i in kept], dtype=np.int64)
        target = instance_target(
            frame.name,
            size,
            boxes_from_masks(masks),
            self._train_ids[labels].astype(np.int64) if self.label_ids == "train" else labels,
            iscrowd=np.array([values[i] < 1000 for i in kept], dtype=np.int64),
            masks=masks,
            semantic=semantic,
            details=[{STATED: {"instance_id": values[i]}} for i in kept] if self.details else None,
        )
        return image, target

    def _ids(self, frame: _Frame, instances: Int[np.ndarray, "h w"] | None, size: tuple[int, int]) -> np.ndarray:
        """(H, W) uint8: the raw id of every pixel; SampleError for one that isn't Cityscapes'."""
        largest = len(class_tables.RAW_CLASSES) - 1
        if "labelIds" in frame.maps:
            path = frame.maps["labelIds"]
            ids = read_indices(path, size)
            _refuse(path, ids, ids > largest, f"the ids of Cityscapes are 0 … {largest}")
        elif "instanceIds" in frame.maps:
            path = frame.maps["instanceIds"]
            values = _read_instances(path, size) if instances is None else instances
            ids = np.where(values >= 1000, values // 1000, values)
        else:
            path = frame.maps["labelTrainIds"]
            values = read_indices(path, size)
            count = len(class_tables.TRAIN_CLASSES)
            _refuse(
                path, values, (values >= count) & (values != _IGNORE), f"train ids are 0 … {count - 1} and {_IGNORE}"
            )
            ids = train_id_to_id()[values]
        return ids.astype(np.uint8)


def _read_instances(path: Path, size: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """(H, W) int32: ids, or 1000 · id + number; SampleError for a value whose id isn't Cityscapes'."""
    values = read_indices(path, size).astype(np.int32)  # 8 bits where no instance is numbered
    largest = len(class_tables.RAW_CLASSES) - 1
    odd = np.where(values >= 1000, values // 1000, values) > largest
    _refuse(path, values, odd, f"instance ids are 0 … {largest}, or 1000 · id + number")
    return values


def _refuse(path: Path, values: Int[np.ndarray, "h w"], odd: np.ndarray, rule: str) -> None:
    """SampleError that names the first odd value and its place."""
    if odd.any():
        row, column = (int(where[0]) for where in np.nonzero(odd))
        raise SampleError(path, f"holds the value {int(values[row, column])} (row {row}, column {column}); {rule}")


def _ground_truth(root: Path, split: str) -> Path:
    """`gtFine`, or `gtCoarse` where only that has the split."""
    coarse = (root / "gtCoarse" / split).is_dir() and not (root / "gtFine" / split).is_dir()
    return root / ("gtCoarse" if coarse else "gtFine")


def _frames(images: Path, targets: Path) -> list[_Frame]:
    """Picture and maps of every sample, in the order of cities and names; cities may be left out."""
    found = []
    cities = sorted((path for path in images.iterdir() if path.is_dir()), key=lambda path: path.name)
    for city in [images, *cities]:
        inner = targets if city == images else targets / city.name
        maps: dict[str, dict[str, Path]] = {}
        for name in _names(inner):
            match = _MAP.fullmatch(name)
            if match is not None:
                maps.setdefault(match[1], {})[match[2]] = inner / name
        for name in _names(city):
            match = _IMAGE.fullmatch(name)
            if match is not None and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                kinds = maps.get(match[1], {})
                order = [kind for kind in ("labelIds", "instanceIds", "labelTrainIds") if kind in kinds]
                found.append(_Frame(match[1], city / name, {kind: kinds[kind] for kind in order}))
    return found


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
