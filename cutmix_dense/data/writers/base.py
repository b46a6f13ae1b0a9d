"""What all writers share: checking a sample, staging it whole, and listing it last."""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import dump_json, inside, write_atomic
from cutmix_dense.data.masks import boxes_from_masks

__all__ = ["Sample", "Writer"]


@dataclass(frozen=True)
class Sample:
    """One checked sample as arrays; `masks`, `semantic`, `panoptic`, `segments` are None where the target has none."""

    image: UInt8[np.ndarray, "h w 3"]
    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    iscrowd: Int[np.ndarray, " n"]
    area: Float[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]
    masks: Bool[np.ndarray, "n h w"] | None
    semantic: UInt8[np.ndarray, "h w"] | None
    visibility: Float[np.ndarray, " n"] | None
    panoptic: Int[np.ndarray, "h w"] | None = None
    segments: list[dict[str, Any]] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]

    def object_map(self) -> Int[np.ndarray, "h w"]:
        """Which instance each pixel shows, -1 for none; where masks overlap, the smaller one lies on top."""
        shown = np.full(self.size, -1, dtype=np.int64)
        if self.masks is not None:
            for i in np.argsort([-np.count_nonzero(mask) for mask in self.masks], kind="stable"):
                np.copyto(shown, i, where=self.masks[i])
        return shown


