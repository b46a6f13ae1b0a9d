"""ClassMix: half of the classes of one image's map, pasted on another image."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cutmix_dense.arrays.host import sent
from cutmix_dense.masks import ClassMask
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.maskmix import plan_of_masks
from cutmix_dense.transforms.pool import Pool

__all__ = ["ClassMix"]


class ClassMix(MixTransform):
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
        if max_classes < 1:
            raise ValueError(f"max_classes must be at least 1, got {max_classes!r}")
        self.rounding = rounding
        self.max_classes = max_classes
        ClassMask(rounding, self.ignore_index, max_classes)  # refuses wrong settings at once

    @classmethod
    def dacs(cls, **common: Any) -> ClassMix:
        """Cross-domain mixing: give source images with their labels, then as many target images with pseudo-labels.

        The second half of the batch comes back mixed with source classes, the first half as it was.

        Source: Tranheden et al., DACS (2021).
        """
        return cls(rounding="ceil", pairing="halves", **common)

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """The partner's chosen classes, where they lie within the base."""
        sampler = ClassMask(self.rounding, self.ignore_index, self.max_classes)
        source, leader = self.draw_pairs(pool, generator)
        draws = sampler.draw(pool.outputs, generator)[leader]
        maps = pool.maps(self.semantic_keys)

        def place(mixed: Int[Tensor, " n"]) -> Bool[Tensor, "n *frame"]:
            return sampler.place(draws[mixed], maps[sent(source[mixed, 1], maps.device)])

        return plan_of_masks(source, pool, place, maps.device)
