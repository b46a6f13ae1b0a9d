"""The demo set: drawn scenes with exact truth, the same in COCO, VOC and Cityscapes layout; clips, volumes, aerial."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cutmix_dense.data.class_tables import RAW_CLASSES
from cutmix_dense.data.demo.backgrounds import STUFF
from cutmix_dense.data.demo.kinds import KINDS
from cutmix_dense.data.demo.scenes import Scene, draw_scene
from cutmix_dense.data.demo.shapes import CLASSES
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.extras import opencv
from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.data.masks import boxes_from_masks
from cutmix_dense.data.writers import CityscapesWriter, CocoWriter, VocWriter, Writer

__all__ = ["CATEGORY_IDS", "CITYSCAPES_NAMES", "CLASSES", "KINDS", "make_demo_set"]

_VERSION = 2  # raise it when the same parameters draw other files
_STAMP = "demo.json"
_LAYOUTS = ("coco", "voc", "cityscapes")

# As in the real COCO, the numbers have gaps.
CATEGORY_IDS: tuple[int, ...] = (0, 1, 2, 3, 5, 7, 8, 11, 13)

# What stands for what in the Cityscapes layout: the eight shapes are its eight classes with instances, and every
# background keeps its own name. The pixel line round each thing is `unlabeled`.
CITYSCAPES_NAMES: dict[str, str] = {
    "disc": "person",
    "star": "rider",
    "ring": "car",
    "cross": "truck",
    "crescent": "bus",
    "leaf": "train",
    "flower": "motorcycle",
    "twin": "bicycle",
    **{name: name for name in STUFF},
}


def make_demo_set(
    root: str | Path,
    *,
    images: int = 240,
    val: int = 60,
    size: tuple[int, int] = (240, 320),
    seed: int = 0,
    kinds: Sequence[str] = ("images",),
    overwrite: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw the demo set: images into `root/coco`, `root/voc` and `root/cityscapes`, splits "train" and "val".

    Other kinds of data have folders of their own: clips in `root/youtube_vis`, volumes in `root/decathlon`, aerial
    scenes with rotated boxes in `root/dota`; `KINDS` says how many. The same parameters give the same files, byte for
    byte. A set that is there already is left as it is; one that was interrupted is drawn anew.

    Args:
        root: folder of the set.
        images: scenes in "train".
        val: scenes in "val", on top of `images`.
        size: (H, W) of every scene, 32 pixels a side at least.
        seed: draws everything.
        kinds: what to draw, any of "images", "clips", "volumes" (needs the extra `volumes`) and "aerial".
        overwrite: replace a demo set of other parameters instead of refusing to.
        workers: threads that draw and write; the files are the same for any number. Default: one per core, 4 at most.
            (Not processes: each would first import torch, for seconds, and numpy, OpenCV and zlib let threads overlap.)
        progress: called with (scenes done, scenes in all).

    Returns:
        `root`.

    Raises:
        DatasetError: `root` holds a demo set of other parameters, or other datasets.
    """
    if images < 0 or val < 0 or min(size) < 32:
        raise ValueError(f"images and val must not be negative, size at least 32: got {images}, {val}, {size}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    known = ("images", *KINDS)
    if isinstance(kinds, str) or not kinds or not set(kinds) <= set(known) or len(set(kinds)) < len(kinds):
        raise ValueError(f"kinds must be some of {known}, each once, got {kinds!r}")
    folder = Path(root)
    counts = {name: kind.train + kind.val for name, kind in KINDS.items() if name in kinds}
    before, total = 0, sum(counts.values()) + (images + val if "images" in kinds else 0)

    def report(done: int) -> None:
        if progress is not None:
            progress(before + done, total)

    if "images" in kinds:
        _make_images(folder, images, val, size, seed, overwrite, workers, report)
        before += images + val
    for name, count in counts.items():
        _make_kind(folder, name, seed, overwrite, workers, report)
        before += count
    return folder


def _threads(workers: int | None) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers or min(os.cpu_count() or 1, 4))


