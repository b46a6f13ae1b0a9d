"""Pictures to try a mix on: the demo set, a data set's folder, or pictures that somebody chose."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import ExifTags, Image, ImageOps

from cutmix_dense.cli.common import add_dataset_arguments, given_options, open_from
from cutmix_dense.cli.errors import UserError
from cutmix_dense.data import DatasetError, DenseDataset, open_dataset
from cutmix_dense.data.demo import make_demo_set
from cutmix_dense.data.errors import SampleError, blaming
from cutmix_dense.data.readers.coco_files import read_coco_json
from cutmix_dense.data.readers.layouts import READERS

DEMO_LAYOUTS = {"voc": "PASCAL VOC", "coco": "COCO", "cityscapes": "Cityscapes"}
"""The layouts of the demo set; the first has boxes, masks and maps, so that every method works on it."""

SHOWN_LAYOUTS = tuple(name for name, reader in READERS.items() if reader.mix_layout == "BCHW")
"""The layouts whose samples are single pictures, which the page can show."""

DEMO_START = 9
"""A sample of the demo set in which much happens under the first seed."""

_SCENES = 32
_ORIENTATION = ExifTags.Base.Orientation
_KEPT = 16
"""Data sets that stay open besides those that are kept; the one that was looked at longest ago goes first."""


class Shelf:
    """The data sets that pages look at, by key; safe to use from several threads.

    Pages hold keys only: what is open is shared among them.
    """

    def __init__(self) -> None:
        self._kept: dict[str, DenseDataset] = {}
        self._open: dict[str, DenseDataset] = {}
        self._lock = Lock()

    def put(self, key: str, dataset: DenseDataset, *, keep: bool = False) -> str:
        """Put a data set under a key, which is given back; what had the key is closed.

        Args:
            key: of the data set, see :func:`key_of`.
            dataset: with one picture or more.
            keep: never close it, however many others are opened.

        Raises:
            UserError: the split lists no picture.
        """
        if not len(dataset):
            raise UserError(f"{dataset.root}: the split {dataset.split!r} lists no image")
        with self._lock:
            self._open.pop(key, None)
            if keep or key in self._kept:
                self._kept[key] = dataset
            else:
                self._open[key] = dataset
            while len(self._open) > _KEPT:
                self._open.pop(next(iter(self._open)))
        return key

    def get(self, key: str) -> DenseDataset:
        """The data set of a key.

        Raises:
            UserError: it was closed, since many others were opened after it.
        """
        with self._lock:
            if key in self._kept:
                return self._kept[key]
            if key not in self._open:
                raise UserError("these pictures are no longer open: choose them again")
            self._open[key] = self._open.pop(key)
            return self._open[key]


def key_of(dataset: DenseDataset) -> str:
    """The key of a data set that :func:`open_folder` opened: whoever opens it again has the same one."""
    return repr((str(Path(dataset.root).resolve()), dataset.layout, dataset.split))


def open_demo(folder: Path, layout: str) -> DenseDataset:
    """The demo set in one of its layouts; drawn into ``folder/demo`` the first time, in a second or two.

    Raises:
        DatasetError: the folder holds something else.
    """
    return open_folder(str(make_demo_set(folder / "demo", images=_SCENES, val=0) / layout), layout)


def open_folder(root: str, layout: str | None = None, split: str | None = None) -> DenseDataset:
    """A data set by its folder, as the command lines open it.

    Args:
        root: its folder; ``~`` is the home folder.
        layout: found out where it is not given.
        split: default train, or the only one.

    Raises:
        UserError, DatasetError: no such folder, layout or split; names those that are there.
    """
    if not root.strip():
        raise UserError("type the folder of a data set first")
    folder = Path(os.path.expanduser(root.strip()))  # ~ of an unknown user stays as it is
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    parser = argparse.ArgumentParser()
    add_dataset_arguments(parser, needed=False)
    arguments = parser.parse_args([])  # what was typed is set, never parsed: argparse ends the process over a mistake
    arguments.root, arguments.layout, arguments.split = str(folder), layout or None, (split or "").strip() or None
    return shown(open_from(arguments, {"label_ids": "train"}))


def further_words(arguments: argparse.Namespace) -> dict[str, str]:
    """The options of a command line that decide what a data set holds besides layout and split, as they were typed."""
    given = {**given_options(arguments), "pixels": arguments.pixels}
    if given.get("label_ids") == "train":  # which browse.py takes by itself
        del given["label_ids"]
    return {
        name.replace("_", "-"): " ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in given.items()
        if value is not None
    }


def shown(dataset: DenseDataset) -> DenseDataset:
    """The data set itself, if the page can show it.

    Raises:
        UserError: its samples are no single pictures.
    """
    layout = getattr(dataset, "mix_layout", "BCHW")
    if layout != "BCHW":
        raise UserError(
            f"{dataset.root}: the page shows pictures, samples of {dataset.layout!r} have the layout {layout}; "
            "cutmix-dense browse draws them"
        )
    return dataset


def open_chosen(paths: Sequence[str | Path], folder: Path) -> DenseDataset:
    """Somebody's own pictures, with the boxes and masks of a COCO JSON if one is among them.

    Args:
        paths: two or more image files and at most one ``.json``, whose ``file_name`` entries name them; folders in
            those names don't matter. Without a JSON there are pictures alone, turned as their EXIF data says.
        folder: where copies of them go, into a new folder of their own.

    Raises:
        UserError: fewer than two pictures, two of one name, more than one JSON, or one that names none of them.
        DatasetError: a JSON that is not COCO.
        SampleError: a picture that can't be read.
    """
    files = [Path(path) for path in paths]
    tables = [path for path in files if path.suffix.lower() == ".json"]
    pictures = [path for path in files if path not in tables]
    if len(pictures) < 2:
        raise UserError(f"choose at least two pictures: a base and a partner; got {len(pictures)}")
    if len(tables) > 1:
        raise UserError(f"choose one COCO JSON at most, got {', '.join(path.name for path in tables)}")
    names = [path.name for path in pictures]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two of the pictures are called {name}: rename one")
    place = Path(tempfile.mkdtemp(prefix="own-", dir=folder))
    content = _named(read_coco_json(tables[0]), names, tables[0].name) if tables else _unnamed(pictures)
    for path in pictures:
        with blaming(path), Image.open(path) as image:
            if tables or image.getexif().get(_ORIENTATION, 1) not in range(2, 9):
                shutil.copyfile(path, place / path.name)
            else:
                ImageOps.exif_transpose(image).save(place / path.name, quality=95)
    (place / "own.json").write_text(json.dumps(content), encoding="utf-8")
    return open_dataset(place, "coco", "own", images=place, annotations=place / "own.json")


def _unnamed(pictures: Sequence[Path]) -> dict[str, Any]:
    """A COCO file of pictures without annotations."""
    images = []
    for number, path in enumerate(pictures):
        with blaming(path), Image.open(path) as image:
            width, height = ImageOps.exif_transpose(image).size
        images.append({"id": number, "file_name": path.name, "width": width, "height": height})
    return {"images": images, "annotations": [], "categories": []}


def _named(content: dict[str, Any], names: Sequence[str], table: str) -> dict[str, Any]:
    """The part of a COCO file that speaks of these pictures, whatever folder it says they are in."""
    images = []
    for entry in content["images"]:
        name = Path(str(entry["file_name"]).replace("\\", "/")).name
        if name in names:
            images.append({**entry, "file_name": name})
    missing = sorted(set(names) - {entry["file_name"] for entry in images})
    if missing:
        raise UserError(f"{table} names no picture {', '.join(missing)}: leave it out, or choose another JSON")
    ids = {entry["id"] for entry in images}
    annotations = [each for each in content["annotations"] if each["image_id"] in ids]
    return {"images": images, "annotations": annotations, "categories": content["categories"]}


FAILURES = (UserError, DatasetError, SampleError, OSError)
"""What opening pictures may raise: shown on the page in words."""
