"""Medical Segmentation Decathlon: NIfTI volumes and their label volumes, read through nibabel."""

from __future__ import annotations

import json
import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.files import inside
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.readers.base import DenseDataset
from cutmix_dense.data.writers.decathlon import DecathlonWriter
from cutmix_dense.extras import require

if TYPE_CHECKING:
    from cutmix_dense.transforms.layout import Layout

_SECTIONS = {"train": "training", "val": "validation"}
_OF_SPLITS = frozenset({"training", "validation", "test", "numTraining", "numTest", "labels"})
_MOST_VOXELS = 2**30
_RATIO = 1032  # nothing that gzip has packed is so many times as long: deflate's best is 1032 to 1


class DecathlonDataset(DenseDataset):
    """Volumes with semantic labels from a folder with the Decathlon's layout and its `dataset.json`.

    A sample is a float32 tensor (C, D, H, W), intensities as the file scales them, with the axes z, y, x: NIfTI's
    x, y, z turned round, its voxels' order kept as it is in the file. The target has `image_id` (the file's name),
    `semantic` (D, H, W) uint8 and `spacing` (3,) float32, millimetres along z, y, x. `classes` are the `labels` of
    dataset.json. The transforms take it with ``layout="BCDHW"``.

    Args:
        root: the dataset folder, which holds dataset.json.
        split: "train" for the list `training`, "val" for the list `validation`, which MONAI's users add.
        common: `pixels` and `details`, which mean nothing for volumes; see `DenseDataset`.

    Raises:
        ImportError: nibabel is not installed.
        DatasetError: a dataset.json that is missing or broken.
        SampleError: on access, a volume that cannot be read, of more than 2³⁰ voxels, or with a label that dataset.json
            does not list.
    """

    layout = "decathlon"
    title = "Medical Segmentation Decathlon"
    writer = DecathlonWriter
    mix_layout: Layout = "BCDHW"

    def __init__(self, root: str | Path, split: str = "train", **common: Any) -> None:
        require("nibabel", "volumes")
        super().__init__(root, split, **common)
        self.annotations = self.root / "dataset.json"
        content = _read_json(self.annotations)
        if not isinstance(content.get(_SECTIONS.get(split, "")), list):
            found = ", ".join(self.find_splits(self.root)) or "none"
            raise DatasetError(f"{self.annotations}: no split {split!r} (splits found: {found})")
        self._pairs: list[tuple[str, str]] = []
        for i, entry in enumerate(content[_SECTIONS[split]]):
            if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("image", "label")):
                raise DatasetError(f"{self.annotations}: {_SECTIONS[split]}[{i}] must name an 'image' and a 'label'")
            self._pairs.append((entry["image"], entry["label"]))
        self.classes = _classes(content.get("labels"), self.annotations)
        self.header = {key: value for key, value in content.items() if key not in _OF_SPLITS}
        self.has_instances, self.has_semantic = False, True

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the splits that dataset.json lists."""
        if not ((root / "dataset.json").is_file() and (root / "labelsTr").is_dir()):
            return []
        content = _read_json(root / "dataset.json")
        return [split for split, section in _SECTIONS.items() if isinstance(content.get(section), list)]

    def __len__(self) -> int:
        return len(self._pairs)

    def image_path(self, index: int) -> Path:
        """The image volume of sample `index`."""
        return self._path(self._pairs[index][0])

    def picture(self, index: int) -> PictureInfo:
        """Path of the volume, its place in space, the type of its numbers and its header."""
        path = self.image_path(index)
        nibabel = require("nibabel", "volumes")
        with blaming(path):
            try:
                image = nibabel.load(path)
                details = {"affine": image.affine.tolist(), "dtype": image.get_data_dtype().newbyteorder("=").str}
                if isinstance(image.header, nibabel.Nifti1Header):
                    details["header"] = nibabel.Nifti1Header.from_header(image.header).as_byteswapped("<").binaryblock
            except _broken(nibabel) as error:
                raise ValueError(f"not a readable NIfTI file ({error})") from error
        return PictureInfo(Path(self._pairs[index][0]).as_posix(), details)

    def _path(self, name: str) -> Path:
        try:
            return inside(self.root, name)
        except ValueError as error:
            raise SampleError(self.annotations, str(error)) from error

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        path, label_path = (self._path(name) for name in self._pairs[index])
        values, spacing = _read_volume(path)
        labels, _ = _read_volume(label_path)
        if labels.shape[0] != 1 or labels.shape[1:] != values.shape[1:]:
            sizes = " and ".join("×".join(map(str, each.shape)) for each in (labels, values))
            raise SampleError(label_path, f"labels and image must have one size, got (C×D×H×W) {sizes}")
        low, high = float(labels.min()), float(labels.max())
        if not (low >= 0 and high < len(self.classes)) or (labels != np.floor(labels)).any():
            raise SampleError(label_path, f"labels must be whole numbers of {self.classes}, got {low:g} … {high:g}")
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        semantic = np.ascontiguousarray(labels[0], dtype=np.uint8)
        return values, {"image_id": name, "semantic": semantic, "spacing": np.array(spacing, dtype=np.float32)}


def _broken(nibabel: Any) -> tuple[type[Exception], ...]:
    """What nibabel raises for a broken file besides what `blaming` knows."""
    return (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, zlib.error, struct.error)


def _read_volume(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """(C, D, H, W) float32 values and the spacing along z, y, x of a NIfTI file."""
    nibabel = require("nibabel", "volumes")
    with blaming(path):
        if not path.is_file():
            raise FileNotFoundError
        try:
            image = nibabel.load(path)
            shape = tuple(int(side) for side in image.shape)
            if len(shape) not in (3, 4) or min(shape) < 1:
                raise ValueError(f"must hold a volume of three axes, or four with channels, got {shape}")
            if math.prod(shape) > _MOST_VOXELS:
                raise ValueError(f"declares {shape} voxels, more than {_MOST_VOXELS}")
            if image.get_data_dtype().kind not in "iuf":
                raise ValueError(f"must hold numbers, got {image.get_data_dtype()}")
            most = _RATIO * path.stat().st_size
            if math.prod(shape) * image.get_data_dtype().itemsize > most:
                raise ValueError(f"declares {shape} voxels, more than its bytes can hold")
            values = np.asarray(image.dataobj, dtype=np.float32)
            spacing = tuple(float(side) for side in image.header.get_zooms()[2::-1])
            if not all(map(math.isfinite, spacing)):
                raise ValueError(f"must have a finite spacing, got {spacing} along z, y, x")
        except _broken(nibabel) as error:
            raise ValueError(f"not a readable NIfTI file ({error})") from error
        if not np.isfinite(values).all():
            raise ValueError("holds voxels that are not finite")
    values = values.transpose(2, 1, 0)[None] if values.ndim == 3 else values.transpose(3, 2, 1, 0)
    return np.ascontiguousarray(values), spacing


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with blaming(path):
            content = json.loads(path.read_text(encoding="utf-8"))
    except (SampleError, RecursionError) as error:
        reason = error.reason if isinstance(error, SampleError) else "nested too deeply"
        raise DatasetError(f"{path}: not a readable JSON file ({reason})") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not a Decathlon's dataset.json, the top level is a {type(content).__name__}")
    return content


def _classes(labels: Any, path: Path) -> tuple[str, ...]:
    """Names in the order of their numbers, which must count up from 0."""
    if not isinstance(labels, dict) or sorted(labels) != sorted(str(number) for number in range(len(labels))):
        raise DatasetError(f"{path}: 'labels' must name the numbers 0, 1, …, got {str(labels)[:200]}")
    if not 1 <= len(labels) <= 255:
        raise DatasetError(f"{path}: 'labels' must name 1 to 255 classes, got {len(labels)}")
    return tuple(str(labels[str(number)]) for number in range(len(labels)))
