"""Sources of random numbers: one host generator per call, different on every rank and in every worker."""

from __future__ import annotations

import hashlib
import os
from multiprocessing.context import get_spawning_popen
from typing import Any

import torch

__all__ = ["TellsItsRank", "call_generator", "generator_from", "rank_seed", "seed_from"]

_parent_rank: int | None = None
"""Rank of the process that spawned this one and pickled a transform for it."""


def seed_from(*parts: int | str) -> int:
    """A seed of 63 bits, a hash of ``parts``: equal parts give equal seeds on any machine.

    Example:
        >>> seed_from(0, "epoch", 3) == seed_from(0, "epoch", 3) != seed_from(0, "epoch", 4)
        True
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_from(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by a hash of ``parts``: equal parts give equal draws on any machine.

    Example:
        >>> bool(torch.rand(1, generator=generator_from(1, 2)) == torch.rand(1, generator=generator_from(1, 2)))
        True
    """
    return torch.Generator("cpu").manual_seed(seed_from(*parts))


def rank_seed(drawn: int | None = None) -> int:
    """A seed of 63 bits from a drawn number and the rank; Lightning and MMEngine seed all ranks alike.

    Args:
        drawn: a number from a framework's random state; default one from torch's global generator on the host.

    Example:
        >>> rank_seed(5) == rank_seed(5)
        True
    """
    return seed_from(_drawn() if drawn is None else drawn, _rank())


@torch.compiler.disable
def _drawn() -> int:
    """One number from torch's global generator on the host. Not traced: compiled code would use another generator."""
    return int(torch.randint(2**63 - 1, (), dtype=torch.int64, device="cpu"))


@torch.compiler.disable
def call_generator(generator: torch.Generator | None = None) -> torch.Generator:
    """The generator of one call: the given one, else a private one that ``torch.manual_seed`` makes repeatable.

    The seed of a private one combines a number from torch's global generator on the host, the rank and the loader's
    worker: consecutive calls differ, and so do ranks and workers that are seeded alike.

    Raises:
        TypeError: ``generator`` isn't a generator.
        ValueError: ``generator`` isn't on the CPU, where plans are drawn.

    Example:
        >>> generator = torch.Generator()
        >>> call_generator(generator) is generator
        True
    """
    if generator is None:
        worker = torch.utils.data.get_worker_info()
        return generator_from(_drawn(), _rank(), -1 if worker is None else worker.id)
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    if generator.device.type != "cpu":
        raise ValueError(f"generator must be on the CPU, where plans are drawn; got one on {generator.device}")
    return generator


class TellsItsRank:
    """Mixin for modules that draw in a loader's workers: it brings the rank to spawned workers.

    Forked workers inherit the process group. Spawned ones only get what is pickled, and ``RANK`` if a launcher such as
    torchrun has set it; without either, the workers of all ranks would draw alike.

    Example:
        >>> import pickle
        >>> class Draws(TellsItsRank, torch.nn.Module):
        ...     pass
        >>> "_rank" in Draws().__getstate__()  # only while a worker is being spawned
        False
    """

    def __getstate__(self) -> dict[str, Any]:
        """The attributes, and the rank while a process is being spawned."""
        return dict(self.__dict__) if get_spawning_popen() is None else {**self.__dict__, "_rank": _rank()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes, and keep the parent's rank."""
        global _parent_rank
        state = dict(state)
        _parent_rank = state.pop("_rank", _parent_rank)
        super().__setstate__(state)  # type: ignore[misc]  # of nn.Module


def _rank() -> int:
    """The rank of this process, 0 if nothing says it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return int(os.environ.get("RANK", _parent_rank or 0))
