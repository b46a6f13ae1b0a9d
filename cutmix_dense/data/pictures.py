"""Pictures of any number of bands and any type: read whole, and written in a format that holds them."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Shaped
from PIL import Image, UnidentifiedImageError

from cutmix_dense.data.errors import MEND, SampleError, blaming
from cutmix_dense.data.extras import opencv, tiff
from cutmix_dense.data.masks import check_room
from cutmix_dense.data.picture_tags import GEO_TAGS, PictureTags, png_with_profile
from cutmix_dense.data.stored_numbers import jpeg2000, stored_numbers
from cutmix_dense.extras import require

Pixels = Literal["auto", "rgb", "stored"]
"""How pictures are read.

``"auto"``: 8-bit pictures of one to four bands in colour, grey as RGB; others as the file holds them. ``"rgb"``: RGB
of 8 bits, for models that take nothing else; an alpha band is left out, and what isn't 8-bit is refused. ``"stored"``:
as the file holds it, 8-bit grey as one band.
"""

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_TIFF = (".tif", ".tiff")
PICTURE_SUFFIXES = (*_JPEG, ".png", ".bmp", ".webp", *_TIFF, ".gif", ".ppm", ".pgm", ".jp2", ".avif")
"""Endings of picture files, in lower case; capitals mean the same."""

_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TURNS = range(2, 9)
_OF_PILLOW = (TypeError, KeyError, IndexError, RuntimeError, struct.error, zlib.error)
"""What Pillow's readers stumble over besides what `blaming` knows, where a file's numbers are wrong."""
_TAG = 274  # EXIF's orientation
_PNG_START, _RAW_PROFILE = b"\x89PNG\r\n\x1a\n", b"Raw profile type"
_EXIF, _PROFILE = 34665, 34675  # a directory of EXIF; an ICC profile
_PLAIN_EXIF = frozenset({_TAG, 282, 283, 296, 531, _EXIF, 36864, 37121, 40960, 40961, 40962, 40963, 40965})
"""What EXIF says of how pixels are stored: orientation, resolution, size, colour space, versions."""
_REDUCED, _MASK = 1, 4  # bits of TIFF's NewSubfileType


TiffBands = Literal["pages", "planes", "other", "alpha", "premultiplied"]
"""What the bands of a TIFF file are besides grey or RGB.

``"other"``: bands of anything, as infrared; ``"pages"`` and ``"planes"``: likewise, with a page for each band, or one
plane after the other in one page. ``"alpha"`` and ``"premultiplied"``: the last one is an alpha band, by which colours
aren't multiplied, or are.
"""


class PictureInfo(NamedTuple):
    """What a copy keeps of a sample's picture besides its pixels.

    Attributes:
        name: path of the picture under its layout's image folder, sub-folders and ending included.
        details: what else the layout says of the picture, by its own keys: a licence, a date.
        bands: of a TIFF file, what `tiff_bands` says.
        tags: what `picture_tags` says of the file.
        address: key of the detail that names the picture, too, as LVIS' `coco_url`; "" where there is none.
    """

    name: str
    details: Mapping[str, Any] = {}
    bands: TiffBands | None = None
    tags: PictureTags = PictureTags()
    address: str = ""


class PictureHeader(NamedTuple):
    """What a file says of its picture before a pixel is decoded.

    Attributes:
        size: (H, W) as stored.
        orientation: EXIF's, 1 … 8; 1 where the file has none, or junk.
    """

    size: tuple[int, int]
    orientation: int

    @property
    def shown(self) -> tuple[int, int]:
        """(H, W) of the picture turned by its orientation."""
        return self.size[::-1] if self.orientation > 4 else self.size

    def __str__(self) -> str:
        """Width and height as stored, and as shown where EXIF's orientation turns it."""
        (height, width), (shown_height, shown_width) = self.size, self.shown
        told = f"{width}×{height}"
        if self.orientation not in _TURNS:
            return told
        return f"{told} ({shown_width}×{shown_height} turned by its EXIF orientation {self.orientation})"


