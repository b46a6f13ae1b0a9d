"""Box structures are told by what they can do, where MMDetection isn't installed, too."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

pytest.importorskip("mmengine")

from mmengine.structures import BaseDataElement, InstanceData

from cutmix_dense.mmengine import MODELS, TRANSFORMS
from cutmix_dense.mmengine.structures import as_boxes


class UprightBoxes:
    """What the adapter asks of a ``BaseBoxes`` that is upright."""

    def __init__(self, tensor, clone=True):
        self.tensor = tensor.clone() if clone else tensor

    def convert_to(self, name):
        assert name == "hbox"
        return self

    def __len__(self):
        return len(self.tensor)

    def __getitem__(self, index):
        return type(self)(self.tensor[index])

    @classmethod
    def cat(cls, parts, dim=0):
        return cls(torch.cat([part.tensor for part in parts], dim))


@pytest.fixture
def no_mmdet(monkeypatch):
    """As where it isn't installed; whoever imports it all the same fails."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmdet"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mmdet", None)


@pytest.mark.usefixtures("no_mmdet")
def test_boxes_of_a_type_that_nobody_registered_are_mixed():
    rows = torch.tensor([[2.0, 3.0, 14.0, 15.0], [20.0, 4.0, 38.0, 28.0]])
    samples = [
        {
            "img": np.full((30, 40, 3), number, np.uint8),
            "img_shape": (30, 40),
            "gt_bboxes": UprightBoxes(rows + number),
            "gt_bboxes_labels": np.array([1, 2]),
            "gt_ignore_flags": np.zeros(2, bool),
        }
        for number in range(2)
    ]
    assert torch.equal(as_boxes(samples[1]["gt_bboxes"]), rows + 1)
    unmixed = TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 0.0})({**samples[0], "mix_results": samples[1:]})
    assert type(unmixed["gt_bboxes"]) is UprightBoxes
    assert torch.equal(unmixed["gt_bboxes"].tensor, rows)
    mixed = TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0})({**samples[0], "mix_results": samples[1:]})
    assert len(mixed["gt_bboxes"]) == len(mixed["gt_bboxes_labels"])


class Bitmaps:
    """What the adapter asks of a ``BitmapMasks``."""

    def __init__(self, masks, height, width):
        assert masks.shape[1:] == (height, width)
        self.masks = masks

    def __len__(self):
        return len(self.masks)


@pytest.mark.usefixtures("no_mmdet")
def test_objects_whose_bitmap_is_empty_stay_where_nothing_touches_them():
    rows = torch.tensor([[2.0, 3.0, 14.0, 15.0], [24.0, 4.0, 38.0, 28.0]])
    masks = np.zeros((2, 30, 40), np.uint8)
    masks[1, 4:28, 24:38] = 1
    samples = [
        {
            "img": np.full((30, 40, 3), number, np.uint8),
            "gt_bboxes": UprightBoxes(rows),
            "gt_bboxes_labels": np.array([1, 2]) + 2 * number,
            "gt_masks": Bitmaps(masks.copy(), 30, 40),
        }
        for number in range(2)
    ]
    unmixed = TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 0.0})({**samples[0], "mix_results": samples[1:]})
    assert torch.equal(unmixed["gt_bboxes"].tensor, rows)
    assert np.array_equal(unmixed["gt_masks"].masks, masks)
    transform = TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    stayed = []
    for seed in range(20):
        np.random.seed(seed)  # noqa: NPY002 - MMEngine's way
        mixed = transform({**samples[0], "mix_results": samples[1:]})
        there = mixed["img"][3:15, 2:14] == 1  # where the partner shows in the box of the empty mask
        labels = mixed["gt_bboxes_labels"].tolist()
        assert ((1 in labels), (3 in labels)) == (not there.any(), bool(there.all()))
        assert len(mixed["gt_masks"]) == len(labels)
        stayed.append(1 in labels)
    assert len(set(stayed)) == 2


