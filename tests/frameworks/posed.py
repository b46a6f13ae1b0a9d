"""Samples of people whose pixels, keypoints and records say where they came from, in MMPose's keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from oracle import Provenance, coded_image, decode

POINTS = 6
SIZES = [(40, 56), (34, 48), (40, 56), (30, 62), (52, 38)]


def posed_samples(
    count: int = 4, *, sizes: Sequence[tuple[int, int]] = SIZES, points_each: int = POINTS
) -> list[dict[str, Any]]:
    """A bottom-up dataset's samples behind LoadImage: non-square, of several sizes, one without people.

    ``category_id`` names image and person: 10 · image + person.
    """
    rng = np.random.default_rng(7)
    samples = []
    for number in range(count):
        height, width = sizes[number]
        n = 0 if number == 1 else 3
        low = np.stack([rng.uniform(0, width - 20, n), rng.uniform(0, height - 18, n)], axis=1)
        high = low + rng.uniform(10, 18, (n, 2))
        points = low[:, None] + rng.uniform(0, 1, (n, points_each, 2)) * (high - low)[:, None]
        samples.append(
            {
                "img": coded_image(number, height, width).numpy().transpose(1, 2, 0).copy(),
                "img_shape": (height, width),
                "ori_shape": (height, width),
                "img_id": number,
                "bbox": np.concatenate([low, high], axis=1).astype(np.float32),
                "bbox_score": (1 - rng.uniform(0, 0.5, n)).astype(np.float32),
                "category_id": 10 * number + np.arange(n),
                "area": (high - low).prod(axis=1).astype(np.float32) * 0.53,
                "keypoints": points.astype(np.float32),
                "keypoints_visible": (rng.random((n, points_each)) < 0.8).astype(np.float32),
                "id": [100 * number + index for index in range(n)],
                "iscrowd": [0] * n,
                "num_keypoints": [points_each] * n,
                "raw_ann_info": [{"id": 100 * number + index} for index in range(n)],
                "invalid_segs": [],
                "flip_indices": [0, 2, 1, 4, 3, 5],
            }
        )
    return samples


def placed(image: np.ndarray, pool: Sequence[dict[str, Any]]) -> Provenance:
    """Where the pixels of a mixed image (H, W, 3) came from."""
    sizes = [sample["img"].shape[:2] for sample in pool]
    return decode(torch.from_numpy(image.transpose(2, 0, 1).copy()), image.shape[:2], sizes)


def check_people(prov: Provenance, found: dict[str, np.ndarray], pool: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Hold the people of a mixed image against its pixels; all settings are such that scales are 1.

    Args:
        prov: where its pixels came from.
        found: ``bbox``, ``keypoints``, ``keypoints_visible`` and ``category_id`` of the mixed image.
        pool: the samples, numbered as the pixels are.

    Returns:
        How many keypoints were hidden, and how many boxes made smaller.
    """
    hidden = smaller = 0
    lengths = {len(value) for value in found.values()}
    assert len(lengths) == 1, lengths
    for row, code in enumerate(found["category_id"].tolist()):
        sample, person = pool[code // 10], code % 10
        points, was = sample["keypoints"][person], sample["keypoints_visible"][person]
        was = was[:, 0] if was.ndim == 2 else was
        assert np.array_equal(found["keypoints"][row], points), "an unscaled image moves no point"
        for (x, y), before, after in zip(points, was, found["keypoints_visible"][row]):
            i, j = int(np.floor(y)), int(np.floor(x))
            inside = i < prov.shape[0] and j < prov.shape[1]
            shows = inside and prov.source[i, j] == code // 10 and (prov.y[i, j], prov.x[i, j]) == (i, j)
            assert after == (before if shows else 0)
            hidden += int(before and not shows)
        own = (prov.source == code // 10).astype(float)
        x0, y0, x1, y1 = sample["bbox"][person]
        columns = np.clip(np.minimum(np.arange(own.shape[1]) + 1, x1) - np.maximum(np.arange(own.shape[1]), x0), 0, 1)
        rows = np.clip(np.minimum(np.arange(own.shape[0]) + 1, y1) - np.maximum(np.arange(own.shape[0]), y0), 0, 1)
        shown = own * rows[:, None] * columns
        assert shown.sum() / ((x1 - x0) * (y1 - y0)) >= 0.1 - 1e-6
        seen_x, seen_y = (np.nonzero(shown.sum(axis=axis) > 0)[0] for axis in (0, 1))
        tight = [
            max(x0, seen_x[0]),
            max(y0, seen_y[0]),
            min(x1, seen_x[-1] + 1),
            min(y1, seen_y[-1] + 1),
        ]
        assert np.allclose(found["bbox"][row], tight, atol=1e-4)
        smaller += int(not np.allclose(tight, sample["bbox"][person]))
    return hidden, smaller
