"""How many Python and C calls a function makes: on the host they are the time, and the same on every machine."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable


def count_calls(work: Callable[[], object], warmup: int = 3) -> int:
    """Calls of one run of ``work``, of its own and of all that it calls in this thread; no garbage is collected in it.

    Args:
        work: takes nothing; what it returns is dropped.
        warmup: runs beforehand, which fill what is found only once.
    """
    for _ in range(warmup):
        work()
    calls = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return calls - 1  # of sys.setprofile itself
