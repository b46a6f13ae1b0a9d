"""The readers of data sets: one file of a tiny valid set is replaced by the input, then everything is read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cutmix_dense import CutMix
from cutmix_dense.data import open_dataset
from cutmix_dense.data.class_tables import VOC_CLASSES
from cutmix_dense.data.errors import SampleError
from cutmix_dense.data.masks import encode_rle
from cutmix_dense.data.mixed_sample import open_complete
from cutmix_dense.data.writers import VocWriter

from .invariants import check_mixed, check_sample, check_words
from .mutators import behind_a_byte, edit_json, edit_png, edit_words, edit_xml
from .target import CALLING, READING, Target

SIZE = (12, 16)


def png(ids: np.ndarray, form: str = "PNG") -> bytes:
    """A small picture as a file."""
    stream = io.BytesIO()
    Image.fromarray(ids).save(stream, form)
    return stream.getvalue()


def picture(seed: int = 0) -> np.ndarray:
    """Random RGB pixels of `SIZE`."""
    return np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def put(path: Path, content: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read_all(open_it: Callable[[], Any], folder: Path) -> None:
    """Open a data set and read every sample; errors name a file of it, samples keep their promises and can be mixed."""
    samples = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = open_it()
        except READING as error:
            check_words(error, folder)
            return
        for index in range(min(len(dataset), 6)):
            with contextlib.suppress(SampleError):
                path = os.path.abspath(dataset.image_path(index))
                assert path.startswith(f"{folder}{os.sep}"), path
            try:
                image, target = dataset[index]
            except SampleError as error:
                check_words(error, folder)
                continue
            check_sample(image, target, len(dataset.classes))
            samples.append((image, target))
        if len(samples) > 1:
            images, targets = map(list, zip(*samples))
            with contextlib.suppress(*CALLING):
                mixed = CutMix(layout=dataset.mix_layout)(images, targets)
                if dataset.mix_layout == "BCHW":
                    check_mixed(*mixed)


COCO = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "height": 12, "width": 16},
        {"id": 2, "file_name": "b.jpg", "height": 12, "width": 16},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 3,
            "bbox": [1, 2, 5, 6],
            "area": 30.0,
            "iscrowd": 0,
            "segmentation": [[1, 2, 6, 2, 6, 8, 1, 8]],
        },
        {
            "id": 2,
            "image_id": 2,
            "category_id": 5,
            "bbox": [0, 0, 16, 6],
            "iscrowd": 1,
            "segmentation": {"size": [12, 16], "counts": [0, 6, 186]},
        },
        {
            "id": 3,
            "image_id": 2,
            "category_id": 3,
            "bbox": [0, 0, 16, 6],
            "segmentation": encode_rle(np.arange(192).reshape(SIZE) < 90),
        },
    ],
    "categories": [{"id": 3, "name": "ant"}, {"id": 5, "name": "zebra"}],
}


def coco_json(folder: Path) -> Target:
    """COCO's instances file."""
    for name in ("a", "b"):
        put(folder / "train" / f"{name}.jpg", png(picture(), "JPEG"))
    path = folder / "annotations" / "instances_train.json"

    def run(data: bytes) -> None:
        put(path, data)
        read_all(lambda: open_dataset(folder, "coco", "train"), folder)

    return Target(run, [json.dumps(COCO).encode()], edit_json)


PANOPTIC = {
    "images": COCO["images"],
    "annotations": [
        {
            "image_id": image["id"],
            "file_name": f"{image['file_name'][0]}.png",
            "segments_info": [
                {"id": 7, "category_id": 3, "iscrowd": 0, "bbox": [0, 0, 16, 6], "area": 96},
                {"id": 300, "category_id": 5, "iscrowd": 0, "bbox": [0, 6, 16, 6], "area": 96},
            ],
        }
        for image in COCO["images"]
    ],
    "categories": [{"id": 3, "name": "ant", "isthing": 1}, {"id": 5, "name": "sky", "isthing": 0}],
}


