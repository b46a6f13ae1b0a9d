"""Mixed copies and contact sheets of pictures that aren't 8-bit RGB: every number comes from the file it was in."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import cutmix_dense as cd
from cutmix_dense.cli import browse
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import alike, mix_sample, open_complete

cv2 = pytest.importorskip("cv2")
tifffile = pytest.importorskip("tifffile")
coco_masks = pytest.importorskip("pycocotools.mask")

SIZE, COUNT = (40, 60), 4
BOXES = [(5, 4, 30, 24), (32, 10, 55, 36)]


def ramp(number, bands, low, high):
    """Numbers between two limits that differ in every pixel, band and picture: they tell where a pixel is from."""
    rng = np.random.default_rng(number)
    return low + (high - low) * rng.random((*SIZE, bands))


def write_uint16(path, number):
    cv2.imwrite(str(path), ramp(number, 1, 1000, 50000).astype(np.uint16))


def write_float(path, number):
    tifffile.imwrite(path, ramp(number, 1, -20.0, 80.0).astype(np.float32)[..., 0])


def write_bands(path, number):
    array = ramp(number, 5, 0, 65535).astype(np.uint16)
    tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig")


def write_thermal(path, number):
    Image.fromarray(ramp(number, 4, 0, 256).astype(np.uint8), "RGBA").save(path)


def write_bmp(path, number):
    Image.fromarray(ramp(number, 3, 0, 256).astype(np.uint8)).save(path)


def plain_pixels(path):
    """(C, H, W) by another decoder than the package's readers."""
    if path.suffix == ".tif":
        array = tifffile.imread(path)
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    array = array[..., None] if array.ndim == 2 else array
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[array.shape[2]]
    return array[..., order].transpose(2, 0, 1)


KINDS = {
    "uint16": (write_uint16, ".png", np.uint16, 1),
    "float32": (write_float, ".tif", np.float32, 1),
    "multispectral": (write_bands, ".tif", np.uint16, 5),
    "rgb and thermal": (write_thermal, ".png", np.uint8, 4),
    "bmp": (write_bmp, ".bmp", np.uint8, 3),
}


def make_coco(root, write, suffix):
    (root / "train").mkdir(parents=True)
    images, annotations = [], []
    for number in range(COUNT):
        name = f"p{number}{suffix}"
        write(root / "train" / name, number)
        images.append({"id": number + 1, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        for x0, y0, x1, y1 in BOXES:
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append({"id": len(annotations) + 1, "image_id": number + 1, "category_id": 1, "bbox": box})
    (root / "annotations").mkdir()
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return root


def make_voc(root, write, suffix):
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(COUNT):
        write(root / "JPEGImages" / f"p{number}{suffix}", number)
        objects = "".join(
            "<object><name>cat</name><bndbox>"
            f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for x0, y0, x1, y1 in BOXES
        )
        size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>1</depth></size>"
        xml = f"<annotation><filename>p{number}{suffix}</filename>{size}{objects}</annotation>"
        (root / "Annotations" / f"p{number}.xml").write_text(xml)
    (root / "ImageSets" / "Main" / "train.txt").write_text("".join(f"p{number}\n" for number in range(COUNT)))
    return root


MAKERS = {"coco": (make_coco, "train"), "voc": (make_voc, "JPEGImages")}


def files(root, folder):
    return {path.name: path for path in sorted((root / folder).iterdir())}


@pytest.mark.parametrize("layout", MAKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_unmixed_copy_holds_the_source(tmp_path, kind, layout):
    write, suffix, dtype, bands = KINDS[kind]
    make, folder = MAKERS[layout]
    root = make(tmp_path / "set", write, suffix)
    mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=0.0))
    written = files(tmp_path / "copy", folder)
    assert sorted(written) == [f"p{number}-mix0{suffix}" for number in range(COUNT)]
    for number in range(COUNT):
        got, source = (
            plain_pixels(written[f"p{number}-mix0{suffix}"]),
            plain_pixels(root / folder / f"p{number}{suffix}"),
        )
        assert got.dtype == source.dtype == dtype
        assert got.shape == (bands, *SIZE)
        assert np.array_equal(got, source)
    for image, target in open_complete(tmp_path / "copy"):
        assert image.shape == (bands, *SIZE)
        assert [tuple(box) for box in target["boxes"].tolist()] == BOXES


@pytest.mark.parametrize("layout", MAKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_mixed_copy_holds_pixels_of_base_and_partner(tmp_path, kind, layout):
    write, suffix, _, _ = KINDS[kind]
    make, folder = MAKERS[layout]
    root = make(tmp_path / "set", write, suffix)
    report = mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=1.0))
    samples = json.loads(report.path.read_text())["samples"]
    mixed = 0
    for sample in samples:
        (partner,) = sample["partners"]
        base, other = plain_pixels(root / sample["base"]), plain_pixels(root / partner)
        got = plain_pixels(tmp_path / "copy" / folder / f"{sample['sample']}{suffix}")
        assert got.dtype == base.dtype
        from_base, from_other = (got == base).all(axis=0), (got == other).all(axis=0)
        assert (from_base | from_other).all()
        rows, columns = np.nonzero(from_other & ~from_base)
        if len(rows):
            mixed += 1
            box = np.zeros(SIZE, dtype=bool)
            box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
            assert np.array_equal(box & ~from_base, box & from_other & ~from_base)
    assert mixed >= 2


