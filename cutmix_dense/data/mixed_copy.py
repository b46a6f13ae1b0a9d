"""A mixed copy of a dataset on disk, in the dataset's own layout.

Every output sample is made from (seed, copy, index) alone: its partners, its plan and its files are the same on any
number of workers, in any order, before and after an interruption. Samples are staged one by one and listed last, by
`cutmix_dense.data.writers`; beside the data lies ``mixed_copy.<split>.json``, which says how it was made, from what,
what became of the instances, and which files could not be read.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision import tv_tensors

from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.files import write_atomic
from cutmix_dense.data.mixed_sample import (
    mix_sample,
    name_of,
    relative_path,
)
from cutmix_dense.data.readers import DenseDataset, open_dataset
from cutmix_dense.data.writers import CityscapesWriter, CocoWriter, VocWriter, Writer

__all__ = [
    "CopyReport",
    "MixError",
    "mix_dataset",
]


class MixError(RuntimeError):
    """The transform failed in a way that is not the fault of a file: the message names the images."""


# ------------------------------------------------------------------------------------------------------------- report


@dataclass(frozen=True)
class CopyReport:
    """What a finished copy consists of.

    Attributes:
        root: where it lies.
        path: the JSON file that says the same in full.
        written: how many samples are listed.
        unmixed: how many of them show their base alone, as the transform's `p` or an empty region left them.
        skipped: samples that were left out, as {"sample", "file", "reason"}.
        broken: files that could not be read, as {"file", "reason", "as_base", "as_partner"}: how many samples that
            cost, and in how many another partner took their place.
        outcomes: what became of the instances, ("base" or "partner", outcome, reason) -> how many.
        resumed: how many samples an earlier run had made already.
    """

    root: Path
    path: Path
    written: int
    unmixed: int
    skipped: list[dict[str, Any]]
    broken: list[dict[str, Any]]
    outcomes: dict[tuple[str, str, str], int]
    resumed: int = 0

    @classmethod
    def read(cls, path: Path, resumed: int = 0) -> CopyReport:
        """The report of a finished copy, from its JSON file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        outcomes = {(row["side"], row["outcome"], row["reason"]): row["count"] for row in content["outcomes"]}
        return cls(
            root=path.parent,
            path=path,
            written=content["written"],
            unmixed=content["unmixed"],
            skipped=content["skipped"],
            broken=content["broken"],
            outcomes=outcomes,
            resumed=resumed,
        )


# ---------------------------------------------------------------------------------------------------------- one sample


@dataclass(frozen=True)
class _Job:
    """One output sample; copy -1 is the original."""

    key: str
    copy: int
    index: int


@dataclass
class _Jobs(Dataset[dict[str, Any]]):
    """The samples still to be made. Reading an item makes, stages and records it, and returns the record."""

    dataset: DenseDataset
    writer: Writer
    transform: Any
    records: Path
    seed: int
    pool: int
    length: int
    jobs: list[_Job] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, number: int) -> dict[str, Any]:
        _die_with_parent()
        job = self.jobs[number]
        record: dict[str, Any] = {"sample": job.key, "copy": job.copy, "base": name_of(self.dataset, job.index)}
        try:
            self._make(job, record)
        except SampleError as error:
            record["skipped"] = _blame(self.dataset, error)
        except Exception as error:  # returned, not raised: a DataLoader would bury it in a worker's traceback
            record["failed"] = str(error) if isinstance(error, MixError) else f"{type(error).__name__}: {error}"
        if "failed" not in record:
            write_atomic(self.records / f"{job.key}.json", _json(record))
        return record

    def _make(self, job: _Job, record: dict[str, Any]) -> None:
        if job.copy < 0:
            image, target = self.dataset[job.index]
        else:
            made = mix_sample(
                self.dataset,
                self.transform,
                job.index,
                copy=job.copy,
                seed=self.seed,
                pool=self.pool,
                length=self.length,
            )
            image, target = made.image, made.target
            counts = Counter((_side(row), row["outcome"], row["reason"]) for row in made.rows)
            record["partners"] = [name_of(self.dataset, partner) for partner in made.indices[1:]]
            record["replaced"] = [_blame(self.dataset, error) for error in made.replaced]
            record["mixed"] = made.mixed
            record["outcomes"] = [[*kind, count] for kind, count in sorted(counts.items())]
        target = _with_ignored(target)
        semantic = target.get("semantic")
        if semantic is not None and (not isinstance(semantic, Tensor) or semantic.is_floating_point()):
            raise MixError("a soft mix of semantic maps has two ids per pixel, and no layout a place for them")
        if semantic is not None and getattr(self.dataset, "label_ids", "train") == "raw":
            # 255 is no id of Cityscapes; what no image covers is "unlabeled".
            target["semantic"] = torch.where(semantic == 255, torch.zeros_like(semantic), semantic)
        try:
            self.writer.add(job.key, image, target)
        except ValueError as error:  # more objects than the layout can number, for one
            raise SampleError(self.dataset.image_path(job.index), f"cannot be written: {error}") from error


