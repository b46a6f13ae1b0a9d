"""Pairing: each image of a batch gets one partner, several, or none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST

__all__ = ["PAIRINGS", "among", "behind", "flip", "halves", "partners", "roll", "shuffle", "swap"]


def roll(batch: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """Pair each image with the one before it, as ``batch.roll(1, 0)`` in torchvision's CutMix; nothing is drawn.

    Args:
        batch: number of images.
        generator: unused; every pairing takes one.

    Returns:
        Index of each image's partner; -1, none, in a batch of one image.

    Example:
        >>> roll(4).tolist()
        [3, 0, 1, 2]
    """
    if batch < 2:
        return _alone(batch)
    return torch.from_numpy(np.arange(-1, batch - 1) % batch)


def shuffle(batch: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """Draw a uniform derangement: every image is a partner once, none is its own.

    Args:
        batch: number of images.
        generator: source of the draw.

    Returns:
        Index of each image's partner; -1, none, in a batch of one image.

    Example:
        >>> sorted(shuffle(4, torch.Generator().manual_seed(0)).tolist())
        [0, 1, 2, 3]
    """
    if batch < 2:
        return _alone(batch)
    own = torch.arange(batch, device=HOST)
    while True:  # a uniform permutation is a derangement with probability ~ 1/e (exactly 1/2 for two images)
        partner = torch.randperm(batch, generator=generator, device=HOST)
        if not bool((partner == own).any()):
            return partner


def swap(batch: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """Draw uniform pairs that exchange: ``partner[partner[i]] == i``.

    Args:
        batch: number of images; if it is odd, the last one has no partner.
        generator: source of the draw.

    Returns:
        Index of each image's partner; -1 for none.

    Example:
        >>> partner = swap(4, torch.Generator().manual_seed(0))
        >>> partner[partner].tolist()
        [0, 1, 2, 3]
    """
    partner = np.full(batch, -1)
    order = torch.randperm(batch - batch % 2, generator=generator, device=HOST).numpy()  # cheaper for a few numbers
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return torch.from_numpy(partner)


def halves(batch: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """Pair the second half of the batch with the first, which stays unmixed (source to target, DACS).

    Args:
        batch: number of images, even: those of the source domain, then as many of the target domain.
        generator: unused; every pairing takes one.

    Raises:
        ValueError: the batch is odd.

    Example:
        >>> halves(4).tolist()
        [-1, -1, 0, 1]
    """
    if batch % 2:
        raise ValueError(f"pairing 'halves' needs an even batch, got {batch} images")
    return torch.cat([_alone(batch // 2), torch.arange(batch // 2, device=HOST)])


def flip(batch: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """Pair the first image with the last, the second with the last but one, as ``batch.flip(0)`` in UniMatch.

    Both images of a pair are mixed, each with a region of its own; in an odd batch, the one in the middle has no
    partner.

    Args:
        batch: number of images.
        generator: unused; every pairing takes one.

    Source: UniMatch-V2, ``unimatch_v2.py``, lines 175 and 176.

    Example:
        >>> flip(5).tolist()
        [4, 3, -1, 1, 0]
    """
    order = torch.arange(batch - 1, -1, -1, device=HOST)
    return torch.where(order == torch.arange(batch, device=HOST), -1, order)


def among(batch: int, pool: int, generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """Pair each of the pool's first ``batch`` images with any other image of the pool, drawn uniformly.

    Args:
        batch: number of images that need a partner.
        pool: number of images to choose from, >= ``batch``.
        generator: source of the draw.

    Returns:
        Index of each image's partner; -1, none, in a pool of one image.

    Example:
        >>> among(1, 2).tolist()  # the only other one
        [1]
    """
    pick = (torch.rand(batch, generator=generator, dtype=torch.float64, device=HOST) * (pool - 1)).long()
    if pool < 2:
        return _alone(batch)
    return pick + (pick >= torch.arange(batch, device=HOST))


def behind(batch: int, pool: int, count: int) -> Int[Tensor, "batch count"]:
    """Pair the pool's first ``batch`` images with those behind them in order, ``count`` each; too few repeat.

    Args:
        batch: number of images that need partners.
        pool: number of images, > ``batch``.
        count: number of partners of each image.

    Example:
        >>> behind(2, 5, 2).tolist()
        [[2, 3], [4, 2]]
    """
    return torch.from_numpy(batch + np.arange(batch * count).reshape(batch, count) % (pool - batch))


def partners(
    pairing: str, batch: int, pool: int, count: int, generator: torch.Generator | None = None
) -> Int[Tensor, "batch count"]:
    """Pair each image with ``count`` partners; too few images repeat, the image itself included.

    Args:
        pairing: a name of ``PAIRINGS``, ``"bank"`` (``among``) or ``"behind"``.
        batch: number of images that need partners.
        pool: number of images to choose from; more than ``batch`` only for ``"bank"`` and ``"behind"``.
        count: number of partners of each image, >= 1.
        generator: source of the draws.

    Returns:
        Index of each partner; -1, none, in a pool of one image.

    Raises:
        ValueError: the pairing is unknown, or gives one partner where several are needed.

    Example:
        >>> partners("roll", 3, 3, 2).tolist()
        [[2, 1], [0, 2], [1, 0]]
    """
    if pairing not in ("bank", "behind") and pairing not in PAIRINGS:
        raise ValueError(f"pairing must be one of {sorted([*PAIRINGS, 'bank'])}, got {pairing!r}")
    if count > 1 and pairing in ("flip", "swap", "halves"):
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
    """No partner for any image."""
    return torch.full((batch,), -1, device=HOST)


PAIRINGS: dict[str, Callable[[int, torch.Generator | None], Tensor]] = {
    "flip": flip,
    "halves": halves,
    "roll": roll,
    "shuffle": shuffle,
    "swap": swap,
}
"""Pairings by the names that transforms take."""
