"""Hostile pictures, masks, paths and journals: nothing takes more memory than it may, nothing is written elsewhere."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutmix_dense import CutMix
from cutmix_dense.data import DatasetError, SampleError, open_dataset
from cutmix_dense.data.maps import read_color_ids, read_indices
from cutmix_dense.data.masks import check_room, decode_segmentation
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.pictures import read_picture

ANNOTATION = {"id": 1, "image_id": 3, "category_id": 4, "bbox": [1, 2, 5, 6]}
ESCAPES = ["../secret.jpg", "../../etc/passwd", "/etc/passwd", "..\\secret.jpg", "a/../../secret.jpg", "", "."]
READERS = {
    "rgb": read_picture,
    "indices": lambda path: read_indices(path, (40, 60)),
    "colors": lambda path: read_color_ids(path, (40, 60)),
}


def chunk(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    """A chunk of a PNG, which may lie about its length."""
    size = struct.pack(">I", len(body) if length is None else length)
    return size + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, color: int, *, text: int | None = None) -> bytes:
    """A PNG of a few bytes that declares a size, and a text of `text` bytes behind its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))
    row = 1 + width * (3 if color == 2 else 1)
    pixels = chunk(b"IDAT", zlib.compress(bytes(min(row * height, 10_000))))
    lie = b"" if text is None else chunk(b"tEXt", b"", text)
    return b"\x89PNG\r\n\x1a\n" + header + pixels + lie + chunk(b"IEND", b"")


def saved(form: str, mode: str = "RGB") -> bytes:
    """A picture of noise, 40×60."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(stream, form)
    return stream.getvalue()


# ------------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (0, 5)])
@pytest.mark.parametrize("color", [0, 2])
def test_a_declared_size_takes_no_memory(tmp_path, read, width, height, color):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(width, height, color))
    Image.init()  # imports what would count
    tracemalloc.start()
    try:
        with pytest.raises(SampleError, match=r"bomb\.png"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_declared_chunk_takes_no_memory(tmp_path):
    path = tmp_path / "chunk.png"
    path.write_bytes(png(60, 40, 2, text=2**31 - 1))
    Image.init()  # imports what would count
    tracemalloc.start()
    try:
        with pytest.raises(SampleError, match=r"chunk\.png"):
            read_picture(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_map_of_another_size_is_not_decoded(tmp_path, monkeypatch):
    path = tmp_path / "map.png"
    path.write_bytes(png(12_000, 12_000, 0))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("was decoded"))
    with pytest.raises(SampleError, match="the map is 12000×12000, its image is 60×40"):
        read_indices(path, (40, 60))


@pytest.mark.parametrize("task", ["segmentation", "instances"])
@pytest.mark.parametrize(
    ("largest", "form"), [(256, np.uint16), (65535, np.uint16), (2**31 - 1, np.int32), (-1, np.int32)]
)
@pytest.mark.parametrize("kind", ["SegmentationClass", "SegmentationObject"])
def test_ids_beyond_a_byte_are_no_classes_of_voc(make_voc, kind, largest, form, task):
    """They would come out as other classes, 256 as the background; counting up to them takes gigabytes."""
    root = make_voc({"a": [("cat", (1, 1, 9, 9), 0)]})
    for each in ("SegmentationClass", "SegmentationObject"):
        ids = np.ones((40, 60), dtype=form if each == kind else np.uint8)
        ids[3, 4] = largest if each == kind else 1
        (root / each).mkdir()
        Image.fromarray(ids).save(root / each / "a.png", "TIFF")  # a PNG holds 16 bits at most
    dataset = open_dataset(root, "voc", task=task, classes=["cat"])
    if task == "segmentation" and kind == "SegmentationObject":
        assert int(dataset[0][1]["semantic"].max()) == 1  # the map is not read
        return
    with pytest.raises(
        SampleError, match=rf"{kind}/a\.png: the ids of a map must be in 0 … 255, these are .*{largest}"
    ):
        dataset[0]


def test_masks_that_fill_the_memory_are_not_made(make_coco, make_voc, make_cityscapes, monkeypatch):
    """A map of 16 bits and a few kilobytes can name 65535 instances, a JSON file any number."""
    check_room("masks", 2048, (1024, 2048))
    with pytest.raises(ValueError, match=r"2049 masks of 2048×1024 take 4\.0 GiB, 4 are the most"):
        check_room("masks", 2049, (1024, 2048))
    monkeypatch.setattr("cutmix_dense.data.masks._ROOM", 3 * 40 * 60)
    told = "{} masks of 60×40 take"
    square = [[1, 2, 6, 2, 6, 8, 1, 8]]
    coco = [
        {**ANNOTATION, "id": number, "image_id": 3 if number < 4 else 7, "segmentation": square} for number in range(7)
    ]
    dataset = open_dataset(make_coco(coco), "coco")
    with pytest.raises(SampleError, match=rf"b\.jpg: {told.format(4)}"):
        dataset[0]
    assert len(dataset[1][1]["masks"]) == 3
    ids = np.repeat(np.arange(4, dtype=np.uint8), 10)[:, None].repeat(60, axis=1)
    root = make_voc({"a": []}, base="voc")
    for kind, pixels in {"SegmentationClass": ids, "SegmentationObject": ids + 1}.items():
        (root / "voc" / kind).mkdir()
        Image.fromarray(pixels).save(root / "voc" / kind / "a.png")
    with pytest.raises(SampleError, match=rf"SegmentationObject/a\.png: {told.format(4)}"):
        open_dataset(root / "voc", "voc", task="instances")[0]
    root = make_cityscapes("aachen_0_0", np.full((40, 60), 26), 26_000 + ids.astype(np.uint16))
    with pytest.raises(SampleError, match=rf"aachen_0_0_gtFine_instanceIds\.png: {told.format(4)}"):
        open_dataset(root, "cityscapes")[0]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0, 0.05, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_picture_is_named(tmp_path, form, share):
    whole, path = saved(form), tmp_path / "cut.png"
    path.write_bytes(whole[: int(share * len(whole))])
    for read in READERS.values():
        with pytest.raises(SampleError, match=r"cut\.png: "):
            read(path)


def test_the_reason_is_the_same_every_time(tmp_path):
    """Pillow's own message holds an address in memory, and reports of copies must not differ."""
    path = tmp_path / "text.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(
        SampleError, match=r"text\.jpg: cannot identify image file: the file is cut off or broken, [a-z ]+$"
    ):
        read_picture(path)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_folder_in_place_of_a_picture_is_named(tmp_path, read):
    with pytest.raises(SampleError, match=tmp_path.name):
        read(tmp_path)


