"""Panoptic maps against plain loops over coded pixels: whose pixel is whose, and what is known of every segment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import (
    FILL,
    Layer,
    Provenance,
    attribute,
    clone,
    coded_pool,
    decode,
    drawn_cells,
    same,
    stated_layers,
)
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense import MixPlan
from cutmix_dense import functional as F
from cutmix_dense.transforms.pool import Pool

Size = tuple[int, int]
STUFF, THINGS = (101, 102, 103), (1, 2, 3)
LARGEST = 256**3 - 1  # the largest id that a PNG can hold


# ---------------------------------------------------------------------------------------------------------------------
# random maps


def random_panoptic(rng: np.random.Generator, size: Size) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """A map of a few overlapping blocks over void; ids from a small range, so that images share them."""
    ids = np.zeros(size, dtype=np.int64)
    numbers = rng.permutation([1, 2, 3, 5, 7, 250, 256, 70_000, LARGEST])[: rng.integers(0, 8)].tolist()
    infos = []
    stuff = rng.permutation(STUFF).tolist()
    for number in numbers:
        y, x = (sorted(rng.integers(0, side + 1, 2).tolist()) for side in size)
        ids[y[0] : y[1] + 1, x[0] : x[1] + 1] = number
        is_thing = bool(rng.random() < 0.6) or not stuff
        category = int(rng.choice(THINGS)) if is_thing else stuff.pop()
        info = {"id": number, "category_id": category, "isthing": int(is_thing)}
        if is_thing and rng.random() < 0.2:
            info["iscrowd"] = 1
        if rng.random() < 0.2:
            info["visibility"] = float(rng.choice([0.25, 0.5, 1.0]))
        infos.append({**info, "name": f"segment {number}"})
    return torch.from_numpy(ids), infos


def random_layer(rng: np.random.Generator, source: int, size: Size, kind: str) -> Layer:
    """Where an image lies on the canvas: scales are exact in binary."""
    scale, shift = [], []
    for side in size:
        factor = {"still": 1.0, "shift": 1.0, "flip": -1.0}.get(kind) or float(rng.choice([0.5, 2.0, 0.75, -1.5]))
        scale.append(factor)
        shift.append(0.0 if kind == "still" else float(rng.integers(-6, 7)) + (side * -factor if factor < 0 else 0.0))
    extent = (0, 0, *size)
    if rng.random() < 0.3:
        y, x = (sorted(rng.choice(side + 1, 2, replace=False).tolist()) for side in size)
        extent = (y[0], x[0], y[1], x[1])
    return Layer(source, (scale[0], scale[1]), (shift[0], shift[1]), extent)


def random_plan(rng: np.random.Generator, sizes: Sequence[Size], kind: str, depth: int) -> MixPlan:
    """A grid drawn cell by cell over layers; sources repeat, layers are absent, cells are fill."""
    outputs = 3
    canvases = [(int(rng.integers(3, 13)), int(rng.integers(3, 17))) for _ in range(outputs)]
    rows, cols = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    layers = []
    for b in range(outputs):
        chosen = rng.integers(0, len(sizes), depth).tolist()
        if kind == "still":
            canvases[b] = sizes[chosen[0]]
        layers.append([random_layer(rng, s, sizes[s], kind) for s in chosen])
    edges = tuple(
        torch.tensor([sorted([0, *rng.integers(0, c[axis] + 1, n - 1).tolist(), c[axis]]) for c in canvases])
        for axis, n in enumerate((rows, cols))
    )
    carry = torch.from_numpy(rng.random((outputs, depth, 4)) < 0.7) if rng.random() < 0.3 else None
    return MixPlan(
        source=torch.tensor([[layer.source for layer in row] for row in layers]),
        scale=torch.tensor([[layer.scale for layer in row] for row in layers]),
        shift=torch.tensor([[layer.shift for layer in row] for row in layers]),
        extent=torch.tensor([[layer.extent for layer in row] for row in layers]),
        canvas=torch.tensor(canvases),
        edges=edges,  # type: ignore[arg-type]
        owner=torch.from_numpy(rng.integers(-1, depth, (outputs, rows, cols))).to(torch.int8),
        frame=(max(h for h, _ in canvases), max(w for _, w in canvases)),
        carry=carry,
    )


# ---------------------------------------------------------------------------------------------------------------------
# the rules, in plain loops


@dataclass
class Expected:
    """A segment that must come out."""

    pixels: set[tuple[int, int]]
    parts: list[tuple[int, int, int]]  # layer, image, index
    category: int
    isthing: int
    iscrowd: int
    visibility: float
    name: str


@dataclass(frozen=True)
class Rule:
    min_visibility: float = 0.1
    min_size: float = 1.0
    on_filtered: str = "drop"


def mapped_lines(scale: float, shift: float, low: int, high: int) -> list[int]:
    """The source line of each line of a canvas without end that a layer reaches; in the plan's own precision."""
    s, t = np.float32(scale), np.float32(shift)
    ends = sorted([s * np.float32(low) + t, s * np.float32(high) + t])
    lines = range(math.ceil(ends[0] - np.float32(0.5)), math.ceil(ends[1] - np.float32(0.5)))
    return [min(max(math.floor((np.float32(j + 0.5) - t) / s), low), high - 1) for j in lines]


