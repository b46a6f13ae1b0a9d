"""Picture files through every function that opens them, and COCO's segmentations."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np

from cutmix_dense.data.errors import SampleError
from cutmix_dense.data.images import read_color_ids, read_indices, read_rgb
from cutmix_dense.data.masks import decode_segmentation

from .invariants import check_words
from .mutators import behind_a_byte, edit_json, edit_png
from .readers import COCO, SIZE, picture, png, put
from .target import Target


def image_files(folder: Path) -> Target:
    """A JPEG, PNG or any other file that Pillow knows, as an image and as a map of ids."""
    path = folder / "picture.png"

    def run(data: bytes) -> None:
        put(path, data)
        for read in (read_rgb, lambda path: read_indices(path, SIZE), lambda path: read_color_ids(path, SIZE)):
            try:
                pixels = read(path)
            except SampleError as error:
                check_words(error, path)
                continue
            assert pixels.shape[:2] == SIZE or read is read_rgb, pixels.shape

    grey = picture()[..., 0]
    valid = [png(picture()), png(picture(), "JPEG"), png(grey), png(grey.astype(np.uint16)), png(grey > 99)]
    valid += [png(picture(), form) for form in ("GIF", "BMP", "TIFF", "WEBP", "PPM")]
    return Target(run, valid, edit_png)


def segmentations(folder: Path) -> Target:
    """The JSON value of one `segmentation` behind a byte that says how large its image is."""

    def run(data: bytes) -> None:
        size = (12, 16) if not data or data[0] < 128 else (data[0], 300)
        try:
            value = json.loads(data[1:])
        except (ValueError, RecursionError):
            value = {"size": list(size), "counts": data[1:].decode("latin-1")}
        with contextlib.suppress(ValueError):
            mask = decode_segmentation(value, size)
            assert mask.shape == size, mask.shape
            assert mask.dtype == bool, mask.dtype

    valid = [b"\0" + json.dumps(annotation["segmentation"]).encode() for annotation in COCO["annotations"]]
    text = COCO["annotations"][2]["segmentation"]["counts"]
    return Target(run, [*valid, b"\0" + text.encode()], behind_a_byte(edit_json))
