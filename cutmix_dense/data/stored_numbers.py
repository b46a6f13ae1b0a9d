"""Numbers as a picture file holds them, where Pillow scales them to 8 or 16 bits or cuts them to 8."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from cutmix_dense.data.masks import check_room
from cutmix_dense.extras import require

_SPACE = rb"(?:[ \t\r\n\v\f]|#[^\n]*\n)+"
_NETPBM = re.compile(rb"P([2356])" + rb"".join(_SPACE + rb"(\d+)" for _ in range(3)) + rb"[ \t\r\n\v\f]")
_JPEG2000 = b"\xff\x4f\xff\x51"
_CODING = b"\xff\x52"


class Jpeg2000(NamedTuple):
    """What a JPEG 2000 file says of its numbers.

    Attributes:
        bits: of a number, the most of all bands.
        bands: how many.
        exact: whether its wavelets keep whole numbers whole; the others change them a little.
    """

    bits: int
    bands: int
    exact: bool


def jpeg2000(content: bytes) -> Jpeg2000 | None:
    """What a JPEG 2000 file says of its numbers; None for other files and broken headers."""
    start = content.find(_JPEG2000)
    if start < 0:
        return None
    try:
        (count,) = struct.unpack_from(">H", content, start + 40)
        bits = [content[start + 42 + 3 * band] & 127 for band in range(count)]
        at = start + 2
        while content[at : at + 2] != _CODING:
            at += 2 + max(struct.unpack_from(">H", content, at + 2)[0], 2)
        return Jpeg2000(max(bits) + 1, count, content[at + 13] == 1)
    except (IndexError, ValueError, struct.error):
        return None


def stored_numbers(form: str | None, content: bytes, *, fewer: bool = False) -> Shaped[np.ndarray, "h w c"] | None:
    """The numbers in a file, where Pillow would give others; else None.

    Args:
        form: Pillow's name of the format.
        content: the file.
        fewer: whether numbers of fewer than 8 bits count, too: shades in a picture, which Pillow stretches to 0 … 255,
            ids in a map.

    Raises:
        ValueError: a file that is cut short, or can't be decoded.
        ImportError: no decoder for it.
    """
    if form == "PPM":
        header = _NETPBM.match(content)
        deep = header is not None and (int(header[4]) > 255 or (fewer and int(header[4]) < 255))
        return _of_netpbm(content, header) if header is not None and deep else None
    if form == "PNG":
        # Pillow cuts colours of 16 bits to 8, and gives black rows for those that aren't there, without a word.
        _check_png(content)
        return _decoded("png", content)
    if form == "JPEG2000":
        said = jpeg2000(content)
        return _decoded("jpeg2k", content) if said and (said.bits > 8 or (fewer and said.bits < 8)) else None
    if form == "AVIF":
        coding = content.partition(b"av1C")[2][2:3]  # its third byte says whether colours have more than 8 bits
        return _decoded("avif", content) if coding and coding[0] & 0x40 else None
    return None


def _decoded(codec: str, content: bytes) -> np.ndarray:
    decode = getattr(require("imagecodecs", "data"), f"{codec}_decode")
    try:
        array: np.ndarray = decode(content)
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"cannot be decoded ({error})") from error
    return array.reshape(*array.shape[:2], -1)


def _check_png(content: bytes) -> None:
    """ValueError for a PNG that ends before its last chunk."""
    at = 8
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        at += 12 + length
        if kind == b"IEND" and at <= len(content):
            return
    raise ValueError("is cut short: its last chunk is missing")


def _of_netpbm(content: bytes, header: re.Match[bytes]) -> np.ndarray:
    """(H, W, C) of a PGM or PPM, uint16 if its largest number is above 255."""
    kind, width, height, bands = int(header[1]), int(header[2]), int(header[3]), 3 if header[1] in b"36" else 1
    dtype = np.dtype(np.uint16 if int(header[4]) > 255 else np.uint8)
    check_room("bands", dtype.itemsize * bands, (height, width))
    count = height * width * bands
    body = content[header.end() :]
    if kind <= 3:
        words = re.sub(rb"#[^\n]*", b"", body).split()
        values = np.array([int(word) for word in words[:count]], dtype=dtype)
    else:
        stored = dtype.newbyteorder(">")
        values = np.frombuffer(body, dtype=stored, count=min(count, len(body) // dtype.itemsize)).astype(dtype)
    if len(values) < count:
        raise ValueError(f"is cut short: holds {len(values)} of {count} numbers")
    return values.reshape(height, width, bands)
