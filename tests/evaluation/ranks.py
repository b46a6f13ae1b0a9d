"""Five images evaluated by two ranks over gloo: the work of one of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch.distributed as dist
from evaluation.scenes import CLASSES, random_samples
from mmengine.dataset import DefaultSampler

from cutmix_dense.evaluation import CocoMetric, DetectionCalibration, VocMetric

IMAGES = 5


def metrics():
    return [CocoMetric(("bbox", "segm"), "pycocotools"), VocMetric(), DetectionCalibration(0.0)]


def samples():
    return random_samples(IMAGES, seed=6)


def work(rank: int, folder: str) -> None:
    """Evaluate this rank's share and write what `evaluate` returns here."""
    os.chdir(folder)  # where MMEngine collects
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    everything, scores, share = samples(), {}, list(DefaultSampler(range(IMAGES), shuffle=False))
    for metric in metrics():
        metric.dataset_meta = {"classes": CLASSES}
        for index in share:
            metric.process(None, [everything[index]])
        scores |= metric.evaluate(IMAGES)
    Path(f"rank{rank}.json").write_text(json.dumps([share, scores]))
    dist.destroy_process_group()