class Polygons:
    """What the adapter asks of a ``PolygonMasks``; every polygon is an upright rectangle."""

    def __init__(self, masks, height, width):
        self.masks, self.height, self.width = masks, height, width

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, index):
        return type(self)(self.masks[index], self.height, self.width)

    def to_ndarray(self):
        drawn = np.zeros((len(self.masks), self.height, self.width), np.uint8)
        for bitmap, parts in zip(drawn, self.masks):
            x, y = parts[0].reshape(-1, 2).T.astype(int)
            bitmap[y.min() : y.max(), x.min() : x.max()] = 1
        return drawn

    def to_bitmap(self):
        return Bitmaps(self.to_ndarray(), self.height, self.width)


@pytest.mark.usefixtures("no_mmdet")
@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("of_base", ["polygons", "none", "bytes"])
def test_polygons_become_bitmaps_of_bytes(p, of_base):
    """As MMDetection draws them: OpenCV 4, by which its transforms resize and pad them, takes no bool."""
    corners = np.array([2.0, 3.0, 14.0, 3.0, 14.0, 15.0, 2.0, 15.0])
    rows = torch.tensor([[2.0, 3.0, 14.0, 15.0]])
    base, partner = (
        {
            "img": np.full((30, 40, 3), number, np.uint8),
            "gt_bboxes": UprightBoxes(rows),
            "gt_bboxes_labels": np.array([number]),
            "gt_masks": Polygons([[corners]], 30, 40),
        }
        for number in range(2)
    )
    if of_base == "none":
        base |= {"gt_bboxes": UprightBoxes(rows[:0]), "gt_bboxes_labels": np.zeros(0, int)}
        base["gt_masks"] = Polygons([], 30, 40)
    elif of_base == "bytes":
        base["gt_masks"] = base["gt_masks"].to_bitmap()
    region = {"type": "AreaBox", "area": (0.4, 0.6)}
    transform = TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": p, "region": region})
    np.random.seed(0)  # noqa: NPY002 - MMEngine's way
    mixed = [transform({**base, "mix_results": [partner]})["gt_masks"] for _ in range(4)]
    assert {type(masks) for masks in mixed} == {Bitmaps}
    assert {masks.masks.dtype for masks in mixed} == {np.dtype(np.uint8)}
    assert any(masks.masks.any() for masks in mixed) == bool(p or of_base != "none")


def padded_sample(size, frame, ignored):
    """An image of a batch whose frame is larger; its ignored instance's mask was padded, or was not."""
    box = torch.tensor([[4.0, 6.0, 14.0, 16.0]])
    masks = torch.zeros(1, *frame, dtype=torch.uint8)
    masks[:, 6:16, 4:14] = 1
    sample = BaseDataElement(metainfo={"img_shape": size})
    sample.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([1]), masks=masks)
    sample.ignored_instances = InstanceData(
        bboxes=box, labels=torch.tensor([2]), masks=masks[:, : ignored[0], : ignored[1]]
    )
    return sample


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_masks_of_ignored_instances_are_padded_as_the_others_are(p):
    """MMDetection pads those of gt_instances alone."""
    sizes, frame = ((20, 26), (24, 22)), (32, 32)
    mixed = []
    for padded in (True, False):
        mix = MODELS.build({"type": "cutmix_dense.CutMix", "p": p})
        torch.manual_seed(1)
        _, samples = mix(
            torch.zeros(2, 3, *frame), [padded_sample(size, frame, frame if padded else size) for size in sizes]
        )
        mixed.append([sample.ignored_instances for sample in samples])
    assert sum(map(len, mixed[0])) >= 2
    for wanted, found in zip(*mixed, strict=True):
        assert found.masks.shape[1:] == frame
        assert torch.equal(found.masks, wanted.masks)
        assert torch.equal(found.bboxes, wanted.bboxes)


def test_masks_of_ignored_instances_that_no_padding_fits_are_named():
    mix = MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    samples = [padded_sample((20, 26), (32, 32), size) for size in ((20, 26), (20, 26))]
    samples[1].ignored_instances.masks = torch.zeros(1, 20, 40)
    with pytest.raises(ValueError, match=r"ignored_instances.masks .* \(32, 32\), got \(20, 40\): resize both alike"):
        mix(torch.zeros(2, 3, 32, 32), samples)
