"""Medical Segmentation Decathlon: `imagesTr`, `labelsTr`, `dataset.json`; volumes as NIfTI, in their place in space."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import write_atomic
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.writers.base import Sample, Writer
from cutmix_dense.extras import require

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset

_SECTIONS = {"train": "training", "val": "validation"}


class DecathlonWriter(Writer):
    """Writes a split of volumes; splits of one root share its folders, so their keys must differ (`taken`).

    A volume has the affine and the header of the one it shows. Its numbers are of its source's type where that holds
    them exactly, else float32; labels are uint8. The other split's list in dataset.json stays.

    Args:
        root: the folder of the dataset.
        classes: names by label.
        split: "train" or "val".
        quality: has no meaning here.
        header: what else dataset.json says.

    Raises:
        ImportError: nibabel is not installed.
        ValueError: another split.
        DatasetError: a dataset.json that is broken, or whose labels are others.
    """

    layout = "decathlon"

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str],
        split: str = "train",
        quality: int = 95,
        header: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        if split not in _SECTIONS:
            raise ValueError(f"split must be one of {tuple(_SECTIONS)} in a Decathlon set, got {split!r}")
        require("nibabel", "volumes")
        self.header = dict(header or {})
        self._stated()

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> DecathlonWriter:
        """The writer of a copy of a dataset of volumes with labels; ValueError for others."""
        if dataset.mix_layout != "BCDHW" or not dataset.has_semantic:
            raise ValueError(f"decathlon holds volumes with labels, samples of {dataset.layout} are others")
        return cls(root, classes=dataset.classes, split=split, header=getattr(dataset, "header", {}))

    @classmethod
    def stem_of(cls, path: Path) -> str:
        """The file's name without its endings."""
        return path.name.removesuffix(".gz").removesuffix(".nii")

    def _staged(
        self, key: str, image: Any, target: Any, picture: PictureInfo | None
    ) -> tuple[dict[str, bytes], Any, Counter[str]]:
        """Check and encode a volume: (C, D, H, W) tensor or array, with `semantic` (D, H, W)."""
        values, labels = np.asarray(image), np.asarray(target["semantic"])
        if values.ndim != 4 or labels.shape != values.shape[1:]:
            raise ValueError(
                f"a volume must be (C, D, H, W) and its labels (D, H, W), got {values.shape}, {labels.shape}"
            )
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            what = "what no volume covers" if int(labels.max()) == 255 else "no class"
            raise ValueError(
                f"the label {int(labels.max())} is {what}; the Decathlon has labels 0..{len(self.classes) - 1}"
            )
        names = {"image": f"imagesTr/{key}.nii.gz", "label": f"labelsTr/{key}.nii.gz"}
        details = {} if picture is None else picture.details
        spacing = [float(side) for side in target.get("spacing", (1, 1, 1))]
        files = {
            names["label"]: _nifti(labels.astype(np.uint8)[None], details, spacing),
            names["image"]: _nifti(_as_stored(values, details), details, spacing),
        }
        lost = Counter({"instances": len(target.get("labels", ()))})
        return files, {part: f"./{name}" for part, name in names.items()}, lost

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        raise ValueError("decathlon holds volumes, this is a picture")

    @property
    def _section(self) -> str:
        return _SECTIONS[self.split]

    def taken(self) -> set[str]:
        """The keys, in small letters, that the other split's list names."""
        stated = self._stated()
        lists = [stated.get(section) for section in _SECTIONS.values() if section != self._section]
        entries = [entry for found in lists if isinstance(found, list) for entry in found if isinstance(entry, dict)]
        return {self.stem_of(Path(str(entry.get("image")))).lower() for entry in entries}

    def _stated(self) -> dict[str, Any]:
        """What the root's dataset.json says already, of another split."""
        path = self.root / "dataset.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise DatasetError(f"{path}: not a readable JSON file ({error})") from error
        if not isinstance(content, dict) or content.get("labels") != self._labels():
            raise DatasetError(f"{path}: has other labels than those of the split {self.split!r}")
        return content

    def _labels(self) -> dict[str, str]:
        return {str(label): name for label, name in enumerate(self.classes)}

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        content = {**self.header, **self._stated(), "labels": self._labels(), self._section: samples}
        content["numTraining"] = len(content.get("training", ()))
        write_atomic(self.root / "dataset.json", (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _as_stored(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """The numbers in the type of their file, where it holds them exactly."""
    kind = np.dtype(details.get("dtype", values.dtype))
    if kind.kind in "iu" and np.isfinite(values).all():
        limits = np.iinfo(kind)
        if limits.min <= values.min() and values.max() <= limits.max and (values == np.rint(values)).all():
            return values.astype(kind)
    return values.astype(np.float32)


def _nifti(values: np.ndarray, details: Mapping[str, Any], spacing: Sequence[float]) -> bytes:
    """A packed NIfTI file of (C, D, H, W), axes turned round as NIfTI has them."""
    nibabel = require("nibabel", "volumes")
    array = values[0].transpose(2, 1, 0) if len(values) == 1 else values.transpose(3, 2, 1, 0)
    given = details.get("header")
    header = None if given is None else nibabel.Nifti1Header(given)
    affine = details.get("affine")
    affine = np.diag([*spacing[::-1], 1.0]) if affine is None else np.asarray(affine, dtype=np.float64)
    image = nibabel.Nifti1Image(np.ascontiguousarray(array), affine, header, dtype=array.dtype)
    image.header.set_slope_inter(1, 0)
    return gzip.compress(image.to_bytes(), 6, mtime=0)
