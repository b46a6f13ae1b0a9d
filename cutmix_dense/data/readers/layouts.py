"""Opening a dataset: which layout a folder has, and the one function for all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.readers.base import DenseDataset
from cutmix_dense.data.readers.cityscapes import CityscapesDataset, cityscapes_splits
from cutmix_dense.data.readers.coco import CocoDataset
from cutmix_dense.data.readers.coco_files import splits_of
from cutmix_dense.data.readers.coco_panoptic import CocoPanopticDataset
from cutmix_dense.data.readers.decathlon import DecathlonDataset, decathlon_splits
from cutmix_dense.data.readers.dota import DotaDataset, dota_splits
from cutmix_dense.data.readers.voc import VocDataset, voc_folders, voc_splits
from cutmix_dense.data.readers.youtube_vis import YouTubeVisDataset, youtube_vis_splits

__all__ = ["LAYOUTS", "READERS", "find_layouts", "list_splits", "open_dataset"]

READERS: dict[str, type[DenseDataset]] = {
    "coco": CocoDataset,
    "coco_panoptic": CocoPanopticDataset,
    "voc": VocDataset,
    "cityscapes": CityscapesDataset,
    "dota": DotaDataset,
    "youtube_vis": YouTubeVisDataset,
    "decathlon": DecathlonDataset,
}
"""The reader of each layout."""

LAYOUTS = tuple(READERS)


def open_dataset(
    root: str | Path,
    layout: str | None = None,
    split: str = "train",
    *,
    images: str | Path | None = None,
    annotations: str | Path | None = None,
    label_ids: str = "train",
    classes: Sequence[str] | None = None,
    task: str = "detection",
    frames: int | None = 8,
) -> DenseDataset:
    """Open one split of a dataset in one of `LAYOUTS`; see `DenseDataset` and the readers for what a sample is.

    Args:
        root: the dataset folder (`datasets/README.md` shows the layouts).
        layout: "coco", "coco_panoptic", "voc", "cityscapes", "dota", "youtube_vis" or "decathlon"; found out if not
            given, from the JSON file that `annotations` names or else from the folder. A folder that has both of COCO's
            is "coco".
        split: its name.
        images: image folder, where it is not the layout's.
        annotations: annotation file (COCO, COCO panoptic, YouTube-VIS) or folder, where it is not the layout's.
        label_ids: Cityscapes only: "train" (default, 19 classes) or "raw" (34 ids).
        classes: VOC and DOTA only: the class names, see `VocDataset` and `DotaDataset`.
        task: VOC only: "detection" (default), "segmentation" or "instances", see `VocDataset`.
        frames: YouTube-VIS only: frames of each clip, see `YouTubeVisDataset`.

    Raises:
        DatasetError: not this layout, or something of it is missing; the message names the file.
        ValueError: an argument that means nothing for this layout.
    """
    folder = Path(root)
    if layout is None:
        table = Path(annotations) if annotations is not None else None
        layout = _layout_of_json(table) if table is not None and table.suffix == ".json" else _only_layout(folder)
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {LAYOUTS}, got {layout!r}")
    only: dict[str, tuple[tuple[str, ...], Any, Any]] = {  # argument: its layouts, what was given, the default
        "label_ids": (("cityscapes",), label_ids, "train"),
        "classes": (("voc", "dota"), classes, None),
        "task": (("voc",), task, "detection"),
        "frames": (("youtube_vis",), frames, 8),
        "images": (tuple(name for name in LAYOUTS if name != "decathlon"), images, None),
        "annotations": (tuple(name for name in LAYOUTS if name != "decathlon"), annotations, None),
    }
    given = {name: value for name, (_, value, default) in only.items() if value != default}
    for name in given:
        if layout not in only[name][0]:
            raise ValueError(f"{name}= is for the {' and '.join(only[name][0])} layout, this dataset is {layout}")
    reader: Any = READERS[layout]  # whose arguments differ
    return reader(folder, split, **given)


def find_layouts(root: str | Path) -> list[str]:
    """The layouts that a folder has; usually one, none if it is no dataset. Both of COCO's count as "coco"."""
    folder = Path(root)
    found = []
    if splits_of(folder):
        found.append("coco")
    elif splits_of(folder, "panoptic"):
        found.append("coco_panoptic")
    if voc_folders(folder):  # several years are VOC too
        found.append("voc")
    if (folder / "leftImg8bit").is_dir():
        found.append("cityscapes")
    if dota_splits(folder):
        found.append("dota")
    if youtube_vis_splits(folder):
        found.append("youtube_vis")
    if (folder / "dataset.json").is_file() and (folder / "labelsTr").is_dir():
        found.append("decathlon")
    return found


def list_splits(root: str | Path, layout: str) -> list[str]:
    """The names of the splits of a dataset."""
    if layout in ("coco", "coco_panoptic"):
        return splits_of(Path(root), "instances" if layout == "coco" else "panoptic")
    splits: dict[str, Any] = {
        "voc": voc_splits,
        "cityscapes": cityscapes_splits,
        "dota": dota_splits,
        "youtube_vis": youtube_vis_splits,
        "decathlon": decathlon_splits,
    }
    return splits[layout](Path(root))


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


def _only_layout(root: Path) -> str:
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    found = find_layouts(root)
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(f"{root}: has the layouts {' and '.join(found)}; say which with layout=")
    below = [
        f"{path.name}/ ({find_layouts(path)[0]})"
        for path in sorted(root.iterdir())
        if path.is_dir() and find_layouts(path)
    ]
    hint = f"; below it there are {', '.join(below)}" if below else ""
    raise DatasetError(f"{root}: none of the known layouts (see datasets/README.md){hint}")
