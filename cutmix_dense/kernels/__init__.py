"""The fast ways to do one hot thing, and the one place that chooses among them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cutmix_dense.kernels.blur import gaussian_blur
from cutmix_dense.kernels.gather import mix_gather
from cutmix_dense.kernels.resample import Interpolation, resample
from cutmix_dense.kernels.slices import mix_slices, spatial, suits
from cutmix_dense.plan import MixPlan

__all__ = ["Interpolation", "mix_batch", "mix_list"]


def mix_batch(
    pool: Tensor,
    plan: MixPlan,
    *,
    fill: Tensor | None,
    interpolation: Interpolation,
    feather: float = 0.0,
    out: Tensor | None = None,
    inplace: bool = False,
) -> Tensor:
    """Mix a pool of one size into a padded batch (B, …, *frame).

    Padding beyond a canvas of the base's size stays the base's; beyond any other canvas is fill.

    Args:
        pool: (P, …, *size).
        plan: on the pool's device, or on the host.
        fill: value of pixels without owner, broadcastable against (…, *frame); None if the plan has none.
        interpolation: how scaled layers are read.
        feather: softness of the borders between layers: sigma of a Gaussian, pixels; 0 for hard ones.
        out: written to and returned, if given; shares no memory with ``pool``.
        inplace: the result is written into ``pool``, whose layer 0 lies at its own place; see ``mix_slices``.
    """
    if feather > 0 or plan.weight is not None:
        result = torch.stack(_mix_soft(pool, plan, fill, interpolation, feather, framed=True))
    elif pool.device.type == "cpu" and suits(plan):
        result, held = (pool, True) if inplace else _prepared(pool, plan, fill, out)
        mix_slices(pool, plan, result, fill, held=held)
        return result
    elif plan.unscaled or interpolation == "nearest":
        result = mix_gather(pool, plan.to(pool.device, non_blocking=True), fill)
    else:
        result = torch.stack(_mix_scaled(pool, plan, fill, interpolation, framed=True))
    target = pool if inplace else out
    return result if target is None else target.copy_(result)


def mix_list(
    pool: Sequence[Tensor], plan: MixPlan, *, fill: Tensor | None, interpolation: Interpolation, feather: float = 0.0
) -> list[Tensor]:
    """Mix images of different sizes into (…, *canvas) each; ``plan`` is on the host. Arguments as ``mix_batch``."""
    if feather > 0 or plan.weight is not None:
        return _mix_soft(pool, plan, fill, interpolation, feather, framed=False)
    if pool[0].device.type == "cpu" and suits(plan):
        lead = pool[0].shape[: pool[0].ndim - plan.ndim]
        outputs = [pool[0].new_empty((*lead, *size)) for size in plan.canvas.tolist()]
        mix_slices(pool, plan, outputs, fill, held=False)
        return outputs
    return _mix_scaled(pool, plan, fill, interpolation, framed=False)


def _prepared(pool: Tensor, plan: MixPlan, fill: Tensor | None, out: Tensor | None) -> tuple[Tensor, bool]:
    """A tensor for the outputs whose pixels beyond the canvas are set, and whether it holds the bases already."""
    shape = (len(plan), *pool.shape[1 : pool.ndim - plan.ndim], *plan.frame)
    if out is None:
        out = torch.empty_like(pool) if tuple(pool.shape) == shape else pool.new_empty(shape)
    own_base = plan.source[:, 0] == torch.arange(len(plan))
    if tuple(pool.shape) == shape and bool((own_base & plan.keeps_padding(plan.frame)).all()):
        # one long copy of the bases, padding included, and the few patches on top, beats many short copies
        return out.copy_(pool), True
    padded = (plan.canvas != torch.tensor(plan.frame)).any(dim=1)
    for output in padded.nonzero()[:, 0].tolist():
        out[output].copy_(_background(pool, plan, output, fill, plan.frame))
    return out, False


def _background(
    pool: Tensor | Sequence[Tensor], plan: MixPlan, output: int, fill: Tensor | None, size: Sequence[int]
) -> Tensor:
    """One output before any layer is put on it: fill, and beyond the canvas the base's own padding."""
    base = pool[max(int(plan.source[output, 0]), 0)]
    space = base.ndim - plan.ndim
    blank = base.new_zeros((*base.shape[:space], *size))
    if fill is not None:
        blank = blank + fill
    canvas = plan.canvas[output].tolist()
    padded_alike = tuple(base.shape[space:]) == tuple(size) and bool(plan.keeps_padding(size)[output])
    if canvas == list(size) or not padded_alike:
        return blank
    padded = base.clone()
    block = spatial(slice(0, n) for n in canvas)
    padded[block] = blank[block]
    return padded


