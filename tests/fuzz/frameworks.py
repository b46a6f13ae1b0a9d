"""Samples of MMEngine's pipelines and of Albumentations through every method; partners are the more hostile ones."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cutmix_dense.build import known_transforms
from cutmix_dense.extras import require

from .surface import FAST, NUMBERS, SANE, from_hypothesis
from .target import CALLING, Target

SIDE = st.integers(1, 12)
ODD = st.sampled_from(
    [None, 7, "text", [], [1, 2], {"a": 1}, np.zeros(0), np.zeros((2, 2)), np.zeros((3, 4), "object")]
)
DTYPES = st.sampled_from(["float32"] * 4 + ["float64", "int64", "uint8", "bool"])


@st.composite
def boxes(draw: Any, size: tuple[int, int], count: int, hostile: bool) -> np.ndarray:
    """Boxes (N, 4), xyxy in pixels; sane ones lie in the image."""
    if hostile:
        rows = [[draw(NUMBERS) for _ in range(4)] for _ in range(count)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NaN as an integer
            return np.asarray(rows, dtype=np.float64).reshape(-1, 4).astype(draw(DTYPES))
    ends = [[sorted(min(draw(SANE), side) for _ in range(2)) for side in size[::-1]] for _ in range(count)]
    return np.asarray([[x1, y1, x2, y2] for (x1, x2), (y1, y2) in ends], dtype=np.float32).reshape(-1, 4)


@st.composite
def samples(draw: Any, keys: frozenset[str], names: dict[str, str], hostile: bool) -> dict[str, Any]:
    """One image and what belongs to it, under the names of a framework."""
    size, count = (draw(SIDE), draw(SIDE)), draw(st.integers(0, 3))
    pixels = np.random.default_rng(draw(st.integers(0, 99)))
    found: dict[str, Any] = {"image": pixels.integers(0, 256, (*size, 3), dtype=np.uint8)}
    found["boxes"] = draw(boxes(size, count, hostile and draw(st.booleans())))
    length = count + (hostile and draw(st.sampled_from([0, 0, 0, 1])))
    found["labels"] = np.arange(length)
    found["flags"] = np.arange(length) % 2 == 1
    found["masks"] = (pixels.random((length, *size)) < 0.5).astype(np.uint8)
    found["semantic"] = pixels.integers(0, 9, size, dtype=np.uint8)
    found = {names[key]: value for key, value in found.items() if key in keys and key in names}
    if hostile and draw(st.booleans()):
        key = draw(st.sampled_from([*names.values(), "gt_foo", "proposals", "ignore_index", "mix_results"]))
        found[key] = draw(ODD)
        if draw(st.booleans()):
            del found[key]
    return found


KEYS = st.lists(st.sampled_from(["labels", "flags", "masks", "semantic"]), max_size=4).map(
    lambda keys: frozenset({"image", "boxes", "labels", *keys})
)
MMENGINE = {
    "image": "img",
    "boxes": "gt_bboxes",
    "labels": "gt_bboxes_labels",
    "flags": "gt_ignore_flags",
    "masks": "gt_masks",
    "semantic": "gt_seg_map",
}
ALBUMENTATIONS = {"image": "image", "boxes": "bboxes", "labels": "labels", "masks": "masks", "semantic": "mask"}


def pipelines(folder: Path) -> Target:
    """MMEngine's per-sample transforms, with the partners in `mix_results`."""
    require("mmengine", "mmengine")
    from cutmix_dense.mmengine import sample as module

    names = sorted(name for name in known_transforms() if hasattr(module, name) and name != "RandomMix")
    methods = {name: getattr(module, name)(p=1.0, boxes="estimate") for name in names}

    @FAST
    @given(data=st.data(), keys=KEYS, name=st.sampled_from(names), hostile=st.booleans())
    def mix(data: Any, keys: frozenset[str], name: str, hostile: bool) -> None:
        method = methods[name]
        results = data.draw(samples(keys, MMENGINE, hostile))
        results["mix_results"] = [
            data.draw(samples(keys, MMENGINE, hostile)) for _ in range(max(1, method.mix.partners))
        ]
        before = copy.deepcopy(results)
        np.random.seed(0)  # noqa: NPY002 - which MMEngine seeds
        try:
            mixed = method(results)
        except CALLING:
            return
        assert same(before, results), "an input was changed"
        size = mixed["img"].shape[:2]
        if "gt_bboxes" in mixed:
            assert np.isfinite(np.asarray(mixed["gt_bboxes"], dtype=np.float64)).all(), mixed["gt_bboxes"]
            for key in {"gt_bboxes_labels", "gt_ignore_flags", "gt_masks"} & mixed.keys():
                assert len(mixed[key]) == len(mixed["gt_bboxes"]), key
        assert "gt_seg_map" not in mixed or mixed["gt_seg_map"].shape == size

    return from_hypothesis(mix)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, arrays by their content."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return bool(one == other)


def albumentations(folder: Path) -> Target:
    """Albumentations' transforms in a `Compose`, with the partners in `mix_metadata`; only these are hostile."""
    A = require("albumentations", "albumentations")
    import cutmix_dense.albumentations as adapter

    names = sorted(name for name in known_transforms() if hasattr(adapter, name) and name != "RandomMix")
    methods = {
        name: A.Compose(
            [getattr(adapter, name)(p=1.0, boxes="estimate")],
            bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"], filter_invalid_bboxes=True),
            seed=0,
        )
        for name in names
    }

    @FAST
    @given(data=st.data(), keys=KEYS, name=st.sampled_from(names))
    def mix(data: Any, keys: frozenset[str], name: str) -> None:
        base = data.draw(samples(keys, ALBUMENTATIONS, False))
        count = data.draw(st.integers(1, 4))
        partners: Any = [data.draw(samples(keys, ALBUMENTATIONS, data.draw(st.booleans()))) for _ in range(count)]
        if data.draw(st.sampled_from([False] * 9 + [True])):
            partners = data.draw(st.one_of(ODD, st.just([7, None])))
        before = copy.deepcopy(partners)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                mixed = methods[name](**base, mix_metadata=partners)
            except CALLING:
                return
        assert same(before, partners), "a partner was changed"
        size = mixed["image"].shape[:2]
        rows = np.asarray(mixed["bboxes"], dtype=np.float64).reshape(-1, 4)
        assert np.isfinite(rows).all(), rows
        assert len(mixed["labels"]) == len(rows)
        assert "mask" not in mixed or mixed["mask"].shape == size
        assert all(mask.shape == size for mask in mixed.get("masks", ()))

    return from_hypothesis(mix)
