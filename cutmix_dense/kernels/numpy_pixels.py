"""Where numpy is faster than torch: single pixels copied, looked up and rounded on the host."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from cutmix_dense.compiling import is_compiling

__all__ = ["as_items", "in_numpy", "pick_pixels", "round_into"]


def in_numpy(*tensors: Tensor) -> bool:
    """Whether numpy may do it: all on the host, no gradient, nothing that is being compiled."""
    return all(tensor.is_cpu and not tensor.requires_grad for tensor in tensors) and not is_compiling()


def as_items(*tensors: Shaped[Tensor, "... *size"]) -> list[Shaped[np.ndarray, "... *size"]]:
    """Tensors of one dtype in numpy; where the channels of a pixel lie side by side in all, it becomes one item."""
    if tensors[0].dtype == torch.bfloat16:  # which numpy hasn't
        tensors = tuple(tensor.view(torch.int16) for tensor in tensors)
    if all(tensor.ndim == 3 and tensor.stride(0) == 1 < tensor.shape[0] for tensor in tensors):
        arrays = [tensor.permute(1, 2, 0).numpy() for tensor in tensors]
        return [array.view(f"V{array.shape[2] * array.itemsize}")[..., 0] for array in arrays]
    return [tensor.numpy() for tensor in tensors]


def pick_pixels(image: Shaped[Tensor, "... *size"], places: list[Tensor]) -> Shaped[Tensor, "... *picked"]:
    """The pixels at some places along each of the last axes."""
    if not in_numpy(image):
        for axis, place in enumerate(places):
            image = image.index_select(axis - len(places), place)
        return image
    (items,) = as_items(image)
    for axis, place in enumerate(places):
        items = items.take(place.numpy(), axis=axis - len(places))
    if items.dtype.kind == "V":
        return torch.from_numpy(items[..., None].view(np.uint8)).view(image.dtype).permute(2, 0, 1)
    return torch.from_numpy(items).view(image.dtype)


def round_into(target: Shaped[Tensor, "..."], values: Float[Tensor, "..."]) -> None:
    """Write values rounded into a tensor of whole numbers that holds them; ``values`` may be overwritten."""
    if in_numpy(target, values):
        np.copyto(target.numpy(), values.round_().numpy(), casting="unsafe")
    else:
        target.copy_(values.round_())
