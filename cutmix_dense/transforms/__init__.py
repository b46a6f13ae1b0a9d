"""One class per published method: its pairing, its sampler and its settings.

This file is the one place where a method is registered; ``cutmix_dense`` itself shows the same names. Modules are
imported when one of their names is first asked for, so that looking at names doesn't load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutmix_dense.transforms.affine import Affine
    from cutmix_dense.transforms.bank import SampleBank
    from cutmix_dense.transforms.base import MixTransform
    from cutmix_dense.transforms.carvemix import CarveMix
    from cutmix_dense.transforms.chain import Chain
    from cutmix_dense.transforms.classmix import ClassMix
    from cutmix_dense.transforms.copypaste import CopyPaste
    from cutmix_dense.transforms.cutmix import CutMix
    from cutmix_dense.transforms.cutout import Cutout
    from cutmix_dense.transforms.gridmix import GridMix, StripeMix
    from cutmix_dense.transforms.instance_bank import InstanceBank
    from cutmix_dense.transforms.maskmix import CowMix, FMix, MaskMix
    from cutmix_dense.transforms.mixup import MixUp
    from cutmix_dense.transforms.mosaic import Mosaic
    from cutmix_dense.transforms.paste_weights import class_weights
    from cutmix_dense.transforms.randommix import RandomMix
    from cutmix_dense.transforms.resizemix import ResizeMix
    from cutmix_dense.transforms.ricap import RICAP
    from cutmix_dense.transforms.saliencymix import SaliencyMix

__all__ = [
    "RICAP",
    "Affine",
    "CarveMix",
    "Chain",
    "ClassMix",
    "CopyPaste",
    "CowMix",
    "CutMix",
    "Cutout",
    "FMix",
    "GridMix",
    "InstanceBank",
    "MaskMix",
    "MixTransform",
    "MixUp",
    "Mosaic",
    "RandomMix",
    "ResizeMix",
    "SaliencyMix",
    "SampleBank",
    "StripeMix",
    "class_weights",
]

_HOMES = {
    "RICAP": "ricap",
    "Affine": "affine",
    "CarveMix": "carvemix",
    "Chain": "chain",
    "ClassMix": "classmix",
    "CopyPaste": "copypaste",
    "CowMix": "maskmix",
    "CutMix": "cutmix",
    "Cutout": "cutout",
    "FMix": "maskmix",
    "GridMix": "gridmix",
    "InstanceBank": "instance_bank",
    "MaskMix": "maskmix",
    "MixTransform": "base",
    "MixUp": "mixup",
    "Mosaic": "mosaic",
    "RandomMix": "randommix",
    "ResizeMix": "resizemix",
    "SaliencyMix": "saliencymix",
    "SampleBank": "bank",
    "StripeMix": "gridmix",
    "class_weights": "paste_weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