def _mix_scaled(
    pool: Tensor | Sequence[Tensor], plan: MixPlan, fill: Tensor | None, interpolation: Interpolation, framed: bool
) -> list[Tensor]:
    """One output after the other: each layer read where it can show, then put where it does."""
    host = plan.to("cpu")
    owner = host.owner_map()
    outputs = []
    for output, canvas in enumerate(host.canvas.tolist()):
        result = _background(pool, host, output, fill, host.frame if framed else canvas)
        for layer, block in _windows(host, output):
            shown = owner[output][block] == layer
            if bool(shown.any()):
                pixels = _read(pool, host, output, layer, block, interpolation)
                result[spatial(block)] = torch.where(shown.to(pixels.device), pixels, result[spatial(block)])
        outputs.append(result)
    return outputs


def _mix_soft(
    pool: Tensor | Sequence[Tensor],
    plan: MixPlan,
    fill: Tensor | None,
    interpolation: Interpolation,
    feather: float,
    framed: bool,
) -> list[Tensor]:
    """One output after the other: the sum of its layers by weight, computed in floating point.

    With ``feather`` the weights are blurred within each layer's reach; what has no owner stays as hard as it was.
    """
    host = plan.to("cpu")
    weights = host.pixel_weights()
    outputs = []
    for output, canvas in enumerate(host.canvas.tolist()):
        ground = _background(pool, host, output, fill, host.frame if framed else canvas)
        inner = tuple(slice(0, n) for n in canvas)
        weight = weights[output][spatial(inner)]
        windows = _windows(host, output)
        if feather > 0:
            weight = _feathered(weight, windows, feather)
        weight = weight.to(ground.device)
        exact = torch.float64 if ground.dtype == torch.float64 else torch.float32
        total = ground[spatial(inner)].to(exact) * (weight.sum(dim=0) == 0)
        for layer, block in windows:
            # the shares of one pixel sum to 1, so layers of equal value leave it unchanged
            total[spatial(block)] += weight[layer][block].to(exact) * _read(
                pool, host, output, layer, block, interpolation
            ).to(exact)
        if not ground.dtype.is_floating_point:
            total = total.round()
        result = ground.clone()
        result[spatial(inner)] = total.to(ground.dtype)
        outputs.append(result)
    return outputs


def _feathered(weight: Tensor, windows: list[tuple[int, tuple[slice, ...]]], sigma: float) -> Tensor:
    """Weights (S, *canvas) blurred, kept within each layer's reach, and normalised where anything was owned."""
    owned = weight.sum(dim=0) > 0
    blurred = torch.zeros_like(weight)
    smooth = gaussian_blur(weight, sigma)
    for layer, block in windows:
        blurred[layer][block] = smooth[layer][block]
    return blurred * owned / blurred.sum(dim=0).clamp(min=1e-12)


def _windows(host: MixPlan, output: int) -> list[tuple[int, tuple[slice, ...]]]:
    """The layers of one output that can show, with the block of the canvas that each can show in."""
    low, high = (bound[output].tolist() for bound in host.pixel_ranges())
    return [
        (layer, tuple(slice(a, b) for a, b in zip(low[layer], high[layer])))
        for layer in range(host.layers)
        if int(host.source[output, layer]) >= 0 and all(a < b for a, b in zip(low[layer], high[layer]))
    ]


def _read(
    pool: Tensor | Sequence[Tensor],
    host: MixPlan,
    output: int,
    layer: int,
    block: tuple[slice, ...],
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
