"""A `datasets.Dataset` of Hugging Face with objects or a map of classes for each image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.masks import stated_segmentation
from cutmix_dense.data.pictures import PictureInfo, Pixels, decode_picture
from cutmix_dense.data.readers.base import DenseDataset
from cutmix_dense.data.readers.box_formats import StatedBox, check_format
from cutmix_dense.data.readers.hf_rows import OWN, Objects, check_boxes, find_columns, items_of

_CHECKED = 32


class HuggingFaceDataset(DenseDataset):
    """Samples of a map-style `datasets.Dataset`, which is opened, filtered and split by `datasets` itself.

    ::

        rows = datasets.load_dataset("cppe-5", split="train")
        dataset = HuggingFaceDataset(rows)  # columns image and objects, names of the ClassLabel
        maps = HuggingFaceDataset(rows, semantic="annotation", classes=names)

    Pictures are decoded here, not by `datasets`, so that every band and number of bits is kept. `hf_imagefolder` reads
    folders of the same kind without `datasets`.

    Args:
        dataset: with an image column, and a column of objects or one of maps.
        image: the column of the pictures, a `datasets.Image`.
        objects: the column of the objects, a dict of lists or a list of dicts with `bbox`, a category and perhaps
            `segmentation`, `area`, `iscrowd`; found by itself if not given.
        semantic: the column of maps of class ids, grey or palette pictures with 255 = ignore; with it, no objects are
            read unless `objects` is given, too.
        box_format: see `hf_imagefolder`; "xywh" in pixels is usual.
        classes: names of the classes, number 0 first. Needed for maps; for objects the column's `ClassLabel`, else the
            words that occur, or numbers.
        pixels: see `DenseDataset`.
        details: see `DenseDataset`.

    Raises:
        ValueError: no such column, or an `IterableDataset`, whose samples have no index.
        DatasetError: no objects, or boxes that are of another format as a whole.
        SampleError: on access, a row that cannot be read.
    """

    layout = "hf_dataset"
    title = "Hugging Face dataset"

    def __init__(
        self,
        dataset: Any,
        *,
        image: str = "image",
        objects: str | None = None,
        semantic: str | None = None,
        box_format: str = "xywh",
        classes: Sequence[str] | None = None,
        pixels: Pixels = "auto",
        details: bool = False,
    ) -> None:
        check_format(box_format)
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "features"):
            raise ValueError(
                f"dataset must be a map-style datasets.Dataset, got {type(dataset).__name__}; choose a split of a "
                "DatasetDict, and load an IterableDataset without streaming"
            )
        super().__init__("huggingface", str(getattr(dataset, "split", None) or "train"), pixels=pixels, details=details)
        for name in (image, objects, semantic):
            if name is not None and name not in dataset.features:
                raise ValueError(f"no column {name!r}; the columns are {', '.join(dataset.features)}")
        self._image, self._semantic = image, semantic
        dataset = dataset.with_format(None)
        for name in filter(None, (image, semantic)):
            feature = dataset.features[name]
            if not hasattr(feature, "decode"):
                raise ValueError(f"the column {name!r} must hold pictures (datasets.Image), it is {feature}")
            dataset = dataset.cast_column(name, type(feature)(decode=False))
        self._rows = dataset
        self._objects: Objects | None = None
        self._some_without = False
        self.has_semantic = semantic is not None
        self.has_instances = semantic is None or objects is not None
        if semantic is None or objects is not None:
            self._find_objects(objects, box_format, classes)
        elif classes is None:
            raise ValueError("maps hold numbers: name their classes with classes=, number 0 first")
        else:
            self.classes = tuple(classes)

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """None: it is made of an object, not of a folder."""
        return []

    def _find_objects(self, objects: str | None, box_format: str, classes: Sequence[str] | None) -> None:
        features = self._rows.features
        plain = [name for name in features if not hasattr(features[name], "decode") and name != self._image]
        rows = self._rows.select_columns([objects] if objects is not None else plain)
        columns = find_columns(rows, objects)
        if columns is None:
            raise DatasetError(f"no row has boxes ('bbox') in a column of {', '.join(plain) or 'its own'}")
        items: list[dict[str, Any]] = []
        for row in rows:
            try:
                items += items_of(row, columns)
            except ValueError:  # said when it is read
                continue
        if classes is None and columns.category is not None:
            holder = features if columns.holder is None else features[columns.holder]
            classes = _names_of_feature(holder, columns.category)
        values = [item.get(str(columns.category)) for item in items]
        self._objects = Objects(columns, box_format, classes, values, "dataset")
        self.classes = self._objects.classes
        states = [_states_mask(item.get(columns.masks)) for item in items] if columns.masks else []
        self.has_masks, self._some_without = any(states), any(states) and not all(states)
        check_boxes([item.get(columns.boxes) for item in items], box_format, self._sized(), "dataset")

    def _sized(self) -> list[StatedBox]:
        found: list[StatedBox] = []
        if self._objects is None:
            return found
        for index in range(min(len(self), _CHECKED)):
            try:
                with Image.open(io.BytesIO(self._content(index, self._image))) as picture:
                    size = (picture.height, picture.width)
                found += self._objects.boxes(index, self._rows[index], size)
            except (
                SampleError,
                ValueError,
                OSError,
                SyntaxError,
                UnidentifiedImageError,
                Image.DecompressionBombError,
            ):
                continue  # said when it is read
        return found

    def __len__(self) -> int:
        return len(self._rows)

    def image_path(self, index: int) -> Path:
        """The picture's file where it is one, else what its row is called: `huggingface/<split>/<row>`."""
        value = self._rows[index][self._image] or {}
        path = value.get("path") if isinstance(value, dict) else None
        return Path(path) if path and Path(path).is_file() else self.root / self.split / str(index)

    def picture(self, index: int) -> PictureInfo:
        """The file name that the row states, else its number; and the row's other columns of plain values."""
        row = self._rows[index]
        path = (row[self._image] or {}).get("path")
        details = {key: value for key, value in row.items() if key not in OWN and isinstance(value, (str, int, float))}
        return PictureInfo(Path(path).name if path else f"{index}.png", details)

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        path, row = self.image_path(index), self._rows[index]
        array = decode_picture(self._content(index, self._image), self.pixels, path=path)
        image = np.ascontiguousarray(array.transpose(2, 0, 1))
        size = (image.shape[1], image.shape[2])
        semantic = None if self._semantic is None else self._map(index, size)
        if self._objects is None:
            return image, {"image_id": index, "semantic": semantic}
        try:
            target = self._objects.target(
                index,
                row,
                size,
                lambda reason: self.note(path, reason),
                masks=self.has_masks,
                some_without=self._some_without,
                details=self.details,
            )
        except ValueError as error:
            raise SampleError(path, str(error)) from error
        return image, target if semantic is None else {**target, "semantic": semantic}

    def _content(self, index: int, column: str) -> bytes:
        """The bytes of a picture's file."""
        value = self._rows[index][column]
        where = self.root / self.split / str(index)
        with blaming(where):
            if not isinstance(value, dict) or not (value.get("bytes") or value.get("path")):
                raise ValueError(f"column {column!r} holds no picture")
            return bytes(value["bytes"]) if value.get("bytes") else Path(value["path"]).read_bytes()

    def _map(self, index: int, size: tuple[int, int]) -> np.ndarray:
        where = self.root / self.split / str(index)
        content = self._content(index, str(self._semantic))
        with blaming(where), Image.open(io.BytesIO(content)) as picture:
            if picture.mode not in ("P", "L", "1") and not picture.mode.startswith("I"):
                raise ValueError(f"a map of ids must be a palette or grey picture, this one is {picture.mode}")
            ids = np.array(picture)
            if ids.shape != size:
                raise ValueError(f"the map is {ids.shape[1]}×{ids.shape[0]}, its image is {size[1]}×{size[0]}")
            known = ids[ids != 255]
            if known.size and not 0 <= int(known.min()) <= int(known.max()) < min(len(self.classes), 255):
                raise ValueError(
                    f"the map holds the ids {int(known.min())} … {int(known.max())}, "
                    f"the {len(self.classes)} classes are 0 … {len(self.classes) - 1}"
                )
        return ids.astype(np.uint8)


def _names_of_feature(feature: Any, column: str) -> list[str] | None:
    """The names of a `ClassLabel` inside of a feature, which may be a list or a dict of lists."""
    inner = _of_list(feature)
    inner = _of_list(inner.get(column)) if isinstance(inner, dict) else None
    names = getattr(inner, "names", None)
    return list(names) if names else None


def _of_list(feature: Any) -> Any:
    """What a list's feature is a list of, however `datasets` writes that."""
    while isinstance(feature, list) or hasattr(feature, "feature"):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    return feature


def _states_mask(segmentation: Any) -> bool:
    try:
        return stated_segmentation(segmentation) is not None
    except ValueError:  # said when it is read
        return False
