"""Where the data come from: tiny hand-made datasets, a small demo set, real sets beside the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cutmix_dense.data.demo import make_demo_set


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """A demo set of 30 + 6 scenes."""
    return make_demo_set(tmp_path_factory.mktemp("demo"), images=30, val=6, size=(96, 128), seed=3)


def save_image(path: Path, size: tuple[int, int] = (40, 60), seed: int = 0) -> Path:
    """A JPEG of (H, W) with something in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG" if path.suffix == ".png" else "JPEG")
    return path


@pytest.fixture
def make_coco(tmp_path):
    """Write a COCO dataset of two 40×60 images and the given annotations; returns its root."""

    def make(annotations: list[dict[str, Any]], **changes: Any) -> Path:
        content = {
            "images": [
                {"id": 7, "file_name": "a.jpg", "height": 40, "width": 60},
                {"id": 3, "file_name": "b.jpg", "height": 40, "width": 60},
            ],
            "annotations": annotations,
            "categories": [{"id": 90, "name": "zebra"}, {"id": 4, "name": "ant"}],
        }
        content.update(changes)
        content = {key: value for key, value in content.items() if value is not None}
        for name in ("a.jpg", "b.jpg"):
            save_image(tmp_path / "train" / name)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
        return tmp_path

    return make


OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult>"
    "<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)


@pytest.fixture
def make_voc(tmp_path):
    """Write a VOC dataset of 40×60 images from {name: [(class, box, difficult)]} or {name: xml}; returns its root."""

    def make(samples: dict[str, Any], base: str = ".") -> Path:
        folder = tmp_path / base
        for name, objects in samples.items():
            save_image(folder / "JPEGImages" / f"{name}.jpg")
            xml = objects
            if not isinstance(objects, str):
                inner = "".join(OBJECT.format(*box, name=kind, difficult=hard) for kind, box, hard in objects)
                size = "<size><width>60</width><height>40</height><depth>3</depth></size>"
                xml = f"<annotation><filename>{name}.jpg</filename>{size}{inner}</annotation>"
            (folder / "Annotations").mkdir(exist_ok=True)
            (folder / "Annotations" / f"{name}.xml").write_text(xml)
        for kind in ("Main", "Segmentation"):
            (folder / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
            (folder / "ImageSets" / kind / "train.txt").write_text("".join(f"{name}\n" for name in samples))
        return tmp_path

    return make


@pytest.fixture
def make_cityscapes(tmp_path):
    """Write a Cityscapes frame from its label and instance maps; returns the root."""

    def make(key: str, labels: np.ndarray, instances: np.ndarray | None = None) -> Path:
        city = key.split("_")[0]
        save_image(tmp_path / "leftImg8bit" / "train" / city / f"{key}_leftImg8bit.png", labels.shape)
        folder = tmp_path / "gtFine" / "train" / city
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels.astype(np.uint8)).save(folder / f"{key}_gtFine_labelIds.png")
        if instances is not None:
            Image.fromarray(instances.astype(np.uint16)).save(folder / f"{key}_gtFine_instanceIds.png")
        return tmp_path

    return make
