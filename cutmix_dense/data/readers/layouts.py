"""Opening a dataset: the table of layouts, which one a folder has, and the one function for all of them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.pictures import PICTURE_SUFFIXES, Pixels
from cutmix_dense.data.readers.base import DenseDataset
from cutmix_dense.data.readers.cityscapes import CityscapesDataset
from cutmix_dense.data.readers.coco import CocoDataset
from cutmix_dense.data.readers.coco_panoptic import CocoPanopticDataset
from cutmix_dense.data.readers.decathlon import DecathlonDataset
from cutmix_dense.data.readers.dota import DotaDataset
from cutmix_dense.data.readers.hf_imagefolder import HuggingFaceFolder
from cutmix_dense.data.readers.image_masks import ImageMasksDataset
from cutmix_dense.data.readers.labelme import LabelMeDataset
from cutmix_dense.data.readers.voc import VocDataset
from cutmix_dense.data.readers.yolo import YoloDataset
from cutmix_dense.data.readers.youtube_vis import YouTubeVisDataset
from cutmix_dense.data.survey import advice

READERS: dict[str, type[DenseDataset]] = {
    reader.layout: reader
    for reader in (
        CocoDataset,
        CocoPanopticDataset,
        VocDataset,
        YoloDataset,
        CityscapesDataset,
        DotaDataset,
        LabelMeDataset,
        HuggingFaceFolder,
        YouTubeVisDataset,
        DecathlonDataset,
        ImageMasksDataset,
    )
}
"""The reader of each layout. A new layout is a reader's file and its name here."""

LAYOUTS = tuple(READERS)

_BELOW = 50
"""So many folders of one that is of no layout are looked into."""


def open_dataset(
    root: str | Path,
    layout: str | None = None,
    split: str | None = None,
    *,
    pixels: Pixels = "auto",
    details: bool = False,
    **options: Any,
) -> DenseDataset:
    """Open one split of a dataset in one of `LAYOUTS`; see `DenseDataset` and the readers for what a sample is.

    Args:
        root: the dataset folder (`datasets/README.md` shows the layouts).
        layout: its name; found out if not given, from the JSON file that `annotations` names or else from the folder. A
            folder that has both of COCO's is "coco".
        split: its name; default "train", or the only one.
        pixels: how pictures are read; see `pictures.Pixels`.
        details: whether targets have `details`: what else the layout says of each instance, a dict each.
        options: what the layout's reader takes besides: `images` and `annotations`, where they lie elsewhere (a path
            counts from `root`); `classes`, `task` and so on. `READERS[layout].options` lists them.

    Raises:
        DatasetError: not this layout, or something of it is missing; the message names the file.
        ValueError: an argument that means nothing for this layout.
    """
    folder = Path(root)
    given = {name: value for name, value in options.items() if value is not None or name == "frames"}
    for name in ("images", "annotations"):
        if name in given:
            given[name] = from_root(folder, given[name])
    layout = layout or layout_of(folder, given.get("annotations"))
    reader = reader_of(layout)
    for name in given:
        if name not in reader.options:
            _refuse(name, reader)
    split = split or default_split(folder, layout, given)
    return reader(folder, split, pixels=pixels, details=details, **given)


def open_complete(
    root: str | Path, layout: str | None = None, split: str | None = None, **options: Any
) -> DenseDataset:
    """Open a split with everything it holds: every band of its pictures, instance masks, all ids, every detail.

    Args:
        root: the dataset's folder.
        layout: one of `LAYOUTS`; found out as by `open_dataset`.
        split: its name; as by `open_dataset`.
        options: as of `open_dataset`, in place of what reads everything.

    Raises:
        DatasetError, ValueError: as `open_dataset`.
    """
    given = {name: value for name, value in options.items() if value is not None}
    folder = Path(root)
    layout = layout or layout_of(folder, from_root(folder, given.get("annotations")))
    split = split or default_split(folder, layout, given)
    whole = reader_of(layout).whole(folder, split)
    return open_dataset(folder, layout, split, **{"pixels": "stored", "details": True, **whole, **given})


def reader_of(layout: str) -> type[Any]:
    """The reader of a layout, a `DenseDataset` with options of its own; ValueError for a name that isn't known."""
    if layout not in READERS:
        near = difflib.get_close_matches(str(layout), LAYOUTS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"layout must be one of {LAYOUTS}, got {layout!r}{hint}")
    return READERS[layout]


