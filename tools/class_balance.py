"""How many instances of each class CopyPaste adds to a data set, by each way of weighing classes, as a table.

    python tools/class_balance.py /data/facade --layout coco --split gval --limit 60

Three cut-outs of a bank of the same pictures go onto every picture, at random places. The columns are the instances of
the pictures, and what is pasted without weights, balanced, by inverse frequency and by LVIS's repeat factor
(``cd.class_weights`` of the shares of the pictures that hold each class).
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

import cutmix_dense as cd
from cutmix_dense.data import DenseDataset, open_dataset
from cutmix_dense.randomness import generator_from

RULES = ("none", "balanced", "inverse", "repeat_factor")


def frequencies_of(targets: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Share of the pictures that hold each class."""
    holding = Counter(int(label) for target in targets for label in target["labels"].unique())
    return {label: count / len(targets) for label, count in holding.items()}


def weights_of(rule: str, targets: Sequence[dict[str, Any]], threshold: float) -> Any:
    """The ``weights`` of CopyPaste for one of ``RULES``."""
    if rule in ("none", "balanced"):
        return None if rule == "none" else rule
    return cd.class_weights(rule, frequencies_of(targets), threshold)


def pasted(
    samples: Sequence[tuple[torch.Tensor, dict[str, Any]]], rule: str, threshold: float, seed: int
) -> Counter[int]:
    """How many instances of each class are pasted onto the samples, of a bank of all of them."""
    images, targets = zip(*samples)
    bank = cd.InstanceBank(margin=0.0)
    bank.add(images, targets)
    mix = cd.CopyPaste(
        source=bank,
        instances=3,
        place="random",
        weights=weights_of(rule, targets, threshold),
        p=1.0,
        boxes="estimate",
        min_visibility=0,
        min_size=0,
    )
    found: Counter[int] = Counter()
    for index, (image, target) in enumerate(samples):
        _, (after,) = mix([image], [target], generator=generator_from("class_balance", seed, index))
        found.update(after["labels"][after["origin"][:, 0] > 0].tolist())
    return found


def read(dataset: DenseDataset, limit: int) -> list[tuple[torch.Tensor, dict[str, Any]]]:
    """Sizes, boxes and labels of the first pictures; their pixels don't matter here."""
    samples = []
    for index in range(min(limit, len(dataset))):
        image, target = dataset[index]
        kept = {key: target[key] for key in ("boxes", "labels", "iscrowd") if key in target}
        samples.append((image.new_zeros(1, *image.shape[1:]), kept))
    return samples


def table(dataset: DenseDataset, limit: int, threshold: float, seed: int = 0) -> list[str]:
    """The lines of the table in Markdown, the most frequent class first."""
    samples = read(dataset, limit)
    before = Counter(int(label) for _, target in samples for label in target["labels"])
    columns = [pasted(samples, rule, threshold, seed) for rule in RULES]
    lines = [
        "| class | in the pictures | pasted, unweighted | balanced | inverse | repeat factor |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for label, count in before.most_common():
        cells = " | ".join(str(column[label]) for column in columns)
        lines.append(f"| {dataset.classes[label]} | {count} | {cells} |")
    return lines


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("root", help="folder of the data set")
    result.add_argument("--layout", default=None, help="layout, where the folder has several")
    result.add_argument("--split", default="train", help="name of the split")
    result.add_argument("--limit", type=int, default=60, help="take the first so many pictures")
    result.add_argument("--threshold", type=float, default=0.5, help="of the repeat factor")
    return result


def main(argv: list[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    arguments = parser().parse_args(argv)
    dataset = open_dataset(arguments.root, arguments.layout, split=arguments.split)
    print("\n".join(table(dataset, arguments.limit, arguments.threshold)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
