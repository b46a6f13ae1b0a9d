"""What a picture file says besides its pixels: kept in a copy, or counted."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageCms

from cutmix_dense.data import open_dataset
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.picture_tags import PictureTags
from cutmix_dense.data.pictures import decode_picture, encode_picture, picture_tags, tiff_bands
from cutmix_dense.transforms import CutMix

tifffile = pytest.importorskip("tifffile")

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]
PLACE = (
    (33550, 12, 3, (0.5, 0.5, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 100.0, 200.0, 0.0), True),
    (34735, 3, 4, (1, 1, 0, 0), True),
    (34737, 2, 0, "WGS 84 – ü|".encode(), True),
    (42113, 2, 0, b"-9999", True),
)


def pixels(bands=3, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, (20, 30, bands)).astype(dtype)


@pytest.mark.parametrize(
    ("suffix", "bands", "dtype"),
    [
        *((suffix, 3, np.uint8) for suffix in (".jpg", ".png", ".webp", ".tif")),
        *((suffix, 1, np.uint8) for suffix in (".jpg", ".png", ".tif")),
        (".png", 2, np.uint8),
        (".png", 2, np.uint16),
        (".png", 4, np.uint16),
        (".tif", 4, np.float32),
    ],
)
def test_a_profile_lies_in_every_format_that_has_a_place_for_one(tmp_path, suffix, bands, dtype):
    image, profile = pixels(bands, dtype), GREY if bands < 3 else SRGB
    tags = PictureTags(profile).fitting(suffix, bands)
    assert tags == PictureTags(profile)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode_picture(image, suffix, tags=tags))
    assert picture_tags(path) == tags
    plain = decode_picture(encode_picture(image, suffix), "stored", path=path)
    assert np.array_equal(decode_picture(path.read_bytes(), "stored", path=path), plain)


@pytest.mark.parametrize(
    ("profile", "suffix", "bands"), [(SRGB, ".bmp", 3), (SRGB, ".png", 1), (GREY, ".jpg", 3), (SRGB, ".tif", 5)]
)
def test_a_profile_of_other_colours_is_counted(profile, suffix, bands):
    assert PictureTags(profile).fitting(suffix, bands) == PictureTags(lost=("ICC profile of pictures",))


def test_tags_of_places(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(encode_picture(pixels(), ".tif", tags=PictureTags(SRGB, PLACE)))
    tags = picture_tags(path)
    assert [(code, value) for code, _, _, value, _ in tags.place] == [(code, value) for code, _, _, value, _ in PLACE]
    assert (tags.profile, tags.lost, tiff_bands(path)) == (SRGB, (), None)
    again = tmp_path / "b.tif"
    again.write_bytes(encode_picture(pixels(), ".tif", tags=tags))
    assert picture_tags(again) == tags
    assert tags.fitting(".png", 3) == PictureTags(SRGB, lost=("GeoTIFF tags of pictures",))
    assert tags.of_mix() == PictureTags(SRGB, lost=("GeoTIFF tags of mixed pictures",))
    assert PictureTags(SRGB).of_mix() == PictureTags(SRGB)
    tifffile.imwrite(path, pixels(), extratags=[*PLACE, (274, 3, 1, 6, True)])
    assert picture_tags(path) == PictureTags(lost=("GeoTIFF tags of turned pictures",))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_counts_if_it_says_more_than_how_pixels_are_stored(tmp_path, form):
    path = tmp_path / "a"
    exif = Image.Exif()
    exif[274], exif[282] = 6, 72.0
    exif[34665] = {40962: 30}
    Image.fromarray(pixels()).save(path, form, exif=exif)
    assert picture_tags(path) == PictureTags()
    exif[34665] = {40962: 30, 36867: "2026:11:30 12:00:00"}
    Image.fromarray(pixels()).save(path, form, exif=exif)
    assert picture_tags(path) == PictureTags(lost=("EXIF of pictures",))


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0 broken")
    (tmp_path / "b.jpg").write_bytes(b"")
    stream = io.BytesIO()
    Image.fromarray(pixels()).save(stream, "JPEG", icc_profile=SRGB)
    (tmp_path / "c.jpg").write_bytes(stream.getvalue()[:100])
    for name in ("a.tif", "b.jpg", "c.jpg", "gone.jpg", "."):
        assert picture_tags(tmp_path / name) == PictureTags()


def test_a_copy_keeps_what_is_true_of_it(tmp_path):
    root = tmp_path / "set"
    (root / "train").mkdir(parents=True)
    for name, profile in (("a.tif", b""), ("b.tif", SRGB)):
        (root / "train" / name).write_bytes(encode_picture(pixels(), ".tif", tags=PictureTags(profile, PLACE)))
    table = {
        "images": [{"id": i, "file_name": f"{name}.tif", "width": 30, "height": 20} for i, name in enumerate("ab", 1)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 20, 10]} for i in (1, 2)],
        "categories": [{"id": 1, "name": "roof"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(table))
    dataset = open_dataset(root, pixels="stored", details=True)
    report = mix_dataset(dataset, tmp_path / "copy", CutMix(p=0.0))
    for name in "ab":
        assert picture_tags(tmp_path / "copy" / "train" / f"{name}-mix0.tif") == picture_tags(
            root / "train" / f"{name}.tif"
        )
    assert report.not_kept == {}
    report = mix_dataset(dataset, tmp_path / "mixed", CutMix(p=1.0), with_originals=True)
    assert [picture_tags(tmp_path / "mixed" / "train" / f"{name}-mix0.tif").profile for name in "ab"] == [b"", SRGB]
    assert all(picture_tags(tmp_path / "mixed" / "train" / f"{name}.tif").place for name in "ab")
    assert report.not_kept == {"GeoTIFF tags of mixed pictures": 2}
