"""Samplers that draw free-form masks: cow patterns, Fourier blobs, classes and lesions of a map.

As for regions, ``draw`` takes every random number (their count depends on shapes alone) and ``place`` is pure. A mask
is True where the partner shows.
"""

from __future__ import annotations

from cutmix_dense.masks.base import MapMask, MaskSampler, NoiseDraws
from cutmix_dense.masks.maps import CarveMask, ClassMask
from cutmix_dense.masks.noise import CowMask, FourierMask

__all__ = ["CarveMask", "ClassMask", "CowMask", "FourierMask", "MapMask", "MaskSampler", "NoiseDraws"]
