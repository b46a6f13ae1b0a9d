"""Split instances into the parts that a region leaves, one row per part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from cutmix_dense.arrays.blocks import Block, filled
from cutmix_dense.arrays.components import components
from cutmix_dense.arrays.host import HOST, as_column, as_tensor
from cutmix_dense.functional.entries import Entries
from cutmix_dense.functional.masks import LayerMasks
from cutmix_dense.functional.measured import Measured
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import pixel_ranges
from cutmix_dense.plan.ownership import beneath, owner_map

Masks = dict[tuple[int, int], LayerMasks]


@dataclass(frozen=True)
class Parts:
    """The entries of a mix, with one row per part of a split instance.

    Attributes:
        entries: the rows; parts of one instance follow each other.
        measured: visible area and box of each, on the targets' device.
        row: index of each row's instance among the original entries.
        masks: visible masks of parts by row: a block of the canvas and its pixels.
    """

    entries: Entries
    measured: Measured
    row: Int[np.ndarray, " k"]
    masks: dict[int, tuple[Block, np.ndarray]]


def split_parts(
    plan: MixPlan,
    entries: Entries,
    measured: Measured,
    masks: Masks | None,
    stated: Bool[np.ndarray, " e"] | None = None,
) -> Parts:
    """Split instances of which a region leaves parts that don't touch; on the host.

    A part is what shows of an instance within one connected component of the area that its layer owns inside its box,
    so an object whose mask has several pieces of its own stays one. Box and visible area are those of the part.

    Args:
        plan: who owns each output pixel.
        entries: one row per instance.
        measured: visible area and box of each.
        masks: visible masks by (output, layer); None: use boxes.
        stated: which entries have a mask; None: all.
    """
    device = as_tensor(measured.visible).device
    columns = [None if column is None else as_tensor(column).to("cpu").numpy() for column in measured]
    host, some = Measured(*columns), plan.to(HOST)
    assert host.boxes is not None
    cut = (host.visible > 0) & (host.visible < host.whole * (1 - 1e-9)) & (some.layers > 1)
    if some.weight is not None or not cut.any():
        return Parts(entries, measured, np.arange(len(entries)), {})
    owners = owner_map(some).numpy(), owner_map(beneath(some)).numpy()  # the base's last
    low, high = (bound.numpy() for bound in pixel_ranges(some))
    row, areas, boxes = [], [], []
    cut_masks: dict[int, tuple[Block, np.ndarray]] = {}
    for index in range(len(entries)):
        found: list[Any] = []
        if cut[index]:
            output, layer = int(entries.output[index]), int(entries.layer[index])
            ends = np.concatenate([low[output, layer], high[output, layer]]).reshape(2, -1)
            shown = None
            if masks is not None and (stated is None or stated[index]):
                shown = masks[output, layer].take([int(entries.position[index])])[0].cpu().numpy()
            found = _found(owners[layer == 0][output] == layer, host.boxes[index], ends, shown)
        if len(found) < 2:
            row.append(index)
            areas.append(host.visible[index])
            boxes.append(host.boxes[index])
            continue
        for area, box, block, values in found:
            if values is not None:
                cut_masks[len(row)] = (block, values)
            row.append(index)
            areas.append(area)
            boxes.append(box)
    rows = np.array(row, dtype=np.int64)
    if len(rows) == len(entries):
        return Parts(entries, measured, rows, {})
    again = [None if column is None else column[rows] for column in host]
    split = Measured(*again)._replace(visible=np.array(areas), boxes=np.array(boxes))
    there = [None if column is None else as_column(column, device) for column in split]
    return Parts(entries.take(rows), Measured(*there), rows, cut_masks)


def _found(
    owned: Bool[np.ndarray, "*frame"],
    box: Float[np.ndarray, " ends"],
    reach: Int[np.ndarray, "2 d"],
    shown: np.ndarray | None,
) -> list[tuple[float, Float[np.ndarray, " ends"], Block, np.ndarray | None]]:
    """Area, tight box, block and mask pixels of each part of one instance.

    Args:
        owned: whether its layer owns each canvas pixel.
        box: tight box of its visible part, xyxy.
        reach: first pixel, and one past the last, of the layer's extent on the canvas; array order.
        shown: its visible mask; None: use its box.
    """
    ndim = owned.ndim
    low, high = box[:ndim][::-1], box[ndim:][::-1]
    first = np.maximum(np.floor(low), reach[0]).astype(np.int64)
    last = np.minimum(np.ceil(high), reach[1]).astype(np.int64)
    window = tuple(map(slice, first.tolist(), last.tolist()))
    numbers = components(owned[window])
    values = None if shown is None else shown[window]
    # how much of each pixel the box covers, per axis
    weights = [np.minimum(high[a], np.arange(f, t) + 1) - np.maximum(low[a], np.arange(f, t)) for a, (f, t) in
               enumerate(zip(first, last))]  # fmt: skip
    found: list[tuple[float, Float[np.ndarray, " ends"], Block, np.ndarray | None]] = []
    for number in range(1, int(numbers.max(initial=0)) + 1):
        part = numbers == number
        if values is not None:
            part &= values != 0
        block = filled(part)
        if block is None:
            continue
        begin = first + [side.start for side in block]
        end = first + [side.stop for side in block]
        if values is not None:
            area: Any = float(np.count_nonzero(part))
            ends = begin.astype(np.float64), end.astype(np.float64)
        else:
            area = part.astype(np.float64)
            for weight in reversed(weights):
                area = area @ weight
            ends = np.maximum(begin, low), np.minimum(end, high)
        place = tuple(map(slice, begin.tolist(), end.tolist()))
        cut = None if values is None else np.where(part, values, 0)[block]
        found.append((float(area), np.concatenate([side[::-1] for side in ends]), place, cut))
    return found