def find_layouts(root: str | Path) -> list[str]:
    """The layouts that a folder has; usually one, none if it is no dataset. Both of COCO's count as "coco".

    A general layout, such as any folder of images beside a folder of masks, counts only where no other is found.
    """
    folder = Path(root)
    for general in (True,) if _only_pictures(folder) else (False, True):
        found = [name for name, reader in READERS.items() if reader.general is general and _splits(reader, folder)]
        if found:
            return [name for name in found if name != "coco_panoptic" or "coco" not in found]
    return []


def list_splits(root: str | Path, layout: str) -> list[str]:
    """The names of the splits of a dataset."""
    return reader_of(layout).find_splits(Path(root))


def default_split(root: Path, layout: str, options: Iterable[str] = ()) -> str:
    """The split that is meant where none is named: the only one, else "train"; of given annotations "train".

    A "train" that a file states and that isn't there is meant all the same; its reader says so.
    """
    reader = reader_of(layout)
    splits = [] if "annotations" in options else reader.find_splits(root)
    return splits[0] if len(splits) == 1 and "train" not in reader.stated_splits(root) else "train"


def from_root(root: Path, given: str | Path | None) -> Any:
    """A path that counts from the dataset's folder, or from the working folder if it is there alone; None of None."""
    if given is None:
        return None
    path = Path(given)
    inside = root / path
    return path if path.is_absolute() or (path.exists() and not inside.exists()) else inside


def layout_of(root: Path, annotations: Path | None = None) -> str:
    """The layout of a folder, or the one whose annotation file is named.

    Raises:
        DatasetError: none, with what was found and what would read it; or several.
    """
    if annotations is not None and annotations.suffix.lower() == ".json":
        return _layout_of_json(annotations)
    if not root.is_dir():
        raise DatasetError(f"{root}: is a file, name the folder" if root.exists() else f"{root}: no such folder")
    found = find_layouts(root)
    if len(found) == 1:
        return found[0]
    below = {name: find_layouts(root / name) for name in _folders(root)}
    if found:
        alone = {name: layouts[0] for name, layouts in below.items() if len(layouts) == 1}
        if set(found) <= set(alone.values()):  # each from a folder of its own: no set, but a folder of sets
            listed = ", ".join(f"{name}/ ({layout})" for name, layout in alone.items())
            raise DatasetError(f"{root}: holds several data sets, {listed}: name one of these folders")
        raise DatasetError(f"{root}: has the layouts {' and '.join(found)}; say which with layout=")
    raise DatasetError(advice(root, {name: layouts[0] for name, layouts in below.items() if layouts}))


def _only_pictures(folder: Path) -> bool:
    """Whether a folder holds nothing but pictures: all layouts but general ones have a file or a folder besides."""
    try:
        with os.scandir(folder) as entries:
            return all(os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES for entry in entries)
    except OSError:
        return False


def _folders(root: Path) -> list[str]:
    """The names of the first folders in a folder, not hidden."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))[:_BELOW]


def _splits(reader: type[DenseDataset], root: Path) -> list[str]:
    """The splits of a folder in a layout; none if a file of it can't be read, which its reader would say."""
    try:
        return reader.find_splits(root)
    except (DatasetError, OSError):
        return []


def _refuse(name: str, reader: type[DenseDataset]) -> None:
    """Raise ValueError for an option that the reader doesn't take."""
    others = [each.layout for each in READERS.values() if name in each.options]
    if others:
        raise ValueError(f"{name}= is for the {_listed(others)} layout, this dataset is {reader.layout}")
    near = difflib.get_close_matches(name, reader.options, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"options of {reader.layout} are {', '.join(reader.options)}, got {name!r}{hint}")


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)


def _layout_of_json(path: Path) -> str:
    """The layout whose annotation file this is, by the keys that it alone has; "coco" if there are none."""
    try:
        content = path.read_bytes()  # searched, not parsed, which takes far longer
    except OSError:  # the reader says what is the matter
        return "coco"
    if re.search(rb'"segments_info"\s*:', content):
        return "coco_panoptic"
    videos = all(re.search(rb'"%b"\s*:\s*\[' % key, content) for key in (b"videos", b"file_names"))
    return "youtube_vis" if videos else "coco"
