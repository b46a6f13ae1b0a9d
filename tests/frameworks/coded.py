"""Samples whose pixels say where they came from, in the structures of MMDetection and MMSegmentation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from oracle import Layer, coded_image, decode, expect_instances, expect_semantic, stated_layers

CLASSES = 7
SIZES = [(26, 40), (34, 30), (26, 40), (22, 52), (40, 24)]


def coded_samples(
    count: int = 5, *, masks: str | None = "bitmap", flags: bool = False, maps: bool = True, boxes: bool = True
) -> list[dict[str, Any]]:
    """Samples as a detection pipeline holds them after loading: non-square, of several sizes, one without objects."""
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks, PolygonMasks

    rng = np.random.default_rng(3)
    samples = []
    for number in range(count):
        height, width = SIZES[number]
        image = coded_image(number, height, width).numpy().transpose(1, 2, 0).copy()
        sample: dict[str, Any] = {"img": image, "img_shape": (height, width), "ori_shape": (height, width)}
        sample["img_id"] = number
        n = 0 if number == 1 else 4
        low = np.stack([rng.integers(0, width - 9, n), rng.integers(0, height - 9, n)], axis=1)
        high = low + rng.integers(4, 9, (n, 2))
        found = np.concatenate([low, high], axis=1).astype(np.float32).reshape(n, 4)
        if boxes:
            sample["gt_bboxes"] = HorizontalBoxes(found)
            sample["gt_bboxes_labels"] = rng.integers(0, CLASSES, n)
            sample["gt_ignore_flags"] = np.zeros(n, dtype=bool)
            if flags:
                sample["gt_ignore_flags"][: min(1, n)] = True
        if masks == "bitmap":
            drawn = np.zeros((n, height, width), dtype=np.uint8)
            for k, (x0, y0, x1, y1) in enumerate(found.astype(int)):
                drawn[k, y0:y1, x0:x1] = 1
                drawn[k, y0, x0] = 0
            sample["gt_masks"] = BitmapMasks(drawn, height, width)
        elif masks == "polygon":
            corners = [[np.array([x0, y0, x1, y0, x1, y1, x0, y1])] for x0, y0, x1, y1 in found]
            sample["gt_masks"] = PolygonMasks(corners, height, width)
        if maps:
            sample["seg_fields"] = ["gt_seg_map"]
            sample["gt_seg_map"] = rng.integers(0, CLASSES, (height, width)).astype(np.uint8)
        samples.append(sample)
    return samples


class CodedDataset(BaseDataset):
    """The coded samples, as the dataset that a ``MultiImageMixDataset`` wraps."""

    METAINFO: dict[str, Any] = {"classes": tuple("abcdefg"), "palette": [(i, i, i) for i in range(CLASSES)]}  # noqa: RUF012

    def __init__(self, **kinds: Any) -> None:
        self.samples = coded_samples(**kinds)
        super().__init__()

    def load_data_list(self) -> list[dict[str, Any]]:
        return [{"number": number} for number in range(len(self.samples))]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return copy.deepcopy(self.samples[index])


def as_targets(samples: list[dict[str, Any]], *, masks: bool = True) -> list[dict[str, Any]]:
    """Their instances as the core and the oracle take them; those to be ignored left out."""
    targets = []
    for sample in samples:
        keep = ~sample["gt_ignore_flags"]
        target = {
            "boxes": sample["gt_bboxes"].tensor[torch.from_numpy(keep)],
            "labels": torch.from_numpy(sample["gt_bboxes_labels"][keep]),
        }
        if masks and "gt_masks" in sample:
            target["masks"] = torch.from_numpy(sample["gt_masks"].to_ndarray()[keep])
        targets.append(target)
    return targets


def check(
    image: np.ndarray,
    found: dict[str, Any],
    semantic: np.ndarray | None,
    pool: list[dict[str, Any]],
    plan: Any,
    output: int,
    settings: Any,
) -> int:
    """Hold one output (H, W, 3) with its instances and map against what its pixels prove; returns foreign pixels."""
    sizes = [sample["img"].shape[:2] for sample in pool]
    layers = stated_layers(plan, output)
    assert all(layer is None or layer.identity for layer in layers), "only unscaled mixes can be decoded"
    prov = decode(torch.from_numpy(image.transpose(2, 0, 1).copy()), image.shape[:2], sizes)
    records = expect_instances(prov, layers, as_targets(pool), sizes, settings, dyadic=True)
    kept = [record for record in records if record.outcome == "kept" and not record.near]
    assert not any(record.near for record in records), "choose other samples: a threshold is met exactly"
    assert np.allclose(found["boxes"], np.array([record.box for record in kept]).reshape(-1, 4), atol=1e-4)
    labels = [
        int(pool[record.source]["gt_bboxes_labels"][~pool[record.source]["gt_ignore_flags"]][record.index])
        for record in kept
    ]
    assert found["labels"].tolist() == labels
    if "masks" in found:
        wanted = np.stack([record.mask for record in kept]) if kept else np.zeros((0, *image.shape[:2]))
        assert np.array_equal(found["masks"] != 0, wanted)
    if semantic is not None:
        assert np.array_equal(semantic, expect_semantic(prov, [sample["gt_seg_map"] for sample in pool], 255))
    base = next(layer for layer in layers if isinstance(layer, Layer)).source
    return int((prov.source != base).sum())
