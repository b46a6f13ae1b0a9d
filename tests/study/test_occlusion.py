"""Occlusion by coded pixels: each pixel says where it came from, and the annotations agree with what shows."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torchvision import tv_tensors

from cutmix_dense.study.occlusion import Occlusion

SIZES = [(37, 52), (24, 91), (60, 41)]
FILL = 250


def coded(height, width):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return tv_tensors.Image(torch.stack([rows, columns, torch.full_like(rows, 7)]).to(torch.uint8))


def occluded_map(kind, share, height, width):
    """Plainly, from the definition: a centred box of the image's shape."""
    side = math.sqrt(share if kind == "centre" else 1 - share)
    box = torch.zeros(height, width, dtype=torch.bool)
    h, w = round(height * side), round(width * side)
    top, left = (height - h) // 2, (width - w) // 2
    box[top : top + h, left : left + w] = True
    return box if kind == "centre" else ~box


def scene(height, width, masks=True):
    """A grid of rectangular instances, so that some are hidden whole, some in part and some not at all."""
    boxes = [
        (x, y, min(x + width / 6, width), min(y + height / 5, height))
        for y in range(0, height - 2, height // 4)
        for x in range(0, width - 2, width // 5)
    ]
    boxes = torch.tensor(boxes).round()
    target = {
        "image_id": 3,
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
        "labels": torch.arange(1, len(boxes) + 1),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
        "difficult": torch.zeros(len(boxes), dtype=torch.bool),
        "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        "semantic": tv_tensors.Mask((torch.arange(height * width).reshape(height, width) % 19).to(torch.uint8)),
    }
    if masks:
        stack = torch.zeros(len(boxes), height, width, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(stack, boxes.int().tolist()):
            mask[y0:y1, x0:x1] = True
        target["masks"] = tv_tensors.Mask(stack)
    return target


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("kind", ["centre", "boundary"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.83])
def test_pixels_and_annotations_agree(kind, share, masks):
    images = [coded(*size) for size in SIZES]
    targets = [scene(*size, masks=masks) for size in SIZES]
    before = copy.deepcopy((images, targets))
    results, found = Occlusion(kind, share, fill=FILL)(images, targets)
    dropped = 0
    for image, result, target, shown, size in zip(images, results, targets, found, SIZES):
        hidden = occluded_map(kind, share, *size)
        assert hidden.float().mean().item() == pytest.approx(share, abs=0.06)
        assert torch.equal(result, torch.where(hidden, torch.tensor(FILL, dtype=torch.uint8), image))
        assert torch.equal(
            shown["semantic"], torch.where(hidden, torch.tensor(255, dtype=torch.uint8), target["semantic"])
        )
        assert set(shown) == set(target)
        kept = shown["labels"].tolist()
        for number, (x0, y0, x1, y1) in enumerate(target["boxes"].int().tolist()):
            visible = torch.zeros(size, dtype=torch.bool)
            visible[y0:y1, x0:x1] = ~hidden[y0:y1, x0:x1]
            if not visible.any():
                assert number + 1 not in kept
                dropped += 1
                continue
            place = kept.index(number + 1)
            rows, columns = visible.any(1).nonzero().ravel(), visible.any(0).nonzero().ravel()
            tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert shown["boxes"][place].tolist() == [float(value) for value in tight]
            assert shown["area"][place].item() == pytest.approx(int(visible.sum()), rel=1e-4)
            clear = int(visible.sum()) >= 0.5 * (x1 - x0) * (y1 - y0)
            assert shown["iscrowd"][place].item() == (not clear)
            if masks:
                assert torch.equal(shown["masks"][place], visible)
    assert dropped > 0 or share < 0.83
    for old, new in zip(before[0], images):
        assert torch.equal(old, new)
    for old, new in zip(before[1], targets):
        assert all(torch.equal(value, new[key]) for key, value in old.items() if key != "image_id")


def test_remnants_count_neither_way():
    image, target = coded(40, 60), {"boxes": torch.tensor([[0.0, 0, 60, 40]]), "labels": torch.tensor([1])}
    for least, crowd in ((0.5, 1), (0.2, 1), (0.05, 0)):
        _, (shown,) = Occlusion("boundary", 0.9, min_visibility=least)([image], [target])
        assert shown["labels"].tolist() == [1]
        assert shown["iscrowd"].tolist() == [crowd]


def test_maps_and_image_labels_alone():
    image = coded(30, 50)
    _, (shown,) = Occlusion("centre", 0.25)(
        [image], [{"image_id": "a", "semantic": torch.ones(30, 50, dtype=torch.uint8)}]
    )
    assert torch.equal(shown["semantic"] == 255, occluded_map("centre", 0.25, 30, 50))
    _, (shown,) = Occlusion("centre", 0.25)([image], [{"image_id": "a", "label": torch.tensor(4)}])
    assert shown["label"] == 4


@pytest.mark.parametrize(
    ("arguments", "name"), [(("middle", 0.5), "kind"), (("centre", 0.0), "share"), (("centre", 1.0), "share")]
)
def test_wrong_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        Occlusion(*arguments)
    with pytest.raises(ValueError, match="fill"):
        Occlusion("centre", 0.5, fill=256)
