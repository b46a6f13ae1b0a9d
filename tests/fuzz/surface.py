"""Batches of odd targets through every transform."""

from __future__ import annotations

import inspect
import random
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.build import known_transforms

from .invariants import check_mixed, within
from .target import CALLING, Target

FAST = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
NUMBERS = st.one_of(
    st.floats(-4, 20, width=32),
    st.integers(-2, 20).map(float),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e-30, 0.0, 3e38]),
)
SANE = st.integers(0, 14).map(float)
DTYPES = st.sampled_from(
    [torch.float32] * 6
    + [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]
)


def as_tensor(rows: list[Any], dtype: torch.dtype, width: int) -> torch.Tensor:
    """Rows of numbers as (N, width); what a type can't hold becomes what torch makes of it."""
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, width).to(dtype)


@st.composite
def instances(draw: Any, size: tuple[int, int], keys: frozenset[str], hostile: bool) -> dict[str, Any]:
    """The target of one image, mostly well formed."""
    height, width = size
    count = draw(st.integers(0, 3))
    number = NUMBERS if hostile else SANE
    odd = st.booleans() if hostile else st.just(False)
    target: dict[str, Any] = {}
    if "boxes" in keys:
        rows = []
        for _ in range(count):
            row = [draw(number) for _ in range(4)]
            rows.append(
                row if hostile and draw(st.booleans()) else [*map(min, row[:2], row[2:]), *map(max, row[:2], row[2:])]
            )
        boxes = as_tensor(rows, draw(DTYPES) if hostile else torch.float32, 4)
        kind = draw(st.sampled_from(["plain", "XYXY", "XYWH", "CXCYWH"]))
        if kind != "plain":
            boxes = tv_tensors.BoundingBoxes(boxes, format=kind, canvas_size=size)
        target["boxes"] = boxes
    length = count + (draw(st.sampled_from([0, 0, 0, 1])) if hostile else 0)
    for key in sorted(keys & {"labels", "iscrowd", "area", "difficult", "track_id", "visibility"}):
        kind = torch.float32 if key in ("area", "visibility") else torch.bool if key == "difficult" else torch.int64
        values = [draw(number) for _ in range(length)]
        if kind != torch.float32:
            values = [value if abs(value) < 2**40 else 7.0 for value in values]
        target[key] = as_tensor(values, draw(DTYPES) if draw(odd) else kind, 1)[:, 0]
    seed = draw(st.integers(0, 99))
    made = torch.Generator().manual_seed(seed)
    if "masks" in keys:
        shape = (length, height + draw(st.sampled_from([0, 0, 1])) * hostile, width)
        masks = torch.rand(shape, generator=made) < draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))
        masks = masks.to(draw(DTYPES)) if draw(odd) else masks
        target["masks"] = tv_tensors.Mask(masks) if draw(st.booleans()) else masks
    if "semantic" in keys:
        semantic = torch.randint(0, 300, size, generator=made).clamp(max=255).to(torch.uint8)
        target["semantic"] = semantic.to(draw(DTYPES)) if draw(odd) else semantic
    if "keypoints" in keys:
        columns = draw(st.sampled_from([2, 3]))
        points = [[[draw(number) for _ in range(columns)] for _ in range(2)] for _ in range(count)]
        target["keypoints"] = as_tensor(points, torch.float32, 2 * columns).reshape(-1, 2, columns)
    if hostile and draw(st.sampled_from([False] * 5 + [True])):
        extra = st.sampled_from([None, "text", torch.zeros(count), torch.zeros(0), [1, 2], {"a": 1}, torch.zeros(2, 2)])
        target[draw(st.sampled_from(["foo", "image_id", "size", "ignored", "boxes", "labels", "masks"]))] = draw(extra)
    return target


@st.composite
def batches(draw: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Images and their targets."""
    hostile = draw(st.booleans())
    count = draw(st.integers(1, 4))
    same = draw(st.booleans())
    side = st.integers(1, 12)
    sizes = [(draw(side), draw(side))] * count if same else [(draw(side), draw(side)) for _ in range(count)]
    names = ["labels", "iscrowd", "area", "difficult", "track_id", "visibility", "masks", "semantic", "keypoints"]
    keys = frozenset({"boxes", *draw(st.lists(st.sampled_from(names), max_size=5))})
    targets = [draw(instances(size, keys, hostile)) for size in sizes]
    dtype = draw(st.sampled_from([torch.uint8, torch.float32, torch.float32, torch.float16, torch.float64]))
    images = [(torch.rand(3, *size) * 200).to(dtype) for size in sizes]
    return (torch.stack(images) if same and draw(st.booleans()) else images), targets


def family() -> dict[str, cd.MixTransform]:
    """Every method with its default settings, and boxes under free-form masks estimated."""
    kinds = {name: kind for name, kind in known_transforms().items() if kind is not cd.RandomMix}
    made = {name: kind(boxes="estimate") for name, kind in kinds.items() if not inspect.isabstract(kind)}
    return dict(sorted(made.items()))


def targets(folder: Path) -> Target:
    """Random batches through a random transform; valid ones must be mixed, all others mixed or refused."""
    methods = family()

    @FAST
    @given(
        batch=batches(),
        name=st.sampled_from(list(methods)),
        seed=st.integers(0, 2**16),
        filtered=st.sampled_from([0, 1, 2]),
    )
    def mix(batch: Any, name: str, seed: int, filtered: int) -> None:
        images, targets = batch
        transform = methods[name]
        transform.on_filtered = ("drop", "ignore", "crowd")[filtered]
        before = [image.clone() for image in images]
        try:
            mixed = transform(images, targets, generator=torch.Generator().manual_seed(seed))
        except CALLING:
            return
        assert all(torch.equal(old, new) for old, new in zip(before, images)), "an input was changed"
        boxes = [target["boxes"] for target in targets if isinstance(target.get("boxes"), torch.Tensor)]
        if len({rows.dtype for rows in boxes}) > 1:
            return  # the narrower type may not hold the other's numbers
        seen = [target["visibility"] for target in targets if "visibility" in target]
        visible = all(bool(((values >= 0) & (values <= 1)).all()) for values in seen)
        sound = len(boxes) == len(images) and all(map(within, boxes, [image.shape[1:] for image in images]))
        check_mixed(*mixed, visible=visible, inside=sound)

    return from_hypothesis(mix)


def from_hypothesis(test: Any) -> Target:
    """A property as a target: the bytes are hypothesis's choices."""
    draw = random.Random(0)
    return Target(test.hypothesis.fuzz_one_input, [draw.randbytes(size) for size in (64, 256, 1024, 1024, 4096, 4096)])
