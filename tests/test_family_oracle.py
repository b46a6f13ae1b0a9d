"""Every mixing method under the coded-pixel oracle: what the pixels of its mixes prove, all else must agree with.

The plan is drawn by the transform and applied twice: by the functions, scaled layers read nearest, so that each pixel's
origin is known exactly; and by the transform itself, whose smooth image must lie within half a pixel of the same map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from oracle import (
    FILL,
    Layer,
    Provenance,
    Settings,
    _Schema,
    attribute,
    boxes_xyxy,
    carried_instances,
    check_smooth,
    clone,
    close,
    coded_pool,
    compare_instances,
    compare_report,
    decode,
    drawn_cells,
    expect_instances,
    expect_labels,
    expect_semantic,
    expect_soft_instances,
    expect_soft_semantic,
    random_target,
    random_threshold,
    same,
    soft_weights,
    stated_layers,
)

import cutmix_dense as cd
from cutmix_dense import functional as F
from cutmix_dense.transforms.framing import PER_PIXEL, maps_cropped
from cutmix_dense.transforms.pool import Pool

Size = tuple[int, int]
CLASSES = 6
MAP_CLASSES = 7


# ---------------------------------------------------------------------------------------------------------------------
# batches


@dataclass
class Batch:
    """Coded images and everything on them."""

    images: torch.Tensor | list[torch.Tensor]
    targets: list[dict[str, Any]]
    sizes: list[Size]
    valid: torch.Tensor | None
    frame: Size | None
    semantic: torch.Tensor | list[torch.Tensor]
    labels: torch.Tensor
    keys: set[str]
    points: int = 0

    @property
    def all_targets(self) -> dict[str, Any]:
        """As a transform takes them."""
        return {"instances": self.targets, "semantic": self.semantic, "labels": self.labels}


def random_sides(rng: np.random.Generator) -> Size:
    """A height and a width that differ, small."""
    height, width = rng.integers(9, 30, 2).tolist()
    return (height, width) if height != width else (height, width + 3)


def random_batch(
    rng: np.random.Generator,
    shape: str,
    masks: bool,
    size: int,
    *,
    dtype: torch.dtype = torch.float32,
    schema: _Schema | None = None,
    like: Batch | None = None,
    first: int = 0,
) -> Batch:
    """One batch: images of one size, a list of sizes, or a padded tensor with valid sizes; coded from `first` on."""
    if shape == "uniform":
        sizes = [like.sizes[0] if like else random_sides(rng)] * size
        frame: Size | None = sizes[0]
    else:
        sizes = [random_sides(rng) for _ in range(size)]
        frame = None
        if shape == "padded":
            extra = rng.integers(0, 3, 2).tolist()
            frame = (max(h for h, _ in sizes) + extra[0], max(w for _, w in sizes) + extra[1])
    if schema is None:
        schema = random_schema(rng, masks)
    counts = [0 if rng.random() < 0.15 else int(rng.integers(1, 5)) for _ in sizes]
    counts[0] = max(counts[0], 1)
    targets = [
        random_target(rng, schema, i, s, frame or s, n) for i, (s, n) in enumerate(zip(sizes, counts, strict=True))
    ]
    maps = []
    for height, width in sizes:
        blocks = rng.integers(0, MAP_CLASSES, (height // 4 + 1, width // 4 + 1)).repeat(4, 0).repeat(4, 1)
        one = blocks[:height, :width]
        one[rng.random(one.shape) < 0.08] = 255
        padded = np.full(frame or (height, width), 255 if rng.random() < 0.5 else 3)
        padded[:height, :width] = one
        maps.append(torch.from_numpy(padded).to(torch.int64))
    images = coded_pool(sizes, frame, dtype)
    for i, (height, width) in enumerate(sizes):
        images[i][0, :height, :width] += first
    return Batch(
        images=images,
        targets=targets,
        sizes=sizes,
        valid=torch.tensor(sizes) if shape == "padded" else None,
        frame=frame,
        semantic=torch.stack(maps) if frame else maps,
        labels=torch.from_numpy(rng.integers(0, CLASSES, size)),
        keys=set(targets[0]),
        points=schema.points if schema.keypoints else 0,
    )


def random_schema(rng: np.random.Generator, masks: bool) -> _Schema:
    """Which keys the targets have."""
    return _Schema(
        masks=masks,
        mask_dtype=torch.bool if rng.random() < 0.6 else torch.uint8,
        style=str(rng.choice(["whole", "sixteenths", "any"])),
        tight_boxes=bool(rng.random() < 0.7),
        box_format=str(rng.choice(["plain", "XYXY", "XYWH", "CXCYWH"], p=[0.6, 0.1, 0.15, 0.15])),
        keypoints=int(rng.choice([0, 2, 3])),
        points=int(rng.integers(2, 4)),
        area=bool(rng.random() < 0.7),
        iscrowd=bool(rng.random() < 0.5),
        visibility=bool(rng.random() < 0.2),
        track_id=bool(rng.random() < 0.3),
        extra=False,
        image_id=True,
        caption=False,
        semantic_key=False,
        wrap=bool(rng.random() < 0.3),
        has_mask=masks and bool(rng.random() < 0.4),
        empty_masks=masks and bool(rng.random() < 0.2),
    )


def random_settings(rng: np.random.Generator) -> Settings:
    """Half of the time everything that is visible at all."""
    if rng.random() < 0.5:
        return Settings(min_visibility=0.0, min_size=0.0)
    return Settings(
        min_visibility=random_threshold(rng, [0.1, 0.25, 0.5], [0.4, 0.3, 0.3]),
        min_size=random_threshold(rng, [0.0, 1.0, 2.0], [0.2, 0.5, 0.3]),
        on_filtered=str(rng.choice(["drop", "ignore"])),
    )


# ---------------------------------------------------------------------------------------------------------------------
# what is particular to each method, told from the pixels


@dataclass
class Seen:
    """One mixed output as its pixels prove it."""

    output: int
    prov: Provenance
    shown: np.ndarray
    cells: np.ndarray
    layers: list[Layer | None]
    carried: list[set[int] | None]
    targets: list[dict[str, Any]]
    maps: list[np.ndarray]
    sizes: list[Size]
    canvas: Size

    @property
    def mixed(self) -> bool:
        """Whether there is a partner at all."""
        return any(layer is not None for layer in self.layers[1:])

    @property
    def base_alone(self) -> bool:
        """Whether every pixel is the base's own."""
        y, x = np.mgrid[0 : self.canvas[0], 0 : self.canvas[1]]
        own = (self.prov.source == self.output) & (self.prov.y == y) & (self.prov.x == x)
        return bool(own.all())


