"""Who is mixed with whom: each image of a batch gets a partner from the same batch, or none."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["PAIRINGS", "roll", "shuffle", "swap"]


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
    return torch.arange(batch).roll(1, 0)


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
    own = torch.arange(batch)
    while True:  # a uniform permutation is a derangement with probability ~ 1/e (exactly 1/2 for two images)
        partner = torch.randperm(batch, generator=generator)
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
    partner = _alone(batch)
    order = torch.randperm(batch - batch % 2, generator=generator)
    first, second = order[0::2], order[1::2]
    partner[first] = second
    partner[second] = first
    return partner


def _alone(batch: int) -> Int[Tensor, " batch"]:
    return torch.full((batch,), -1)


PAIRINGS: dict[str, Callable[[int, torch.Generator | None], Tensor]] = {"roll": roll, "shuffle": shuffle, "swap": swap}
"""Pairings by the name that transforms take."""
