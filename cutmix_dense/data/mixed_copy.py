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
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision import tv_tensors

from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.files import write_atomic
from cutmix_dense.data.readers import DenseDataset, find_layouts, open_dataset
from cutmix_dense.data.writers import CityscapesWriter, CocoWriter, VocWriter, Writer
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import generator_from

__all__ = [
    "CopyReport",
    "MixError",
    "MixedSample",
    "complete_task",
    "first_readable",
    "images_needed",
    "load_partners",
    "mix_dataset",
    "mix_sample",
    "open_complete",
]


class MixError(RuntimeError):
    """The transform failed in a way that is not the fault of a file: the message names the images."""


# ------------------------------------------------------------------------------------------------------------ reading


def complete_task(root: str | Path, split: str) -> str:
    """The VOC task that reads all a split has: "instances" if every image of it has an object map, else "detection"."""
    from cutmix_dense.data.readers.voc import voc_folder

    folder = voc_folder(Path(root))
    lists = [folder / "ImageSets" / kind / f"{split}.txt" for kind in ("Main", "Segmentation")]
    if not all(path.is_file() for path in lists):
        return "segmentation" if lists[1].is_file() else "detection"
    names, segmented = ({line.split()[0] for line in path.read_text().splitlines() if line.strip()} for path in lists)
    if names != segmented or not (folder / "Annotations").is_dir():
        return "detection"
    maps = {path.stem for path in (folder / "SegmentationObject").glob("*.png")}
    return "instances" if maps.issuperset(names) else "detection"


def open_complete(
    root: str | Path,
    layout: str | None = None,
    split: str = "train",
    *,
    images: str | Path | None = None,
    annotations: str | Path | None = None,
    task: str | None = None,
    label_ids: str | None = "raw",
    classes: Sequence[str] | None = None,
) -> DenseDataset:
    """Open a split with everything it holds: VOC with its instance masks, Cityscapes with all 34 ids.

    Args:
        root: the dataset's folder.
        layout: "coco", "voc" or "cityscapes"; found out if the folder has one only.
        split: its name.
        images: see `open_dataset`.
        annotations: see `open_dataset`.
        task: VOC only; by default what :func:`complete_task` says.
        label_ids: Cityscapes only: "raw" keeps the void classes, "train" has the 19 classes of the benchmark.
        classes: VOC only; see `open_dataset`.

    Raises:
        DatasetError: as `open_dataset`.
    """
    if layout is None and annotations is None:
        found = find_layouts(root)
        layout = found[0] if len(found) == 1 else None
    special: dict[str, Any] = {}
    if layout == "voc":
        special = {"task": task or complete_task(root, split), "classes": classes}
    elif layout == "cityscapes":
        special = {"label_ids": label_ids or "raw"}
    elif task is not None:
        special = {"task": task}
    return open_dataset(root, layout, split, images=images, annotations=annotations, **special)


def load_partners(
    dataset: Dataset[Any], index: int, count: int, generator: torch.Generator, length: int | None = None
) -> tuple[list[int], list[tuple[Any, Any]], list[SampleError]]:
    """Choose and read `count` other samples; one that cannot be read is replaced by the next that the generator draws.

    Args:
        dataset: map-style, raising SampleError for what cannot be read.
        index: the base, which is no partner of itself.
        count: how many partners; fewer are given where the dataset has no more.
        generator: makes the choice.
        length: choose among the first `length` samples only.

    Returns:
        Indices and samples of the partners, and what went wrong on the way.
    """
    total = len(dataset) if length is None else length  # type: ignore[arg-type]
    chosen: list[int] = []
    samples: list[tuple[Any, Any]] = []
    errors: list[SampleError] = []
    tried = {index}
    while len(chosen) < count and len(tried) < total:
        candidate = int(torch.randint(total, (1,), generator=generator))
        if candidate in tried:
            continue
        tried.add(candidate)
        try:
            samples.append(dataset[candidate])
            chosen.append(candidate)
        except SampleError as error:
            errors.append(error)
    return chosen, samples, errors


@dataclass(frozen=True)
class MixedSample:
    """One sample of a mixed copy, with all that it was made from.

    Attributes:
        indices: of base and partners in the dataset, the base first.
        images: the pool of the mix, in that order.
        targets: their targets.
        plan: the plan, of one output.
        image: the mixed image.
        target: its target.
        rows: what became of every instance that could be in it, as `MixReport.rows` says.
        replaced: partners that could not be read.
    """

    indices: list[int]
    images: list[Any]
    targets: list[dict[str, Any]]
    plan: MixPlan
    image: Any
    target: dict[str, Any]
    rows: list[dict[str, Any]]
    replaced: list[SampleError]

    @property
    def mixed(self) -> bool:
        """Whether it shows anything besides its base."""
        return bool(self.plan.share()[0, 0] < 1)


