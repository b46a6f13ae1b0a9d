"""Pasted instances as layers of their own: which of them, how large, where, and which would cover too much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.functional.masks import boxes_of_masks
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import ranges_of
from cutmix_dense.regions import uniform
from cutmix_dense.transforms.pasted import unstated
from cutmix_dense.transforms.pool import Pool

Place = Literal["same", "random", "grid"]

TRIES = 10
"""Random places that are tried for an instance before it is left out."""


class Chosen(NamedTuple):
    """Instances to paste on each output, the first one below; on the host.

    Attributes:
        image: pool index.
        row: index of the instance in its image.
        valid: which of the slots hold an instance.
    """

    image: Int[np.ndarray, "b k"]
    row: Int[np.ndarray, "b k"]
    valid: Bool[np.ndarray, "b k"]


class Placed(NamedTuple):
    """Where they go; arrays on the host, axes in array order.

    Attributes:
        scale: ``canvas = scale * source + shift``, negative for a flip.
        shift: whole pixels, or with a flip what makes them so.
        window: canvas pixels of the box, with its context; lows, then highs.
        fits: which of them are pasted; the others would cover too much.
    """

    scale: Float[np.ndarray, "b k d"]
    shift: Float[np.ndarray, "b k d"]
    window: Int[np.ndarray, "b k ends"]
    fits: Bool[np.ndarray, "b k"]


def paste_order(
    scores: Float[np.ndarray, "b m"], may: Bool[np.ndarray, "b m"], weights: Float[np.ndarray, "b m"] | None
) -> Int[np.ndarray, "b m"]:
    """Candidates in the order in which they are drawn, without replacement, in proportion to their weights.

    Those that may not be drawn come last. Equal weights order by the scores alone (Efraimidis and Spirakis, 2006).

    Args:
        scores: uniform in [0, 1).
        may: which candidates there are.
        weights: at least 0; None: equal.

    Example:
        >>> paste_order(np.array([[0.5, 0.25]]), np.array([[True, True]]), np.array([[9.0, 1.0]])).tolist()
        [[0, 1]]
    """
    keys = scores if weights is None else -np.log1p(-scores) / np.maximum(weights, 1e-300)
    return np.where(may, keys, np.inf).argsort(axis=1, kind="stable")


@dataclass(frozen=True)
class Placing:
    """How instances are placed; ``CopyPaste`` documents the fields."""

    place: Place
    overlap: float
    scale: tuple[float, float]
    flip: float
    context: tuple[float, float]

    def draws(
        self, outputs: int, slots: int, ndim: int, generator: torch.Generator
    ) -> tuple[Float[np.ndarray, "b k n"], Float[np.ndarray, "b c"]]:
        """Numbers of each instance (size, flip, context, then its places), and of the cells of a grid."""
        tries = TRIES if self.place == "random" else 0
        each = uniform(outputs, slots * (3 + tries * ndim), generator).numpy().reshape(outputs, slots, -1)
        side = math.ceil(round(slots ** (1 / ndim), 9)) if self.place == "grid" else 0
        return each, uniform(outputs, side**ndim, generator).numpy()

    def placed(
        self,
        draws: tuple[Float[np.ndarray, "b k n"], Float[np.ndarray, "b c"]],
        chosen: Chosen,
        boxes: Float[np.ndarray, "b k ends"],
        present: Sequence[Float[np.ndarray, "_n ends"]],
        sizes: Float[np.ndarray, "pool d"],
        shrunk: Float[np.ndarray, "b k"],
    ) -> Placed:
        """Place instances one after another, each at the first of its places where it covers little enough.

        Args:
            draws: of ``draws``.
            chosen: the instances.
            boxes: of them, lows then highs in array order, pixels of their images.
            present: the boxes of each base.
            sizes: of the pool's images.
            shrunk: the scale at which each lies in its image; a size is that of the whole instance.
        """
        each, cells = draws
        count, ndim = len(boxes), sizes.shape[1]
        canvas, theirs = sizes[:count, None], sizes[chosen.image]
        low, high = boxes[..., :ndim], boxes[..., ndim:]
        factor = (self.scale[0] + each[..., :1] * (self.scale[1] - self.scale[0])) / shrunk[..., None]
        room = canvas / np.maximum(high - low, 1e-9)
        factor = np.minimum(factor, room.min(axis=2, keepdims=True))  # none is larger than the canvas
        scale = np.repeat(factor, ndim, axis=2)
        scale[..., -1] *= np.where(each[..., 1] < self.flip, -1.0, 1.0)
        ends = scale * low, scale * high
        first, last = np.minimum(*ends), np.maximum(*ends)
        least = self._lows(each[..., 3:], cells, canvas, theirs, low, high, last - first)
        shift = np.round(least - first[:, :, None])  # (b, k, tries, d)
        shift = np.maximum(np.minimum(shift, np.floor(canvas - last)[:, :, None]), np.ceil(-first)[:, :, None])
        wider = self.context[0] + each[..., 2:3] * (self.context[1] - self.context[0])
        around = factor * wider * (high - low)
        windows = np.concatenate([first - around, last + around], axis=2)[:, :, None] + np.tile(shift, 2)
        reach = np.concatenate([0 * theirs, theirs], axis=2)
        absent = ~chosen.valid[..., None]
        tries = shift.shape[2]
        limits = [
            ranges_of(np, scale.astype(np.float32), shift[:, :, t].astype(np.float32), reach, canvas, absent)
            for t in range(tries)
        ]
        floor, ceiling = (np.stack(side, axis=2) for side in zip(*limits))
        begin = np.maximum(np.floor(windows[..., :ndim]).astype(np.int64), floor)
        end = np.maximum(np.minimum(np.ceil(windows[..., ndim:]).astype(np.int64), ceiling), begin)
        found = np.concatenate([begin, end], axis=3)
        mapped = np.concatenate([first, last], axis=2)[:, :, None] + np.tile(shift, 2)
        pick = self._first_that_fits(found, mapped, chosen.valid, present)
        at = np.maximum(pick, 0)[..., None, None]
        shift = np.take_along_axis(shift, at, axis=2)[:, :, 0]
        return Placed(scale, shift, np.take_along_axis(found, at, axis=2)[:, :, 0], pick >= 0)

    def _lows(
        self,
        draws: Float[np.ndarray, "b k n"],
        cells: Float[np.ndarray, "b c"],
        canvas: Float[np.ndarray, "b 1 d"],
        theirs: Float[np.ndarray, "b k d"],
        low: Float[np.ndarray, "b k d"],
        high: Float[np.ndarray, "b k d"],
        side: Float[np.ndarray, "b k d"],
    ) -> Float[np.ndarray, "b k tries d"]:
        """Where the boxes begin on the canvas, at each of their places."""
        count, slots, ndim = low.shape
        if self.place == "random":
            return np.asarray(draws.reshape(count, slots, -1, ndim) * np.maximum(canvas - side, 0)[:, :, None])
        if self.place == "grid":
            lines = round(cells.shape[1] ** (1 / ndim))
            order = cells.argsort(axis=1)
            turn = (np.arange(slots)[:, None] + np.arange(cells.shape[1])) % cells.shape[1]  # (k, tries)
            cell = np.stack(np.unravel_index(order[:, turn], (lines,) * ndim), axis=3)
            centre = (cell + 0.5) / lines * canvas[:, :, None]
        else:  # at the same share of the canvas as in its own image
            centre = ((low + high) / 2 / theirs * canvas)[:, :, None]
        return np.asarray(centre - side[:, :, None] / 2)

    def _first_that_fits(
        self,
        windows: Int[np.ndarray, "b k tries ends"],
        own: Float[np.ndarray, "b k tries ends"],
        valid: Bool[np.ndarray, "b k"],
        present: Sequence[Float[np.ndarray, "_n ends"]],
    ) -> Int[np.ndarray, "b k"]:
        """The first try of each instance that hides at most ``overlap`` of all boxes below it; -1 for none.

        Args:
            windows: what is cut for each, with its context.
            own: its box there.
            valid: which slots hold an instance.
            present: the boxes of each base.
        """
        ndim = windows.shape[3] // 2
        pick = np.where(valid, 0, -1)
        if self.overlap >= 1:
            return pick
        for output, (tries, there) in enumerate(zip(windows, present)):
            boxes, hidden = there, np.zeros(len(there))
            for slot in np.flatnonzero(valid[output]).tolist():
                low = np.maximum(tries[slot][:, None, :ndim], boxes[:, :ndim])
                high = np.minimum(tries[slot][:, None, ndim:], boxes[:, ndim:])
                area = np.maximum((boxes[:, ndim:] - boxes[:, :ndim]).prod(axis=1), 1e-9)
                share = hidden + np.maximum(high - low, 0).prod(axis=2) / area  # (tries, boxes)
                fits = np.flatnonzero((share <= self.overlap + 1e-9).all(axis=1))
                pick[output, slot] = fits[0] if len(fits) else -1
                if len(fits):
                    boxes = np.concatenate([boxes, own[output, slot][fits[:1]]])
                    hidden = np.append(share[fits[0]], 0.0)
        return pick


def layered_plan(
    placing: Placing,
    draws: tuple[Float[np.ndarray, "b k n"], Float[np.ndarray, "b c"]],
    chosen: Chosen,
    pool: Pool,
    targets: Sequence[Mapping[str, Any]],
    opacity: Float[Tensor, "b k"] | None,
) -> MixPlan:
    """The plan that pastes each instance as a layer of its own, at a place of its own.

    Boxes are looked at on the host; from a device that is one transfer. A layer that fits nowhere owns no pixel.

    Args:
        placing: how they are placed.
        draws: of ``placing.draws``.
        chosen: the instances.
        pool: the images.
        targets: of every image.
        opacity: of each instance; None: opaque.
    """
    ndim, (count, slots) = pool.ndim, chosen.valid.shape
    objects = pool.objects(fetch=True)
    every, there = objects.boxes.double().numpy(), objects.present.numpy()
    boxes = np.zeros((count, slots, 2 * ndim))
    if every.shape[1]:
        boxes = every[chosen.image, np.minimum(chosen.row, every.shape[1] - 1)]
    masked = np.zeros((count, slots), dtype=bool)
    some = [target.get("masks") is not None for target in targets]
    if any(some):
        most = int(chosen.row.max(initial=0)) + 1
        without = unstated(targets, max(most, *(len(t["masks"]) for t, has in zip(targets, some) if has))).numpy()
        masked = chosen.valid & np.array(some)[chosen.image] & ~without[chosen.image, chosen.row]
        _measure_masks(boxes, masked, chosen, targets)
    sizes = pool.sizes.numpy().astype(np.float64)
    reach = np.tile(sizes[chosen.image], 2)
    boxes = np.minimum(np.maximum(boxes, 0), reach)
    valid = chosen.valid & (boxes[..., ndim:] > boxes[..., :ndim]).all(axis=2)
    given = chosen._replace(valid=valid)
    shrunk = np.ones(valid.shape)
    if pool.shrunk is not None:
        for at in zip(*valid.nonzero()):
            shrunk[at] = pool.shrunk[chosen.image[at]][chosen.row[at]]
    present = [every[b][there[b]] for b in range(count)]
    placed = placing.placed(draws, given, boxes, present, sizes, shrunk)
    source = torch.from_numpy(np.concatenate([np.arange(count)[:, None], np.where(valid, chosen.image, -1)], axis=1))
    rows = max(1, int(chosen.row.max(initial=0)) + 1, *(len(target.get("labels", ())) for target in targets))
    carry = np.zeros((count, 1 + slots, rows), dtype=bool)
    carry[:, 0] = True
    np.put_along_axis(carry[:, 1:], chosen.row[..., None], valid[..., None], axis=2)
    scale, shift = np.ones((2, count, 1 + slots, ndim), dtype=np.float32)
    shift[:, 0] = 0
    scale[:, 1:], shift[:, 1:] = (
        np.where(valid[..., None], placed.scale, 1),
        np.where(valid[..., None], placed.shift, 0),
    )
    fields: Any = {"carry": torch.from_numpy(carry), "scale": torch.from_numpy(scale), "shift": torch.from_numpy(shift)}
    if opacity is not None:
        fields["opacity"] = torch.cat([torch.ones_like(opacity[:, :1]), opacity], dim=1).float()
    window = np.where(placed.fits[..., None], placed.window, 0)
    if any(some):
        owner = _painted(window, masked, chosen, targets, pool, scale, shift)
        return MixPlan.from_map(source, owner, pool.sizes, **fields)
    layer = torch.arange(1, 1 + slots, device=HOST).expand(count, -1)
    rectangles = sent(torch.from_numpy(window), objects.boxes.device)
    layer = sent(layer, rectangles.device)
    return MixPlan.from_rectangles(source, rectangles, pool.sizes, layer=layer, frame=pool.frame, **fields)


def _measure_masks(
    boxes: Float[np.ndarray, "b k ends"],
    masked: Bool[np.ndarray, "b k"],
    chosen: Chosen,
    targets: Sequence[Mapping[str, Any]],
) -> None:
    """Write the tight boxes of the masks of ``masked`` instances, in array order."""
    for image in np.unique(chosen.image[masked]).tolist():
        where = masked & (chosen.image == image)
        stack = targets[image]["masks"].as_subclass(Tensor)
        tight = boxes_of_masks(stack[torch.from_numpy(chosen.row[where]).to(stack.device)]).to(HOST).numpy()
        boxes[where] = tight.reshape(len(tight), 2, -1)[..., ::-1].reshape(len(tight), -1)


def _painted(
    window: Int[np.ndarray, "b k ends"],
    masked: Bool[np.ndarray, "b k"],
    chosen: Chosen,
    targets: Sequence[Mapping[str, Any]],
    pool: Pool,
    scale: Float[np.ndarray, "b s d"],
    shift: Float[np.ndarray, "b s d"],
) -> Int[Tensor, "b *frame"]:
    """Owners of the canvas: each window's mask, or all of a window without one, over those before it."""
    device = next(target["masks"].device for target in targets if target.get("masks") is not None)
    count, slots = masked.shape
    owner = torch.zeros((count, *pool.frame), dtype=torch.int8 if slots < 127 else torch.int16, device=device)
    ndim, sizes = pool.ndim, pool.sizes.tolist()
    for output, slot in np.argwhere((window[..., ndim:] > window[..., :ndim]).all(axis=2)).tolist():
        ends, image = window[output, slot].tolist(), int(chosen.image[output, slot])
        block = owner[output][tuple(map(slice, ends[:ndim], ends[ndim:]))]
        if not masked[output, slot]:
            block.fill_(slot + 1)
            continue
        inside = targets[image]["masks"][int(chosen.row[output, slot])].as_subclass(Tensor)
        for axis in range(ndim):
            centre = np.arange(ends[axis], ends[ndim + axis], dtype=np.float32) + np.float32(0.5)
            pixel = np.floor((centre - shift[output, slot + 1, axis]) / scale[output, slot + 1, axis])
            pixel = np.minimum(np.maximum(pixel.astype(np.int64), 0), sizes[image][axis] - 1)
            inside = inside.index_select(axis, sent(pixel, device))
        block.masked_fill_(inside != 0, slot + 1)
    return owner
