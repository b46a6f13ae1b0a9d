"""Shipped configs made small enough to train here, and the data sets that they train on."""

from __future__ import annotations

import importlib.util
import math
import shutil
from pathlib import Path

import mmcv
import pytest
from mmengine.config import Config

from cutmix_dense.data.class_tables import id_to_train_id
from cutmix_dense.data.demo import make_demo_set

ROOT = Path(__file__).resolve().parents[2]

RCNN_COCO = "mmdet/faster-rcnn_r50_fpn_cutmix_1x_coco.py"
RCNN_VOC = "mmdet/faster-rcnn_r50_fpn_cutmix_1x_voc0712.py"
RETINA = "mmdet/retinanet_r18_fpn_cutmix-batch_1x_coco.py"
RETINA_WEIGHED = "mmdet/retinanet_r18_fpn_cutmix-weighed_1x_coco.py"
RTMDET = "mmdet/rtmdet_tiny_mosaic-mixup_8xb32-300e_coco.py"
RTMDET_640 = "mmdet/rtmdet_tiny_mosaic640-mixup_8xb32-300e_coco.py"
MASK_RCNN = "mmdet/mask-rcnn_r50_fpn_copypaste_1x_coco.py"
DEEPLAB = "mmseg/deeplabv3plus_r18-d8_cutmix_80k_cityscapes-512x1024.py"
SEGFORMER = "mmseg/segformer_mit-b0_classmix-batch_160k_cityscapes-1024x1024.py"
DEEPLAB_VOC = "mmseg/deeplabv3plus_r50-d8_classmix_20k_voc12aug-512x512.py"
DEEPLAB_VOC_BATCH = "mmseg/deeplabv3plus_r50-d8_cutmix-batch_20k_voc12aug-512x512.py"


# data


def add_train_ids(root):
    """The labelTrainIds that MMSegmentation reads, beside every labelIds."""
    for path in root.glob("gtFine/*/*/*_labelIds.png"):
        ids = mmcv.imread(str(path), flag="unchanged")
        mmcv.imwrite(id_to_train_id()[ids], str(path).replace("labelIds", "labelTrainIds"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The demo set in all layouts."""
    root = make_demo_set(tmp_path_factory.mktemp("demo"), images=16, val=0, size=(120, 160), workers=1)
    add_train_ids(root / "cityscapes")
    (root / "VOCdevkit").mkdir()
    (root / "VOCdevkit" / "VOC2012").symlink_to(root / "voc")
    return root


@pytest.fixture(scope="session")
def camvid(real, tmp_path_factory):
    """Some frames of CamVid, mapped onto the Cityscapes layout by the script in datasets/."""
    source, few = real("camvid"), tmp_path_factory.mktemp("camvid")
    for folder in ("train", "trainannot"):
        (few / folder).mkdir()
        for path in sorted((source / folder).iterdir())[:8]:
            shutil.copy(path, few / folder)
    spec = importlib.util.spec_from_file_location("prepare_camvid", ROOT / "datasets" / "prepare_camvid.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    root = tmp_path_factory.mktemp("camvid_cityscapes")
    assert script.prepare(few, root, "train") == (8, [])
    add_train_ids(root)
    return root


def coco(root, split, classes=None):
    """A COCO dataset's settings."""
    settings = {
        "data_root": f"{root}/",
        "ann_file": f"annotations/instances_{split}.json",
        "data_prefix": {"img": f"{split}/"},
    }
    return {**settings, "metainfo": {"classes": classes}} if classes else settings


def voc(devkit, classes):
    """A VOC dataset's settings, for detection."""
    return {
        "data_root": f"{devkit}/",
        "ann_file": "VOC2012/ImageSets/Main/train.txt",
        "data_prefix": {"sub_data_root": "VOC2012/"},
        "metainfo": {"classes": classes},
    }


def voc_maps(root):
    """A VOC dataset's settings, for segmentation; its classes are VOC's first ones."""
    return {
        "data_root": str(root),
        "ann_file": "ImageSets/Segmentation/train.txt",
        "data_prefix": {"img_path": "JPEGImages", "seg_map_path": "SegmentationClass"},
    }


# small configs


def hooks_of(config):
    """The settings of a config's hooks."""
    return [*config.get("custom_hooks", ()), *(hook for hook in config.default_hooks.values() if hook)]


def visit(value):
    """Every dict in a config, the outer ones first."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from visit(item)


def small(name, data, folder, divisor, **dataloader):
    """A shipped config, on other data, with images ``divisor`` times smaller, for four iterations of two images."""
    return shrunk(Config.fromfile(ROOT / "configs" / name), data, folder, divisor, **dataloader)


def shrunk(config, data, folder, divisor, **dataloader):
    """Any config of the frameworks likewise."""
    for part in visit(config.model):
        for key, value in part.items():
            if key == "pretrained" or (isinstance(value, dict) and value.get("type") == "Pretrained"):
                part[key] = None
    for step in visit([config.train_dataloader, config.model, config.get("custom_hooks", [])]):
        for key in ("scale", "crop_size", "size"):
            numbers = step.get(key)
            if isinstance(numbers, (tuple, list)) and all(isinstance(number, int) for number in numbers):
                step[key] = tuple(math.ceil(number / divisor) for number in numbers)
        if step.get("type", "").startswith("cutmix_dense.") and "p" in step:
            step["p"] = 1.0
        if step.get("type") == "RandomSampler":
            step["num"] = 32  # 512 regions an image are minutes on a CPU
        if step.get("type") == "RepeatDataset":
            step["times"] = 1
        if "ann_file" in step or step.get("type") == "CityscapesDataset":
            step.update(data, indices=4)
        if "num_classes" in step and data.get("metainfo"):
            step["num_classes"] = len(data["metainfo"]["classes"])
    is_epochs = config.train_cfg.type == "EpochBasedTrainLoop"
    config.train_cfg = {"by_epoch": is_epochs, **({"max_epochs": 2} if is_epochs else {"max_iters": 4})}
    for hook in hooks_of(config):
        hook.update({key: last for key, last in (("num_last_epochs", 1), ("num_last_iters", 2)) if key in hook})
        hook.update({"switch_epoch": 1} if "switch_epoch" in hook else {})
    for part in ("val", "test"):
        config[f"{part}_dataloader"] = config[f"{part}_cfg"] = config[f"{part}_evaluator"] = None
    config.default_hooks.checkpoint = None
    del config.default_hooks["visualization"]
    config.visualizer.vis_backends = []
    config.train_dataloader.update({"batch_size": 2, "num_workers": 0, "persistent_workers": False, **dataloader})
    config.work_dir, config.experiment_name, config.log_level = str(folder), folder.name, "WARNING"
    config.randomness = {"seed": 0}
    return config