def mix_sample(
    dataset: DenseDataset,
    transform: Any,
    index: int,
    *,
    copy: int = 0,
    seed: int = 0,
    pool: int | None = None,
    length: int | None = None,
) -> MixedSample:
    """Make the sample that a mixed copy holds for an image; (seed, copy, index) decide everything.

    Args:
        dataset: map-style, raising SampleError for what cannot be read.
        transform: a transform of this package.
        index: the base.
        copy: number of the copy.
        seed: of partners and plan.
        pool: images per call of the transform; default: see :func:`images_needed`.
        length: partners are among the first `length` samples only.

    Raises:
        SampleError: the base cannot be read, no partner can, or the images cannot be mixed.
    """
    image, target = dataset[index]
    count = images_needed(transform, (image, target)) if pool is None else pool
    total = len(dataset) if length is None else length
    chosen, samples, replaced = load_partners(
        dataset, index, count - 1, generator_from("partners", seed, copy, index), total
    )
    if count > 1 and total > 1 and not chosen:
        raise SampleError(dataset.image_path(index), "no other image can be read, so it has no partner")
    images, targets = [image, *(sample[0] for sample in samples)], [target, *(sample[1] for sample in samples)]
    try:
        generator = generator_from("mix", seed, copy, index)
        chosen_transform = _one_of(transform, generator)
        plan = _first_output(chosen_transform.make_plan(images, targets, generator=generator))
        mixed, results, report = chosen_transform.apply_plan(plan, images, targets, return_report=True)
    except ValueError as error:
        # Data that a reader lets pass and a mix cannot: the sample is left out and its images are named.
        names = ", ".join(_name(dataset, partner) for partner in chosen) or "nothing"
        raise SampleError(dataset.image_path(index), f"cannot be mixed with {names}: {error}") from error
    return MixedSample([index, *chosen], images, targets, plan, mixed[0], results[0], list(report.rows()), replaced)


def images_needed(transform: Any, sample: tuple[Any, Any] | None) -> int:
    """How many different images a transform puts into one output, found out by letting it plan for many.

    Args:
        transform: a transform of this package.
        sample: an image and its target, for transforms that look at them; None gives 2.

    Returns:
        At least 2: CutMix 2, a 2 × 2 Mosaic 4.
    """
    if sample is None:
        return 2
    image, target = sample
    most = 2
    for member in getattr(transform, "members", [transform]):
        for draw in range(2):
            try:
                plan = member.make_plan(
                    [image] * _PROBE, [target] * _PROBE, generator=generator_from("images needed", draw)
                )
            except Exception:  # comes up again where the sample is made, and is reported there
                continue
            most = max(most, *(len({source for source in row if source >= 0}) for row in plan.source.tolist()))
    return most


_PROBE = 16


def first_readable(dataset: DenseDataset, length: int) -> tuple[Any, Any] | None:
    """The first sample that can be read, if there is one."""
    for index in range(length):
        try:
            return dataset[index]
        except SampleError:
            continue
    return None


def _one_of(transform: Any, generator: torch.Generator) -> Any:
    """The transform itself, or the one that a `RandomMix` would draw."""
    members = getattr(transform, "members", None)
    if members is None:
        return transform
    weights = torch.tensor(transform.weights, dtype=torch.float64)
    return members[int(torch.multinomial(weights, 1, generator=generator))]


def _first_output(plan: MixPlan) -> MixPlan:
    """The plan of output 0 alone: the others are never looked at."""

    def first(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[:1]
        return tuple(edge[:1] for edge in value) if isinstance(value, tuple) and _tensors(value) else value

    return replace(plan, **{entry.name: first(getattr(plan, entry.name)) for entry in fields(plan) if entry.init})


def _tensors(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, Tensor) for value in values)


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
        record: dict[str, Any] = {"sample": job.key, "copy": job.copy, "base": _name(self.dataset, job.index)}
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
            record["partners"] = [_name(self.dataset, partner) for partner in made.indices[1:]]
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


def _name(dataset: DenseDataset, index: int) -> str:
    """The image's path under the dataset's folder."""
    try:
        return _relative(dataset, dataset.image_path(index))
    except SampleError:
        return f"sample {index}"


def _relative(dataset: DenseDataset, path: Path) -> str:
    base, full = os.path.abspath(dataset.root), os.path.abspath(path)
    return Path(os.path.relpath(full, base)).as_posix() if full.startswith(base + os.sep) else path.name


def _blame(dataset: DenseDataset, error: SampleError) -> dict[str, str]:
    # The same report wherever the dataset lies.
    reason = error.reason.replace(f"{os.path.abspath(dataset.root)}{os.sep}", "").replace(f"{dataset.root}{os.sep}", "")
    return {"file": _relative(dataset, error.path), "reason": reason}


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

    Each sample of the copy is output 0 of one call of the transform on its base and `pool` - 1 partners. A file that
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
        pool: images per call of the transform; default: see :func:`images_needed`.
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
    pool = images_needed(transform, first_readable(dataset, length)) if pool is None else pool
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
        listing.update(f"{_name(dataset, index)} {_bytes_of(dataset, index)}\n".encode())
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
