"""Coded batches as the DETR family has them, and what is judged of their mixes."""

from __future__ import annotations

import copy
import dataclasses
from collections import namedtuple

import numpy as np
import pytest
import torch
from oracle import coded_pool

SIZES = [(20, 30), (24, 26), (16, 40), (28, 36), (22, 34)]
FRAME = (28, 40)
EMPTY = 1
"""The image without objects."""


class NestedTensor:
    """As DETR's: images, and where they are padded."""

    def __init__(self, tensors, mask):
        self.tensors, self.mask = tensors, mask

    def decompose(self):
        return self.tensors, self.mask


Named = namedtuple("Named", "tensors mask")


@dataclasses.dataclass(frozen=True)
class Frozen:
    tensors: torch.Tensor
    mask: torch.Tensor | None


def nested(kind=NestedTensor, sizes=SIZES, frame=FRAME):
    """A padded batch of coded images."""
    mask = torch.ones(len(sizes), *frame, dtype=torch.bool)
    for one, (height, width) in zip(mask, sizes):
        one[:height, :width] = False
    return kind(coded_pool(sizes, frame), mask)


def pixel_targets(sizes=SIZES, frame=None, keypoints=False):
    """Targets with boxes xyxy in pixels, as the oracle takes them; masks of ``frame`` or of their image's size."""
    rng = np.random.default_rng(5)
    targets = []
    for number, (height, width) in enumerate(sizes):
        count = 0 if number == EMPTY else 3
        low = np.stack([rng.integers(0, width - 10, count), rng.integers(0, height - 10, count)], axis=1)
        boxes = torch.from_numpy(np.concatenate([low, low + rng.integers(5, 10, (count, 2))], axis=1)).float()
        masks = torch.zeros(count, *(frame or (height, width)), dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist()):
            mask[y0:y1, x0:x1] = True
            mask[y0, x0] = mask[y1 - 1, x1 - 1] = False
        target = {
            "boxes": boxes,
            "labels": torch.arange(count) + 10 * number,
            "masks": masks,
            "area": masks.flatten(1).sum(dim=1).float(),
            "iscrowd": torch.tensor([0, 1, 0])[:count],
        }
        if keypoints:
            target["keypoints"] = torch.cat(
                [torch.stack([boxes[:, :2] + 1.5, boxes[:, 2:] - 1.5], dim=1), torch.full((count, 2, 1), 2.0)], dim=2
            )
        targets.append(target)
    return targets


def shares(targets, sizes=SIZES):
    """The same as DETRs have them: normalised centre and size, sizes and numbers of the images."""
    given = []
    for number, (target, (height, width)) in enumerate(zip(targets, sizes)):
        unit = torch.tensor([width, height, width, height])
        low, high = target["boxes"].chunk(2, dim=1)
        row = {**target, "boxes": torch.cat([(low + high) / 2, high - low], dim=1) / unit}
        if "keypoints" in target:
            row["keypoints"] = target["keypoints"] / torch.tensor([width, height, 1])
        row["image_id"] = torch.tensor([number + 100])
        row["size"] = torch.tensor([height, width])
        row["orig_size"] = torch.tensor([2 * height, 2 * width])
        given.append(row)
    return given


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def declared(mix):
    """The same method as the core takes it for these boxes."""
    own = copy.copy(mix)
    own.box_format, own.normalized = "cxcywh", True
    return own


def check(out, records, given, base, canvas, weights=None):
    """Hold one mixed target against what the pixels prove; returns the instances of other images."""
    assert not any(record.near for record in records), "choose another seed: a threshold is met"
    kept = [record for record in records if record.outcome == "kept"]
    assert out["origin"].tolist() == [list(record.origin) for record in kept]
    height, width = canvas
    unit = torch.tensor([width, height, width, height])
    low, size = (out["boxes"] * unit).chunk(2, dim=1)
    corners = torch.cat([low - size / 2, low + size / 2], dim=1)
    for row, record in enumerate(kept):
        source = given[record.source]
        assert corners[row].tolist() == pytest.approx(record.box, abs=1e-4)
        assert out["labels"][row] == source["labels"][record.index]
        assert out["iscrowd"][row] == source["iscrowd"][record.index]
        assert ("masks" in out) == ("masks" in source)
        if "masks" in source:
            assert np.array_equal(out["masks"][row, :height, :width].numpy(), record.mask)
            assert not out["masks"][row, height:].any()
            assert not out["masks"][row, :, width:].any()
        assert float(out["area"][row]) == pytest.approx(record.area, rel=1e-4)
        assert float(out["visibility"][row]) == pytest.approx(record.visibility, abs=1e-6)
        if weights is not None:
            assert float(out["weight"][row]) == pytest.approx(weights[record.layer], abs=1e-6)
        if "keypoints" in source:
            points = out["keypoints"][row] * torch.tensor([width, height, 1])
            assert np.allclose(points.numpy(), np.array(record.keypoints), atol=1e-4)
        if record.untouched and given[record.source]["size"].tolist() == [height, width]:
            for key in ("boxes", "keypoints"):
                assert key not in source or torch.equal(out[key][row], source[key][record.index]), f"{key} changed"
    for key in ("image_id", "size", "orig_size"):
        assert torch.equal(out[key], given[base][key])
    return sum(record.source != base for record in kept)
