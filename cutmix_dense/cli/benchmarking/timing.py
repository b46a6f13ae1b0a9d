"""Contenders timed in turn over a ring of inputs, so that noise and caches treat all of them alike."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import torch

from cutmix_dense.cli.benchmarking.calls import count_calls


@dataclass
class Contender:
    """One row of a job.

    Attributes:
        name: what is timed.
        make: gives the function that is timed: it takes the index of an input in the ring. What it needs is imported
            and prepared here; an ImportError becomes a row "not installed", any other error "can't".
        does: what it does less or otherwise than the job, in words.
        prepare: makes the argument of the timed function from the index instead, untimed: copies of what it overwrites.
        fired: whether a call did its work, from its argument and result; only such calls count.
        per_round: calls in each round.
        warmup: calls beforehand; more than two to fill a cache.
    """

    name: str
    make: Callable[[], Callable[[Any], Any]]
    does: str = ""
    prepare: Callable[[int], Any] | None = None
    fired: Callable[[Any, Any], bool] | None = None
    per_round: int = 1
    warmup: int = 2


@dataclass
class Timing:
    """What a contender took.

    Attributes:
        name: the contender's.
        does: the contender's.
        seconds: one per run that counts.
        runs: all timed runs.
        problem: why there are none; "" if there are.
        threads: how many torch and OpenCV worked with.
        calls: Python and C calls of one run, the mean of three; None if they weren't counted.
        beside: seconds of runs while another process kept a core at work; empty if there were none.
        host: on CUDA, seconds until the host had launched all of a run; empty elsewhere.
        waits: on CUDA, how often one run makes the host wait for the device; None if it wasn't asked.
    """

    name: str
    does: str = ""
    seconds: list[float] = field(default_factory=list)
    runs: int = 0
    problem: str = ""
    threads: int = 1
    calls: int | None = None
    beside: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)
    waits: int | None = None

    @property
    def median(self) -> float:
        """Seconds; NaN if nothing was timed."""
        return statistics.median(self.seconds) if self.seconds else float("nan")

    @property
    def spread(self) -> tuple[float, float]:
        """First and third quartile, seconds."""
        if len(self.seconds) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @property
    def slowed(self) -> float:
        """Median beside a busy loop over the quiet one; NaN if it wasn't run beside one."""
        return statistics.median(self.beside) / self.median if self.beside and self.seconds else float("nan")


def interleave(
    contenders: Sequence[Contender],
    ring: int,
    *,
    repeats: int,
    device: torch.device | str = "cpu",
    budget: float = 20.0,
    seed: int = 0,
    on_round: Callable[[int], None] | None = None,
    counted: bool = False,
) -> list[Timing]:
    """Time every contender ``repeats`` times, in an order drawn anew each round.

    Args:
        contenders: what is timed.
        ring: number of inputs; each run takes the next one, whoever it belongs to, so that none is in the cache.
        repeats: rounds.
        device: where they work; on CUDA a call lasts from one event to the next, and what the host takes and how
            often it waits is told, too.
        budget: seconds after which a slow contender leaves; its rows then say fewer calls.
        seed: of the order.
        on_round: called with the number of rounds done.
        counted: whether to count the calls, too, of all that do their work every time.
    """
    on_cuda = torch.device(device).type == "cuda"
    clock = _cuda_clock if on_cuda else _host_clock
    order, rng = list(range(len(contenders))), random.Random(seed)
    rows = [Timing(contender.name, contender.does) for contender in contenders]
    calls = [_begin(contender, row, ring) for contender, row in zip(contenders, rows)]
    spent, position = [0.0] * len(rows), 0
    for done in range(repeats):
        rng.shuffle(order)
        for index in order:
            contender, row, call = contenders[index], rows[index], calls[index]
            if call is None or (spent[index] > budget and row.seconds):
                continue
            for _ in range(contender.per_round):
                position += 1
                began = time.perf_counter()
                argument = _argument(contender, position % ring)
                try:
                    seconds, host, result = clock(call, argument)
                except Exception as error:
                    row.problem, calls[index] = _problem(error), None
                    break
                row.runs += 1
                if contender.fired is None or contender.fired(argument, result):
                    row.seconds.append(seconds)
                    row.host += host
                del argument, result
                spent[index] += time.perf_counter() - began
        if on_round is not None:
            on_round(done + 1)
    for contender, row, call in zip(contenders, rows, calls):
        if on_cuda and call is not None:
            row.waits = _count_waits(partial(call, _argument(contender, 0)))
        if counted and call is not None and contender.fired is None:
            arguments = [_argument(contender, index % ring) for index in range(3)]
            row.calls = round(statistics.mean(count_calls(partial(call, it), warmup=0) for it in arguments))
    return rows


_SPIN = "import os, sys\nprint(flush=True)\nwhile os.getppid() == int(sys.argv[1]):\n  for _ in range(1000000): pass"


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep a core at work by a process that spins; it ends with the block, or by itself when its parent is gone."""
    command = [sys.executable, "-c", _SPIN, str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()  # from here on it spins
            yield
        finally:
            child.kill()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch (and OpenCV, where it is there) work with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        cv2: Any = import_module("cv2")
    except ImportError:
        cv2 = None
    cv_before = cv2.getNumThreads() if cv2 else 0
    if cv2:
        cv2.setNumThreads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if cv2:
            cv2.setNumThreads(cv_before)


def _begin(contender: Contender, row: Timing, ring: int) -> Callable[[Any], Any] | None:
    """Prepared and called a few times; None, with the reason in the row, if that isn't possible."""
    try:
        call = contender.make()
        for index in range(contender.warmup):
            call(_argument(contender, index % ring))
    except ImportError as error:
        row.problem = f"not installed: {_first_line(error)}"
        return None
    except Exception as error:
        row.problem = _problem(error)
        return None
    return call


def _argument(contender: Contender, index: int) -> Any:
    return index if contender.prepare is None else contender.prepare(index)


def _host_clock(call: Callable[[Any], Any], argument: Any) -> tuple[float, list[float], Any]:
    began = time.perf_counter()
    result = call(argument)
    return time.perf_counter() - began, [], result


def _cuda_clock(call: Callable[[Any], Any], argument: Any) -> tuple[float, list[float], Any]:
    """From an idle device until the last kernel is done: what a launch costs the host is part of it."""
    torch.cuda.synchronize()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    began = time.perf_counter()
    result = call(argument)
    host = time.perf_counter() - began
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3, [host], result


def _count_waits(call: Callable[[], Any]) -> int:
    """How often a call makes the host wait for the device, as torch tells it."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return sum("synchroniz" in str(warning.message) for warning in told)


def _problem(error: Exception) -> str:
    return f"can't: {type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