def check_pixels(pixels: str) -> None:
    """Raise ValueError unless ``pixels`` is one of ``Pixels``."""
    if pixels not in get_args(Pixels):
        raise ValueError(f"pixels must be one of {get_args(Pixels)}, got {pixels!r}")


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
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
            raise _unknown(path, content.getvalue()) from error
        except _OF_PILLOW as error:
            raise SampleError(path, f"cannot be decoded ({error})") from error


def _unknown(path: Path, content: bytes) -> SampleError:
    """What is wrong with a file that Pillow doesn't know."""
    said = jpeg2000(content)
    if said is not None and said.bands > 4:
        return SampleError(path, f"holds {said.bands} bands; JPEG 2000 is read with up to four: write it as TIFF")
    return SampleError(path, f"cannot identify image file: {MEND}")


def picture_size(path: Path) -> tuple[int, int]:
    """(H, W) of the picture as it is stored, from the file's header; SampleError if it has none."""
    with blaming(path), open(path, "rb") as file:
        if file.read(4) in _TIFF_STARTS:
            with _tiff_pages(file, path) as pages:
                return _header_of(pages[0]).size
    with blaming(path):
        try:
            with Image.open(path) as image:
                return image.height, image.width
        except UnidentifiedImageError as error:
            raise _unknown(path, path.read_bytes()) from error
        except _OF_PILLOW as error:
            raise SampleError(path, f"cannot be read ({error})") from error


def picture_header(path: Path) -> PictureHeader:
    """Size and orientation of the picture in a file, without decoding it; SampleError if it has no header."""
    with blaming(path), open(path, "rb") as file:
        start = file.read(8)
        if start[:4] in _TIFF_STARTS:
            with _tiff_pages(file, path) as pages:
                return _header_of(pages[0])
        plain = start == _PNG_START and not _png_has_exif(file)
    size = picture_size(path)
    if plain:
        return PictureHeader(size, 1)
    with opened(path) as image:
        return PictureHeader(size, orientation_of(image))


def tiff_bands(path: Path) -> TiffBands | None:
    """What the further bands of a TIFF file are; None where it has none, and of other files.

    Raises:
        SampleError: no readable TIFF file, though its name ends so.
    """
    if path.suffix.lower() not in _TIFF or not path.is_file():
        return None
    with blaming(path), open(path, "rb") as file:
        if file.read(4) not in _TIFF_STARTS:
            return None
        with _tiff_pages(file, path) as pages:
            if len(pages) > 1:
                return "pages"
            kinds = [int(kind) for kind in pages[0].extrasamples]
            if not kinds and pages[0].samplesperpixel in (1, 3):
                return None
            if kinds[-1:] in ([1], [2]):
                return "premultiplied" if kinds[-1] == 1 else "alpha"
            return "planes" if int(pages[0].planarconfig) == 2 else "other"


def picture_tags(path: Path) -> PictureTags:
    """What a picture file says besides the pixels; nothing where there is no such file, or no readable one."""
    with suppress(SampleError, OSError, Image.DecompressionBombError, *_OF_PILLOW), open(path, "rb") as file:
        if file.read(4) in _TIFF_STARTS:
            with _tiff_pages(file, path) as pages:
                return _tags_of_tiff(pages[0])
        with Image.open(path) as image:
            said = image.getexif() if "exif" in image.info else Image.Exif()
            further = (said.keys() - _PLAIN_EXIF) | (said.get_ifd(_EXIF).keys() - _PLAIN_EXIF)
            return PictureTags(image.info.get("icc_profile") or b"", lost=("EXIF of pictures",) if further else ())
    return PictureTags()


def _tags_of_tiff(page: Any) -> PictureTags:
    found = [tag for code in GEO_TAGS if (tag := page.tags.get(code)) is not None]
    values = [tag.value.encode() if isinstance(tag.value, str) else tag.value for tag in found]
    place = tuple((int(tag.code), int(tag.dtype), int(tag.count), value, True) for tag, value in zip(found, values))
    lost = ("EXIF of pictures",) if _EXIF in page.tags else ()
    if place and _header_of(page).orientation in _TURNS:
        place, lost = (), (*lost, "GeoTIFF tags of turned pictures")
    profile = page.tags.get(_PROFILE)
    return PictureTags(bytes(profile.value) if profile is not None else b"", place, lost)


