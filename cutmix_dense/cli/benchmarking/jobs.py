"""The jobs by name, and a run of some of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from cutmix_dense.cli.benchmarking import peers
from cutmix_dense.cli.benchmarking.batches import BATCH_JOBS, batch_job, sync_job
from cutmix_dense.cli.benchmarking.loader import loader_job
from cutmix_dense.cli.benchmarking.per_sample import sample_job
from cutmix_dense.cli.benchmarking.results import Progress, Result, Settings

JOBS: dict[str, Callable[[str, Settings, Progress | None], Iterator[Result]]] = {
    **dict.fromkeys(BATCH_JOBS, batch_job),
    "sample": sample_job,
    "sample-masks": sample_job,
    "loader": loader_job,
    "syncs": sync_job,
}
"""Jobs by name, in the order they are done; ``syncs`` is for CUDA devices."""


def run_jobs(names: Sequence[str], settings: Settings, on_progress: Progress | None = None) -> Iterator[Result]:
    """Do the jobs, one result each as it is there."""
    torch.manual_seed(settings.seed)
    np.random.seed(settings.seed)  # noqa: NPY002  peers draw from it
    random.seed(settings.seed)
    peers.quiet()
    for name in names:
        yield from JOBS[name](name, settings, on_progress)