def expect_segments(
    prov: Provenance,
    shown: np.ndarray,
    layers: Sequence[Layer | None],
    maps: Sequence[torch.Tensor],
    infos: Sequence[Sequence[dict[str, Any]]],
    rule: Rule,
    carry: Sequence[Sequence[bool]] | None = None,
) -> tuple[list[Expected], list[Expected]]:
    """The segments of one output, and those set aside, from the provenance of its pixels alone."""
    grids = [ids.tolist() for ids in maps]
    visible: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for i in range(prov.shape[0]):
        for j in range(prov.shape[1]):
            if prov.source[i, j] >= 0:
                number = grids[prov.source[i, j]][prov.y[i, j]][prov.x[i, j]]
                visible.setdefault((int(shown[i, j]), number), set()).add((i, j))
    kept: dict[Any, Expected] = {}
    wholes: dict[Any, float] = {}
    aside: list[Expected] = []
    for s, layer in enumerate(layers):
        if layer is None:
            continue
        y0, x0, y1, x1 = layer.extent or (0, 0, *maps[layer.source].shape)
        rows = mapped_lines(layer.scale[0], layer.shift[0], y0, y1)
        columns = mapped_lines(layer.scale[1], layer.shift[1], x0, x1)
        for index, info in enumerate(infos[layer.source]):
            pixels = visible.get((s, info["id"]), set())
            if not pixels or (carry is not None and index < len(carry[s]) and not carry[s][index]):
                continue
            grid = grids[layer.source]
            whole = sum(grid[y][x] == info["id"] for y in rows for x in columns)
            before = info.get("visibility", 1.0)
            seen = Expected(
                pixels,
                [(s, layer.source, index)],
                info["category_id"],
                info["isthing"],
                info.get("iscrowd", 0),
                len(pixels) / whole * before,
                info["name"],
            )
            if info["isthing"]:
                sides = [max(line) - min(line) + 1 for line in zip(*pixels)]
                untouched = layer.identity and len(pixels) == whole
                if untouched or (seen.visibility >= rule.min_visibility and min(sides) >= rule.min_size):
                    kept[s, index] = seen
                elif rule.on_filtered == "crowd":
                    kept[s, index] = replace(seen, iscrowd=1)
                elif rule.on_filtered == "ignore":
                    aside.append(seen)
                continue
            key = seen.category
            wholes[key] = wholes.get(key, 0) + whole / before
            if key in kept:
                kept[key].pixels.update(pixels)
                kept[key].parts += seen.parts
                kept[key].visibility = len(kept[key].pixels) / wholes[key]
            else:
                kept[key] = replace(seen, pixels=set(pixels))
    return list(kept.values()), aside


def check_segments(ids: torch.Tensor, infos: Sequence[dict[str, Any]], wanted: Sequence[Expected]) -> None:
    """A map and its segments hold what is wanted, in that order, and nothing else."""
    grid = ids.tolist()
    where: dict[int, set[tuple[int, int]]] = {}
    for i, row in enumerate(grid):
        for j, number in enumerate(row):
            if number:
                where.setdefault(number, set()).add((i, j))
    assert [info["name"] for info in infos] == [segment.name for segment in wanted]
    assert len({info["id"] for info in infos}) == len(infos)
    assert set(where) == {info["id"] for info in infos}
    for info, segment in zip(infos, wanted):
        assert where[info["id"]] == segment.pixels
        assert info["area"] == len(segment.pixels)
        y, x = zip(*segment.pixels)
        assert info["bbox"] == [min(x), min(y), max(x) + 1 - min(x), max(y) + 1 - min(y)]
        assert info["category_id"] == segment.category
        assert (info["isthing"], info["iscrowd"]) == (segment.isthing, segment.iscrowd)
        assert info["visibility"] == pytest.approx(segment.visibility, rel=1e-12)
        assert info["origin"] == [[image, index] for _, image, index in segment.parts]


def check_ids(infos: Sequence[dict[str, Any]], before: Sequence[Sequence[dict[str, Any]]]) -> None:
    """The first with an id keeps it; the others get the least that none came with, nor got before."""
    given = [before[info["origin"][0][0]][info["origin"][0][1]]["id"] for info in infos]
    used: set[int] = set()
    for info, number in zip(infos, given):
        if number not in used:
            assert info["id"] == number
        else:
            assert info["id"] == next(k for k in range(1, 10**6) if k not in used and k not in given)
        used.add(info["id"])


def check_plan(
    plan: MixPlan, maps: list[torch.Tensor], infos: list[list[dict[str, Any]]], rule: Rule
) -> F.MixedPanoptic:
    """Everything about one plan; returns what was mixed."""
    sizes = [(ids.shape[0], ids.shape[1]) for ids in maps]
    before = clone([maps, infos])
    mixed = F.mix_panoptic(
        maps,
        infos,
        plan,
        min_visibility=rule.min_visibility,
        min_size=rule.min_size,
        on_filtered=rule.on_filtered,  # type: ignore[arg-type]
    )
    assert same([maps, infos], before), "inputs changed"
    images = F.mix_pixels(coded_pool(sizes), plan, fill=FILL, interpolation="nearest")
    for b, canvas in enumerate(plan.canvas.tolist()):
        layers = stated_layers(plan, b)
        prov = decode(images[b], (canvas[0], canvas[1]), sizes)
        shown = attribute(prov, layers, drawn_cells(plan, b))
        carry = None if plan.carry is None else plan.carry[b].tolist()
        kept, aside = expect_segments(prov, shown, layers, maps, infos, rule, carry)
        check_segments(mixed.maps[b], mixed.segments[b], kept)
        if rule.on_filtered == "ignore":
            check_segments(mixed.ignored_maps[b], mixed.ignored_segments[b], aside)
            assert not (mixed.maps[b].bool() & mixed.ignored_maps[b].bool()).any()
            everything = [*mixed.segments[b], *mixed.ignored_segments[b]]
            assert len({info["id"] for info in everything}) == len(everything)
        else:
            assert mixed.ignored_maps is None
            check_ids(mixed.segments[b], infos)
    return mixed


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["still", "shift", "flip", "scale"]),
    depth=st.integers(1, 4),
    pool=st.integers(1, 3),
    rule=st.builds(
        Rule,
        st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
        st.sampled_from([0.0, 1.0, 3.0]),
        st.sampled_from(["drop", "ignore", "crowd"]),
    ),
)
def test_any_plan(seed, kind, depth, pool, rule):
    rng = np.random.default_rng(seed)
    sizes = [(int(rng.integers(3, 12)), int(rng.integers(3, 15))) for _ in range(pool)]
    parts = [random_panoptic(rng, size) for size in sizes]
    maps, infos = [part[0] for part in parts], [part[1] for part in parts]
    plan = random_plan(rng, sizes, kind, depth)
    mixed = check_plan(plan, maps, infos, rule)
    for b, (ids, segments) in enumerate(zip(mixed.maps, mixed.segments)):
        assert ids.shape == tuple(plan.canvas[b])
        assert sum(info["area"] for info in segments) == ids.numel() - int((ids == 0).sum())
        came = {info["category_id"] for image in plan.source[b].tolist() for info in infos[image]}
        assert {info["category_id"] for info in segments} <= came
        stuff = [info["category_id"] for info in segments if not info["isthing"]]
        assert len(set(stuff)) == len(stuff)
        assert all(info["area"] <= info["bbox"][2] * info["bbox"][3] for info in segments)


