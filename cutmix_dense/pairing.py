"""Who is mixed with whom: each image of a batch gets a partner, or several, or none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST

__all__ = ["PAIRINGS", "among", "behind", "halves", "partners", "roll", "shuffle", "swap"]


def roll(batch: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """The image before it, as ``batch.roll(1, 0)`` in torchvision's CutMix; nothing is drawn.

    Args:
        batch: number of images.
        generator: not used; every pairing takes one.

    Returns:
        Index of each image's partner; -1 for none, when the batch has only one image.
    """
    if batch < 2:
        return _alone(batch)
    return torch.from_numpy(np.arange(-1, batch - 1) % batch)


def shuffle(batch: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """A derangement drawn uniformly: every image is a partner once, none is its own.

    Args:
        batch: number of images.
        generator: source of the draw.

    Returns:
        Index of each image's partner; -1 for none, when the batch has only one image.
    """
    if batch < 2:
        return _alone(batch)
    own = torch.arange(batch, device=HOST)
    while True:  # a uniform permutation is a derangement with probability ~ 1/e (exactly 1/2 for two images)
        partner = torch.randperm(batch, generator=generator, device=HOST)
        if not bool((partner == own).any()):
            return partner


def swap(batch: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """Pairs that exchange: ``partner[partner[i]] == i``, drawn uniformly.

    Args:
        batch: number of images; of an odd number the last one has no partner.
        generator: source of the draw.

    Returns:
        Index of each image's partner; -1 for none.
    """
    partner = np.full(batch, -1)
    order = torch.randperm(batch - batch % 2, generator=generator, device=HOST).numpy()  # which costs less on a few
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return torch.from_numpy(partner)


def halves(batch: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """The second half of the batch takes its partners from the first, which stays unmixed (source to target, DACS).

    Args:
        batch: number of images, even: first those of the source domain, then as many of the target domain.
        generator: not used; every pairing takes one.

    Raises:
        ValueError: an odd batch.
    """
    if batch % 2:
        raise ValueError(f"pairing 'halves' needs an even batch, got {batch} images")
    return torch.cat([_alone(batch // 2), torch.arange(batch // 2, device=HOST)])


def among(batch: int, pool: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """Any other image of a pool, uniformly: the pool's first ``batch`` images are those that look for a partner.

    Args:
        batch: number of images.
        pool: number of images to choose from, >= ``batch``.
        generator: source of the draw.

    Returns:
        Index of each image's partner; -1 for none, when there is no other image.
    """
    pick = (torch.rand(batch, generator=generator, dtype=torch.float64, device=HOST) * (pool - 1)).long()
    if pool < 2:
        return _alone(batch)
    return pick + (pick >= torch.arange(batch, device=HOST))


def behind(batch: int, pool: int, count: int) -> Int[Tensor, "batch count"]:
    """The images behind the outputs, in order, ``count`` for each; they repeat where they are too few.

    Args:
        batch: number of images that get partners, the pool's first.
        pool: number of images, > ``batch``.
        count: partners of each image.
    """
    return torch.from_numpy(batch + np.arange(batch * count).reshape(batch, count) % (pool - batch))


def partners(
    pairing: str, batch: int, pool: int, count: int, generator: torch.Generator | None = None
) -> Int[Tensor, "batch count"]:
    """Several partners of each image; where there are too few images they repeat, the image itself included.

    An image that is alone has no partner, -1.

    Args:
        pairing: a name of ``PAIRINGS``; ``"bank"``: any other image of the pool; or ``"behind"``: see there.
        batch: number of images that look for partners.
        pool: number of images to choose from; more than ``batch`` only for ``"bank"`` and ``"behind"``.
        count: partners of each image, >= 1.
        generator: source of the draws.

    Raises:
        ValueError: an unknown pairing, or one that is made for single partners.
    """
    if pairing not in ("bank", "behind") and pairing not in PAIRINGS:
        raise ValueError(f"pairing must be one of {sorted([*PAIRINGS, 'bank'])}, got {pairing!r}")
    if count > 1 and pairing in ("swap", "halves"):
        raise ValueError(f"pairing {pairing!r} gives one partner, {count} are needed: use 'roll', 'shuffle' or 'bank'")
    if pool == 1:
        return torch.full((batch, count), -1, device=HOST)
    if pairing == "behind":
        return behind(batch, pool, count)
    if pairing == "bank":
        return torch.stack([among(batch, pool, generator) for _ in range(count)], dim=1)
    if pairing == "roll" and count > 1:
        return (torch.arange(batch, device=HOST)[:, None] - torch.arange(1, count + 1, device=HOST)) % max(batch, 1)
    if count == 1:
        return PAIRINGS[pairing](batch, generator)[:, None]
    return torch.stack([PAIRINGS[pairing](batch, generator) for _ in range(count)], dim=1)


def _alone(batch: int) -> Int[Tensor, " batch"]:
    return torch.full((batch,), -1, device=HOST)


PAIRINGS: dict[str, Callable[[int, torch.Generator | None], Tensor]] = {
    "halves": halves,
    "roll": roll,
    "shuffle": shuffle,
    "swap": swap,
}
"""Pairings by the name that transforms take."""
