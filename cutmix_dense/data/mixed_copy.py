"""A mixed copy of a dataset on disk, in the dataset's own layout or in another.

Every output sample is made from (seed, copy, index) alone: its partners, its plan and its files are the same on any
number of workers and machines, in any order, before and after an interruption. Samples are staged one by one and
listed last, by `cutmix_dense.data.writers`; beside the data lies ``mixed_copy.<split>.json``, which says how it was
made, from what, what became of the instances, and which files could not be read.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from cutmix_dense.data.copy_folder import check_output
from cutmix_dense.data.copy_lock import only_writer, remove_ended
from cutmix_dense.data.copy_report import CopyReport, summary
from cutmix_dense.data.copy_stamp import begin, copy_parameters
from cutmix_dense.data.copy_work import Job, Work, indented_json, read_record
from cutmix_dense.data.cut_outs import check_banks
from cutmix_dense.data.errors import DatasetError, MixError, SampleError
from cutmix_dense.data.files import write_atomic
from cutmix_dense.data.readers import READERS, DenseDataset, open_dataset
from cutmix_dense.data.readers.layouts import reader_of
from cutmix_dense.data.writers import Writer
from cutmix_dense.extras import require


def mix_dataset(
    dataset: DenseDataset,
    output: str | Path,
    transform: Any,
    *,
    copies: int = 1,
    seed: int = 0,
    workers: int = 0,
    with_originals: bool = False,
    limit: int | None = None,
    pool: int | None = None,
    quality: int = 95,
    split: str | None = None,
    to: str | None = None,
    ray: str | None = None,
    on_progress: Callable[[int, int, dict[str, Any] | None], None] | None = None,
) -> CopyReport:
    """Write a mixed copy of `dataset` to `output`; a run that was interrupted goes on where it stopped.

    Of one split of a copy there is one writer at a time: a second run is told who writes.

    Each sample of the copy is one mix of its base with `pool` - 1 partners. A file that
    cannot be read costs the samples it is the base of; as a partner it is replaced by the next choice. Both are
    reported. Instances and segments that the transform moves to ``target["ignored"]`` are written as crowds
    (`difficult` in VOC).

    With `ray` the samples are made by Ray Data, on as many machines as the cluster has, and listed by this process.
    Every machine must see the dataset and `output` at the same paths, as on NFS, and have the same versions of this
    package and of what it uses. The copy is the local run's, byte for byte; each can go on where the other stopped.

    Args:
        dataset: what to mix, best opened by :func:`open_complete`.
        output: folder of the copy; new, empty, begun by the same call, or holding copies of other splits.
        transform: a transform of this package, called with lists, `generator=` and `return_report=True`.
        copies: mixed samples per image, >= 1 (0 with `with_originals`).
        seed: of partners and plans.
        workers: processes; 0 works in this one, or, with `ray`, takes every CPU that Ray has. The copy does not depend
            on it.
        with_originals: copy the unmixed samples, too.
        limit: take only the first so many images of the dataset, as bases and as partners.
        pool: images per mix, the base among them; default: as many as the transform takes.
        quality: JPEG quality, 1–100.
        split: name of the split in the copy; default: the dataset's.
        to: layout of the copy; default: the dataset's.
        ray: None works on this machine alone. "local" starts a Ray of `workers` CPUs here and stops it at the end,
            "auto" takes the cluster this machine belongs to, "host:port" the cluster of that head node. A Ray that
            this process has begun before is used as it is. Needs the extra "ray".
        on_progress: called with (done, total, record) at the start and after every sample.

    Returns:
        The report, which also lies in the output as ``mixed_copy.<split>.json``.

    Raises:
        ValueError: an argument out of range, a layout that is only read or that has no place for such samples; a bank
            of cut-outs of other classes; no Ray cluster at the address.
        DatasetError: an output that belongs to something else, was begun with other parameters, or is being written by
            another run; no sample at all could be made; a machine of the cluster does not see the dataset or the
            output.
        MixError: the transform raised something else than ValueError, or a worker was lost.
        ImportError: `ray` without the extra.
    """
    for name, value, least in (("copies", copies, 0 if with_originals else 1), ("workers", workers, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be in 1..100, got {quality}")
    if pool is not None and pool < 1:
        raise ValueError(f"pool must be at least 1, got {pool}")
    if ray is not None:
        if not ray or ray.startswith("ray://"):
            raise ValueError(f'ray must be "local", "auto" or the "host:port" of a head node, got {ray!r}')
        require("ray.data", "ray")
    kind = reader_of(to or dataset.layout).writer
    if kind is None:
        writable = tuple(name for name, reader in READERS.items() if reader.writer is not None)
        given = f"this dataset is {dataset.layout!r}" if to is None else f"got {to!r}"
        raise ValueError(f"to must be one of {writable}, {given}, which is only read")
    length = len(dataset) if limit is None else min(limit, len(dataset))
    if length == 0:
        raise DatasetError(f"{dataset.root}: the split {dataset.split!r} lists no image")
    check_banks(dataset, transform)
    root, split = Path(output), split or dataset.split
    check_output(root, dataset)
    pool = transform.partners + 1 if pool is None else pool
    writer = kind.like(dataset, root, split, quality)  # what it refuses leaves no folder behind
    jobs = _jobs(_stems(dataset, length, writer), range(-1 if with_originals else 0, copies), writer)
    parameters = copy_parameters(dataset, length, transform, copies, seed, pool, with_originals, quality, kind.layout)
    stamp = root / f"mixed_copy.{split}.json"
    records = root / f".mixed_copy.{split}"
    if begin(root, stamp, parameters):
        remove_ended(root, split)
        return _found_finished(dataset, writer, stamp, records, len(jobs), on_progress)
    with only_writer(root, split):
        if begin(root, stamp, parameters):  # another run has ended since
            return _found_finished(dataset, writer, stamp, records, len(jobs), on_progress)
        made, skipped = _recorded(jobs, records)
        done = {key: record for key, record in made.items() if writer.has(key)}
        if len(done) < len(made) and _is_listed(root, writer, len(made)):
            writer.discard()  # an earlier run had listed its samples; only its report is missing
            _close(root, split, stamp, summary(parameters, jobs, made, skipped, writer.made_anew), records)
            return _finished(dataset, writer, stamp, len(made))
        pending = [job for job in jobs if job.key not in done]
        resumed = len(done)
        work = Work(dataset, writer, transform, records, seed, pool, length)
        if on_progress is not None:
            on_progress(len(done), len(jobs), None)
        skipped = []  # they get another try
        with _telling_of_lost_workers(), closing(_hand_out(work, pending, workers, ray, stamp)) as made_now:
            for finished, record in enumerate(made_now, start=1):
                if "failed" in record:
                    with_whom = ", ".join(record.get("partners", []))
                    raise MixError(f"{record['base']}{f' with {with_whom}' if with_whom else ''}: {record['failed']}")
                if "skipped" in record:
                    skipped.append(record)
                else:
                    done[record["sample"]] = record
                if on_progress is not None:
                    on_progress(resumed + finished, len(jobs), record)
        if not done:
            reasons = {record["sample"]: record["skipped"] for record in skipped}
            first = next(reasons[job.key] for job in jobs if job.key in reasons)
            raise DatasetError(
                f"none of the {len(jobs)} samples could be made; the first: {first['file']}: {first['reason']}"
            )
        writer.finish([job.key for job in jobs if job.key in done])
        _close(root, split, stamp, summary(parameters, jobs, done, skipped, writer.made_anew), records)
        return _finished(dataset, writer, stamp, resumed)


def _found_finished(
    dataset: DenseDataset,
    writer: Writer,
    stamp: Path,
    records: Path,
    count: int,
    on_progress: Callable[[int, int, dict[str, Any] | None], None] | None,
) -> CopyReport:
    """The report of a copy that an earlier run finished, which may have been killed as it tidied up."""
    _tidy(writer.root, writer.split, records)
    if on_progress is not None:
        on_progress(count, count, None)
    return _finished(dataset, writer, stamp, count)


def _hand_out(
    work: Work, jobs: Sequence[Job], workers: int, ray: str | None, stamp: Path
) -> Generator[dict[str, Any], None, None]:
    """The records of `jobs` as they are made: in this process, in `workers` of them, or by Ray."""
    if not jobs:
        return
    if ray is not None:
        from cutmix_dense.data.on_ray import do_on_ray

        yield from do_on_ray(work, jobs, workers, ray, stamp)
    elif workers == 0:
        yield from map(work.do, jobs)
    else:
        yield from DataLoader(
            _Jobs(work, jobs),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=4,
            worker_init_fn=_start_worker,
            collate_fn=_unchanged,
            generator=torch.Generator(),  # leaves the global random state alone
        )


@dataclass
class _Jobs(Dataset[dict[str, Any]]):
    """The jobs for a DataLoader: reading an item does it."""

    work: Work
    jobs: Sequence[Job]

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, number: int) -> dict[str, Any]:
        _die_with_parent()
        return self.work.do(self.jobs[number])


def _die_with_parent() -> None:
    """A worker whose main process was killed stops before it writes into the folder of the run that resumes."""
    parent = multiprocessing.parent_process()
    if get_worker_info() is not None and parent is not None and not parent.is_alive():
        os._exit(1)


@contextmanager
def _telling_of_lost_workers() -> Generator[None, None, None]:
    """MixError where a worker is killed: torch raises it from a signal handler, wherever this process happens to be."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        told = "a worker was killed, by the system if memory ran out"
        raise MixError(f"{told}; finished samples are kept, and the same call continues from there") from error


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # else `_die_with_parent` alone, before the next sample
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _unchanged(record: Any) -> Any:
    return record


