"""DOTA: aerial images with rotated boxes, a text file of corners for each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cutmix_dense.data.class_tables import DOTA_CLASSES
from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.pictures import PICTURE_SUFFIXES
from cutmix_dense.data.readers.base import DenseDataset, finite, instance_target, needed_folder

__all__ = ["DotaDataset"]


class DotaDataset(DenseDataset):
    """Aerial images with rotated boxes from a folder with DOTA's layout.

    Boxes are `BoundingBoxes` of the format XYXYXYXY (N, 8), corners as in the file; `labels`, `iscrowd` (zeros),
    `area` (N,) the polygon's in pixels, `difficult` (N,) and `image_id`, the image's name. A line of a file is
    ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``; `difficult` may be missing; lines ``imagesource:`` and ``gsd:`` are
    passed over.

    Args:
        root: the dataset folder.
        split: "train", "val" …: the folder in `root` that holds `images` and `labelTxt`.
        images: image folder, if it is not `<split>/images`.
        annotations: folder of the text files, if it is not `<split>/labelTxt`.
        classes: names of the classes from 1 on. Default: the official ones if no other name occurs, else the names
            that occur, sorted.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        DatasetError: a folder that is missing, or one without images.
        SampleError: on access, an image or a text file that cannot be read.
        ImportError: on access, a torchvision without rotated boxes (before 0.23).
    """

    layout = "dota"
    title = "DOTA"
    options: ClassVar = {
        "images": "image folder, if it is not <split>/images",
        "annotations": "folder of the text files, if it is not <split>/labelTxt",
        "classes": "names of the classes",
    }

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        classes: Sequence[str] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(root, split, **common)
        folder = Path(images) if images is not None else self.root / split / "images"
        self._texts = Path(annotations) if annotations is not None else self.root / split / "labelTxt"
        for needed in (folder, self._texts):
            needed_folder(needed, "image" if needed == folder else "annotation", self.find_splits(self.root))
        self._images = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
        if not self._images:
            raise DatasetError(f"{folder}: holds no image ({', '.join(PICTURE_SUFFIXES)})")
        names = list(classes) if classes is not None else _names_in(self._texts.parent.parent, self._texts)
        self.classes = ("background", *(names[1:] if names[:1] == ["background"] else names))
        if len(set(self.classes)) < len(self.classes):
            raise DatasetError(f"{self._texts}: class names must differ, got {list(self.classes[1:])}")
        self._labels = {name: label for label, name in enumerate(self.classes) if label}

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the folders under `root` that hold `images` and `labelTxt`."""
        return sorted(path.parent.name for path in root.glob("*/labelTxt") if (path.parent / "images").is_dir())

    def __len__(self) -> int:
        return len(self._images)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        return self._images[index]

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        path = self._images[index]
        image = self.read_image(path)
        size = (image.shape[-2], image.shape[-1])
        text = self._texts / f"{path.stem}.txt"
        corners, labels, difficult = [], [], []
        for number, words in _objects(text):
            try:
                if not 9 <= len(words) <= 10:
                    raise ValueError(f"must be eight coordinates, a class and difficult, got {' '.join(words)[:80]!r}")
                corners.append([finite(word) for word in words[:8]])
                if words[8] not in self._labels:
                    raise ValueError(f"class {words[8]!r} is not among {self.classes[1:]}")
                labels.append(self._labels[words[8]])
                difficult.append(bool(int(words[9])) if len(words) == 10 else False)
            except ValueError as error:
                raise SampleError(text, f"line {number}: {error}") from error
        target = instance_target(
            path.stem,
            size,
            np.asarray(corners, dtype=np.float64).reshape(-1, 8),
            np.asarray(labels, dtype=np.int64),
            difficult=np.asarray(difficult, dtype=bool),
        )
        return image, target


def _objects(path: Path) -> list[tuple[int, list[str]]]:
    """Number and words of every line that is an object."""
    with blaming(path):  # UnicodeDecodeError is a ValueError
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    words = [(number, line.split()) for number, line in enumerate(lines, 1)]
    return [(number, parts) for number, parts in words if parts and ":" not in parts[0]]


def _names_in(root: Path, folder: Path) -> list[str]:
    """Class names of all splits, so that each numbers them alike; the official ones where no other occurs."""
    found: set[str] = set()
    for path in sorted({*root.glob("*/labelTxt/*.txt"), *folder.glob("*.txt")}):
        try:
            found.update(words[8] for _, words in _objects(path) if len(words) > 8)
        except SampleError:
            continue  # reported when that sample is read
    return list(DOTA_CLASSES) if found.issubset(DOTA_CLASSES) else sorted(found)
