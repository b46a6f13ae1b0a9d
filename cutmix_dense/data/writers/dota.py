"""DOTA: `<split>/images`, and in `<split>/labelTxt` a text file of corners for each image."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutmix_dense.data.class_tables import DOTA_CLASSES
from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import read_lines, write_atomic
from cutmix_dense.data.writers.base import Sample, Writer

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset

_HEADER = ("imagesource", "gsd")


class DotaWriter(Writer):
    """Writes a DOTA split, ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult`` for each object.

    An instance that is as its DOTA file states it keeps its line word for word. An upright box becomes its corners,
    clockwise from the top left. DOTA has no crowds: they are written as difficult. ``imagesource:`` and ``gsd:`` of the
    picture stand first. Other classes than DOTA's own are listed in `classes.txt`, so that all splits number them
    alike; a space in a name becomes a hyphen, which DOTA's own names have.

    Args:
        root: the folder of the dataset.
        classes: names by label, `classes[0]` being "background".
        split: name of the split, which is its folder.
        quality: JPEG quality.

    Raises:
        ValueError: class names that differ in spaces alone, or an empty one.
        DatasetError: a `classes.txt` with other names.
    """

    layout = "dota"

    def __init__(self, root: str | Path, *, classes: Sequence[str], split: str = "train", quality: int = 95) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        self._shift = 0  # of labels, where the first class of a dataset is no background
        self._words = tuple("-".join(name.split()) for name in self.classes)
        self.check_names(self._words[1:], lines=True, reserved=("background",))
        stated = self.root / "classes.txt"
        if stated.is_file() and read_lines(stated) != list(self._words[1:]):
            raise DatasetError(f"{stated}: names other classes than those of the split {split!r}")

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> DotaWriter:
        """The writer of a copy of a dataset with instances; ValueError for clips, volumes and maps alone."""
        classes, shift = cls.instances_of(dataset)
        writer = cls(root, classes=classes, split=split, quality=quality)
        writer._shift = shift
        return writer

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        labels = sample.labels + self._shift
        if len(labels) and int(labels.min()) < 1:
            raise ValueError("label 0 is the background, which is no class of DOTA's objects")
        flat = sample.picture and sample.picture._replace(name=Path(sample.picture.name).name)
        name, content = self.picture_file(
            f"{self.split}/images", key, dataclasses.replace(sample, picture=flat), ".png"
        )
        self._count_lost(sample)
        header = {} if sample.picture is None else sample.picture.details
        lines = [f"{word}:{_line(header[word])}" for word in _HEADER if word in header]
        lines += [self._object(sample, i, int(label)) for i, label in enumerate(labels)]
        text = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        return {f"{self.split}/labelTxt/{key}.txt": text, name: content}, None

    def _object(self, sample: Sample, i: int, label: int) -> str:
        stated = sample.details[i].get(STATED)
        if isinstance(stated, str) and stated:
            return _line(stated)
        if sample.corners is None:
            x1, y1, x2, y2 = sample.boxes[i].tolist()
            corners = [x1, y1, x2, y1, x2, y2, x1, y2]
        else:
            corners = sample.corners[i].tolist()
        hard = sample.level(i) if sample.difficult[i] or sample.iscrowd[i] else 0
        return f"{' '.join(map(_number, corners))} {self._words[label]} {hard}"

    def _count_lost(self, sample: Sample) -> None:
        lost = sample.lost
        lost["masks"] += 0 if sample.masks is None else int(np.count_nonzero(sample.has_mask))
        if sample.keypoints is not None:
            lost["keypoints"] += int((sample.keypoints[..., 2] > 0).any(axis=1).sum())
        lost["semantic map"] += int(sample.semantic is not None)
        lost["crowds (written as difficult)"] += int(np.count_nonzero(sample.iscrowd))
        for label in sample.labels + self._shift:
            lost["spaces in class names (written as hyphens)"] += self._words[label] != self.classes[label]
        for details in sample.details:
            for name in details:
                if name not in (STATED, "difficult"):
                    lost[f"{name} of instances"] += 1
        self.count_picture_details(sample, _HEADER)

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        # Folders make a split, also where no image of it was left.
        for folder in ("images", "labelTxt"):
            (self.root / self.split / folder).mkdir(parents=True, exist_ok=True)
        if self._words[1:] != tuple(DOTA_CLASSES):
            write_atomic(self.root / "classes.txt", "".join(f"{name}\n" for name in self._words[1:]).encode())


def _line(text: Any) -> str:
    """A value in one line."""
    return re.sub(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+", " ", str(text))


def _number(value: float) -> str:
    """A coordinate in the fewest digits that give the same float32."""
    return np.format_float_positional(np.float32(value), unique=True, trim="0")
