"""Maps of ids to arrays and back: palette, grey, 16 bit, and the colours of panoptic maps."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32, Shaped, UInt8, UInt16
from PIL import Image

from cutmix_dense.data.errors import SampleError
from cutmix_dense.data.pictures import (
    PictureHeader,
    encode_picture,
    opened,
    orientation_of,
    picture_header,
    picture_size,
    read_picture,
    turned,
)
from cutmix_dense.data.stored_numbers import jpeg2000, stored_numbers

_TINGE = 32
"""So far apart the bands of a grey map may be after lossy storage."""


def read_indices(
    path: Path,
    size: tuple[int, int] | None,
    most: int = 2**16 - 1,
    *,
    equal_bands: bool = False,
    binary: bool | None = None,
) -> Int[np.ndarray, "h w"]:
    """The (H, W) map of ids in a picture of one band. Palettes give their indices, not their colours.

    An EXIF orientation of its own turns a map as it turns a picture; see `map_as_shown`.

    Args:
        path: a palette, grey, 16-bit or black-and-white picture without loss: PNG, BMP, GIF, TIFF, WebP,
            PGM, JPEG 2000.
        size: the (H, W) of its image, which the map must have too; None: any.
        most: the largest id that the layout has a meaning for.
        equal_bands: whether grey may also be stored as colours of equal bands, with an opaque alpha band or none.
        binary: whether a map that is stored with loss may be read, as one of black and white: values from 128 on are
            255, others 0. False: it isn't, and the message says how to ask for it; None: the layout has no such maps.

    Raises:
        SampleError: not there, broken, in colour, stored with loss, of another size, or with an id beyond `most`.
    """
    with opened(path) as image:
        check_sides(image, size, path)
        if binary and is_lossy(image, path):
            return map_as_shown(image, _halves(image, path), size, path)
        check_lossless(image, path, "; binary=True reads one of black and white alone" if binary is False else "")
        if image.format == "TIFF" and image.mode not in ("P", "L", "1", "RGB", "RGBA"):
            ids = _one_band(read_picture(path, "stored"), path)
        elif image.format == "GIF" and image.mode == "P":
            ids = _of_gif(image)
        elif (numbers := _numbers(image, path)) is not None:
            several = equal_bands and numbers.shape[2] == 3
            ids = _equal_bands(numbers, "RGB", path) if several else _one_band(numbers, path)
        elif image.mode in ("P", "L", "1") or image.mode.startswith("I"):
            ids = np.array(image)
        elif (equal_bands or image.format == "WEBP") and image.mode in ("RGB", "RGBA", "LA"):
            ids = _equal_bands(np.array(image), image.mode, path)
        else:
            raise SampleError(path, f"a map of ids must be a palette or grey PNG, this one is {image.mode}")
        ids = map_as_shown(image, ids, size, path)
    ids = ids.astype(np.uint8) if ids.dtype == bool else ids
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > most:
        raise SampleError(path, f"the ids of a map must be in 0 … {most}, these are {low} … {high}")
    return ids


def _numbers(image: Image.Image, path: Path) -> Shaped[np.ndarray, "h w c"] | None:
    """The numbers of a map whose ids Pillow would scale; None of others."""
    scaled = image.format in ("PPM", "JPEG2000")
    return stored_numbers(image.format, path.read_bytes(), fewer=True) if scaled else None


def is_lossy(image: Image.Image, path: Path) -> bool:
    """Whether a picture is in a format that changes values a little."""
    lossy = image.format in ("JPEG", "MPO", "AVIF") or image.info.get("compression") in ("jpeg", "tiff_jpeg")
    if image.format == "WEBP":
        lossy = b"VP8 " in path.read_bytes()[:64]  # the chunk of lossy pixels; VP8L is the lossless one
    if image.format == "JPEG2000":
        said = jpeg2000(path.read_bytes())
        lossy = said is not None and not said.exact
    return lossy


def check_lossless(image: Image.Image, path: Path, remedy: str = "") -> None:
    """SampleError for a map whose values were changed a little: they would be other ids."""
    if is_lossy(image, path):
        raise SampleError(
            path,
            f"is stored with loss ({image.format}), which changes ids: write maps as PNG, from their source{remedy}",
        )


def _halves(image: Image.Image, path: Path) -> UInt8[np.ndarray, "h w"]:
    """0 and 255 of a map of black and white that was stored with loss; SampleError for one in colour."""
    if image.mode not in ("L", "RGB", "YCbCr"):
        raise SampleError(path, f"a map of black and white must be grey, this one is {image.mode}")
    bands = np.array(image.convert("RGB")).astype(np.int16)
    if int((bands.max(axis=2) - bands.min(axis=2)).max()) > _TINGE:
        raise SampleError(path, "is stored with loss and in colour; only black and white can be told apart in it")
    return np.where(np.array(image.convert("L")) >= 128, 255, 0).astype(np.uint8)


def check_sides(image: Image.Image, size: tuple[int, int] | None, path: Path) -> None:
    """SampleError where a map, not yet decoded, can't become (H, W), turned or not."""
    if size is not None and (image.height, image.width) not in (size, size[::-1]):
        raise SampleError(path, f"the map is {image.width}×{image.height}, its image is {size[1]}×{size[0]}")