def _with_ignored(target: dict[str, Any]) -> dict[str, Any]:
    """The target with its ignored instances as crowds: every layout has a place for them, every metric skips them."""
    result = dict(target)
    ignored = result.pop("ignored", None)
    if not ignored or not len(ignored["labels"]):
        return result
    for key, rows in ignored.items():
        more = torch.ones_like(rows) if key == "iscrowd" else rows
        if isinstance(result.get(key), Tensor):
            joined = torch.cat([result[key].as_subclass(Tensor), more.as_subclass(Tensor)])
            result[key] = tv_tensors.wrap(joined, like=rows) if isinstance(rows, tv_tensors.TVTensor) else joined
    if "iscrowd" not in ignored:
        count = len(result["labels"]) - len(ignored["labels"])
        result["iscrowd"] = torch.arange(len(result["labels"])).ge(count).long()
    return result


def _side(row: dict[str, Any]) -> str:
    return "base" if row["layer"] == 0 else "partner"


def _die_with_parent() -> None:
    """A worker whose main process was killed stops before it writes into the folder of the run that resumes."""
    parent = multiprocessing.parent_process()
    if get_worker_info() is not None and parent is not None and not parent.is_alive():
        os._exit(1)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # else `_die_with_parent` alone, before the next sample
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _blame(dataset: DenseDataset, error: SampleError) -> dict[str, str]:
    # The same report wherever the dataset lies.
    reason = error.reason.replace(f"{os.path.abspath(dataset.root)}{os.sep}", "").replace(f"{dataset.root}{os.sep}", "")
    return {"file": relative_path(dataset, error.path), "reason": reason}


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, sort_keys=False) + "\n").encode()


