"""Pictures to arrays and back: RGB images and index maps (palette, grey, 16 bit)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32, UInt8, UInt16
from PIL import Image, UnidentifiedImageError

from cutmix_dense.data.errors import SampleError, blaming
from cutmix_dense.data.extras import opencv

__all__ = [
    "encode_color_ids",
    "encode_indices",
    "encode_rgb",
    "read_color_ids",
    "read_indices",
    "read_rgb",
    "voc_palette",
]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture in a file, to be decoded in the block; SampleError for what that raises."""
    with blaming(path):
        # From memory: a chunk of a PNG may declare gigabytes, and a file makes room for them before it reads.
        content = io.BytesIO(path.read_bytes())
        try:
            with Image.open(content) as image:
                if 0 in image.size:
                    raise SampleError(path, f"declares a size of {image.width}×{image.height}")
                yield image
        except UnidentifiedImageError as error:
            raise SampleError(path, "cannot identify image file") from error


def read_rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The image file as RGB; SampleError if it does not decode to its last byte."""
    with _opened(path) as image:
        return np.array(image.convert("RGB"))


def read_indices(path: Path, size: tuple[int, int], most: int = 2**16 - 1) -> np.ndarray:
    """The (H, W) map of ids in a PNG. Palette images give their indices, not their colours.

    Args:
        path: a palette, grey, or 16-bit PNG.
        size: the (H, W) of its image, which the map must have too.
        most: the largest id that the layout has a meaning for.

    Raises:
        SampleError: not there, broken, in colour, of another size, or with an id beyond `most`.
    """
    with _opened(path) as image:
        if image.mode not in ("P", "L", "1") and not image.mode.startswith("I"):
            raise SampleError(path, f"a map of ids must be a palette or grey PNG, this one is {image.mode}")
        if image.size != size[::-1]:
            raise SampleError(path, f"the map is {image.width}×{image.height}, its image is {size[1]}×{size[0]}")
        ids = np.array(image)
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > most:
        raise SampleError(path, f"the ids of a map must be in 0 … {most}, these are {low} … {high}")
    return ids


def read_color_ids(path: Path, size: tuple[int, int]) -> Int32[np.ndarray, "h w"]:
    """The (H, W) map of ids in a COCO panoptic PNG: R + 256·G + 256²·B, panopticapi's `rgb2id`.

    Args:
        path: an RGB PNG.
        size: the (H, W) of its image, which the map must have too.

    Raises:
        SampleError: not there, broken, not RGB, or of another size.
    """
    with _opened(path) as image:
        if image.mode != "RGB":
            raise SampleError(path, f"a panoptic map must be an RGB PNG, this one is {image.mode}")
        if image.size != size[::-1]:
            raise SampleError(path, f"the map is {image.width}×{image.height}, its image is {size[1]}×{size[0]}")
        colors = np.array(image, dtype=np.int32)
    return colors[..., 0] + 256 * colors[..., 1] + 256**2 * colors[..., 2]


def encode_rgb(image: UInt8[np.ndarray, "h w 3"], suffix: str, quality: int = 95) -> bytes:
    """The bytes of a `.jpg` (4:4:4, so that thin coloured things keep their colour) or `.png` file."""
    if suffix == ".png":
        cv2 = opencv()  # its way of making PNGs takes half the time of Pillow's, for files 7 % larger
        return bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1])
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def encode_indices(ids: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"], palette: bytes | None = None) -> bytes:
    """The bytes of a PNG that holds a map of ids, with a palette for looking at it or in plain grey (8 or 16 bit)."""
    image = Image.fromarray(np.ascontiguousarray(ids))
    if palette is not None:
        image.putpalette(palette)
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=4)
    return stream.getvalue()


def encode_color_ids(ids: Int[np.ndarray, "h w"]) -> bytes:
    """The bytes of a COCO panoptic PNG, `read_color_ids` backwards: ids in 0 … 2²⁴ − 1."""
    return encode_rgb(np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8), ".png")


@lru_cache(maxsize=1)
def voc_palette() -> bytes:
    """PASCAL VOC's 256 colours (the `VOClabelcolormap` of its development kit), as 768 bytes."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> channel) & 1) << (7 - bit)
        ids = ids >> 3
    return colours.astype(np.uint8).tobytes()
