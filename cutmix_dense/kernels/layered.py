"""Any hard plan, output by output, each layer read where it shows and put there: on any device, with gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from cutmix_dense.arrays.blocks import filled, spatial
from cutmix_dense.arrays.dtypes import as_signed
from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.kernels.layers import background, lay_background, read, windows
from cutmix_dense.kernels.resample import Interpolation
from cutmix_dense.plan import MixPlan


def mix_layered(
    pool: Tensor | Sequence[Tensor],
    plan: MixPlan,
    fill: Tensor | None,
    interpolation: Interpolation,
    *,
    framed: bool,
    out: Tensor | None = None,
) -> list[Tensor]:
    """The mixed outputs; what a layer costs grows with the region where it shows, not with the canvas.

    Args:
        pool: (P, …, *size) or a list of (…, *size).
        plan: a hard one; one that lies on a device is read back.
        fill: value of pixels without owner, broadcastable against a block; None where the plan has none.
        interpolation: how scaled layers are read.
        framed: outputs are of the frame's size, else of their canvas's.
        out: (B, …, *frame) whose parts are to hold the outputs.
    """
    host = plan.to(HOST)
    outputs = []
    for output, (owner, canvas) in enumerate(zip(host.owner_map().numpy(), host.canvas.tolist())):
        if out is None:
            target = background(pool, host, output, fill, host.frame if framed else canvas)
        else:
            target = out[output]
            lay_background(target, pool, host, output, fill)
        for layer, place in windows(host, output):
            mask = owner[place] == layer
            within = filled(mask)
            if within is None:
                continue
            block = tuple(slice(p.start + w.start, p.start + w.stop) for p, w in zip(place, within))
            _put(target[spatial(block)], mask[within], read(pool, host, output, layer, block, interpolation))
        outputs.append(target)
    return outputs


def _put(block: Tensor, mask: Bool[np.ndarray, "*block"], pixels: Tensor) -> None:
    """Pixels into a block where the mask says so."""
    block, pixels = as_signed(block), as_signed(pixels)
    block.copy_(pixels if mask.all() else torch.where(sent(mask, block.device), pixels, block))
