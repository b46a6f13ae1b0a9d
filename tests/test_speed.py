"""A guard against slow days: twice the promised limits, kept by the best of a few interleaved runs.

The ring and the rows are those of ``tools/benchmark.py --jobs images boxes boxes-only family --batch 16``, on two
threads.
Nothing was promised for methods that cut along free forms: their limit is twice what they took when last made faster.
"""

from __future__ import annotations

import math
import time

import pytest

from cutmix_dense.kernels import native
from tools.benchmarking.jobs import FLOOR, batch_contenders, boxes_contenders
from tools.benchmarking.machine import last_level_cache
from tools.benchmarking.samples import make_batches
from tools.benchmarking.timing import interleave, threads

pytestmark = [
    pytest.mark.speed,
    pytest.mark.skipif(native.library is None, reason="the times are those of the compiled backend"),
]

BATCH, SIZE, OBJECTS = 16, 640, 20
ROUNDS, RUNS, PATIENCE = 20, 3, 60.0  # while a limit isn't kept: three runs, and more of them for so many seconds
LARGEST_CACHE = 64 * 2**20  # a server's cache would ask for a ring of gigabytes
TIMES_THE_COPY = {
    "ours CutMix, out=": 3.2,
    "ours CutMix + padded boxes, out=": 4.6,
    "ours CutMix + ragged boxes, out=": 5.6,
    "ours CutMix, in place (swap)": 1.2,
    "ours CutMix + ragged boxes, in place (swap)": 2.4,
    "ours CopyPaste, out=": 40.0,
    "ours ClassMix, out=": 64.0,
    "ours CowMix, out=": 155.0,
    "ours FMix, out=": 120.0,
    "ours MixUp, out=": 5.0,
}
AT_THE_EDGE = ("ours CutMix, in place (swap)", "ours CutMix + ragged boxes, in place (swap)")
"""Rows that lie about their limits here, and beyond on other machines: there only twice as much is a failure."""
MILLISECONDS = {"ours, 1 patch": 6.0, "ours, 5 patches": 16.0}


def best_of_runs(contenders, ring, limits, figure):
    """The least figure of every limited row over a few runs, and the reasons of rows that can't be timed."""
    best = dict.fromkeys(limits, math.inf)
    began, runs = time.monotonic(), 0
    with threads(2):
        while any(best[n] > limits[n] for n in limits) and (runs < RUNS or time.monotonic() - began < PATIENCE):
            rows = {row.name: row for row in interleave(contenders, ring, repeats=ROUNDS, seed=runs)}
            best = {name: min(best[name], figure(rows, name)) for name in limits if rows[name].seconds}
            problems = {name: row.problem for name, row in rows.items() if row.problem}
            limits = {name: limits[name] for name in best}
            runs += 1
    return best, problems


@pytest.fixture(scope="module")
def ratios():
    ring = -(-8 * min(last_level_cache(), LARGEST_CACHE) // (BATCH * 3 * SIZE * SIZE))
    batches = make_batches(ring, BATCH, SIZE, OBJECTS)
    jobs = ("family", "images", "boxes")  # a method that has rows in several is timed as in the last
    rows = {c.name: c for job in jobs for c in batch_contenders(job, batches, with_peers=False)}
    chosen = [rows[name] for name in (FLOOR, *TIMES_THE_COPY)]
    return best_of_runs(chosen, ring, TIMES_THE_COPY, lambda rows, name: rows[name].median / rows[FLOOR].median)


@pytest.mark.parametrize("name", TIMES_THE_COPY)
def test_a_batch_costs_a_few_copies(ratios, name):
    best, problems = ratios
    assert name not in problems, problems[name]
    limit = TIMES_THE_COPY[name]
    if name in AT_THE_EDGE and limit < best[name] <= 2 * limit:
        pytest.xfail(f"{best[name]:.2f} times the copy, the limit is {limit}: see docs/benchmark/benchmark.md")
    assert best[name] <= limit


@pytest.fixture(scope="module")
def box_times():
    return best_of_runs(boxes_contenders(64, 40, SIZE), 3, MILLISECONDS, lambda rows, name: 1e3 * rows[name].median)


@pytest.mark.parametrize("name", MILLISECONDS)
def test_boxes_of_64_images(box_times, name):
    best, problems = box_times
    assert not problems
    assert best[name] <= MILLISECONDS[name]
