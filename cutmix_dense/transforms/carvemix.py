"""CarveMix: the partner's lesion, carved out with more or less of its surroundings, on top of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from cutmix_dense.checks import listed, positive, whole
from cutmix_dense.masks import CarveMask
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.maskmix import MaskTransform


class CarveMix(MaskTransform):
    """Paste a lesion of the partner, its mask grown or shrunk by a drawn signed distance.

    Made for aligned volumes (``layout="BCDHW"``), such as brains in a common space: the lesion keeps its place. Targets
    must hold a semantic map of every image. A partner without a lesion leaves the image unmixed. Boxes need masks, or
    ``boxes="estimate"``. Distances are computed on the host and need scipy.

    Args:
        classes: ids of the lesion in the map; None: all but 0 and ``ignore_index``.
        spacing: size of a voxel along each axis (depth, height, width), so that a lesion grows alike in all
            directions; default cubes.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range, or targets lack a map.
        ImportError: scipy isn't installed; raised by the call.

    Source: Zhang et al., CarveMix (2021); see ``masks.CarveMask``.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> maps = torch.zeros(2, 8, 8, 8, dtype=torch.long)
        >>> maps[0, 2:6, 2:6, 2:6] = 1
        >>> scans, maps = cd.CarveMix(p=1.0, layout="BCDHW")(torch.rand(2, 1, 8, 8, 8), maps)
        >>> bool(maps[1].any())  # the second scan got the lesion of the first
        True
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
        given = None if classes is None else listed(classes, "classes", "a sequence of class ids or None")
        self.classes = None if given is None else tuple(whole(index, "classes", least=None) for index in given)
        try:
            self.spacing = None if spacing is None else tuple(positive(float(step), "spacing") for step in spacing)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise ValueError(f"spacing must hold a length above 0 per axis, for all images, got {spacing!r}") from None
        self.sampler()  # checks the settings

    def sampler(self) -> CarveMask:
        """The ``masks.CarveMask`` of these settings."""
        return CarveMask(self.classes, self.ignore_index, self.spacing)