# ---------------------------------------------------------------------------------------------------------------------
# single cases


def scene(number: int = 0) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """6×9: stuff on the left, a thing in the middle, a crowd on the right, one column of void."""
    ids = torch.zeros(6, 9, dtype=torch.int32)
    ids[:, :4], ids[1:4, 3:6], ids[:, 7:] = 5, 7, 9
    infos = [
        {"id": 5, "category_id": 101, "isthing": 0},
        {"id": 7, "category_id": 1, "isthing": 1, "note": number},
        {"id": 9, "category_id": 2, "isthing": 1, "iscrowd": 1},
    ]
    return ids, infos


def halves(sizes: Sequence[Size] = ((6, 9), (6, 9)), at: int = 5) -> MixPlan:
    """Image 0 left of a column, image 1 from there on."""
    box = torch.tensor([[[0, at, sizes[0][0], sizes[0][1]]]])
    return MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, torch.tensor(sizes))


def test_stuff_merges_things_stay_apart_and_crowds_too():
    (a, info_a), (b, info_b) = scene(0), scene(1)
    b[:, 6:] = 5  # the partner's stuff shows on the right
    plan = halves()
    mixed = F.mix_panoptic([a, b], [info_a, info_b], plan)
    ids, segments = mixed.maps[0], mixed.segments[0]
    assert [(info["id"], info["category_id"], info["area"]) for info in segments] == [
        (5, 101, 39),
        (7, 1, 6),
        (1, 1, 3),
    ]
    assert segments[0]["origin"] == [[0, 0], [1, 0]]
    assert segments[0]["bbox"] == [0, 0, 9, 6]
    assert segments[0]["visibility"] == pytest.approx(39 / (21 + 39))
    assert [info["visibility"] for info in segments[1:]] == [6 / 9, 3 / 9]
    assert (segments[1]["note"], segments[2]["note"]) == (0, 1)
    assert ids.dtype == torch.int32
    assert torch.equal(ids[:, 6:], torch.full((6, 3), 5, dtype=torch.int32))
    crowd = F.mix_panoptic([a, scene()[0]], [info_a, info_b], plan, min_visibility=0.5, on_filtered="crowd")
    assert [(info["id"], info["iscrowd"]) for info in crowd.segments[0]] == [(5, 0), (7, 0), (1, 1), (9, 1)]


def test_one_image_twice():
    ids, infos = scene()
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 0]]),
        torch.tensor([[[0, 0, 6, 4]]]),
        torch.tensor([[6, 9]]),
        shift=torch.tensor([[[0.0, 0.0], [0.0, -3.0]]]),
        scale=torch.ones(1, 2, 2),
    )
    segments = F.mix_panoptic([ids], [infos], plan).segments[0]
    things = [info for info in segments if info["category_id"] == 1]
    assert [info["id"] for info in things] == [7, 1]
    assert [info["area"] for info in things] == [6, 9]
    assert [info["origin"] for info in things] == [[[0, 1]], [[0, 1]]]


def test_untouched_stays_and_goes_unfiltered():
    ids, infos = scene()
    infos[1]["visibility"] = 0.05  # of an earlier mix
    plan = MixPlan.from_rectangles(torch.tensor([[0, -1]]), torch.zeros(1, 1, 4).long(), torch.tensor([[6, 9]]))
    mixed = F.mix_panoptic([tv_tensors.Mask(ids)], [infos], plan, min_visibility=0.9, min_size=20)
    assert torch.equal(mixed.maps[0], ids)
    assert type(mixed.maps[0]) is tv_tensors.Mask
    assert [info["visibility"] for info in mixed.segments[0]] == [1.0, 0.05, 1.0]
    assert [row["outcome"] for row in mixed.report.rows()] == ["kept"] * 3


def test_visibility_multiplies_over_mixes():
    ids, infos = scene()
    once = F.mix_panoptic([ids, ids], [infos, infos], halves(at=4))
    twice = F.mix_panoptic([once.maps[0], ids], [once.segments[0], infos], halves(at=4))
    at_once = [info["visibility"] for info in once.segments[0]]
    assert [info["visibility"] for info in twice.segments[0] if info["origin"][0][0] == 0] == at_once[:2]