def unmoved(seen: Seen) -> None:
    """Every pixel stays in its place, and there is no fill."""
    y, x = np.mgrid[0 : seen.canvas[0], 0 : seen.canvas[1]]
    assert (seen.prov.source >= 0).all(), "fill"
    assert np.array_equal(seen.prov.y, y), "rows moved"
    assert np.array_equal(seen.prov.x, x), "columns moved"


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(y0, x0, y1, x1) round the True pixels."""
    ys, xs = np.nonzero(mask)
    return int(ys.min()), int(xs.min()), int(ys.max()) + 1, int(xs.max()) + 1


def is_rectangle(mask: np.ndarray) -> bool:
    """Whether the True pixels fill their bounding rectangle."""
    if not mask.any():
        return True
    y0, x0, y1, x1 = bounds(mask)
    return bool(mask[y0:y1, x0:x1].all())


def base_unmoved(seen: Seen) -> None:
    """The base's pixels are in their place, and nothing is fill."""
    y, x = np.mgrid[0 : seen.canvas[0], 0 : seen.canvas[1]]
    base = seen.shown == 0
    assert (seen.shown >= 0).all(), "fill"
    assert np.array_equal(seen.prov.y[base], y[base])
    assert np.array_equal(seen.prov.x[base], x[base])


def looks_resized(seen: Seen) -> None:
    """The whole partner fills a rectangle of whole pixels within the image, both sides by the same fraction."""
    base_unmoved(seen)
    if not seen.mixed:
        return
    partner = seen.layers[1]
    assert partner is not None
    region = seen.shown == 1
    assert region.any()
    assert is_rectangle(region)
    box = bounds(region)
    for axis in range(2):
        side = seen.sizes[partner.source][axis]
        low, high = partner.shift[axis], partner.shift[axis] + partner.scale[axis] * side
        close([low, high], [box[axis], box[axis + 2]], "the partner's borders", atol=1e-3)
    fractions = [(box[a + 2] - box[a]) / seen.canvas[a] for a in range(2)]
    allowed = 1 / seen.canvas[0] + 1 / seen.canvas[1]  # whole pixels on both sides
    assert abs(fractions[0] - fractions[1]) <= allowed, f"sides are {fractions} of the image's"
    assert max(fractions) <= 0.8 + 1 / min(seen.canvas)


def looks_mosaic(rows: int, cols: int) -> Callable[[Seen], None]:
    """Rows × columns of rectangles; each image keeps its aspect."""

    def check(seen: Seen) -> None:
        lines: list[set[int]] = [set(), set()]
        for number, layer in enumerate(seen.layers):
            if layer is None:
                continue
            assert layer.scale[0] == pytest.approx(layer.scale[1], rel=1e-5), "the aspect changed"
            assert layer.scale[0] > 0
            here = seen.shown == number
            assert is_rectangle(here), f"layer {number} is no rectangle"
            assert here.any() or not (seen.cells == number).any(), f"layer {number} doesn't show in its cell"
            if here.any():
                box = bounds(here)
                for axis in range(2):
                    lines[axis] |= {box[axis], box[axis + 2]}
        if seen.mixed:
            assert sum(layer is not None for layer in seen.layers) == rows * cols

    return check


def looks_ricap(seen: Seen) -> None:
    """Four unscaled crops meet in a point; the base's is the top left one."""
    height, width = seen.canvas
    if not seen.mixed:
        assert seen.base_alone
        return
    numbers = [n for n, layer in enumerate(seen.layers) if layer is not None]
    assert all(layer.scale == (1, 1) for layer in seen.layers if layer is not None)
    assert all(float(t).is_integer() for layer in seen.layers if layer is not None for t in layer.shift)
    point = [0, 0]
    if (seen.shown == 0).any():
        y0, x0, *point = bounds(seen.shown == 0)
        assert (y0, x0) == (0, 0)
    corners: set[tuple[bool, bool]] = set()
    for n in numbers:
        here = seen.shown == n
        if here.any():
            y0, x0, y1, x1 = bounds(here)
            assert is_rectangle(here)
            if n > 0 and 0 < point[0] < height and 0 < point[1] < width:
                assert (y0 >= point[0]) or (x0 >= point[1])
                assert y1 <= point[0] or y0 >= point[0], "a crop crosses the line"
                assert x1 <= point[1] or x0 >= point[1], "a crop crosses the line"
                corner = (y0 >= point[0], x0 >= point[1])
                assert corner not in corners, "two crops in one corner"
                corners.add(corner)


