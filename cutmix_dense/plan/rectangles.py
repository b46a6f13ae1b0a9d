"""Rectangles as an ownership grid: painted one by one on the host, tested against every cell on a device."""

from __future__ import annotations

from itertools import starmap
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cutmix_dense.arrays.broadcast import along, everywhere
from cutmix_dense.arrays.host import sent

Mode = Literal["union", "xor"]


class Grid(NamedTuple):
    """An ownership grid and the sizes it was made from.

    Attributes:
        edges: for each axis, whole pixels.
        owner: the layer of each cell.
        reach: size of each layer's image, pixels; undefined for absent layers.
        canvas: size of each base, pixels.
    """

    edges: tuple[Int[Tensor, "b _edges"], ...]
    owner: Int[Tensor, "b *g"]
    reach: Int[Tensor, "b s d"]
    canvas: Int[Tensor, "b d"]


def paint(
    source: Int[np.ndarray, "b s"],
    rectangles: Int[np.ndarray, "b p ends"],
    sizes: Int[np.ndarray, "pool d"],
    layer: Int[np.ndarray, "b p"] | None,
    mode: Mode,
) -> Grid:
    """The grid of rectangles on the host: each is painted over those before it.

    ``MixPlan.from_rectangles`` documents the arguments.

    Raises:
        ValueError: a value is out of range; the message names it.
    """
    (batch, patches, _), ndim, layers = rectangles.shape, sizes.shape[1], source.shape[1]
    least = int(np.minimum.reduce(source, axis=None, initial=0))
    most = np.maximum.reduce(source, axis=None, initial=-1)
    if least < -1 or most >= sizes.shape[0] or (least < 0 and source[:, 0].min() < 0):
        rule = f"an index of the {len(sizes)} sizes or -1, the base's never -1"
        raise ValueError(f"source must be {rule}; got {source.tolist()}")
    if np.minimum.reduce(sizes, axis=None, initial=1) < 1:
        raise ValueError(f"sizes must be at least 1 pixel, got {sizes.tolist()}")
    if layer is None and patches and layers < 2:
        raise ValueError(f"layer must be given where layer 1 isn't there: source has {layers} layers")
    if layer is not None and mode == "xor" and (layer != layer[:, :1]).any():
        raise ValueError("mode 'xor' needs one layer per output; the rectangles name several")
    if layer is not None and layer.size and not -1 <= layer.min() <= layer.max() < layers:
        raise ValueError(f"layer must name one of the {layers} layers or be -1 (fill), got {layer.tolist()}")
    reach = sizes[source if least >= 0 else np.maximum(source, 0)]
    canvas = sizes[source[:, 0]]
    edges = np.zeros((ndim, batch, 2 * patches + 2 if patches else 4), dtype=np.int64)
    edges[..., -1] = limit = canvas.T
    low, high = edges[..., 1 : 1 + patches], edges[..., 1 + patches : 1 + 2 * patches]
    ends = rectangles.transpose(2, 0, 1)
    np.minimum(np.maximum(ends[:ndim], 0), limit[..., None], out=low)
    np.maximum(np.minimum(ends[ndim:], limit[..., None]), low, out=high)
    owner = np.zeros((batch, *(edges.shape[2] - 1,) * ndim), dtype=np.int8 if layers <= 127 else np.int16)
    if patches == 1 and layer is None:  # CutMix, the most frequent plan: the middle one of 3 × 3 cells
        middle: Any = (slice(None), *(1,) * ndim)
        owner[middle] = 1 if least >= 0 else source[:, 1] >= 0
    elif patches:
        layer = np.ones((batch, patches), dtype=np.int64) if layer is None else layer
        ends = np.array((low, high)).transpose(1, 2, 3, 0)
        edges.sort(axis=2)
        again = edges[..., 1:] == edges[..., :-1]  # cells of length 0 go behind the others and are cut off
        edges[..., 1:] = np.where(again, limit[..., None], edges[..., 1:])
        edges.sort(axis=2)
        lengths = np.maximum.reduce(np.add.reduce(~again, axis=2, dtype=np.int64), axis=1, initial=1)
        some: Any = (slice(None), *map(slice, lengths))
        owner = owner[some].copy()
        cell = np.add.reduce(edges[:, :, None, None] < ends[..., None], axis=4, dtype=np.int64)  # that begins there
        present = (source[np.arange(batch)[:, None], np.maximum(layer, 0)] >= 0) | (layer < 0)
        where, shows = present.nonzero()[0].tolist(), layer[present].tolist()
        for output, shown, bounds in zip(where, shows, cell.transpose(1, 2, 0, 3)[present].tolist()):
            cells = owner[output][tuple(starmap(slice, bounds))]
            cells[...] = np.where(cells, 0, shown) if mode == "xor" else shown
    ends = tuple(map(torch.from_numpy, [edge[:, : cells + 1] for edge, cells in zip(edges, owner.shape[1:])]))
    return Grid(ends, torch.from_numpy(owner), torch.from_numpy(reach), torch.from_numpy(canvas))


