"""What all writers share: checking a sample, staging it whole, and listing it last."""

from __future__ import annotations

import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import dump_json, inside, write_atomic
from cutmix_dense.data.masks import boxes_from_masks, polygon_area, tight_area
from cutmix_dense.data.pictures import PictureInfo, encode_picture, suffix_for
from cutmix_dense.data.splits import check_split_name

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset

_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Control characters, halves of surrogate pairs and what is no character: UTF-8 or XML can't hold them."""

REDRAWN = "corners of polygons (redrawn along the pixels of their masks)"
"""What `Sample.lost` calls them."""

_OF_POLYGONS = frozenset({"coco", "hf_dataset", "hf_imagefolder", "labelme", "voc", "yolo"})
"""Layouts whose files may state masks as polygons."""


@dataclass(frozen=True)
class Sample:
    """One checked sample as arrays; what the target has no key for is None.

    Attributes:
        image: any number of bands and any type.
        boxes: xyxy; of rotated boxes the upright ones round them.
        labels: by `classes`.
        iscrowd: 1 for a crowd.
        area: pixels.
        difficult: VOC's flag; `level` tells DOTA's levels of it.
        masks: by instance.
        has_mask: which rows of the masks are stated; all True where the target doesn't say.
        semantic: class ids.
        visibility: what shows of each instance.
        weight: share of the pixels' colour that each instance has, below 1 where pictures were blended.
        panoptic: ids of segments.
        segments: what they are.
        corners: of rotated boxes.
        keypoints: x, y and COCO's flag.
        details: what else is said of each instance.
        picture: name and details of the picture.
        lost: what the layout has no place for, and how often; writers count here.
    """

    image: Shaped[np.ndarray, "h w c"]
    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    iscrowd: Int[np.ndarray, " n"]
    area: Float[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]
    masks: Bool[np.ndarray, "n h w"] | None
    has_mask: Bool[np.ndarray, " n"]
    semantic: UInt8[np.ndarray, "h w"] | None
    visibility: Float[np.ndarray, " n"] | None
    weight: Float[np.ndarray, " n"] | None = None
    panoptic: Int[np.ndarray, "h w"] | None = None
    segments: list[dict[str, Any]] | None = None
    corners: Float[np.ndarray, "n 8"] | None = None
    keypoints: Float[np.ndarray, "n k 3"] | None = None
    details: list[dict[str, Any]] = field(default_factory=list)
    picture: PictureInfo | None = None
    lost: Counter[str] = field(default_factory=Counter)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]

    def level(self, i: int) -> int:
        """Level of a difficult instance: the one that its details state if it is above 1, else 1."""
        stated = self.details[i].get("difficult")
        return stated if isinstance(stated, int) and stated > 1 else 1

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

    layout: ClassVar[str]
    """The layout's name, which is its reader's."""

    made_anew: ClassVar[tuple[str, ...]] = ()
    """What the layout's lists number by themselves, whatever the source had."""

    holds_weights: ClassVar[bool] = False
    """Whether instances of the layout have a place for `weight`; else those below 1 are counted as lost."""

    renames_addresses: ClassVar[bool] = False
    """Whether the address that names a picture becomes one of its file in the copy; else mixed pictures have none."""

    formats: ClassVar[tuple[str, ...] | None] = None
    """Endings of picture files that the layout's users read; None: all that are written."""

    def __init__(self, root: str | Path, *, classes: Sequence[str], split: str = "train", quality: int = 95) -> None:
        self.root, self.split = Path(root), check_split_name(split)
        self.classes, self.quality = tuple(classes), quality
        self._staging = self.root / ".staging" / split

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> Writer:
        """The writer of a copy of a dataset, of this layout or another; ValueError where it has no place for it.

        Args:
            dataset: what is copied: its classes, and what else of it goes into the lists.
            root: the folder of the copy.
            split: name of the split in the copy.
            quality: JPEG quality, 1–100.
        """
        if dataset.mix_layout != "BCHW":
            raise ValueError(
                f"{cls.layout} holds single pictures, samples of {dataset.layout} are {dataset.mix_layout}"
            )
        return cls(root, classes=dataset.classes, split=split, quality=quality)

    @classmethod
    def instances_of(cls, dataset: DenseDataset) -> tuple[tuple[str, ...], int]:
        """A dataset's classes with a background before them, and by how many its labels move up for that.

        Raises:
            ValueError: samples that hold no instances, or are no single pictures.
        """
        if dataset.mix_layout != "BCHW" or dataset.has_panoptic:
            raise ValueError(f"{cls.layout} holds instances of single pictures, samples of {dataset.layout} are others")
        if not dataset.has_instances:
            raise ValueError(f"{cls.layout} holds instances, samples of this {dataset.layout} set are semantic maps")
        shift = int(dataset.classes[:1] != ("background",))  # the classes of maps, whose ids begin at 0
        return ("background",) * shift + tuple(dataset.classes), shift

    @classmethod
    def check_names(cls, names: Sequence[str], *, lines: bool = False, reserved: Collection[str] = ()) -> None:
        """For layouts that tell classes by their names: ValueError where those don't do.

        Args:
            names: of the classes, the background's left out.
            lines: whether a list has one name a line, around which white space counts for nothing.
            reserved: names that mean something else in the layout.
        """
        first: dict[str, int] = {}
        for number, name in enumerate(names, 1):
            other = first.setdefault(name, number)
            if other != number:
                raise ValueError(
                    f"{cls.layout} tells classes by their names, but the classes {other} and {number} are both called "
                    f"{name!r}; rename one of them in the source, or write COCO, which tells them by ids"
                )
            broken = lines and (name.splitlines() != [name] or name != name.strip() or _NO_TEXT.search(name))
            if not name or broken or name in reserved:
                why = (
                    "it means something else there"
                    if name in reserved
                    else "it must be one line of text, no space round it"
                )
                raise ValueError(f"{cls.layout} can't hold the class name {name!r}: {why}; rename it in the source")

    @property
    def listed_as(self) -> str:
        """The name by which the lists call the split."""
        return self.split

    @classmethod
    def name_of(cls, split: str) -> str:
        """What the lists usually call a split of this name."""
        return split

    def absent(self) -> list[str]:
        """The splits that trainers of this layout need and that the root doesn't list yet."""
        return []

    def taken(self) -> set[str]:
        """The keys, in small letters, of other splits that have their files in this one's folders."""
        return set()

    @classmethod
    def stem_of(cls, path: Path) -> str:
        """What a sample of this layout is called after its source's picture file."""
        return path.stem.removesuffix("_leftImg8bit")

    def has(self, key: str) -> bool:
        """Whether the sample `key` is staged, whole, and not yet listed by `finish`."""
        return self._record_path(key).is_file()

    def add(self, key: str, image: Any, target: Any, picture: PictureInfo | None = None) -> dict[str, int]:
        """Stage one sample; doing it again replaces it.

        Args:
            key: its name, which becomes the file name: a plain name without folders.
            image: (C, H, W) tensor, (H, W, C) array, or PIL image, of any number of bands and any type; a clip has an
                axis for its frames before these.
            target: a dict, or for clips a list with one for each frame, of `boxes` (N, 4), or of a rotated format;
                `labels` (N,), `masks` (N, H, W), `has_mask` (N,), `keypoints` (N, K, 3), `iscrowd`, `area`,
                `difficult`, `visibility`, `weight` (N,), `details` (N dicts), `semantic` (H, W), `panoptic` (H, W) with
                `segments_info`.
            picture: name and details of the picture that the sample shows; its ending and folders are kept.

        Returns:
            What the layout has no place for, and how often it occurred in this sample.

        Raises:
            ValueError: fields that do not fit together, or a label without a class.
        """
        files, record, lost = self._staged(key, image, target, picture)
        for name, content in files.items():
            write_atomic(self._staging / "files" / name, content)
        write_atomic(self._record_path(key), dump_json({"files": list(files), "sample": record}))
        return {name: count for name, count in lost.items() if count}

    def _staged(
        self, key: str, image: Any, target: Any, picture: PictureInfo | None
    ) -> tuple[dict[str, bytes], Any, Counter[str]]:
        """The files of a sample, what the lists need of it, and what is lost. Writers of clips have their own."""
        sample = self._check(image, target, picture)
        files, record = self._encode(key, sample)
        return files, record, sample.lost

    def picture_file(self, folder: str, key: str, sample: Sample, like: str = ".jpg") -> tuple[str, bytes]:
        """Path under the root and content of a sample's picture.

        Args:
            folder: of the split's pictures, under the root.
            key: the sample's.
            sample: its pixels, and the name of the picture it shows, whose ending and sub-folders are kept.
            like: the ending that is wanted where no such name is given.
        """
        name = Path(f"{key}{like}") if sample.picture is None else Path(sample.picture.name)
        suffix = suffix_for(sample.image, name.suffix, self.formats)
        inner = name.parent if sample.picture is not None else Path()
        return (Path(folder) / inner / f"{key}{suffix}").as_posix(), self.encoded(sample, suffix)

    def encoded(self, sample: Sample, suffix: str) -> bytes:
        """The content of a sample's picture file, with what its source's says besides pixels; what it can't is lost."""
        picture = PictureInfo("") if sample.picture is None else sample.picture
        tags = picture.tags.fitting(suffix, sample.image.shape[2])
        sample.lost.update(tags.lost)
        return encode_picture(sample.image, suffix, self.quality, picture.bands, tags)

    @classmethod
    def redraws(cls, dataset: DenseDataset) -> bool:
        """Whether a dataset's masks may be polygons, of which a copy in this layout knows the pixels alone."""
        return dataset.layout != cls.layout and dataset.layout in _OF_POLYGONS

    @staticmethod
    def count_picture_details(sample: Sample, kept: Collection[str] = ()) -> None:
        """Count as lost what else is said of a sample's picture, but for the names that are kept."""
        for name in {} if sample.picture is None else sample.picture.details:
            if name not in kept:
                sample.lost[f"{name} of pictures"] += 1

    def finish(self, keys: Iterable[str] | None = None) -> None:
        """List the samples of `keys`, in that order (default: all that are staged, sorted); then clear the staging.

        Raises:
            DatasetError: a key that is not staged, whose record is broken, or that another split has in these folders.
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
        taken = self.taken()
        clash = [key for key in chosen if key.lower() in taken]
        if clash:
            raise DatasetError(
                f"{self.root}: {len(clash)} keys of the split {self.split!r} are another split's, which has the same "
                f"folders: {', '.join(clash[:5])}; give others, as a mixed copy does where it is run again"
            )
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

    def _check(self, image: Any, target: Mapping[str, Any], picture: PictureInfo | None) -> Sample:
        pixels = _pixels(image)
        size = (pixels.shape[0], pixels.shape[1])
        masks = _field(target, "masks", bool)
        boxes, corners = _boxes(target.get("boxes"))
        if boxes is None:
            boxes = np.zeros((0, 4), dtype=np.float32) if masks is None else boxes_from_masks(masks)
        count = len(boxes)
        labels = _field(target, "labels", np.int64, default=np.zeros(0))
        has_mask = _field(target, "has_mask", bool, default=np.full(count, masks is not None))
        area = _field(target, "area", np.float64)
        if area is None:
            area = tight_area(boxes.astype(np.float64)) if corners is None else polygon_area(corners)
            if masks is not None:
                area = np.where(has_mask, masks.sum(axis=(1, 2)).astype(np.float64), area)
        zeros = np.zeros(count)
        fields = {
            "labels": labels,
            "area": area,
            "iscrowd": _field(target, "iscrowd", np.int64, default=zeros),
            "difficult": _field(target, "difficult", bool, default=zeros),
            "has_mask": has_mask,
            "visibility": _field(target, "visibility", np.float64),
            "weight": _field(target, "weight", np.float64),
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
        keypoints = _field(target, "keypoints", np.float64)
        if keypoints is not None and (keypoints.ndim != 3 or len(keypoints) != count or keypoints.shape[2] != 3):
            raise ValueError(f"keypoints must be ({count}, K, 3) like the boxes, got {keypoints.shape}")
        details = list(target.get("details") or [{} for _ in range(count)])
        if len(details) != count:
            raise ValueError(f"details must be {count} dicts like the boxes, got {len(details)}")
        lost: Counter[str] = Counter()
        if fields["weight"] is not None and not self.holds_weights:
            lost["weight of half-transparent instances (written like opaque ones)"] += int(
                np.count_nonzero(fields["weight"] < 1)
            )
        return Sample(
            pixels,
            boxes,
            masks=masks,
            semantic=semantic,
            panoptic=panoptic,
            segments=segments,
            corners=corners,
            keypoints=keypoints,
            details=details,
            picture=picture,
            lost=lost,
            **fields,
        )


def _pixels(image: Any) -> Shaped[np.ndarray, "h w c"]:
    """(H, W, C) of a tensor (C, H, W), an array (H, W, C) or (H, W), or a PIL image."""
    pixels = _array(image)
    if pixels.ndim == 2 and pixels is not image:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ValueError(f"image must be a (C, H, W) tensor or an (H, W, C) array, got {pixels.dtype} {pixels.shape}")
    if _is_tensor(image):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype.kind not in "uif":
        raise ValueError(f"image must hold integers or floating point, got {pixels.dtype}")
    return np.ascontiguousarray(pixels)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu().numpy() if _is_tensor(value) else value)


def _field(target: Mapping[str, Any], name: str, dtype: Any, default: np.ndarray | None = None) -> Any:
    value = target.get(name, default)
    return None if value is None else _array(value).astype(dtype, copy=False)


def _boxes(boxes: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(N, 4) xyxy, and (N, 8) corners of boxes of a rotated format."""
    if boxes is None:
        return None, None
    form = getattr(boxes, "format", None)
    if form is not None:
        from torchvision import tv_tensors  # a tv_tensor is here, so it is loaded
        from torchvision.transforms.v2 import functional as tvf

        upright = form.name in ("XYXY", "XYWH", "CXCYWH")
        wanted = tv_tensors.BoundingBoxFormat["XYXY" if upright else "XYXYXYXY"]
        boxes = tvf.convert_bounding_box_format(boxes, new_format=wanted)
    array = _array(boxes).astype(np.float64, copy=False)
    if array.ndim != 2 or array.shape[1] not in (4, 8):
        raise ValueError(f"boxes must be (N, 4), or (N, 8) corners of rotated ones, got {array.shape}")
    if array.shape[1] == 4:
        return array, None
    points = array.reshape(-1, 4, 2)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1), array