def _make_kind(
    folder: Path, name: str, seed: int, overwrite: bool, workers: int | None, report: Callable[[int], None]
) -> None:
    """One of the kinds beside images, in a folder with a stamp of its own."""
    kind = KINDS[name]
    file = f"demo-{name}.json"
    stamp = {"version": _VERSION, "train": kind.train, "val": kind.val, "seed": seed}
    if _is_finished(folder, stamp, overwrite, file, (kind.layout,)):
        return report(kind.train + kind.val)
    shutil.rmtree(folder / kind.layout, ignore_errors=True)
    write_atomic(folder / file, dump_json({**stamp, "finished": False}))
    with _threads(workers) as pool:
        for done, _ in enumerate(kind.make(folder / kind.layout, seed, pool), 1):
            report(done)
    write_atomic(folder / file, dump_json({**stamp, "finished": True}))
    return None


def _make_images(
    folder: Path,
    images: int,
    val: int,
    size: tuple[int, int],
    seed: int,
    overwrite: bool,
    workers: int | None,
    report: Callable[[int], None],
) -> None:
    """The scenes, in three layouts."""
    stamp = {"version": _VERSION, "images": images, "val": val, "size": list(size), "seed": seed}
    total = images + val
    if _is_finished(folder, stamp, overwrite, _STAMP, _LAYOUTS):
        return report(total)
    for layout in _LAYOUTS:
        shutil.rmtree(folder / layout, ignore_errors=True)
    write_atomic(folder / _STAMP, dump_json({**stamp, "finished": False}))
    opencv()
    splits = [("train", range(images)), ("val", range(images, total))]
    done = 0
    with _threads(workers) as pool:
        for split, numbers in splits:
            writers = _writers(folder, split)

            def stage(number: int, writers: list[Writer] = writers) -> str:
                return _stage(writers, draw_scene(np.random.default_rng([seed, number]), size), number)

            keys = []
            for key in pool.map(stage, numbers):
                keys.append(key)
                done += 1
                report(done)
            for writer in writers:
                writer.finish(keys)
    write_atomic(folder / _STAMP, dump_json({**stamp, "finished": True}))
    return None


def _is_finished(folder: Path, stamp: dict[str, Any], overwrite: bool, file: str, layouts: Sequence[str]) -> bool:
    """Whether this very set is there; DatasetError if something else is in its place."""
    try:
        found = json.loads((folder / file).read_bytes())
    except (OSError, ValueError):
        taken = [layout for layout in layouts if (folder / layout).exists()]
        if taken:
            raise DatasetError(f"{folder}: holds {', '.join(taken)}, but no {file}: not a demo set") from None
        return False
    if found == {**stamp, "finished": True}:
        return True
    if found.get("finished") and not overwrite:
        raise DatasetError(f"{folder}: holds the demo set of {found}; choose another folder or overwrite=True")
    return False


def _writers(folder: Path, split: str) -> list[Writer]:
    names = ("background", *CLASSES)
    return [
        CocoWriter(folder / "coco", classes=names, split=split, category_ids=CATEGORY_IDS),
        VocWriter(folder / "voc", classes=names, split=split),
        CityscapesWriter(folder / "cityscapes", split=split, label_ids="raw"),
    ]


def _stage(writers: list[Writer], scene: Scene, number: int) -> str:
    """Stage a scene with the writers of COCO, VOC and Cityscapes; returns its key."""
    key = f"demo_{number:06d}"
    target = {
        "boxes": boxes_from_masks(scene.masks),
        "labels": scene.labels,
        "masks": scene.masks,
        "area": np.array([np.count_nonzero(mask) for mask in scene.masks]),
        "iscrowd": scene.iscrowd,
        "difficult": scene.difficult,
    }
    line = (opencv().dilate(scene.things, np.ones((3, 3), np.uint8)) > 0) & (scene.things == 0)
    to_id = np.array([0, *(RAW_CLASSES.index(CITYSCAPES_NAMES[name]) for name in (*CLASSES, *STUFF))], dtype=np.uint8)
    raw = to_id[np.where(line | (scene.things > 0), scene.things, scene.stuff + np.uint8(len(CLASSES) + 1))]
    coco, voc, cityscapes = writers
    coco.add(key, scene.image, target)
    voc.add(key, scene.image, {**target, "semantic": np.where(line, np.uint8(255), scene.things)})
    cityscapes.add(key, scene.image, {**target, "labels": to_id[scene.labels], "semantic": raw})
    return key
