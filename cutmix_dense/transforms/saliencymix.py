"""SaliencyMix: a region round the partner's saliency peak."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from cutmix_dense.arrays.host import sent
from cutmix_dense.checks import positive
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import beta
from cutmix_dense.regions.base import reach
from cutmix_dense.saliency import saliency_peaks
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.pool import Pool


class SaliencyMix(MixTransform):
    """CutMix with the region round the partner's most salient pixel.

    Saliency is the spectral residual (see ``saliency``), as in OpenCV's contrib modules. Deviation: the official code
    uses the peak of one image for the whole batch; here each partner has its own.

    Args:
        alpha: λ ~ Beta(α, α), > 0; sides √(1−λ) of the image's, rounded as ``BetaBox`` does, clipped at the border.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range.

    Source: Uddin et al., SaliencyMix (2021).

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> images = torch.rand(2, 3, 32, 48)
        >>> mixed = cd.SaliencyMix(p=1.0)(images)
        >>> bool(((mixed == images) | (mixed == images.roll(1, 0))).all())  # pixels of either image, at their place
        True
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BTCHW")

    def __init__(self, *, alpha: float = 1.0, p: float = 0.5, **common: Any) -> None:
        super().__init__(p=p, **common)
        self.alpha = positive(alpha, "alpha")

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw a rectangle per sample round its partner's peak."""
        source, leader = self.draw_pairs(pool, generator)
        side = (1 - beta(pool.outputs, self.alpha, generator)[leader]).sqrt()
        valid = [image[..., :height, :width] for image, (height, width) in zip(pool.images, pool.sizes.tolist())]
        peaks = saliency_peaks(valid)
        shared = pool.shared(source)
        # ``box_around``, but what doesn't hang on the peaks is found on the host, and sent at once
        before, behind = reach(torch, side, shared)
        numbers = torch.stack([shared - 1, -before, behind, shared, shared], dim=1)
        there = sent(numbers, peaks.device)
        centre = torch.minimum(peaks[sent(source[:, 1].clamp(min=0), peaks.device)], there[:, 0])
        rectangles = torch.minimum(centre[:, None] + there[:, 1:3], there[:, 3:]).reshape(len(source), 1, -1)
        return MixPlan.from_rectangles(source, rectangles, pool.sizes, frame=pool.frame)