def _png_has_exif(file: IO[bytes]) -> bool:
    """Whether a PNG, read up to its first chunk, has one that may state an orientation."""
    head = file.read(8)
    while len(head) == 8 and head[4:] != b"IEND":
        length, kind = struct.unpack(">I4s", head)
        keyword = file.read(min(length, len(_RAW_PROFILE))) if kind in (b"tEXt", b"zTXt", b"iTXt") else b""
        if kind == b"eXIf" or keyword == _RAW_PROFILE:
            return True
        file.seek(length - len(keyword) + 4, 1)
        head = file.read(8)
    return False


def read_picture(
    path: Path,
    pixels: Pixels = "auto",
    *,
    stated: tuple[int, int] | None = None,
    by: str = "its annotation",
) -> Shaped[np.ndarray, "h w c"]:
    """The picture in a file, (H, W, C): every band, in the type of its numbers.

    A palette gives its colours, with an alpha band where it has transparent ones. The pages of a TIFF file are bands
    where all are of one size and type; thumbnails, reduced copies and masks of validity among them are passed over.
    Numbers of more than 8 bits are as the file holds them, whatever it says their largest is. An EXIF orientation is
    followed, as ``cv2.imread`` follows it, unless the stated size says that the annotations were made on the picture as
    it is stored.

    Args:
        path: the file.
        pixels: see ``Pixels``.
        stated: (H, W) that the annotations state, if they do.
        by: who states it, for the message.

    Raises:
        SampleError: not there, broken, cut short, of a kind that isn't read, of another size than stated, or more than
            ``pixels`` can hold.
    """
    with blaming(path):
        content = path.read_bytes()
    return decode_picture(content, pixels, path=path, stated=stated, by=by)


def decode_picture(
    content: bytes,
    pixels: Pixels = "auto",
    *,
    path: Path,
    stated: tuple[int, int] | None = None,
    by: str = "its annotation",
) -> Shaped[np.ndarray, "h w c"]:
    """The picture that a file's bytes hold, as `read_picture` reads it; `path` is where they are from, for errors."""
    with blaming(path):
        if content[:4] in _TIFF_STARTS:
            header, array = _read_tiff(content, path)
        else:
            header, array = _read_plain(content, path)
        array = turned(array, header, stated)
        if stated is not None and stated != array.shape[:2]:
            raise SampleError(path, f"is {header}, but {by} says {stated[1]}×{stated[0]}")
        return _in_form(array, pixels)


def turned(
    array: Shaped[np.ndarray, "h w *c"], header: PictureHeader, stated: tuple[int, int] | None
) -> Shaped[np.ndarray, "h w *c"]:
    """The picture turned by its EXIF orientation, unless the stated (H, W) fits it only as it is stored."""
    orientation, size = header.orientation, header.size
    if orientation not in _TURNS or (orientation > 4 and stated == size and size[0] != size[1]):
        return array
    if orientation > 4:
        array = array.swapaxes(0, 1)
    rows, columns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}[orientation]
    return np.ascontiguousarray(array[::rows, ::columns])


def _in_form(array: np.ndarray, pixels: Pixels) -> np.ndarray:
    bands = array.shape[2]
    if pixels == "stored" or (pixels == "auto" and (array.dtype != np.uint8 or bands > 4)):
        return array
    if array.dtype != np.uint8 or bands > 4:
        raise ValueError(
            f"holds {bands} bands of {array.dtype}; pixels='rgb' reads 8-bit pictures of one to four bands, "
            "pixels='auto' reads this one as it is"
        )
    if bands <= 2:  # grey, perhaps with alpha
        array = np.concatenate([array[..., :1]] * 3 + [array[..., 1:]], axis=2)
    return np.ascontiguousarray(array[..., :3]) if pixels == "rgb" else array