# ------------------------------------------------------------------------------------------------------- segmentations


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [12, 16], "counts": [-5, 197]},
        {"size": [12, 16], "counts": [2**32, 192]},
        {"size": [12, 16], "counts": [10**400]},
        {"size": [12, 16], "counts": [float("nan"), 192]},
        {"size": [12, 16], "counts": [191]},
        {"size": [12, 16], "counts": [["1"]]},
        {"size": [12, 16], "counts": "06f"},
        {"size": [12, 16], "counts": "0" * 5},
        {"size": [12, 16], "counts": "~~~~"},
        {"size": [12, 16], "counts": "\x00\x01"},
        {"size": [12, 16], "counts": "o" * 1000},
        {"size": [12, 16], "counts": "oooooooooooooooo0"},
        {"size": [12, 16], "counts": "é"},
        {"size": [12, 16], "counts": 5},
        {"size": [12, 16]},
        {"size": [16, 12], "counts": [192]},
        {"size": [10**9, 10**9], "counts": [192]},
        {"size": 12, "counts": [192]},
        {"counts": [192]},
        [[float("nan"), 1, 2, 3, 4, 5]],
        [[1e308, 1, 2, 3, 4, 5]],
        [[-1e308, 1, 2, 3, 4, 5]],
        [[10**400, 1, 2, 3, 4, 5]],
        [[1e5, 1, 2, 3, 4, 5]],
        [{"size": [12, 16]}],
        "06f5",
        7,
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_broken_segmentation_is_refused(segmentation):
    with pytest.raises(ValueError):
        decode_segmentation(segmentation, (12, 16))


def test_a_long_outline_is_refused():
    """Within the limit of every coordinate, but pycocotools would take 20 GB for the way between its corners."""
    zigzag = [value for step in range(500) for value in (-390_000 + step, 0, 390_000, step)]
    with pytest.raises(ValueError, match="longer than"):
        decode_segmentation([zigzag], (3000, 4000))


# --------------------------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize("name", ESCAPES)
def test_no_reader_leaves_its_folder(make_coco, name):
    images = [{"id": 7, "file_name": name}, {"id": 3, "file_name": "b.jpg"}]
    root = make_coco([ANNOTATION], images=images)
    (root / "secret.jpg").write_bytes(saved("JPEG"))
    dataset = open_dataset(root, "coco")
    with pytest.raises(SampleError, match="leads out of the folder"):
        dataset[1]
    assert len(dataset[0][1]["boxes"]) == 1


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_no_list_of_voc_leaves_its_folder(make_voc, name):
    root = make_voc({"a": []}, base="voc")
    (root / "voc" / "ImageSets" / "Main" / "train.txt").write_text(f"a\n{name}\n")
    dataset = open_dataset(root / "voc", "voc")
    with pytest.raises(SampleError, match="leads out of the folder"):
        dataset[1]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_of_hostile_data_holds_whole_samples_only(make_coco, tmp_path):
    images = [
        {"id": number, "file_name": name} for number, name in enumerate(["a.jpg", "b.jpg", "c.jpg", *ESCAPES[:4]])
    ]
    annotations = [{**ANNOTATION, "id": number, "image_id": number} for number in range(len(images))]
    annotations[1]["segmentation"] = [[1e308, 1, 2, 3, 4, 5]]
    root = make_coco(annotations, images=images)
    (root / "secret.jpg").write_bytes(saved("JPEG"))
    (root / "train" / "c.jpg").write_bytes(saved("JPEG")[:400])
    before, output = files_of(root), tmp_path.parent / f"{tmp_path.name}-copy"
    report = mix_dataset(open_dataset(root, "coco"), output, CutMix(), pool=1)
    assert report.written == 2  # a polygon that makes no sense costs itself, not its instance
    assert "annotation 1 of b.jpg: its segmentation is left out" in report.notes[0]["reason"]
    assert len(report.skipped) == len(images) - 2
    assert files_of(root) == before
    copy = open_dataset(output, "coco")
    assert [copy.image_path(i).name for i in range(len(copy))] == ["a-mix0.jpg", "b-mix0.jpg"]
    assert [(copy[i][0].shape, len(copy[i][1]["boxes"])) for i in range(2)] == [((3, 40, 60), 1)] * 2
    names = set(files_of(output)) - {"train/b-mix0.jpg"}
    assert names == {"mixed_copy.train.json", "annotations/instances_train.json", "train/a-mix0.jpg"}


