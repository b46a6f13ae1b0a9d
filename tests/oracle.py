"""The coded-pixel oracle: what a mix must return, worked out from the mixed image alone.

Every pool image is coded: its pixels hold (image number + 1, x, y). After a mix each output pixel therefore proves
which image it came from and from where, or that it is fill (0, 0, 0). From that provenance, the input targets and the
filter settings, plain loops over pixels and instances (Python numbers, float64, slow and obvious) say what the rules of
the design demand; nothing of the library is used for it. The file also draws the random cases and compares.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors

FILL = 0  # image id 0 is never coded, so a black pixel is fill
POISON = 250  # the id in the padding of a padded batch: may never be seen in an output
NEAR = 1e-5  # a value this close to a threshold is not judged (and counted)

# ---------------------------------------------------------------------------------------------------------------------
# coding and decoding


def coded_image(number: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Image `number` of the pool as (3, H, W): number + 1, x, y in every pixel."""
    y, x = np.mgrid[0:height, 0:width]
    return torch.from_numpy(np.stack([np.full_like(x, number + 1), x, y])).to(dtype)


def coded_pool(
    sizes: Sequence[tuple[int, int]], frame: tuple[int, int] | None = None, dtype: torch.dtype = torch.float32
) -> torch.Tensor | list[torch.Tensor]:
    """Coded images: a list of their own sizes, or one padded (B, 3, *frame) tensor with poisoned padding."""
    images = [coded_image(i, h, w, dtype) for i, (h, w) in enumerate(sizes)]
    if frame is None:
        return images
    batch = torch.empty(len(sizes), 3, *frame, dtype=dtype)
    batch[:] = torch.tensor([POISON, 0, 0]).to(dtype).view(3, 1, 1)
    for i, (h, w) in enumerate(sizes):
        batch[i, :, :h, :w] = images[i]
    return batch


@dataclass
class Provenance:
    """Where each pixel of one output came from; `source` is −1 for fill. All (H, W) int64, the size of the canvas."""

    source: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self.source.shape[0], self.source.shape[1]


def decode(
    image: torch.Tensor, canvas: tuple[int, int], sizes: Sequence[tuple[int, int]], base: torch.Tensor | None = None
) -> Provenance:
    """Read the provenance off a mixed coded image (3, H, W).

    What lies beyond the canvas is no part of the picture: the padding of `base` if given, else fill.
    """
    code = np.asarray(image.detach().to(torch.float64).numpy())
    whole = np.rint(code).astype(np.int64)
    assert np.array_equal(whole, code), "a coded pixel was blended or rescaled"
    height, width = canvas
    assert min(code.shape[1] - height, code.shape[2] - width) >= 0, f"output {code.shape} smaller than canvas {canvas}"
    beyond = np.zeros_like(code) if base is None else base.detach().to(torch.float64).numpy()
    assert np.array_equal(code[:, height:], beyond[:, height:]), "the padding below the canvas changed"
    assert np.array_equal(code[:, :, width:], beyond[:, :, width:]), "the padding right of the canvas changed"
    source, x, y = whole[:, :height, :width]
    source = source - 1
    assert source.max(initial=-1) < len(sizes), "a pixel of the padding was copied"
    fill = source < 0
    assert not whole[1:, :height, :width][:, fill].any(), "a pixel that is neither fill nor coded"
    limits = np.array([*sizes, (1, 1)], dtype=np.int64)  # the last row serves fill (index −1)
    assert ((y < limits[source, 0]) & (x < limits[source, 1])).all(), "a pixel from outside its image"
    return Provenance(source, y, x)


# ---------------------------------------------------------------------------------------------------------------------
# the rules, in plain loops


@dataclass(frozen=True)
class Layer:
    """One placed image: canvas = scale * source + shift, per axis in array order (y, x)."""

    source: int
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    extent: tuple[int, int, int, int] | None = None  # y0, x0, y1, x1; None: the image's valid size

    @property
    def identity(self) -> bool:
        """Whether source and canvas coordinates are the same."""
        return self.scale == (1.0, 1.0) and self.shift == (0.0, 0.0)


@dataclass(frozen=True)
class Settings:
    """The filter's settings, as the library takes them."""

    min_visibility: float | tuple[float, float] = 0.1  # for all, or (base, pasted)
    min_size: float | tuple[float, float] = 1.0
    on_filtered: str = "drop"
    boxes_from: str = "auto"
    instance_keys: tuple[str, ...] = ()
    image_keys: tuple[str, ...] = ()
    semantic_keys: tuple[str, ...] = ()

    def thresholds(self, layer: int) -> tuple[float, float]:
        """Least visibility and least side for an instance of a layer."""
        pick = min(layer, 1)
        seen, side = self.min_visibility, self.min_size
        return seen[pick] if isinstance(seen, tuple) else seen, side[pick] if isinstance(side, tuple) else side

    def kwargs(self) -> dict[str, Any]:
        """As keyword arguments of mix_instances and of the transform."""
        return {
            "min_visibility": self.min_visibility,
            "min_size": self.min_size,
            "on_filtered": self.on_filtered,
            "boxes_from": self.boxes_from,
            "instance_keys": self.instance_keys,
            "image_keys": self.image_keys,
            "semantic_keys": self.semantic_keys,
        }


@dataclass
class Record:
    """What must become of one instance of one layer of one output."""

    layer: int
    source: int
    index: int
    outcome: str  # kept, dropped, ignored, crowd
    untouched: bool = False
    broken: bool = False
    near: bool = False  # too close to a threshold to be judged
    failed: tuple[str, ...] = ()  # which tests failed: area, outside, invisible, visibility, size
    share: float = 0.0  # visible / whole of this mix alone
    visibility: float = 0.0  # times the incoming visibility
    visible_area: float = 0.0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    mask: np.ndarray | None = None  # (H, W) of the canvas
    keypoints: list[tuple[float, float, float]] = field(default_factory=list)
    keypoints_visible: list[bool] = field(default_factory=list)
    keypoints_on: list[str] = field(default_factory=list)  # whose pixel holds each: own, other, none (off the canvas)
    area: float | None = None

    @property
    def origin(self) -> tuple[int, int]:
        """Pool image and index there."""
        return self.source, self.index


def boxes_xyxy(boxes: torch.Tensor) -> np.ndarray:
    """(N, 4) corners in float64, from a plain xyxy tensor or any unrotated format."""
    raw = boxes.as_subclass(torch.Tensor).detach().to(torch.float64).numpy().reshape(-1, 4)
    kind = boxes.format.value if isinstance(boxes, tv_tensors.BoundingBoxes) else "XYXY"
    if kind == "XYXY":
        return raw
    if kind == "XYWH":
        return np.stack([raw[:, 0], raw[:, 1], raw[:, 0] + raw[:, 2], raw[:, 1] + raw[:, 3]], 1)
    assert kind == "CXCYWH", kind
    half = raw[:, 2:] / 2
    return np.concatenate([raw[:, :2] - half, raw[:, :2] + half], 1)


def _count(target: dict[str, Any]) -> int:
    boxes = target.get("boxes")
    return 0 if boxes is None else int(boxes.shape[0])


def _numbers(target: dict[str, Any], key: str) -> list[Any] | None:
    value = target.get(key)
    return None if value is None else value.as_subclass(torch.Tensor).tolist()


def layer_map(prov: Provenance, layers: Sequence[Layer | None]) -> np.ndarray:
    """(H, W): which layer shows, −1 for fill. Sources of the layers must differ from one another."""
    shown = np.full(prov.shape, -1, dtype=np.int64)
    for number, layer in enumerate(layers):
        if layer is not None:
            shown[prov.source == layer.source] = number
    assert ((shown >= 0) == (prov.source >= 0)).all(), "a pixel of an image that has no business in this output"
    return shown