def looks_like_windows(seen: Seen) -> None:
    """The partner shows in rows × columns of windows."""
    unmoved(seen)
    inside = seen.shown == 1
    assert np.array_equal(inside, inside.any(1)[:, None] & inside.any(0)[None])


def looks_checkered(seen: Seen) -> None:
    """Within a rectangle, the partner shows where exactly one of row and column is inside."""
    unmoved(seen)
    inside = seen.shown == 1
    if inside.any():
        y0, x0, y1, x1 = bounds(inside)
        part = inside[y0:y1, x0:x1]
        assert np.array_equal(part, part[:, :1] ^ part[:1] ^ part[0, 0])


def looks_striped(seen: Seen) -> None:
    """In the area that both images share, all rows are alike, or all columns are."""
    unmoved(seen)
    partner = seen.layers[1]
    if partner is None:
        return
    height, width = seen.sizes[partner.source]
    inside = seen.shown[:height, :width] == 1
    assert (inside == inside[:1]).all() or (inside == inside[:, :1]).all()


def plain_masks(target: dict[str, Any]) -> np.ndarray | None:
    """(N, H, W) bool; None where there are no masks."""
    masks = target.get("masks")
    return None if masks is None or len(masks) == 0 else masks.as_subclass(torch.Tensor).numpy() != 0


def looks_placed(seen: Seen) -> None:
    """Each layer shows one instance, by its mask or else its box with some context; nothing is fill."""
    base_unmoved(seen)
    for number, layer in enumerate(seen.layers[1:], start=1):
        if layer is None:
            continue
        target, chosen = seen.targets[layer.source], seen.carried[number]
        assert chosen is not None
        (row,) = {k for k in chosen if k < len(target["boxes"])}
        assert "iscrowd" not in target or not target["iscrowd"][row], "a crowd was pasted"
        pasted, masks = seen.shown == number, plain_masks(target)
        y, x = seen.prov.y[pasted], seen.prov.x[pasted]
        if masks is not None and ("has_mask" not in target or target["has_mask"][row]):
            assert masks[row][y, x].all(), "pixels beside the pasted mask"
            continue
        x0, y0, x1, y1 = boxes_xyxy(target["boxes"])[row]
        for low, high, places, scale in ((y0, y1, y, layer.scale[0]), (x0, x1, x, layer.scale[1])):
            slack = 0.25 * (high - low) + 1 + 1 / abs(scale)
            assert (places >= np.floor(low - slack)).all(), "pixels beside the pasted box"
            assert (places < np.ceil(high + slack)).all(), "pixels beside the pasted box"


def looks_pasted(seen: Seen) -> None:
    """The partner shows exactly where one of the instances that come along is, by its mask or else its box."""
    base_unmoved(seen)
    if not seen.mixed:
        return
    partner = seen.layers[1]
    assert partner is not None
    assert partner.extent is not None
    target = seen.targets[partner.source]
    chosen = seen.carried[1]
    assert chosen is not None
    assert seen.carried[0] is None or set(range(20)) <= seen.carried[0], "an instance of the base isn't carried"
    count = 0 if target.get("boxes") is None else len(target["boxes"])
    crowd = target["iscrowd"].tolist() if "iscrowd" in target and count else [0] * count
    chosen = {k for k in chosen if k < count}
    assert not any(crowd[k] for k in chosen), "a crowd was pasted"
    masks = plain_masks(target)
    pasted = seen.shown == 1
    certain, possible = boxes_on_canvas(seen, partner, target, chosen, masks is not None)
    if masks is not None:
        stated = target["has_mask"].tolist() if "has_mask" in target else [True] * count
        by_mask = sorted(k for k in chosen if stated[k])
        union = masks[by_mask].any(0) if by_mask else np.zeros(masks.shape[1:], dtype=bool)
        of_masks = union[seen.prov.y[pasted], seen.prov.x[pasted]]
        assert (of_masks | possible[pasted]).all(), "pixels beside the pasted masks and boxes"
        assert pasted[certain].all(), "a pixel of a pasted box is missing"
        y, x = (np.floor(c + 1e-6).astype(int) * np.ones(seen.canvas, dtype=int) for c in _stated(partner, seen.canvas))
        sure = np.ones(seen.canvas, dtype=bool)
        for c in _stated(partner, seen.canvas):
            sure &= (np.abs(c - np.rint(c)) > 1e-3) | (abs(partner.scale[0]) == 1)
        y0, x0, y1, x1 = partner.extent
        within = (y >= y0) & (y < y1) & (x >= x0) & (x < x1) & sure
        there = np.zeros(seen.canvas, dtype=bool)
        there[within] = union[y[within], x[within]]
        assert pasted[there].all(), "a pixel of a pasted mask is missing"
        return
    if "masks" in target:
        assert not pasted.any()
        return
    assert pasted[certain].all(), "a pixel of a pasted box is missing"
    assert possible[pasted].all(), "pixels beside the pasted boxes"


