"""What a mix of a batch of lists costs: in torchvision's form and in Detectron2's, against a copy of the images.

    python tests/stacks/list_costs.py             # both, on one thread
    python tests/stacks/list_costs.py torchvision --repeats 100

Each contender runs once a round, in an order drawn anew; medians of processor time are compared. The floor is
``copy_`` of all images into tensors that exist. Without Detectron2 its structures are those of the tests' double.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

import cutmix_dense as cd  # noqa: E402
from cutmix_dense.detectron2 import mix_batch  # noqa: E402

OBJECTS = 7


def annotations(sizes, masks):
    """Targets of random boxes and, if wanted, masks in them, per image."""
    rng = np.random.default_rng(0)
    targets = []
    for height, width in sizes:
        low = np.stack([rng.uniform(0, width * 0.7, OBJECTS), rng.uniform(0, height * 0.7, OBJECTS)], axis=1)
        boxes = np.concatenate([low, low + rng.uniform(0.05, 0.3, (OBJECTS, 2)) * (width, height)], axis=1).round()
        target = {"boxes": torch.from_numpy(boxes).float(), "labels": torch.from_numpy(rng.integers(1, 80, OBJECTS))}
        if masks:
            target["masks"] = torch.zeros(OBJECTS, height, width, dtype=torch.bool)
            for row, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
                target["masks"][row, y0:y1, x0:x1] = True
        targets.append(target)
    return targets


def polygons(boxes):
    """Each box's inscribed ellipse as a polygon of 40 corners."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) / 2
    rows = boxes.double().numpy()
    return [[((b[:2] + b[2:]) / 2 + circle * (b[2:] - b[:2])).reshape(-1)] for b in rows]


def structures():
    """Detectron2's structures, or the double's."""
    try:
        from detectron2 import structures as real
    except ImportError:
        from stacks.test_detectron2 import DOUBLE

        return DOUBLE
    return real


def torchvision_jobs(mix):
    """Eight images of 480 × 640 in float32, as the detection reference's presets give them."""
    jobs = {}
    sizes = [(480, 640)] * 8
    images = [torch.rand(3, *size) for size in sizes]
    for name in ("boxes", "masks"):
        targets = annotations(sizes, name == "masks")
        samples = list(zip(images, targets))
        jobs[f"{name}: mix(images, targets)"] = lambda targets=targets: mix(images, targets)
        jobs[f"{name}: collate_fn=mix"] = lambda samples=samples: mix(samples)
    return images, jobs


def detectron2_jobs(mix):
    """Eight images of 800 × 1216 or 1066 in bytes, as DatasetMapper gives them."""
    s = structures()
    sizes = [(800, 1216), (800, 1066)] * 4
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    jobs = {}
    for name in ("boxes", "BitMasks", "PolygonMasks"):
        targets = annotations(sizes, name == "BitMasks")
        batch = []
        for image, size, target in zip(images, sizes, targets):
            made = s.Instances(size, gt_boxes=s.Boxes(target["boxes"]), gt_classes=target["labels"])
            if name == "BitMasks":
                made.gt_masks = s.BitMasks(target["masks"])
            elif name == "PolygonMasks":
                made.gt_masks = s.PolygonMasks(polygons(target["boxes"]))
            batch.append({"image": image, "instances": made})
        if name != "PolygonMasks":
            jobs[f"{name}: mix(images, targets)"] = lambda targets=targets: mix(images, targets)
        jobs[f"{name}: mix_batch"] = lambda batch=batch: mix_batch(batch, mix)
    return images, jobs


def measure(images, jobs, repeats):
    """Median seconds of processor time of each job and of the copy; others that run beside change it little."""
    out = [torch.empty_like(image) for image in images]

    def copy():
        for into, image in zip(out, images):
            into.copy_(image)

    jobs = {"copy": copy, **jobs}
    times = {name: [] for name in jobs}
    for number in range(repeats + 3):
        for name in random.sample(list(jobs), len(jobs)):
            start = time.thread_time()
            jobs[name]()
            if number >= 3:
                times[name].append(time.thread_time() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def main():
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stacks", nargs="*", default=["torchvision", "detectron2"])
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    for stack in arguments.stacks:
        images, jobs = {"torchvision": torchvision_jobs, "detectron2": detectron2_jobs}[stack](cd.CutMix(p=1.0))
        found = measure(images, jobs, arguments.repeats)
        print(f"{stack}: copy of the images {found['copy'] * 1e3:.2f} ms")
        for name, seconds in found.items():
            kind = name.partition(":")[0]
            core = found.get(f"{kind}: mix(images, targets)")
            beside = f", {seconds / core:.2f} times the core's own call" if core and seconds != core else ""
            if name != "copy":
                print(f"  {name}: {seconds / found['copy']:.1f} times the copy{beside}")


if __name__ == "__main__":
    main()