@pytest.mark.parametrize("transform", [cd.Mosaic(p=1.0), cd.MixUp(p=1.0)], ids=["Mosaic", "MixUp"])
@pytest.mark.parametrize("kind", KINDS)
def test_scaled_and_blended_copies_stay_in_range(tmp_path, kind, transform):
    write, suffix, dtype, bands = KINDS[kind]
    root = make_coco(tmp_path / "set", write, suffix)
    report = mix_dataset(open_complete(root), tmp_path / "copy", transform)
    assert report.written == COUNT
    sources = np.stack([plain_pixels(path) for path in files(root, "train").values()])
    for path in files(tmp_path / "copy", "train").values():
        got = plain_pixels(path)
        assert got.dtype == dtype
        assert got.shape[0] == bands
        assert path.suffix == suffix
        spread = got.astype(float).std()
        assert spread > 0.15 * sources.astype(float).std()
        if isinstance(transform, cd.MixUp):  # a blend lies between what it is made of; a fill is no picture's
            assert got.min() >= sources.min()
            assert got.max() <= sources.max()


def test_mixup_blends_numbers_of_16_bits(tmp_path):
    dataset = open_complete(make_coco(tmp_path / "set", write_uint16, ".png"))
    made = mix_sample(dataset, cd.MixUp(p=1.0), 0, seed=3)
    first, second = (plain_pixels(dataset.image_path(index)).astype(float) for index in made.indices)
    weight = float(made.plan.share()[0, 0])
    wanted = weight * first + (1 - weight) * second
    assert made.image.dtype == torch.uint16
    assert np.abs(made.image.numpy().astype(float) - wanted).max() <= 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_browse_draws_them(tmp_path, kind):
    write, suffix, _, _ = KINDS[kind]
    root = make_coco(tmp_path / "set", write, suffix)
    assert browse.main([str(root), "--index", "0", "1", "--width", "160", "--out", str(tmp_path / "sheets")]) == 0
    (sheet,) = (tmp_path / "sheets").glob("*.png")
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    third = pixels.shape[1] // 3
    for column in range(3):  # base, partner, mixed
        cell = pixels[
            pixels.shape[0] // 4 : pixels.shape[0] // 3, column * third + third // 3 : column * third + third // 2
        ]
        assert cell.std() > 5, column


# ------------------------------------------------------------------------------------------------- pictures that differ


def write_mixture(path, number):
    """Grey and RGB JPEGs in turn."""
    array = np.full((*SIZE, 3), (40 + 30 * number, 90, 200), dtype=np.uint8)
    Image.fromarray(array if number % 2 else array[..., 0]).save(path, quality=100, subsampling=0)


@pytest.mark.parametrize("layout", MAKERS)
def test_grey_beside_colours(tmp_path, layout):
    make, folder = MAKERS[layout]
    root = make(tmp_path / "set", write_mixture, ".jpg")
    mix_dataset(open_complete(root), tmp_path / "plain", cd.CutMix(p=0.0))
    for number in range(COUNT):
        with Image.open(tmp_path / "plain" / folder / f"p{number}-mix0.jpg") as image:
            assert image.mode == ("RGB" if number % 2 else "L")
            middle = image.convert("RGB").getpixel((30, 20))
        level = 40 + 30 * number
        assert np.abs(np.subtract(middle, (level, 90, 200) if number % 2 else (level,) * 3)).max() <= 2
    report = mix_dataset(open_complete(root), tmp_path / "mixed", cd.CutMix(p=1.0), copies=3)
    assert report.written == 3 * COUNT
    levels = {(40 + 30 * number, 90, 200) if number % 2 else (40 + 30 * number,) * 3 for number in range(COUNT)}
    for path in files(tmp_path / "mixed", folder).values():
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 1, 3).astype(int)
        near = np.abs(pixels - np.array(sorted(levels))).max(axis=2).min(axis=1)
        assert np.mean(near <= 6) > 0.9  # all but the ringing along the region's edge


