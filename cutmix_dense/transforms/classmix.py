"""ClassMix: half of the classes of the partner's map, pasted on the image."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from cutmix_dense.masks import ClassMask
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.maskmix import MaskTransform


class ClassMix(MaskTransform):
    """Paste the pixels of half of the partner's classes, drawn for each image.

    Targets must hold a semantic map of every image: labels, or pseudo-labels made beforehand. ``ignore_index`` is
    neither counted nor pasted. Boxes need masks, or ``boxes="estimate"``. For domain mixing (DACS) see ``dacs``.

    Args:
        rounding: of half an odd number of classes: ``"floor"`` (ClassMix) or ``"ceil"`` (DACS).
        max_classes: ids of the map must be below this.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range, targets lack a map, or an id is too large.

    Source: Olsson et al., ClassMix (2021).

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> maps = torch.tensor([[[0, 1, 2, 3]], [[4, 5, 6, 7]]])
        >>> images, mixed = cd.ClassMix()(maps[:, None].float(), maps)
        >>> (mixed == maps).sum(dim=(1, 2)).tolist()  # two of four classes came
        [2, 2]
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
        self.sampler()  # checks the settings

    @classmethod
    def dacs(cls, **common: Any) -> ClassMix:
        """Cross-domain mixing: a batch holds source images with labels, then as many target images with pseudo-labels.

        Source classes are pasted on the second half of the batch; the first half comes back unmixed.

        Source: Tranheden et al., DACS (2021).
        """
        return cls(rounding="ceil", pairing="halves", **common)

    def sampler(self) -> ClassMask:
        """The ``masks.ClassMask`` of these settings."""
        return ClassMask(self.rounding, self.ignore_index, self.max_classes)