def boxes_on_canvas(
    seen: Seen, partner: Layer, target: dict[str, Any], chosen: set[int], unstated_only: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that the boxes of the pasted instances cover for certain, and those that they may."""
    from oracle import boxes_xyxy

    assert partner.extent is not None
    if unstated_only:
        stated = target.get("has_mask")
        chosen = set() if stated is None else {k for k in chosen if not stated[k]}
    y, x = _stated(partner, seen.canvas)
    boxes = boxes_xyxy(target["boxes"]) if chosen else np.zeros((0, 4))
    certain, possible = np.zeros(seen.canvas, dtype=bool), np.zeros(seen.canvas, dtype=bool)
    y0, x0, y1, x1 = partner.extent
    inside = (y > y0) & (y < y1) & (x > x0) & (x < x1)
    for k in chosen:  # a region has whole pixels: a box with fractions may be a pixel larger or smaller
        slack = [1.001 / abs(s) for s in partner.scale]
        for grow, out in ((-1, certain), (1, possible)):
            left, top, right, bottom = boxes[k]
            if grow > 0 or (right > left and bottom > top):
                out |= (
                    (y >= top - grow * slack[0])
                    & (y <= bottom + grow * slack[0])
                    & (x >= left - grow * slack[1])
                    & (x <= right + grow * slack[1])
                )
    return certain & inside, possible


def _stated(layer: Layer, canvas: Size) -> tuple[np.ndarray, np.ndarray]:
    from oracle import stated_coordinates

    return stated_coordinates(layer, canvas)


def looks_like_classes(rounding: str) -> Callable[[Seen], None]:
    """Every pixel of half of the partner's classes, and no other pixel, comes from it; 255 is no class."""

    def check(seen: Seen) -> None:
        unmoved(seen)
        if not seen.mixed:
            return
        partner = seen.layers[1]
        assert partner is not None
        height, width = seen.sizes[partner.source]
        theirs = seen.maps[partner.source][:height, :width]
        classes = set(np.unique(theirs).tolist()) - {255}
        half = len(classes) // 2 if rounding == "floor" else (len(classes) + 1) // 2
        pasted = seen.shown == 1
        chosen = set(theirs[seen.prov.y[pasted], seen.prov.x[pasted]].tolist())
        assert 255 not in chosen, "the ignored id was pasted as a class"
        assert len(chosen) <= half, f"{len(chosen)} of {len(classes)} classes"
        common = (min(height, seen.canvas[0]), min(width, seen.canvas[1]))
        of_class = np.isin(theirs[: common[0], : common[1]], list(chosen))
        assert np.array_equal(of_class, pasted[: common[0], : common[1]]), "a class was pasted in part"
        if common == (height, width):
            assert len(chosen) == half, f"{len(chosen)} of {len(classes)} classes"

    return check


def looks_rectangular(seen: Seen) -> None:
    """One rectangle of the partner, in its place."""
    unmoved(seen)
    assert is_rectangle(seen.shown == 1)


# ---------------------------------------------------------------------------------------------------------------------
# the methods


@dataclass
class Method:
    """How one method is made, and what it looks like."""

    make: Callable[..., Any]
    look: Callable[[Seen], None]
    pairings: tuple[str, ...] = ("roll", "shuffle", "swap", "bank")
    masks: tuple[bool, ...] = (True, False)
    free_form: bool = False
    scaled: bool = False
    flips: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


SEVERAL = ("roll", "shuffle", "bank")
METHODS: dict[str, Method] = {
    "ResizeMix": Method(cd.ResizeMix, looks_resized, scaled=True),
    "Mosaic2x2": Method(cd.Mosaic, looks_mosaic(2, 2), SEVERAL, scaled=True, settings={"fill": FILL}),
    "Mosaic3x3": Method(
        cd.Mosaic, looks_mosaic(3, 3), SEVERAL, scaled=True, settings={"grid": (3, 3), "fill": FILL}
    ),
    "Mosaic1x3": Method(
        cd.Mosaic, looks_mosaic(1, 3), SEVERAL, scaled=True, settings={"grid": (1, 3), "fill": FILL}
    ),
    "MosaicSize": Method(
        cd.Mosaic, looks_mosaic(2, 2), SEVERAL, scaled=True, settings={"size": (26, 37), "fill": FILL}
    ),
    "RICAP": Method(cd.RICAP, looks_ricap, SEVERAL),
    "GridMix": Method(cd.GridMix, looks_like_windows),
    "GridMixChecker": Method(cd.GridMix, looks_checkered, settings={"pattern": "checkerboard"}),
    "StripeMix": Method(cd.StripeMix, looks_striped),
    "CopyPasteMasks": Method(cd.CopyPaste, looks_pasted, masks=(True,), free_form=True),
    "CopyPasteBoxes": Method(cd.CopyPaste, looks_pasted, masks=(False,)),
    "CopyPasteScaled": Method(
        cd.CopyPaste, looks_pasted, masks=(True,), free_form=True, scaled=True, flips=True,
        settings={"scale": (0.4, 1.7), "flip": 0.5, "instances": "all"},
    ),
    "CopyPasteBoxesScaled": Method(
        cd.CopyPaste, looks_pasted, masks=(False,), scaled=True, flips=True,
        settings={"scale": (0.4, 1.7), "flip": 0.5, "instances": 2},
    ),
    "CopyPastePlaced": Method(
        cd.CopyPaste, looks_placed, masks=(True,), free_form=True, scaled=True, flips=True,
        settings={"place": "random", "instances": (1, 3), "scale": (0.4, 1.7), "flip": 0.5},
    ),
    "CopyPasteBoxesPlaced": Method(
        cd.CopyPaste, looks_placed, masks=(False,), scaled=True, flips=True,
        settings={"place": "grid", "instances": 3, "source": "batch", "scale": (0.4, 1.7), "flip": 0.5},
    ),
    "CopyPasteSelf": Method(
        cd.CopyPaste, looks_placed, free_form=True,
        settings={"place": "random", "instances": 2, "source": "self", "overlap": 0.3},
    ),
    "CopyPasteContext": Method(
        cd.CopyPaste, looks_placed, masks=(False,), scaled=True,
        settings={"instances": "all", "context": (0.1, 0.25)},
    ),
    "ClassMix": Method(cd.ClassMix, looks_like_classes("floor"), free_form=True),
    "DACS": Method(cd.ClassMix.dacs, looks_like_classes("ceil"), pairings=("halves",), free_form=True),
    "CowMix": Method(cd.CowMix, unmoved, free_form=True, settings={"sigma": (1.0, 3.0)}),
    "FMix": Method(cd.FMix, unmoved, free_form=True),
    "SaliencyMix": Method(cd.SaliencyMix, looks_rectangular),
}  # fmt: skip


def make(method: Method, pairing: Any, settings: Settings, points: int, p: float = 1.0) -> Any:
    """The transform."""
    arguments: dict[str, Any] = {"p": p, "fill": FILL, "num_classes": CLASSES, **settings.kwargs(), **method.settings}
    if pairing != "halves":
        arguments["pairing"] = pairing
    if method.free_form:
        arguments["boxes"] = "estimate"
    if method.flips:
        arguments["flip_pairs"] = ((0, 1),) if points else ()
    return method.make(**arguments)


def filled_bank(
    rng: np.random.Generator, shape: str, masks: bool, schema: _Schema, batch: Batch, dtype: torch.dtype = torch.float32
) -> cd.SampleBank:
    """A bank that holds an earlier batch, coded by the places that its images will have behind `batch`."""
    bank = cd.SampleBank()
    earlier = random_batch(rng, shape, masks, 3, schema=schema, like=batch, first=len(batch.sizes), dtype=dtype)
    bank.push(earlier.images, earlier.all_targets, earlier.valid)
    return bank


def cropped(maps: Any, sizes: list[Size]) -> list[np.ndarray]:
    """The valid part of every map."""
    return [m.numpy()[:h, :w] for m, (h, w) in zip(maps, sizes, strict=True)]


@dataclass
class Tally:
    """What was judged."""

    outputs: int = 0
    mixed: int = 0
    kept: int = 0
    near: int = 0
    instances: int = 0
    smooth: int = 0
    fill: int = 0


def judge(batch: Batch, mix: Any, method: Method, seed: int, tally: Tally, bank: cd.SampleBank | None = None) -> None:
    """Mix one batch both ways and hold everything against its pixels."""
    pool, sizes, valid = batch, list(batch.sizes), batch.valid
    images, targets = batch.images, batch.all_targets
    call = torch.Generator().manual_seed(seed)
    if bank is not None:
        both = bank.join(images, targets, valid)
        images, targets, valid = both.images, both.targets, both.sizes
        sizes = (
            [tuple(int(n) for n in s) for s in valid] if valid is not None else [tuple(i.shape[-2:]) for i in images]
        )
        plan = mix.draw_plan(Pool.of(images, targets, valid, outputs=len(batch.sizes)), call)
    else:
        plan = mix.make_plan(images, targets, sizes=valid, generator=call)
    before = clone([batch.images, batch.all_targets])
    out_images, out, report = mix(
        batch.images, batch.all_targets, sizes=batch.valid, generator=torch.Generator().manual_seed(seed),
        return_report=True,
    )  # fmt: skip
    assert same(before, [batch.images, batch.all_targets]), "the inputs were changed"
    settings = Settings(**{k: getattr(mix, k) for k in ("min_visibility", "min_size", "on_filtered", "boxes_from")})
    flip_pairs = mix.flip_pairs or ()

    exact = F.mix_pixels(images, plan, fill=FILL, interpolation="nearest")
    semantic = F.mix_semantic(targets["semantic"], plan, ignore_index=255)
    instances = F.mix_instances(
        targets["instances"], plan, boxes=mix.boxes, flip_pairs=mix.flip_pairs, **settings.kwargs()
    )
    frame = tuple(plan.frame)
    if batch.frame is not None and mix.size is None and frame != batch.frame:  # the bank holds larger images
        exact = exact[..., : batch.frame[0], : batch.frame[1]]
        semantic, instances = (maps_cropped(part, frame, batch.frame, PER_PIXEL) for part in (semantic, instances))
        frame = batch.frame
    assert same(instances, out["instances"]), "the transform and the functions disagree on instances"
    assert same(semantic, out["semantic"]), "the transform and the functions disagree on maps"
    if not method.scaled:
        assert same(list(exact), list(out_images)), "the transform and the functions disagree on images"
    assert torch.equal(out["labels"], F.mix_labels(targets["labels"], plan, num_classes=CLASSES))

    maps = cropped(targets["semantic"], sizes)
    rows = list(report.rows())
    owner, share = plan.owner_map().numpy(), plan.share().numpy()
    keep_frame = batch.frame is not None and frame == batch.frame
    for b, base_size in enumerate(batch.sizes):
        canvas = tuple(plan.canvas[b].tolist())
        assert canvas == method.settings.get("size", base_size)
        height, width = canvas
        if batch.frame is None:
            assert tuple(out_images[b].shape[-2:]) == canvas
        layers = stated_layers(plan, b)
        assert layers[0] is not None
        assert layers[0].source == b, "layer 0 is not the base"
        if method.make in (cd.Mosaic, cd.RICAP) and keep_frame:  # what it leaves beyond the canvas is judged elsewhere
            exact[b][:, height:] = batch.images[b][:, height:]
            exact[b][:, :, width:] = batch.images[b][:, :, width:]
        prov = decode(exact[b], canvas, sizes, batch.images[b] if keep_frame else None)
        cells = drawn_cells(plan, b)
        shown = attribute(prov, layers, cells)
        assert np.array_equal(owner[b, :height, :width], shown), f"output {b}: owner_map is not what the pixels say"
        assert (owner[b, height:] == -1).all()
        assert (owner[b, :, width:] == -1).all()
        for s in range(share.shape[1]):
            close(share[b, s], (shown == s).mean(), f"output {b}: share", atol=1e-12)
        assert out_images[b].shape == exact[b].shape
        tally.smooth += check_smooth(out_images[b], layers, shown)

        carried = carried_instances(plan, b)
        method.look(Seen(b, prov, shown, cells, layers, carried, targets["instances"], maps, sizes, canvas))
        records = expect_instances(
            prov, layers, targets["instances"], sizes, settings, shown=shown, carried=carried, flip_pairs=flip_pairs
        )
        tally.near += compare_instances(
            out["instances"][b], records, targets["instances"], settings, base=b, canvas=canvas, keys=pool.keys
        )
        compare_report(rows, b, records, b)
        wanted = expect_semantic(prov, maps, 255)
        got = out["semantic"][b]
        assert got.dtype == torch.int64
        assert np.array_equal(got.numpy()[:height, :width], wanted), f"output {b}: semantic map"
        if keep_frame and method.make not in (cd.Mosaic, cd.RICAP):
            assert torch.equal(got[height:], batch.semantic[b][height:]), f"output {b}: padding of the map"
            assert torch.equal(got[:, width:], batch.semantic[b][:, width:]), f"output {b}: padding of the map"
        wanted_labels = expect_labels(prov, targets["labels"].tolist(), CLASSES)
        close(out["labels"][b].numpy(), wanted_labels, f"output {b}: class labels", atol=1e-6)
        tally.outputs += 1
        tally.mixed += bool((shown > 0).any())
        tally.kept += sum(r.outcome == "kept" for r in records)
        tally.instances += len(records)
        tally.fill += bool((prov.source < 0).any())


CASES = [(name, shape) for name in METHODS for shape in ("uniform", "list", "padded")]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_what_the_pixels_prove(name: str, shape: str):
    method = METHODS[name]
    rng = np.random.default_rng([list(METHODS).index(name), ["uniform", "list", "padded"].index(shape)])
    tally = Tally()
    for round_ in range(2):
        for pairing in method.pairings:
            for masks in method.masks:
                settings = random_settings(rng)
                schema = random_schema(rng, masks)
                size = {"halves": 4, "bank": 2}.get(pairing, int(rng.integers(3, 5)))
                batch = random_batch(rng, shape, masks, size, schema=schema)
                bank = filled_bank(rng, shape, masks, schema, batch) if pairing == "bank" else None
                p = 1.0 if round_ == 0 else 0.7
                mix = make(method, pairing if bank is None else bank, settings, batch.points, p)
                where = f"{name}, {shape}, {pairing}, masks {masks}, round {round_}, sizes {batch.sizes}, {settings}"
                try:
                    judge(batch, mix, method, int(rng.integers(2**31)), tally, bank)
                    assert bank is None or len(bank) == size + 3, "the batch isn't in the bank"
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{where}") from error
    assert tally.mixed > 0.35 * tally.outputs
    assert tally.kept > 10
    assert tally.near <= 0.2 * tally.instances
    if method.scaled:
        assert tally.smooth > 500


def test_pairings_that_do_not_apply_are_refused():
    images = torch.zeros(4, 3, 10, 14)
    for mix in (cd.Mosaic(pairing="swap"), cd.RICAP(pairing="swap")):
        with pytest.raises(ValueError, match=r"swap|pair"):
            mix(images)
    with pytest.raises(ValueError, match=r"pairing"):
        cd.ResizeMix(pairing="nobody")


# ---------------------------------------------------------------------------------------------------------------------
# free-form masks and boxes


@pytest.mark.parametrize("name", ["ClassMix", "CowMix", "FMix", "DACS"])
def test_boxes_without_masks_are_refused_under_free_form_masks(name: str):
    method = METHODS[name]
    batch = random_batch(np.random.default_rng(3), "uniform", False, 4)
    mix = method.make(p=1.0, num_classes=CLASSES, **method.settings)
    with pytest.raises(ValueError, match="estimate"):
        mix(batch.images, batch.all_targets, generator=torch.Generator().manual_seed(0))
    for target in batch.targets:  # nothing to refuse where there are no boxes
        target.clear()
    mix(batch.images, batch.all_targets, generator=torch.Generator().manual_seed(0))


def test_an_estimate_counts_the_owned_pixels_in_the_box():
    batch = random_batch(np.random.default_rng(4), "uniform", False, 3)
    height, width = batch.sizes[0]
    boxes = torch.tensor([[2.0, 3, 8, 9], [0.5, 0.25, 6.75, 7.5]])
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 2])} for _ in range(3)]
    mix = cd.CowMix(p=1.0, sigma=(1.0, 2.0), boxes="estimate", min_visibility=0.0, min_size=0.0)
    plan = mix.make_plan(batch.images, targets, generator=torch.Generator().manual_seed(1))
    owner = plan.owner_map().numpy()
    out = F.mix_instances(targets, plan, boxes="estimate", min_visibility=0.0, min_size=0.0)
    for b in range(3):
        for k in range(len(out[b]["boxes"])):
            source, index = out[b]["origin"][k].tolist()
            layer = 0 if source == b else 1
            x0, y0, x1, y1 = boxes[index].tolist()
            total = 0.0
            for i in range(height):
                for j in range(width):
                    if owner[b, i, j] == layer:
                        total += max(0, min(y1, i + 1) - max(y0, i)) * max(0, min(x1, j + 1) - max(x0, j))
            close(out[b]["visibility"][k].item(), total / ((x1 - x0) * (y1 - y0)), "estimate", atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# the soft mix


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("pairing", ["roll", "shuffle", "swap", "bank"])
@pytest.mark.parametrize("shape", ["uniform", "list", "padded"])
def test_soft_mixes(shape: str, pairing: str, dtype: torch.dtype):
    rng = np.random.default_rng([len(shape), len(pairing), int(dtype == torch.uint8)])
    for round_ in range(4):
        masks = bool(round_ % 2)
        settings = random_settings(rng)
        schema = random_schema(rng, masks)
        batch = random_batch(rng, shape, masks, 1 if pairing == "bank" else 3, schema=schema, dtype=dtype)
        bank = filled_bank(rng, shape, masks, schema, batch, dtype) if pairing == "bank" else None
        mix = cd.MixUp(
            p=1.0 if round_ < 2 else 0.6,
            pairing=pairing if bank is None else bank,
            fill=FILL,
            num_classes=CLASSES,
            **settings.kwargs(),
        )
        judge_soft(batch, mix, int(rng.integers(2**31)), settings, bank)


def judge_soft(batch: Batch, mix: Any, seed: int, settings: Settings, bank: cd.SampleBank | None) -> None:
    """MixUp in plain loops: image = weighted mean, instances united, maps as pair and as probabilities."""
    images, targets, valid, sizes = batch.images, batch.all_targets, batch.valid, list(batch.sizes)
    generator = torch.Generator().manual_seed(seed)
    if bank is None:
        plan = mix.make_plan(images, targets, sizes=valid, generator=generator)
    else:
        images, targets, valid = bank.join(images, targets, valid)
        sizes = (
            [tuple(int(n) for n in s) for s in valid] if valid is not None else [tuple(i.shape[-2:]) for i in images]
        )
        plan = mix.draw_plan(Pool.of(images, targets, valid, outputs=len(batch.sizes)), generator)
    out_images, out = mix(
        batch.images, batch.all_targets, sizes=batch.valid, generator=torch.Generator().manual_seed(seed)
    )
    soft = F.mix_semantic_soft(targets["semantic"], plan, num_classes=MAP_CLASSES, ignore_index=255)
    maps = cropped(targets["semantic"], sizes)
    share = plan.share().numpy()
    pairs = out["semantic"]
    whole = isinstance(pairs, F.SemanticPair)
    for b, canvas in enumerate(batch.sizes):
        height, width = canvas
        layers = stated_layers(plan, b)
        assert layers[0] == Layer(b, extent=(0, 0, *canvas))
        assert plan.weight is not None
        weights = plan.weight[b].double().tolist()
        counts = soft_weights(canvas, layers, weights, sizes)
        expected = np.zeros((3, height, width))
        for s, layer in enumerate(layers):
            if layer is not None:
                h, w = min(sizes[layer.source][0], height), min(sizes[layer.source][1], width)
                source = images[layer.source].double().numpy()[:, :h, :w]
                expected[:, :h, :w] += counts[s][:h, :w] * source
        got = out_images[b].double().numpy()
        assert np.abs(got[:, :height, :width] - expected).max() <= (
            0.501 if batch.images[0].dtype == torch.uint8 else 1e-3
        )
        if batch.frame is not None:
            assert np.array_equal(got[:, height:], batch.images[b].double().numpy()[:, height:]), "padding"
        for s in range(len(layers)):
            close(share[b, s], counts[s].mean(), "share", atol=1e-6)

        records = expect_soft_instances(canvas, layers, targets["instances"], sizes, settings)
        norm = sum(w for w, layer in zip(weights, layers, strict=True) if layer is not None)
        compare_instances(
            out["instances"][b], records, targets["instances"], settings, base=b, canvas=canvas, keys=batch.keys,
            weights=[w / norm for w in weights],
        )  # fmt: skip
        map_a, map_b, first, probabilities = expect_soft_semantic(
            canvas, layers, weights, maps, sizes, 255, MAP_CLASSES
        )
        a, other, weight = (m[b] for m in pairs) if whole else pairs[b]
        assert np.array_equal(a.numpy()[:height, :width], map_a), "map a"
        close(weight.numpy()[:height, :width], first, "weight", atol=1e-6)
        told = first < 1  # where the partner says nothing, its map isn't looked at
        assert np.array_equal(other.numpy()[:height, :width][told], map_b[told]), "map b"
        close(soft[b].numpy()[:, :height, :width], probabilities, "probabilities", atol=1e-6)
        wanted = np.zeros(CLASSES)
        for s, layer in enumerate(layers):
            if layer is not None:
                wanted[int(targets["labels"][layer.source])] += counts[s].mean()
        close(out["labels"][b].numpy(), wanted, "labels", atol=1e-6)


def test_probabilities_by_the_transform():
    batch = random_batch(np.random.default_rng(8), "uniform", True, 4)
    pair, soft = (
        cd.MixUp(p=1.0, soft_semantic=form, num_classes=MAP_CLASSES)(
            batch.images, batch.semantic, generator=torch.Generator().manual_seed(3)
        )[1]
        for form in ("pair", "probabilities")
    )
    assert soft.shape == (4, MAP_CLASSES, *batch.sizes[0])
    total = soft.sum(1)
    assert ((total - 1).abs().lt(1e-5) | total.eq(0)).all()
    assert torch.equal(total == 0, (pair.a == 255) & (pair.b == 255))


# ---------------------------------------------------------------------------------------------------------------------
# RandomMix, object labels, weights


def test_random_mix_is_one_of_its_transforms():
    """Unmoved members: the layers are told from the pixels alone."""
    rng = np.random.default_rng(11)
    seen_partners = 0
    for shape in ("uniform", "list", "padded"):
        for _ in range(6):
            settings = random_settings(rng)
            batch = random_batch(rng, shape, bool(rng.random() < 0.5), 4)
            common = {"p": 1.0, "num_classes": CLASSES, "fill": FILL, **settings.kwargs()}
            mix = cd.RandomMix(
                [
                    cd.StripeMix(**common),
                    cd.GridMix(**common),
                    cd.CutMix(**common),
                    cd.CowMix(sigma=(1.0, 2.0), boxes="estimate", **common),
                ]
            )
            out_images, out, report = mix(
                batch.images, batch.all_targets, sizes=batch.valid, return_report=True,
                generator=torch.Generator().manual_seed(int(rng.integers(2**31))),
            )  # fmt: skip
            maps = cropped(batch.semantic, batch.sizes)
            rows = list(report.rows())
            for b, canvas in enumerate(batch.sizes):
                prov = decode(out_images[b], canvas, batch.sizes, batch.images[b] if batch.frame else None)
                layers = [Layer(b), Layer((b - 1) % 4)]
                records = expect_instances(prov, layers, batch.targets, batch.sizes, settings)
                compare_instances(
                    out["instances"][b], records, batch.targets, settings, base=b, canvas=canvas, keys=batch.keys
                )
                compare_report(rows, b, records, b)
                height, width = canvas
                assert np.array_equal(out["semantic"][b].numpy()[:height, :width], expect_semantic(prov, maps, 255))
                close(
                    out["labels"][b].numpy(), expect_labels(prov, batch.labels.tolist(), CLASSES), "labels", atol=1e-6
                )
                seen_partners += bool((prov.source == (b - 1) % 4).any())
    assert seen_partners > 40


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("name", ["ResizeMix", "Mosaic2x2", "GridMix", "RICAP"])
def test_labels_by_visible_objects(name: str, masks: bool):
    """A patch without an object gives no label; without any object the pixels count."""
    method = METHODS[name]
    rng = np.random.default_rng([5, int(masks)])
    everything = Settings(min_visibility=0.0, min_size=0.0)
    for _ in range(4):
        batch = random_batch(rng, "list", masks, 5)
        for target in batch.targets:
            target.pop("visibility", None)
        mix = method.make(p=1.0, num_classes=CLASSES, labels_by="objects", **method.settings)
        seed = int(rng.integers(2**31))
        plan = mix.make_plan(batch.images, batch.all_targets, generator=torch.Generator().manual_seed(seed))
        _, out = mix(batch.images, batch.all_targets, generator=torch.Generator().manual_seed(seed))
        exact = F.mix_pixels(batch.images, plan, fill=FILL, interpolation="nearest")
        for b, canvas in enumerate(batch.sizes):
            layers = stated_layers(plan, b)
            prov = decode(exact[b], canvas, batch.sizes)
            shown = attribute(prov, layers, drawn_cells(plan, b))
            records = expect_instances(prov, layers, batch.targets, batch.sizes, everything, shown=shown)
            wanted = np.zeros(CLASSES)
            for r in records:
                wanted[int(batch.labels[r.source])] += r.visible_area
            if wanted.sum() == 0:
                wanted = expect_labels(prov, batch.labels.tolist(), CLASSES)
            close(out["labels"][b].numpy(), wanted / wanted.sum(), f"output {b}: labels", atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_instances_carry_a_weight_when_asked(name: str):
    """Under a hard plan what shows is wholly there: weight 1, times what came in."""
    method = METHODS[name]
    batch = random_batch(np.random.default_rng(21), "uniform", True, 4)
    for n, target in enumerate(batch.targets):
        if "boxes" in target:
            target["weight"] = torch.full((len(target["boxes"]),), 1 / (n + 1))
    arguments: dict[str, Any] = {"flip_pairs": ()} if method.flips else {}
    mix = method.make(p=1.0, num_classes=CLASSES, instance_weights=True, **arguments, **method.settings)
    _, out = mix(batch.images, batch.all_targets, generator=torch.Generator().manual_seed(2))
    for target in out["instances"]:
        close(target["weight"].numpy(), 1 / (target["origin"][:, 0].numpy() + 1), "weight", atol=1e-6)