def map_as_shown(
    image: Image.Image, array: Shaped[np.ndarray, "h w *c"], size: tuple[int, int] | None, path: Path
) -> Shaped[np.ndarray, "h w *c"]:
    """A decoded map, turned by the EXIF orientation of its own file, as its picture is by that of its.

    As with pictures, it stays as stored where only that has the wanted size.

    Args:
        image: the map, decoded.
        array: what was decoded; of TIFF files Pillow and `read_picture` have turned it.
        size: the (H, W) that it must have; None: any.
        path: the map's file, for the message.

    Raises:
        SampleError: another size.
    """
    height, width = array.shape[:2]
    header = PictureHeader((height, width), 1 if image.format == "TIFF" else orientation_of(image))
    array = turned(array, header, size)
    if size is not None and array.shape[:2] != size:
        raise SampleError(path, f"the map is {header}, its image is {size[1]}×{size[0]}")
    return array


def check_fits(map_path: Path, image_path: Path) -> None:
    """SampleError where a map can't be its image's by the sizes that both files state, turned by EXIF or not."""
    size, stored = picture_size(map_path), picture_size(image_path)
    if size not in (stored, stored[::-1]):
        raise SampleError(map_path, f"the map is {size[1]}×{size[0]}, its image is {stored[1]}×{stored[0]}")


def size_in_common(map_path: Path, image_path: Path) -> tuple[tuple[int, int], str | None]:
    """The (H, W) of a map and its picture as they are read, by what their files say, and what is doubtful about it.

    Both are turned by their own EXIF orientation. Where their sizes then differ, the one that has the other's size as
    it is stored stays so. Where only one of them has an orientation and both sizes fit anyway, nothing tells whether
    the map was made on the turned picture.

    Args:
        map_path: the map's file.
        image_path: its picture's.

    Returns:
        The size, and a sentence about the picture where it is doubtful, else None.

    Raises:
        SampleError: sizes that fit in neither way; blames the map.
    """
    one, other = picture_header(map_path), picture_header(image_path)
    if one.shown in (other.shown, other.size):  # the picture turned, or as it is stored
        size = one.shown
    elif one.size == other.shown:  # the map as it is stored
        size = one.size
    else:
        raise SampleError(map_path, f"the map is {one}, its image is {other}")
    settled = any(header.orientation > 4 and header.size != header.shown for header in (one, other))
    if settled or (one.orientation == 1) == (other.orientation == 1):
        return size, None
    if other.orientation > 1:
        return size, f"is turned by its EXIF orientation {other.orientation}, its map {map_path.name} has none"
    return size, f"has no EXIF orientation, its map {map_path.name} is turned by {one.orientation}"


def _of_gif(image: Image.Image) -> np.ndarray:
    """Grey values where the palette is grey, as what writes GIFs puts it in an order of its own; else the indices."""
    indices = np.array(image)
    colours = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    grey = int(used.max()) < len(colours) and bool((colours[used] == colours[used, :1]).all())
    return colours[indices, 0] if grey else indices


def _one_band(array: Shaped[np.ndarray, "h w c"], path: Path) -> np.ndarray:
    if array.shape[2] != 1:
        raise SampleError(path, f"a map of ids has one band, this one has {array.shape[2]}")
    if array.dtype.kind == "f":
        whole = np.isfinite(array).all() and (array == np.rint(array)).all() and np.abs(array).max() < 2**31
        if not whole:
            raise SampleError(path, f"ids must be whole numbers, this map holds fractions of the type {array.dtype}")
        array = array.astype(np.int64)
    return array[..., 0]


def _equal_bands(array: np.ndarray, mode: str, path: Path) -> np.ndarray:
    colours = array[..., :-1] if mode in ("RGBA", "LA") else array
    if colours is not array and int(array[..., -1].min()) < 255:
        raise SampleError(path, "the map is partly transparent, so its ids are ambiguous: write it as grey")
    unequal = (colours != colours[..., :1]).any(axis=2)
    if unequal.any():
        row, column = (int(where[0]) for where in np.nonzero(unequal))
        color = ", ".join(map(str, colours[row, column].tolist()))
        raise SampleError(path, f"a map of ids must be palette or grey, this one has the colour ({color})")
    return colours[..., 0]


def read_color_ids(path: Path, size: tuple[int, int]) -> Int32[np.ndarray, "h w"]:
    """The (H, W) map of ids in a COCO panoptic PNG: R + 256·G + 256²·B, panopticapi's `rgb2id`.

    Args:
        path: an RGB PNG.
        size: the (H, W) of its image, which the map must have too.

    Raises:
        SampleError: not there, broken, not RGB, or of another size.
    """
    with opened(path) as image:
        if image.mode != "RGB":
            raise SampleError(path, f"a panoptic map must be an RGB PNG, this one is {image.mode}")
        check_sides(image, size, path)
        colors = map_as_shown(image, np.array(image, dtype=np.int32), size, path)
    return colors[..., 0] + 256 * colors[..., 1] + 256**2 * colors[..., 2]


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
    return encode_picture(np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8), ".png")


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