def test_rules_of_peers_and_of_base_and_pasted():
    ids, infos = scene()
    plan, both = halves(at=4), ([ids, ids], [infos, infos])
    # the thing shows 3 of 9 pixels as the base's and 6 as the partner's
    assert [i["id"] for i in F.mix_panoptic(*both, plan, min_visibility=(0.5, 0.0)).segments[0]] == [5, 7, 9]
    assert [i["id"] for i in F.mix_panoptic(*both, plan, min_visibility=(0.0, 0.9)).segments[0]] == [5, 7, 9]
    strict = F.FilterRule(min_visibility=3 / 9, strict=True)
    report = F.mix_panoptic(*both, plan, rule=strict).report
    reasons = {(row["layer"], row["instance"]): row["reason"] for row in report.rows()}
    assert reasons[0, 1] == "low visibility"
    assert reasons[1, 1] == ""
    assert reasons[0, 2] == "covered"
    # of the mmdet rule, a box that hardly moved stays whatever shows of it
    assert len(F.mix_panoptic(*both, plan, rule="mmdet_copy_paste").segments[0]) == 4
    tight = F.OcclusionRule(max_box_shift=1.0, min_pixels=100)
    assert [(r["layer"], r["instance"]) for r in F.mix_panoptic(*both, plan, rule=tight).report.rows()
            if r["reason"] == "low visibility"] == [(0, 1)]  # fmt: skip


@pytest.mark.parametrize("low", [(0, 0), (1, 2)])
def test_a_rule_that_looks_at_the_box_sees_that_of_the_extent(low):
    """The thing lost a pixel in its middle, so that its box stayed; and one at its corner, its box too."""
    ids, infos = scene()
    rule = F.OcclusionRule(max_box_shift=0.0, min_pixels=100)
    for hole, kept in (((2, 4, 3, 5), True), ((1, 3, 4, 4), False)):
        plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.tensor([[hole]]), torch.tensor([[6, 9], [6, 9]]))
        plan.extent[:, 0, :2] = torch.tensor(low)
        empty = torch.zeros_like(ids)
        found = F.mix_panoptic([ids, empty], [infos, []], plan, rule=rule).segments[0]
        assert (7 in [info["id"] for info in found]) == kept


def test_carry_counts_segments():
    ids, infos = scene()
    plan = replace(halves(at=4), carry=torch.tensor([[[True, True, True], [True, False, True]]]))
    mixed = F.mix_panoptic([ids, ids], [infos, infos], plan)
    assert [(info["id"], info["area"]) for info in mixed.segments[0]] == [(5, 21 + 0), (7, 3), (9, 12)]
    left = list(mixed.report.rows())[4]
    assert (left["reason"], left["visibility"]) == ("not carried", 0.0)
    assert not mixed.maps[0][1:4, 4:6].any()


def test_a_segment_that_no_pixel_shows_is_dropped():
    ids, infos = scene()
    infos.append({"id": 11, "category_id": 103, "isthing": 0})
    mixed = F.mix_panoptic([ids, ids], [infos, infos], halves())
    assert 11 not in [info["id"] for info in mixed.segments[0]]
    assert [row["reason"] for row in mixed.report.rows()][3] == "empty mask"


def test_batched_is_unbatched_and_padding_is_void():
    rng = np.random.default_rng(3)
    parts = [random_panoptic(rng, (8, 11)) for _ in range(4)]
    maps, infos = [part[0] for part in parts], [part[1] for part in parts]
    sizes = torch.tensor([[8, 11], [6, 9], [8, 10], [5, 11]])
    padded = torch.zeros(4, 10, 13, dtype=torch.int64)
    for number, (h, w) in enumerate(sizes.tolist()):
        padded[number] = infos[number][0]["id"] if infos[number] else 0  # must not be seen
        padded[number, :h, :w] = maps[number][:h, :w]
        maps[number] = maps[number][:h, :w]
    source = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]])
    boxes = torch.tensor([[[1, 2, 5, 7]]]).expand(4, 1, 4)
    plan = MixPlan.from_rectangles(source, boxes, sizes, frame=(10, 13))
    one = F.mix_panoptic(padded, infos, plan)
    many = F.mix_panoptic(maps, infos, plan)
    assert isinstance(one.maps, torch.Tensor)
    assert one.maps.shape == padded.shape
    for number, (h, w) in enumerate(sizes.tolist()):
        assert torch.equal(one.maps[number, :h, :w], many.maps[number])
        assert not one.maps[number, h:].any()
        assert not one.maps[number, :, w:].any()
    assert one.segments == many.segments
    assert all(infos)


def test_volumes_by_the_same_code():
    """Two axes and three: a volume of equal slices is the image, slice by slice."""
    ids, infos = scene()
    flat = F.mix_panoptic([ids, ids], [infos, infos], halves(at=4))
    deep = ids[None].expand(4, -1, -1).contiguous()
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 1]]), torch.tensor([[[0, 0, 4, 4, 6, 9]]]), torch.tensor([[4, 6, 9], [4, 6, 9]])
    )
    volume = F.mix_panoptic([deep, deep], [infos, infos], plan)
    for part in volume.maps[0]:
        assert torch.equal(part, flat.maps[0])
    for one, other in zip(volume.segments[0], flat.segments[0]):
        x, y, w, h = other["bbox"]
        assert one["bbox"] == [x, y, 0, w, h, 4]
        assert one["area"] == 4 * other["area"]
        assert one["visibility"] == other["visibility"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["still", "scale"])
