"""What one worker of a mixed copy does: make a sample, stage its files, and record what became of it."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.data.addresses import without_addresses
from cutmix_dense.data.details import STATED, still_true
from cutmix_dense.data.errors import DatasetError, DataWarning, MixError, SampleError
from cutmix_dense.data.files import write_atomic
from cutmix_dense.data.mixed_sample import MixedSample, mix_sample, name_of, relative_path
from cutmix_dense.data.outcomes import named, without_repeats
from cutmix_dense.data.pictures import PictureInfo, picture_tags, tiff_bands
from cutmix_dense.data.readers import DenseDataset
from cutmix_dense.data.writers import Writer

_BLAME = ("file", "reason")
"""What a record says of a file that is to blame."""


@dataclass(frozen=True)
class Job:
    """One output sample: its name, and which image of the dataset it shows in which copy; copy -1 is the original."""

    key: str
    copy: int
    index: int


@dataclass
class Work:
    """All that a worker needs for any job; it can be pickled and does the same in every process.

    Attributes:
        dataset: what is mixed.
        writer: stages the samples.
        transform: mixes them.
        records: folder of the records, one JSON file per sample that was made or skipped.
        seed: of partners and plans.
        pool: images per mix, the base among them.
        length: bases and partners are among the first so many images.
    """

    dataset: DenseDataset
    writer: Writer
    transform: Any
    records: Path
    seed: int
    pool: int
    length: int

    def do(self, job: Job) -> dict[str, Any]:
        """Make, stage and record one sample.

        Returns:
            The record: `sample`, `copy`, `base`; then `partners`, `replaced`, `mixed` and `outcomes` of a mix; `notes`
            of what was left out of files, `not_kept`, what the layout has no place for; or `skipped`, the file that is
            to blame and the reason; or `failed`, which is no fault of a file: the message.
        """
        record: dict[str, Any] = {"sample": job.key, "copy": job.copy, "base": name_of(self.dataset, job.index)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)  # recorded, and said at the end
                self._make(job, record)
        except SampleError as error:
            record["skipped"] = _blame(self.dataset, error)
        except Exception as error:  # returned, not raised: a DataLoader would bury it in a worker's traceback
            record["failed"] = str(error) if isinstance(error, MixError) else f"{type(error).__name__}: {error}"
        noted = [_blame(self.dataset, SampleError(*note)) for note in self.dataset.take_notes()]
        if noted:
            record["notes"] = noted
        if "failed" not in record:
            write_atomic(self.records / f"{job.key}.json", indented_json(record))
        return record

    def _make(self, job: Job, record: dict[str, Any]) -> None:
        lost: Counter[str] = Counter()
        made: MixedSample | None = None
        image, target = self.dataset[job.index]
        parts = target if isinstance(target, list) else [target]
        unchanged = [[True] * len(part.get("details", ())) for part in parts]
        if job.copy >= 0:
            made = mix_sample(
                self.dataset,
                self.transform,
                job.index,
                copy=job.copy,
                seed=self.seed,
                pool=self.pool,
                length=self.length,
                base=(image, target),
            )
            told = made.rows if made.cut_outs else without_repeats(made.rows)  # each cut-out is a picture of its own
            counts = Counter(_outcome(row, made) for row in told)
            record["partners"] = [name_of(self.dataset, partner) for partner in made.indices[1:]]
            record["replaced"] = [_blame(self.dataset, error) for error in made.replaced]
            record["mixed"] = made.mixed
            if made.mixed:
                image, target, unchanged = made.image, made.target, _unchanged(made)
                if made.cut_outs and (bare := _without_details(target)):
                    lost["details of cut-outs"] += bare
            else:  # what the source says stays as it is, broken boxes too
                counts = Counter({("base", "kept", ""): sum(counts.values())})
            record["outcomes"] = [[*kind, count] for kind, count in sorted(counts.items()) if count]
        same = self.writer.layout == self.dataset.layout
        frames = [_with_ignored(frame) for frame in (target if isinstance(target, list) else [target])]
        for frame, flags in zip(frames, unchanged, strict=True):
            if "details" in frame:
                rows = zip(frame["details"], flags, strict=True)
                frame["details"] = [still_true(row, untouched=flag, same_layout=same, lost=lost) for row, flag in rows]
        if isinstance(target, list):
            target = frames
        else:
            target = frames[0]
            self._check_map(target)
        try:
            path = self.dataset.image_path(job.index)
            tags = picture_tags(path)
            if made is not None and made.mixed:
                picture, tags = self._picture_of(made, frames, lost), tags.of_mix()
            else:
                picture = self.dataset.picture(job.index)
            picture = picture._replace(bands=tiff_bands(path), tags=tags)
            lost.update(self.writer.add(job.key, image, target, picture))
        except ValueError as error:  # more objects than the layout can number, for one
            raise SampleError(self.dataset.image_path(job.index), f"cannot be written: {error}") from error
        if lost:
            record["not_kept"] = dict(sorted(lost.items()))

    def _picture_of(self, made: MixedSample, frames: list[dict[str, Any]], lost: Counter[str]) -> PictureInfo:
        """What is still true of the base's picture where others show in it."""
        sources: list[tuple[int | None, Collection[int]]] = [
            (made.indices[place], _labels(made.targets[place])) for place in made.shown
        ]
        if made.cut_outs:  # which come from pictures that the data set needn't have
            sources.append((None, ()))
        picture = self.dataset.picture_of_mix(sources, _labels(frames), lost)
        kept = picture.address if self.writer.renames_addresses else ""
        return picture._replace(details=without_addresses(picture.details, kept, lost))

    def _check_map(self, target: dict[str, Any]) -> None:
        semantic = target.get("semantic")
        if semantic is not None and (not isinstance(semantic, Tensor) or semantic.is_floating_point()):
            raise MixError("blended semantic maps have two ids per pixel, which no layout can store")
        if semantic is not None and getattr(self.dataset, "label_ids", "train") == "raw":
            # 255 is no id of Cityscapes; what no image covers is "unlabeled".
            target["semantic"] = torch.where(semantic == 255, torch.zeros_like(semantic), semantic)


