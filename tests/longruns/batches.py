"""What the long runs mix, and a digest of what comes out; ``python batches.py THREADS`` prints that of every method."""

from __future__ import annotations

import hashlib
import sys

import torch

import cutmix_dense as cd

FREE = {"boxes": "estimate"}
"""Free-form masks, with boxes and no masks."""

METHODS: dict[str, cd.MixTransform] = {
    "CutMix": cd.CutMix(p=1.0),
    "CutMix, boxes round objects": cd.CutMix(p=1.0, region=cd.regions.ObjectBox()),
    "ResizeMix": cd.ResizeMix(p=1.0),
    "Mosaic": cd.Mosaic(p=1.0),
    "RICAP": cd.RICAP(p=1.0),
    "GridMix": cd.GridMix(p=1.0),
    "StripeMix": cd.StripeMix(p=1.0),
    "CopyPaste": cd.CopyPaste(p=1.0, scale=(0.5, 1.5), flip=0.5, flip_pairs=()),
    "ClassMix": cd.ClassMix(p=1.0, **FREE),
    "CowMix": cd.CowMix(p=1.0, **FREE),
    "FMix": cd.FMix(p=1.0, **FREE),
    "SaliencyMix": cd.SaliencyMix(p=1.0),
    "MixUp": cd.MixUp(p=1.0),
    "CarveMix": cd.CarveMix(p=1.0, **FREE),
    "with a bank": cd.CutMix(p=1.0, pairing=cd.SampleBank(max_bytes=2**20, max_samples=16)),
}


def batch(seed: int, boxes: int = 250, size: tuple[int, int] = (48, 64), count: int = 4, *, masks: bool = False):
    """Images, and targets with boxes, labels and a semantic map; with instance masks and keypoints if asked for."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)
    targets = []
    for _ in range(count):
        low = torch.rand(boxes, 2, generator=generator) * torch.tensor([width - 9.0, height - 9.0])
        sides = 2 + 7 * torch.rand(boxes, 2, generator=generator)
        semantic = torch.randint(0, 4, (height // 8, width // 8), generator=generator).to(torch.uint8)
        targets.append(
            {
                "boxes": torch.cat([low, low + sides], dim=1),
                "labels": torch.randint(1, 9, (boxes,), generator=generator),
                "semantic": semantic.repeat_interleave(8, 0).repeat_interleave(8, 1),
            }
        )
    if masks:
        columns, rows = torch.arange(width) + 0.5, torch.arange(height) + 0.5
        for target in targets:
            x1, y1, x2, y2 = target["boxes"].round()[:, :, None].unbind(1)
            inside = ((columns >= x1) & (columns < x2))[:, None, :], ((rows >= y1) & (rows < y2))[:, :, None]
            target["masks"] = inside[0] & inside[1]
            points = torch.stack([target["boxes"][:, :2], target["boxes"][:, 2:]], dim=1)
            target["keypoints"] = torch.cat([points, torch.full_like(points[..., :1], 2)], dim=2)
    return images, targets


def digest(value) -> str:
    """Digest of tensors in lists, tuples and dicts, in their order."""
    result = hashlib.sha256()

    def add(part):
        if isinstance(part, torch.Tensor):
            result.update(part.detach().contiguous().numpy().tobytes())
        elif isinstance(part, dict):
            for key in sorted(part):
                result.update(key.encode())
                add(part[key])
        elif isinstance(part, (list, tuple)):
            for each in part:
                add(each)

    add(value)
    return result.hexdigest()


def mixed(name: str, seed: int):
    """A batch mixed by a method, from a seed alone."""
    return METHODS[name](*batch(seed, boxes=20, size=(96, 128)), generator=torch.Generator().manual_seed(seed))


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    for name in METHODS:
        print(digest(mixed(name, 5)), name)