def test_on_a_device_it_is_the_same(kind):
    rng = np.random.default_rng(2)
    sizes = [(9, 14), (11, 8)]
    parts = [random_panoptic(rng, size) for size in sizes]
    maps, infos = [part[0] for part in parts], [part[1] for part in parts]
    plan = random_plan(rng, sizes, kind, 3)
    here, there = F.mix_panoptic(maps, infos, plan), F.mix_panoptic([ids.cuda() for ids in maps], infos, plan)
    assert here.segments == there.segments
    for one, other in zip(here.maps, there.maps):
        assert other.is_cuda
        assert torch.equal(one, other.cpu())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_dtype_stays(dtype):
    ids, infos = scene()
    assert F.mix_panoptic([ids.to(dtype)] * 2, [infos] * 2, halves()).maps[0].dtype == dtype


def test_an_id_that_does_not_fit_raises():
    ids = torch.arange(1, 256, dtype=torch.uint8).reshape(15, 17)
    infos = [{"id": n, "category_id": 1, "isthing": 1} for n in range(1, 256)]
    shift = torch.tensor([[[0.0, 0.0], [0.0, 8.0]]])
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 0]]), torch.tensor([[[0, 8, 15, 17]]]), torch.tensor([[15, 17]]), shift=shift
    )
    F.mix_panoptic([ids], [infos], plan)  # 255 segments still fit
    stacked = torch.zeros(15, 23, dtype=torch.uint8)
    stacked[:, :17], stacked[:4, 17:] = ids, 255
    with pytest.raises(ValueError, match=r"'panoptic' maps of torch.uint8 can't hold the new id 256"):
        F.mix_panoptic(
            [stacked, stacked],
            [infos, infos],
            MixPlan.from_rectangles(
                torch.tensor([[0, 1]]), torch.tensor([[[0, 17, 4, 23]]]), torch.tensor([[15, 23], [15, 23]])
            ),
            min_visibility=0,
        )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m, s: m[1].__setitem__((0, 0), 77), ValueError, r"maps\[1\] holds .* segments\[1\] doesn't list: 77"),
        (lambda m, s: s[0].pop(1), ValueError, r"maps\[0\] holds ids .*: 7"),
        (lambda m, s: s[1].append(dict(s[1][0])), ValueError, r"segments\[1\] lists the id 5 twice"),
        (lambda m, s: s[0][0].update(id=0), ValueError, r"segments\[0\]\[0\]\['id'\] must lie in 1 …"),
        (lambda m, s: s[0][0].update(id=10**30), ValueError, r"segments\[0\]\[0\]\['id'\] must lie in 1 …"),
        (lambda m, s: s[0][0].update(id=5.0), TypeError, r"segments\[0\]\[0\] must hold whole numbers"),
        (lambda m, s: s[0][2].pop("isthing"), ValueError, r"segments\[0\]\[2\] has no 'isthing'"),
        (lambda m, s: s.__setitem__(0, {5: "sky"}), TypeError, r"segments\[0\] must be a list of dicts, got dict"),
        (lambda m, s: s.pop(), ValueError, "one list per map"),
        (lambda m, s: m.__setitem__(1, m[1].float()), TypeError, r"maps\[1\] must hold integer ids"),
        (lambda m, s: m.__setitem__(1, m[1].long()), ValueError, r"maps\[1\] is torch.int64"),
        (lambda m, s: m.__setitem__(1, m[1][None]), ValueError, r"^maps\[1\] must have 2 dimensions"),
        (lambda m, s: m.__setitem__(1, m[1][:3]), ValueError, "smaller than"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, error, message):
    (a, info_a), (b, info_b) = scene(), scene()
    maps, infos = [a, b], [info_a, info_b]
    change(maps, infos)
    with pytest.raises(error, match=message):
        F.mix_panoptic(maps, infos, halves())


def test_soft_plans_are_refused():
    ids, infos = scene()
    plan = MixPlan.blend(torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]), torch.tensor([[6, 9], [6, 9]]))
    with pytest.raises(ValueError, match="'panoptic' .* soft plan: give one without weights, or 'masks' and 'labels'"):
        F.mix_panoptic([ids, ids], [infos, infos], plan)


# ---------------------------------------------------------------------------------------------------------------------
# targets of transforms


def target(rng: np.random.Generator, size: Size, number: int) -> dict[str, Any]:
    ids, infos = random_panoptic(rng, size)
    return {"image_id": number, "panoptic": tv_tensors.Mask(ids.int()), "segments_info": infos}