def _read_plain(content: bytes, path: Path) -> tuple[PictureHeader, np.ndarray]:
    """A picture of any format but TIFF."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if 0 in image.size:
                raise ValueError(f"declares a size of {image.width}×{image.height}")
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format in _ANIMATED:
                raise ValueError(f"is an animation of {frames} pictures; a sample takes one picture per file")
            size = (image.height, image.width)
            bands = _plain_bands(image, content)
            return PictureHeader(size, _orientation(image, content)), bands
    except UnidentifiedImageError as error:
        raise _unknown(path, content) from error
    except _OF_PILLOW as error:
        raise SampleError(path, f"cannot be decoded ({error})") from error


def _orientation(image: Image.Image, content: bytes) -> int:
    if image.format == "PNG" and b"eXIf" not in content and _RAW_PROFILE not in content:
        return 1  # Pillow would decode the picture first, EXIF may stand behind it
    return orientation_of(image)


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation of a picture, 1 … 8, as files other than TIFF state it; 1 for none, or junk."""
    for text in ("XML:com.adobe.xmp", "xmp"):  # Pillow looks there, too; no other reader does
        image.info.pop(text, None)
    try:
        value = image.getexif().get(_TAG, 1)
    except Exception:  # junk of any kind is no orientation
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _array_of(image: Image.Image) -> np.ndarray:
    """The bands that Pillow decodes."""
    mode = image.mode
    if mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif mode == "PA":
        image = image.convert("RGBA")
    elif mode == "1":
        image = image.convert("L")
    elif mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La"):
        image = image.convert({"RGBa": "RGBA", "La": "LA"}.get(mode, "RGB"))
    array = np.array(image)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("="))
    return array.reshape(*array.shape[:2], -1)


def _plain_bands(image: Image.Image, content: bytes) -> np.ndarray:
    """The bands of a picture that isn't TIFF."""
    numbers = stored_numbers(image.format, content)
    return _array_of(image) if numbers is None else numbers


def _header_of(page: Any) -> PictureHeader:
    tag = page.tags.get(_TAG)
    value = tag.value if tag is not None else 1
    turn = value if isinstance(value, int) and value in _TURNS else 1
    return PictureHeader((int(page.imagelength), int(page.imagewidth)), int(turn))


@contextmanager
def _tiff_pages(file: IO[bytes], path: Path) -> Iterator[list[Any]]:
    """The pages of a TIFF file without its thumbnails, reduced copies and masks of validity."""
    tifffile = tiff()
    try:
        file.seek(0)
        with tifffile.TiffFile(file) as opened_file:
            pages = [page.aspage() for page in opened_file.pages]
            whole = [page for page in pages if not page.subfiletype & (_REDUCED | _MASK)]
            if not whole and pages and pages[0].subifds:
                raise ValueError("its pages are reduced copies of pictures that lie deeper in the file")
            whole = whole or pages[:1]
            if not whole or min(whole[0].imagelength, whole[0].imagewidth) < 1:
                raise ValueError("declares no pixels")
            yield whole
    except (SampleError, ImportError):
        raise
    except Exception as error:  # a broken file raises whatever its first wrong number leads to, MemoryError too
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise SampleError(path, f"not a readable TIFF file ({reason[0]})") from error


def _read_tiff(content: bytes, path: Path) -> tuple[PictureHeader, np.ndarray]:
    with _tiff_pages(io.BytesIO(content), path) as pages:
        first, header = pages[0], _header_of(pages[0])
        if len(pages) > 1:
            odd = next((page for page in pages if page.shape != first.shape or page.dtype != first.dtype), None)
            if odd is not None or first.samplesperpixel != 1:
                raise SampleError(
                    path,
                    f"holds {len(pages)} pages, which are read as bands only if each is one band of one size and type",
                )
        itemsize = np.dtype(first.dtype).itemsize if first.dtype is not None else 1
        check_room("bands", len(pages) * first.samplesperpixel * itemsize, header.size)
        for page in pages:
            _check_whole(page, len(content))
        if len(pages) == 1 and _needs_pillow(first):
            with Image.open(io.BytesIO(_unturned(first, content))) as image:
                image.seek(first.index)
                return header, _array_of(image)
        bands = [_bands_of(page) for page in pages]
        return header, bands[0] if len(bands) == 1 else np.concatenate(bands, axis=2)


