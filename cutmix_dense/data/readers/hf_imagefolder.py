"""Hugging Face's image folders for object detection: pictures, and a `metadata.jsonl` or `.csv` of their objects."""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.files import read_lines
from cutmix_dense.data.masks import stated_segmentation
from cutmix_dense.data.pictures import PictureInfo, picture_size
from cutmix_dense.data.readers.base import DenseDataset, needed_folder
from cutmix_dense.data.readers.box_formats import BOX_FORMATS, StatedBox, check_format
from cutmix_dense.data.readers.hf_rows import (
    OWN,
    Objects,
    check_boxes,
    find_columns,
    items_of,
)
from cutmix_dense.data.readers.picture_files import NamedFiles
from cutmix_dense.data.splits import folders_in

_TABLES = ("metadata.jsonl", "metadata.csv")
_SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation")
"""Folders by which Hugging Face tells the splits of one table."""

_ONLY = "train"
"""What Hugging Face calls the only split."""

_SNIFFED = 1 << 16
_CHECKED = 32
"""So many images are measured to tell boxes of another format."""


class HuggingFaceFolder(DenseDataset):
    """A folder that `datasets.load_dataset("imagefolder", data_dir=…)` reads, with objects in its metadata.

    A line is ``{"file_name": …, "objects": {"bbox": [[x, y, w, h], …], "category": [0, 2, …]}}``; the objects may be a
    list of dicts, too, and lie in a column of another name, or in columns of the row itself. Categories are numbers or
    names. `segmentation` (COCO's polygons or run lengths), `area` and `iscrowd` are read, other lists are `details`.

    Class names are ``classes``, else what the data set's `README.md` states, else the lines of `classes.txt` or
    `labels.txt`, else the words in all splits, sorted, or for numbers "0" … the largest.

    Args:
        root: the dataset folder.
        split: a folder in `root`, or in `root/data`, with a `metadata.jsonl` or `metadata.csv`; or where that lies in
            `root` itself, the folder that `file_name` begins with, or "train".
        images: image folder, if it is not the metadata's.
        annotations: the metadata file, if it is another.
        box_format: what a box's four numbers are: "xywh" (Hugging Face's own), "xyxy", "cxcywh", and the same with
            "relative_" before, in image sides.
        objects: the column of the objects, if it isn't found by itself.
        classes: names of the classes; a number `i` in the file means the i-th, from 0.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        DatasetError: no metadata or no objects in it, or boxes that are of another format as a whole.
        SampleError: on access, an image that cannot be read, or none of whose objects makes sense.
    """

    layout = "hf_imagefolder"
    title = "Hugging Face imagefolder"
    options: ClassVar = {
        "images": "image folder, if it is not the metadata's",
        "annotations": "the metadata file, if it is not metadata.jsonl or metadata.csv",
        "box_format": f"{', '.join(BOX_FORMATS)} (default: xywh, in pixels)",
        "objects": "column of the objects, if it isn't detected",
        "classes": "names of the classes, from number 0 on",
    }

    def __init__(
        self,
        root: str | Path,
        split: str = _ONLY,
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        box_format: str = "xywh",
        objects: str | None = None,
        classes: Sequence[str] | None = None,
        **common: Any,
    ) -> None:
        check_format(box_format)
        super().__init__(root, split, **common)
        places = _places(self.root)
        if annotations is not None:
            place = _Place(Path(annotations), "")
        elif split in places:
            place = places[split]
        else:
            found = ", ".join(places) or "none"
            raise DatasetError(
                f"{self.root}: no metadata.jsonl or metadata.csv of split {split!r} (splits found: {found})"
            )
        self.annotations = place.table
        self._folder = needed_folder(place.table.parent if images is None else Path(images), "image")
        rows, bad = _rows_of(self.annotations)
        for reason in bad:
            self.note(self.annotations, f"{reason}; it is left out")
        self._rows = [row for row in rows if str(row["file_name"]).replace("\\", "/").startswith(place.begins)]
        self._files = NamedFiles(self._folder, (row["file_name"] for row in self._rows), self.annotations)
        others = {each.table for each in places.values()} - {self.annotations}
        everything = [row for table in (self.annotations, *sorted(others)) for row in _rows_of(table)[0]]
        columns = find_columns(everything, objects)
        if columns is None:
            asked = "a column with" if objects is None else f"in the column {objects!r}"
            raise DatasetError(f"{self.annotations}: no row has {asked} boxes ('bbox') in it")
        values = [item.get(str(columns.category)) for row in everything for item in _items(row, columns)]
        names = list(classes) if classes is not None else _names_beside(self.root, str(columns.category))
        self._objects = Objects(columns, box_format, names, values, self.annotations)
        self.classes = self._objects.classes
        own = [item for row in self._rows for item in _items(row, columns)]
        states = [_states_mask(item.get(str(columns.masks))) for item in own] if columns.masks else []
        self.has_masks, self._some_without = any(states), any(states) and not all(states)
        boxes = [item.get(columns.boxes) for item in own]
        check_boxes(boxes, box_format, self._sized(), self.annotations)

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the splits whose metadata says where objects are."""
        return [name for name, place in _places(root).items() if _tells_objects(place.table)]

    def __len__(self) -> int:
        return len(self._rows)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        return self._files.path(index)

    def picture(self, index: int) -> PictureInfo:
        """Name, sub-folders included, and what other columns say of the picture."""
        own = {*OWN, self._objects.columns.holder}
        if self._objects.columns.holder is None:
            own.update(self._objects.columns[1:])
        details = {key: value for key, value in self._rows[index].items() if key not in own}
        return PictureInfo(self.image_path(index).relative_to(self._folder).as_posix(), details)

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        path, row = self.image_path(index), self._rows[index]
        image = self.read_image(path, _stated_size(row), self.annotations.name)
        try:
            target = self._objects.target(
                path.stem,
                row,
                (image.shape[1], image.shape[2]),
                lambda reason: self.note(self.annotations, reason),
                masks=self.has_masks,
                some_without=self._some_without,
                details=self.details,
            )
        except ValueError as error:
            raise SampleError(path, f"{error} in {self.annotations}") from error
        return image, target

    def _sized(self) -> list[StatedBox]:
        """The boxes of some rows, with the sizes of their images."""
        found: list[StatedBox] = []
        columns = self._objects.columns
        rows = [(i, row) for i, row in enumerate(self._rows[: 20 * _CHECKED]) if _items(row, columns)]
        for i, row in rows[:_CHECKED]:
            with contextlib.suppress(SampleError, OSError):  # said when it is read
                size = _stated_size(row) or picture_size(self.image_path(i))
                found += self._objects.boxes(i, row, size)
        return found


class _Place(NamedTuple):
    """Where a split is: its table, and what its file names begin with."""

    table: Path
    begins: str


def _places(root: Path) -> dict[str, _Place]:
    """The tables of the splits of a folder."""
    for folder in (root, root / "data"):
        named = {name: table for name in folders_in(folder) if (table := _table(folder / name)) is not None}
        if named:
            return {name: _Place(table, "") for name, table in named.items()}
        table = _table(folder)
        if table is not None:
            splits = [name for name in folders_in(folder) if name in _SPLITS]
            return {name: _Place(table, f"{name}/") for name in splits} or {_ONLY: _Place(table, "")}
    return {}


def _table(folder: Path) -> Path | None:
    return next((folder / name for name in _TABLES if (folder / name).is_file()), None)


def _tells_objects(table: Path) -> bool:
    """Whether a table begins like one with objects; searched, not parsed."""
    try:
        with open(table, "rb") as file:
            start = file.read(_SNIFFED)
    except OSError:
        return False
    return bool(re.search(rb"file_name", start) and re.search(rb"\b(objects|bbox|bboxes|boxes)\b", start))


def _rows_of(table: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a table, and what of it are none."""
    try:
        state = table.stat()
    except OSError as error:
        raise DatasetError(f"{table}: not a readable file ({error})") from error
    return _parsed(str(table), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=16)