def read_record(path: Path, key: str) -> dict[str, Any]:
    """What `Work.do` recorded of the sample `key`; DatasetError if the file is broken."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        entries = [*record.get("replaced", []), *record.get("notes", [])]
        entries += [record["skipped"]] if "skipped" in record else []
        words = [record["base"], *record.get("partners", []), *(entry[part] for entry in entries for part in _BLAME)]
        kinds = [[type(value) for value in row] for row in record.get("outcomes", [])]
        if record["sample"] != key or not all(isinstance(word, str) for word in words):
            raise ValueError("not of this sample")
        if any(kind != [str, str, str, int] for kind in kinds):
            raise ValueError("outcomes that are none")
        if not all(type(count) is int for count in record.get("not_kept", {}).values()):
            raise ValueError("counts that are none")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path}: broken ({error}); remove it, and its sample is made again") from error
    return record


def _labels(target: Any) -> list[int]:
    """The labels of a target's instances, or of all frames of a clip, each once."""
    frames = target if isinstance(target, list) else [target]
    return sorted({int(label) for frame in frames for label in frame.get("labels", ())})


def _with_ignored(target: dict[str, Any]) -> dict[str, Any]:
    """The target with what it ignores as crowds: every layout has a place for them, every metric skips them."""
    result = dict(target)
    ignored = result.pop("ignored", None)
    if ignored and ignored.get("segments_info"):  # of a map of their own, with other ids than the target's segments
        aside = ignored["panoptic"]
        result["panoptic"] = torch.where(aside != 0, aside, result["panoptic"])
        crowds = [{**info, "iscrowd": 1} for info in ignored["segments_info"]]
        result["segments_info"] = [*result["segments_info"], *crowds]
    if not ignored or not len(ignored.get("labels", ())):
        return result
    for key, rows in ignored.items():
        if isinstance(rows, list) and isinstance(result.get(key), list):
            result[key] = [*result[key], *rows]
            continue
        more = torch.ones_like(rows) if key == "iscrowd" else rows
        if isinstance(result.get(key), Tensor):
            joined = torch.cat([result[key].as_subclass(Tensor), more.as_subclass(Tensor)])
            result[key] = tv_tensors.wrap(joined, like=rows) if isinstance(rows, tv_tensors.TVTensor) else joined
    if "iscrowd" not in ignored:
        count = len(result["labels"]) - len(ignored["labels"])
        result["iscrowd"] = torch.arange(len(result["labels"])).ge(count).long()
    return result


def _unchanged(made: MixedSample) -> list[list[bool]]:
    """Whether each instance of the mixed target, and then each that it ignores, is as its layout states it.

    It shows whole, where it was, on a canvas of the size that its own picture has. A list for each frame of a clip; of
    a picture one.
    """
    scale, shift = made.plan.scale, made.plan.shift
    in_place = ((scale == 1) & (shift == 0)).all(dim=2).tolist()
    length = len(made.target) if isinstance(made.target, list) else 1
    sized = [image.shape[-2:] == made.image.shape[-2:] for image in made.images]
    flags: list[dict[bool, list[bool]]] = [{False: [], True: []} for _ in range(length)]
    for row in made.rows:
        if row["outcome"] != "dropped":
            frame = row["output"] % length
            placed = in_place[frame if len(in_place) == length else 0][row["layer"]]
            same = row["visibility"] == 1 and placed and sized[row["source"] // length]
            flags[frame][row["outcome"] == "ignored"].append(same)
    return [both[False] + both[True] for both in flags]


def _outcome(row: Mapping[str, Any], made: MixedSample) -> tuple[str, str, str]:
    """What a record counts: of which side the instance is, what became of it, and why."""
    side = "base" if row["layer"] == 0 else "cut-out" if made.cut_outs else "partner"
    return named(side, row["outcome"], row["reason"])


def _without_details(target: Any) -> int:
    """How many instances of a mixed target are cut-outs, which have no details where others have some."""
    stated = any(row.keys() - {STATED} for row in target.get("details", ()))
    return int((target["origin"][:, 0] > 0).sum()) if stated else 0


def _blame(dataset: DenseDataset, error: SampleError) -> dict[str, str]:
    # The same report wherever the dataset lies.
    reason = error.reason.replace(f"{os.path.abspath(dataset.root)}{os.sep}", "").replace(f"{dataset.root}{os.sep}", "")
    return {"file": relative_path(dataset, error.path), "reason": reason}


def indented_json(content: Any) -> bytes:
    """JSON for people: UTF-8, one value per line; half a surrogate pair stays the escape it came from."""
    return (json.dumps(content, indent=1, ensure_ascii=False, sort_keys=False) + "\n").encode(errors="backslashreplace")
