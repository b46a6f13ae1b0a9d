"""One coarse split of a batch over a few Python threads; the library releases the GIL and has none of its own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise

import torch
from torch.utils.data import get_worker_info

_SHARE = 2**20
"""Bytes; a thread isn't woken for fewer."""

_PARTS = 4
"""How many parts there are for each thread, to be taken one by one."""

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

    They take a few outputs at a time, the calling thread too, until none is left. So a thread that sleeps, or whose
    core is busy, holds nobody up: the others do its part, and it isn't waited for where it hasn't begun.

    Workers of a DataLoader start no threads.

    Args:
        work: for outputs [first, last).
        outputs: how many there are.
        size: bytes that are written; a megabyte is the least share of a thread.
    """
    threads = min(outputs, size // _SHARE, torch.get_num_threads()) if outputs > 1 else 1
    if threads <= 1 or get_worker_info() is not None:
        work(0, outputs)
        return
    parts = min(outputs, _PARTS * threads)
    left = deque(pairwise([part * outputs // parts for part in range(parts + 1)]))

    def take() -> None:
        while left:
            try:
                ends = left.popleft()
            except IndexError:  # another thread took the last one
                return
            work(*ends)

    pool = _threads(threads - 1)
    others = [pool.submit(take) for _ in range(threads - 1)]
    try:
        take()
    finally:
        left.clear()
        begun = [other for other in others if not other.cancel()]
        wait(begun)
    for other in begun:
        other.result()