def _parsed(name: str, _changed: int, _size: int) -> tuple[list[dict[str, Any]], list[str]]:
    table = Path(name)
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{table}: not a readable text file in UTF-8 ({error})") from error
    rows: list[dict[str, Any]] = []
    bad: list[str] = []
    for number, row in _of_csv(text) if table.suffix.lower() == ".csv" else _of_lines(text):
        if not isinstance(row, dict):
            bad.append(f"line {number} is no JSON object")
            continue
        key = "file_name" if "file_name" in row else next((key for key in row if str(key).endswith("_file_name")), None)
        if not isinstance(row.get(key), str) or not row[key]:
            bad.append(f"line {number} has no file_name")
            continue
        rows.append({**row, "file_name": row[key]})
    if bad and not rows:
        raise DatasetError(f"{table}: {bad[0]}, nor does any other say of which file it is")
    return rows, bad


def _of_lines(text: str) -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a string may hold other ends of lines
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _of_csv(text: str) -> Iterable[tuple[int, Any]]:
    """Rows of a table whose cells may hold JSON, or Python's way of writing the same."""
    try:
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), 2):
            yield number, {key: _cell(value) for key, value in row.items() if key is not None}
    except csv.Error:
        yield 0, None


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "[{" and value:
        for parse in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
                return parse(value)
    return value


def _items(row: dict[str, Any], columns: Any) -> list[dict[str, Any]]:
    try:
        return items_of(row, columns)
    except ValueError:  # said when its image is read
        return []


def _states_mask(segmentation: Any) -> bool:
    try:
        return stated_segmentation(segmentation) is not None
    except ValueError:  # said when its image is read
        return False


def _stated_size(row: dict[str, Any]) -> tuple[int, int] | None:
    sides = [row.get("height"), row.get("width")]
    try:
        height, width = (int(float(side or 0)) for side in sides)
    except (TypeError, ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


_FEATURE = (
    r"name:\s*{}\s*\n(?:\s*(?:dtype|sequence|list|feature):\s*\n)*\s*class_label:\s*\n\s*names:\s*\n"
    r"((?:\s+['\"]?\d+['\"]?:.*\n)+)"
)
"""How a data set's card states a ClassLabel's names, and the lines that it takes: ``'0': cat``."""


def _names_beside(root: Path, column: str) -> list[str] | None:
    """The class names that a data set's card or a list beside it states; None where nothing does."""
    with contextlib.suppress(OSError, ValueError):
        card = (root / "README.md").read_text(encoding="utf-8-sig").replace("\r\n", "\n")
        found = re.search(_FEATURE.format(re.escape(column)), card)
        if found:
            pairs = [line.split(":", 1) for line in found[1].strip().split("\n")]
            numbered = {int(number.strip(" '\"")): name.strip().strip("'\"") for number, name in pairs}
            if sorted(numbered) == list(range(len(numbered))):
                return [numbered[i] for i in range(len(numbered))]
    for name in ("classes.txt", "labels.txt"):
        if (root / name).is_file():
            names = [line.strip() for line in read_lines(root / name) if line.strip()]
            if names:
                return names
    return None
