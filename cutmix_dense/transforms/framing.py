"""Batches in one tensor, with their maps and masks, brought into a larger frame and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Any

from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.blocks import block_of, spatial
from cutmix_dense.functional.fields import SEMANTIC_KEYS
from cutmix_dense.functional.padded import is_padded
from cutmix_dense.functional.segments import MAP_KEY
from cutmix_dense.functional.wrapping import rewrap

PER_PIXEL = frozenset({"masks", MAP_KEY, *SEMANTIC_KEYS})
"""Keys of an image's target that hold a value per pixel."""


def enlarged(value: Tensor, frame: tuple[int, ...]) -> Tensor:
    """A per-pixel tensor with zeros behind it, up to the frame; itself if it fills that."""
    if _fills(value, frame):
        return value
    ndim = len(frame)
    plain = value.as_subclass(Tensor)
    whole = plain.new_zeros((*plain.shape[:-ndim], *frame))
    whole[spatial(block_of(plain.shape[-ndim:]))] = plain
    return rewrap(whole, value)


def cropped(value: Tensor, size: tuple[int, ...]) -> Tensor:
    """The first ``size`` pixels of a per-pixel tensor, as a view."""
    return rewrap(value.as_subclass(Tensor)[spatial(block_of(size))], value)


def is_per_pixel(value: Any, known: bool) -> bool:
    """Whether an entry of an image's target has a value per pixel, by its type or because its key is ``known``."""
    return isinstance(value, Tensor) and value.ndim >= 2 and (known or isinstance(value, tv_tensors.Mask))


def maps_enlarged(targets: Any, frame: tuple[int, ...], larger: tuple[int, ...], keys: Set[str]) -> Any:
    """Targets of a batch with the masks and maps that have the frame's size in a larger one.

    Args:
        targets: as for the call of a transform.
        frame: size of the images in one tensor.
        larger: the size that they get.
        keys: of masks and maps in the dict of an image.
    """
    return _changed(targets, frame, keys, partial(enlarged, frame=larger))


def maps_cropped(targets: Any, larger: tuple[int, ...], frame: tuple[int, ...], keys: Set[str]) -> Any:
    """What ``maps_enlarged`` undoes, for mixed targets."""
    return _changed(targets, larger, keys, lambda value: cropped(value, frame).clone())


def _changed(targets: Any, frame: tuple[int, ...], keys: Set[str], change: Callable[[Tensor], Tensor]) -> Any:
    """Targets of a batch with every per-pixel tensor of the frame's size changed."""
    if isinstance(targets, Mapping):
        slots = targets["boxes"].shape[:2] if is_padded(targets) else None
        return {
            key: value
            if slots is not None and isinstance(value, Tensor) and value.shape[:2] == slots
            else _changed(value, frame, keys, change)
            for key, value in targets.items()
        }
    if isinstance(targets, Tensor):  # of a batch: (B, K) are labels, whatever their size
        return change(targets) if targets.ndim > len(frame) and _fills(targets, frame) else targets
    if isinstance(targets, tuple) and hasattr(targets, "_fields"):  # a SemanticPair
        return type(targets)(*(_changed(part, frame, keys, change) for part in targets))
    if isinstance(targets, (list, tuple)):
        return [_of_image(entry, frame, True, keys, change) for entry in targets]
    return targets


def _of_image(
    value: Any, frame: tuple[int, ...], known: bool, keys: Set[str], change: Callable[[Tensor], Tensor]
) -> Any:
    if isinstance(value, Mapping):
        return {key: _of_image(entry, frame, key in keys, keys, change) for key, entry in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_of_image(part, frame, True, keys, change) for part in value))
    return change(value) if is_per_pixel(value, known) and _fills(value, frame) else value


def _fills(value: Tensor, frame: tuple[int, ...]) -> bool:
    return tuple(value.shape[-len(frame) :]) == frame
