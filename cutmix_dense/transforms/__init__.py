"""One class per published method: pairing, sampler and policy. What a plan does to data is below."""

from __future__ import annotations

from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.cutmix import CutMix

__all__ = ["CutMix", "MixTransform"]
