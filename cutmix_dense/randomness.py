"""Where random numbers come from: one host generator per call, different on every rank and in every worker."""

from __future__ import annotations

import hashlib
import os
from multiprocessing.context import get_spawning_popen
from typing import Any

import torch

__all__ = ["TellsItsRank", "call_generator", "generator_from", "rank_seed", "seed_from"]

_told: int | None = None
"""The rank of the process that has spawned this one and sent it a transform."""


def seed_from(*parts: int | str) -> int:
    """An integer of 63 bits, a hash of ``parts``: equal parts give the equal seed, on any machine."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_from(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by a hash of ``parts``: equal parts give equal draws, on any machine."""
    return torch.Generator("cpu").manual_seed(seed_from(*parts))


def rank_seed(drawn: int | None = None) -> int:
    """A seed of 63 bits from a number that a framework's random state gave; another one on every rank.

    Lightning and MMEngine seed all ranks alike, so the rank has to count.

    Args:
        drawn: the number; default one from torch's global generator on the host.
    """
    return seed_from(_drawn() if drawn is None else drawn, _rank())


@torch.compiler.disable
def _drawn() -> int:
    """One number of torch's global generator on the host. Not traced: compiled code would draw from another one."""
    return int(torch.randint(2**63 - 1, (), dtype=torch.int64, device="cpu"))


def call_generator(generator: torch.Generator | None = None) -> torch.Generator:
    """The generator of one call: the given one, else a private one, so that ``torch.manual_seed`` repeats the call.

    A private one is seeded from one number that torch's global generator on the host draws, as its samplers do, with
    the rank and the loader's worker: consecutive calls differ, and so do ranks and workers that are seeded alike.

    Raises:
        TypeError: something else than a generator.
        ValueError: a generator of a device: plans are drawn on the host.
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
    """Mixin of what draws in a loader's workers: it takes the rank along to those that are spawned.

    Forked workers know the process group of the rank they belong to. A spawned one knows what is pickled for it, and
    ``RANK`` where a launcher like torchrun has set it: with neither, the workers of all ranks would draw alike.
    """

    def __getstate__(self) -> dict[str, Any]:
        """The attributes; on the way to a new process the rank, too."""
        return dict(self.__dict__) if get_spawning_popen() is None else {**self.__dict__, "_rank": _rank()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the attributes, and remember the rank."""
        global _told
        state = dict(state)
        _told = state.pop("_rank", _told)
        super().__setstate__(state)  # type: ignore[misc]  # of nn.Module


def _rank() -> int:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return int(os.environ.get("RANK", _told or 0))
