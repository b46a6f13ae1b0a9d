"""The closed form on boxes against plain loops over pixels, on plans far beyond CutMix's.

Up to five overlapping rectangles, several layers, repeated sources, fractional boxes, shifts, flips, scales, extents
smaller than the image, fill. Ownership is worked out here pixel by pixel from the plan's own numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import (
    FILL,
    Layer,
    Provenance,
    Settings,
    close,
    coded_pool,
    compare_instances,
    compare_report,
    decode,
    expect_instances,
    expect_semantic,
    random_box,
    random_mask,
    random_size,
    same,
    source_pixels,
    tight,
)

from cutmix_dense import MixPlan
from cutmix_dense import functional as F

Size = tuple[int, int]
Rectangle = tuple[int, int, int, int]


# ---------------------------------------------------------------------------------------------------------------------
# ownership in plain loops


def plain_ownership(
    canvas: Size, cell_layer: Sequence[Sequence[int]], layers: Sequence[Layer | None], sizes: Sequence[Size]
) -> tuple[Provenance, np.ndarray]:
    """Provenance and layer (−1 fill) of each canvas pixel, when `cell_layer[i][j]` is the owner drawn for it."""
    height, width = canvas
    shown = np.full(canvas, -1, dtype=np.int64)
    prov = Provenance(np.full(canvas, -1), np.zeros(canvas, dtype=np.int64), np.zeros(canvas, dtype=np.int64))
    maps: list[tuple[dict[int, int], dict[int, int]]] = []
    for layer in layers:
        if layer is None:
            maps.append(({}, {}))
            continue
        y0, x0, y1, x1 = layer.extent or (0, 0, *sizes[layer.source])
        rows = source_pixels(layer.scale[0], layer.shift[0], y0, y1)
        maps.append((rows, source_pixels(layer.scale[1], layer.shift[1], x0, x1)))
    for i in range(height):
        for j in range(width):
            number = cell_layer[i][j]
            layer = layers[number] if number >= 0 else None
            if layer is not None and i in maps[number][0] and j in maps[number][1]:
                shown[i, j] = number
                prov.source[i, j] = layer.source
                prov.y[i, j], prov.x[i, j] = maps[number][0][i], maps[number][1][j]
    return prov, shown


def plain_rectangles(
    canvas: Size, rectangles: Sequence[Rectangle], mode: str, rectangle_layer: Sequence[int], present: Sequence[bool]
) -> list[list[int]]:
    """The layer drawn for each pixel: the last rectangle that covers it, or by parity."""
    out = []
    for i in range(canvas[0]):
        row = []
        for j in range(canvas[1]):
            covering = [
                k
                for k, (y0, x0, y1, x1) in enumerate(rectangles)
                if y0 <= i < y1 and x0 <= j < x1 and present[rectangle_layer[k]]
            ]
            if mode == "xor":
                row.append(rectangle_layer[covering[0]] if len(covering) % 2 else 0)
            else:
                row.append(rectangle_layer[covering[-1]] if covering else 0)
        out.append(row)
    return out


def check_plan(
    plan: MixPlan,
    canvases: Sequence[Size],
    cells: Sequence[Sequence[Sequence[int]]],
    layers: Sequence[Sequence[Layer | None]],
    sizes: Sequence[Size],
    targets: list[dict[str, Any]],
    options: Settings,
    *,
    exact: bool,
    classes: Sequence[np.ndarray],
) -> int:
    """Everything that the library says about one plan against the loops; returns how many instances were judged."""
    images = F.mix_pixels(coded_pool(sizes), plan, fill=FILL, interpolation="nearest")
    maps = F.mix_semantic([torch.from_numpy(c) for c in classes], plan, ignore_index=255)
    out, report = F.mix_instances(targets, plan, flip_pairs=(), return_report=True, **options.kwargs())
    owner, share, frame = plan.owner_map().numpy(), plan.share().numpy(), plan.frame
    assert owner.shape == (len(canvases), *frame)
    judged = 0
    for b, canvas in enumerate(canvases):
        prov, shown = plain_ownership(canvas, cells[b], layers[b], sizes)
        padded = np.full(frame, -1)
        padded[: canvas[0], : canvas[1]] = shown
        assert np.array_equal(owner[b], padded), f"output {b}: owner_map"
        for s in range(len(layers[b])):
            close(share[b, s], (shown == s).mean(), f"output {b}: share", atol=1e-12)
        seen = decode(images[b], canvas, sizes)
        for name in ("source", "y", "x"):
            assert np.array_equal(getattr(seen, name), getattr(prov, name)), f"output {b}: pixels ({name})"
        height, width = canvas
        got_map = maps[b].numpy()[:height, :width]
        assert np.array_equal(got_map, expect_semantic(prov, classes, 255)), f"output {b}: semantic map"
        records = expect_instances(prov, layers[b], targets, sizes, options, shown=shown, dyadic=exact)
        origins = [r.origin for r in records]
        repeated = len(set(origins)) < len(origins)
        if repeated and any(r.near for r in records):
            continue
        compare_instances(out[b], records, targets, options, base=layers[b][0].source, canvas=canvas)  # type: ignore[union-attr]
        if not repeated:
            compare_report(list(report.rows()), b, records, layers[b][0].source)  # type: ignore[union-attr]
        judged += len(records)
    return judged


# ---------------------------------------------------------------------------------------------------------------------
# random pools and plans


def random_targets(rng: np.random.Generator, sizes: Sequence[Size], *, masks: bool, style: str) -> list[dict[str, Any]]:
    """Boxes, labels, area, keypoints, and masks if asked for; some images without objects."""
    targets = []
    for height, width in sizes:
        n = 0 if rng.random() < 0.1 else int(rng.integers(1, 6))
        target: dict[str, Any] = {}
        if masks:
            stack = np.zeros((n, height, width), dtype=bool)
            for k in range(n):
                stack[k] = random_mask(rng, height, width)
            boxes = [tight(m) for m in stack]
            target["masks"] = torch.from_numpy(stack)
        else:
            boxes = [random_box(rng, height, width, style) for _ in range(n)]
        target["boxes"] = torch.tensor(boxes, dtype=torch.float32).reshape(n, 4)
        target["labels"] = torch.from_numpy(rng.integers(1, 9, n))
        target["area"] = torch.from_numpy(rng.uniform(1, 300, n).astype(np.float32))
        targets.append(target)
    return targets


def random_options(rng: np.random.Generator) -> Settings:
    """Half of the time everything that is visible at all."""
    if rng.random() < 0.5:
        return Settings(min_visibility=0.0, min_size=0.0)
    return Settings(
        min_visibility=float(rng.choice([0.1, 0.25, 0.5])),
        min_size=float(rng.choice([1.0, 2.0])),
        on_filtered=str(rng.choice(["drop", "ignore"])),
    )


def random_classes(rng: np.random.Generator, sizes: Sequence[Size]) -> list[np.ndarray]:
    return [rng.integers(0, 20, size).astype(np.uint8) for size in sizes]


def random_rectangle(rng: np.random.Generator, canvas: Size) -> Rectangle:
    y = sorted(rng.integers(0, canvas[0] + 1, 2).tolist())
    x = sorted(rng.integers(0, canvas[1] + 1, 2).tolist())
    if rng.random() < 0.3:  # often edge on edge
        y[0] = int(rng.integers(0, 2)) * y[0]
        x[1] = canvas[1]
    return y[0], x[0], y[1], x[1]


@pytest.mark.parametrize("style", ["whole", "sixteenths", "any", "masks"])
@pytest.mark.parametrize("mode", ["union", "xor"])
@pytest.mark.parametrize("patches", [1, 2, 3, 4, 5])
def test_overlapping_rectangles(patches: int, mode: Any, style: str):
    """Up to five rectangles of up to three other layers; images of different sizes, so that some cells stay fill."""
    rng = np.random.default_rng([patches, int(mode == "xor"), ["whole", "sixteenths", "any", "masks"].index(style)])
    judged = fill = 0
    for _ in range(12):
        pool, outputs, others = 5, 6, 1 if mode == "xor" else int(rng.integers(1, 4))
        sizes = [random_size(rng) for _ in range(pool)]
        if rng.random() < 0.4:
            sizes = [sizes[0]] * pool
        source, rectangles, rectangle_layer = [], [], []
        for _ in range(outputs):
            chosen = rng.choice(pool, 1 + others, replace=rng.random() < 0.2).tolist()
            if rng.random() < 0.15:
                chosen[-1] = -1  # absent
            source.append(chosen)
            canvas = sizes[chosen[0]]
            rectangles.append([random_rectangle(rng, canvas) for _ in range(patches)])
            rectangle_layer.append(rng.integers(1, 1 + others, patches).tolist())
        plan = MixPlan.from_rectangles(
            torch.tensor(source),
            torch.tensor(rectangles),
            torch.tensor(sizes),
            mode=mode,
            layer=torch.tensor(rectangle_layer),
        )
        canvases = [sizes[row[0]] for row in source]
        cells = [
            plain_rectangles(canvases[b], rectangles[b], mode, rectangle_layer[b], [s >= 0 for s in source[b]])
            for b in range(outputs)
        ]
        layers = [[Layer(s) if s >= 0 else None for s in row] for row in source]
        targets = random_targets(rng, sizes, masks=style == "masks", style=style)
        judged += check_plan(
            plan, canvases, cells, layers, sizes, targets, random_options(rng), exact=style in ("whole", "sixteenths"),
            classes=random_classes(rng, sizes),
        )  # fmt: skip
        fill += int((plan.share().sum(1) < 1 - 1e-9).sum())
    assert judged > 200
    assert fill > 0


def test_default_layer_is_the_partner():
    sizes = torch.tensor([[6, 9], [6, 9]])
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[1, 2, 4, 7]], [[0, 0, 6, 3]]]), sizes
    )
    assert plan.share()[:, 1].tolist() == [15 / 54, 18 / 54]
    assert plan.owner_map()[0, 1:4, 2:7].eq(1).all()
    assert plan.owner_map()[1, :, :3].eq(1).all()


def random_map(rng: np.random.Generator, kind: str) -> tuple[float, float]:
    """Scale and shift along one axis."""
    shift = float(rng.integers(-8, 9))
    if kind == "shift":
        return 1.0, shift
    if kind == "flip":
        return (-1.0, float(rng.integers(2, 30))) if rng.random() < 0.7 else (1.0, shift)
    if kind == "double":
        return (2.0, shift) if rng.random() < 0.7 else (-2.0, float(rng.integers(5, 50)))
    if kind == "half":
        return (0.5, shift) if rng.random() < 0.7 else (-0.5, float(rng.integers(2, 20)))
    scale = float(rng.choice([0.375, 0.75, 1.25, 1.5, -0.75, -1.5]))  # exact in binary
    return scale, float(rng.integers(-16, 17)) / 4 + (15 if scale < 0 else 0)


@pytest.mark.parametrize("style", ["whole", "any", "masks"])
@pytest.mark.parametrize("kind", ["shift", "flip", "double", "half", "fraction"])
def test_placed_layers(kind: str, style: str):
    """Grids drawn cell by cell over layers that are shifted, flipped, scaled, cropped; repeated sources; fill."""
    rng = np.random.default_rng([["shift", "flip", "double", "half", "fraction"].index(kind), len(style)])
    judged = 0
    for _ in range(25):
        pool, outputs, depth = 4, 4, int(rng.integers(1, 5))
        sizes = [random_size(rng) for _ in range(pool)]
        canvases = [random_size(rng) for _ in range(outputs)]
        rows, cols = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        y_edges = [sorted([0, *rng.integers(0, h + 1, rows - 1).tolist(), h]) for h, _ in canvases]
        x_edges = [sorted([0, *rng.integers(0, w + 1, cols - 1).tolist(), w]) for _, w in canvases]
        owner = rng.integers(-1 if rng.random() < 0.5 else 0, depth, (outputs, rows, cols))
        layers: list[list[Layer | None]] = []
        for _ in range(outputs):
            chosen = rng.choice(pool, depth, replace=depth > pool or rng.random() < 0.3).tolist()
            placed: list[Layer | None] = []
            for s in chosen:
                (sy, ty), (sx, tx) = random_map(rng, kind), random_map(rng, kind)
                h, w = sizes[s]
                extent = (0, 0, h, w)
                if rng.random() < 0.4:
                    ys, xs = sorted(rng.choice(h + 1, 2, replace=False)), sorted(rng.choice(w + 1, 2, replace=False))
                    extent = (int(ys[0]), int(xs[0]), int(ys[1]), int(xs[1]))
                placed.append(Layer(s, (sy, sx), (ty, tx), extent))
            layers.append(placed)
        plan = MixPlan(
            source=torch.tensor([[layer.source for layer in row] for row in layers]),  # type: ignore[union-attr]
            scale=torch.tensor([[layer.scale for layer in row] for row in layers], dtype=torch.float32),  # type: ignore[union-attr]
            shift=torch.tensor([[layer.shift for layer in row] for row in layers], dtype=torch.float32),  # type: ignore[union-attr]
            extent=torch.tensor([[layer.extent for layer in row] for row in layers]),  # type: ignore[union-attr]
            canvas=torch.tensor(canvases),
            edges=(torch.tensor(y_edges), torch.tensor(x_edges)),
            owner=torch.from_numpy(owner).to(torch.int8),
            frame=(max(h for h, _ in canvases), max(w for _, w in canvases)),
        )
        cells = []
        for b, (h, w) in enumerate(canvases):
            cell_row = [max(g for g in range(rows) if y_edges[b][g] <= i) for i in range(h)]
            cell_col = [max(g for g in range(cols) if x_edges[b][g] <= j) for j in range(w)]
            cells.append([[int(owner[b, cell_row[i], cell_col[j]]) for j in range(w)] for i in range(h)])
        targets = random_targets(rng, sizes, masks=style == "masks", style=style)
        judged += check_plan(
            plan, canvases, cells, layers, sizes, targets, random_options(rng),
            exact=style == "whole" and kind != "fraction", classes=random_classes(rng, sizes),
        )  # fmt: skip
    assert judged > 300


def test_keypoints_follow_their_layer():
    """Mapped like everything else, and hidden exactly where the pixel below belongs to another layer."""
    rng = np.random.default_rng(5)
    size = (12, 18)
    for _ in range(60):
        scale = tuple(float(v) for v in rng.choice([1.0, -1.0, 2.0, 0.5], 2))
        shift = tuple(float(rng.integers(0, 6)) + (12.0 if s < 0 else 0.0) for s in scale)
        layers = [Layer(0), Layer(1, (scale[0], scale[1]), (shift[0], shift[1]), (0, 0, *size))]
        y0, x0, y1, x1 = random_rectangle(rng, size)
        points = rng.uniform(0, 1, (2, 4, 2)) * [size[1], size[0]]
        targets = [
            {
                "boxes": torch.tensor([[0.0, 0.0, 18.0, 12.0]]),
                "labels": torch.tensor([k]),
                "keypoints": torch.from_numpy(np.concatenate([points[k], np.full((4, 1), 2.0)], 1)[None]).float(),
            }
            for k in range(2)
        ]
        plan = MixPlan(
            source=torch.tensor([[0, 1]]),
            scale=torch.tensor([[layer.scale for layer in layers]]),
            shift=torch.tensor([[layer.shift for layer in layers]]),
            extent=torch.tensor([[[0, 0, *size], [0, 0, *size]]]),
            canvas=torch.tensor([size]),
            edges=(torch.tensor([[0, y0, y1, size[0]]]), torch.tensor([[0, x0, x1, size[1]]])),
            owner=torch.tensor([[[0, 0, 0], [0, 1, 0], [0, 0, 0]]], dtype=torch.int8),
            frame=size,
        )
        cells = [[1 if y0 <= i < y1 and x0 <= j < x1 else 0 for j in range(size[1])] for i in range(size[0])]
        check_plan(
            plan, [size], [cells], [layers], [size, size], targets, Settings(min_visibility=0.0, min_size=0.0),
            exact=False, classes=random_classes(rng, [size, size]),
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# properties


@st.composite
def rectangle_plans(draw: st.DrawFn, *, uniform: bool = False) -> tuple[MixPlan, list[Size]]:
    """Plans of rectangles over small images, with one to three layers."""
    pool = draw(st.integers(2, 4))
    side = st.integers(2, 14)
    sizes = [(draw(side), draw(side)) for _ in range(1 if uniform else pool)]
    sizes = sizes * pool if uniform else sizes
    mode: Any = draw(st.sampled_from(["union", "xor"]))
    depth = 2 if mode == "xor" else draw(st.integers(2, 3))
    outputs, patches = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    source = [draw(st.permutations(range(pool)).map(lambda p: p[:depth])) for _ in range(outputs)]
    source = [(row + [-1] * depth)[:depth] for row in source]
    if mode == "union":
        layer = draw(st.lists(st.integers(1, depth - 1), min_size=outputs * patches, max_size=outputs * patches))
    else:
        layer = [1] * (outputs * patches)
    rectangles = []
    for row in source:
        height, width = sizes[row[0]]
        for _ in range(patches):
            y = sorted([draw(st.integers(0, height)), draw(st.integers(0, height))])
            x = sorted([draw(st.integers(0, width)), draw(st.integers(0, width))])
            rectangles.append([y[0], x[0], y[1], x[1]])
    plan = MixPlan.from_rectangles(
        torch.tensor(source),
        torch.tensor(rectangles).view(outputs, patches, 4),
        torch.tensor(sizes),
        mode=mode,
        layer=torch.tensor(layer).view(outputs, patches),
    )
    return plan, sizes


quick = settings(
    deadline=None, max_examples=120, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@quick
@given(rectangle_plans())
def test_shares_and_fill_make_one(made: tuple[MixPlan, list[Size]]):
    plan, _ = made
    owner = plan.owner_map()
    for b, (height, width) in enumerate(plan.canvas.tolist()):
        fill = (owner[b, :height, :width] == -1).sum().item() / (height * width)
        assert math.isclose(plan.share()[b].sum().item(), 1 - fill, abs_tol=1e-12)


@quick
@given(rectangle_plans(uniform=True))
def test_full_image_boxes_share_out_the_canvas(made: tuple[MixPlan, list[Size]]):
    """The visible parts of boxes as large as the image tile the canvas: each pixel counts once."""
    plan, sizes = made
    height, width = sizes[0]
    targets = [
        {
            "boxes": torch.tensor([[0.0, 0.0, width, height]]),
            "labels": torch.tensor([i]),
            "area": torch.tensor([float(height * width)]),
        }
        for i in range(len(sizes))
    ]
    out = F.mix_instances(targets, plan, min_visibility=0.0, min_size=0.0)
    for target in out:
        assert math.isclose(target["area"].sum().item(), height * width, rel_tol=1e-6)
        assert math.isclose(target["visibility"].sum().item(), 1.0, rel_tol=1e-6)


@quick
@given(rectangle_plans(), st.randoms(use_true_random=False))
def test_tight_boxes_lie_in_the_boxes_they_come_from(made: tuple[MixPlan, list[Size]], random: Any):
    plan, sizes = made
    rng = np.random.default_rng(random.getrandbits(32))
    targets = random_targets(rng, sizes, masks=False, style="any")
    out = F.mix_instances(targets, plan, min_visibility=0.0, min_size=0.0)
    for b, target in enumerate(out):
        height, width = plan.canvas[b].tolist()
        for box, (source, index), visibility in zip(
            target["boxes"].tolist(), target["origin"].tolist(), target["visibility"].tolist(), strict=True
        ):
            was = targets[source]["boxes"][index].tolist()
            assert box[0] >= was[0] and box[1] >= was[1] and box[2] <= was[2] and box[3] <= was[3]  # noqa: PT018
            assert 0 < visibility <= 1
            if visibility < 1:
                assert 0 <= box[0] < box[2] <= width
                assert 0 <= box[1] < box[3] <= height


@quick
@given(rectangle_plans())
def test_owner_map_is_what_the_pixels_prove(made: tuple[MixPlan, list[Size]]):
    plan, sizes = made
    images = F.mix_pixels(coded_pool(sizes), plan, fill=FILL)
    owner = plan.owner_map().numpy()
    for b, (height, width) in enumerate(plan.canvas.tolist()):
        prov = decode(images[b], (height, width), sizes)
        shown = np.append(plan.source[b].numpy(), -1)[owner[b, :height, :width]]
        assert np.array_equal(prov.source, shown)
        assert (owner[b, height:] == -1).all()
        assert (owner[b, :, width:] == -1).all()


@quick
@given(st.randoms(use_true_random=False), st.booleans())
def test_unmixed_samples_come_back_bit_identical(random: Any, masks: bool):
    """Once and twice through a plan that mixes nothing: the same bits in every field, nothing filtered."""
    rng = np.random.default_rng(random.getrandbits(32))
    sizes = [random_size(rng) for _ in range(3)]
    plan = MixPlan.from_rectangles(
        torch.tensor([[i, -1] for i in range(3)]), torch.tensor([[[0, 0, 4, 3]]] * 3), torch.tensor(sizes)
    )
    targets = random_targets(rng, sizes, masks=masks, style="any")
    images = [torch.rand(3, *size) for size in sizes]
    for strict in (0.1, 1.0):  # even a threshold of 1 filters nothing that was not touched
        once = F.mix_instances(targets, plan, min_visibility=strict, min_size=50.0)
        pictures = F.mix_pixels(images, plan, fill=7.0)
        assert same(pictures, images)
        for was, now in zip(targets, once, strict=True):
            assert all(same(was[key], now[key]) for key in was)
            assert now["visibility"].eq(1).all()
        again = F.mix_instances(
            [{k: v for k, v in t.items() if k not in ("visibility", "origin")} for t in once],
            plan,
            min_visibility=strict,
        )
        assert same(once, again)