def cover(
    source: Int[Tensor, "b s"],
    rectangles: Int[Tensor, "b p ends"],
    sizes: Int[Tensor, "pool d"],
    layer: Int[Tensor, "b p"] | None,
    mode: Mode,
) -> Grid:
    """The grid of rectangles on a device, without waiting for it: all rectangles are tested against all cells.

    ``MixPlan.from_rectangles`` documents the arguments; ``source`` and ``sizes`` may lie on the host, and then so do
    ``reach`` and ``canvas`` of the result.

    Raises:
        ValueError: an output has several layers with mode ``"xor"``.
    """
    (batch, patches, _), ndim, device = rectangles.shape, sizes.shape[1], rectangles.device
    if patches == 1 and layer is None:
        return _cover_one(source, rectangles[:, 0], sizes)
    if layer is None:
        layer = torch.ones((batch, patches), dtype=torch.long, device=device)
    elif mode == "xor" and bool((layer != layer[:, :1]).any()):
        raise ValueError("mode 'xor' needs one layer per output; the rectangles name several")
    if patches == 0:  # the same as one empty rectangle
        patches = 1
        rectangles = rectangles.new_zeros((batch, 1, 2 * ndim))
        layer = layer.new_ones((batch, 1))
    reach = sizes[source.clamp(min=0)]
    canvas = sent(reach[:, 0], device)
    low = torch.minimum(rectangles[..., :ndim].clamp(min=0), canvas[:, None])
    high = torch.maximum(torch.minimum(rectangles[..., ndim:], canvas[:, None]), low)
    ends = torch.stack([torch.zeros_like(canvas), canvas], dim=1)
    edges = torch.cat([ends[:, :1], low, high, ends[:, 1:]], dim=1).sort(dim=1).values.unbind(2)
    covered = everywhere(torch.gather(sent(source >= 0, device), 1, layer.clamp(min=0)) | (layer < 0), ndim)
    for axis in range(ndim):
        start, stop = edges[axis][:, None, :-1], edges[axis][:, None, 1:]
        inside = (low[..., axis, None] <= start) & (stop <= high[..., axis, None])
        covered = covered & along(inside, axis, ndim)
    if mode == "xor":
        paint = everywhere(layer[:, 0], ndim)
        owner = torch.where(covered.sum(dim=1) % 2 == 1, paint, 0)
    else:
        order = everywhere(torch.arange(1, patches + 1, device=device), ndim)
        last = (covered * order).amax(dim=1)  # 0: no rectangle covers the cell
        paint = torch.cat([torch.zeros_like(layer[:, :1]), layer], dim=1)
        owner = torch.gather(paint, 1, last.flatten(1)).reshape(last.shape)
    return Grid(edges, owner.to(torch.int8 if source.shape[1] <= 127 else torch.int16), reach, reach[:, 0])


def _cover_one(source: Int[Tensor, "b s"], rectangle: Int[Tensor, "b ends"], sizes: Int[Tensor, "pool d"]) -> Grid:
    """The grid of one rectangle of layer 1: the middle one of 3 × 3 cells, in a few launches."""
    ndim, device = sizes.shape[1], rectangle.device
    reach = sizes[source.clamp(min=0)]
    ends = reach[:, 0].T
    zero, canvas = sent(torch.stack([torch.zeros_like(ends), ends]), device)
    low = rectangle[:, :ndim].T.clamp(zero, canvas)
    high = rectangle[:, ndim:].T.clamp(low, canvas)
    edges = torch.stack([zero, low, high, canvas], dim=2).unbind(0)
    owner = torch.zeros((len(source), *(3,) * ndim), dtype=torch.int8, device=source.device)
    middle: Any = (slice(None), *(1,) * ndim)
    owner[middle] = source[:, 1] >= 0
    narrow = owner if source.shape[1] <= 127 else owner.to(torch.int16)
    return Grid(edges, sent(narrow, device), reach, reach[:, 0])