# ------------------------------------------------------------------------------------------------------------ the copy


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
    on_progress: Callable[[int, int, dict[str, Any] | None], None] | None = None,
) -> CopyReport:
    """Write a mixed copy of `dataset` to `output`; a run that was interrupted goes on where it stopped.

    Each sample of the copy is one mix of its base with `pool` - 1 partners. A file that
    cannot be read costs the samples it is the base of; as a partner it is replaced by the next choice. Both are
    reported. Instances that the transform moves to ``target["ignored"]`` are written as crowds (`difficult` in VOC).

    Args:
        dataset: what to mix, best opened by :func:`open_complete`.
        output: folder of the copy; new, empty, begun by the same call, or holding copies of other splits.
        transform: a transform of this package, called with lists, `generator=` and `return_report=True`.
        copies: mixed samples per image, >= 1 (0 with `with_originals`).
        seed: of partners and plans.
        workers: processes; 0 works in this one. The copy does not depend on it.
        with_originals: copy the unmixed samples, too.
        limit: take only the first so many images of the dataset, as bases and as partners.
        pool: images per mix, the base among them; default: as many as the transform takes.
        quality: JPEG quality, 1–100.
        split: name of the split in the copy; default: the dataset's.
        on_progress: called with (done, total, record) at the start and after every sample.

    Returns:
        The report, which also lies in the output as ``mixed_copy.<split>.json``.

    Raises:
        ValueError: an argument out of range.
        DatasetError: an output that belongs to something else or was begun with other parameters; no sample at all
            could be made.
        MixError: the transform raised something else than ValueError.
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
    length = len(dataset) if limit is None else min(limit, len(dataset))
    if length == 0:
        raise DatasetError(f"{dataset.root}: the split {dataset.split!r} lists no image")
    root, split = Path(output), split or dataset.split
    _check_output(root, dataset)
    pool = transform.partners + 1 if pool is None else pool
    names = _keys(dataset, length)
    jobs = [_Job(name, -1, index) for index, name in enumerate(names)] if with_originals else []
    jobs += [_Job(f"{name}-mix{copy}", copy, index) for copy in range(copies) for index, name in enumerate(names)]
    parameters = _parameters(dataset, length, transform, copies, seed, pool, with_originals, quality)
    stamp = root / f"mixed_copy.{split}.json"
    records = root / f".mixed_copy.{split}"
    if _begin(root, stamp, parameters):
        _tidy(root, split, records)
        if on_progress is not None:
            on_progress(len(jobs), len(jobs), None)
        return CopyReport.read(stamp, resumed=len(jobs))

    writer = _writer(dataset, root, split, quality)
    made, skipped = _recorded(jobs, records)
    done = {key: record for key, record in made.items() if writer.has(key)}
    if len(done) < len(made) and _is_listed(root, split, writer, len(made)):
        writer.discard()  # an earlier run had listed its samples; only its report is missing
        return _close(root, split, stamp, parameters, jobs, made, skipped, records, len(made))
    pending = [job for job in jobs if job.key not in done]
    resumed = len(done)
    todo = _Jobs(dataset, writer, transform, records, seed, pool, length, pending)
    if on_progress is not None:
        on_progress(len(done), len(jobs), None)
    skipped = []  # they get another try
    for finished, record in enumerate(_run(todo, workers), start=1):
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
        first = skipped[0]["skipped"]
        raise DatasetError(
            f"none of the {len(jobs)} samples could be made; the first: {first['file']}: {first['reason']}"
        )
    writer.finish([job.key for job in jobs if job.key in done])
    return _close(root, split, stamp, parameters, jobs, done, skipped, records, resumed)


def _run(todo: _Jobs, workers: int) -> Iterator[dict[str, Any]]:
    if workers == 0:
        for number in range(len(todo)):
            yield todo[number]
        return
    yield from DataLoader(
        todo,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        worker_init_fn=_start_worker,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # leaves the global random state alone
    )


def _unchanged(record: Any) -> Any:
    return record


def _check_output(root: Path, dataset: DenseDataset) -> None:
    source, target = os.path.abspath(dataset.root), os.path.abspath(root)
    if target == source or target.startswith(source + os.sep) or source.startswith(target + os.sep):
        raise DatasetError(f"{root}: the copy must not lie in the dataset it is made from, nor around it ({source})")
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root}: is a file, a folder is needed")
    # A stamp that was being written when its run was killed is no foreign file.
    filled = root.is_dir() and any(not path.match(".mixed_copy.*.tmp") for path in root.iterdir())
    if filled and not any(root.glob("mixed_copy.*.json")):
        raise DatasetError(f"{root}: is not empty and holds no mixed copy; name a new folder")


def _keys(dataset: DenseDataset, length: int) -> list[str]:
    """A file name for every sample: the image's own, made unique where folders hold equal names."""
    names = []
    for index in range(length):
        try:
            path = dataset.image_path(index)
        except SampleError:
            names.append(f"sample{index}")  # never written: reading it fails, too
            continue
        stem = path.stem.removesuffix("_leftImg8bit").lstrip(".") or f"sample{index}"
        if dataset.layout == "cityscapes" and not stem.startswith(f"{path.parent.name}_"):
            stem = f"{path.parent.name}_{stem}"
        names.append(stem)
    # Case counts for nothing in the file systems of Windows and macOS.
    often = Counter(name.lower() for name in names)
    return [name if often[name.lower()] == 1 else f"{name}-{index}" for index, name in enumerate(names)]


def _parameters(
    dataset: DenseDataset,
    length: int,
    transform: Any,
    copies: int,
    seed: int,
    pool: int,
    with_originals: bool,
    quality: int,
) -> dict[str, Any]:
    """All that the bytes of the copy depend on."""
    listing = hashlib.sha256()
    for index in range(length):
        listing.update(f"{name_of(dataset, index)} {_bytes_of(dataset, index)}\n".encode())
    annotations = getattr(dataset, "annotations", None)
    if isinstance(annotations, Path) and annotations.is_file():
        listing.update(annotations.read_bytes())
    return {
        "dataset": Path(os.path.abspath(dataset.root)).name,
        "layout": dataset.layout,
        "split": dataset.split,
        "task": getattr(dataset, "task", None),
        "label_ids": getattr(dataset, "label_ids", None),
        "images": length,
        "content": listing.hexdigest(),
        "classes": list(dataset.classes),
        "transform": " ".join(repr(transform).split()),
        "pool": pool,
        "copies": copies,
        "with_originals": with_originals,
        "seed": seed,
        "quality": quality,
    }


def _bytes_of(dataset: DenseDataset, index: int) -> int:
    """Size of the image file, which tells most changes at little cost; -1 if it is not there."""
    try:
        return dataset.image_path(index).stat().st_size
    except (OSError, SampleError):
        return -1


