"""The readers of aerial images, clips and volumes."""

from __future__ import annotations

import gzip
import json
import random
import struct
from pathlib import Path

import numpy as np

from cutmix_dense.data import open_dataset
from cutmix_dense.extras import require

from .mutators import behind_a_byte, edit_json, edit_words
from .readers import COCO, SIZE, picture, png, put, read_all
from .target import Target

DOTA = "imagesource:GoogleEarth\ngsd:0.15\n1 1 9 1 9 6 1 6 ship 0\n\n3 1 9 4 6 9 1 5 plane 1\n0 0 5 0 5 5 0 5 ship\n"


def dota_text(folder: Path) -> Target:
    """DOTA's text file of an image."""
    for name in ("a", "b"):
        put(folder / "train" / "images" / f"{name}.png", png(picture()))
        put(folder / "train" / "labelTxt" / f"{name}.txt", DOTA.encode())

    def run(data: bytes) -> None:
        put(folder / "train" / "labelTxt" / "a.txt", data)
        read_all(lambda: open_dataset(folder, "dota", "train"), folder)

    return Target(run, [DOTA.encode()], edit_words)


def youtube_vis_json(folder: Path) -> Target:
    """YouTube-VIS's file of two short clips."""
    names = [[f"{video}/{frame}.jpg" for frame in range(2)] for video in "ab"]
    for name in [*names[0], *names[1]]:
        put(folder / "train" / "JPEGImages" / name, png(picture(), "JPEG"))
    sizes = {"height": SIZE[0], "width": SIZE[1], "length": 2}
    content = {
        "videos": [{"id": number, "file_names": files, **sizes} for number, files in enumerate(names, 1)],
        "annotations": [
            {
                "id": 10 + number,
                "video_id": number,
                "category_id": 3,
                "iscrowd": 0,
                "segmentations": [COCO["annotations"][number]["segmentation"], None],
                "bboxes": [[1, 2, 5, 6], None],
                "areas": [30, None],
            }
            for number in (1, 2)
        ],
        "categories": COCO["categories"],
    }

    def run(data: bytes) -> None:
        put(folder / "train" / "instances.json", data)
        read_all(lambda: open_dataset(folder, "youtube_vis", "train", frames=2), folder)

    return Target(run, [json.dumps(content).encode()], edit_json)


def decathlon(folder: Path) -> Target:
    """A Decathlon's dataset.json, an image volume or a label volume, as the first byte says."""
    nibabel = require("nibabel", "volumes")
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    volumes = [nibabel.Nifti1Image(array, np.eye(4)).to_bytes() for array in (values, (values % 2).astype(np.uint8))]
    pairs = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in "ab"]
    content = {"labels": {"0": "background", "1": "tumour"}, "training": pairs, "modality": {"0": "CT"}}
    valid = [json.dumps(content).encode(), *volumes]
    places = [folder / "dataset.json", folder / "imagesTr" / "a.nii.gz", folder / "labelsTr" / "a.nii.gz"]
    for path, volume in zip(places[1:], volumes):
        put(path.with_name("b.nii.gz"), gzip.compress(volume, 1))

    def run(data: bytes) -> None:
        chosen = data[0] % 3 if data else 0
        for number, (path, usual) in enumerate(zip(places, valid)):
            content = data[1:] if number == chosen else usual
            put(path, gzip.compress(content, 1) if number else content)
        read_all(lambda: open_dataset(folder, "decathlon", "train"), folder)

    def edit(data: bytes, most: int, seed: int) -> bytes:
        return (edit_json if data[:1] == b"{" else edit_header)(data, most, seed)

    return Target(run, [bytes([number]) + usual for number, usual in enumerate(valid)], behind_a_byte(edit))


def edit_header(data: bytes, most: int, seed: int) -> bytes:
    """Change a field of a NIfTI header: sizes, type of the voxels, scale, offset."""
    draw = random.Random(seed)
    changed = bytearray(data[:most])
    places = [("<h", 40 + 2 * draw.randrange(8)), ("<h", 70), ("<h", 72), ("<f", 76 + 4 * draw.randrange(8))]
    form, at = draw.choice([*places, ("<f", 108), ("<f", 112), ("<f", 116)])
    value = draw.choice([0, -1, 1, 2, 3, 4, 16, 64, 127, 256, 512, 1536, 2304, 32767, -32768])
    if form == "<f" and draw.random() < 0.5:
        value = draw.choice([float("nan"), float("inf"), 1e30, 1e-30, 352.5])
    if len(changed) >= at + struct.calcsize(form):
        struct.pack_into(form, changed, at, value)
    return bytes(changed)
