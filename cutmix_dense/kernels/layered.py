"""Plans that scale, or own pixel by pixel: one layer after the other, each read where it shows and put there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cutmix_dense.arrays.blocks import Block, bounds, filled, overlap, spatial, within
from cutmix_dense.arrays.dtypes import as_signed
from cutmix_dense.arrays.host import HOST, in_numpy, sent
from cutmix_dense.kernels.layers import blank, lay_background, read, windows
from cutmix_dense.kernels.numpy_pixels import as_items, put_blocks
from cutmix_dense.kernels.resample import Interpolation
from cutmix_dense.kernels.slices import MOST_CELLS, blocks
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import covers_frame
from cutmix_dense.plan.memo import Once

__all__ = ["mix_layered"]

Read = Callable[[int, Block], Tensor]
"""The pixels of a layer on a block of the canvas."""


def mix_layered(
    pool: Tensor | Sequence[Tensor],
    plan: MixPlan,
    fill: Tensor | None,
    interpolation: Interpolation,
    *,
    framed: bool,
    out: Tensor | None = None,
) -> list[Tensor]:
    """Mix output by output; what a layer on top costs grows with the region where it shows, not with the canvas.

    Args:
        pool: (P, …, *size) or a list of (…, *size).
        plan: a hard one; one that lies on a device is read back.
        fill: value of pixels without owner, broadcastable against a block; None where the plan has none.
        interpolation: how scaled layers are read.
        framed: outputs are of the frame's size, else of their canvas's.
        out: (B, …, *frame) whose parts are to hold the outputs.
    """
    host = plan.to(HOST)
    few = not len(host) or host.owner[0].numel() <= MOST_CELLS
    owned = _owned(host) if few else []
    shown = [] if few else _shown(host, framed)
    outputs, bases = [], host.source[:, 0].tolist()
    for output, canvas in enumerate(host.canvas.tolist()):
        size = host.frame if framed else tuple(canvas)
        base = pool[max(bases[output], 0)]
        target = blank(base, (*base.shape[: base.ndim - host.ndim], *size)) if out is None else out[output]
        places = dict(windows(host, output))

        def pixels(layer: int, block: Block, output: int = output) -> Tensor:
            return read(pool, host, output, layer, block, interpolation)

        def lay_ground(target: Tensor, output: int = output) -> None:
            lay_background(target, pool, host, output, fill)

        whole = tuple(slice(0, n) for n in size)
        if few:
            _put_cells(target, owned[output], places, whole, pixels, lay_ground)
        else:
            _put_shown(target, shown[output], places, whole, pixels, lay_ground, fill)
        outputs.append(target)
    return outputs


def _put_cells(
    target: Tensor,
    owned: dict[int, list[Block]],
    places: dict[int, Block],
    whole: Block,
    pixels: Read,
    lay_ground: Callable[[Tensor], None],
) -> None:
    """Blocks of each layer, copied; the ground only where they leave some of it to see."""
    shown = {
        layer: [part for block in owned.get(layer, ()) if (part := overlap(block, place))]
        for layer, place in places.items()
    }
    if _area(part for parts in shown.values() for part in parts) < _area([whole]):
        lay_ground(target)
    for layer, parts in shown.items():
        if parts:
            window = bounds(parts)
            copies = [(spatial(part), spatial(within(part, window))) for part in parts]
            put_blocks(target, pixels(layer, window), copies)


def _put_shown(
    target: Tensor,
    shown: dict[int, tuple[Block, Bool[np.ndarray, "*block"]]],
    places: dict[int, Block],
    whole: Block,
    pixels: Read,
    lay_ground: Callable[[Tensor], None],
    fill: Tensor | None,
) -> None:
    """The base whole where it covers the output, else the ground; then every other layer through its mask."""
    if places.get(0) == whole:
        target.copy_(pixels(0, whole))
    else:
        lay_ground(target)
    for layer, (window, mask) in shown.items():
        if layer >= 0:
            _put(target[spatial(window)], mask, pixels(layer, window))
        else:
            assert fill is not None, "a plan with fill was applied without a fill value"
            _put(target[spatial(window)], mask, fill)


def _put(block: Tensor, mask: Bool[np.ndarray, "*block"], pixels: Tensor) -> None:
    """Pixels into a block where the mask says so; numpy copies run by run what torch would blend value by value."""
    if in_numpy(block, pixels):
        target, values = as_items(block, pixels)
        np.copyto(target, values, where=mask)
    else:
        block, pixels = as_signed(block), as_signed(pixels)
        block.copy_(torch.where(sent(mask, block.device), pixels, block))


def _owner_map(host: MixPlan) -> Int[np.ndarray, "b *frame"]:
    """The layer of every pixel of the frame, to be read: the plan's own memory where all layers cover the frame."""
    return host.owner.numpy() if host.free_form and covers_frame(host) else host.owner_map().numpy()


def _shown(host: MixPlan, framed: bool) -> list[dict[int, tuple[Block, Bool[np.ndarray, "*block"]]]]:
    """Per output, what has to be put on the base that covers it, or on the ground: where each layer shows.

    The least block that holds all of it, and which of its pixels; for -1 where nobody shows, if there is a base.
    """
    return (_shown_on_frame if framed else _shown_on_canvas)(host)


def _find_shown(host: MixPlan, framed: bool) -> list[dict[int, tuple[Block, Bool[np.ndarray, "*block"]]]]:
    found: list[dict[int, tuple[Block, Bool[np.ndarray, "*block"]]]] = []
    for output, (owner, canvas) in enumerate(zip(_owner_map(host), host.canvas.tolist())):
        places, whole = dict(windows(host, output)), tuple(slice(0, n) for n in (host.frame if framed else canvas))
        owner = owner[whole]
        based = places.get(0) == whole
        masks = {layer: owner == layer for layer in (places.keys() - {0} if based else places.keys())}
        if based and owner.min() < 0:
            masks[-1] = owner < 0
        blocks = {layer: filled(mask) for layer, mask in masks.items()}
        found.append(
            {layer: (block, masks[layer][block].copy()) for layer, block in blocks.items() if block is not None}
        )
    return found


_shown_on_frame, _shown_on_canvas = (Once(partial(_find_shown, framed=framed)) for framed in (True, False))


@Once
def _owned(host: MixPlan) -> list[dict[int, list[Block]]]:
    """Per output, the blocks of the canvas that each layer owns."""
    owned: list[dict[int, list[Block]]] = [{} for _ in range(len(host))]
    for output, start, stop, layer in blocks(host):
        owned[output].setdefault(layer, []).append(tuple(map(slice, start, stop)))
    return owned


def _area(parts: Iterable[Block]) -> int:
    return sum(math.prod(axis.stop - axis.start for axis in part) for part in parts)