def test_turned_jpegs(tmp_path):
    """The stated sizes decide: as stored for the first two, turned for the others."""
    root = tmp_path / "set"
    (root / "train").mkdir(parents=True)
    (root / "annotations").mkdir()
    stored = np.zeros((*SIZE, 3), dtype=np.uint8)
    stored[:20, :30] = 255, 0, 0  # red at the top left of what is stored
    exif = Image.Exif()
    exif[274] = 6  # a reader turns it clockwise: the red comes to the top right
    images, annotations = [], []
    for number in range(COUNT):
        Image.fromarray(stored).save(root / "train" / f"p{number}.jpg", exif=exif, quality=98)
        height, width = SIZE if number < 2 else SIZE[::-1]
        box = [0, 0, 30, 20] if number < 2 else [20, 0, 20, 30]
        images.append({"id": number, "file_name": f"p{number}.jpg", "height": height, "width": width})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "red"}]}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=0.0))
    written = json.loads((tmp_path / "copy" / "annotations" / "instances_train.json").read_text())
    for entry, annotation, source in zip(written["images"], written["annotations"], annotations, strict=True):
        path = tmp_path / "copy" / "train" / entry["file_name"]
        shown = cv2.imread(str(path))  # follows EXIF, if the copy had any
        assert shown.shape[:2] == (entry["height"], entry["width"])
        assert annotation["bbox"] == source["bbox"]
        x, y, w, h = (int(side) for side in annotation["bbox"])
        inside = np.zeros(shown.shape[:2], dtype=bool)
        inside[y : y + h, x : x + w] = True
        red = (shown[..., 2] > 200) & (shown[..., 0] < 60)
        assert (red != inside).mean() < 0.02  # but for the edge's ringing
    report = mix_dataset(open_complete(root), tmp_path / "mixed", cd.Mosaic(p=1.0))
    assert report.written == COUNT


def test_a_picture_of_another_kind_is_no_partner(tmp_path):
    """One 8-bit picture among 16-bit ones: others take their next choice, and it alone has nothing to be mixed with."""

    def write(path, number):
        array = ramp(number, 1, 0, 255).astype(np.uint8 if number == 2 else np.uint16)
        cv2.imwrite(str(path), array)

    root = make_coco(tmp_path / "set", write, ".png")
    report = mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=1.0), copies=4)
    assert report.written == 4 * (COUNT - 1)
    assert {row["file"] for row in report.skipped} == {"train/p2.png"}
    kind = "is another kind of picture than its base: 1 band of uint16, not 1 band of uint8"
    assert all("no other image can be its partner; the first: train/p" in row["reason"] for row in report.skipped)
    assert all(kind in row["reason"] for row in report.skipped)
    samples = json.loads(report.path.read_text())["samples"]
    assert {sample["base"] for sample in samples} == {"train/p0.png", "train/p1.png", "train/p3.png"}
    assert all(sample["partners"] and "train/p2.png" not in sample["partners"] for sample in samples)
    (row,) = report.broken
    assert row["as_base"] == 4
    assert row["as_partner"] >= 1
    plain = mix_dataset(open_complete(root), tmp_path / "plain", cd.CutMix(p=0.0))
    assert (plain.written, plain.skipped, plain.broken) == (COUNT, [], [])


def test_a_fourth_band_that_is_no_alpha_is_never_made_up(tmp_path):
    """Infrared beside RGB: an opaque alpha would be a false reading of the sensor."""

    def write(path, number):
        array = np.random.default_rng(number).integers(0, 255, (40, 60, 3 if number == 0 else 4), dtype=np.uint8)
        tifffile.imwrite(path, array, photometric="rgb", extrasamples=[0] if number else None)

    root = make_coco(tmp_path / "set", write, ".tif")
    plain = mix_dataset(open_complete(root), tmp_path / "plain", cd.CutMix(p=0.0))
    assert plain.written == COUNT
    for source, copy in zip(
        sorted((root / "train").iterdir()), sorted((tmp_path / "plain" / "train").iterdir()), strict=True
    ):
        with tifffile.TiffFile(source) as one, tifffile.TiffFile(copy) as two:
            assert two.pages[0].extrasamples == one.pages[0].extrasamples
            assert np.array_equal(two.pages[0].asarray(), one.pages[0].asarray())
    report = mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=1.0), copies=4)
    assert report.written == 4 * (COUNT - 1)
    assert {row["file"] for row in report.skipped} == {"train/p0.tif"}
    assert all("a last band that isn't alpha goes only with its like" in row["reason"] for row in report.skipped)


