"""Checks that images fit a plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.memo import Once

__all__ = ["check_inplace", "check_out", "check_pool"]


def check_pool(images: Tensor | list[Tensor], plan: MixPlan) -> None:
    """Raise ValueError unless images agree in dtype, device and channels, and are large enough for a plan."""
    ndim = plan.ndim
    tensors, together = ([images], True) if isinstance(images, Tensor) else (images, False)
    shortest = ndim + together
    first = tensors[0]
    dtype, device, channels = first.dtype, first.device, first.shape[: first.ndim - ndim]
    for index, image in enumerate(tensors):
        shape = image.shape
        if image.ndim < shortest:
            raise ValueError(f"pool must have at least {shortest} dimensions, got {tuple(shape)}")
        if image.dtype != dtype or image.device != device:
            raise ValueError(
                f"pool must be of one dtype and device: image {index} is {image.dtype} on {image.device}, "
                f"image 0 is {dtype} on {device}"
            )
        if shape[: image.ndim - ndim] != channels:
            raise ValueError(
                f"pool must have equal channels: image {index} is {tuple(shape)}, image 0 {tuple(first.shape)}"
            )
    if not plan.source.is_cpu or is_compiling():  # indexing then refuses images that aren't there
        return
    reaches = {} if together else _reaches(plan)
    if together:
        last, count = int(np.maximum.reduce(plan.source.numpy(), axis=None, initial=-1)), first.shape[0]
    else:
        last, count = max(reaches, default=-1), len(tensors)
    if last >= count:
        raise ValueError(f"pool must hold {last + 1} images for this plan, got {count}")
    if together:
        larger = plan.extent.numpy()[..., ndim:] > first.shape[-ndim:]
        fits = not np.logical_or.reduce(larger, axis=None)
    else:
        fits = all(a <= b for index, reach in reaches.items() for a, b in zip(reach, tensors[index].shape[-ndim:]))
    if not fits:
        _refuse_small(tensors, plan, together)


@Once
def _reaches(plan: MixPlan) -> dict[int, list[int]]:
    """How far a plan on the host reaches into each pool image that it uses."""
    reaches: dict[int, list[int]] = {}
    for images, extents in zip(plan.source.tolist(), plan.extent.tolist()):
        for image, extent in zip(images, extents):
            if image >= 0:
                end = extent[plan.ndim :]
                reaches[image] = list(map(max, reaches.get(image, end), end))
    return reaches


def _refuse_small(tensors: Sequence[Tensor], plan: MixPlan, together: bool) -> None:
    """Raise for the first present layer whose image is smaller than its extent."""
    source, needed = plan.source.numpy(), plan.extent.numpy()[..., plan.ndim :]
    sizes = np.array([image.shape[-plan.ndim :] for image in tensors])
    size = sizes[0] if together else sizes[np.maximum(source, 0)]
    small = (source >= 0) & (needed > size).any(axis=-1)
    if small.any():
        output, layer = (int(places[0]) for places in small.nonzero())
        index = int(source[output, layer])
        own = sizes[0 if together else index].tolist()
        raise ValueError(
            f"pool image {index} is {own}, smaller than the {needed[output, layer].tolist()} pixels that the plan "
            "takes from it"
        )


def check_inplace(images: Tensor, plan: MixPlan) -> None:
    """Raise ValueError unless ``plan`` can be applied to a batch in place."""
    if not plan.unscaled:
        raise ValueError("inplace needs an unscaled plan, got one that scales its layers")
    if len(plan) != images.shape[0] * plan.frames or tuple(images.shape[-plan.ndim :]) != tuple(plan.frame):
        raise ValueError(
            f"inplace needs one output per image and outputs of the images' size; got {len(plan)} outputs of "
            f"{tuple(plan.frame)} for images {tuple(images.shape)}"
        )
    if images.requires_grad and images.is_leaf:
        raise ValueError("inplace can't write to a leaf tensor that requires grad")


def check_out(images: Tensor, plan: MixPlan, out: Tensor) -> None:
    """Raise TypeError or ValueError unless ``out`` fits the mixed images."""
    shape = (plan.source.shape[0], *images.shape[1 : images.ndim - plan.ndim], *plan.frame)
    if not isinstance(out, Tensor):
        raise TypeError(f"out must be a tensor of shape {shape}, got {type(out).__name__}")
    if tuple(out.shape) != shape or out.dtype != images.dtype or out.device != images.device:
        raise ValueError(
            f"out must be {images.dtype} of shape {shape} on {images.device}, "
            f"got {out.dtype} of shape {tuple(out.shape)} on {out.device}"
        )
    if out.untyped_storage().data_ptr() == images.untyped_storage().data_ptr():
        raise ValueError("out must not share memory with the images; use inplace=True to write into them")
