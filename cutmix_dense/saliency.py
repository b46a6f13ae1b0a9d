"""Saliency of images by the spectral residual."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.blur import gaussian_blur
from cutmix_dense.arrays.host import HOST, sent

__all__ = ["saliency_peak", "spectral_residual"]

_SIDE = 64
"""Side of the small image that the method works on, pixels."""


def spectral_residual(image: Shaped[Tensor, "*c h w"]) -> Float[Tensor, "64 64"]:
    """Saliency map of one image at 64 × 64.

    The log spectrum less its local mean is what sets the image apart from others; transformed back with the phase and
    blurred, it shows where that lies.

    Args:
        image: any dtype; channels, and the frames of a clip, are averaged.

    Source: Hou and Zhang, Saliency Detection: A Spectral Residual Approach (2007).

    Example:
        >>> spectral_residual(torch.rand(3, 48, 72)).shape
        torch.Size([64, 64])
    """
    gray = image.detach().as_subclass(Tensor).float().flatten(0, -3).mean(dim=0)[None, None]
    small = torch.nn.functional.interpolate(gray, (_SIDE, _SIDE), mode="bilinear", antialias=True)[0, 0]
    spectrum = torch.fft.fft2(small)
    logarithm = spectrum.abs().clamp(min=1e-8).log()
    padded = torch.nn.functional.pad(logarithm[None, None], (1, 1, 1, 1), mode="replicate")
    mean = torch.nn.functional.avg_pool2d(padded, 3, stride=1)[0, 0]
    residual = torch.polar((logarithm - mean).exp(), spectrum.angle())
    return gaussian_blur(torch.fft.ifft2(residual).abs()[None] ** 2, 2.5)[0]


def saliency_peak(image: Shaped[Tensor, "*c h w"]) -> Int[Tensor, "2"]:
    """The most salient pixel (row, column) of one image.

    Example:
        >>> image = 0.2 * torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
        >>> image[:, 40:44, 70:74] = 1
        >>> row, column = saliency_peak(image).tolist()
        >>> abs(row - 42) < 6 and abs(column - 72) < 6
        True
    """
    height, width = image.shape[-2:]
    index = spectral_residual(image).argmax()
    peak = torch.stack([index // _SIDE, index % _SIDE])
    size = sent(torch.tensor([height, width], device=HOST), peak.device)
    return ((peak + 0.5) * size / _SIDE).long()
