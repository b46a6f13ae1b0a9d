"""The readers of JSON that isn't COCO's, and what is told of folders that no reader knows."""

from __future__ import annotations

import base64
import json
from functools import partial
from pathlib import Path

import numpy as np

from cutmix_dense.data import open_dataset
from cutmix_dense.data.survey import advice

from .mutators import edit_json, edit_words
from .readers import picture, png, put, read_all
from .target import Target

LABELME = {
    "version": "5.5.0",
    "flags": {"night": True},
    "shapes": [
        {"label": "cat", "points": [[1, 2], [6, 2], [6, 8]], "group_id": 1, "shape_type": "polygon", "flags": {}},
        {"label": "cat", "points": [[9, 2], [12.5, 9]], "group_id": 1, "shape_type": "rectangle"},
        {"label": "dog", "points": [[8, 6], [9, 8]], "group_id": None, "shape_type": "circle"},
        {
            "label": "dog",
            "points": [[3, 4], [6, 6]],
            "shape_type": "mask",
            "mask": base64.b64encode(png(np.eye(3, 4, dtype=np.uint8) * 255)).decode(),
        },
        {"label": "dog", "points": [[1, 1], [3, 3]], "shape_type": "line"},
        {"label": "__ignore__", "points": [[0, 0], [3, 0], [3, 3]], "shape_type": "polygon"},
    ],
    "imagePath": "a.jpg",
    "imageData": None,
    "imageHeight": 12,
    "imageWidth": 16,
}


def labelme_json(folder: Path) -> Target:
    """A LabelMe file beside its picture, with its picture in it, or with a list of labels."""
    embedded = {**LABELME, "imagePath": "gone.jpg", "imageData": base64.b64encode(png(picture())).decode()}
    put(folder / "train" / "a.jpg", png(picture(), "JPEG"))
    put(folder / "train" / "b.jpg", png(picture(), "JPEG"))
    put(folder / "train" / "b.json", json.dumps({**LABELME, "imagePath": "b.jpg"}).encode())

    def run(data: bytes) -> None:
        put(folder / "train" / "c.json", data)
        read_all(lambda: open_dataset(folder, "labelme", "train", details=True), folder)

    return Target(run, [json.dumps(content).encode() for content in (LABELME, embedded)], edit_json)


ROWS = [
    {
        "file_name": "a.jpg",
        "width": 16,
        "height": 12,
        "objects": {
            "bbox": [[1, 2, 5, 6], [8.5, 3, 4, 4]],
            "category": [0, 1],
            "area": [30, 16],
            "segmentation": [[[1, 2, 6, 2, 6, 8]], None],
            "iscrowd": [0, 1],
        },
    },
    {"file_name": "b.jpg", "objects": {"bbox": [[0, 0, 3, 3]], "category": [1], "area": [9], "iscrowd": [0]}},
]


def hf_metadata(folder: Path) -> Target:
    """A metadata.jsonl of two pictures; the mutator edits one line as JSON, or the words of all."""
    for name in ("a", "b"):
        put(folder / "train" / f"{name}.jpg", png(picture(), "JPEG"))

    def run(data: bytes) -> None:
        put(folder / "train" / "metadata.jsonl", data)
        for box_format in ("xywh", "relative_cxcywh"):
            read_all(partial(open_dataset, folder, "hf_imagefolder", "train", box_format=box_format), folder)

    def edit(data: bytes, most: int, seed: int) -> bytes:
        lines = data.split(b"\n")
        if seed % 4 == 0:
            return edit_words(data, most, seed)
        lines[seed % len(lines)] = edit_json(lines[seed % len(lines)], most, seed)
        changed = b"\n".join(lines)
        return changed if len(changed) <= most else data

    return Target(run, ["\n".join(map(json.dumps, ROWS)).encode()], edit)


def unknown_files(folder: Path) -> Target:
    """A file of an ending that the first byte chooses, in a folder of no layout: the message always comes."""
    endings = ("a.json", "a.xml", "a.csv", "a.txt", "gt.txt", "metadata.jsonl", "a.ndjson")

    def run(data: bytes) -> None:
        path = put(folder / "sub" / endings[data[0] % len(endings) if data else 0], data[1:])
        try:
            assert str(folder) in advice(folder, {})
        finally:
            path.unlink()

    seeds = [
        b'{"regions": [{"shape_attributes": {"name": "rect"}}]}',
        b"<annotations><image name='a'></image></annotations>",
    ]
    seeds += [
        b"image,xmin,ymin,xmax,ymax,label\na,1,2,3,4,b\n",
        b"Car 0 0 0 1 2 3 4 1 1 1 1 1 1 1\n",
        b"1,2,3,4,5,6,1,1,1\n",
    ]
    return Target(run, [bytes([i]) + seed for i, seed in enumerate(seeds)])
