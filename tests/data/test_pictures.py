"""Pictures: every band and number as the file holds it, turned as annotations mean it, refused by name otherwise."""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from cutmix_dense.data.errors import SampleError
from cutmix_dense.data.maps import read_indices
from cutmix_dense.data.pictures import (
    PICTURE_SUFFIXES,
    decode_picture,
    encode_picture,
    picture_size,
    read_picture,
    suffix_for,
    tiff_bands,
)

cv2 = pytest.importorskip("cv2")
tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")

NEW_OPENCV = tuple(map(int, cv2.__version__.split(".")[:2])) >= (4, 12)
"""Whether OpenCV follows EXIF in PNG and WebP, and reads TIFF files of wide integers."""

H, W = 37, 53
HERE = Path("somewhere/picture")
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
FLOATS = ("float16", "float32", "float64")


def noise(dtype="uint8", bands=3, size=(H, W), seed=0):
    """Random numbers over the whole range of a type, (H, W, bands)."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind == "f":
        return (rng.normal(size=(*size, bands)) * 1000).astype(kind)
    limits = np.iinfo(kind)
    array = rng.integers(limits.min, limits.max, (*size, bands), dtype=kind, endpoint=True)
    array[0, 0], array[-1, -1] = limits.max, limits.min
    return array


def smooth(size=(H, W)):
    """RGB that survives JPEG nearly unchanged; no turned or mirrored version equals another."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    y, x = y / max(size[0] - 1, 1), x / max(size[1] - 1, 1)
    return np.stack([250 * x, 250 * y, 60 + 100 * x * y], axis=-1).astype(np.uint8)


def tiff(array, **options):
    """A TIFF file by tifffile of an (H, W, C) array, without what tifffile writes of itself."""
    stream = io.BytesIO()
    bands = array.shape[2]
    if options.get("planarconfig") == "separate":
        array = array.transpose(2, 0, 1)
    elif bands == 1:
        array = array[..., 0]
    else:
        options.setdefault("planarconfig", "contig")
    tifffile.imwrite(stream, array, **{"photometric": "minisblack", "metadata": None, **options})
    return stream.getvalue()


def pages(*arrays, **options):
    """A TIFF file with a page for each array."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for array in arrays:
            form = "rgb" if array.ndim == 3 and array.shape[2] == 3 else "minisblack"
            writer.write(array, **{"photometric": form, "metadata": None, **options})
    return stream.getvalue()


def pillow(array, form, **options):
    """A file by Pillow."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(stream, form, **options)
    return stream.getvalue()


def chunk(kind, body):
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(values, bits):
    """Each row of numbers as bits, filled up to whole bytes."""
    rows = []
    for row in values:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return rows


def png(size, bits, kind, rows, extra=b""):
    """A PNG, by hand: (H, W), bits, type of colour, unfiltered rows, further chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], bits, kind, 0, 0, 0))
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def whole_png(array, extra=b""):
    """A PNG of 8 or 16 bits, by hand."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[array.shape[2]]
    rows = [np.ascontiguousarray(row.astype(row.dtype.newbyteorder(">"))).tobytes() for row in array]
    return png(array.shape[:2], 8 * array.itemsize, kind, rows, extra)


