"""Folders of images and masks: `images/<split>/…`, `masks/<split>/….png` and what names the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, UInt8

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import write_atomic
from cutmix_dense.data.map_forms import MapForm
from cutmix_dense.data.maps import voc_palette
from cutmix_dense.data.writers.base import Sample, Writer

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset


class ImageMasksWriter(Writer):
    """Writes pictures and maps of the same name; splits of one root share the names of classes.

    A copy of such a dataset has maps of the same form, ids, 0/255 or colours, with the same tables of classes. Of other
    layouts it has palette maps with VOC's colours and `classes.txt`: their semantic map, else one painted from their
    masks or segments. Pixels without a class are 255, or what means so in the source.

    Args:
        root: the folder of the dataset.
        classes: names by id.
        split: name of the sub-folders.
        quality: JPEG quality, 1–100.
        form: how maps are written; default: ids with VOC's colours as a palette.
        first: the id of label 0: 1 where labels of instances count from 0 and there is no background among them.
        categories: of a panoptic dataset, ids by `category_id`.

    Raises:
        ValueError: more than 255 classes.
        DatasetError: the root holds a split with other classes.
    """

    layout = "image_masks"

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str],
        split: str = "train",
        quality: int = 95,
        form: MapForm | None = None,
        first: int = 0,
        categories: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        names = (*["background"] * first, *self.classes)
        if len(names) > 255:
            raise ValueError(f"a map of ids can hold 255 classes, got {len(names)}")
        self.form = MapForm("ids", names, mode="P", palette=voc_palette()) if form is None else form
        self.first, self.categories = first, categories
        self._tables = self.form.tables()
        for name, content in self._tables.items():
            stated = self.root / name
            if stated.is_file() and stated.read_bytes() != content:
                raise DatasetError(f"{stated}: states other classes than those of the split {split!r}")

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> ImageMasksWriter:
        """The writer of a copy of a dataset; ValueError where it knows no class of pixels."""
        if dataset.mix_layout != "BCHW":
            raise ValueError(f"image_masks holds single pictures, samples of {dataset.layout} are {dataset.mix_layout}")
        common: dict[str, Any] = {"classes": dataset.classes, "split": split, "quality": quality}
        form = getattr(dataset, "form", None)
        if dataset.has_semantic:
            return cls(root, **common, form=form if isinstance(form, MapForm) else None)
        if dataset.has_panoptic:
            return cls(root, **common, categories=dict(getattr(dataset, "labels", {})))
        if dataset.has_masks:
            return cls(root, **common, first=int(dataset.classes[:1] != ("background",)))
        raise ValueError(
            f"image_masks holds a class for every pixel, and this {dataset.layout} dataset has neither maps nor masks"
        )

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        content, unplaced = self.form.encode(self._ids(sample))
        sample.lost["pixels without a class, written as background"] += unplaced
        for what, count in (("boxes", len(sample.boxes)), ("keypoints", _count(sample.keypoints))):
            sample.lost[what] += count
        if sample.masks is not None:
            sample.lost["instances (a map of classes doesn't tell them apart)"] += int(sample.has_mask.sum())
        if sample.panoptic is not None:
            sample.lost["segments (a map of classes doesn't tell them apart)"] += len(sample.segments or ())
        sample.lost["details"] += sum(map(bool, sample.details))
        name, picture = self.picture_file(f"images/{self.split}", key, sample)
        inner = PurePosixPath(name).relative_to("images")
        return {f"masks/{inner.with_suffix('.png')}": content, name: picture}, None

    def _ids(self, sample: Sample) -> UInt8[np.ndarray, "h w"]:
        """The id of every pixel, 255 for none."""
        if sample.semantic is not None:
            return sample.semantic
        if sample.panoptic is not None and self.categories is not None:
            return _of_segments(sample.panoptic, sample.segments or [], self.categories)
        if sample.masks is None:
            raise ValueError("has neither a semantic map nor masks, which this layout is made of")
        sample.lost["instances without a mask"] += int((~sample.has_mask).sum())
        ids = np.append(sample.labels + self.first, 0)[sample.object_map()]  # -1 takes the appended background
        return ids.astype(np.uint8)

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        """What names the classes; the files that `finish` has moved are the list."""
        for name, content in self._tables.items():
            write_atomic(self.root / name, content)


def _of_segments(
    panoptic: Int[np.ndarray, "h w"], segments: Sequence[Mapping[str, Any]], categories: Mapping[int, int]
) -> UInt8[np.ndarray, "h w"]:
    """The class of every pixel from the segment it belongs to; 255 for none."""
    ids = np.full(panoptic.shape, 255, dtype=np.uint8)
    for segment in segments:
        category = int(segment["category_id"])
        if category not in categories:
            raise ValueError(
                f"segment {segment['id']} has the category_id {category}, which isn't among the categories"
            )
        ids[panoptic == int(segment["id"])] = categories[category]
    return ids


def _count(keypoints: np.ndarray | None) -> int:
    return 0 if keypoints is None else int((keypoints[..., 2] > 0).any(axis=1).sum())
