"""How should instance masks be stored while they are mixed? Dense bytes, packed bits and crops do the same work.

    python -m cutmix_dense.cli.benchmarking.storage    # 20 masks of 640 × 640, the table of docs/benchmark/masks.md

Each storage cuts the masks of an image and of its partner by a rectangle, counts what is visible of each, finds its
tight box, and hands out the kept ones dense, as losses and frameworks take them. One thread; interleaved.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

import cutmix_dense as cd
from cutmix_dense.cli.benchmarking.machine import last_level_cache
from cutmix_dense.cli.benchmarking.samples import make_batches
from cutmix_dense.cli.benchmarking.timing import Contender, Timing, interleave, threads
from cutmix_dense.functional.masks import boxes_of_masks, mix_masks

Array = np.ndarray
Crops = list[tuple[tuple[slice, slice], Array]]
"""Per mask the window round it, and its pixels there."""


def measure(objects: int, size: int, repeats: int, ring: int, seed: int = 0) -> list[tuple[str, int, Timing, Timing]]:
    """Per storage its name, the bytes of one image's masks, and what reading dense masks into it and mixing takes."""
    batches = make_batches(ring, 2, size, objects, masks=True, seed=seed)
    stacks = [[target["masks"] for target in batch.targets] for batch in batches]
    mix, frame = cd.CutMix(p=1.0), torch.empty(1, dtype=torch.uint8).expand(2, 3, size, size)
    plans = [mix.make_plan(frame, generator=torch.Generator().manual_seed(seed + n), outputs=1) for n in range(ring)]
    storages: dict[str, tuple[Callable[[torch.Tensor], Any], Callable[..., Any], Callable[[Any], int]]] = {
        "dense bytes (ours)": (lambda stack: stack, _mix_dense, lambda stack: stack.numel()),
        "packed bits": (lambda stack: np.packbits(stack.numpy(), axis=2), _mix_packed, lambda packed: packed.nbytes),
        "crops": (_crops, _mix_crops, lambda crops: sum(values.nbytes for _, values in crops)),
    }
    contenders, bytes_ = [], []
    for name, (store, mixed, weigh) in storages.items():
        stored = [[store(stack) for stack in pair] for pair in stacks]
        bytes_.append(weigh(stored[0][0]))
        contenders += [
            Contender(name, partial(_reader, store, stacks)),
            Contender(name, partial(_mixer, mixed, stored, plans, size)),
        ]
    with threads(1):
        rows = interleave(contenders, ring, repeats=repeats, seed=seed)
    return list(zip(storages, bytes_, rows[::2], rows[1::2]))


def _reader(store: Callable[[torch.Tensor], Any], stacks: Sequence[Sequence[torch.Tensor]]) -> Callable[[int], Any]:
    return lambda n: [store(stack) for stack in stacks[n]]


def _mixer(
    mix: Callable[..., Any], stored: Sequence[Any], plans: Sequence[cd.MixPlan], size: int
) -> Callable[[int], Any]:
    return lambda n: mix(stored[n], plans[n], size)


def _mix_dense(pair: Sequence[torch.Tensor], plan: cd.MixPlan, size: int) -> list[torch.Tensor]:
    cuts = mix_masks(pair, plan, [(size, size)])
    return [cut.take(cut.visible.nonzero()[:, 0].tolist()) for cut in cuts.values()]


def _mix_packed(pair: Sequence[Array], plan: cd.MixPlan, size: int) -> list[Array]:
    owner = _owner(plan, size)
    dense = []
    for layer, packed in enumerate(pair):
        cut = packed & np.packbits(owner == layer, axis=1)
        visible = np.bitwise_count(cut).sum(axis=(1, 2), dtype=np.int64)
        kept = cut[visible > 0]
        _ends(np.any(kept, axis=2))
        _ends(np.unpackbits(np.bitwise_or.reduce(kept, axis=1), axis=1, count=size) > 0)
        dense.append(np.unpackbits(kept, axis=2, count=size))
    return dense


def _mix_crops(pair: Sequence[Crops], plan: cd.MixPlan, size: int) -> list[Array]:
    owner = _owner(plan, size)
    dense = []
    for layer, crops in enumerate(pair):
        kept = []
        for window, values in crops:
            owned = owner[window] == layer
            cut = values if owned.all() else values * owned
            if np.count_nonzero(cut):
                _ends(np.any(cut[None], axis=2))
                _ends(np.any(cut[None], axis=1))
                kept.append((window, cut))
        stack = np.zeros((len(kept), size, size), dtype=np.uint8)
        for mask, (window, cut) in zip(stack, kept):
            mask[window] = cut
        dense.append(stack)
    return dense


def _owner(plan: cd.MixPlan, size: int) -> Array:
    """The layer of each pixel: 1 in the rectangle."""
    owner = np.zeros((size, size), dtype=np.uint8)
    owner[tuple(slice(*edge[0, 1:3].tolist()) for edge in plan.edges)] = 1
    return owner


def _crops(stack: torch.Tensor) -> Crops:
    boxes = boxes_of_masks(stack).long().tolist()
    windows = [(slice(y0, y1), slice(x0, x1)) for x0, y0, x1, y1 in boxes]
    return [(window, mask[window].copy()) for window, mask in zip(windows, stack.numpy())]


def _ends(lines: Array) -> tuple[Array, Array]:
    """First and one past the last True of each row."""
    return lines.argmax(axis=1), lines.shape[1] - lines[:, ::-1].argmax(axis=1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=20, help="masks per image (default: 20)")
    parser.add_argument("--size", type=int, default=640, help="side of the images (default: 640)")
    parser.add_argument("--repeats", type=int, default=100, help="rounds (default: 100)")
    arguments = parser.parse_args()
    ring = max(3, -(-8 * last_level_cache("cpu") // (2 * arguments.objects * arguments.size**2)))
    rows = measure(arguments.objects, arguments.size, arguments.repeats, ring)
    print("| storage | an image's masks | from dense, both images | cut, measure, hand out | both |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, nbytes, made, mixed in rows:
        (first, _), (second, _) = made.spread, mixed.spread  # lower quartiles: others' load only ever adds
        times = " | ".join(f"{seconds * 1e3:.2f} ms" for seconds in (first, second, first + second))
        print(f"| {name} | {nbytes / 2**20:.2f} MiB | {times} |")


if __name__ == "__main__":
    main()
