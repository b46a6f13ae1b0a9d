"""Collate samples into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.host import tensor_of


def collate(samples: Sequence[Sequence[Any]]) -> tuple[Tensor | list[Tensor], Any]:
    """Collate (image, target) pairs: tensors of equal size are stacked, others become a list.

    Args:
        samples: items of a dataset: an image (C, H, W), and a target that is a dict, a map (H, W) or a class.

    Raises:
        TypeError: an image isn't a tensor.

    Example:
        >>> images, labels = collate([(torch.zeros(3, 4, 6), 1), (torch.zeros(3, 4, 6), 2)])
        >>> images.shape, labels.tolist()
        (torch.Size([2, 3, 4, 6]), [1, 2])
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
    """Collate targets: stack tensors of equal size, turn numbers into a tensor, else return the list."""
    if all(isinstance(target, Tensor) for target in targets):
        return _stacked(targets)
    if all(isinstance(target, (int, float, np.number, np.bool_)) for target in targets):
        return tensor_of([target.item() if isinstance(target, np.generic) else target for target in targets])
    return targets


def _stacked(tensors: list[Tensor]) -> Tensor | list[Tensor]:
    """Tensors of equal size as one, in their class; else the list."""
    first = tensors[0]
    if any(tensor.shape != first.shape for tensor in tensors):
        return tensors
    stacked = torch.stack([tensor.as_subclass(Tensor) for tensor in tensors])
    return tv_tensors.wrap(stacked, like=first) if isinstance(first, tv_tensors.TVTensor) else stacked
