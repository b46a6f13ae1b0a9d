"""Samples put together as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.host import tensor_of

__all__ = ["collate", "collated"]


def collate(samples: Sequence[Sequence[Any]]) -> tuple[Tensor | list[Tensor], Any]:
    """A list of (image, target) pairs as a batch: what is of one size is stacked, all else becomes a list.

    Args:
        samples: what a dataset gives for each index: the image (C, H, W); the target a dict, a map (H, W), or a class.

    Raises:
        TypeError: images that aren't tensors.
    """
    images = [image for image, _ in samples]
    for index, image in enumerate(images):
        if not isinstance(image, Tensor):
            raise TypeError(
                f"sample {index} must hold an image tensor, got {type(image).__name__}; convert it first: an array "
                "(C, H, W) by torch.from_numpy, a picture or an array (H, W, C) by torchvision.transforms.v2.ToImage()"
            )
    return _stacked(images), collated([target for _, target in samples])


def collated(targets: list[Any]) -> Any:
    """Tensors of one size stacked, numbers of Python and numpy as a tensor; else the list."""
    if all(isinstance(target, Tensor) for target in targets):
        return _stacked(targets)
    if all(isinstance(target, (int, float, np.number, np.bool_)) for target in targets):
        return tensor_of([target.item() if isinstance(target, np.generic) else target for target in targets])
    return targets


def _stacked(tensors: list[Tensor]) -> Tensor | list[Tensor]:
    first = tensors[0]
    if any(tensor.shape != first.shape for tensor in tensors):
        return tensors
    stacked = torch.stack([tensor.as_subclass(Tensor) for tensor in tensors])
    return tv_tensors.wrap(stacked, like=first) if isinstance(first, tv_tensors.TVTensor) else stacked