def coco_panoptic(folder: Path) -> Target:
    """COCO's panoptic file (first byte even) or one of its maps (odd)."""
    colors = np.zeros((*SIZE, 3), dtype=np.uint8)
    colors[:6, :, 0] = 7
    colors[6:, :, :2] = 44, 1
    for name in ("a", "b"):
        put(folder / "train" / f"{name}.jpg", png(picture(), "JPEG"))
    valid = json.dumps(PANOPTIC).encode()
    places = folder / "annotations" / "panoptic_train.json", folder / "annotations" / "panoptic_train" / "a.png"
    maps = png(colors)
    put(places[1].with_name("b.png"), maps)

    def run(data: bytes) -> None:
        odd = bool(data[:1] and data[0] % 2)
        put(places[0], valid if odd else data[1:])
        put(places[1], data[1:] if odd else maps)
        read_all(lambda: open_dataset(folder, "coco_panoptic", "train"), folder)

    def edit(data: bytes, most: int, seed: int) -> bytes:
        return (edit_png if data[:1] == b"\x89" else edit_json)(data, most, seed)

    return Target(run, [b"\0" + valid, b"\1" + maps], behind_a_byte(edit))


VOC = (
    "<annotation><folder>VOC2012</folder><filename>a.jpg</filename><size><width>16</width><height>12</height><depth>3"
    "</depth></size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax>"
    "<ymax>10</ymax></bndbox></object><object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>16</xmax>"
    "<ymax>12</ymax></bndbox></object></annotation>"
)


def voc_xml(folder: Path) -> Target:
    """One of two XML files of PASCAL VOC; the list and the maps of the set are read, too."""
    voc_set(folder)

    def run(data: bytes) -> None:
        put(folder / "Annotations" / "a.xml", data)
        for task in ("detection", "instances", "all"):
            read_all(lambda task=task: open_dataset(folder, "voc", "train", task=task), folder)

    return Target(run, [VOC.encode()], edit_xml)


VOC_POLYGONS = (
    "<annotation><filename>../x</filename><imagesize><nrows>12</nrows><ncols>16</ncols></imagesize><source><image>i"
    "</image></source><object><name>cat</name><pose/><difficult>Unspecified</difficult><polygon><x1>2</x1><y1>2</y1><x2>9"
    "</x2><y2>2</y2><x3>5.5</x3><y3>8</y3></polygon><part><name>head</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>4"
    "</xmax><ymax>5</ymax></bndbox></part><attributes><attribute><name>rotation</name><value>3</value></attribute>"
    "</attributes></object><object><name>dog</name><deleted>0</deleted><polygon><pt><x>1</x><y>1</y></pt><pt><x>16</x>"
    "<y>1</y></pt><pt><x>16</x><y>12</y></pt></polygon><point><x>1</x><y>2</y></point></object></annotation>"
)


def voc_flat(folder: Path) -> Target:
    """One of two XML files beside their pictures, with polygons and details; what is read of it is written, too."""
    for name in ("a", "b"):
        put(folder / "set" / f"{name}.jpg", png(picture(), "JPEG"))
        put(folder / "set" / f"{name}.xml", VOC_POLYGONS.encode())

    def run(data: bytes) -> None:
        put(folder / "set" / "a.xml", data)
        for task in ("detection", "instances"):
            read_all(lambda task=task: open_dataset(folder / "set", task=task, details=True), folder)
        write_all(folder / "set", folder / "copy")

    return Target(run, [VOC_POLYGONS.encode(), VOC.encode()], edit_xml)


