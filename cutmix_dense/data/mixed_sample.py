"""One mixed sample of a dataset: its partners, its plan and what came out, decided by (seed, copy, index) alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from cutmix_dense.data.errors import SampleError
from cutmix_dense.data.readers import DenseDataset, find_layouts, open_dataset
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import generator_from
from cutmix_dense.transforms.single import mix_single

__all__ = [
    "MixedSample",
    "complete_task",
    "load_partners",
    "mix_sample",
    "name_of",
    "open_complete",
    "relative_path",
]


def complete_task(root: str | Path, split: str) -> str:
    """The VOC task that reads all a split has: "instances" if every image of it has an object map, else "detection"."""
    from cutmix_dense.data.readers.voc import read_list, voc_folder

    folder = voc_folder(Path(root))
    lists = [folder / "ImageSets" / kind / f"{split}.txt" for kind in ("Main", "Segmentation")]
    if not all(path.is_file() for path in lists):
        return "segmentation" if lists[1].is_file() else "detection"
    names, segmented = (set(read_list(path)) for path in lists)
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
        layout: one of `LAYOUTS`; found out as by `open_dataset`.
        split: its name.
        images: see `open_dataset`.
        annotations: see `open_dataset`.
        task: VOC only; by default what :func:`complete_task` says.
        label_ids: Cityscapes only: "raw" keeps the void classes, "train" has the 19 classes of the benchmark.
        classes: VOC and DOTA only; see `open_dataset`.

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
    elif layout == "dota":
        special = {"classes": classes}
    if task is not None:
        special["task"] = task
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
        plan: the plan, of one output; under a region that moves over a clip, of one per frame.
        image: the mixed image, clip or volume.
        target: its target; of a clip a list, a target per frame.
        rows: what became of every instance that could be in it, as `MixReport.rows` says.
        replaced: partners that could not be read.
    """

    indices: list[int]
    images: list[Any]
    targets: list[Any]
    plan: MixPlan
    image: Any
    target: Any
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
        pool: images per mix, the base among them; default: as many as the transform takes.
        length: partners are among the first `length` samples only.

    Raises:
        SampleError: the base cannot be read, no partner can, or the images cannot be mixed.
    """
    image, target = dataset[index]
    count = transform.partners + 1 if pool is None else pool
    total = len(dataset) if length is None else length
    chosen, samples, replaced = load_partners(
        dataset, index, count - 1, generator_from("partners", seed, copy, index), total
    )
    if count > 1 and total > 1 and not chosen:
        raise SampleError(dataset.image_path(index), "no other image can be read, so it has no partner")
    images, targets = [image, *(sample[0] for sample in samples)], [target, *(sample[1] for sample in samples)]
    try:
        single = mix_single(transform, images, targets, generator_from("mix", seed, copy, index))
    except ValueError as error:
        # Data that a reader lets pass and a mix cannot: the sample is left out and its images are named.
        names = ", ".join(name_of(dataset, partner) for partner in chosen) or "nothing"
        raise SampleError(dataset.image_path(index), f"cannot be mixed with {names}: {error}") from error
    assert single.report is not None
    rows = list(single.report.rows())
    return MixedSample([index, *chosen], images, targets, single.plan, single.image, single.targets[0], rows, replaced)


def name_of(dataset: DenseDataset, index: int) -> str:
    """The image's path under the dataset's folder."""
    try:
        return relative_path(dataset, dataset.image_path(index))
    except SampleError:
        return f"sample {index}"


def relative_path(dataset: DenseDataset, path: Path) -> str:
    """A file's path under the dataset's folder, with forward slashes."""
    base, full = os.path.abspath(dataset.root), os.path.abspath(path)
    return Path(os.path.relpath(full, base)).as_posix() if full.startswith(base + os.sep) else path.name
