"""Data sets on disk whose pixels say which picture they are of, and where; and what a Runner makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.runner import Runner
from trainings import visit

WIDTH, HEIGHT = 1333, 800
"""The size that MMDetection's pipelines resize to: they leave these pictures as they are."""
COUNT = 6
NAMES = ("person", "bicycle", "car", "motorcycle", "airplane", "bus")
BOXES = ((60, 40, 560, 360), (700, 60, 1260, 420), (90, 430, 640, 760), (420, 280, 900, 620))
"""x, y, x, y in every picture, with its number as their class."""


def coded_picture(number: int) -> np.ndarray:
    """Its number, x and y in the 24 bits of every pixel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    code = (number + 1) << 21 | y << 11 | x
    return np.stack([code & 255, code >> 8 & 255, code >> 16], axis=2).astype(np.uint8)


def decoded(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, x and y of every pixel of a mixed picture (H, W, 3), as it was on disk; −1 for no picture's."""
    code = (picture.astype(np.int64) << np.array([0, 8, 16])).sum(axis=2)
    return (code >> 21) - 1, code & 2047, code >> 11 & 1023


def draw_coco(root: Path) -> Path:
    """Coded pictures in COCO's layout."""
    (root / "annotations").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    images = []
    for number in range(COUNT):
        mmcv.imwrite(coded_picture(number), str(root / "train2017" / f"{number}.png"))
        images.append({"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH})
        for x0, y0, x1, y1 in BOXES:
            box = [x0, y0, x1 - x0, y1 - y0]
            corners = [[x0, y0, x1, y0, x1, y1, x0, y1]]
            rows.append({"id": len(rows), "image_id": number, "category_id": number, "bbox": box, "iscrowd": 0})
            rows[-1] |= {"area": box[2] * box[3], "segmentation": corners}
    names = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    content = {"images": images, "annotations": rows, "categories": names}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return root


COLOURS = [(60 + 25 * a, 60 + 40 * b, 60 + 45 * c) for a, b, c in np.ndindex(4, 3, 2)]


def draw_cityscapes(root: Path) -> Path:
    """Pictures of four flat quarters each, of a colour and a class that no other quarter of any picture has."""
    for number in range(4):
        colours = np.array(COLOURS, dtype=np.uint8)[4 * number : 4 * number + 4].reshape(2, 2, 3)
        classes = np.arange(4 * number, 4 * number + 4, dtype=np.uint8).reshape(2, 2)
        picture, ids = (part.repeat(512, axis=0).repeat(1024, axis=1) for part in (colours, classes))
        place = Path("train") / "town" / f"town_{number:06}_000000"
        mmcv.imwrite(picture, str(root / "leftImg8bit" / f"{place}_leftImg8bit.png"))
        mmcv.imwrite(ids, str(root / "gtFine" / f"{place}_gtFine_labelTrainIds.png"))
    return root


def draw_voc(root: Path) -> Path:
    """The same pictures in VOC's layout."""
    cityscapes = draw_cityscapes(root / "cityscapes")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for path in sorted(cityscapes.glob("leftImg8bit/*/*/*.png")):
        name = path.stem.removesuffix("_leftImg8bit")
        (map_path,) = cityscapes.glob(f"gtFine/*/*/{name}_*.png")
        mmcv.imwrite(mmcv.imread(path), str(root / "JPEGImages" / f"{name}.jpg"), [1, 100])
        ids = mmcv.imread(map_path, flag="unchanged")
        for folder in ("SegmentationClass", "SegmentationClassAug"):
            mmcv.imwrite(ids, str(root / folder / f"{name}.png"))
        for split in ("train", "aug"):
            with (root / "ImageSets" / "Segmentation" / f"{split}.txt").open("a") as file:
                file.write(f"{name}\n")
    return root


def runner_of(config: Any, data: Path, folder: Path, *, batch_size: int | None = None) -> Runner:
    """The Runner of a config, with drawn data and no workers; nothing else of it changes."""
    for step in visit(config.train_dataloader):
        if "data_root" in step:
            step["data_root"] = f"{data}/"
        if step.get("type") == "CocoDataset":
            step["metainfo"] = {"classes": NAMES}
    config.train_dataloader.update({"num_workers": 0, "persistent_workers": False})
    config.train_dataloader.batch_size = batch_size or config.train_dataloader.batch_size
    for part in ("val", "test"):
        config[f"{part}_dataloader"] = config[f"{part}_cfg"] = config[f"{part}_evaluator"] = None
    config.visualizer.vis_backends = []
    config.work_dir, config.experiment_name, config.log_level = str(folder), folder.name, "ERROR"
    config.randomness = {"seed": 0}
    runner = Runner.from_cfg(config)
    runner.message_hub.update_info("iter", 0)
    return runner


def on_disk(preprocessor: torch.nn.Module, inputs: torch.Tensor) -> np.ndarray:
    """A preprocessor's output (B, 3, H, W) as pictures (B, H, W, 3) with the bytes of their files."""
    normalised = getattr(preprocessor, "_enable_normalize", False)
    images = inputs * preprocessor.std + preprocessor.mean if normalised else inputs
    turned = getattr(preprocessor, "_channel_conversion", getattr(preprocessor, "channel_conversion", False))
    images = images.flip(1) if turned else images
    return images.round().permute(0, 2, 3, 1).numpy().astype(np.int64)
