"""What a mix of a batch of transformers costs, against a copy of its images and the processor that made it.

    python tests/stacks/huggingface_costs.py
    python tests/stacks/huggingface_costs.py --repeats 50

Each contender runs once a round, in an order drawn anew; the medians of one run are compared. The floor is ``copy_`` of
``pixel_values`` into a tensor that exists. Processors resize nothing: they rescale, normalize and make the targets.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import DetrImageProcessor, Mask2FormerImageProcessor, SegformerImageProcessor

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

import cutmix_dense as cd  # noqa: E402
from cutmix_dense.huggingface import mix_batch  # noqa: E402

IMAGES, OBJECTS, HEIGHT, WIDTH = 8, 8, 480, 640


def annotations(number):
    """Objects with a box and a polygon, as COCO has them."""
    rows = []
    for _ in range(OBJECTS):
        w, h = (int(side) for side in torch.randint(30, 200, (2,)))
        x, y = int(torch.randint(WIDTH - w, ())), int(torch.randint(HEIGHT - h, ()))
        polygon = [x, y, x + w, y, x + w, y + h, x + w // 2, y + h, x, y + h // 2]
        rows.append({"bbox": [x, y, w, h], "area": w * h, "category_id": 1, "iscrowd": 0, "segmentation": [polygon]})
    return {"image_id": number, "annotations": rows}


def tasks():
    """Per task: what the processor is called with, and the options of the mix."""
    pictures = [torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8) for _ in range(IMAGES)]
    coco = [annotations(number) for number in range(IMAGES)]
    tiles = torch.randint(0, OBJECTS, (IMAGES, HEIGHT // 40, WIDTH // 40))
    maps = list(tiles.repeat_interleave(40, 1).repeat_interleave(40, 2))
    detr, segformer = DetrImageProcessor(do_resize=False), SegformerImageProcessor(do_resize=False)
    former = Mask2FormerImageProcessor(do_resize=False, ignore_index=255)

    def boxes():
        return detr(pictures, annotations=coco, return_tensors="pt")

    def masks():
        return detr(pictures, annotations=coco, return_segmentation_masks=True, return_tensors="pt")

    def semantic():
        return segformer(pictures, maps, return_tensors="pt")

    def segments():
        return former(pictures, maps, return_tensors="pt")

    return {
        "boxes": (boxes, {}),
        "boxes and masks": (masks, {}),
        "semantic maps": (semantic, {}),
        "masks of Mask2Former": (segments, {}),
        'masks of Mask2Former, stuff="all"': (segments, {"stuff": "all"}),
    }


def main() -> None:
    """Print a row per task."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    torch.set_num_threads(1)
    mix = cd.CutMix(p=1.0)
    calls = {}
    for task, (process, options) in tasks().items():
        batch = process()
        target = torch.empty_like(batch["pixel_values"])
        calls[task, "copy"] = lambda batch=batch, target=target: target.copy_(batch["pixel_values"])
        calls[task, "mix"] = lambda batch=batch, options=options: mix_batch(batch, mix, **options)
        calls[task, "processor"] = process
    seconds = {name: [] for name in calls}
    order = list(calls)
    for round_ in range(-1, repeats):  # the first one warms up
        random.Random(round_).shuffle(order)
        for name in order:
            began = time.perf_counter()
            calls[name]()
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - began)
    print("| batch | mix, in copies of the images | mix, in the time of the processor |\n| --- | --- | --- |")
    for task in dict.fromkeys(task for task, _ in calls):
        copied, mixed, made = (statistics.median(seconds[task, what]) for what in ("copy", "mix", "processor"))
        print(f"| {task} | {mixed / copied:.1f} | {mixed / made:.2f} |")


if __name__ == "__main__":
    main()
