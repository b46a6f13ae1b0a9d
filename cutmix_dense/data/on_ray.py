"""The samples of a mixed copy, made by Ray Data on more than one machine.

Ray hands out jobs and brings back small records; pixels go from the dataset to the output on the machine that mixes
them. Therefore every machine must see both folders at the same paths.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import socket
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import cutmix_dense
from cutmix_dense.data.copy_work import Job, Work
from cutmix_dense.data.errors import DatasetError, MixError
from cutmix_dense.extras import require

BLOCKS_PER_WORKER = 50
"""Jobs are handed out in blocks, at least so many for a worker: the last blocks end together, and progress shows."""

JOBS_PER_BLOCK = 64
"""At most; more would make Ray's share of the time no smaller."""

RESTARTS = 3
"""How often a worker that was lost is replaced, on a cluster."""


def do_on_ray(
    work: Work, jobs: Sequence[Job], workers: int, address: str, stamp: Path
) -> Generator[dict[str, Any], None, None]:
    """Do `jobs` on Ray; the records come in the order in which blocks of jobs get done.

    Args:
        work: what every worker needs; pickled once, opened once per worker.
        jobs: what to do.
        workers: processes of one CPU each; 0 takes every CPU that Ray has.
        address: "local", "auto" or "host:port" of a cluster.
        stamp: a file in the output folder by which a worker knows that it sees the same folder.

    Raises:
        ValueError: no cluster at `address`.
        DatasetError: a machine does not see the dataset or the output, or has another version of this package.
        MixError: the work cannot be pickled, or Ray lost its workers.
        ImportError: without the extra "ray".
    """
    ray, data = require("ray", "ray"), require("ray.data", "ray")
    try:
        # By value what was defined in a script; the driver's folder, so that relative paths mean the same.
        content = require("ray.cloudpickle", "ray").dumps(work)
    except Exception as error:
        raise MixError(f"the dataset or the transform cannot be sent to Ray's workers: {error}") from error
    with _connected(ray, address, workers), _quiet(data):
        pickled = ray.put(content)  # kept here as long as workers may ask for it
        count = workers or int(ray.cluster_resources().get("CPU", 1))
        count = min(count, len(jobs))
        size = max(1, min(JOBS_PER_BLOCK, len(jobs) // (count * BLOCKS_PER_WORKER)))
        items = data.from_items([asdict(job) for job in jobs], override_num_blocks=-(-len(jobs) // size))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray 2.60 has no newer way to say max_restarts, and warns of this one
            done = items.map(
                _Worker,
                fn_constructor_args=(pickled, os.getcwd(), str(stamp), stamp.read_bytes(), _version()),
                compute=data.ActorPoolStrategy(size=count),
                num_cpus=1,
                # One machine: as elsewhere, a lost worker ends the run. More: they come and go, but a sample that kills
                # whoever tries it must not be tried for ever, as is Ray's default.
                max_restarts=0 if address == "local" else RESTARTS,
            )
        try:
            with closing(iter(done.iter_rows())) as rows:
                for row in rows:
                    record = json.loads(row["record"])
                    if "unfit" in record:
                        raise DatasetError(record["unfit"])
                    yield record
        except ray.exceptions.RayError as error:
            told = [line for line in str(error).splitlines() if line.strip()]
            raise MixError(f"Ray: {told[-1].strip() if told else type(error).__name__}") from error


class _Worker:
    """One process of Ray, which keeps the dataset open.

    Whatever goes wrong is told in a record: an exception would be wrapped in Ray's own and tried again.
    """

    def __init__(self, pickled: Any, folder: str, stamp: str, content: bytes, version: str) -> None:
        import ray

        torch.set_num_threads(1)
        with suppress(OSError):  # not there: only paths that are absolute can be meant
            os.chdir(folder)
        self.work: Work = pickle.loads(ray.get(pickled))
        self.unfit = _unfit(self.work, Path(stamp), content, version)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        record = {"unfit": self.unfit} if self.unfit else self.work.do(Job(**row))
        return {"record": json.dumps(record)}  # as text: a table of Arrow has one type per column


def _unfit(work: Work, stamp: Path, content: bytes, version: str) -> str:
    """Why this machine cannot take part, or ""; without this, what it does not see would count as broken files."""
    if _version() != version:
        return f"{socket.gethostname()} has {_version()}, the machine that lists the samples {version}"
    try:
        same = stamp.read_bytes() == content
    except OSError:
        same = False
    unseen = [str(path) for path, seen in ((work.dataset.root, work.dataset.root.is_dir()), (stamp, same)) if not seen]
    if unseen:
        return f"{socket.gethostname()} does not see {' nor '.join(unseen)}: every machine must, at the same path"
    return ""


def _version() -> str:
    return f"cutmix_dense {cutmix_dense.__version__}"


@contextmanager
def _connected(ray: Any, address: str, workers: int) -> Iterator[None]:
    """A Ray to work with; what was begun here is ended here."""
    if ray.is_initialized():
        yield
        return
    settings: dict[str, Any] = {}
    variables: dict[str, str] = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    if address == "local":
        settings = {"num_cpus": workers or None, "include_dashboard": False}
        # Its processes inherit it: workers find the package where it is not installed, too.
        package = str(Path(cutmix_dense.__file__).parents[1])
        variables["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        try:  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise ValueError(f"ray: no cluster at {address!r}: {error}") from error
    main = threading.current_thread() is threading.main_thread()
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        try:
            with _environment(variables):
                ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            told = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"ray: no cluster at {address!r}: {told[0]}") from error
        yield
    finally:
        ray.shutdown()
        if main:
            signal.signal(signal.SIGTERM, on_term)  # ray.init sets its own


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for as long as it lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """No progress bars and reports of Ray Data: the caller shows the progress."""
    context = data.DataContext.get_current()
    settings = {"enable_progress_bars": False, "print_on_execution_start": False}
    before = {name: getattr(context, name) for name in settings if hasattr(context, name)}
    logger = logging.getLogger("ray.data")
    level = logger.level
    for name in before:
        setattr(context, name, settings[name])
    logger.setLevel(logging.CRITICAL)  # what fails is raised as well
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)