def expect_instances(
    prov: Provenance,
    layers: Sequence[Layer | None],
    targets: Sequence[dict[str, Any]],
    sizes: Sequence[tuple[int, int]],
    settings: Settings,
    *,
    shown: np.ndarray | None = None,
    dyadic: Sequence[bool] | bool = False,
    carried: Sequence[set[int] | None] | None = None,
    flip_pairs: Sequence[tuple[int, int]] = (),
) -> list[Record]:
    """Every instance of every layer (None: an absent one), in order, with what must become of it.

    `shown` (H, W) names the layer per pixel where two layers have the same source. `dyadic` says that the boxes of an
    image are small binary fractions, so that float arithmetic on them is exact and equality with a threshold is judged.
    `carried` names, per layer, the instances that come along (None: all). `flip_pairs` are the keypoints that change
    names in a mirrored layer.
    """
    height, width = prov.shape
    if shown is None:
        shown = layer_map(prov, layers)
    shown_rows: list[list[int]] = shown.tolist()
    owned: list[list[tuple[int, int, int, int]]] = [[] for _ in layers]  # canvas row, column, source row, column
    y_rows, x_rows = prov.y.tolist(), prov.x.tolist()
    for i in range(height):
        for j in range(width):
            if shown_rows[i][j] >= 0:
                owned[shown_rows[i][j]].append((i, j, y_rows[i][j], x_rows[i][j]))

    records = []
    for number, layer in enumerate(layers):
        if layer is None:
            continue
        target = targets[layer.source]
        n = _count(target)
        if n == 0:
            continue
        boxes = boxes_xyxy(target["boxes"])
        masks = None
        if target.get("masks") is not None:
            masks = target["masks"].as_subclass(torch.Tensor).numpy() != 0
        stated = [masks is not None] * n
        if masks is not None and "has_mask" in target:
            stated = target["has_mask"].tolist()
        keypoints, area, incoming = (_numbers(target, key) for key in ("keypoints", "area", "visibility"))
        extent = layer.extent or (0, 0, *sizes[layer.source])
        exact = dyadic if isinstance(dyadic, bool) else dyadic[layer.source]
        names = None if carried is None else carried[number]
        for k in range(n):
            if names is not None and k not in names:
                records.append(Record(number, layer.source, k, "dropped", failed=("not carried",)))
                continue
            record = _expect_one(
                Record(number, layer.source, k, "dropped"),
                layer,
                extent,
                shown_rows,
                owned[number],
                tuple(boxes[k].tolist()),
                masks[k] if masks is not None and stated[k] else None,
                None if incoming is None else float(incoming[k]),
                settings,
                exact or stated[k] or (masks is not None and boxes[k].round().tolist() == boxes[k].tolist()),
            )
            if masks is not None and not stated[k]:  # judged by its box; what its row of the masks holds says nothing
                record.mask = np.zeros(prov.shape, dtype=bool)
            if keypoints is not None:
                points = list(keypoints[k])
                for left, right in flip_pairs if layer.scale[1] < 0 else ():
                    points[left], points[right] = points[right], points[left]
                _expect_keypoints(record, layer, points, shown_rows)
            if area is not None:
                record.area = area[k] * abs(layer.scale[0] * layer.scale[1]) * record.share
            records.append(record)
    return records


def _expect_one(
    record: Record,
    layer: Layer,
    extent: tuple[int, int, int, int],
    shown: list[list[int]],
    owned: list[tuple[int, int, int, int]],
    box: tuple[float, float, float, float],
    mask: np.ndarray | None,
    incoming: float | None,
    settings: Settings,
    exact: bool,
) -> Record:
    height, width = len(shown), len(shown[0])
    y_low, x_low, y_high, x_high = extent
    x0, y0, x1, y1 = max(box[0], x_low), max(box[1], y_low), min(box[2], x_high), min(box[3], y_high)
    if box[2] <= box[0] or box[3] <= box[1] or x1 <= x0 or y1 <= y0:
        record.broken = True
        record.failed = ("area",) if box[2] <= box[0] or box[3] <= box[1] else ("outside",)
        return record

    # the box: clipped to the valid part of its image, mapped, and what is left of it, pixel by pixel
    xs = sorted((layer.scale[1] * x0 + layer.shift[1], layer.scale[1] * x1 + layer.shift[1]))
    ys = sorted((layer.scale[0] * y0 + layer.shift[0], layer.scale[0] * y1 + layer.shift[0]))
    whole = (xs[1] - xs[0]) * (ys[1] - ys[0])
    covers_all = ys[0] >= 0 and xs[0] >= 0 and ys[1] <= height and xs[1] <= width
    visible = 0.0
    left, top, right, bottom = math.inf, math.inf, -math.inf, -math.inf
    for i in range(max(0, math.floor(ys[0])), min(height, math.ceil(ys[1]))):
        row_low, row_high = max(ys[0], i), min(ys[1], i + 1)
        if row_high <= row_low:
            continue
        row = shown[i]
        for j in range(max(0, math.floor(xs[0])), min(width, math.ceil(xs[1]))):
            col_low, col_high = max(xs[0], j), min(xs[1], j + 1)
            if col_high <= col_low:
                continue
            if row[j] == record.layer:
                visible += (row_high - row_low) * (col_high - col_low)
                left, right = min(left, col_low), max(right, col_high)
                top, bottom = min(top, row_low), max(bottom, row_high)
            else:
                covers_all = False

    if mask is not None:
        from_box = (left, top, right, bottom)
        record.mask = np.zeros((height, width), dtype=bool)
        seen = 0
        left, top, right, bottom = math.inf, math.inf, -math.inf, -math.inf
        rows: list[list[bool]] = mask.tolist()
        for i, j, y, x in owned:
            if rows[y][x]:
                seen += 1
                record.mask[i, j] = True
                left, right = min(left, j), max(right, j + 1)
                top, bottom = min(top, i), max(bottom, i + 1)
        all_pixels = _mapped_pixels(mask, layer, extent)
        for slip in (-1e-5, 1e-5):  # centres that fall between two source pixels are a matter of rounding
            record.near |= all_pixels != _mapped_pixels(mask, layer, extent, slip)
        if all_pixels == 0:  # a mask without pixels: kept as it came where nothing touched its box
            record.near = False
            if covers_all and layer.identity:
                record.outcome, record.untouched, record.share, record.box = "kept", True, 1.0, box
                record.visibility = 1.0 if incoming is None else incoming
            else:
                record.failed = ("empty mask",)
            return record
        covers_all = seen == all_pixels
        visible, whole = float(seen), float(all_pixels)
        if settings.boxes_from == "box":
            left, top, right, bottom = from_box

    record.visible_area = visible
    if visible <= 0 or whole <= 0:
        record.failed = ("invisible",)
        return record
    record.share = 1.0 if covers_all else visible / whole
    record.visibility = record.share * (1.0 if incoming is None else incoming)
    record.untouched = covers_all and layer.identity
    record.box = (left, top, right, bottom)
    if record.untouched:
        record.outcome = "kept"
        record.box = box  # as it came, also where it juts out of the image
        return record

    failed = []
    min_visibility, min_size = settings.thresholds(record.layer)
    if record.visibility < min_visibility:
        failed.append("visibility")
    for side in (right - left, bottom - top):
        if side < min_size and "size" not in failed:
            failed.append("size")
        record.near |= not exact and abs(side - min_size) < NEAR
    # k / 2^n against k' / 2^m is exact in any float; 0.1 is not
    sure = exact and incoming is None and min_visibility in (0.0, 0.25, 0.5)
    record.near |= not sure and min_visibility > 0 and abs(record.visibility - min_visibility) < NEAR
    record.near |= not exact and record.share < NEAR
    record.failed = tuple(failed)
    if not failed:
        record.outcome = "kept"
    else:
        record.outcome = {"drop": "dropped", "ignore": "ignored", "crowd": "crowd"}[settings.on_filtered]
    return record


