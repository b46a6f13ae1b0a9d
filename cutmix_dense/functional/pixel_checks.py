"""Checks that images fit a plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.plan import MixPlan


def check_pool(tensors: Sequence[Tensor], plan: MixPlan, together: bool) -> None:
    """Raise ValueError unless images agree in dtype, device and channels, and are large enough for a plan.

    Args:
        tensors: one per image; if they are ``together``, the one tensor of all.
        plan: who owns each output pixel.
        together: whether the first axis counts images.
    """
    ndim = plan.canvas.shape[1]
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
                f"image 0 is {dtype} on {device}; convert them first, as v2.ToDtype does"
            )
        if shape[: image.ndim - ndim] != channels:
            raise ValueError(
                f"pool must have equal channels: image {index} is {tuple(shape)}, image 0 {tuple(first.shape)}; "
                "convert them first, as v2.RGB() does with grey ones"
            )
    if not plan.source.is_cpu or is_compiling():  # indexing then refuses images that aren't there
        return
    source = plan.source.numpy()
    sizes = np.array([image.shape[-ndim:] for image in tensors])
    last, count = int(np.maximum.reduce(source, axis=None, initial=-1)), (first if together else sizes).shape[0]
    if last >= count:
        raise ValueError(f"pool must hold {last + 1} images for this plan, got {count}")
    needed = plan.extent.numpy()[..., ndim:]
    larger = needed > (sizes[0] if together else sizes[source])
    if np.logical_or.reduce(larger, axis=None) and (small := larger.any(axis=-1) & (source >= 0)).any():
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
    _check_memory(images, "a batch that is written in place")


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
    _check_memory(out, "out")
    if out.untyped_storage().data_ptr() == images.untyped_storage().data_ptr():
        raise ValueError("out must not share memory with the images; use inplace=True to write into them")


def _check_memory(value: Tensor, name: str) -> None:
    if any(step == 0 and length > 1 for step, length in zip(value.stride(), value.shape)):
        raise ValueError(
            f"{name} must have memory of its own for every pixel, got the strides {value.stride()}, as 'expand' makes "
            "them"
        )
