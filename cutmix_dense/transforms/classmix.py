"""ClassMix: half of the classes of one image's map, pasted on another image."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from cutmix_dense.masks import ClassMask
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.maskmix import MaskTransform

__all__ = ["ClassMix"]


class ClassMix(MaskTransform):
    """Pixels of half of the partner's classes, chosen anew for every image, go on top of the base.

    The targets hold a semantic map of every image, a label or a pseudo-label made before the plan. ``ignore_index`` is
    no class: it is neither counted nor pasted.

    Args:
        rounding: half of an odd number of classes, ``"floor"`` (ClassMix) or ``"ceil"`` (DACS).
        max_classes: ids of the map must be below it.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    For domain mixing (DACS) see ``dacs``. What shows of an object can't be told from its box: boxes need masks here, or
    ``boxes="estimate"``.

    Raises:
        ValueError: an argument out of range; targets without a map; ids that are too large.

    Source: Olsson et al., ClassMix (2021).
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BCDHW")

    def __init__(
        self,
        *,
        rounding: Literal["floor", "ceil"] = "floor",
        max_classes: int = 256,
        p: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        self.rounding = rounding
        self.max_classes = max_classes
        self.sampler()  # refuses wrong settings at once

    @classmethod
    def dacs(cls, **common: Any) -> ClassMix:
        """Cross-domain mixing: give source images with their labels, then as many target images with pseudo-labels.

        The second half of the batch comes back mixed with source classes, the first half as it was.

        Source: Tranheden et al., DACS (2021).
        """
        return cls(rounding="ceil", pairing="halves", **common)

    def sampler(self) -> ClassMask:
        """See ``masks.ClassMask``."""
        return ClassMask(self.rounding, self.ignore_index, self.max_classes)