def _mapped_pixels(mask: np.ndarray, layer: Layer, extent: tuple[int, int, int, int], slip: float = 0.0) -> int:
    """How many pixels the mask has once mapped (and shifted by `slip`), on a canvas without borders."""
    y_low, x_low, y_high, x_high = extent
    if abs(layer.scale[0]) == 1 and abs(layer.scale[1]) == 1:
        return int(mask[y_low:y_high, x_low:x_high].sum())
    rows = Counter(source_pixels(layer.scale[0], layer.shift[0] + slip, y_low, y_high).values())
    cols = Counter(source_pixels(layer.scale[1], layer.shift[1] + slip, x_low, x_high).values())
    return sum(ny * nx for y, ny in rows.items() for x, nx in cols.items() if mask[y, x])


def source_pixels(scale: float, shift: float, low: int, high: int) -> dict[int, int]:
    """Canvas pixel -> source pixel along one axis, for every pixel (on the canvas or not) centred in the image."""
    first, last = sorted((scale * low + shift, scale * high + shift))
    pixels = {}
    for j in range(math.ceil(first - 0.5), math.ceil(last - 0.5)):
        pixels[j] = min(max(math.floor((j + 0.5 - shift) / scale), low), high - 1)
    return pixels


def _expect_keypoints(record: Record, layer: Layer, points: list[list[float]], shown: list[list[int]]) -> None:
    height, width = len(shown), len(shown[0])
    for point in points:
        x = layer.scale[1] * point[0] + layer.shift[1]
        y = layer.scale[0] * point[1] + layer.shift[0]
        i, j = math.floor(y), math.floor(x)
        rounded = any(abs(s) != 1 and abs(v - round(v)) < 1e-4 for s, v in zip(layer.scale, (y, x), strict=True))
        record.near |= rounded  # whose pixel it is, is a matter of rounding
        on_canvas = 0 <= i < height and 0 <= j < width
        visible = on_canvas and shown[i][j] == record.layer
        record.keypoints_on.append("own" if visible else "other" if on_canvas else "none")
        if len(point) == 3:
            visible = visible and point[2] > 0
            record.keypoints.append((x, y, point[2]) if visible else (0.0, 0.0, 0.0))
        else:
            record.keypoints.append((x, y, 0.0))
        record.keypoints_visible.append(visible)


def expect_semantic(prov: Provenance, maps: Sequence[np.ndarray], ignore_index: int) -> np.ndarray:
    """The semantic map of one output: each pixel's class where it came from, `ignore_index` for fill."""
    out = np.full(prov.shape, ignore_index, dtype=np.int64)
    for source in np.unique(prov.source):
        if source >= 0:
            here = prov.source == source
            out[here] = maps[source][prov.y[here], prov.x[here]]
    return out


def expect_labels(prov: Provenance, labels: Sequence[int], classes: int) -> np.ndarray:
    """The share of each class in the pixels that somebody owns; fill has no class."""
    out = np.zeros(classes)
    for source in prov.source.reshape(-1).tolist():
        if source >= 0:
            out[labels[source]] += 1
    return out / out.sum()


# ---------------------------------------------------------------------------------------------------------------------
# the stated maps of a plan


def stated_layers(plan: Any, output: int) -> list[Layer | None]:
    """The layers of one output by the plan's own numbers; None for an absent one."""
    layers: list[Layer | None] = []
    for s, source in enumerate(plan.source[output].tolist()):
        if source < 0:
            layers.append(None)
            continue
        (sy, sx), (ty, tx) = plan.scale[output, s].tolist(), plan.shift[output, s].tolist()
        y0, x0, y1, x1 = plan.extent[output, s].tolist()
        layers.append(Layer(source, (sy, sx), (ty, tx), (y0, x0, y1, x1)))
    return layers


def carried_instances(plan: Any, output: int) -> list[set[int] | None]:
    """The instances that come along with each layer; None where all do."""
    if plan.carry is None:
        return [None] * plan.source.shape[1]
    beyond = set(range(plan.carry.shape[2], plan.carry.shape[2] + 50))  # an instance beyond its length is carried
    return [{k for k, yes in enumerate(row) if yes} | beyond for row in plan.carry[output].tolist()]