def _check_whole(page: Any, length: int) -> None:
    """ValueError where a strip or a tile isn't in the file; decoders fill it with zeros."""
    offsets, counts = page.dataoffsets, page.databytecounts
    wanted = math.prod(page.chunked) if page.chunked else 1
    if len(offsets) < wanted or len(counts) < wanted:
        raise ValueError(f"holds {min(len(offsets), len(counts))} of its {wanted} strips or tiles")
    for number, (offset, count) in enumerate(zip(offsets, counts)):
        if not offset or not count:
            raise ValueError(f"strip or tile {number} of {wanted} holds no data")
        if offset + count > length:
            raise ValueError(f"is cut short: strip or tile {number} of {wanted} lies beyond its end")


def _needs_pillow(page: Any) -> bool:
    """Whether it isn't numbers but colours of another kind, which Pillow turns into RGB or grey of 8 bits."""
    if page.sampleformat != 1 or page.is_volumetric or page.bitspersample not in (1, 2, 4, 8):
        return False
    kind, bands = page.photometric.name, page.samplesperpixel
    if kind == "SEPARATED":
        return bool(bands == 4)
    plain = kind == "PALETTE" or bands == 1
    packed = page.bitspersample < 8 or "JPEG" in page.compression.name
    return kind in ("PALETTE", "YCBCR", "CIELAB") or (plain and packed) or (kind == "RGB" and bands == 3 and packed)


def _unturned(page: Any, content: bytes) -> bytes:
    """The file with the page's orientation taken away, which Pillow would follow by itself."""
    tag = page.tags.get(_TAG)
    if tag is None or tag.count != 1 or int(tag.dtype) not in (3, 4):
        return content
    form = f"{tag.parent.byteorder}{'H' if int(tag.dtype) == 3 else 'I'}"
    value = struct.pack(form, 1)
    return content[: tag.valueoffset] + value + content[tag.valueoffset + len(value) :]


def _bands_of(page: Any) -> np.ndarray:
    """(H, W, C) of one page, samples side by side or plane by plane."""
    if page.photometric.name == "PALETTE" or page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"a picture of the axes {page.axes}, {page.photometric.name.lower()}, isn't read")
    array = page.asarray(maxworkers=1)
    if array.dtype.kind not in "uif":
        raise ValueError(f"numbers of the type {array.dtype} aren't read")
    if page.photometric.name == "MINISWHITE" and array.dtype.kind == "u":
        array = (2**page.bitspersample - 1 - array.astype(np.uint64)).astype(array.dtype)
    if page.axes == "SYX":
        array = array.transpose(1, 2, 0)
    array = array.astype(np.float32) if array.dtype == np.float16 else array
    array = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    return np.ascontiguousarray(array.reshape(*array.shape[:2], -1))


# ------------------------------------------------------------------------------------------------------------- writing


def suffix_for(image: Shaped[np.ndarray, "h w c"], like: str = ".jpg", formats: Sequence[str] | None = None) -> str:
    """The ending of a file that holds this picture whole: ``like`` if it does, else ``.png``, else ``.tif``.

    Args:
        image: (H, W, C).
        like: the ending that is wanted, as that of the picture's source.
        formats: the endings that a layout allows; default all that are written.

    Raises:
        ValueError: no format that is allowed holds it.
    """
    wanted = like.lower()
    for suffix in (wanted, ".png", ".tif"):
        if (formats is None or suffix in formats) and _holds(suffix, image):
            return like if suffix == wanted else suffix
    bands = image.shape[2]
    raise ValueError(f"no format of {', '.join(formats or ())} holds {bands} bands of {image.dtype}")


def _holds(suffix: str, image: np.ndarray) -> bool:
    bands, kind = image.shape[2], image.dtype
    if suffix in _TIFF:
        return kind.kind in "uif"
    if suffix == ".png":
        return (kind == np.uint8 and bands <= 4) or (kind == np.uint16 and bands <= 4)
    if kind != np.uint8:
        return False
    return bands in {".webp": (3, 4), ".bmp": (1, 3)}.get(suffix, (1, 3) if suffix in _JPEG else ())


