"""DOTA: aerial images with rotated boxes, a text file of corners for each image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cutmix_dense.data.class_tables import DOTA_CLASSES
from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.files import read_lines
from cutmix_dense.data.pictures import PICTURE_SUFFIXES, PictureInfo
from cutmix_dense.data.readers.base import DenseDataset, finite, instance_target, needed_folder
from cutmix_dense.data.writers.dota import DotaWriter


class DotaDataset(DenseDataset):
    """Aerial images with rotated boxes from a folder with DOTA's layout.

    Boxes are `BoundingBoxes` of the format XYXYXYXY (N, 8), corners as in the file; `labels`, `iscrowd` (zeros),
    `area` (N,) the polygon's in pixels, `difficult` (N,) and `image_id`, the image's name. A line of a file is
    ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``; `difficult` may be missing. A line that makes no sense is left out and
    noted, unless no other of its file is left. Lines ``imagesource:`` and ``gsd:`` are details of the picture.

    Args:
        root: the dataset folder.
        split: "train", "val" …: the folder in `root` that holds `images` and `labelTxt`.
        images: image folder, if it is not `<split>/images`.
        annotations: folder of the text files, if it is not `<split>/labelTxt`.
        classes: names of the classes from 1 on. Default: those of `classes.txt` in the folder, one a line; else the
            official ones if no other name occurs; else the names that occur, sorted, which is noted where most of
            them are official. Names count in lines that can be read.
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
    writer = DotaWriter

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
        stated = self.root / "classes.txt"
        if classes is not None:
            names = list(classes)
        elif stated.is_file():
            names = [line.strip() for line in read_lines(stated) if line.strip()]
        else:
            names, strays = _names_in(self._texts.parent.parent, self._texts)
            self._note_strays(names, strays)
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

    def picture(self, index: int) -> PictureInfo:
        """File name, and what the lines before the objects say: ``imagesource``, ``gsd``."""
        path = self._images[index]
        details = {}
        for line in _lines_of(self._texts / f"{path.stem}.txt"):
            key, colon, value = line.partition(":")
            if colon and " " not in key.strip():
                details[key.strip()] = value.strip()
        return PictureInfo(path.name, details)

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        path = self._images[index]
        image = self.read_image(path)
        size = (image.shape[-2], image.shape[-1])
        text = self._texts / f"{path.stem}.txt"
        rows: list[tuple[list[float], int, int]] = []
        stated: list[str] = []
        reasons: list[str] = []
        for number, line in _objects(text):
            try:
                rows.append(self._row(line.split()))
                stated.append(line)
            except ValueError as error:
                reasons.append(f"line {number}: {error}")
        if reasons and not rows:
            raise SampleError(text, reasons[0])
        for reason in reasons:
            self.note(text, f"{reason}; it is left out")
        target = instance_target(
            path.stem,
            size,
            np.asarray([row[0] for row in rows], dtype=np.float64).reshape(-1, 8),
            np.asarray([row[1] for row in rows], dtype=np.int64),
            difficult=np.asarray([row[2] > 0 for row in rows], dtype=bool),
            details=[_details(row[2], line) for row, line in zip(rows, stated)] if self.details else None,
        )
        return image, target

    def _row(self, words: list[str]) -> tuple[list[float], int, int]:
        """Corners, label and how difficult; ValueError for a line that makes no sense."""
        corners, name, level = _parsed(words)
        if name not in self._labels:
            raise ValueError(f"class {name!r} is not among {self.classes[1:]}; classes= can name more")
        return corners, self._labels[name], level

    def _note_strays(self, names: Sequence[str], strays: dict[str, Path]) -> None:
        """Say which few names keep a set of DOTA's own classes from DOTA's own numbers."""
        own = sum(name in DOTA_CLASSES for name in names)
        if 0 < len(strays) <= own:
            told = ", ".join(map(repr, strays))
            self.note(
                next(iter(strays.values())),
                f"{told} {'is' if len(strays) == 1 else 'are'} not among DOTA's class names, so the labels are not "
                f"DOTA's: they count the {len(names)} names that occur, sorted. Correct the names, or state them with "
                "classes= or in a classes.txt",
            )


def _details(difficult: int, line: str) -> dict[str, Any]:
    """The line of the file, and the level of what is more than difficult, which DOTA 1.5 has."""
    return {**({"difficult": difficult} if difficult > 1 else {}), STATED: line}


def _lines_of(path: Path) -> list[str]:
    with blaming(path):  # UnicodeDecodeError is a ValueError
        return path.read_text(encoding="utf-8-sig").splitlines()


def _objects(path: Path) -> list[tuple[int, str]]:
    """Number and text of every line that is an object."""
    lines = [(number, line.strip()) for number, line in enumerate(_lines_of(path), 1)]
    return [(number, line) for number, line in lines if line and ":" not in line.split()[0]]


def _parsed(words: list[str]) -> tuple[list[float], str, int]:
    """Corners, class and how difficult; ValueError for words that are no object."""
    if not 9 <= len(words) <= 10:
        raise ValueError(f"must be eight coordinates, a class and difficult, got {' '.join(words)[:80]!r}")
    return [finite(word) for word in words[:8]], words[8], int(words[9]) if len(words) == 10 else 0


def _names_in(root: Path, folder: Path) -> tuple[list[str], dict[str, Path]]:
    """Class names of all splits, so that each numbers them alike, and those that aren't DOTA's, each with a file.

    They are the official ones where no other occurs. A line counts if it can be read. Where some names are words, a
    number in a name's place isn't a name: that line has no class.
    """
    found: dict[str, Path] = {}
    for path in sorted({*root.glob("*/labelTxt/*.txt"), *folder.glob("*.txt")}):
        try:
            lines = _objects(path)
        except SampleError:
            continue  # reported when that sample is read
        for _, line in lines:
            words = line.split()
            if len(words) > 8 and words[8] not in found:
                with suppress(ValueError):  # reported when that sample is read
                    found[_parsed(words)[1]] = path
    named = {name: path for name, path in found.items() if not _is_number(name)} or found
    strays = {name: path for name, path in named.items() if name not in DOTA_CLASSES}
    return sorted(named) if strays else list(DOTA_CLASSES), strays


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
