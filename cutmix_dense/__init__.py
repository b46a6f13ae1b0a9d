"""Mixing augmentations for object detection and segmentation.

One plan says who owns each output pixel; images, boxes, masks, keypoints, semantic maps and labels follow it.

Names are imported when they are first asked for, so that looking at a folder of data doesn't load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cutmix_dense import transforms

if TYPE_CHECKING:
    from cutmix_dense import functional, masks, pairing, recipes, regions
    from cutmix_dense.functional import FilterRule, MixReport
    from cutmix_dense.native import backends
    from cutmix_dense.plan import MixPlan
    from cutmix_dense.transforms import *  # noqa: F403

__version__ = "0.1.0"

__all__ = [
    "FilterRule",
    "MixPlan",
    "MixReport",
    "__version__",
    "backends",
    "functional",
    "masks",
    "pairing",
    "recipes",
    "regions",
]
__all__ += transforms.__all__

_MODULES = ("functional", "masks", "pairing", "recipes", "regions")
_HOMES = {"FilterRule": "functional", "MixReport": "functional", "MixPlan": "plan", "backends": "native"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'transforms')}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
