"""Plans whose layers share pixels: MixUp's weights, and soft borders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise, product

import torch
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.arrays.blocks import Block, overlap, spatial
from cutmix_dense.arrays.blur import gaussian_blur
from cutmix_dense.arrays.dtypes import counted_in
from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.kernels.layers import background, lay_background, read, windows
from cutmix_dense.kernels.resample import Interpolation, round_into
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import shared_weights

Places = list[tuple[int, Block]]
"""Layers with the block of the canvas that each reaches."""

Read = Callable[[int, Block], Tensor]
"""The pixels of a layer on a block of the canvas."""


def mix_soft(
    pool: Tensor | Sequence[Tensor],
    plan: MixPlan,
    fill: Tensor | None,
    interpolation: Interpolation,
    feather: float,
    framed: bool,
    out: Tensor | None = None,
) -> list[Tensor]:
    """One output after the other: the sum of its layers by weight, computed in floating point.

    ``out`` (B, …, *frame) holds the outputs then.

    With ``feather`` the weights are blurred within each layer's reach; what has no owner stays as hard as it was.
    """
    host = plan.to(HOST)
    weights = shared_weights(host) if feather > 0 else None
    outputs = []
    for output, canvas in enumerate(host.canvas.tolist()):
        if out is None:
            result = background(pool, host, output, fill, host.frame if framed else canvas)
        else:
            result = out[output]
            lay_background(result, pool, host, output, fill)
        places = windows(host, output)
        pixels = partial(read, pool, host, output, interpolation=interpolation)
        if weights is None:
            _blend_cells(result, host, output, places, pixels)
        else:
            inner = spatial(slice(0, n) for n in canvas)
            shares = weights[output][inner].to(counted_in(result.dtype))  # which are to sum to 1 as exactly
            _blend_pixels(result[inner], _feathered(shares, places, feather), places, pixels)
        outputs.append(result)
    return outputs


def _blend_cells(target: Tensor, host: MixPlan, output: int, places: Places, pixels: Read) -> None:
    """Cell by cell: in each the layers that reach it have the same shares everywhere."""
    assert host.weight is not None
    weight = host.weight[output].tolist()
    for cell in _cells(host, output):
        layers = [layer for layer, place in places if weight[layer] > 0 and overlap(cell, place) == cell]
        whole = sum(weight[layer] for layer in layers)
        # the shares sum to 1, so layers of equal value leave it unchanged
        shares = [(layer, weight[layer] / whole) for layer in layers]
        if shares:
            _blend(target[spatial(cell)], [(pixels(layer, cell), share) for layer, share in shares])


def _blend(target: Tensor, parts: list[tuple[Tensor, float]]) -> None:
    """The sum of some blocks by their shares; of integers each product is rounded, as the compiled library does it."""
    (first, share), *others = parts
    total = _exact(first, copy=True).mul_(share)
    for part, share in others:
        if target.dtype.is_floating_point:
            total.add_(_exact(part), alpha=share)
        else:
            total.add_(_exact(part, copy=True).mul_(share))
    _write(target, total)


def _blend_pixels(target: Tensor, weight: Float[Tensor, "s *canvas"], places: Places, pixels: Read) -> None:
    """Every pixel with shares of its own."""
    weight = sent(weight, target.device)
    total = _exact(target, copy=True) * (weight.sum(dim=0) == 0)
    for layer, place in places:
        taken = _exact(pixels(layer, place))
        total[spatial(place)] += weight[layer][place] * taken
    _write(target, total)


def _cells(host: MixPlan, output: int) -> Iterator[Block]:
    lines = [[slice(a, b) for a, b in pairwise(edge[output].tolist()) if a < b] for edge in host.edges]
    return product(*lines)


def _exact(pixels: Tensor, copy: bool = False) -> Tensor:
    return pixels.to(counted_in(pixels.dtype), copy=copy)


def _write(target: Tensor, total: Tensor) -> None:
    if target.dtype.is_floating_point:
        target.copy_(total)
    else:
        round_into(target, total)


def _feathered(weight: Float[Tensor, "s *canvas"], places: Places, sigma: float) -> Float[Tensor, "s *canvas"]:
    """Weights blurred, kept within each layer's reach, and normalised where anything was owned."""
    owned = weight.sum(dim=0) > 0
    blurred = torch.zeros_like(weight)
    smooth = gaussian_blur(weight, sigma)
    for layer, block in places:
        blurred[layer][block] = smooth[layer][block]
    return blurred * owned / blurred.sum(dim=0).clamp(min=1e-12)
