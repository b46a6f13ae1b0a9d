"""Picture files through every function that opens them, and COCO's segmentations."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
from pathlib import Path

import numpy as np
import tifffile

from cutmix_dense.data.errors import SampleError
from cutmix_dense.data.maps import read_color_ids, read_indices
from cutmix_dense.data.masks import decode_segmentation
from cutmix_dense.data.pictures import encode_picture, read_picture

from .invariants import check_words
from .mutators import behind_a_byte, edit_json, edit_png
from .readers import COCO, SIZE, picture, png, put
from .target import Target


def image_files(folder: Path) -> Target:
    """A JPEG, PNG, TIFF or any other file that is known, as an image and as a map of ids."""
    path = folder / "picture.png"

    def run(data: bytes) -> None:
        put(path, data)
        for read in (read_picture, lambda path: read_indices(path, SIZE), lambda path: read_color_ids(path, SIZE)):
            try:
                pixels = read(path)
            except SampleError as error:
                check_words(error, path)
                continue
            assert pixels.shape[:2] == SIZE or read is read_picture, pixels.shape

    grey = picture()[..., 0]
    valid = [png(picture()), png(picture(), "JPEG"), png(grey), png(grey.astype(np.uint16)), png(grey > 99)]
    valid += [png(picture(), form) for form in ("GIF", "BMP", "TIFF", "WEBP", "PPM")]
    deep = np.random.default_rng(1).integers(0, 2**16, (*SIZE, 4), dtype=np.uint16)
    valid += [encode_picture(deep[..., :bands], ".png") for bands in (1, 2, 3, 4)]
    forms = {"compression": (None, "zlib", "lzw"), "tile": (None, (16, 16)), "rowsperstrip": (None, 5)}
    valid += [tiff(deep, **{name: value}) for name, values in forms.items() for value in values]
    valid += [tiff(deep.astype(np.float32)[..., 0], planarconfig=None, byteorder=">"), tiff(deep, bigtiff=True)]
    valid += [tiff(picture(), photometric="rgb", compression="jpeg"), tiff(picture(), photometric="rgb")]
    return Target(run, valid, edit_picture)


def tiff(array: np.ndarray, **options: object) -> bytes:
    """A TIFF file."""
    stream = io.BytesIO()
    settings = {"photometric": "minisblack", "planarconfig": "contig", "metadata": None, **options}
    tifffile.imwrite(stream, array, **settings)
    return stream.getvalue()


def edit_picture(data: bytes, most: int, seed: int) -> bytes:
    """Change a tag of a TIFF, its kind, count or value; of other files a chunk."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return edit_png(data, most, seed)
    draw, order = random.Random(seed), "<" if data[:1] == b"I" else ">"
    changed = bytearray(data)
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        entry = start + 2 + 12 * draw.randrange(max(count, 1))
        place, form = draw.choice([(0, "H"), (2, "H"), (4, "I"), (8, "H"), (8, "I")])
        values = (0, 1, 2, 3, 5, 8, 16, 255, 317, 65535) + ((2**31 - 1, 2**32 - 1, 60000) if form == "I" else ())
        struct.pack_into(f"{order}{form}", changed, entry + place, draw.choice(values))
    except struct.error:
        return data
    return bytes(changed)


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
