"""What a mix of an Ultralytics batch costs, against a copy of its images and the core's own call on the same targets.

    python tests/stacks/yolo_costs.py
    python tests/stacks/yolo_costs.py --device cuda --repeats 100

Each contender runs once a round, in an order drawn anew; the medians of one run are compared. On the host this is the
time of the processor, on one thread, which a busy machine changes little. The floor is ``copy_`` of the images into a
tensor that exists.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

import cutmix_dense as cd  # noqa: E402
from cutmix_dense.ultralytics import mix_batch  # noqa: E402

IMAGES, OBJECTS, SIDE, RATIO = 16, 8, 640, 4


def batch_of_boxes(device):
    """Random boxes, the large ones of an image first, on random bytes."""
    size = torch.rand(IMAGES, OBJECTS, 2) * 0.3 + 0.05
    order = size.prod(2).argsort(dim=1, descending=True)
    size = size.gather(1, order[..., None].expand(-1, -1, 2)).flatten(0, 1)
    centre = torch.rand(len(size), 2) * (1 - size) + size / 2
    return {
        "img": torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8).to(device),
        "bboxes": torch.cat([centre, size], dim=1).to(device),
        "cls": torch.zeros(len(size), 1, device=device),
        "batch_idx": torch.arange(IMAGES, device=device).repeat_interleave(OBJECTS).float(),
    }


def with_masks(batch):
    """Index maps of the boxes' inscribed ellipses."""
    masks = torch.zeros(IMAGES, SIDE // RATIO, SIDE // RATIO)
    y, x = torch.meshgrid(*[(torch.arange(SIDE // RATIO) + 0.5) * RATIO / SIDE] * 2, indexing="ij")
    for row, (cx, cy, w, h) in enumerate(batch["bboxes"].tolist()):
        masks[row // OBJECTS][((x - cx) / w) ** 2 + ((y - cy) / h) ** 2 < 0.25] = row % OBJECTS + 1
    masks = masks.to(batch["img"].device)
    return {**batch, "masks": masks, "sem_masks": torch.zeros_like(masks)}


def core_targets(batch):
    """The same as the core takes them: corners in pixels, masks at full size."""
    centre, half = batch["bboxes"][:, :2] * SIDE, batch["bboxes"][:, 2:] * SIDE / 2
    corners = torch.cat([centre - half, centre + half], dim=1)
    targets = []
    for image in range(IMAGES):
        own = batch["batch_idx"] == image
        targets.append({"boxes": corners[own], "labels": batch["cls"][own, 0]})
        if "masks" in batch:
            full = batch["masks"][image].repeat_interleave(RATIO, 0).repeat_interleave(RATIO, 1)
            numbers = torch.arange(1, OBJECTS + 1, device=full.device)
            targets[-1]["masks"] = full == numbers[:, None, None]
    return targets


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    boxes = batch_of_boxes(given.device)
    masks = with_masks(boxes)
    points = {**boxes, "keypoints": torch.rand(len(boxes["cls"]), 17, 3, device=given.device).ceil() * 0.5}
    mix, room = cd.CutMix(p=1.0), torch.empty_like(boxes["img"])
    plain, full = core_targets(boxes), core_targets(masks)
    contenders = {
        "copy": lambda: room.copy_(boxes["img"]),
        "core, images alone": lambda: mix(boxes["img"]),
        "core, boxes": lambda: mix(boxes["img"], plain),
        "mix_batch, boxes": lambda: mix_batch(boxes, mix),
        "mix_batch, boxes and 17 keypoints": lambda: mix_batch(points, mix),
        "core, boxes and masks at full size": lambda: mix(boxes["img"], full),
        "mix_batch, boxes and masks at a quarter": lambda: mix_batch(masks, mix),
    }
    clock = time.process_time if given.device == "cpu" else time.perf_counter
    times = {name: [] for name in contenders}
    for turn in range(given.repeats + 2):
        for name in random.sample(list(contenders), len(contenders)):
            begin = clock()
            contenders[name]()
            if given.device != "cpu":
                torch.cuda.synchronize()
            if turn >= 2:
                times[name].append(clock() - begin)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, median in medians.items():
        print(f"{name:42s} {1000 * median:8.2f} ms {median / medians['copy']:8.1f} ×")


if __name__ == "__main__":
    main()
