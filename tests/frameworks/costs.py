"""What mixing costs a batch in MMDetection's and MMSegmentation's preprocessors, and a sample in a loader's pipeline.

``PYTHONPATH=. <environment>/bin/python tests/frameworks/costs.py``, in the environment that ``.ci/frameworks`` makes.
Ratios of medians, with mixing over without, of turns that alternate in one process on one thread.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import mmcv
import mmdet.models
import mmdet.registry
import mmseg.models
import mmseg.registry
import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

import cutmix_dense.mmengine  # noqa: F401 – registers ours

TURNS = 25
NORMALISE = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "bgr_to_rgb": True}
MIX = [{"type": "cutmix_dense.CutMix", "p": 0.5}]


def boxes_in(height, width, count):
    """Random boxes inside an image."""
    corner = torch.rand(count, 2) * torch.tensor([0.6 * width, 0.6 * height])
    return torch.cat([corner, corner + 10 + torch.rand(count, 2) * torch.tensor([0.3 * width, 0.3 * height])], dim=1)


def detection(count, size):
    """A batch as MMDetection's loader gives it: 10 boxes an image."""
    samples = []
    for _ in range(count):
        sample = DetDataSample(metainfo={"img_shape": size, "ori_shape": size})
        sample.gt_instances = InstanceData(bboxes=boxes_in(*size, 10), labels=torch.randint(0, 80, (10,)))
        sample.ignored_instances = sample.gt_instances[:0]
        samples.append(sample)
    return {"inputs": list(torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)), "data_samples": samples}


def segmentation(count, size):
    """A batch as MMSegmentation's loader gives it."""
    samples = []
    for _ in range(count):
        sample = SegDataSample(metainfo={"img_shape": size, "ori_shape": size})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, *size), dtype=torch.uint8))
        samples.append(sample)
    return {"inputs": list(torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)), "data_samples": samples}


def ratio(plain, mixing, given, turns=TURNS):
    """Median times of the two, in turn; what they get is made anew and not timed."""
    times = {plain: [], mixing: []}
    for turn in range(turns + 5):
        for function in (plain, mixing) if turn % 2 else (mixing, plain):
            value = given()
            begin = time.perf_counter()
            function(value)
            times[function].append(time.perf_counter() - begin)
    without, with_mix = (statistics.median(times[function][5:]) for function in (plain, mixing))
    return with_mix / without


def batches(framework, name, batch, **settings):
    """The preprocessor of a framework and ours in both places."""
    init_default_scope(framework)
    registry = {"mmdet": mmdet.registry.MODELS, "mmseg": mmseg.registry.MODELS}[framework]
    plain = registry.build({"type": name, **NORMALISE, **settings})
    for stage in ("augments_before_normalize", "batch_augments"):
        ours = registry.build({"type": f"cutmix_dense.{name}", **NORMALISE, **settings, stage: MIX})
        found = ratio(lambda b: plain(b, True), lambda b, ours=ours: ours(b, True), lambda: copy.deepcopy(batch))
        print(f"{framework}, per batch of {len(batch['inputs'])}, {stage}: {found:.2f}")


def samples(folder):
    """README's pipeline per sample, with and without the mix: JPEGs of 640 × 427 with 10 boxes."""
    init_default_scope("mmdet")
    rng = np.random.default_rng(0)
    made = []
    for number in range(24):
        path = str(folder / f"{number}.jpg")
        small = rng.integers(0, 256, (14, 20, 3), dtype=np.uint8)
        mmcv.imwrite(mmcv.imresize(small, (640, 427)), path)
        rows = [{"bbox": box, "bbox_label": 1, "ignore_flag": 0} for box in boxes_in(427, 640, 10).tolist()]
        made.append({"img_path": path, "img_id": number, "instances": rows, "height": 427, "width": 640})
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True},
        {"type": "Resize", "scale": (1333, 800), "keep_ratio": True},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PackDetInputs"},
    ]
    mix = {**MIX[0], "max_cached_images": 20}
    for place, index in (("before", 2), ("behind", 3)):
        plain, mixing = Compose(steps), Compose([*steps[:index], mix, *steps[index:]])
        found = ratio(plain, mixing, lambda: copy.deepcopy(made[rng.integers(24)]), turns=300)
        print(f"mmdet, per sample, the whole pipeline, {place} Resize: {found:.2f}")


def main():
    """Print the ratios."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batches("mmdet", "DetDataPreprocessor", detection(8, (800, 1216)), pad_size_divisor=32)
    batches("mmseg", "SegDataPreProcessor", segmentation(4, (512, 1024)), size=(512, 1024))
    with tempfile.TemporaryDirectory() as folder:
        samples(Path(folder))


if __name__ == "__main__":
    main()