def test_a_name_with_half_a_surrogate_pair_is_copied(make_coco, tmp_path):
    categories = [{"id": 4, "name": "an\ud800t"}]
    dataset = open_dataset(make_coco([ANNOTATION], categories=categories), "coco")
    output = tmp_path.parent / f"{tmp_path.name}-copy"
    assert mix_dataset(dataset, output, CutMix()).written == 2
    assert open_dataset(output, "coco").classes == ("background", "an\ud800t")


@pytest.mark.parametrize("letter", ["a", "é"])
def test_a_long_name_is_copied_under_a_shorter_one(make_coco, tmp_path, letter):
    """File systems take names of 255 bytes; a copy's own are longer than the image's."""
    name = letter * (250 // len(letter.encode())) + ".jpg"
    root = make_coco([ANNOTATION], images=[{"id": 3, "file_name": name}])
    (root / "train" / "a.jpg").rename(root / "train" / name)
    output = tmp_path.parent / f"{tmp_path.name}-copy"
    assert mix_dataset(open_dataset(root, "coco"), output, CutMix(), with_originals=True).written == 2
    copy = open_dataset(output, "coco")
    assert [copy.image_path(i).name for i in range(2)] == [f"{letter * 40}-0.jpg", f"{letter * 40}-0-mix0.jpg"]
    assert [len(copy[i][1]["boxes"]) for i in range(2)] == [1, 1]


@pytest.mark.parametrize("layout", ["voc", "cityscapes"])
def test_a_truncated_picture_costs_its_sample_alone(make_voc, make_cityscapes, tmp_path, layout):
    if layout == "voc":
        root = make_voc({"a": [], "b": []})
    else:
        for key in ("aachen_0_0", "aachen_1_0"):
            root = make_cityscapes(key, np.full((40, 60), 26, np.uint8), np.full((40, 60), 26_000, np.uint16))
    dataset = open_dataset(root, layout)
    broken = dataset.image_path(0)
    broken.write_bytes(broken.read_bytes()[:300])
    output = tmp_path.parent / f"{tmp_path.name}-copy"
    report = mix_dataset(dataset, output, CutMix(), pool=1)
    assert report.written == 1
    assert [row["as_base"] for row in report.broken] == [1]
    copy = open_dataset(output, layout)
    assert len(copy) == 1
    copy[0]


# ------------------------------------------------------------------------------------------------------------- journals


class Interrupted(Exception):
    pass


@pytest.mark.parametrize(
    "which", ["mixed_copy.train.json", ".mixed_copy.train/*.json", ".staging/train/records/*.json"]
)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"7", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"sample": {}, "files": ["../../../x"]}'],
    ids=lambda value: value[:40].decode("latin-1"),
)
def test_a_broken_journal_is_named(make_coco, tmp_path, which, content):
    dataset = open_dataset(make_coco([ANNOTATION]), "coco")
    output = tmp_path.parent / f"{tmp_path.name}-copy"

    def stop(done, total, record):
        if done == 1:
            raise Interrupted

    with pytest.raises(Interrupted):
        mix_dataset(dataset, output, CutMix(), on_progress=stop)
    (path,) = output.glob(which)
    usual = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=path.name.replace(".", r"\.")):
        mix_dataset(dataset, output, CutMix())
    assert not (output / "annotations").exists()
    path.write_bytes(usual)
    assert mix_dataset(dataset, output, CutMix()).written == 2


def test_a_broken_report_is_named(make_coco, tmp_path):
    dataset = open_dataset(make_coco([ANNOTATION]), "coco")
    output = tmp_path.parent / f"{tmp_path.name}-copy"
    path = mix_dataset(dataset, output, CutMix()).path
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: content[key] for key in ("parameters", "finished")}))
    with pytest.raises(DatasetError, match="is not the report of a mixed copy"):
        mix_dataset(dataset, output, CutMix())