def stated_coordinates(layer: Layer, canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Continuous source coordinates (y: (H, 1), x: (1, W)) of the centre of every canvas pixel."""
    y = (np.arange(canvas[0]) + 0.5 - layer.shift[0]) / layer.scale[0]
    x = (np.arange(canvas[1]) + 0.5 - layer.shift[1]) / layer.scale[1]
    return y[:, None], x[None]


def attribute(prov: Provenance, layers: Sequence[Layer | None], cells: np.ndarray) -> np.ndarray:
    """(H, W): the layer that shows in each pixel, −1 for fill; asserts that the pixels prove it.

    `cells` (H, W) names the layer that was drawn for each pixel. It shows wherever its image reaches; its pixel there
    must be the one that holds the mapped centre: within half a pixel of the stated map, up to rounding.
    """
    shown = np.full(prov.shape, -1, dtype=np.int64)
    for number, layer in enumerate(layers):
        drawn = cells == number
        if layer is None:
            assert not drawn.any(), f"layer {number} is absent and owns pixels"
            continue
        assert layer.extent is not None
        y0, x0, y1, x1 = layer.extent
        y, x = stated_coordinates(layer, prov.shape)
        slack_y, slack_x = 1e-4 / abs(layer.scale[0]), 1e-4 / abs(layer.scale[1])
        out = (y < y0 - slack_y) | (y > y1 + slack_y) | (x < x0 - slack_x) | (x > x1 + slack_x)
        deep = (y > y0 + slack_y) & (y < y1 - slack_y) & (x > x0 + slack_x) & (x < x1 - slack_x)
        here = drawn & (prov.source >= 0)
        assert not (drawn & out & here).any(), f"layer {number} shows beyond its image"
        assert here[drawn & deep].all(), f"layer {number} is fill where its image reaches"
        assert (prov.source[here] == layer.source).all(), f"layer {number} shows another image"
        for got, stated, name in ((prov.y, y, "y"), (prov.x, x, "x")):
            far = np.abs(got + 0.5 - stated)[here]
            slack = slack_y if name == "y" else slack_x
            assert (far <= 0.5 + slack).all(), f"layer {number}: {name} is {far.max():.3f} pixels off its map"
        shown[here] = number
    assert (shown[prov.source >= 0] >= 0).all(), "pixels of an image where fill was drawn"
    return shown


def drawn_cells(plan: Any, output: int) -> np.ndarray:
    """(H, W) of the canvas: the owner drawn for each pixel, read off the plan's grid."""
    lines = []
    for axis, side in enumerate(plan.canvas[output].tolist()):
        edges = plan.edges[axis][output].tolist()
        lines.append([max(g for g, edge in enumerate(edges[:-1]) if edge <= i) for i in range(side)])
    return plan.owner[output].numpy().astype(np.int64)[np.ix_(*lines)]


def check_smooth(image: torch.Tensor, layers: Sequence[Layer | None], shown: np.ndarray) -> int:
    """A coded image resampled smoothly: every coordinate within half a source pixel of the stated map.

    Judged where the filter sees nothing but the layer's image; returns how many pixels that are. The image's number
    is exact everywhere, and so are the coordinates of layers that aren't scaled.
    """
    height, width = shown.shape
    code = image.detach().to(torch.float64).numpy()[:, :height, :width]
    assert (code[:, shown < 0] == 0).all(), "fill is not fill"
    judged = 0
    for number, layer in enumerate(layers):
        here = shown == number
        if layer is None or not here.any():
            continue
        assert layer.extent is not None
        number_error = np.abs(code[0] - layer.source - 1)[here].max()
        assert number_error < 1e-3, f"layer {number} is mixed with another image ({number_error})"
        y, x = stated_coordinates(layer, shown.shape)
        exact = all(abs(s) == 1 and t == round(t) for s, t in zip(layer.scale, layer.shift, strict=True))
        for axis, (got, stated) in enumerate(((code[2], y), (code[1], x))):
            reach = 0.0 if exact else max(1.0, 1 / abs(layer.scale[axis])) + 0.5
            inner = (stated >= layer.extent[axis] + reach) & (stated <= layer.extent[axis + 2] - reach)
            off = np.abs(got + 0.5 - stated)[here & inner]
            judged += off.size
            assert (off <= (1e-4 if exact else 0.5)).all(), f"layer {number}: {off.max():.3f} source pixels off its map"
    return judged


# ---------------------------------------------------------------------------------------------------------------------
# soft plans: every layer shows wherever its image reaches, in proportion to its weight


def soft_weights(
    canvas: tuple[int, int], layers: Sequence[Layer | None], weights: Sequence[float], sizes: Sequence[tuple[int, int]]
) -> np.ndarray:
    """(S, H, W) how much each layer counts in each pixel; they sum to 1."""
    out = np.zeros((len(layers), *canvas))
    for s, layer in enumerate(layers):
        if layer is not None:
            assert layer.identity
            height, width = sizes[layer.source]
            out[s, :height, :width] = weights[s]
    return out / out.sum(0)


def soft_provenance(canvas: tuple[int, int], layer: Layer, size: tuple[int, int]) -> Provenance:
    """Where the pixels of one unmoved layer come from, as if it were alone."""
    y, x = np.mgrid[0 : canvas[0], 0 : canvas[1]]
    reaches = (y < size[0]) & (x < size[1])
    return Provenance(np.where(reaches, layer.source, -1), y * reaches, x * reaches)


def expect_soft_instances(
    canvas: tuple[int, int],
    layers: Sequence[Layer | None],
    targets: Sequence[dict[str, Any]],
    sizes: Sequence[tuple[int, int]],
    settings: Settings,
) -> list[Record]:
    """The instances of all layers: nothing covers them, only the canvas cuts them."""
    records = []
    for s, layer in enumerate(layers):
        if layer is not None:
            prov = soft_provenance(canvas, layer, sizes[layer.source])
            alone: list[Layer | None] = [None] * s + [layer]
            shown = np.where(prov.source >= 0, s, -1)
            records += expect_instances(prov, alone, targets, sizes, settings, shown=shown)
    return records


def expect_soft_semantic(
    canvas: tuple[int, int],
    layers: Sequence[Layer | None],
    weights: Sequence[float],
    maps: Sequence[np.ndarray],
    sizes: Sequence[tuple[int, int]],
    ignore_index: int,
    classes: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Map a, map b, weight of a, and probabilities (K, H, W), pixel by pixel; what is ignored counts nothing."""
    seen = []
    for layer in (*layers, *[None] * (2 - len(layers))):
        one = np.full(canvas, ignore_index, dtype=np.int64)
        if layer is not None:
            prov = soft_provenance(canvas, layer, sizes[layer.source])
            one = expect_semantic(prov, maps, ignore_index)
        seen.append(one)
    first = np.zeros(canvas)
    probabilities = np.zeros((classes, *canvas))
    for i in range(canvas[0]):
        for j in range(canvas[1]):
            told = [(int(m[i, j]), w) for m, w in zip(seen, weights, strict=False) if m[i, j] != ignore_index]
            total = sum(w for _, w in told)
            for c, w in told:
                probabilities[c, i, j] += w / total
            if seen[0][i, j] != ignore_index:
                first[i, j] = weights[0] / total
    return seen[0], seen[1], first, probabilities


# ---------------------------------------------------------------------------------------------------------------------
# comparing


def close(got: Any, wanted: Any, what: str, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Assert that a few numbers agree; plain, as numpy's own assertion takes longer than the mixes."""
    a, b = np.asarray(got, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    assert a.shape == b.shape, f"{what} has shape {a.shape}, expected {b.shape}"
    assert (np.abs(a - b) <= atol + rtol * np.abs(b)).all(), f"{what} is {a.tolist()}, expected {b.tolist()}"


def _plain(value: torch.Tensor) -> np.ndarray:
    return value.as_subclass(torch.Tensor).detach().numpy()


def compare_instances(
    out: dict[str, Any],
    records: Sequence[Record],
    targets: Sequence[dict[str, Any]],
    settings: Settings,
    *,
    base: int,
    canvas: tuple[int, int],
    keys: set[str] | None = None,
    weights: Sequence[float] | None = None,
) -> int:
    """Hold one output's target against the expectation; returns how many instances were too near to judge.

    `weights`, one per layer, are what the instances must carry as `weight`.
    """
    if keys is not None:
        wanted = keys | {"visibility", "origin"}
        if settings.on_filtered == "ignore":
            wanted = wanted | {"ignored"}
        if "keypoints" in keys and any(_count(t) and t["keypoints"].shape[-1] == 2 for t in targets):
            wanted = wanted | {"keypoints_visible"}
        if weights is not None:
            wanted = wanted | {"weight"}
        assert set(out) == wanted, f"keys {sorted(out)}, expected {sorted(wanted)}"
    near = {r.origin for r in records if r.near}
    _compare_rows(out, [r for r in records if r.outcome in ("kept", "crowd")], near, targets, settings, canvas, weights)
    ignored = [r for r in records if r.outcome == "ignored"]
    if settings.on_filtered == "ignore":
        _compare_rows(out["ignored"], ignored, near, targets, settings, canvas, weights)
    for key in ("image_id", *settings.image_keys):
        if key in targets[base]:
            was, now = targets[base][key], out[key]
            assert torch.equal(torch.as_tensor(now), torch.as_tensor(was)), f"{key} is not the base's"
    return len(near)


def _compare_rows(
    out: dict[str, Any],
    records: Sequence[Record],
    near: set[tuple[int, int]],
    targets: Sequence[dict[str, Any]],
    settings: Settings,
    canvas: tuple[int, int],
    weights: Sequence[float] | None = None,
) -> None:
    origins = [tuple(o) for o in _plain(out["origin"]).tolist()]
    judged = [r for r in records if r.origin not in near]
    rows = [n for n, origin in enumerate(origins) if origin not in near]
    got, wanted = [origins[n] for n in rows], [r.origin for r in judged]
    assert got == wanted, f"instances {got}, expected {wanted}"
    assert (out["origin"].dtype, out["visibility"].dtype) == (torch.int64, torch.float32)
    assert (out["origin"].shape, out["visibility"].shape) == ((len(origins), 2), (len(origins),))
    skip = {"image_id", "semantic", "visibility", "origin", "ignored", "keypoints_visible", *settings.image_keys}
    skip |= set(settings.semantic_keys)
    for key, value in out.items():
        if key not in skip:
            assert value.shape[0] == len(origins), f"{key} has {value.shape[0]} rows for {len(origins)} instances"
    if not judged:
        return
    boxes = boxes_xyxy(out["boxes"])
    raw_boxes, visibility = _plain(out["boxes"]), _plain(out["visibility"])
    if isinstance(out["boxes"], tv_tensors.BoundingBoxes):
        limits = out["boxes"].canvas_size
        assert min(limits[0] - canvas[0], limits[1] - canvas[1]) >= 0, "canvas_size is not the output's"
    masks = None if out.get("masks") is None else _plain(out["masks"])
    stated = None if out.get("has_mask") is None else _plain(out["has_mask"])
    for n, r in zip(rows, judged, strict=True):
        source = targets[r.source]
        name = f"instance {r.index} of image {r.source} ({r.outcome}, share {r.share:.4f}, untouched {r.untouched})"
        if r.untouched:
            assert np.array_equal(raw_boxes[n], _plain(source["boxes"])[r.index]), f"{name}: box changed"
        else:
            close(boxes[n], r.box, f"{name}: box", atol=1e-4)
        close(visibility[n], r.visibility, f"{name}: visibility", rtol=1e-4, atol=1e-6)
        if weights is not None:
            close(_plain(out["weight"])[n], weights[r.layer], f"{name}: weight", atol=1e-6)
        if masks is not None:
            assert r.mask is not None
            height, width = canvas
            assert np.array_equal(masks[n, :height, :width] != 0, r.mask), f"{name}: mask"
            assert masks[n, :height, :width].sum() == masks[n].sum(), f"{name}: mask beyond the canvas"
        assert stated is None or "has_mask" in source or stated[n], f"{name}: it states its mask"
        for key in source:
            if key in skip or key in ("boxes", "masks"):
                continue
            was, now = _plain(source[key])[r.index], _plain(out[key])[n]
            assert out[key].dtype == source[key].dtype, f"{name}: dtype of {key}"
            if key == "area" and not r.untouched:
                assert r.area is not None
                close(now, r.area, f"{name}: area", rtol=1e-3)
            elif key == "keypoints":
                _compare_keypoints(was, now, r, name)
            elif key == "iscrowd" and r.outcome == "crowd":
                assert now == 1, f"{name}: iscrowd not set"
            else:
                assert np.array_equal(now, was), f"{name}: {key} is {now}, expected {was}"
        if "keypoints_visible" in out:
            shows = _plain(out["keypoints_visible"])[n].tolist()
            for a, b, on in zip(shows, r.keypoints_visible, r.keypoints_on, strict=True):
                assert a == (b or (r.untouched and on == "none")), f"{name}: keypoints_visible"


def _compare_keypoints(was: np.ndarray, now: np.ndarray, r: Record, name: str) -> None:
    if not r.untouched:
        points = np.array(r.keypoints).reshape(-1, 3)[:, : now.shape[1]]
        close(now, points, f"{name}: keypoints", atol=1e-4)
        return
    for point, old, on in zip(now, was, r.keypoints_on, strict=True):
        # bit-identical; a point that lies off its object, below another image, is hidden: of two numbers by its flag
        wanted = np.zeros(3) if on == "other" and len(point) == 3 else old
        assert np.array_equal(point, wanted), f"{name}: keypoint is {point}, expected {wanted}"


def compare_report(rows: Sequence[dict[str, Any]], output: int, records: Sequence[Record], base: int) -> None:
    """The report tells of every instance of the base and of every visible one exactly once, and tells the truth."""
    told: dict[tuple[int, int, int], dict[str, Any]] = {}
    for row in rows:
        if row["output"] == output:
            key = (int(row["layer"]), int(row["source"]), int(row["instance"]))
            assert key not in told, f"instance {key} reported twice"
            told[key] = row
    for r in records:
        if r.near:
            continue
        row_ = told.get((r.layer, *r.origin))
        if row_ is None:
            assert (r.layer > 0 or r.source != base) & (r.visible_area == 0), (
                f"instance {r.origin} is missing from the report"
            )
            continue
        if r.outcome == "kept":
            wanted = {"kept"} if r.untouched else {"kept", "shrunk"}
        elif r.outcome == "crowd":
            wanted = {"ignored", "kept", "shrunk"}
        else:
            wanted = {r.outcome}
        assert row_["outcome"] in wanted, f"instance {r.origin} reported {row_['outcome']}, expected {wanted}"
        if r.outcome == "kept":
            assert row_["reason"] == "", row_
        elif r.broken:
            wanted = {"broken box"} if r.failed == ("area",) else {"broken box", "outside"}
            assert row_["reason"] in wanted, row_
        elif r.failed == ("visibility",):
            assert row_["reason"] in ("low visibility", "covered"), row_
        elif r.failed in (("not carried",), ("empty mask",)):
            assert row_["reason"] == r.failed[0], row_
        elif r.failed == ("size",):
            assert row_["reason"] == "too small", row_
        else:
            assert row_["reason"] != "", row_


# ---------------------------------------------------------------------------------------------------------------------
# random cases


@dataclass
class Case:
    """One batch with everything needed to mix it and to judge the result."""

    seed: int
    images: torch.Tensor | list[torch.Tensor]
    targets: list[dict[str, Any]]
    sizes: list[tuple[int, int]]
    valid: torch.Tensor | None  # sizes= of a padded batch
    frame: tuple[int, int] | None  # of a tensor batch
    semantic: torch.Tensor | list[torch.Tensor]
    labels: torch.Tensor
    classes: int
    settings: Settings
    region: Any
    region_name: str
    patches: int
    pairing: str
    p: float
    same_region: bool
    has_masks: bool
    dyadic: list[bool]
    keys: set[str]
    ignore_index: int = 255

    def transform(self) -> Any:
        """The library's transform with this case's settings."""
        import cutmix_dense

        return cutmix_dense.CutMix(
            p=self.p,
            region=self.region,
            pairing=self.pairing,
            same_region=self.same_region,
            num_classes=self.classes,
            fill=FILL,
            ignore_index=self.ignore_index,
            **self.settings.kwargs(),
        )

    def generator(self) -> torch.Generator:
        """The generator that draws this case's plan."""
        return torch.Generator().manual_seed(self.seed)


REGIONS: tuple[tuple[str, float], ...] = (
    ("BetaBox", 0.14),
    ("AreaBox", 0.10),
    ("AreaBox.french", 0.08),
    ("AreaBox.unimatch", 0.08),
    ("MultiBox.union", 0.19),
    ("MultiBox.xor", 0.19),
    ("MultiBox.french", 0.06),
    ("ObjectBox", 0.16),
)


def make_region(name: str, rng: np.random.Generator) -> tuple[Any, int]:
    """A region sampler of the library by name, and how many patches it draws."""
    from cutmix_dense import regions

    if name == "BetaBox":
        return regions.BetaBox(alpha=float(rng.choice([0.3, 1.0, 1.0, 3.0]))), 1
    if name == "AreaBox":
        low = float(rng.uniform(0.05, 0.4))
        aspect = None if rng.random() < 0.3 else (0.4, 2.5)
        return regions.AreaBox(area=(low, low + float(rng.uniform(0.05, 0.4))), aspect=aspect), 1
    if name == "AreaBox.french":
        return regions.AreaBox.french(), 1
    if name == "AreaBox.unimatch":
        return regions.AreaBox.unimatch(), 1
    if name == "ObjectBox":
        return regions.ObjectBox(), 1
    n = int(rng.integers(2, 6))
    if name == "MultiBox.french":
        return regions.MultiBox.french(n), n
    inner = regions.BetaBox(alpha=1.0) if rng.random() < 0.5 else regions.AreaBox(area=(0.05, 0.3), aspect=(0.4, 2.5))
    return regions.MultiBox(inner, n, "xor" if name == "MultiBox.xor" else "union"), n


def random_side(rng: np.random.Generator) -> int:
    """5 to 64, mostly small."""
    return int(rng.integers(25, 65) if rng.random() < 0.08 else rng.integers(5, 25))


def random_size(rng: np.random.Generator) -> tuple[int, int]:
    """A height and a width that differ."""
    height = random_side(rng)
    width = random_side(rng)
    while width == height:
        width = random_side(rng)
    return height, width


def random_mask(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W) bool, never empty: an ellipse, a rectangle, two parts, a ring, or noise."""
    y, x = np.mgrid[0:height, 0:width] + 0.5

    def ellipse(share: float) -> np.ndarray:
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        ry, rx = rng.uniform(1.0, 1 + share * height), rng.uniform(1.0, 1 + share * width)
        return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1

    kind = rng.choice(["ellipse", "rectangle", "parts", "ring", "noise"])
    if kind == "ellipse":
        mask = ellipse(0.4)
    elif kind == "rectangle":
        mask = np.zeros((height, width), dtype=bool)
        top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
        mask[top : top + int(rng.integers(1, height + 1)), left : left + int(rng.integers(1, width + 1))] = True
    elif kind == "parts":
        mask = ellipse(0.25) | ellipse(0.25) | ellipse(0.15)
    elif kind == "ring":
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        r = np.hypot(y - cy, x - cx) / (0.15 + 0.35 * rng.random()) / max(height, width)
        mask = (r <= 1) & (r >= 0.5)
    else:
        mask = ellipse(0.4) & (rng.random((height, width)) < 0.4)
    if not mask.any():
        mask[int(rng.integers(0, height)), int(rng.integers(0, width))] = True
    return mask


def tight(mask: np.ndarray) -> list[float]:
    """The box around a mask: min column, min row, max column + 1, max row + 1."""
    ys, xs = np.nonzero(mask)
    return [float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)]


def random_box(rng: np.random.Generator, height: int, width: int, style: str) -> list[float]:
    """An xyxy box: whole pixels, sixteenths, or any fraction; some touch or cross the border, a few are broken."""

    def grid(value: float, limit: int) -> float:
        if style == "whole":
            return float(min(round(value), limit))
        if style == "sixteenths":
            return round(value * 16) / 16
        return float(np.float32(value))

    while True:
        w, h = rng.uniform(0.5, 0.8 * width), rng.uniform(0.5, 0.8 * height)
        x0, y0 = rng.uniform(0, width - w), rng.uniform(0, height - h)
        draw = rng.random()
        if draw < 0.06:  # juts out
            x0 -= w * rng.uniform(0, 0.9)
        elif draw < 0.12:
            y0 += height - h - y0 + h * rng.uniform(0, 0.9)
        elif draw < 0.20:  # flush with the border
            x0, y0 = 0.0, float(height - h)
        box = [grid(x0, width * 2), grid(y0, height * 2), grid(x0 + w, width * 2), grid(y0 + h, height * 2)]
        if box[2] - box[0] >= 0.01 and box[3] - box[1] >= 0.01 and box[2] > 0.01 and box[1] < height - 0.01:
            return box


def broken_box(rng: np.random.Generator, height: int, width: int) -> list[float]:
    """A box without area, upside down, or wholly outside its image."""
    x, y = float(rng.integers(0, width)), float(rng.integers(0, height))
    choices = [
        [x, y, x, y + 2.0],
        [x, y, x + 2.0, y],
        [x + 2.0, y, x, y + 2.0],
        [float(width), y, width + 3.0, y + 2.0],
        [x, -4.0, x + 1.0, 0.0],
        [-3.0, y, -1.0, y + 1.0],
    ]
    return choices[int(rng.integers(0, len(choices)))]


@dataclass
class _Schema:
    """Which keys the targets of one batch have."""

    masks: bool
    mask_dtype: torch.dtype
    style: str
    tight_boxes: bool
    box_format: str
    keypoints: int  # 0, 2 or 3 numbers per point
    points: int
    area: bool
    iscrowd: bool
    visibility: bool
    track_id: bool
    extra: bool
    image_id: bool
    caption: bool
    semantic_key: bool
    wrap: bool
    has_mask: bool = False  # some rows state no mask
    empty_masks: bool = False  # some masks hold no pixel


def random_target(
    rng: np.random.Generator, schema: _Schema, number: int, size: tuple[int, int], frame: tuple[int, int], n: int
) -> dict[str, Any]:
    """One image's target. Masks are as large as the frame and empty outside the valid part."""
    height, width = size
    boxes: list[list[float]] = []
    masks = np.zeros((n, *frame), dtype=bool)
    whole_masks: list[np.ndarray] = []
    for k in range(n):
        if schema.masks:
            mask = random_mask(rng, height, width)
            masks[k, :height, :width] = mask
            whole_masks.append(mask)
            box = tight(mask)
            if not schema.tight_boxes and rng.random() < 0.5:  # annotators' boxes are not tight
                jitter = rng.uniform(-1.5, 1.5, 4)
                moved = [float(np.float32(b + d)) for b, d in zip(box, jitter, strict=True)]
                inside = moved[2] > 0.1 and moved[3] > 0.1 and moved[0] < width - 0.1 and moved[1] < height - 0.1
                if moved[2] > moved[0] + 0.1 and moved[3] > moved[1] + 0.1 and inside:
                    box = moved
        else:
            box = random_box(rng, height, width, schema.style)
        if rng.random() < 0.03:
            box = broken_box(rng, height, width)
        boxes.append(box)
    xyxy = torch.tensor(boxes, dtype=torch.float32).reshape(n, 4)
    if schema.box_format == "plain":
        value: torch.Tensor = xyxy
    else:
        raw = xyxy.clone()
        if schema.box_format != "XYXY":
            raw[:, 2:] = xyxy[:, 2:] - xyxy[:, :2]
        if schema.box_format == "CXCYWH":
            raw[:, :2] = xyxy[:, :2] + raw[:, 2:] / 2
        value = tv_tensors.BoundingBoxes(raw, format=schema.box_format, canvas_size=frame)
    target: dict[str, Any] = {"boxes": value, "labels": torch.from_numpy(rng.integers(1, 9, n))}
    if schema.empty_masks:
        masks[rng.random(n) < 0.2] = False
    if schema.has_mask:
        stated = rng.random(n) < 0.6
        masks[~stated & (rng.random(n) < 0.5)] = False  # the others hold what nobody may look at
        target["has_mask"] = torch.from_numpy(stated)
    if schema.masks:
        stack = torch.from_numpy(masks).to(schema.mask_dtype)
        target["masks"] = tv_tensors.Mask(stack) if schema.wrap else stack
    if schema.keypoints:
        target["keypoints"] = random_keypoints(rng, schema, size, boxes, whole_masks)
    if schema.area:
        target["area"] = torch.from_numpy(rng.uniform(1, 500, n).astype(np.float32))
    if schema.iscrowd:
        target["iscrowd"] = torch.from_numpy((rng.random(n) < 0.2).astype(np.int64))
    if schema.visibility:
        target["visibility"] = torch.from_numpy(rng.uniform(0.05, 1, n).astype(np.float32))
    if schema.track_id:
        target["track_id"] = torch.from_numpy(rng.integers(0, 1000, n))
    if schema.extra:
        target["embedding"] = torch.from_numpy(rng.normal(size=(n, 2)).astype(np.float32))
    if schema.image_id:
        target["image_id"] = torch.tensor(1000 + number)
    if schema.caption:
        target["caption"] = torch.from_numpy(rng.normal(size=2).astype(np.float32))
    return target


def random_keypoints(
    rng: np.random.Generator,
    schema: _Schema,
    size: tuple[int, int],
    boxes: list[list[float]],
    masks: list[np.ndarray],
) -> torch.Tensor:
    """(N, K, 2 or 3) points on the object, in its mask, else in its box, some anywhere in the image or beyond it.

    Some of three numbers are unlabelled.
    """
    height, width = size
    anywhere = np.random.default_rng(len(boxes) * width + height)  # leaves the draws of everything else as they were
    out = np.zeros((len(boxes), schema.points, schema.keypoints), dtype=np.float32)
    for k, box in enumerate(boxes):
        for q in range(schema.points):
            if masks:
                ys, xs = np.nonzero(masks[k])
                pick = int(rng.integers(0, len(ys)))
                corner = rng.random() < 0.2  # exactly on a pixel's corner: still that pixel's
                off = (0.0, 0.0) if corner else tuple(rng.uniform(0.05, 0.95, 2))
                y, x = ys[pick] + off[0], xs[pick] + off[1]
            else:
                x0, y0 = max(box[0], 0), max(box[1], 0)
                x = x0 + rng.uniform(0.02, 0.98) * (min(box[2], width) - x0)
                y = y0 + rng.uniform(0.02, 0.98) * (min(box[3], height) - y0)
                if rng.random() < 0.2 and math.floor(x) >= box[0] and math.floor(y) >= box[1]:
                    x, y = math.floor(x), math.floor(y)
                elif rng.random() < 0.05:  # on the far edge
                    x = min(box[2], width)
            if anywhere.random() < 0.15:
                x, y = (anywhere.uniform(-0.05, 1.05) * length for length in (width, height))
            if schema.keypoints == 2:
                out[k, q] = x, y
            else:  # some are not labelled, half of those with coordinates all the same
                out[k, q] = (x, y, rng.integers(1, 3)) if rng.random() > 0.2 else (x, y, 0) if rng.random() < 0.5 else 0
    return torch.from_numpy(out)


def random_threshold(rng: np.random.Generator, values: list[float], p: list[float]) -> float | tuple[float, float]:
    """One value for all, sometimes one for the base and one for what is pasted."""
    first, second = rng.choice(values, 2, p=p).tolist()
    return (first, second) if rng.random() < 0.2 else first


def random_case(rng: np.random.Generator, region_name: str) -> Case:
    """One batch of one to eight images with everything on them."""
    batch = 1 if rng.random() < 0.03 else int(rng.integers(2, 9))
    shape = str(rng.choice(["uniform", "list", "padded"], p=[0.42, 0.33, 0.25]))
    if shape == "uniform":
        sizes = [random_size(rng)] * batch
        frame: tuple[int, int] | None = sizes[0]
    else:
        sizes = [random_size(rng) for _ in range(batch)]
        frame = None
        if shape == "padded":
            frame = (
                max(h for h, _ in sizes) + int(rng.integers(0, 3)),
                max(w for _, w in sizes) + int(rng.integers(0, 3)),
            )
    dtype = [torch.float32, torch.uint8, torch.int32, torch.float64][int(rng.choice(4, p=[0.4, 0.4, 0.1, 0.1]))]
    images = coded_pool(sizes, frame, dtype)
    wrap = bool(rng.random() < 0.4)
    if wrap:
        images = [tv_tensors.Image(i) for i in images] if isinstance(images, list) else tv_tensors.Image(images)

    masks = bool(rng.random() < 0.5)
    boxes_from = str(rng.choice(["auto", "mask", "box"], p=[0.7, 0.15, 0.15])) if masks else "auto"
    on_filtered = str(rng.choice(["drop", "ignore", "crowd"], p=[0.55, 0.35, 0.1]))
    schema = _Schema(
        masks=masks,
        mask_dtype=torch.uint8 if rng.random() < 0.4 else torch.bool,
        style=str(rng.choice(["whole", "sixteenths", "any"])),
        tight_boxes=boxes_from == "box" or rng.random() < 0.5,
        box_format=str(rng.choice(["XYXY", "XYWH", "CXCYWH"])) if wrap else "plain",
        keypoints=int(rng.choice([0, 2, 3], p=[0.5, 0.2, 0.3])),
        points=int(rng.integers(1, 4)),
        area=rng.random() < 0.6,
        iscrowd=on_filtered == "crowd" or rng.random() < 0.5,
        visibility=rng.random() < 0.15,
        track_id=rng.random() < 0.3,
        extra=rng.random() < 0.3,
        image_id=rng.random() < 0.5,
        caption=rng.random() < 0.2,
        semantic_key=rng.random() < 0.2,
        wrap=wrap,
        has_mask=masks and rng.random() < 0.5,
        empty_masks=masks and rng.random() < 0.35,
    )
    counts = [0 if rng.random() < 0.2 else int(rng.integers(1, 6)) for _ in sizes]
    if not any(counts):
        counts[0] = 1
    targets = [
        random_target(rng, schema, i, s, frame or s, n) for i, (s, n) in enumerate(zip(sizes, counts, strict=True))
    ]
    keys = set(targets[0])
    for target in targets:  # where it is missing, all rows state their mask
        if "has_mask" in target and bool(target["has_mask"].all()) and rng.random() < 0.5:
            del target["has_mask"]
    for i, n in enumerate(counts):  # an image without objects counts as having every key
        if n == 0 and rng.random() < 0.5:
            image_keys = {k: v for k, v in targets[i].items() if k in ("image_id", "caption")}
            targets[i] = {**image_keys, **({} if rng.random() < 0.3 else {"boxes": targets[i]["boxes"]})}
    if not any("has_mask" in target for target in targets):
        keys.discard("has_mask")

    classes = 6
    semantic_maps = []
    for size in sizes:
        m = rng.integers(0, 5, frame or size)
        m[rng.random(m.shape) < 0.1] = 255
        semantic_maps.append(torch.from_numpy(m).to(torch.uint8 if dtype == torch.uint8 else torch.int64))
    semantic: torch.Tensor | list[torch.Tensor] = torch.stack(semantic_maps) if frame is not None else semantic_maps
    if schema.semantic_key:
        for target, m_ in zip(targets, semantic_maps, strict=True):
            target["semantic"] = tv_tensors.Mask(m_) if wrap else m_
        keys.add("semantic")
    region, patches = make_region(region_name, rng)
    exact_boxes = schema.style != "any" and not masks and schema.box_format in ("plain", "XYXY", "XYWH", "CXCYWH")
    return Case(
        seed=int(rng.integers(0, 2**31)),
        images=images,
        targets=targets,
        sizes=sizes,
        valid=torch.tensor(sizes) if shape == "padded" else None,
        frame=frame,
        semantic=semantic,
        labels=torch.from_numpy(rng.integers(0, classes, batch)),
        classes=classes,
        settings=Settings(
            min_visibility=random_threshold(rng, [0.0, 0.1, 0.25, 0.5, 0.9], [0.15, 0.35, 0.2, 0.2, 0.1]),
            min_size=random_threshold(rng, [0.0, 1.0, 2.0, 3.5], [0.1, 0.5, 0.2, 0.2]),
            on_filtered=on_filtered,
            boxes_from=boxes_from,
            instance_keys=("embedding",) if schema.extra else (),
            image_keys=("caption",) if schema.caption else (),
            semantic_keys=("semantic",) if schema.semantic_key else (),
        ),
        region=region,
        region_name=region_name,
        patches=patches,
        pairing=str(rng.choice(["roll", "shuffle", "swap"], p=[0.4, 0.35, 0.25])),
        p=1.0 if rng.random() < 0.9 else 0.5,
        same_region=bool(rng.random() < 0.1),
        has_masks=masks,
        dyadic=[exact_boxes] * batch,
        keys=keys,
    )


# ---------------------------------------------------------------------------------------------------------------------
# running


def clone(value: Any) -> Any:
    """A deep copy of tensors in lists and dicts, classes kept."""
    if isinstance(value, torch.Tensor):
        copy = value.as_subclass(torch.Tensor).clone()
        return copy if type(value) is torch.Tensor else tv_tensors.wrap(copy, like=value)
    if isinstance(value, dict):
        return {k: clone(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(clone(v) for v in value)
    return value


def same(a: Any, b: Any) -> bool:
    """Deep equality of tensors in lists and dicts, bit for bit, classes and dtypes included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.as_subclass(torch.Tensor), b.as_subclass(torch.Tensor))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@dataclass
class Mixed:
    """What the library made of a case."""

    images: torch.Tensor | list[torch.Tensor]
    targets: list[dict[str, Any]]
    semantic: torch.Tensor | list[torch.Tensor]
    labels: torch.Tensor
    report: Any
    plan: Any = None


def mix_by_transform(case: Case) -> Mixed:
    """Everything in one call of the transform."""
    targets = {"instances": case.targets, "semantic": case.semantic, "labels": case.labels}
    images, out, report = case.transform()(
        case.images, targets, sizes=case.valid, generator=case.generator(), return_report=True
    )
    return Mixed(images, out["instances"], out["semantic"], out["labels"], report)


def mix_by_functions(case: Case) -> Mixed:
    """A plan first, then one function per kind of target."""
    from cutmix_dense import functional

    plan = case.transform().make_plan(case.images, case.targets, sizes=case.valid, generator=case.generator())
    targets, report = functional.mix_instances(
        case.targets, plan, ignore_index=case.ignore_index, return_report=True, **case.settings.kwargs()
    )
    return Mixed(
        images=functional.mix_pixels(case.images, plan, fill=FILL),
        targets=targets,
        semantic=functional.mix_semantic(case.semantic, plan, ignore_index=case.ignore_index),
        labels=functional.mix_labels(case.labels, plan, num_classes=case.classes),
        report=report,
        plan=plan,
    )


@dataclass
class Counts:
    """What was made and judged, so that a test can tell that the cases are as varied as they should be."""

    pairs: int = 0
    mixed: int = 0
    several_patches: int = 0
    mixed_sizes: int = 0
    border: int = 0
    with_masks: int = 0
    without_masks: int = 0
    instances: int = 0
    near: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    unstated: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    pairings: Counter[str] = field(default_factory=Counter)
    sides: set[int] = field(default_factory=set)

    def add(self, other: Counts) -> None:
        """Add another chunk's counts."""
        for name, value in vars(other).items():
            if isinstance(value, (Counter, set)):
                getattr(self, name).update(value)
            else:
                setattr(self, name, getattr(self, name) + value)


def check_pairing(case: Case, partners: Sequence[int | None]) -> None:
    """Who was mixed with whom (None: this output was not mixed), by the pairing's definition."""
    batch = len(partners)
    for i, j in enumerate(partners):
        if j is None:
            continue
        if case.pairing == "roll":
            assert j == (i - 1) % batch, f"roll pairs output {i} with {j}"
        if case.pairing == "swap":
            assert partners[j] in (None, i), f"swap pairs {i} with {j} and {j} with {partners[j]}"
    known = [j for j in partners if j is not None]
    assert len(set(known)) == len(known), f"an image is the partner of two outputs: {partners}"


def check_case(case: Case, mixed: Mixed, counts: Counts) -> None:
    """Judge one mixed batch; raises AssertionError where it breaks a rule."""
    batch = len(case.sizes)
    targets_semantic = [_plain(m) for m in case.semantic]
    assert type(mixed.images) is type(case.images), "the images' type changed"
    if isinstance(case.images, torch.Tensor):
        assert isinstance(mixed.images, torch.Tensor)
        assert (mixed.images.shape, mixed.images.dtype) == (case.images.shape, case.images.dtype)
    owner = None if mixed.plan is None else mixed.plan.owner_map().numpy()
    share = None if mixed.plan is None else mixed.plan.share().numpy()
    rows = list(mixed.report.rows())
    partners: list[int | None] = []
    for i in range(batch):
        canvas = case.sizes[i]
        image = mixed.images[i]
        if case.frame is None:
            assert tuple(image.shape[-2:]) == canvas, f"output {i} is {tuple(image.shape)}, its base {canvas}"
            assert (type(image), image.dtype) == (type(case.images[i]), case.images[i].dtype)
        prov = decode(image, canvas, case.sizes, None if case.frame is None else case.images[i])

        # CutMix: nothing but base and one partner, every pixel where it was, no fill (regions lie in both images)
        assert (prov.source >= 0).all(), f"output {i} has fill"
        y, x = np.mgrid[0 : canvas[0], 0 : canvas[1]]
        assert np.array_equal((prov.y, prov.x), (y, x)), f"output {i}: pixels moved"
        others = [s for s in np.unique(prov.source).tolist() if s != i]
        assert len(others) <= 1, f"output {i} shows images {others}"
        partners.append(others[0] if others else None)
        layers = [Layer(i)] + [Layer(s) for s in others]
        shown = layer_map(prov, layers)
        if owner is not None and share is not None:
            height, width = canvas
            assert np.array_equal(owner[i, :height, :width], shown), f"output {i}: owner_map is not what the pixels say"
            assert (owner[i, height:] == -1).all()
            assert (owner[i, :, width:] == -1).all()
            for number in range(share.shape[1]):
                close(share[i, number], (shown == number).mean(), f"output {i}: share", atol=1e-12)

        records = expect_instances(
            prov, layers, case.targets, case.sizes, case.settings, shown=shown, dyadic=case.dyadic
        )
        near = compare_instances(
            mixed.targets[i], records, case.targets, case.settings, base=i, canvas=canvas, keys=case.keys
        )
        compare_report(rows, i, records, i)
        maps = [(mixed.semantic[i], targets_semantic)]
        if case.settings.semantic_keys:
            maps.append((mixed.targets[i]["semantic"], targets_semantic))
        for got, given in maps:
            height, width = canvas
            wanted = expect_semantic(prov, given, case.ignore_index)
            assert got.dtype == case.semantic[i].dtype
            assert np.array_equal(_plain(got)[:height, :width], wanted), f"output {i}: semantic map"
            padding = [(_plain(m)[height:], _plain(m)[:height, width:]) for m in (got, case.semantic[i])]
            assert all(np.array_equal(*both) for both in zip(*padding, strict=True)), f"output {i}: padding of the map"
        shares = expect_labels(prov, case.labels.tolist(), case.classes)
        close(_plain(mixed.labels[i]), shares, f"output {i}: class labels", atol=1e-6)

        foreign = prov.source != i
        counts.pairs += 1
        counts.near += near
        counts.instances += len(records)
        counts.outcomes.update("untouched" if r.untouched else "broken" if r.broken else r.outcome for r in records)
        for r in records:
            of = case.targets[r.source]
            if "has_mask" in of and not of["has_mask"][r.index]:
                counts.unstated[r.outcome] += 1
            elif case.has_masks and not of["masks"][r.index].any():
                counts.empty[r.outcome] += 1
        counts.with_masks += case.has_masks
        counts.without_masks += not case.has_masks
        counts.sides.update(canvas)
        if others:
            counts.mixed += 1
            counts.several_patches += case.patches > 1
            counts.mixed_sizes += case.sizes[others[0]] != canvas
            counts.border += bool(foreign[0].any() or foreign[-1].any() or foreign[:, 0].any() or foreign[:, -1].any())
            counts.regions[case.region_name] += 1
            counts.pairings[case.pairing] += 1
    check_pairing(case, partners)


def run_chunk(seed: int, pairs: int, *, regions: Sequence[str] | None = None) -> Counts:
    """Draw, mix and judge at least `pairs` outputs; the kinds of region come in fixed shares."""
    rng = np.random.default_rng(seed)
    counts = Counts()
    names = [name for name, _ in REGIONS] if regions is None else list(regions)
    weights = np.array([dict(REGIONS)[name] for name in names])
    made = dict.fromkeys(names, 0.0)
    number = 0
    while counts.pairs < pairs:
        # the kind that lags furthest behind its share
        name = min(names, key=lambda n: made[n] / dict(REGIONS)[n] / weights.sum())
        case = random_case(rng, name)
        made[name] += len(case.sizes)
        before = clone([case.images, case.targets, case.semantic, case.labels]) if number % 5 == 0 else None
        try:
            mixed = mix_by_transform(case) if number % 2 == 0 else mix_by_functions(case)
            check_case(case, mixed, counts)
            if before is not None:
                after = [case.images, case.targets, case.semantic, case.labels]
                assert same(before, after), "the inputs were changed"
        except AssertionError as error:
            about = f"chunk {seed}, case {number}, {name}, {case.pairing}, sizes {case.sizes}, {case.settings}"
            raise AssertionError(f"{error}\n{about}") from error
        number += 1
    return counts