def write_all(root: Path, copy: Path) -> None:
    """Copy a VOC set as it is: the copy has the same objects."""
    shutil.rmtree(copy, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = open_dataset(root, task="instances", details=True)
            writer = VocWriter.like(dataset, copy, "train")
        except (*READING, ValueError):
            return
        keys, counts = [], []
        for index, key in enumerate("ab"[: len(dataset)]):
            with contextlib.suppress(SampleError):
                image, target = dataset[index]
                writer.add(key, image, target, dataset.picture(index))
                keys.append(key)
                counts.append(len(target["labels"]))
        writer.finish(keys)
        again = open_dataset(copy, "voc", "train")
        assert [len(again[i][1]["labels"]) for i in range(len(keys))] == counts


def voc_set(folder: Path) -> dict[Path, bytes]:
    """A set of PASCAL VOC of two images, whose objects have masks: its files but the pictures, written and returned."""
    ids = np.zeros(SIZE, dtype=np.uint8)
    ids[2:10, 1:9] = 1
    files = {folder / "ImageSets" / kind / "train.txt": b"a\nb\n" for kind in ("Main", "Segmentation")}
    for name in ("a", "b"):
        put(folder / "JPEGImages" / f"{name}.jpg", png(picture(), "JPEG"))
        files[folder / "Annotations" / f"{name}.xml"] = VOC.encode()
        files[folder / "SegmentationObject" / f"{name}.png"] = png(ids)
        files[folder / "SegmentationClass" / f"{name}.png"] = png(ids * 8)
    for path, content in files.items():
        put(path, content)
    return files


ONE_OBJECT = VOC[: VOC.index("<object><name>dog")] + "</annotation>"


def voc_lists(folder: Path) -> Target:
    """One of VOC's lists, the names of the classes, or a map of classes or objects, as the first byte says."""
    files = voc_set(folder)
    for name in ("a", "b"):
        put(folder / "Annotations" / f"{name}.xml", ONE_OBJECT.encode())
    files = {path: content for path, content in files.items() if path.stem in ("train", "a") and path.suffix != ".xml"}
    files[folder / "classes.txt"] = "\n".join(VOC_CLASSES).encode()

    def run(data: bytes) -> None:
        chosen = list(files)[data[0] % len(files) if data else 0]
        for path, valid in files.items():
            put(path, data[1:] if path == chosen else valid)
        for task in (None, "detection", "segmentation"):
            read_all(lambda task=task: open_complete(folder, "voc", "train", task=task), folder)

    def edit(data: bytes, most: int, seed: int) -> bytes:
        return (edit_png if data[:1] == b"\x89" else edit_words)(data, most, seed)

    return Target(run, [bytes([i]) + valid for i, valid in enumerate(files.values())], behind_a_byte(edit))


def cityscapes_png(folder: Path) -> Target:
    """The picture, the labels or the instances of a frame, as the first byte says."""
    ids = np.zeros(SIZE, dtype=np.uint8)
    ids[2:10, 1:9] = 26
    labels, instances = png(ids), png(ids.astype(np.uint16) * 1000 + 1)
    stem = folder / "gtFine" / "train" / "aachen"
    places = {
        folder / "leftImg8bit" / "train" / "aachen" / "aachen_0_0_leftImg8bit.png": png(picture()),
        stem / "aachen_0_0_gtFine_labelIds.png": labels,
        stem / "aachen_0_0_gtFine_instanceIds.png": instances,
    }

    def run(data: bytes) -> None:
        chosen = list(places)[data[0] % 3 if data else 0]
        for path, valid in places.items():
            put(path, data[1:] if path == chosen else valid)
        for ids in ("train", "raw"):
            read_all(lambda ids=ids: open_dataset(folder, "cityscapes", "train", label_ids=ids), folder)

    return Target(run, [bytes([i]) + valid for i, valid in enumerate(places.values())], behind_a_byte(edit_png))


YOLO = """path: ../set
train: ../train/images
val: [val.txt, train/images]
names: {0: ant, 1: "zebra"}
"""
YOLO_LINES = "0 0.5 0.5 0.5 0.25\n1 0.1 0.1 0.9 0.1 0.5 0.8\n1 0.2 0.2 0.8 0.2 0.8 0.6 0.2 0.6\n0 0.5 0.5 0.2 0.2 0.9\n"
YOLO_POSE = YOLO + "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n"
YOLO_POSES = "0 0.5 0.5 0.5 0.25 0.1 0.2 2 0 0 0\n1 0.5 0.5 0.5 0.5\n"


def yolo_text(folder: Path) -> Target:
    """A label file, data.yaml, a list of images or of classes of YOLO, with keypoints or not, by the first byte."""
    for name in ("a", "b"):
        put(folder / "train" / "images" / f"{name}.jpg", png(picture(), "JPEG"))
    places = [folder / "train" / "labels" / "a.txt", folder / "data.yaml", folder / "val.txt", folder / "classes.txt"]
    texts = [YOLO_LINES, YOLO, "./train/images/b.jpg\ndata/train/images/a.jpg\n", "ant\nzebra\n"]
    poses = [YOLO_POSES, YOLO_POSE, *texts[2:]]
    put(folder / "train" / "labels" / "b.txt", b"")

    def run(data: bytes) -> None:
        first = data[0] if data else 0
        chosen = first % 4
        for number, (path, valid) in enumerate(zip(places, texts if first < 128 else poses)):
            put(path, data[1:] if number == chosen else valid.encode())
        if chosen == 3:
            places[1].unlink()
        for split, task in (("train", None), ("val", "detect"), ("val", "obb"), ("train", "segment")):
            read_all(lambda split=split, task=task: open_dataset(folder, "yolo", split, task=task), folder)

    seeds = [bytes([i]) + text.encode() for i, text in enumerate(texts)]
    return Target(
        run,
        [*seeds, *(bytes([128 + i]) + text.encode() for i, text in enumerate(poses[:2]))],
        behind_a_byte(edit_words),
    )


TABLES = {
    "labelmap.txt": b"# label:color_rgb:parts:actions\nnone:0,0,0::\nant:9,8,7::\n",
    "class_dict.csv": b"name,r,g,b\nnone,0,0,0\nant,9,8,7\n",
    "classes.txt": b"0 none\n1 ant\n2 bee (ignore)\n",
    "dataset_meta.json": b'{"label_map": {"0": "none", "1": "ant"}, "segmentation_colors": [[0, 0, 0], [9, 8, 7]]}',
    "splits/train.txt": b"a\nimages/b.jpg masks/b.png\n",
}


def image_masks(folder: Path) -> Target:
    """One of two masks, of ids or of colours, or one of the tables and lists beside them, as the first byte says."""
    ids = np.arange(192, dtype=np.uint8).reshape(SIZE) % 2
    colors = np.where(ids[..., None] == 1, np.array([9, 8, 7]), 0).astype(np.uint8)
    for name in ("a", "b"):
        put(folder / "images" / f"{name}.jpg", png(picture(), "JPEG"))
    masks = [png(ids), png(ids * 255), png(colors)]
    names = [None, None, None, *TABLES]

    def run(data: bytes) -> None:
        number = data[0] % len(names) if data else 0
        chosen = names[number]
        for name, valid in TABLES.items():
            if name in (chosen, "splits/train.txt") or (number == 2 and name == "labelmap.txt"):
                put(folder / name, data[1:] if name == chosen else valid)
            else:
                (folder / name).unlink(missing_ok=True)
        other = masks[number if chosen is None else 0 if chosen in ("classes.txt", "splits/train.txt") else 2]
        put(folder / "masks" / "a.png", data[1:] if chosen is None else other)
        put(folder / "masks" / "b.png", other)
        for binary in (None, True):
            read_all(lambda binary=binary: open_dataset(folder, "image_masks", "train", binary=binary), folder)

    def edit(data: bytes, most: int, seed: int) -> bytes:
        return (edit_png if data[:1] == b"\x89" else edit_words)(data, most, seed)

    valid = [*masks, *TABLES.values()]
    return Target(run, [bytes([i]) + content for i, content in enumerate(valid)], behind_a_byte(edit))