def _begin(root: Path, stamp: Path, parameters: dict[str, Any]) -> bool:
    """Stamp a new copy, or compare with the stamp of the one that was begun. True if that one is finished."""
    if not stamp.is_file():
        root.mkdir(parents=True, exist_ok=True)
        write_atomic(stamp, _json({"parameters": parameters, "finished": False}))
        return False
    try:
        begun = json.loads(stamp.read_text(encoding="utf-8"))
        before = begun["parameters"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{stamp}: is not the stamp of a mixed copy ({error})") from error
    keys = dict.fromkeys([*before, *parameters])
    changed = [key for key in keys if before.get(key) != parameters.get(key)]
    if changed:
        told = "; ".join(
            f"{key}: {_short(before.get(key))} there, {_short(parameters.get(key))} now" for key in changed
        )
        raise DatasetError(f"{root}: was begun with other parameters ({told}). Use the same ones, or a new folder")
    return bool(begun.get("finished"))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _writer(dataset: DenseDataset, root: Path, split: str, quality: int) -> Writer:
    if dataset.layout == "coco":
        ids = getattr(dataset, "category_ids", None)
        return CocoWriter(root, classes=dataset.classes, split=split, category_ids=ids, quality=quality)
    if dataset.layout == "voc":
        return VocWriter(root, classes=dataset.classes, split=split, quality=quality)
    if dataset.layout == "cityscapes":
        return CityscapesWriter(root, split=split, label_ids=getattr(dataset, "label_ids", "train"))
    raise ValueError(f"layout must be coco, voc or cityscapes, got {dataset.layout!r}")


def _recorded(jobs: Sequence[_Job], records: Path) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """What an earlier run recorded: the samples it made, by key, and those it skipped."""
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (records / f"{job.key}.json" for job in jobs)
        if path.is_file()
    ]
    made = {record["sample"]: record for record in found if "skipped" not in record}
    return made, [record for record in found if "skipped" in record]


def _is_listed(root: Path, split: str, writer: Writer, count: int) -> bool:
    """Whether the copy's own lists name `count` samples."""
    layout = {CocoWriter: "coco", VocWriter: "voc", CityscapesWriter: "cityscapes"}[type(writer)]
    try:
        return len(open_dataset(root, layout, split)) == count
    except DatasetError:
        return False


def _close(
    root: Path,
    split: str,
    stamp: Path,
    parameters: dict[str, Any],
    jobs: Sequence[_Job],
    done: dict[str, dict[str, Any]],
    skipped: Sequence[dict[str, Any]],
    records: Path,
    resumed: int,
) -> CopyReport:
    """Write the report over the stamp, then tidy up."""
    outcomes: Counter[tuple[str, str, str]] = Counter()
    broken: dict[str, dict[str, Any]] = {}

    def blame(entry: dict[str, str], role: str) -> None:
        row = broken.setdefault(entry["file"], {**entry, "as_base": 0, "as_partner": 0})
        row[role] += 1

    by_key = {record["sample"]: record for record in skipped}
    for job in jobs:
        record = done.get(job.key) or by_key.get(job.key) or {}
        for side, outcome, reason, count in record.get("outcomes", []):
            outcomes[side, outcome, reason] += count
        for entry in record.get("replaced", []):
            blame(entry, "as_partner")
        if "skipped" in record:
            blame(record["skipped"], "as_base")
    content = {
        "parameters": parameters,
        "finished": True,
        "written": len(done),
        "unmixed": sum(not record.get("mixed", True) for record in done.values()),
        "outcomes": [
            {"side": side, "outcome": outcome, "reason": reason, "count": count}
            for (side, outcome, reason), count in sorted(outcomes.items())
        ],
        "skipped": [
            {"sample": job.key, **by_key[job.key]["skipped"]}
            for job in jobs
            if job.key in by_key and job.key not in done
        ],
        "broken": sorted(broken.values(), key=lambda row: row["file"]),
        "samples": [
            {"sample": job.key, "base": done[job.key]["base"], "partners": done[job.key].get("partners", [])}
            for job in jobs
            if job.key in done
        ],
    }
    write_atomic(stamp, _json(content))
    _tidy(root, split, records)
    return CopyReport.read(stamp, resumed=resumed)


def _tidy(root: Path, split: str, records: Path) -> None:
    """Remove what only an interrupted run needs, and what one left that was killed amid a list."""
    shutil.rmtree(records, ignore_errors=True)
    for folder in (root, root / "annotations", *(root / "ImageSets").glob("*")):
        for leftover in folder.glob(".*.tmp"):
            if split in leftover.name or leftover.name.startswith(".classes.txt"):
                leftover.unlink(missing_ok=True)
