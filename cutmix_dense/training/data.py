"""Datasets for training: whole samples by (epoch, index), transformed under a random state of their own."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from mmengine import registry as mmengine_registry
from mmengine.registry import Registry
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.datasets import CIFAR10

from cutmix_dense.data import DatasetError, DenseDataset, find_layouts, open_dataset
from cutmix_dense.mmengine.scope import DATASETS
from cutmix_dense.randomness import generator_from
from cutmix_dense.training.errors import EmptySubsetError
from cutmix_dense.training.sample_transforms import build_transforms, check_rows, with_fill
from cutmix_dense.training.seeding import random_state
from cutmix_dense.training.standin import CLASSES as SHAPES
from cutmix_dense.training.standin import draw_shape

FUNCTIONS = Registry(
    "function", parent=mmengine_registry.FUNCTIONS, scope="cutmix_dense", locations=["cutmix_dense.training"]
)

TASKS: dict[str, frozenset[str]] = {
    "detection": frozenset({"boxes", "labels", "iscrowd", "area", "difficult"}),
    "instances": frozenset({"boxes", "labels", "iscrowd", "area", "difficult", "masks"}),
    "segmentation": frozenset({"semantic"}),
}
"""The keys of a target that a task needs, beside ``image_id``; what nobody needs isn't mixed."""