def _stems(dataset: DenseDataset, length: int, writer: Writer) -> list[str]:
    """What the samples of every image are called after: its file, and its index where folders hold equal names."""
    names = []
    for index in range(length):
        try:
            path = dataset.image_path(index)
        except SampleError:
            names.append(f"sample{index}")  # never written: reading it fails, too
            continue
        stem = writer.stem_of(path).lstrip(".") or f"sample{index}"
        # File systems take 255 bytes, and endings are still to come.
        names.append(stem if len(stem.encode(errors="surrogatepass")) <= 200 else f"{stem[:40]}-{index}")
    # Case counts for nothing in the file systems of Windows and macOS.
    often = Counter(name.lower() for name in names)
    return [name if often[name.lower()] == 1 else f"{name}-{index}" for index, name in enumerate(names)]


def _jobs(stems: Sequence[str], copies: Iterable[int], writer: Writer) -> list[Job]:
    """The jobs of all copies, -1 being the originals; each has a key that no other, and no other split, has."""
    taken = writer.taken()
    used, jobs = set(taken), []
    for copy in copies:
        for index, stem in enumerate(stems):
            key = stem if copy < 0 else f"{stem}-mix{copy}"
            if key.lower() in taken:
                key = f"{key}-{writer.split}"
            while key.lower() in used:
                key = f"{key}-{index}"
            used.add(key.lower())
            jobs.append(Job(key, copy, index))
    return jobs