class Writer(ABC):
    """Writes one split of a dataset so that what is listed is always whole.

    `add` stages a sample under `<root>/.staging/<split>`: its files first, each by a rename, then a small record. Any
    number of processes may stage different keys at once. `finish` moves the files of the given keys to their places
    and writes the lists last, so the result depends on the keys and their order alone, not on who staged what when.
    A run that was interrupted goes on by staging the keys for which `has` is False, and finishing again.

    Args:
        root: the folder of the dataset.
        classes: names by label; `classes[0]` is "background" where labels count from 1.
        split: name of the split.
        quality: JPEG quality, 1–100.
    """

    def __init__(self, root: str | Path, *, classes: Sequence[str], split: str = "train", quality: int = 95) -> None:
        if not split or split.startswith(".") or os.path.basename(split) != split:
            raise ValueError(f"split must be a plain folder name, got {split!r}")
        self.root, self.split, self.classes, self.quality = Path(root), split, tuple(classes), quality
        self._staging = self.root / ".staging" / split

    def has(self, key: str) -> bool:
        """Whether the sample `key` is staged, whole, and not yet listed by `finish`."""
        return self._record_path(key).is_file()

    def add(self, key: str, image: Any, target: dict[str, Any]) -> None:
        """Stage one sample; doing it again replaces it.

        Args:
            key: its name, which becomes the file name: a plain name without folders.
            image: uint8 (3, H, W) tensor, (H, W, 3) array, or PIL image.
            target: `boxes` (N, 4), `labels` (N,), `masks` (N, H, W), `iscrowd`, `area`, `difficult`, `visibility` (N,),
                `semantic` (H, W), `panoptic` (H, W) with `segments_info`, each where the layout has a place for it;
                other keys are not written.

        Raises:
            ValueError: fields that do not fit together, or a label without a class.
        """
        files, record = self._encode(key, self._check(image, target))
        for name, content in files.items():
            write_atomic(self._staging / "files" / name, content)
        write_atomic(self._record_path(key), dump_json({"files": list(files), "sample": record}))

    def finish(self, keys: Iterable[str] | None = None) -> None:
        """List the samples of `keys`, in that order (default: all that are staged, sorted); then clear the staging.

        Raises:
            DatasetError: a key that is not staged, or whose record is broken.
        """
        records = self._staging / "records"
        chosen = sorted(path.stem for path in records.glob("*.json")) if keys is None else list(keys)
        absent = [key for key in chosen if not self.has(key)]
        if absent:
            raise DatasetError(
                f"{self.root}: {len(absent)} not staged in split {self.split!r}: {', '.join(absent[:5])}"
            )
        if len(set(chosen)) < len(chosen):
            raise DatasetError(f"{self.root}: a key is given twice")
        samples = []
        for key in chosen:
            files, sample = self._read_record(self._record_path(key))
            for name in files:
                staged, place = self._staging / "files" / name, self.root / name
                if staged.is_file():  # moved already when an earlier finish was interrupted
                    place.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(staged, place)
                elif not place.is_file():
                    raise DatasetError(f"{place}: was staged for {key!r}, but has gone")
            samples.append(sample)
        try:
            self._write_lists(chosen, samples)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"{self._staging}: a staged sample is broken ({error!r}); remove the folder") from error
        self.discard()

    def discard(self) -> None:
        """Forget what is staged and not listed."""
        shutil.rmtree(self._staging, ignore_errors=True)
        with suppress(OSError):  # it isn't there, or another split is staged in it
            self._staging.parent.rmdir()

    def _read_record(self, path: Path) -> tuple[list[str], Any]:
        """The files of a staged sample, under the root, and what the lists need of it."""
        try:
            content = json.loads(path.read_bytes())
            for name in content["files"]:
                inside(self.root, name)
            return list(content["files"]), content["sample"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DatasetError(f"{path}: broken ({error}); remove it, and its sample is staged again") from error

    @abstractmethod
    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        """The files of a sample (path under the root: content), the image last, and what the lists need of it."""

    @abstractmethod
    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        """Write the split's lists, each atomically, from what `_encode` returned."""

    def _record_path(self, key: str) -> Path:
        if not key or key.startswith(".") or "/" in key or "\\" in key:
            raise ValueError(f"key must be a plain file name, got {key!r}")
        return self._staging / "records" / f"{key}.json"

    def _check(self, image: Any, target: dict[str, Any]) -> Sample:
        pixels = _rgb(image)
        size = (pixels.shape[0], pixels.shape[1])
        masks = _field(target, "masks", bool)
        boxes = _boxes(target)
        if boxes is None:
            boxes = np.zeros((0, 4), dtype=np.float32) if masks is None else boxes_from_masks(masks)
        count = len(boxes)
        labels = _field(target, "labels", np.int64, default=np.zeros(0))
        area = _field(target, "area", np.float64)
        if area is None:
            sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
            area = sides.prod(axis=1) if masks is None else masks.sum(axis=(1, 2)).astype(np.float64)
        zeros = np.zeros(count)
        fields = {
            "labels": labels,
            "area": area,
            "iscrowd": _field(target, "iscrowd", np.int64, default=zeros),
            "difficult": _field(target, "difficult", bool, default=zeros),
            "visibility": _field(target, "visibility", np.float64),
        }
        for name, value in fields.items():
            if value is not None and value.shape != (count,):
                raise ValueError(f"{name} must be ({count},) like the boxes, got {value.shape}")
        if masks is not None and masks.shape != (count, *size):
            raise ValueError(f"masks must be {(count, *size)}, got {masks.shape}")
        if not np.isfinite(boxes).all() or not np.isfinite(area).all():
            raise ValueError("boxes and area must be finite")
        if count and not (labels.min() >= 0 and labels.max() < len(self.classes)):
            raise ValueError(f"labels must be in 0..{len(self.classes) - 1}, got {labels.min()}..{labels.max()}")
        semantic = _field(target, "semantic", np.uint8)
        if semantic is not None and semantic.shape != size:
            raise ValueError(f"semantic must be {size} like the image, got {semantic.shape}")
        panoptic, segments = _field(target, "panoptic", np.int64), target.get("segments_info")
        if panoptic is not None and panoptic.shape != size:
            raise ValueError(f"panoptic must be {size} like the image, got {panoptic.shape}")
        return Sample(pixels, boxes, masks=masks, semantic=semantic, panoptic=panoptic, segments=segments, **fields)


def _rgb(image: Any) -> np.ndarray:
    if isinstance(image, torch.Tensor):
        if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
            raise ValueError(f"image must be a uint8 (3, H, W) tensor, got {image.dtype} {tuple(image.shape)}")
        return np.ascontiguousarray(image.detach().cpu().permute(1, 2, 0).numpy())
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"image must be uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return np.ascontiguousarray(pixels)


def _field(target: dict[str, Any], name: str, dtype: Any, default: np.ndarray | None = None) -> Any:
    value = target.get(name, default)
    if value is None:
        return None
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value).astype(dtype, copy=False)


def _boxes(target: dict[str, Any]) -> np.ndarray | None:
    boxes = target.get("boxes")
    if isinstance(boxes, tv_tensors.BoundingBoxes):
        boxes = F.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY).as_subclass(
            torch.Tensor
        )
    array = _field({"boxes": boxes}, "boxes", np.float64)
    if array is not None and (array.ndim != 2 or array.shape[1] != 4):
        raise ValueError(f"boxes must be (N, 4), got {array.shape}")
    return array
