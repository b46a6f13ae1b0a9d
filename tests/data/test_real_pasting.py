"""Pasting on real annotations: every box has pixels, and they are those of the object that it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.data import open_dataset
from tools import class_balance

SETS = {"animals_oi": (None, "valid"), "facade": ("coco", "gval")}
"""Name of a set: layout and split."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coded(root: Path, name: str, count: int) -> tuple[list, list]:
    """The annotations of some pictures, whose pixels say which picture they are of, and where they lie there."""
    layout, split = SETS[name]
    dataset = open_dataset(root, layout, split=split)
    images, targets = [], []
    for number in range(count):
        image, target = dataset[number * (len(dataset) // count)]
        height, width = image.shape[1:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        images.append(torch.stack([torch.full_like(x, number), x, y]).int())
        targets.append({key: target[key] for key in ("boxes", "labels", "masks")})
    return images, targets


SETTINGS = {
    "self": {"source": "self", "instances": 4, "overlap": 0.3, "flip": 1.0},
    "batch": {"source": "batch", "instances": 3, "overlap": 0.3, "weights": "balanced"},
    "grid": {"source": "batch", "instances": 4, "place": "grid"},
    "bank": {"instances": (1, 4), "overlap": 0.5, "scale": (0.5, 1.0)},
}


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("name", SETS)
def test_every_box_lies_on_pixels_of_its_object(real, name, kind):
    images, targets = coded(real(name), name, 6)
    settings = {"place": "random", **SETTINGS[kind]}
    if kind == "bank":
        settings["source"] = bank = cd.InstanceBank(max_bytes=2**30)
        bank.add(images, targets)
    mix = cd.CopyPaste(**settings, p=1.0, interpolation="nearest", min_visibility=0, min_size=0)
    mixed, after = mix(images, targets, generator=seeded(1))
    pasted = 0
    for output, (image, target) in enumerate(zip(mixed, after)):
        assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"])
        numbers, xs, ys = image.numpy()
        for box, label, mask, origin in zip(*(target[key] for key in ("boxes", "labels", "masks", "origin"))):
            shows = mask.numpy() != 0
            assert shows.any()
            (source,) = set(numbers[shows].tolist())
            mine, x, y = targets[source], xs[shows], ys[shows]
            candidates = [k for k in range(len(mine["labels"])) if int(mine["labels"][k]) == int(label)]
            if int(origin[0]) < len(images) and kind != "bank":
                assert source == int(origin[0])
                assert int(mine["labels"][origin[1]]) == int(label)
                candidates = [int(origin[1])]
            assert any(bool((mine["masks"][k].numpy()[y, x] != 0).all()) for k in candidates)
            if int(origin[0]) != output or kind == "self":
                rows, columns = shows.nonzero()
                tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                moved = kind != "self" or not torch.equal(mask, mine["masks"][origin[1]])
                if moved:  # an annotation that nothing touched keeps its own box
                    assert box.tolist() == tight
                    pasted += 1
    assert pasted >= 3


@pytest.mark.parametrize("name", SETS)
def test_classes_are_pasted_as_the_weights_ask(real, name):
    """By 1,200 draws of a bank: the share of a class is its number times its weight, of all."""
    layout, split = SETS[name]
    samples = class_balance.read(open_dataset(real(name), layout, split=split), 24)
    images, targets = zip(*samples)
    bank = cd.InstanceBank(margin=0.0)
    bank.add(images, targets)
    for rule in class_balance.RULES:
        weights = class_balance.weights_of(rule, targets, 0.5)
        table = {label: 1.0 if weights is None else 1 / count for label, count in bank.counts.items()}
        if isinstance(weights, dict):
            table = weights
        total = sum(count * table[label] for label, count in bank.counts.items())
        mix = cd.CopyPaste(source=bank, instances=1, place="random", weights=weights, p=1.0)
        rows = [int(mix.picked(1, seeded(seed))[0]) for seed in range(1200)]
        drawn = [int(bank[row][1]["labels"][0]) for row in rows]
        for label, count in bank.counts.items():
            share = count * table[label] / total
            assert drawn.count(label) / 1200 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 1200) + 1e-9)


def test_the_table_of_classes(demo, capsys):
    assert class_balance.main([str(demo / "coco"), "--split", "train", "--limit", "12"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].count("|") == 7
    cells = np.array([[int(cell) for cell in line.split("|")[2:-1]] for line in lines[2:]])
    assert (np.diff(cells[:, 0]) <= 0).all()
    # three for each picture, less those that another one hides
    assert (cells[:, 1:].sum(axis=0) <= 36).all()
    assert (cells[:, 1:].sum(axis=0) >= 30).all()
    spread = cells[:, 1:].std(axis=0)
    assert spread[1] < spread[0]  # balanced ones are more alike
