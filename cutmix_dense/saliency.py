"""Saliency of images by the spectral residual."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.dtypes import full_precision
from cutmix_dense.arrays.host import HOST, Column, as_tensor, module_of, sent
from cutmix_dense.arrays.shrunk import shrunk_grey

__all__ = ["saliency_peaks", "spectral_residuals"]

_SIDE = 64
"""Side of the small images that the method works on, pixels."""

_SOFTNESS = 2.5
"""Sigma of the last blur, small pixels."""


def spectral_residuals(images: Sequence[Shaped[Tensor, "*_c _h _w"]]) -> Column:
    """Saliency map of each image at 64 × 64, (b, 64, 64).

    The log spectrum less its local mean is what sets an image apart from others; transformed back with the phase and
    blurred, it shows where that lies.

    Args:
        images: any dtype and sizes, one device; channels, and the frames of a clip, are averaged.

    Source: Hou and Zhang, Saliency Detection: A Spectral Residual Approach (2007).

    Example:
        >>> spectral_residuals(torch.rand(2, 3, 48, 72)).shape
        (2, 64, 64)
    """
    small = shrunk_grey([image.detach().as_subclass(Tensor) for image in images], _SIDE)
    module = module_of(small)
    spectrum = module.fft.fft2(small)
    logarithm = module.log(module.clip(module.abs(spectrum), 1e-8, None))
    mean = _weighed(logarithm, (1 / 3,) * 3)
    if module is torch:  # the same in two launches
        residual = spectrum / torch.exp(mean)
    else:
        amplitude, phase = np.exp(logarithm - mean), np.angle(spectrum)
        residual = amplitude * (np.cos(phase) + 1j * np.sin(phase))
    power = module.abs(module.fft.ifft2(residual)) ** 2
    reach = math.ceil(3 * _SOFTNESS)
    weights = [math.exp(-0.5 * (offset / _SOFTNESS) ** 2) for offset in range(-reach, reach + 1)]
    return _weighed(power, tuple(weight / sum(weights) for weight in weights))


def _weighed(fields: Column, weights: tuple[float, ...]) -> Any:
    """Sums of neighbours along both axes, each by its weight; the border is repeated."""
    if isinstance(fields, Tensor) and fields.device.type != "cpu":  # two launches, instead of two per weight and axis
        sums = _sums(weights, fields.shape[1], fields.dtype, fields.device)
        with full_precision(fields.device):
            return torch.bmm(sums.expand(len(fields), -1, -1), fields.flatten(0, 1).mm(sums.T).view(fields.shape))
    return _weighed_along(_weighed_along(fields, weights, 1), weights, 2)


def _weighed_along(fields: Column, weights: Sequence[float], axis: int) -> Any:
    reach, lines = len(weights) // 2, fields.swapaxes(1, axis)
    length = lines.shape[1]
    padded = module_of(fields).concatenate([lines[:, :1]] * reach + [lines] + [lines[:, -1:]] * reach, 1)
    total: Any = sum(padded[:, offset : offset + length] * weight for offset, weight in enumerate(weights))
    return total.swapaxes(1, axis)


@functools.lru_cache(maxsize=16)
def _sums(weights: tuple[float, ...], length: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "n n"]:
    """The matrix of the weighted sums along one axis, on a device."""
    reach = len(weights) // 2
    matrix = np.zeros((length, length))
    for place in range(length):
        near = np.arange(place - reach, place + reach + 1).clip(0, length - 1)
        np.add.at(matrix[place], near, weights)
    return sent(torch.from_numpy(matrix).to(dtype), device)


def saliency_peaks(images: Sequence[Shaped[Tensor, "*_c _h _w"]]) -> Int[Tensor, "b 2"]:
    """The most salient pixel (row, column) of each image.

    Example:
        >>> image = 0.2 * torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
        >>> image[:, 40:44, 70:74] = 1
        >>> row, column = saliency_peaks([image])[0].tolist()
        >>> abs(row - 42) < 6 and abs(column - 72) < 6
        True
    """
    index = as_tensor(spectral_residuals(images).reshape(len(images), -1).argmax(1))
    place = index[:, None] // sent(torch.tensor([_SIDE, 1], device=HOST), index.device) % _SIDE
    step = torch.tensor([image.shape[-2:] for image in images], device=HOST, dtype=torch.float32) / _SIDE
    there = sent(torch.stack([step, step / 2]), index.device)
    return torch.addcmul(there[1], there[0], place).long()  # (place + 0.5) · step, without rounding
