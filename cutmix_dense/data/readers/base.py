"""What every reader gives: the dataset interface, how its layout is recognised, and what a target holds."""

from __future__ import annotations

import operator
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from cutmix_dense.data.errors import DatasetError, DataWarning, SampleError
from cutmix_dense.data.files import inside
from cutmix_dense.data.masks import polygon_area, tight_area
from cutmix_dense.data.pictures import PictureInfo, Pixels, check_pixels, read_picture

if TYPE_CHECKING:
    from torch import Tensor

    from cutmix_dense.data.writers.base import Writer
    from cutmix_dense.transforms.layout import Layout

_LARGEST = 1e18  # of a coordinate: the area of a box between two of them is finite in float32
_MOST_NOTES = 10_000


class DenseDataset(ABC):
    """A map-style dataset of `(image, target)` pairs whose targets have the same keys for every sample.

    The image is a `tv_tensors.Image` (C, H, W), by default RGB of uint8; see ``pixels``. The readers of clips and
    volumes say what theirs is. The target has `image_id`, and where the layout knows them

    - instances: `boxes` (N, 4) `BoundingBoxes` XYXY float32, 0-based, half-open, in continuous pixels, or rotated ones;
      `labels` (N,) int64; `iscrowd` (N,) int64; `area` (N,) float32, in pixels; `masks` (N, H, W) bool; `has_mask` (N,)
      bool where only some instances state a mask; `keypoints` (N, K, 3) float32; `difficult` (N,) bool; where they are
      asked for `details`, a list of N dicts of whatever else the layout says of an instance;
    - `semantic` (H, W) uint8, 255 = ignore;
    - `panoptic` (H, W) int32 ids of segments, 0 = void, and `segments_info`, what they are.

    Boxes that are broken in the file (zero or negative sides, outside of the image) are passed on as they are, and said
    in `notes`: torchvision's detectors stop on those without area. What can't be read of a sample whose rest can is
    left out and said there, too.

    A layout is one file: its reader, which says how its folders are recognised (`find_splits`), which options it takes
    (`options`) and who writes it (`writer`); `readers.layouts.READERS` lists the readers.

    Args:
        root: the dataset folder.
        split: its name.
        pixels: how pictures are read: ``"auto"``, ``"rgb"`` or ``"stored"``; see ``pictures.Pixels``.
        details: whether targets have `details`.

    Attributes:
        layout: its name: "coco", "voc" …
        title: its name for people.
        options: what its constructor takes besides these: name and one line of help.
        writer: the class that writes the layout; None where it is only read.
        general: whether the layout is so plain that a folder counts as it only if no other layout is found. A folder of
            pictures and nothing else can only be of these.
        classes: label `i` means `classes[i]`.
        has_masks: whether targets have `masks`.
        has_instances: whether targets have instances: `boxes` and `labels`.
        has_semantic: whether targets have `semantic`.
        has_panoptic: whether targets have `panoptic` and `segments_info`.
        mix_layout: the `layout` that a transform needs for its samples: images, clips or volumes.
        flip_pairs: (left, right) keypoints that change names where an image is mirrored.
        notes: what was left out of samples read so far, or is broken in them: (file, what is wrong) and how often.
    """

    layout: ClassVar[str]
    title: ClassVar[str]
    options: ClassVar[Mapping[str, str]] = {}
    writer: ClassVar[type[Writer] | None] = None
    general: ClassVar[bool] = False

    root: Path
    split: str
    classes: tuple[str, ...]
    has_instances: bool = True
    has_masks: bool = False
    has_semantic: bool = False
    has_panoptic: bool = False
    mix_layout: Layout = "BCHW"
    flip_pairs: tuple[tuple[int, int], ...] | None = None

    def __init__(self, root: str | Path, split: str, *, pixels: Pixels = "auto", details: bool = False) -> None:
        check_pixels(pixels)
        self.root, self.split, self.pixels, self.details = Path(root), split, pixels, details
        self.notes: dict[tuple[str, str], int] = {}
        self._told = False

    @classmethod
    @abstractmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the splits that a folder holds in this layout; none where it isn't of this layout."""

    @classmethod
    def stated_splits(cls, root: Path) -> list[str]:
        """The names of the splits that a file states, be they there or not; none where folders alone tell them."""
        return []

    @classmethod
    def whole(cls, root: Path, split: str) -> dict[str, Any]:
        """The options by which everything that a split holds is read, where that isn't the default."""
        return {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image_path(self, index: int) -> Path:
        """The image file of sample `index`; SampleError if its name leads out of the image folder."""

    def picture(self, index: int) -> PictureInfo:
        """What a copy keeps of sample `index`'s picture besides its pixels; by default its file name."""
        return PictureInfo(self.image_path(index).name)

    def picture_of_mix(
        self, sources: Sequence[tuple[int | None, Collection[int]]], labels: Collection[int], lost: Counter[str]
    ) -> PictureInfo:
        """What a copy keeps of a picture in which others show; by default what it keeps of the base's.

        Args:
            sources: index and labels of each picture that shows, the base first; None and no labels for those that lie
                elsewhere, as the cut-outs of a bank may.
            labels: of the instances that show.
            lost: counts what is no longer true and left out, by name.
        """
        base = sources[0][0]
        assert base is not None
        return self.picture(base)

    @abstractmethod
    def _load(self, index: int) -> tuple[np.ndarray, Any]:
        """Read sample `index`, which is in range: the image, axes as in the sample, and its target, all in numpy."""

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Read one sample; SampleError names the file that cannot be read and says why."""
        from cutmix_dense.data.tensors import sample_tensors  # torch is loaded by the first sample, not by a look round

        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of a split of {len(self)}")
        image, target = self._load(number % len(self))
        self._note_boxes(number % len(self), image.shape, target)
        return sample_tensors(image, target, self.mix_layout)

    def _note_boxes(self, index: int, shape: tuple[int, ...], target: Any) -> None:
        """Note the broken boxes of a sample, or of each frame of a clip."""
        for frame, part in enumerate(target if isinstance(target, list) else [target]):
            if "boxes" not in part:
                continue
            where = f"frame {frame}, instance" if isinstance(target, list) else "instance"
            for row, told in broken_boxes(part["boxes"], (shape[-2], shape[-1])).items():
                numbers = ", ".join(f"{value:g}" for value in part["boxes"][row])
                self.note(self.image_path(index), f"{where} {row} (counted from 0): {told}, got [{numbers}]")

    def note(self, path: str | Path, reason: str) -> None:
        """Remember what had to be left out of a sample; the first time, warn."""
        if not self._told:
            self._told = True
            warnings.warn(f"{path}: {reason} (further ones are counted in `notes`)", DataWarning, stacklevel=4)
        key = (str(path), reason)
        if key in self.notes or len(self.notes) < _MOST_NOTES:
            self.notes[key] = self.notes.get(key, 0) + 1

    def take_notes(self) -> list[tuple[str, str]]:
        """What was noted since this was last called: (file, what is wrong)."""
        taken = list(self.notes)
        self.notes.clear()
        return taken

    def read_image(self, path: Path, stated: tuple[int, int] | None = None, by: str = "its annotation") -> np.ndarray:
        """(C, H, W) of a picture file, in the form that ``pixels`` asks for.

        Args:
            path: the file.
            stated: (H, W) that the annotations state; the picture must have it.
            by: who states it, for the message.
        """
        try:
            array = read_picture(path, self.pixels, stated=stated, by=by)
        except SampleError as error:
            if isinstance(error.__cause__, FileNotFoundError) and "images" in self.options:
                told = f"{error.reason}; if the pictures lie elsewhere, name their folder with images="
                raise SampleError(error.path, told) from error.__cause__
            raise
        return np.ascontiguousarray(array.transpose(2, 0, 1))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(root={str(self.root)!r}, split={self.split!r}, "
            f"samples={len(self)}, classes={len(self.classes)})"
        )


def inside_folder(folder: Path, name: Any, where: str | Path) -> Path:
    """`folder / name`; SampleError that blames `where` if the name leads out of the folder."""
    try:
        return inside(folder, str(name))
    except ValueError as error:
        raise SampleError(where, str(error)) from error


def needed_folder(folder: Path, what: str, splits: list[str] | None = None) -> Path:
    """The folder itself; DatasetError if it isn't there, with the splits that are."""
    if folder.is_dir():
        return folder
    found = "" if splits is None else f" (splits found: {', '.join(splits) or 'none'})"
    raise DatasetError(f"{folder}: no such {what} folder{found}")


def finite(value: Any) -> float:
    """A coordinate or an area of a file; ValueError unless it is a number of at most 1e18 in size."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        comma = isinstance(value, str) and "," in value
        told = "; decimals have a point, and numbers are divided by spaces" if comma else ""
        raise ValueError(f"must be a number, got {value!r:.80}{told}") from None
    if not abs(number) <= _LARGEST:
        raise ValueError(f"{value!r} is not finite, or beyond {_LARGEST:g}")
    return number


def broken_boxes(boxes: Float[np.ndarray, "n c"], size: tuple[int, int]) -> dict[int, str]:
    """What is wrong with each box that an image of (H, W) can't show, by its row.

    Args:
        boxes: (N, 4) xyxy; or (N, 8), the corners of rotated boxes.
        size: (H, W) of the image.
    """
    if boxes.shape[1] == 8:
        without = polygon_area(boxes) == 0
        boxes = np.concatenate([(points := boxes.reshape(-1, 4, 2)).min(axis=1), points.max(axis=1)], axis=1)
    else:
        without = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    outside = (boxes[:, :2] >= size[::-1]).any(axis=1) | (boxes[:, 2:] <= 0).any(axis=1)
    return {
        int(row): "its box has no area" if without[row] else "its box lies outside of the picture"
        for row in np.flatnonzero(without | outside)
    }


def instance_target(
    image_id: int | str,
    size: tuple[int, int],
    boxes: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    *,
    iscrowd: Int[np.ndarray, " n"] | None = None,
    area: Float[np.ndarray, " n"] | None = None,
    masks: Sequence[Bool[np.ndarray, "h w"] | None] | Bool[np.ndarray, "n h w"] | None = None,
    has_mask: Bool[np.ndarray, " n"] | None = None,
    keypoints: Float[np.ndarray, "n k 3"] | None = None,
    difficult: Bool[np.ndarray, " n"] | None = None,
    semantic: UInt8[np.ndarray, "h w"] | None = None,
    details: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A target in numpy; every given field has its key and type, with N = 0 too.

    Args:
        image_id: as the layout has it.
        size: (H, W) of the image.
        boxes: (N, 4) xyxy, half-open; or (N, 8), the corners of rotated boxes.
        labels: (N,).
        iscrowd: (N,); zeros if not given.
        area: (N,) pixels; NaN entries, or all if not given, become the area of the mask, else of the box.
        masks: (N, H, W), or one (H, W) per instance, None for one without; no key if not given.
        has_mask: (N,), which rows of the masks are stated; no key if not given: all are.
        keypoints: (N, K, 3) x, y and COCO's flag; no key if not given.
        difficult: (N,); no key if not given.
        semantic: (H, W); no key if not given.
        details: N dicts; no key if not given.
    """
    count = len(labels)
    corners = np.asarray(boxes, dtype=np.float32).reshape(count, boxes.shape[1] if boxes.ndim == 2 else 4)
    if masks is not None and not isinstance(masks, np.ndarray):
        stack = np.zeros((count, *size), dtype=bool)
        for row, mask in zip(stack, masks):
            if mask is not None:
                row[:] = mask
        masks = stack
    measured = tight_area(corners) if corners.shape[1] == 4 else polygon_area(corners)
    if masks is not None:
        pixels = masks.reshape(count, size[0] * size[1]).sum(axis=1).astype(np.float32)
        measured = pixels if has_mask is None else np.where(has_mask, pixels, measured)
    given = np.full(count, np.nan, dtype=np.float32) if area is None else np.asarray(area, dtype=np.float32)
    crowd = np.zeros(count, dtype=np.int64) if iscrowd is None else np.asarray(iscrowd, dtype=np.int64)
    target: dict[str, Any] = {
        "image_id": image_id,
        "boxes": corners,
        "labels": np.asarray(labels, dtype=np.int64).reshape(count),
        "iscrowd": crowd.reshape(count),
        "area": np.where(np.isnan(given), measured, given).astype(np.float32),
    }
    optional: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
        "masks": (masks, bool, (count, *size)),
        "has_mask": (has_mask, bool, (count,)),
        "difficult": (difficult, bool, (count,)),
        "semantic": (semantic, np.uint8, size),
    }
    if keypoints is not None:
        target["keypoints"] = np.asarray(keypoints, dtype=np.float32)
    for key, (value, dtype, shape) in optional.items():
        if value is not None:
            target[key] = np.asarray(value, dtype=dtype).reshape(shape)
    if details is not None:
        target["details"] = details
    return target
