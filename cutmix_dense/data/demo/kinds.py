"""The demo set's clips, volumes and aerial scenes, in the layouts of YouTube-VIS, the Decathlon and DOTA."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutmix_dense.data.demo.aerial import draw_aerial
from cutmix_dense.data.demo.clips import draw_clip
from cutmix_dense.data.demo.shapes import CLASSES
from cutmix_dense.data.demo.volumes import LABELS, draw_volume
from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.data.masks import boxes_from_masks, encode_rle
from cutmix_dense.data.pictures import encode_picture
from cutmix_dense.extras import require

_FRAMES = 8


@dataclass(frozen=True)
class Kind:
    """One kind of data beside images.

    Attributes:
        layout: name of its layout, and of its folder.
        train: samples in "train".
        val: samples in "val".
        draw: draws and writes a sample, and returns what `finish` needs of it: (folder, seed, number, split).
        finish: writes what lists the samples: (folder, what `draw` returned by split).
    """

    layout: str
    train: int
    val: int
    draw: Callable[[Path, int, int, str], Any]
    finish: Callable[[Path, dict[str, list[Any]]], None]

    def make(self, folder: Path, seed: int, pool: Executor) -> Iterator[None]:
        """Draw it all into a folder; gives back after every sample."""
        made: dict[str, list[Any]] = {"train": [], "val": []}
        numbers = [("train", number) for number in range(self.train)]
        numbers += [("val", self.train + number) for number in range(self.val)]
        done = pool.map(lambda job: self.draw(folder, seed, job[1], job[0]), numbers)
        for (split, _), entry in zip(numbers, done):
            made[split].append(entry)
            yield
        self.finish(folder, made)


def _draw_clip(folder: Path, seed: int, number: int, split: str) -> list[dict[str, Any]]:
    """Write the frames; returns the video's entry and those of its tracks, yet without ids."""
    size = (180 + 20 * (number % 3), 280 + 20 * (number % 2))
    clip = draw_clip([seed, 1, number], size, _FRAMES)
    names = [f"clip_{number:04d}/{frame:05d}.jpg" for frame in range(_FRAMES)]
    for name, picture in zip(names, clip.frames):
        write_atomic(folder / split / "JPEGImages" / name, encode_picture(picture, ".jpg"))
    shape = {"length": _FRAMES, "height": size[0], "width": size[1]}
    tracks = []
    for track, label in enumerate(clip.labels.tolist()):
        masks = clip.masks[:, track]
        boxes = boxes_from_masks(masks).tolist()
        seen = [bool(mask.any()) for mask in masks]
        if any(seen):
            tracks.append(
                {
                    "video_id": number + 1,
                    "category_id": label,
                    "iscrowd": 0,
                    **shape,
                    "segmentations": [encode_rle(mask) if there else None for mask, there in zip(masks, seen)],
                    "bboxes": [
                        [x0, y0, x1 - x0, y1 - y0] if there else None for (x0, y0, x1, y1), there in zip(boxes, seen)
                    ],
                    "areas": [int(mask.sum()) if there else None for mask, there in zip(masks, seen)],
                }
            )
    return [{"id": number + 1, "file_names": names, **shape}, *tracks]


def _finish_clips(folder: Path, made: dict[str, list[Any]]) -> None:
    for split, clips in made.items():
        tracks = [track for _, *some in clips for track in some]
        content = {
            "videos": [video for video, *_ in clips],
            "annotations": [{"id": number, **track} for number, track in enumerate(tracks, 1)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)],
        }
        write_atomic(folder / split / "instances.json", dump_json(content))


def _draw_volume(folder: Path, seed: int, number: int, split: str) -> dict[str, str]:
    nibabel = require("nibabel", "volumes")
    volume = draw_volume(np.random.default_rng([seed, 2, number]))
    affine = np.diag([*volume.spacing[::-1], 1.0])
    entry = {}
    for key, part, values in (("image", "imagesTr", volume.values), ("label", "labelsTr", volume.labels)):
        content = nibabel.Nifti1Image(np.ascontiguousarray(values.transpose(2, 1, 0)), affine).to_bytes()
        entry[key] = f"./{part}/demo_{number:03d}.nii.gz"
        write_atomic(folder / entry[key], gzip.compress(content, 6, mtime=0))
    return entry


def _finish_volumes(folder: Path, made: dict[str, list[Any]]) -> None:
    content = {
        "name": "demo",
        "description": "drawn volumes: an organ and its lesions",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {str(number): name for number, name in enumerate(LABELS)},
        "numTraining": len(made["train"]),
        "numTest": 0,
        "training": made["train"],
        "validation": made["val"],
        "test": [],
    }
    write_atomic(folder / "dataset.json", dump_json(content))


def _draw_aerial(folder: Path, seed: int, number: int, split: str) -> None:
    size = (448 + 32 * (number % 3), 600 - 24 * (number % 4))
    scene = draw_aerial(np.random.default_rng([seed, 3, number]), size, number)
    lines = ["imagesource:drawn", "gsd:0.5"]
    for thing in scene.things:
        small = min(thing.half) < 4.0  # hard to tell
        lines.append(f"{' '.join(f'{value:.1f}' for value in thing.corners.ravel())} {thing.kind} {int(small)}")
    write_atomic(folder / split / "images" / f"P{number:04d}.png", encode_picture(scene.image, ".png"))
    write_atomic(folder / split / "labelTxt" / f"P{number:04d}.txt", ("\n".join(lines) + "\n").encode())


KINDS: dict[str, Kind] = {
    "clips": Kind("youtube_vis", 8, 3, _draw_clip, _finish_clips),
    "volumes": Kind("decathlon", 6, 2, _draw_volume, _finish_volumes),
    "aerial": Kind("dota", 12, 6, _draw_aerial, lambda folder, made: None),
}
"""By the name that `make_demo_set` knows it by."""