TRANSFORMS = {
    "CutMix": cd.CutMix(p=1.0),
    "objects": cd.CutMix(p=1.0, region=cd.regions.ObjectBox()),
    "ResizeMix": cd.ResizeMix(p=1.0),
    "Mosaic": cd.Mosaic(p=1.0),
    "RICAP": cd.RICAP(p=1.0),
    "GridMix": cd.GridMix(p=1.0),
    "CowMix": cd.CowMix(p=1.0),
    "FMix": cd.FMix(p=1.0),
    "ClassMix": cd.ClassMix(p=1.0),
    "CopyPaste": cd.CopyPaste(p=1.0),
    "CopyPaste, scaled": cd.CopyPaste(p=1.0, scale=(0.5, 2.0), flip=0.5, instances="all"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("padded", [False, True])
def test_every_transform_cuts_map_and_image_alike(name, padded):
    """Coded images prove where each pixel came from; the map must agree with them."""
    mix = TRANSFORMS[name]
    rng = np.random.default_rng(7)
    judged = 0
    for seed in range(4):
        sizes = [(16, 20), (14, 18), (16, 15), (12, 20)]
        frame = (18, 24) if padded else None
        images: Any = coded_pool(sizes, frame)
        targets = [target(rng, size, number) for number, size in enumerate(sizes)]
        given, own = [t["segments_info"] for t in targets], [t["panoptic"] for t in targets]
        if frame is not None:
            for t, (height, width) in zip(targets, sizes):
                ids = torch.zeros(frame, dtype=torch.int32)
                ids[:height, :width] = t["panoptic"]
                t["panoptic"] = tv_tensors.Mask(ids)
        options: dict[str, Any] = {"sizes": torch.tensor(sizes)} if padded else {}
        plan = mix.make_plan(images, targets, generator=torch.Generator().manual_seed(seed), **options)
        _, out, report = mix.apply_plan(plan, images, targets, return_report=True, **options)
        mixed = F.mix_pixels(images, plan, fill=FILL, interpolation="nearest")
        for b, canvas in enumerate(plan.canvas.tolist()):
            layers = stated_layers(plan, b)
            prov = decode(mixed[b], (canvas[0], canvas[1]), sizes, base=images[b] if padded else None)
            shown = attribute(prov, layers, drawn_cells(plan, b))
            carry = None if plan.carry is None else plan.carry[b].tolist()
            wanted, _ = expect_segments(prov, shown, layers, own, given, Rule(), carry)
            ids = out[b]["panoptic"]
            assert type(ids) is tv_tensors.Mask
            assert ids.dtype == torch.int32
            assert tuple(ids.shape) == (tuple(plan.frame) if padded else tuple(canvas))
            check_segments(ids, out[b]["segments_info"], wanted)
            assert out[b]["image_id"] == b
            judged += len(wanted)
        assert len(report) == sum(len(given[s]) for row in plan.source.tolist() for s in row if s >= 0)
    assert judged > 30


def clip_scene(clip: int, frames: int = 4) -> list[dict[str, Any]]:
    """Frames with a sky of another id in each clip, and two things that move; the first is away in some frames."""
    targets = []
    for time in range(frames):
        ids = torch.full((20, 30), 9 - clip, dtype=torch.int32)
        infos = [{"id": 9 - clip, "category_id": 101, "isthing": False}]
        if time == 3:  # no sky
            ids[:], infos = 4, [{"id": 4, "category_id": 102 + clip, "isthing": False}]
        ids[4 + time : 16, 2:12] = 2
        infos.append({"id": 2, "category_id": 1, "isthing": True, "name": (clip, 2)})
        if (time + clip) % 3:
            ids[3:15, 16 + time : 28] = 1
            infos.insert(0, {"id": 1, "category_id": 1, "isthing": True, "name": (clip, 1)})
        targets.append({"panoptic": ids, "segments_info": infos})
    return targets


CLIP_MIXES = {
    "CutMix": cd.CutMix(p=1.0, region=cd.regions.AreaBox((0.3, 0.6)), layout="BTCHW"),
    "PathBox": cd.CutMix(p=1.0, region=cd.regions.PathBox(cd.regions.AreaBox((0.3, 0.6))), layout="BTCHW"),
    "ignore": cd.CutMix(p=1.0, region=cd.regions.AreaBox((0.3, 0.6)), layout="BTCHW", on_filtered="ignore"),
    "Mosaic": cd.Mosaic(p=1.0, layout="BTCHW", min_visibility=0.0),
    "ResizeMix": cd.ResizeMix(p=1.0, layout="BTCHW"),
    "CowMix": cd.CowMix(p=1.0, layout="BTCHW"),
}


@pytest.mark.parametrize("name", CLIP_MIXES)
def test_an_id_is_one_segment_of_a_clip(name):
    given = [clip_scene(clip) for clip in range(3)]
    renamed = merged = 0
    for seed in range(5):
        mixed = CLIP_MIXES[name](torch.rand(3, 4, 3, 20, 30), given, generator=torch.Generator().manual_seed(seed))[1]
        for index, clip in enumerate(mixed):
            segments: dict[int, set[Any]] = {}
            stuff: dict[int, set[int]] = {}
            for time, target in enumerate(clip):
                parts = [target, target.get("ignored", {"panoptic": target["panoptic"][:0], "segments_info": []})]
                infos = [info for part in parts for info in part["segments_info"]]
                assert len({info["id"] for info in infos}) == len(infos)
                for part in parts:
                    shown = set(part["panoptic"].unique().tolist()) - {0}
                    assert shown == {info["id"] for info in part["segments_info"] if info["area"]}
                for info in infos:
                    segments.setdefault(info["id"], set()).add(info.get("name", info["category_id"]))
                    if not info["isthing"]:
                        stuff.setdefault(info["category_id"], set()).add(info["id"])
                        merged += len(info["origin"]) > 1
                    image, row = info["origin"][0]
                    own = given[image // 4][time]["segments_info"][row]["id"]
                    if image // 4 == index and name != "Mosaic":
                        assert info["id"] == own
                    renamed += info["id"] != own
            assert all(len(held) == 1 for held in segments.values())
            assert all(len(numbers) == 1 for numbers in stuff.values())
            if name != "Mosaic":  # where a clip may show twice
                names = [next(iter(held)) for held in segments.values()]
                assert len(set(names)) == len(names)
    assert renamed
    assert merged


def test_a_plan_of_frames_chooses_ids_once_per_clip():
    given = [frame for clip in range(2) for frame in clip_scene(clip)]
    plan = CLIP_MIXES["PathBox"].make_plan(torch.rand(2, 4, 3, 20, 30), generator=torch.Generator().manual_seed(2))
    mixed = F.mix_panoptic([t["panoptic"] for t in given], [t["segments_info"] for t in given], plan)
    dicts = F.mix_instances(given, plan)
    names: dict[Any, set[int]] = {}
    for segments, target in zip(mixed.segments[:4], dicts):
        assert target["segments_info"] == segments
        for info in segments:
            names.setdefault(info.get("name", info["category_id"]), set()).add(info["id"])
    assert all(len(numbers) == 1 for numbers in names.values())
    assert len(set().union(*names.values())) == len(names)


def test_the_ids_of_a_base_stay_even_if_they_change_over_its_frames():
    clips = [clip_scene(0), clip_scene(1)]
    for clip in clips:  # the ids of frame 1 are of other segments
        ids, infos = clip[1]["panoptic"], clip[1]["segments_info"]
        swap = {infos[0]["id"]: infos[1]["id"], infos[1]["id"]: infos[0]["id"]}
        table = torch.tensor([swap.get(number, number) for number in range(10)], dtype=ids.dtype)
        clip[1] = {
            "panoptic": table[ids.long()],
            "segments_info": [{**info, "id": swap.get(info["id"], info["id"])} for info in infos],
        }
    images = torch.rand(2, 4, 3, 20, 30)
    _, same_ids = cd.CutMix(p=0.0, layout="BTCHW")(images, clips)
    for before, after in zip(clips, same_ids):
        for one, two in zip(before, after):
            assert torch.equal(one["panoptic"], two["panoptic"])
            assert [info["id"] for info in one["segments_info"]] == [info["id"] for info in two["segments_info"]]
    _, mixed = CLIP_MIXES["CutMix"](images, clips, generator=torch.Generator().manual_seed(1))
    for index, clip in enumerate(mixed):
        for time, target in enumerate(clip):
            ids = [info["id"] for info in target["segments_info"]]
            assert len(set(ids)) == len(ids)
            for info in target["segments_info"]:
                image, row = info["origin"][0]
                if image // 4 == index:
                    assert info["id"] == clips[index][time]["segments_info"][row]["id"]


def test_copy_paste_pastes_things_only():
    mix = cd.CopyPaste(p=1.0, instances="all")
    (a, info_a), (b, info_b) = scene(), scene()
    a = torch.zeros_like(a)
    images, targets = torch.rand(2, 3, 6, 9), [{"panoptic": a, "segments_info": []}]
    targets.append({"panoptic": b, "segments_info": info_b})
    first = mix(images, targets, generator=torch.Generator().manual_seed(0))[1][0]
    assert [info["category_id"] for info in first["segments_info"]] == [1]
    assert first["segments_info"][0]["area"] == 9
    crowded = cd.CopyPaste(p=1.0, instances="all", crowd=True)
    first = crowded(images, targets, generator=torch.Generator().manual_seed(0))[1][0]
    assert [info["category_id"] for info in first["segments_info"]] == [1, 2]
    assert info_a


def test_ignored_segments_go_along_and_come_again():
    ids, infos = scene()
    images = torch.rand(2, 3, 6, 9)
    targets = [{"panoptic": ids, "segments_info": infos} for _ in range(2)]
    mix = cd.CutMix(p=1.0, min_visibility=1.0, on_filtered="ignore")
    plan = halves(at=4)
    plan = replace(plan, source=torch.tensor([[0, 1], [1, 0]]), **{
        key: torch.cat([getattr(plan, key)] * 2) for key in ("scale", "shift", "extent", "canvas", "owner")
    }, edges=tuple(torch.cat([edge] * 2) for edge in plan.edges))  # fmt: skip
    _, once = mix.apply_plan(plan, images, targets)
    assert [info["category_id"] for info in once[0]["ignored"]["segments_info"]] == [1, 1]
    assert once[0]["ignored"]["panoptic"].bool().sum() == 9
    assert not (once[0]["ignored"]["panoptic"].bool() & once[0]["panoptic"].bool()).any()
    for on_filtered in ("drop", "crowd", "ignore"):
        again = cd.CutMix(p=1.0, on_filtered=on_filtered, min_visibility=0.0)
        _, twice, report = again.apply_plan(plan, images, once, return_report=True)
        left = twice[0]["ignored"]["segments_info"]
        assert [info["area"] for info in left] == [3, 6]
        assert [info["origin"] for info in left] == [[[0, 0]], [[1, 1]]]
        assert sum(row["outcome"] == "ignored" for row in report.rows()) == 4
        assert len({info["id"] for info in [*left, *twice[0]["segments_info"]]}) == 2 + len(twice[0]["segments_info"])


def test_instances_beside_a_panoptic_map():
    ids, infos = scene()
    targets = [
        {
            "boxes": torch.tensor([[3.0, 1, 6, 4]]),
            "labels": torch.tensor([1]),
            "masks": (ids == 7)[None],
            "panoptic": ids,
            "segments_info": infos,
        }
        for _ in range(2)
    ]
    mixed, report = F.mix_instances(targets, halves(at=4), return_report=True)
    alone = F.mix_panoptic([ids, ids], [infos, infos], halves(at=4))
    assert torch.equal(mixed[0]["panoptic"], alone.maps[0])
    assert mixed[0]["segments_info"] == alone.segments[0]
    assert mixed[0]["masks"].flatten(1).sum(1).tolist() == [3, 6]
    assert len(report) == 2
    with pytest.raises(ValueError, match=r"plan.carry is per instance.*panoptic"):
        cd.CopyPaste(p=1.0)(torch.rand(2, 3, 6, 9), targets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[1].pop("segments_info"), r"targets\[1\] holds 'panoptic' but no 'segments_info'"),
        (lambda t: t[0].pop("panoptic"), r"targets\[0\] holds 'segments_info' but no 'panoptic'"),
        (lambda t: (t[1].pop("panoptic"), t[1].pop("segments_info")), r"targets\[1\] must hold 'panoptic'"),
        (lambda t: t[1]["panoptic"].fill_(3), r"targets\[1\]\['panoptic'\] holds ids that .* doesn't list: 3"),
        (lambda t: t[1].update(panoptic=t[1]["panoptic"][:, :5]), r"targets\[1\]\['panoptic'\] must have its image's"),
        (lambda t: t[1].update(ignored={"panoptic": t[1]["panoptic"]}), r"targets\[1\]\['ignored'\] holds 'panoptic'"),
    ],
)
def test_targets_that_do_not_fit_are_named(change, message):
    targets = []
    for _ in range(2):
        ids, infos = scene()
        targets.append({"panoptic": ids, "segments_info": infos})
    change(targets)
    with pytest.raises(ValueError, match=message):
        cd.CutMix(p=1.0)(torch.rand(2, 3, 6, 9), targets)


def test_forms_that_are_refused():
    ids, infos = scene()
    images = torch.rand(2, 3, 6, 9)
    with pytest.raises(ValueError, match=r"targets\['panoptic'\] .* list of dicts"):
        cd.CutMix(p=1.0)(images, {"panoptic": torch.stack([ids, ids])})
    with pytest.raises(ValueError, match="MixUp can't mix panoptic maps"):
        cd.MixUp(p=1.0)(images, [{"panoptic": ids, "segments_info": infos} for _ in range(2)])


def test_a_bank_keeps_maps():
    rng = np.random.default_rng(1)
    bank = cd.SampleBank()
    mix = cd.CutMix(p=1.0, pairing=bank)
    for number in range(3):
        size, frame = [((8, 10), (10, 12)), ((10, 7), (11, 9)), ((9, 9), (9, 13))][number]
        ids, infos = random_panoptic(rng, size)
        padded = torch.zeros(frame, dtype=torch.int64)
        padded[: size[0], : size[1]] = ids
        _, out = mix(
            torch.rand(1, 3, *frame), [{"panoptic": padded, "segments_info": infos}], sizes=torch.tensor([size])
        )
        assert out[0]["panoptic"].shape == frame
        assert sum(info["area"] for info in out[0]["segments_info"]) == int(out[0]["panoptic"].bool().sum())
    again = cd.SampleBank()
    again.load_state_dict(bank.state_dict())
    assert len(again) == 3


def test_regions_look_at_things():
    ids, infos = scene()
    pool = Pool.of(torch.rand(1, 3, 6, 9), [{"panoptic": ids, "segments_info": infos}])
    objects = pool.objects()
    assert objects.boxes[objects.present].tolist() == [[1, 3, 4, 6], [0, 7, 6, 9]]  # array order
    assert pool.maps(())[0].unique().tolist() == [-1, 1, 2, 101]


def test_labels_count_by_things():
    ids, infos = scene()
    targets = {"dets": [{"panoptic": ids, "segments_info": infos} for _ in range(2)], "labels": torch.tensor([0, 1])}
    mix = cd.CutMix(p=1.0, num_classes=2, labels_by="objects")
    plan = halves(at=4)
    pixels = F.object_pixels(targets["dets"], plan)
    assert pixels.tolist() == [[3.0, 6.0 + 12.0]]
    _, out = mix.apply_plan(plan, torch.rand(2, 3, 6, 9), targets)
    assert out["labels"].tolist() == [[pytest.approx(3 / 21), pytest.approx(18 / 21)]]


# ---------------------------------------------------------------------------------------------------------------------
# targets of mask classifiers


def test_panoptic_targets():
    ids, infos = scene()
    made = F.panoptic_targets(ids, infos)
    assert made["class_labels"].tolist() == [101, 1]
    assert made["mask_labels"].dtype == torch.float32
    assert torch.equal(made["mask_labels"][1], (ids == 7).float())
    every = F.panoptic_targets(ids, [*infos, {"id": 4, "category_id": 3, "isthing": 1}], crowd=True)
    assert every["class_labels"].tolist() == [101, 1, 2]
    assert F.panoptic_targets(ids, infos, labels={101: 0, 1: 1, 2: 2})["class_labels"].tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"labels must name the class .* \[101\]"):
        F.panoptic_targets(ids, infos, labels={1: 0, 2: 1})
    nothing = F.panoptic_targets(torch.zeros(4, 5, dtype=torch.int32), [])
    assert nothing["mask_labels"].shape == (0, 4, 5)
    assert nothing["class_labels"].shape == (0,)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_panoptic_targets_are_those_of_transformers(seed):
    """After a mix, what Mask2Former's own processor makes of the map is what we make of it."""
    transformers = pytest.importorskip("transformers")
    rng = np.random.default_rng(seed)
    sizes = [(8, 11), (8, 11)]
    parts = [random_panoptic(rng, size) for size in sizes]
    plan = random_plan(rng, sizes, "still", 2)
    mixed = F.mix_panoptic([part[0] for part in parts], [part[1] for part in parts], plan)
    processor = transformers.Mask2FormerImageProcessor(
        do_resize=False, do_rescale=False, do_normalize=False, ignore_index=0, size_divisor=1
    )
    for ids, segments in zip(mixed.maps, mixed.segments):
        ours = F.panoptic_targets(ids, segments, crowd=True)
        theirs = processor(
            images=np.zeros((*ids.shape, 3), dtype=np.uint8),
            segmentation_maps=ids.numpy(),
            instance_id_to_semantic_id={info["id"]: info["category_id"] for info in segments},
            return_tensors="pt",
        )
        order = torch.tensor([info["id"] for info in segments]).argsort()
        assert torch.equal(ours["class_labels"][order], theirs["class_labels"][0])
        masks = theirs["mask_labels"][0]
        assert torch.equal(ours["mask_labels"][order], masks)
        assert ours["mask_labels"].dtype == masks.dtype
