"""CowMix and FMix: two images, cut along a free-form mask of noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.checks import interval
from cutmix_dense.masks import CowMask, FourierMask, MaskSampler
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.pool import Pool

__all__ = ["CowMix", "FMix", "MaskMix", "plan_of_masks"]


def plan_of_masks(
    source: Int[Tensor, "b 2"],
    pool: Pool,
    place: Callable[[Int[Tensor, " n"]], Bool[Tensor, "n *frame"]],
    device: torch.device = HOST,
) -> MixPlan:
    """The plan in which partners show where a mask says so, found only for the images that are mixed.

    Args:
        source: base and partner of every output, on the host; -1 for no partner.
        pool: the images.
        place: the masks of some outputs, asked for by their numbers.
        device: where these masks lie, and the plan with them.
    """
    mixed = (source[:, 1] >= 0).nonzero()[:, 0]
    if len(mixed) == len(source):
        owner = place(mixed).view(torch.int8)
    else:
        owner = torch.zeros((len(source), *pool.frame), dtype=torch.int8, device=device)
        if len(mixed):
            owner.index_copy_(0, sent(mixed, device), place(mixed).view(torch.int8))
    return MixPlan.from_map(source, owner, pool.sizes)


class MaskMix(MixTransform):
    """Base of the methods that cut along a noise mask.

    What shows of an object can't be told from its box: boxes need masks here, or ``boxes="estimate"``.
    """

    @abstractmethod
    def sampler(self) -> MaskSampler:
        """The sampler of ``cutmix_dense.masks``, by the settings as they are now."""

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """A mask per sample, in the area that base and partner share."""
        sampler = self.sampler()
        source, leader = self.draw_pairs(pool, generator)
        draws, shared = sampler.draw(pool.outputs, pool.frame, generator), pool.shared(source)

        def place(mixed: Int[Tensor, " n"]) -> Bool[Tensor, "n *frame"]:
            drawn, own = leader[mixed].unique(return_inverse=True)  # pairs that exchange have one mask
            masks = sampler.place(draws.of(drawn), shared[drawn], pool.frame)
            return masks if len(drawn) == len(mixed) else masks[own]

        return plan_of_masks(source, pool, place)


class CowMix(MaskMix):
    """Patches like a cow's: blurred noise, cut at a threshold.

    Args:
        proportion: expected share of the partner, in (0, 1), or (low, high).
        sigma: strength of the blur, pixels, log-uniform in (low, high), at most 1024.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Source: French, Oliver, Salimans, Milking CowMask (2020); see ``masks.CowMask``.
    """

    def __init__(
        self,
        *,
        proportion: float | tuple[float, float] = 0.5,
        sigma: tuple[float, float] = (8.0, 32.0),
        p: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        self.proportion = proportion
        self.sigma = sigma
        self.sampler()  # refuses wrong settings at once

    def sampler(self) -> CowMask:
        """See ``masks.CowMask``."""
        return CowMask(self.proportion, interval(self.sigma, "sigma"))


class FMix(MaskMix):
    """A few smooth blobs: low-frequency Fourier noise, cut to an exact area.

    Args:
        alpha: λ ~ Beta(α, α), the base's share.
        decay: how fast the spectrum falls with frequency.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Source: Harris et al., FMix (2020); see ``masks.FourierMask``.
    """

    def __init__(self, *, alpha: float = 1.0, decay: float = 3.0, p: float = 0.5, **common: Any) -> None:
        super().__init__(p=p, **common)
        self.alpha = alpha
        self.decay = decay
        self.sampler()  # refuses wrong settings at once

    def sampler(self) -> FourierMask:
        """See ``masks.FourierMask``."""
        return FourierMask(self.alpha, self.decay)
