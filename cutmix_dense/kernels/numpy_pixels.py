"""Where numpy is faster than torch: single pixels copied, looked up and rounded on the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.dtypes import as_signed, limits_of
from cutmix_dense.arrays.host import in_numpy

__all__ = [
    "nearest_pixels",
    "note_writing",
    "pick_pixels",
    "round_into",
]


def nearest_pixels(
    image: Tensor, window: tuple[int, int], scale: float, shift: float, valid: tuple[int, int]
) -> Int[np.ndarray, " n"] | Int[Tensor, " n"]:
    """The pixel of an axis that lies nearest to each pixel of a window; in numpy where ``pick_pixels`` uses that.

    Args:
        image: the one that will be read.
        window: first pixel of the canvas and one past the last.
        scale: ``canvas = scale * source + shift``.
        shift: see ``scale``.
        valid: first pixel that may be read and one past the last.
    """
    low, high = valid
    if not in_numpy(image):
        position = (torch.arange(*window, dtype=torch.float32, device=image.device) + 0.5 - shift) / scale
        return position.floor().long().clamp(low, high - 1)
    centre = np.arange(*window, dtype=np.float32) + np.float32(0.5) - np.float32(shift)
    pixel = np.floor(centre / np.float32(scale)).astype(np.int64)
    within: np.ndarray = np.minimum(np.maximum(pixel, low), high - 1)
    return within


def pick_pixels(
    image: Shaped[Tensor, "..."], places: Sequence[Int[np.ndarray, " _n"] | Int[Tensor, " _n"]]
) -> Shaped[Tensor, "..."]:
    """The pixels at some places along each of the last axes."""
    if not in_numpy(image):
        picked = as_signed(image)
        for axis, place in enumerate(places):
            picked = picked.index_select(axis - len(places), torch.as_tensor(place, device=image.device))
        return picked if picked.dtype == image.dtype else picked.view(image.dtype)
    items = _as_items(image)
    wanted = [np.asarray(place) for place in places]
    if items.ndim == len(wanted) and len(wanted[0]):
        # whole lines cost least: they are left out before the others are picked, but repeated behind
        low, high = int(wanted[0].min()), int(wanted[0].max()) + 1
        if high - low < len(wanted[0]):
            items, wanted[0] = items[low:high], wanted[0] - low
            for axis in range(1, len(wanted)):
                items = items.take(wanted[axis], axis=axis)
            return _as_tensor(items.take(wanted[0], axis=0), image.dtype)
    for axis, place in enumerate(wanted):
        items = items.take(place, axis=axis - len(wanted))
    return _as_tensor(items, image.dtype)


def _as_items(tensor: Shaped[Tensor, "..."]) -> Shaped[np.ndarray, "..."]:
    """A tensor in numpy; where the channels of a pixel lie side by side, it becomes one item."""
    if tensor.dtype == torch.bfloat16:  # which numpy hasn't
        tensor = tensor.view(torch.int16)
    if tensor.ndim == 3 and tensor.stride(0) == 1 < tensor.shape[0]:
        array = tensor.permute(1, 2, 0).numpy()
        return array.view(f"V{array.shape[2] * array.itemsize}")[..., 0]
    return tensor.numpy()


def _as_tensor(items: Shaped[np.ndarray, "..."], dtype: torch.dtype) -> Shaped[Tensor, "..."]:
    """The tensor of ``_as_items``."""
    if items.dtype.kind == "V":
        return torch.from_numpy(items[..., None].view(np.uint8)).view(dtype).permute(2, 0, 1)
    tensor = torch.from_numpy(items)
    return tensor if tensor.dtype == dtype else tensor.view(dtype)


def note_writing(outputs: Tensor) -> None:
    """Let autograd know that a tensor was written to through numpy, in case a backward has saved it."""
    if not outputs.is_inference():
        outputs[:0].zero_()  # nothing is written, but counted


def round_into(target: Shaped[Tensor, "..."], values: Float[Tensor, "..."]) -> None:
    """Write values rounded into a tensor of whole numbers that holds them; ``values`` may be overwritten.

    Of 64 bits the last numbers have no float64: they are clamped to the last one that has.
    """
    if target.element_size() == 8:
        values = values.clamp(*limits_of(target.dtype))
    if in_numpy(target, values):
        np.copyto(target.numpy(), values.round_().numpy(), casting="unsafe")
    else:
        target.copy_(values.round_())