@FUNCTIONS.register_module()
def collate(samples: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Samples as a batch: ``{"images": [...], "targets": [...]}``; images needn't be of one size."""
    return {"images": [sample["image"] for sample in samples], "targets": [sample["target"] for sample in samples]}


class TrainingDataset(Dataset[dict[str, Any]]):
    """Samples ``{"image": uint8 Image (3, H, W), "target": dict}``; a subclass says in ``read`` where they are.

    ``dataset[(epoch, index)]`` transforms the sample under a random state seeded by (seed, epoch, index), restored
    afterwards: neither the number of loader workers nor the order nor a resume changes it. ``dataset[index]`` is epoch
    0.

    Args:
        count: number of samples before a subset is taken.
        classes: names of the classes.
        transforms: see ``sample_transforms.build_transforms``.
        limit: take so many samples only; with ``fraction`` a share in (0, 1]. They are the first of a permutation by
            ``subset_seed``, so that smaller subsets lie in larger ones.
        fraction: see ``limit``.
        subset: take these indices, in this order; instead of the two.
        subset_seed: see ``limit``.
        complement: take the others: what a subset left over.
        cache: keep the samples as they were read in memory (once per worker); for small sets.
        seed: of the random steps; ``EpochSampler`` sets the training's.

    Raises:
        ValueError: an argument out of its range; a subset that is empty (``EmptySubsetError``); on access, transforms
            that leave a target with another number of boxes than labels.
    """

    def __init__(
        self,
        count: int,
        classes: Sequence[str],
        *,
        transforms: Sequence[Any] = (),
        limit: int | None = None,
        fraction: float | None = None,
        subset: Sequence[int] | None = None,
        subset_seed: int = 0,
        complement: bool = False,
        cache: bool = False,
        seed: int = 0,
    ) -> None:
        self.metainfo = {"classes": tuple(classes)}
        self.indices = _choose(count, limit, fraction, subset, subset_seed, complement)
        self.transforms = build_transforms(transforms)
        self.seed = seed
        self._cache: dict[int, tuple[tv_tensors.Image, dict[str, Any]]] | None = {} if cache else None

    def read(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        """Image and target ``index`` of the whole set, as they lie on the disk."""
        raise NotImplementedError

    def set_seed(self, seed: int) -> None:
        """Seed the random steps."""
        self.seed = seed

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, position = key if isinstance(key, tuple) else (0, operator.index(key))
        index = self.indices[position]
        if self._cache is None:
            image, target = self.read(index)
        else:
            if index not in self._cache:
                self._cache[index] = self.read(index)
            image, target = self._cache[index]
        sample = {"image": image, "target": dict(target)}
        if self.transforms is None:
            return sample
        with random_state("sample", self.seed, epoch, index):
            sample = self.transforms(sample)
        check_rows(sample["target"])
        return sample


@DATASETS.register_module()
class DenseTrainingDataset(TrainingDataset):
    """A split of pictures, for one task.

    Args:
        root: the dataset's folder, see ``datasets/README.md``.
        split: its name.
        layout: one of pictures, such as "coco", "voc", "yolo" or "cityscapes"; found out if not given.
        task: "detection" (boxes), "instances" (boxes and masks) or "segmentation" (semantic maps): targets hold what
            the task needs, and ``image_id``.
        images: image folder, where it isn't the layout's.
        annotations: annotation file or folder, where it isn't the layout's.
        classes: names of the classes from 1 on, in the order of their labels, for layouts whose files may not list
            all of them alike: COCO, whose splits may state other categories each, and VOC.
        keep_classes: segmentation only: the classes to learn, by name, numbered as listed; others become 255.
        options: see ``TrainingDataset``.

    Raises:
        DatasetError: what the reader says; clips or volumes; rotated boxes; a task that the annotations don't serve.
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        root: str,
        split: str = "train",
        *,
        layout: str | None = None,
        task: str = "detection",
        images: str | None = None,
        annotations: str | None = None,
        classes: Sequence[str] | None = None,
        keep_classes: Sequence[str] | None = None,
        transforms: Sequence[Any] = (),
        **options: Any,
    ) -> None:
        if task not in TASKS:
            raise ValueError(f"task must be one of {sorted(TASKS)}, got {task!r}")
        if keep_classes is not None and task != "segmentation":
            raise ValueError(f"keep_classes is for task='segmentation', got task={task!r}")
        where: dict[str, Any] = {"images": images, "annotations": annotations, "classes": classes}
        if layout == "voc" or (layout is None and find_layouts(root) == ["voc"]):
            where["task"] = task  # the other readers give all they have
        self.reader = open_dataset(root, layout, split, pixels="rgb", **where)
        self.task = task
        _check_serves(self.reader, task)
        names = self.reader.classes
        self._to_kept = None
        if keep_classes is not None:
            self._to_kept = _class_table(names, keep_classes)
            names = tuple(keep_classes)
        map_fill = 255 if task == "segmentation" else 0
        super().__init__(len(self.reader), names, transforms=with_fill(transforms, map_fill), **options)
        if task != "segmentation":
            _check_upright(self.reader, self.indices[0])

    def read(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        """Image and target ``index`` of the split, with the task's keys."""
        image, target = self.reader[index]
        target = {key: value for key, value in target.items() if key == "image_id" or key in TASKS[self.task]}
        if self._to_kept is not None:
            target["semantic"] = tv_tensors.Mask(self._to_kept[target["semantic"].long()])
        return image, target


@DATASETS.register_module()
class ClassificationDataset(TrainingDataset):
    """torchvision's CIFAR10, or a stand-in of drawn shapes where its files aren't there and that was allowed.

    Targets have ``image_id`` and ``label`` (int64 scalar).

    Args:
        root: the folder that torchvision's CIFAR10 takes.
        split: "train" or "val" (CIFAR10's test part).
        download: fetch the files if they aren't there.
        stand_in: draw shapes in place of files that aren't there, with a warning: ten classes of 32 × 32 images,
            learnable, good for trying the machinery and for nothing else.
        stand_in_size: number of drawn images.
        options: see ``TrainingDataset``.

    Raises:
        DatasetError: no files, and no stand-in allowed.
        ValueError: an unknown split.
    """

    def __init__(
        self,
        root: str,
        split: str = "train",
        *,
        download: bool = False,
        stand_in: bool = False,
        stand_in_size: int = 2000,
        **options: Any,
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split must be 'train' or 'val', got {split!r}")
        self.split = split
        self.source: CIFAR10 | None = None
        try:
            self.source = CIFAR10(root, train=split == "train", download=download)
        except (RuntimeError, OSError) as error:  # torchvision: files not found, or no network
            if not stand_in:
                raise DatasetError(f"{root}: CIFAR10 can't be opened ({error}); stand_in=True draws shapes") from error
            warnings.warn(
                f"{root}: no CIFAR10 here; training on {stand_in_size} DRAWN SHAPES instead. "
                "The figures say nothing about CIFAR10.",
                stacklevel=2,
            )
        if self.source is None:
            super().__init__(stand_in_size, SHAPES, **options)
        else:
            super().__init__(len(self.source), self.source.classes, **options)

    def read(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        """Image and target ``index``."""
        if self.source is None:
            image, label = draw_shape(generator_from("stand-in", self.split, index))
        else:
            image, label = torch.from_numpy(self.source.data[index]).permute(2, 0, 1), self.source.targets[index]
        return tv_tensors.Image(image.contiguous()), {"image_id": index, "label": torch.tensor(label)}


_NEEDS = {
    "detection": ("has_instances", "boxes"),
    "instances": ("has_masks", "instance masks"),
    "segmentation": ("has_semantic", "semantic maps"),
}
"""Which attribute of a reader says whether it serves a task, and what it has then."""


def _check_serves(reader: DenseDataset, task: str) -> None:
    """Refuse a split of something else than pictures, or without what a task needs."""
    if reader.mix_layout != "BCHW":
        kind = "clips" if reader.mix_layout == "BTCHW" else "volumes"
        raise DatasetError(
            f"{reader.root}: samples of the layout {reader.layout!r} are {kind}, DenseTrainingDataset reads single "
            f"pictures: train on {kind} in a loop of your own, which mixes them with layout={reader.mix_layout!r}"
        )
    attribute, kind = _NEEDS[task]
    if not getattr(reader, attribute):
        raise DatasetError(f"{reader.root}: the split {reader.split!r} has no {kind}, which task={task!r} needs")


def _check_upright(reader: DenseDataset, index: int) -> None:
    """Refuse rotated boxes, which all samples of a split have or none."""
    columns = reader[index][1]["boxes"].shape[-1]
    if columns != 4:
        raise DatasetError(
            f"{reader.root}: boxes of the split {reader.split!r} are rotated ({columns} numbers each), detectors learn "
            f"upright ones: cutmix-dense mix {reader.root} COPY --layout {reader.layout} --split {reader.split} --to "
            "coco --transform CutMix p=0 makes a copy that has the upright boxes round them"
        )


def _class_table(names: Sequence[str], kept: Sequence[str]) -> torch.Tensor:
    """(256,) uint8: the new id of every old one."""
    unknown = sorted(set(kept) - set(names))
    if unknown or not kept or len(set(kept)) < len(kept):
        raise ValueError(f"keep_classes must be different ones of {tuple(names)}, got {tuple(kept)}")
    table = torch.full((256,), 255, dtype=torch.uint8)
    for new, name in enumerate(kept):
        table[names.index(name)] = new
    return table


def _choose(
    count: int,
    limit: int | None,
    fraction: float | None,
    subset: Sequence[int] | None,
    seed: int,
    complement: bool,
) -> list[int]:
    """The indices of a subset, see ``TrainingDataset``."""
    if sum(value is not None for value in (limit, fraction, subset)) > 1:
        raise ValueError("give one of limit, fraction and subset")
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must lie in (0, 1], got {fraction!r}")
        limit = max(1, round(fraction * count))
    if limit is not None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit!r}")
        order = torch.randperm(count, generator=generator_from("subset", seed, count)).tolist()
        subset = sorted(order[:limit])
    chosen = list(range(count)) if subset is None else [int(index) for index in subset]
    if any(not 0 <= index < count for index in chosen):
        raise ValueError(f"subset must hold indices in 0 … {count - 1}, got {min(chosen)} … {max(chosen)}")
    if complement:
        chosen = sorted(set(range(count)).difference(chosen))
    if not chosen and count:
        raise EmptySubsetError(f"limit, fraction, subset and complement must leave some of {count} samples, got none")
    if not chosen:
        raise ValueError("the dataset has no samples")
    return chosen
