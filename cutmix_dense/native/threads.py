"""One coarse split of a batch over a few Python threads; the library releases the GIL and has none of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch.utils.data import get_worker_info

__all__ = ["split"]

_SHARE = 2**20
"""Bytes; a thread isn't woken for fewer."""

_pool: tuple[int, ThreadPoolExecutor] | None = None
"""The threads beside the calling one, and how many; made when they are first needed."""


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _threads(count: int) -> ThreadPoolExecutor:
    global _pool
    if _pool is None or _pool[0] < count:
        _pool = (count, ThreadPoolExecutor(count, thread_name_prefix="cutmix_dense"))
    return _pool[1]


def split(work: Callable[[int, int], object], outputs: int, size: int) -> None:
    """Do ``work(first, last)`` for all outputs: at once, or shared by as many threads as torch may use.

    Workers of a DataLoader start no threads.

    Args:
        work: for outputs [first, last).
        outputs: how many there are.
        size: bytes that are written; a megabyte is the least share of a thread.
    """
    parts = min(outputs, size // _SHARE, torch.get_num_threads()) if outputs > 1 else 1
    if parts <= 1 or get_worker_info() is not None:
        work(0, outputs)
        return
    bounds = [part * outputs // parts for part in range(parts + 1)]
    others = [_threads(parts - 1).submit(work, *ends) for ends in pairwise(bounds[1:])]
    work(0, bounds[1])
    for other in others:
        other.result()