def encode_picture(
    image: Shaped[np.ndarray, "h w c"],
    suffix: str,
    quality: int = 95,
    bands: TiffBands | None = None,
    tags: PictureTags | None = None,
) -> bytes:
    """The bytes of a picture file; JPEG in 4:4:4, so that thin coloured things keep their colour, all others exact.

    TIFF files are of the form that ``bands`` says. By default they hold grey, RGB, and RGB with alpha in one page, and
    any other number of bands as a page for each, which Pillow, OpenCV and tifffile read.

    Args:
        image: (H, W, C), in a form that the format holds; see ``suffix_for``.
        suffix: the file's ending.
        quality: JPEG quality, 1–100.
        bands: of TIFF files, what the bands besides grey or RGB are, as `tiff_bands` says of the source.
        tags: what the file says besides, as `PictureTags.fitting` gives it.

    Raises:
        ValueError: a format that doesn't hold it.
    """
    suffix = suffix.lower()
    if not _holds(suffix, image):
        raise ValueError(f"a {suffix} file doesn't hold {image.shape[2]} bands of {image.dtype}")
    profile = tags.profile or None if tags is not None else None
    if profile is not None and suffix == ".png":
        return png_with_profile(encode_picture(image, suffix), profile)
    stream = io.BytesIO()
    plain = image[..., 0] if image.shape[2] == 1 else image
    if suffix in _TIFF:
        _write_tiff(stream, image, bands, tags)
    elif suffix == ".png" and image.shape[2] == 2 and image.dtype == np.uint16:
        return bytes(require("imagecodecs", "data").png_encode(np.ascontiguousarray(image)))
    elif suffix == ".png" and image.shape[2] != 2:
        cv2 = opencv()  # its way of making PNGs takes half the time of Pillow's, for files 7 % larger
        swap = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[image.shape[2]]
        return bytes(cv2.imencode(".png", plain if swap is None else cv2.cvtColor(plain, swap))[1])
    elif suffix in _JPEG:
        Image.fromarray(plain).save(stream, "JPEG", quality=quality, subsampling=0, icc_profile=profile)
    elif suffix == ".webp":
        # Without `exact`, colours under no alpha are lost.
        Image.fromarray(plain).save(stream, "WEBP", lossless=True, exact=True, icc_profile=profile)
    else:
        Image.fromarray(plain).save(stream, {".png": "PNG", ".bmp": "BMP"}[suffix])
    return stream.getvalue()


_ICC_TAG = 34675


def _write_tiff(
    stream: IO[bytes], image: Shaped[np.ndarray, "h w c"], bands: TiffBands | None, tags: PictureTags | None
) -> None:
    count = image.shape[2]
    form: dict[str, Any] = {"compression": "zlib", "metadata": None, "software": False}
    if tags is not None:
        profile = [(_ICC_TAG, 7, len(tags.profile), tags.profile, True)] if tags.profile else []
        form["extratags"] = [*tags.place, *profile]
    if count > 1 and (bands == "pages" or (bands is None and count not in (3, 4))):
        with tiff().TiffWriter(stream) as file:
            for band in np.moveaxis(image, 2, 0):
                file.write(np.ascontiguousarray(band), photometric="minisblack", **form)
        return
    colours = count in (3, 4) and image.dtype in (np.uint8, np.uint16)
    if count > 1:
        form["planarconfig"] = "separate" if bands == "planes" else "contig"
    extra = count - (3 if colours else 1)
    if extra:
        kind = {"alpha": "unassalpha", "premultiplied": "assocalpha", None: "unassalpha" if colours else "unspecified"}
        form["extrasamples"] = ["unspecified"] * (extra - 1) + [kind.get(bands, "unspecified")]
    array = image[..., 0] if count == 1 else np.moveaxis(image, 2, 0) if bands == "planes" else image
    tiff().imwrite(stream, np.ascontiguousarray(array), photometric="rgb" if colours else "minisblack", **form)
