"""One class per published method: its pairing, its sampler and its settings."""

from __future__ import annotations

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