def raw_tiff(strips, bits, photometric, size=(H, W), **tags):
    """A little-endian TIFF of one sample per pixel, by hand; `tags` are numbers of 16 bits by t<tag>."""
    body = b"".join(strips)
    where = 8 + np.cumsum([0, *map(len, strips[:-1])])
    fields = {256: size[1:], 257: size[:1], 258: [bits], 259: [1], 262: [photometric], 273: where, 277: [1]}
    fields |= {278: [-(-size[0] // len(strips))], 279: [len(strip) for strip in strips]}
    fields |= {int(name[1:]): values for name, values in tags.items()}
    body += b"\0" * (len(body) % 2)
    start = 8 + len(body)
    entries, more, after = b"", b"", start + 2 + 12 * len(fields) + 4
    for tag, values in sorted(fields.items()):
        short = tag not in (256, 257, 273, 278, 279)
        data = struct.pack(f"<{len(values)}{'H' if short else 'I'}", *map(int, values))
        if len(data) > 4:
            data, more = struct.pack("<I", after + len(more)), more + data
        entries += struct.pack("<HHI", tag, 3 if short else 4, len(values)) + data.ljust(4, b"\0")
    end = struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", start) + body + struct.pack("<H", len(fields)) + entries + end + more


def same(content, wanted, pixels="stored"):
    """Whether a file is read as exactly this array: numbers, type and shape."""
    got = decode_picture(content, pixels, path=HERE)
    assert got.dtype == wanted.dtype
    assert got.dtype.isnative
    assert got.shape == wanted.shape
    np.testing.assert_array_equal(got, wanted)
    return True


# ----------------------------------------------------------------------------------------------------------- all of PNG


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_of_every_form(dtype, bands):
    array = noise(dtype, bands)
    assert same(whole_png(array), array)
    if dtype == "uint16":
        assert same(whole_png(array), array, "auto")
        with pytest.raises(SampleError, match=f"holds {bands} bands of uint16; pixels='rgb' reads 8-bit"):
            decode_picture(whole_png(array), "rgb", path=HERE)
        return
    colours = np.repeat(array[..., :1], 3, axis=2) if bands < 3 else array[..., :3]
    whole = np.concatenate([colours, array[..., -1:]], axis=2) if bands in (2, 4) else colours
    assert same(whole_png(array), whole, "auto")
    assert same(whole_png(array), colours, "rgb")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits(bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, (H, W))
    shown = (values * 255 // (2**bits - 1)).astype(np.uint8)[..., None]
    assert same(png((H, W), bits, 0, packed(values, bits)), shown)
    table = noise("uint8", 3, (1, 2**bits), seed=7)[0]
    colours = chunk(b"PLTE", table.tobytes())
    assert same(png((H, W), bits, 3, packed(values, bits), colours), table[values])
    alphas = np.full(2**bits, 255, np.uint8)
    alphas[:2] = 0, 200
    content = png((H, W), bits, 3, packed(values, bits), colours + chunk(b"tRNS", bytes([0, 200])))
    wanted = np.concatenate([table[values], alphas[values][..., None]], axis=2)
    assert same(content, wanted)
    assert same(content, wanted, "auto")
    assert same(content, table[values], "rgb")
    key = png((H, W), bits, 0, packed(values, bits), chunk(b"tRNS", struct.pack(">H", 1)))
    assert same(key, np.concatenate([shown, np.where(values == 1, 0, 255)[..., None].astype(np.uint8)], axis=2))


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_transparent_colour_is_an_alpha_band(dtype, bands):
    array = noise(dtype, bands)
    key = array[5, 7]
    alpha = np.where((array == key).all(axis=2), 0, np.iinfo(dtype).max).astype(dtype)[..., None]
    content = whole_png(array, chunk(b"tRNS", struct.pack(f">{bands}H", *map(int, key))))
    assert same(content, np.concatenate([array, alpha], axis=2))


def test_a_png_with_too_few_rows_is_no_black_half():
    rows = [row.tobytes() for row in noise()]
    assert same(png((H, W), 8, 2, rows), noise())
    with pytest.raises(SampleError, match=rf"{HERE}: cannot be decoded"):
        decode_picture(png((H, W), 8, 2, rows[:20]), path=HERE)


# ---------------------------------------------------------------------------------------------------------- all of TIFF


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_tiff_of_every_type_and_number_of_bands(dtype, bands):
    array = noise(dtype, bands)
    wanted = array.astype(np.float32) if dtype == "float16" else array
    forms = itertools.product((None, "lzw", "zlib", "zstd"), ("contig", "separate"), (None, (16, 16)), "<>")
    for compression, planes, tile, order in forms:
        if bands == 1 and planes == "separate":
            continue
        more = {} if bands == 1 else {"planarconfig": planes}
        content = tiff(array, compression=compression, tile=tile, byteorder=order, **more)
        assert same(content, wanted), (compression, planes, tile, order)
    if dtype != "uint8" or bands > 4:
        assert same(content, wanted, "auto")
        with pytest.raises(SampleError, match=rf"{HERE}: .*holds {bands} bands of {wanted.dtype}; pixels='rgb'"):
            decode_picture(content, "rgb", path=HERE)
    else:
        assert same(content, np.repeat(array[..., :1], 3, axis=2) if bands < 3 else array[..., :3], "rgb")


@pytest.mark.parametrize(("dtype", "predictor"), [("uint8", 2), ("uint16", 2), ("int32", 2), ("float32", 3)])
def test_tiff_with_a_predictor_and_big_tiff(dtype, predictor):
    for bands in (1, 3, 5):
        array = noise(dtype, bands)
        assert same(tiff(array, compression="zlib", predictor=predictor, rowsperstrip=8), array)
        assert same(tiff(array, compression="packbits", bigtiff=True), array)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tiff_in_colours_with_alpha_of_either_kind(dtype):
    array = noise(dtype, 4)
    for kind in ("unassalpha", "assocalpha", "unspecified"):
        assert same(tiff(array, photometric="rgb", extrasamples=[kind]), array), kind
    six = noise(dtype, 6)
    assert same(tiff(six, photometric="rgb"), six)
    assert same(tiff(six, photometric="rgb", planarconfig="separate"), six)


@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_grey_tiff_of_any_number_of_bits(bits, white):
    values = np.random.default_rng(bits).integers(0, 2**bits, (H, W))
    rows = [row.astype("<u2").tobytes() for row in values] if bits == 16 else packed(values, bits)
    content = raw_tiff([b"".join(rows[:20]), b"".join(rows[20:])], bits, 0 if white else 1, t278=[20])
    light = 2**bits - 1 - values if white else values
    wanted = light * (255 // (2**bits - 1)) if bits < 8 else light
    assert same(content, wanted.astype(np.uint8 if bits <= 8 else np.uint16)[..., None])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_tiff_with_a_palette(bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, (H, W))
    table = noise("uint8", 3, (1, 2**bits), seed=7)[0]
    content = raw_tiff([b"".join(packed(values, bits))], bits, 3, t320=(table.T.astype(int) * 257).ravel())
    assert same(content, table[values])
    assert same(content, table[values], "auto")


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_a_fax_in_black_and_white(compression):
    values = noise("uint8", 1)[..., 0] > 99
    assert same(pillow(values, "TIFF", compression=compression), (values[..., None] * 255).astype(np.uint8))


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 16}])
def test_jpeg_in_tiff(tmp_path, options):
    array = smooth()
    for bands in (1, 3):
        form = "rgb" if bands == 3 else "minisblack"
        (tmp_path / "a.tif").write_bytes(
            tiff(array[..., :bands], photometric=form, compression="jpeg", compressionargs={"level": 98}, **options)
        )
        got = read_picture(tmp_path / "a.tif", "stored").astype(int)
        assert got.shape == (H, W, bands)
        assert np.abs(got - array[..., :bands])[:32, :48].max() <= 8  # beyond them tiles blend with their padding
        theirs = cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED).reshape(H, W, bands)[..., ::-1]
        assert np.abs(got - theirs).max() <= 2


def test_cmyk(tmp_path):
    with Image.fromarray(smooth()) as image:
        image.convert("CMYK").save(tmp_path / "a.tif")
        image.convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    assert same((tmp_path / "a.tif").read_bytes(), smooth())
    got = read_picture(tmp_path / "a.jpg", "stored")
    assert np.abs(got.astype(int) - smooth()).max() <= 12
    assert np.abs(got.astype(int) - cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1]).max() <= 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pages_of_one_band_are_bands(dtype):
    array = noise(dtype, 5)
    bands = [np.ascontiguousarray(array[..., band]) for band in range(5)]
    assert same(pages(*bands), array)
    assert same(pages(*bands, compression="zlib", tile=(16, 16)), array)
    stream = io.BytesIO()
    tifffile.imwrite(stream, array.transpose(2, 0, 1), ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    assert same(stream.getvalue(), array)
    if dtype == "uint16":
        stream = io.BytesIO()
        tifffile.imwrite(stream, array.transpose(2, 0, 1), imagej=True, metadata={"axes": "CYX"})
        assert same(stream.getvalue(), array)


def test_thumbnails_reduced_copies_and_masks_are_no_bands(tmp_path):
    array, grey = noise(), noise(bands=1)[..., 0]

    def written(*entries):
        stream = io.BytesIO()
        with tifffile.TiffWriter(stream) as writer:
            for values, kind in entries:
                form = "rgb" if values.ndim == 3 else "minisblack"
                writer.write(values, photometric=form, subfiletype=kind, metadata=None)
        return stream.getvalue()

    assert same(written((array, 0), (array[::2, ::2], 1)), array)
    assert same(written((array[::2, ::2], 1), (array, 0)), array)
    assert same(written((grey, 0), (grey > 9, 4)), grey[..., None])
    table = (noise("uint8", 1, (3, 256)) // 2)[..., 0].astype(np.uint16) * 257
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:  # a palette is read by another decoder, which starts with page 0
        writer.write(array[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(grey, photometric="palette", colormap=table, metadata=None)
    assert same(stream.getvalue(), (table >> 8).astype(np.uint8).T[grey])
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(array[::2, ::2], photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(array, photometric="rgb", metadata=None)
    with pytest.raises(SampleError, match="its pages are reduced copies of pictures that lie deeper in the file"):
        decode_picture(stream.getvalue(), path=HERE)


@pytest.mark.parametrize(
    "second", [noise()[..., 0].astype(np.uint16), noise(size=(H - 1, W))[..., 0], noise(bands=3)], ids=str
)
def test_pages_that_differ_are_refused(second):
    with pytest.raises(SampleError, match=rf"{HERE}: holds 2 pages, which are read as bands only if each is one band"):
        decode_picture(pages(noise()[..., 0], second), path=HERE)


def test_pages_in_colours_and_volumes_are_refused():
    with pytest.raises(SampleError, match="holds 2 pages"):
        decode_picture(pages(noise(), noise(seed=1)), path=HERE)
    stream = io.BytesIO()
    tifffile.imwrite(
        stream, noise("uint16", 5).transpose(2, 0, 1), volumetric=True, tile=(16, 16, 16), photometric="minisblack"
    )
    with pytest.raises(SampleError, match="a picture of the axes ZYX"):
        decode_picture(stream.getvalue(), path=HERE)
    with pytest.raises(SampleError, match="numbers of the type complex64 aren't read"):
        decode_picture(tiff(noise("float32", 1).astype(np.complex64)), path=HERE)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_missing_strip_is_no_black_stripe(dtype, tile, compression):
    """Decoders fill what isn't there with zeros, and a file cut at a strip's end looks whole to them."""
    layout = {"tile": tile} if tile else {"rowsperstrip": 8}
    content = tiff(noise(dtype), photometric="rgb", compression=compression, **layout)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tags = [file.pages[0].tags[f"{'Tile' if tile else 'Strip'}{name}"] for name in ("Offsets", "ByteCounts")]
        ends = [at + count for at, count in zip(file.pages[0].dataoffsets, file.pages[0].databytecounts)]
    for tag in tags:
        width = {3: 2, 4: 4}[int(tag.dtype)]
        place = tag.valueoffset + width
        hollow = content[:place] + bytes(width) + content[place + width :]
        with pytest.raises(SampleError, match=rf"{HERE}: .*strip or tile 1 of \d+ holds no data"):
            decode_picture(hollow, path=HERE)
    for end in (ends[-2], ends[-1] - 1):
        with pytest.raises(SampleError, match=str(HERE)):
            decode_picture(content[:end], path=HERE)
    assert decode_picture(content, path=HERE).shape == (H, W, 3)


# ------------------------------------------------------------------------------------------------------- other formats


@pytest.mark.parametrize("most", [255, 256, 1000, 65535])
@pytest.mark.parametrize(("kind", "bands"), [(2, 1), (5, 1), (3, 3), (6, 3)])
def test_netpbm(kind, bands, most):
    array = np.random.default_rng(most).integers(0, most, (H, W, bands), endpoint=True)
    array = array.astype(np.uint8 if most < 256 else np.uint16)
    head = f"P{kind}\n# by hand\n{W} {H}\n{most}\n".encode()
    body = array.astype(">u2" if most > 255 else "u1").tobytes()
    if kind < 4:
        body = b"\n".join(b" ".join(b"%d" % value for value in row.ravel()) for row in array)
    assert same(head + body, array)
    with pytest.raises(SampleError, match=str(HERE)):
        decode_picture(head + body[: len(body) // 2], path=HERE)


def test_other_formats():
    array = noise()
    for form in ("BMP", "PPM", "PNG", "TIFF"):
        assert same(pillow(array, form), array), form
        assert same(pillow(array, form), array, "auto"), form
    for bands in (3, 4):
        assert same(pillow(noise(bands=bands), "WEBP", lossless=True, exact=True), noise(bands=bands))
    grey = noise(bands=1)
    assert same(pillow(grey[..., 0], "BMP"), grey)
    few = noise(bands=1)[..., 0] % 5
    with Image.fromarray(few) as image:
        image.putpalette([value for level in range(5) for value in (50 * level, 10, 255 - 50 * level)])
        for options in ({}, {"transparency": 2}):
            stream = io.BytesIO()
            image.save(stream, "GIF", **options)
            colours = np.stack([few * 50, np.full_like(few, 10), 255 - few * 50], axis=2)
            assert same(stream.getvalue(), colours, "rgb") if not options else True
            got = decode_picture(stream.getvalue(), path=HERE)
            assert np.array_equal(got[few != 2][:, :3], colours[few != 2])
            if options:
                assert np.array_equal(got[..., 3], np.where(few == 2, 0, 255))
    if features.check("jpg_2000"):
        assert same(pillow(array, "JPEG2000", irreversible=False), array)
    if features.check("avif"):
        got = decode_picture(pillow(smooth(), "AVIF", quality=100), path=HERE)
        assert np.abs(got.astype(int) - smooth()).max() <= 6


def test_multi_picture_jpegs_give_their_first(tmp_path):
    first, second = Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=98)
    first.save(tmp_path / "b.jpg", "JPEG", quality=98)
    assert np.array_equal(read_picture(tmp_path / "a.jpg"), read_picture(tmp_path / "b.jpg"))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_animations_are_refused(form):
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, form, save_all=True, append_images=frames[1:])
    with pytest.raises(SampleError, match=f"{HERE}: is an animation of 3 pictures; a sample takes one"):
        decode_picture(stream.getvalue(), path=HERE)


FILES = {
    "jpg": pillow(smooth(), "JPEG"),
    "png": whole_png(noise()),
    "png16": whole_png(noise("uint16")),
    "la16": whole_png(noise("uint16", 2)),
    "tif": tiff(noise(), photometric="rgb"),
    "tif16": tiff(noise("uint16", 5), compression="zlib", rowsperstrip=8),
    "float": tiff(noise("float32", 1)),
    "jpegtif": tiff(smooth(), photometric="rgb", compression="jpeg"),
    "webp": pillow(noise(), "WEBP", lossless=True),
    "bmp": pillow(noise(), "BMP"),
    "ppm": b"P6\n53 37\n65535\n" + bytes(H * W * 6),
    "gif": pillow(noise(bands=1)[..., 0], "GIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_raises_and_names_itself(name, tmp_path):
    content, path = FILES[name], tmp_path / "cut.bin"
    assert decode_picture(content, path=path).shape[:2] == (H, W)
    for part in (0, 1, 3, 7, 20, 60, len(content) // 4, len(content) // 2, len(content) * 9 // 10):
        path.write_bytes(content[:part])
        with pytest.raises(SampleError, match=r"cut\.bin: .") as caught:
            read_picture(path)
        assert caught.value.path == path


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 10**6), st.binary(min_size=1, max_size=6), st.booleans())
def test_junk_raises_nothing_else(name, place, junk, headed):
    content = FILES[name]
    at = place % (min(300, len(content)) if headed else len(content))
    spoilt = content[:at] + junk + content[at + len(junk) :]
    with contextlib.suppress(SampleError):
        assert decode_picture(spoilt, "stored", path=HERE).ndim == 3


def test_no_file_and_no_picture(tmp_path):
    with pytest.raises(SampleError, match=r"nowhere\.tif: file not found"):
        read_picture(tmp_path / "nowhere.tif")
    with pytest.raises(SampleError, match=r"nowhere\.tif: file not found"):
        picture_size(tmp_path / "nowhere.tif")
    for junk in (b"", b"II*\0", b"MM\0*\0\0\0\x08", b"II+\0" + bytes(20), b"hello", bytes(1000), b"P5\n9 9\n999\n"):
        (tmp_path / "junk.jpg").write_bytes(junk)
        for read in (read_picture, picture_size):
            if read is picture_size and junk.startswith(b"P5"):
                continue
            with pytest.raises(SampleError, match=r"junk\.jpg: ."):
                read(tmp_path / "junk.jpg")


@pytest.mark.parametrize("name", FILES)
def test_the_size_is_read_from_the_header(name, tmp_path):
    (tmp_path / "a").write_bytes(FILES[name])
    assert picture_size(tmp_path / "a") == (H, W)


# ----------------------------------------------------------------------------------------------------------------- EXIF


def turned(array, orientation):
    """A picture as EXIF's table has it: where row 0 and column 0 of what is stored belong."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: np.rot90(a, 2),
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation](array)


def with_orientation(array, form, orientation):
    """A file whose EXIF says this orientation, and how far its decoded colours may be off."""
    exif = Image.Exif()
    exif[274] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}.get(form, {})
    return pillow(array, form, exif=exif, **options), 6 if form == "JPEG" else 0


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_what_opencv_reads(tmp_path, form, orientation):
    content, _ = with_orientation(smooth(), form, orientation)
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(content)
    ours = read_picture(path)
    if NEW_OPENCV or form == "JPEG":  # older ones look for an orientation in JPEG alone
        theirs = cv2.imread(str(path))[..., ::-1].astype(int)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 2
    assert np.abs(ours - turned(smooth(), orientation).astype(int)).max() <= 6


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP"]),
    st.integers(1, 8),
    st.tuples(st.integers(2, 40), st.integers(2, 40)),
    st.sampled_from(["none", "stored", "turned", "neither"]),
)
def test_the_stated_size_decides(form, orientation, size, said):
    array = smooth(size)
    content, off = with_orientation(array, form, orientation)
    flat = size if orientation < 5 else size[::-1]
    stated = {"none": None, "stored": size, "turned": flat, "neither": (size[0] + 50, size[1])}[said]
    if said == "neither":
        with pytest.raises(SampleError) as caught:
            decode_picture(content, "rgb", path=HERE, stated=stated, by="list.json")
        assert f"list.json says {stated[1]}×{stated[0]}" in caught.value.reason
        assert ("EXIF orientation" in caught.value.reason) == (orientation > 1)
        return
    got = decode_picture(content, "rgb", path=HERE, stated=stated)
    lies = said == "stored" and orientation > 4 and size[0] != size[1]
    wanted = array if lies else turned(array, orientation)
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted).max() <= off
    assert got.flags["C_CONTIGUOUS"]


def test_the_message_names_exif():
    content, _ = with_orientation(smooth(), "JPEG", 6)
    with pytest.raises(SampleError, match=r"is 53×37 \(37×53 turned by its EXIF orientation 6\), but x says 99×10"):
        decode_picture(content, path=HERE, stated=(10, 99), by="x")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("dtype", "bands", "options"),
    [
        ("uint8", 3, {"photometric": "rgb"}),
        ("uint8", 1, {"compression": "lzw"}),
        ("uint16", 5, {"tile": (16, 16)}),
        ("float32", 1, {"byteorder": ">"}),
    ],
)
def test_turned_tiff(dtype, bands, options, orientation):
    array = noise(dtype, bands)
    content = tiff(array, extratags=[(274, "H", 1, orientation, True)], **options)
    assert same(content, turned(array, orientation))
    got = decode_picture(content, "stored", path=HERE, stated=(H, W))
    assert np.array_equal(got, turned(array, orientation) if orientation < 5 else array)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_tiff_that_another_decoder_turns_itself(orientation):
    table = np.repeat(noise("uint8", 1, (3, 256))[..., 0].astype(np.uint16) * 257, 1, axis=0)
    grey = noise(bands=1)
    content = tiff(grey, photometric="palette", colormap=table, extratags=[(274, "H", 1, orientation, True)])
    assert same(content, np.ascontiguousarray(turned((table >> 8).astype(np.uint8).T[grey[..., 0]], orientation)))
    content = tiff(smooth(), photometric="rgb", compression="jpeg", extratags=[(274, "H", 1, orientation, True)])
    got = decode_picture(content, path=HERE).astype(int)
    assert np.abs(got - turned(smooth(), orientation)).max() <= 12


def jpeg_with_exif(body):
    content = pillow(smooth(), "JPEG", quality=98)
    segment = b"Exif\0\0" + body
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


def exif_field(kind, count, value):
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI", 274, kind, count) + value + bytes(4)


@pytest.mark.parametrize(
    "body",
    [
        exif_field(3, 1, b"\0\0\0\0"),
        exif_field(3, 1, b"\x09\0\0\0"),
        exif_field(3, 1, b"\xff\xff\0\0"),
        exif_field(2, 4, b"six\0"),
        exif_field(5, 1, b"\xff\xff\xff\x7f"),
        exif_field(3, 1, b"\x06\0\0\0")[:14],
        b"",
        b"II*\0\xff\xff\xff\xff",
        b"not EXIF at all",
    ],
)
def test_junk_exif_is_harmless(body):
    plain = decode_picture(pillow(smooth(), "JPEG", quality=98), path=HERE)
    assert np.array_equal(decode_picture(jpeg_with_exif(body), path=HERE), plain)
    as_png = whole_png(smooth(), chunk(b"eXIf", body))
    assert np.array_equal(decode_picture(as_png, path=HERE), smooth())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 40), st.binary(min_size=1, max_size=4))
def test_random_exif_turns_at_most(junk, place, patch):
    field = exif_field(3, 1, b"\x06\0\0\0")
    for body in (junk, field[:place] + patch + field[place + len(patch) :]):
        got = decode_picture(jpeg_with_exif(body), path=HERE).astype(int)
        assert (
            min(np.abs(got - way).max() for way in (turned(smooth(), o) for o in range(1, 9)) if way.shape == got.shape)
            <= 6
        )


def test_only_exif_turns(tmp_path):
    """Pillow follows an orientation in XMP, too, which OpenCV and what made the annotations don't."""
    text = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    segment = b"http://ns.adobe.com/xap/1.0/\0" + text
    plain = pillow(smooth(), "JPEG", quality=98)
    content = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif().get(274) in (6, None)  # older versions of Pillow don't
    (tmp_path / "a.jpg").write_bytes(content)
    got = read_picture(tmp_path / "a.jpg")
    assert got.shape == (H, W, 3) == cv2.imread(str(tmp_path / "a.jpg")).shape
    assert np.array_equal(got, decode_picture(plain, path=HERE))


# -------------------------------------------------------------------------------------------------------------- writing

LOSSLESS = {
    ".png": [("uint8", bands) for bands in (1, 2, 3, 4)] + [("uint16", bands) for bands in (1, 2, 3, 4)],
    ".tif": [(dtype, bands) for dtype in (*INTEGERS, "float32", "float64") for bands in (1, 2, 3, 4, 5, 13)],
    ".webp": [("uint8", 3), ("uint8", 4)],
    ".bmp": [("uint8", 1), ("uint8", 3)],
}


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_what_is_written_reads_back(suffix):
    for dtype, bands in LOSSLESS[suffix]:
        array = noise(dtype, bands)
        content = encode_picture(array, suffix)
        assert content == encode_picture(array.copy(), suffix.upper())
        assert same(content, array), (dtype, bands)
        assert suffix_for(array, suffix) == suffix
        assert suffix_for(array, suffix.upper()) == suffix.upper()
        if suffix == ".tif":
            theirs = tifffile.imread(io.BytesIO(content))
            theirs = np.moveaxis(theirs, 0, 2) if bands not in (1, 3, 4) else theirs.reshape(array.shape)
            assert np.array_equal(theirs, array)
        elif bands != 2:
            theirs = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
            theirs = theirs.reshape(H, W, -1)[..., {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[theirs.size // (H * W)]]
            assert np.array_equal(theirs[..., :bands] if suffix == ".bmp" else theirs, array)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
@pytest.mark.parametrize("bands", [2, 5, 13])
def test_many_bands_are_written_as_pages_that_others_open(tmp_path, dtype, bands):
    array = noise(dtype, bands)
    path = tmp_path / "a.tif"
    path.write_bytes(encode_picture(array, ".tif"))
    assert tiff_bands(path) == "pages"
    if NEW_OPENCV or dtype not in ("uint32", "int64", "uint64"):
        read, theirs = cv2.imreadmulti(str(path), flags=cv2.IMREAD_UNCHANGED)
        assert read
        assert np.array_equal(np.stack(theirs, axis=-1), array)
    assert np.array_equal(tifffile.imread(path), np.moveaxis(array, 2, 0))
    if dtype in ("uint8", "uint16", "int32", "float32"):
        with Image.open(path) as image:
            assert image.n_frames == bands
            for number in range(bands):
                image.seek(number)
                assert np.array_equal(np.asarray(image), array[..., number])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("kind", "number"), [("unspecified", 0), ("assocalpha", 1), ("unassalpha", 2)]
)  # TIFF 6.0, ExtraSamples
def test_the_fourth_band_stays_what_it_is(tmp_path, dtype, kind, number):
    array = noise(dtype, 4)
    source, copy = tmp_path / "a.tif", tmp_path / "b.TIF"
    tifffile.imwrite(source, array, photometric="rgb", extrasamples=[kind])
    copy.write_bytes(encode_picture(array, ".tif", bands=tiff_bands(source)))
    with tifffile.TiffFile(copy) as file:
        assert [int(kind) for kind in file.pages[0].extrasamples] == [number]
        assert np.array_equal(file.pages[0].asarray(), array)
    assert tiff_bands(copy) == tiff_bands(source)


@pytest.mark.parametrize("bands", [2, 4, 5])
@pytest.mark.parametrize(("config", "axes"), [("contig", "YXS"), ("separate", "SYX")])
def test_bands_side_by_side_and_plane_by_plane_stay_so(tmp_path, bands, config, axes):
    array = noise("int16", bands)
    source = tmp_path / "a.tif"
    stored = array if config == "contig" else np.moveaxis(array, 2, 0)
    tifffile.imwrite(source, np.ascontiguousarray(stored), photometric="minisblack", planarconfig=config)
    content = encode_picture(array, ".tif", bands=tiff_bands(source))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        assert (len(file.pages), file.pages[0].axes) == (1, axes)
        assert np.array_equal(file.pages[0].asarray(), stored)
    assert same(content, array)


def test_pages_stay_pages(tmp_path):
    array = noise("uint8", 4)
    source = tmp_path / "a.tif"
    source.write_bytes(pages(*np.moveaxis(array, 2, 0)))
    content = encode_picture(array, ".tif", bands=tiff_bands(source))
    assert len(tifffile.TiffFile(io.BytesIO(content)).pages) == 4
    assert same(content, array)
    grey = tmp_path / "b.tif"
    grey.write_bytes(encode_picture(noise("uint8", 1), ".tif"))
    assert tiff_bands(grey) is None
    alpha = encode_picture(noise("uint8", 2), ".tif", bands="alpha")
    with Image.open(io.BytesIO(alpha)) as image:
        assert image.mode == "LA"
        assert np.array_equal(np.asarray(image), noise("uint8", 2))


def test_jpeg_is_written_in_grey_and_colours():
    for bands in (1, 3):
        array = smooth()[..., :bands]
        got = decode_picture(encode_picture(array, ".jpg", 98), "stored", path=HERE)
        assert got.shape == array.shape
        assert np.abs(got.astype(int) - array).max() <= 6
    assert encode_picture(smooth(), ".jpeg") == encode_picture(smooth(), ".JPG")
    assert len(encode_picture(noise(), ".jpg", 30)) < len(encode_picture(noise(), ".jpg", 95))


@pytest.mark.parametrize(
    ("dtype", "bands", "like", "wanted"),
    [
        ("uint8", 3, ".jpg", ".jpg"),
        ("uint8", 1, ".JPEG", ".JPEG"),
        ("uint8", 4, ".jpg", ".png"),
        ("uint8", 2, ".webp", ".png"),
        ("uint8", 5, ".jpg", ".tif"),
        ("uint8", 3, ".gif", ".png"),
        ("uint8", 3, ".jp2", ".png"),
        ("uint8", 3, "", ".png"),
        ("uint8", 3, ".tiff", ".tiff"),
        ("uint16", 1, ".jpg", ".png"),
        ("uint16", 5, ".png", ".tif"),
        ("int16", 1, ".png", ".tif"),
        ("float32", 1, ".pgm", ".tif"),
    ],
)
def test_the_ending_that_holds_it(dtype, bands, like, wanted):
    array = noise(dtype, bands)
    suffix = suffix_for(array, like)
    assert suffix == wanted
    assert suffix.lower() in PICTURE_SUFFIXES
    if suffix.lower() not in (".jpg", ".jpeg"):
        assert same(encode_picture(array, suffix), array)


def test_what_no_format_holds_is_refused():
    with pytest.raises(ValueError, match=r"no format of \.jpg, \.png holds 5 bands of uint16"):
        suffix_for(noise("uint16", 5), ".jpg", (".jpg", ".png"))
    with pytest.raises(ValueError, match=r"a \.jpg file doesn't hold 1 bands of uint16"):
        encode_picture(noise("uint16", 1), ".jpg")
    with pytest.raises(ValueError, match=r"a \.png file doesn't hold 3 bands of float32"):
        encode_picture(noise("float32"), ".png")
    with pytest.raises(ValueError, match=r"a \.gif file doesn't hold 3 bands of uint8"):
        encode_picture(noise(), ".gif")


def test_maps_of_ids_in_tiff_are_read_alike(tmp_path):
    ids = noise("uint16", 1)[..., 0] % 300
    (tmp_path / "a.tif").write_bytes(tiff(ids[..., None], compression="zlib"))
    assert np.array_equal(read_indices(tmp_path / "a.tif", (H, W)), ids)


# ------------------------------------------------------------------------------------------- more or less than 8 bits


@pytest.mark.parametrize(("bits", "bands"), [(10, 3), (12, 1), (15, 1), (16, 1), (16, 2), (16, 3), (16, 4)])
@pytest.mark.parametrize("form", ["jp2", "j2k"])
def test_jpeg_2000_of_more_than_8_bits(tmp_path, bits, bands, form):
    """Pillow moves 15 bits up to 16, and cuts colours to 8."""
    array = noise("uint16", bands) >> (16 - bits)
    path = tmp_path / "a.jp2"
    path.write_bytes(
        imagecodecs.jpeg2k_encode(
            array.squeeze(), level=0, codecformat=form, bitspersample=bits, reversible=True, mct=False
        )
    )
    found = read_picture(path)
    assert found.dtype == np.uint16
    assert np.array_equal(found, array)
    if bands == 1:
        assert np.array_equal(read_indices(path, (H, W)), array[..., 0])


def test_jpeg_2000_of_more_than_four_bands_is_refused(tmp_path):
    path = tmp_path / "a.jp2"
    path.write_bytes(imagecodecs.jpeg2k_encode(noise(bands=5), level=0, codecformat="jp2", reversible=True))
    for read in (read_picture, picture_size, lambda path: read_indices(path, None)):
        with pytest.raises(SampleError, match=r"a\.jp2: holds 5 bands; JPEG 2000 is read with up to four: write it as"):
            read(path)


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_of_more_than_8_bits(tmp_path, bits):
    pytest.importorskip("imagecodecs._avif")
    if not features.check("avif"):
        pytest.skip("Pillow without AVIF")
    array = np.repeat(np.arange(H * W, dtype=np.uint16).reshape(H, W, 1) * 2 % 2**bits, 3, axis=2)
    path = tmp_path / "a.avif"
    path.write_bytes(imagecodecs.avif_encode(array, level=100, bitspersample=bits))
    found = read_picture(path)
    assert found.dtype == np.uint16
    assert np.array_equal(found, array)


@pytest.mark.parametrize("form", ["P5", "P2", "P6", "jp2"])
def test_ids_of_fewer_than_8_bits_are_not_stretched(tmp_path, form):
    """Shades of a picture are: 0 … 15 becomes 0 … 255, or 0 … 240."""
    ids = (np.arange(H * W) % 5).astype(np.uint8).reshape(H, W)
    head = f"{form}\n{W} {H}\n15\n".encode()
    content = {
        "P5": head + ids.tobytes(),
        "P2": head + " ".join(map(str, ids.ravel())).encode(),
        "P6": head + np.repeat(ids[..., None], 3, axis=2).tobytes(),
        "jp2": imagecodecs.jpeg2k_encode(ids, level=0, codecformat="jp2", bitspersample=4, reversible=True),
    }
    path = tmp_path / f"a.{'jp2' if form == 'jp2' else 'pgm'}"
    path.write_bytes(content[form])
    assert np.array_equal(read_indices(path, (H, W), equal_bands=True), ids)
    assert np.array_equal(read_picture(path, "stored")[..., 0], ids * (16 if form == "jp2" else 17))


def test_a_map_in_lossy_jpeg_2000_is_refused(tmp_path):
    path = tmp_path / "a.jp2"
    Image.fromarray(noise(bands=1)[..., 0]).save(path, irreversible=True)
    with pytest.raises(SampleError, match=r"a\.jp2: is stored with loss \(JPEG2000\), which changes ids"):
        read_indices(path, None)
