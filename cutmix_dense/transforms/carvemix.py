"""CarveMix: the partner's lesion, carved out with more or less of what is round it, on top of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from cutmix_dense.checks import positive
from cutmix_dense.masks import CarveMask
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.maskmix import MaskTransform

__all__ = ["CarveMix"]


class CarveMix(MaskTransform):
    """A lesion of the partner, by its mask made smaller or larger by a drawn signed distance, goes on top of the base.

    Made for volumes (``layout="BCDHW"``) that are aligned, as brains in a common space are: the lesion keeps its place.
    The targets hold a semantic map of every image. A partner without a lesion leaves the image unmixed.

    Args:
        classes: ids of the map that are the lesion; None: all but 0 and ``ignore_index``.
        spacing: size of a voxel along each axis (depth, height, width), so that a lesion grows alike in all
            directions; default cubes.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Needs scipy, for the distance, which is found on the host. What shows of an object can't be told from its box: boxes
    need masks here, or ``boxes="estimate"``.

    Raises:
        ValueError: an argument out of range; targets without a map.
        ImportError: at the call, without scipy.

    Source: Zhang et al., CarveMix (2021); see ``masks.CarveMask``.
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BCDHW")

    def __init__(
        self,
        *,
        classes: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
        p: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        self.classes = None if classes is None else tuple(int(index) for index in classes)
        self.spacing = None if spacing is None else tuple(positive(step, "spacing") for step in spacing)
        self.sampler()  # refuses wrong settings at once

    def sampler(self) -> CarveMask:
        """See ``masks.CarveMask``."""
        return CarveMask(self.classes, self.ignore_index, self.spacing)