def _recorded(jobs: Sequence[Job], records: Path) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """What an earlier run recorded: the samples it made, by key, and those it skipped."""
    paths = {job.key: records / f"{job.key}.json" for job in jobs}
    found = [read_record(path, key) for key, path in paths.items() if path.is_file()]
    made = {record["sample"]: record for record in found if "skipped" not in record}
    return made, [record for record in found if "skipped" in record]


def _is_listed(root: Path, writer: Writer, count: int) -> bool:
    """Whether the copy's own lists name `count` samples."""
    try:
        return len(open_dataset(root, writer.layout, writer.listed_as)) == count
    except DatasetError:
        return False


def _close(root: Path, split: str, stamp: Path, content: dict[str, Any], records: Path) -> None:
    """Write the report over the stamp, then tidy up."""
    write_atomic(stamp, indented_json(content))
    _tidy(root, split, records)


def _finished(dataset: DenseDataset, writer: Writer, stamp: Path, resumed: int) -> CopyReport:
    """The report of a finished copy, with the splits that trainers still miss in it, and the source's for them."""
    report = CopyReport.read(stamp, resumed=resumed)
    lacking, there = writer.absent(), []
    with suppress(DatasetError, OSError):  # the copy is made, whatever else lies in the source
        there = dataset.find_splits(dataset.root) if lacking else []
    absent = {name: next((split for split in there if writer.name_of(split) == name), "") for name in lacking}
    return replace(report, source=dataset.root, absent=absent)


def _tidy(root: Path, split: str, records: Path) -> None:
    """Remove what only an interrupted run needs, and what one left that was killed amid a list."""
    shutil.rmtree(records, ignore_errors=True)
    for folder in (root, root / "annotations", *(root / "ImageSets").glob("*")):
        for leftover in folder.glob(".*.tmp"):
            if split in leftover.name or leftover.name.startswith((".classes.txt", ".labelmap.txt", ".data.yaml")):
                leftover.unlink(missing_ok=True)
