"""One layer of one output: the block of the canvas where it can show, its pixels there, and what lies below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cutmix_dense.arrays.blocks import Block, spatial
from cutmix_dense.kernels.resample import Interpolation, resample
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import keeps_padding
from cutmix_dense.plan.memo import Once


def blank(like: Tensor, shape: Sequence[int]) -> Tensor:
    """An empty tensor in the memory order of ``like``: images that lie channels behind come out so."""
    behind = like.ndim == 3 and like.stride(0) == 1 and like.shape[0] > 1
    return like.new_empty((*shape[1:], shape[0])).permute(2, 0, 1) if behind else like.new_empty(shape)


def empty_batch(pool: Tensor, plan: MixPlan) -> Tensor:
    """A batch for the outputs of a plan of two axes, in the pool's memory format."""
    shape = (len(plan), *pool.shape[1:-2], *plan.frame)
    if tuple(pool.shape) == shape:
        return torch.empty_like(pool)
    last = pool.ndim == 4 and not pool.is_contiguous() and pool.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=pool.dtype, device=pool.device, memory_format=layout)


def background(
    pool: Tensor | Sequence[Tensor], plan: MixPlan, output: int, fill: Tensor | None, size: Sequence[int]
) -> Tensor:
    """One output before any layer is put on it; see ``lay_background``."""
    base = pool[max(int(plan.source[output, 0]), 0)]
    ground = blank(base, (*base.shape[: base.ndim - plan.ndim], *size))
    lay_background(ground, pool, plan, output, fill)
    return ground


def lay_background(
    target: Tensor, pool: Tensor | Sequence[Tensor], plan: MixPlan, output: int, fill: Tensor | None
) -> None:
    """Fill over one output, and beyond its canvas the base's own padding."""
    base, size = pool[max(int(plan.source[output, 0]), 0)], target.shape[target.ndim - plan.ndim :]
    canvas = plan.canvas[output].tolist()
    if canvas != list(size) and base.shape == target.shape and bool(keeps_padding(plan, size)[output]):
        target.copy_(base)
        target = target[spatial(slice(0, n) for n in canvas)]
    if fill is None:
        target.zero_()
    else:
        target.copy_(fill.expand_as(target))


class _Placed(NamedTuple):
    """One layer in plain numbers: its pool image, its map, what is valid of it, and where it can show."""

    image: int
    scale: list[float]
    shift: list[float]
    extent: tuple[list[int], list[int]]
    window: Block


@Once
def _placed(host: MixPlan) -> list[dict[int, _Placed]]:
    """Per output, the layers that can show."""
    fields = (host.source, host.scale, host.shift, host.extent, *host.pixel_ranges())
    found: list[dict[int, _Placed]] = []
    for layers in zip(*(field.tolist() for field in fields)):
        found.append({})
        for layer, (image, scale, shift, extent, low, high) in enumerate(zip(*layers)):
            if image >= 0 and all(a < b for a, b in zip(low, high)):
                ends = (extent[: host.ndim], extent[host.ndim :])
                found[-1][layer] = _Placed(image, scale, shift, ends, tuple(map(slice, low, high)))
    return found


def windows(host: MixPlan, output: int) -> list[tuple[int, Block]]:
    """The layers of one output that can show, with the block of the canvas that each can show in."""
    return [(layer, placed.window) for layer, placed in _placed(host)[output].items()]


def read(
    pool: Tensor | Sequence[Tensor],
    host: MixPlan,
    output: int,
    layer: int,
    block: Block,
    interpolation: Interpolation,
) -> Tensor:
    """The pixels of one layer on a block of the canvas."""
    placed = _placed(host)[output][layer]
    window = ([part.start for part in block], [part.stop for part in block])
    return resample(pool[placed.image], placed.scale, placed.shift, placed.extent, window, interpolation)