def test_bands_that_become_alike():
    def picture(bands, dtype=torch.uint8):
        top = 255 if dtype == torch.uint8 else 60000
        return (torch.arange(bands * 6).reshape(bands, 2, 3) * 3 % top).to(dtype)

    grey, pair, rgb, rgba = (picture(bands) for bands in (1, 2, 3, 4))
    opaque = torch.full((1, 2, 3), 255, dtype=torch.uint8)
    one, two = alike([grey, rgb], ["a", "b"])
    assert torch.equal(one, torch.cat([grey] * 3))
    assert torch.equal(two, rgb)
    one, two, three = alike([grey, rgb, rgba], ["a", "b", "c"])
    assert torch.equal(one, torch.cat([grey] * 3 + [opaque]))
    assert torch.equal(two, torch.cat([rgb, opaque]))
    assert torch.equal(three, rgba)
    one, two = alike([pair, rgb], ["a", "b"])
    assert torch.equal(one, torch.cat([pair[:1]] * 3 + [pair[1:]]))
    assert torch.equal(two, torch.cat([rgb, opaque]))
    one, two = alike([pair, grey], ["a", "b"])
    assert torch.equal(one, pair)
    assert torch.equal(two, torch.cat([grey, opaque]))
    deep, deep_rgb = picture(1, torch.uint16), picture(4, torch.uint16)
    one, _ = alike([deep, deep_rgb], ["a", "b"])
    assert one.dtype == torch.uint16
    assert one[3].tolist() == [[65535] * 3] * 2
    for images, words in (
        ([grey, picture(1, torch.uint16)], "a has 1 bands of uint8 and b has 1 bands of uint16"),
        ([picture(5), rgb], "a has 5 bands of uint8 and b has 3 bands of uint8"),
        ([rgb.float(), rgb], "a has 3 bands of float32 and b has 3 bands of uint8"),
    ):
        with pytest.raises(ValueError, match=words):
            alike(images, ["a", "b"])
    same = [picture(7), picture(7)]
    assert all(one is two for one, two in zip(alike(same, ["a", "b"]), same))


def test_a_set_of_other_sizes_names_exif(tmp_path):
    root = make_coco(tmp_path / "set", lambda path, number: write_mixture(path, 1), ".jpg")
    exif = Image.Exif()
    exif[274] = 8
    for path in (root / "train").iterdir():
        Image.fromarray(np.zeros((SIZE[0] + 1, SIZE[1], 3), np.uint8)).save(path, exif=exif)
    with pytest.raises(DatasetError, match=r"is 60×41 \(41×60 turned by its EXIF orientation 8\), but .* says 60×40"):
        mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=0.0))


def test_run_lengths_are_of_the_picture_they_come_into(tmp_path):
    """A partner's instance that shows whole in its place keeps its words only on a canvas of its own size."""
    root = tmp_path / "set"
    (root / "train").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, annotations = [], []
    for number in range(6):
        size = (40, 60) if number % 2 else (50, 70)
        Image.fromarray(np.full((*size, 3), 40 * number, dtype=np.uint8)).save(root / "train" / f"p{number}.png")
        mask = np.zeros(size, dtype=np.uint8, order="F")
        mask[12:15, 20:24] = 1
        code = coco_masks.encode(mask)
        code["counts"] = code["counts"].decode()
        images.append({"id": number, "file_name": f"p{number}.png", "height": size[0], "width": size[1]})
        entry = {"id": number, "image_id": number, "category_id": 1, "bbox": [20, 12, 4, 3], "area": 12, "iscrowd": 1}
        annotations.append({**entry, "segmentation": code})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "crowd"}]}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    mix_dataset(open_complete(root), tmp_path / "copy", cd.CutMix(p=1.0), copies=6)
    written = json.loads((tmp_path / "copy" / "annotations" / "instances_train.json").read_text())
    sizes = {entry["id"]: [entry["height"], entry["width"]] for entry in written["images"]}
    assert len(written["annotations"]) > 20
    for annotation in written["annotations"]:
        assert annotation["segmentation"]["size"] == sizes[annotation["image_id"]]
    for _, target in open_complete(tmp_path / "copy"):
        assert target["masks"].sum(dim=(1, 2)).gt(0).all()
