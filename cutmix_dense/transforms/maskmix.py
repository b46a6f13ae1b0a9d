"""MaskMix, CowMix and FMix: the partner shows inside a free-form mask."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.checks import interval
from cutmix_dense.masks import CowMask, FourierMask, MapMask, MaskSampler
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.pool import Pool


class MaskTransform(MixTransform):
    """Base of the methods that cut along a free-form mask; boxes need masks, or ``boxes="estimate"``."""

    @abstractmethod
    def sampler(self) -> MaskSampler | MapMask:
        """The sampler of ``cutmix_dense.masks``, from the current settings."""

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw a mask for every mixed sample, in the area that base and partner share."""
        sampler = self.sampler()
        source, leader = self.draw_pairs(pool, generator)
        mixed = (source[:, 1] >= 0).nonzero()[:, 0]
        device, masks = HOST, None
        if isinstance(sampler, MapMask):
            drawn = sampler.draw(pool.outputs, generator)  # torch would share even these few among threads
            numbers = torch.from_numpy(drawn.numpy()[leader[mixed].numpy()])
            maps = pool.maps(self.semantic_keys)
            device = maps[0].device
            if len(mixed):
                partners = [maps[index] for index in source[mixed, 1].tolist()]
                masks = sampler.place_each(numbers, partners, pool.frame)
        else:
            draws, shared = sampler.draw(pool.outputs, pool.frame, generator), pool.shared(source)
            chosen, own = leader[mixed].unique(return_inverse=True)  # exchanging pairs share one mask
            if len(mixed):
                masks = sampler.place(draws.of(chosen), shared[chosen], pool.frame)
                masks = masks if len(chosen) == len(mixed) else masks[own]
        expected = (len(mixed), *pool.frame)
        if masks is not None and (masks.dtype != torch.bool or tuple(masks.shape) != expected):
            got = f"{masks.dtype} of shape {tuple(masks.shape)}"
            raise ValueError(f"{type(sampler).__name__} must place bool masks of shape {expected}, got {got}")
        if masks is not None and len(mixed) == pool.outputs:
            return MixPlan.from_map(source, masks.view(torch.int8), pool.sizes, check=False)
        owner = torch.zeros((pool.outputs, *pool.frame), dtype=torch.int8, device=device)
        if masks is not None:
            owner.index_copy_(0, sent(mixed, device), masks.view(torch.int8))
        return MixPlan.from_map(source, owner, pool.sizes, check=False)


class MaskMix(MaskTransform):
    """Show the partner inside a mask of any sampler, your own included.

    Boxes need masks, or ``boxes="estimate"``.

    Args:
        mask: a sampler of ``cutmix_dense.masks``: ``CowMask``, ``FourierMask``, ``ClassMask``, ``CarveMask``, or a
            subclass of ``MaskSampler`` (noise) or ``MapMask`` (looks at the partner's map).
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        TypeError: ``mask`` isn't a sampler.
        ValueError: an argument is out of range.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> mix = cd.MaskMix(mask=cd.masks.CowMask(sigma=(4.0, 8.0)), p=1.0)
        >>> mix(torch.rand(2, 3, 32, 48)).shape
        torch.Size([2, 3, 32, 48])
    """

    def __init__(self, *, mask: MaskSampler | MapMask, p: float = 0.5, **common: Any) -> None:
        super().__init__(p=p, **common)
        if not isinstance(mask, (MaskSampler, MapMask)):
            raise TypeError(f"mask must be a sampler of cutmix_dense.masks, got {mask!r}")
        if isinstance(mask, MapMask) and self.layout == "BTCHW":
            raise ValueError(f"mask must not look at maps for layout {self.layout!r}, got {mask!r}")
        self.mask = mask

    def sampler(self) -> MaskSampler | MapMask:
        """The given sampler."""
        return self.mask


class CowMix(MaskTransform):
    """Show the partner in patches like a cow's: blurred noise, cut at a threshold.

    Boxes need masks, or ``boxes="estimate"``.

    Args:
        proportion: expected share of the partner, in (0, 1), or (low, high).
        sigma: strength of the blur, pixels, log-uniform in (low, high), at most 1024.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Source: French, Oliver, Salimans, Milking CowMask (2020); see ``masks.CowMask``.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> maps = torch.tensor([0, 1]).reshape(2, 1, 1).repeat(1, 32, 48)
        >>> _, mixed = cd.CowMix(sigma=(4.0, 8.0), p=1.0)(torch.rand(2, 3, 32, 48), maps)
        >>> 0.2 < float(mixed[0].double().mean()) < 0.8  # share of the partner
        True
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
        self.sampler()  # checks the settings

    def sampler(self) -> CowMask:
        """The ``masks.CowMask`` of these settings."""
        return CowMask(self.proportion, interval(self.sigma, "sigma"))


class FMix(MaskTransform):
    """Show the partner in a few smooth blobs: low-frequency Fourier noise, cut to an exact area.

    Boxes need masks, or ``boxes="estimate"``.

    Args:
        alpha: λ ~ Beta(α, α), the base's share.
        decay: the spectrum falls as 1 / frequency^decay.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Source: Harris et al., FMix (2020); see ``masks.FourierMask``.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> maps = torch.tensor([0, 1]).reshape(2, 1, 1).repeat(1, 32, 48)
        >>> images, mixed = cd.FMix(p=1.0)(maps[:, None].float(), maps)
        >>> torch.equal(images[:, 0].long(), mixed)  # image and map are cut alike
        True
    """

    def __init__(self, *, alpha: float = 1.0, decay: float = 3.0, p: float = 0.5, **common: Any) -> None:
        super().__init__(p=p, **common)
        self.alpha = alpha
        self.decay = decay
        self.sampler()  # checks the settings

    def sampler(self) -> FourierMask:
        """The ``masks.FourierMask`` of these settings."""
        return FourierMask(self.alpha, self.decay)
