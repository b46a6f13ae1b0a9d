"""How a run is done, and what comes out of each of its jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from cutmix_dense.cli.benchmarking.machine import last_level_cache
from cutmix_dense.cli.benchmarking.timing import Contender, Timing, busy_core, interleave, threads

FLOOR = "floor: copy_ of the images"
Progress = Callable[[str, int, int], None]


@dataclass
class Settings:
    """How a run is done.

    Attributes:
        repeats: rounds of every job.
        size: side of the images.
        batch: images in a batch.
        objects: boxes per image.
        device: where batches lie.
        threads: of the batch jobs, one after the other; per-sample jobs have one.
        seed: of data and order.
        budget: seconds after which a slow contender leaves a job.
        quick: small rings.
        short: images of one dtype alone.
    """

    repeats: int = 60
    size: int = 640
    batch: int = 16
    objects: int = 20
    device: str = "cpu"
    threads: tuple[int, ...] = (1, 2)
    seed: int = 0
    budget: float = 10.0
    quick: bool = False
    short: bool = False

    @property
    def on_cuda(self) -> bool:
        """Whether batches lie on a CUDA device."""
        return torch.device(self.device).type == "cuda"

    def ring(self, one: int) -> int:
        """Inputs that together have at least 8 times the last-level cache, given the bytes of one."""
        return 3 if self.quick else max(3, -(-8 * last_level_cache(self.device) // one))


@dataclass
class Result:
    """One job's rows.

    Attributes:
        job: its name on the command line.
        title: what was mixed.
        rows: what each contender took, with each number of threads.
        floor: name of the row that others are divided by, "" for none.
        notes: what a reader has to know.
    """

    job: str
    title: str
    rows: list[Timing] = field(default_factory=list)
    floor: str = FLOOR
    notes: list[str] = field(default_factory=list)

    def row(self, name: str, threads: int | None = None) -> Timing | None:
        """The first row of that name (and so many threads) if it was timed."""
        rows = (row for row in self.rows if row.name == name and threads in (None, row.threads))
        return next((row for row in rows if row.seconds), None)

    def ratio(self, row: Timing) -> float:
        """Median over that of the floor with as many threads; NaN without."""
        floor = self.row(self.floor, row.threads)
        return row.median / floor.median if floor and row.seconds else float("nan")


def timed(
    result: Result,
    ours: Sequence[Contender],
    peers: Sequence[Contender],
    ring: int,
    settings: Settings,
    on_progress: Progress | None = None,
    *,
    counts: Sequence[int] = (1,),
    device: str = "cpu",
    beside_busy: bool = False,
    counted: bool = True,
) -> Result:
    """The result with its rows filled in: every contender with each number of threads, on one also its calls.

    With ``beside_busy``, ours run once more, half as often, while another process keeps a core at work.
    """

    def run(contenders: Sequence[Contender], what: str, repeats: int, counted: bool = False) -> list[Timing]:
        def on_round(done: int) -> None:
            if on_progress:
                on_progress(f"{result.title}, {what}", done, repeats)

        on_round(0)
        return interleave(
            contenders,
            ring,
            repeats=repeats,
            device=device,
            budget=settings.budget,
            seed=settings.seed,
            on_round=on_round,
            counted=counted,
        )

    for count in counts:
        with threads(count):
            what = f"{count} thread{'s' * (count > 1)}"
            rows = run([*ours, *peers], what, settings.repeats, counted=counted and count == 1 and device == "cpu")
            if beside_busy:
                with busy_core():
                    beside = run(ours, f"{what}, beside a busy loop", max(2, settings.repeats // 2))
                for row, other in zip(rows, beside):
                    row.beside = other.seconds
        for row in rows:
            row.threads = count
        result.rows += rows
    return result
