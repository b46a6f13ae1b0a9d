"""One layer of one output: the block of the canvas where it can show, its pixels there, and what lies below it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cutmix_dense.kernels.block import Block, spatial
from cutmix_dense.kernels.resample import Interpolation, resample
from cutmix_dense.plan import MixPlan

__all__ = ["background", "blank", "lay_background", "read", "windows"]


def blank(like: Tensor, shape: Sequence[int]) -> Tensor:
    """An empty tensor in the memory order of ``like``: images that lie channels behind come out so."""
    behind = like.ndim == 3 and like.stride(0) == 1 and like.shape[0] > 1
    return like.new_empty((*shape[1:], shape[0])).permute(2, 0, 1) if behind else like.new_empty(shape)


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
    if canvas != list(size) and base.shape == target.shape and bool(plan.keeps_padding(size)[output]):
        target.copy_(base)
        target = target[spatial(slice(0, n) for n in canvas)]
    if fill is None:
        target.zero_()
    else:
        target.copy_(fill.expand_as(target))


def windows(host: MixPlan, output: int) -> list[tuple[int, Block]]:
    """The layers of one output that can show, with the block of the canvas that each can show in."""
    low, high = (bound[output].tolist() for bound in host.pixel_ranges())
    return [
        (layer, tuple(slice(a, b) for a, b in zip(low[layer], high[layer])))
        for layer in range(host.layers)
        if int(host.source[output, layer]) >= 0 and all(a < b for a, b in zip(low[layer], high[layer]))
    ]


def read(
    pool: Tensor | Sequence[Tensor],
    host: MixPlan,
    output: int,
    layer: int,
    block: Block,
    interpolation: Interpolation,
) -> Tensor:
    """The pixels of one layer on a block of the canvas."""
    extent = host.extent[output, layer].tolist()
    return resample(
        pool[int(host.source[output, layer])],
        host.scale[output, layer].tolist(),
        host.shift[output, layer].tolist(),
        (extent[: host.ndim], extent[host.ndim :]),
        ([part.start for part in block], [part.stop for part in block]),
        interpolation,
    )
