"""What a mixed batch of a DETR costs: against a copy of its images, and against the core's own call, in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

import cutmix_dense as cd
from cutmix_dense.detr import mix_batch

BATCH, SIDE, VALID, OBJECTS, ROUNDS = 16, 640, 600, 20, 30


class NestedTensor:
    """Images and where they are padded."""

    def __init__(self, tensors: torch.Tensor, mask: torch.Tensor) -> None:
        self.tensors, self.mask = tensors, mask


def main() -> None:
    """Print medians and quartiles of ratios; the three are timed in turn, so that they share the machine's moods."""
    torch.manual_seed(0)
    mask = torch.zeros(BATCH, SIDE, SIDE, dtype=torch.bool)
    mask[:, :, VALID:] = True
    samples = NestedTensor(torch.rand(BATCH, 3, SIDE, SIDE), mask)
    targets = [
        {
            "boxes": torch.cat([torch.rand(OBJECTS, 2) * 0.6 + 0.2, torch.rand(OBJECTS, 2) * 0.3 + 0.05], dim=1),
            "labels": torch.randint(0, 80, (OBJECTS,)),
            "area": torch.rand(OBJECTS),
            "iscrowd": torch.zeros(OBJECTS, dtype=torch.long),
            "image_id": torch.tensor([index]),
            "size": torch.tensor([SIDE, VALID]),
            "orig_size": torch.tensor([SIDE, VALID]),
        }
        for index in range(BATCH)
    ]
    sizes = torch.tensor([[SIDE, VALID]] * BATCH)
    for name in ("CutMix", "Mosaic", "MixUp"):
        method = getattr(cd, name)
        mix, core = method(p=1.0), method(p=1.0, box_format="cxcywh", normalized=True)
        calls: list[Callable[[int], object]] = [
            lambda seed: samples.tensors.clone(),
            lambda seed, core=core: core(samples.tensors, targets, sizes=sizes, generator=seeded(seed)),
            lambda seed, mix=mix: mix_batch(samples, targets, mix, generator=seeded(seed)),
        ]
        times = [[timed(call, seed) for call in calls] for seed in range(-3, ROUNDS)][3:]
        for label, above, below in (("to a copy", 2, 0), ("to the core's call", 2, 1)):
            low, middle, high = statistics.quantiles([row[above] / row[below] for row in times], n=4)
            print(f"{name:8s} {label:20s} median {middle:5.2f}, quartiles {low:5.2f} and {high:5.2f}")


def seeded(seed: int) -> torch.Generator:
    """The same plans for both."""
    return torch.Generator().manual_seed(seed + 3)


def timed(call: Callable[[int], object], seed: int) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call(seed)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
