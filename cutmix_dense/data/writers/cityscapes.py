"""Cityscapes: `leftImg8bit/<split>/<city>` and `gtFine/<split>/<city>`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cutmix_dense.data.class_tables import RAW_CLASSES, TRAIN_CLASSES, train_id_to_id
from cutmix_dense.data.files import dump_json
from cutmix_dense.data.images import encode_indices, encode_rgb
from cutmix_dense.data.writers.base import Sample, Writer

__all__ = ["CityscapesWriter"]


class CityscapesWriter(Writer):
    """Writes a Cityscapes split: the 8-bit image, labelIds, instanceIds (samples with masks) and an empty polygon list.

    The folders are the list here: `finish` moves a sample's image last, so that a listed image always has its maps.
    A crowd is drawn as a group, that is with the id of its class; where masks overlap the smaller one lies on top.

    Args:
        root: the folder of the dataset.
        split: name of the split.
        classes: Cityscapes' own names for these ids; only for likeness with the other writers.
        label_ids: whether `labels` and `semantic` hold the 19 "train" ids (255 becomes unlabeled, 0) or the "raw" 34.
        city: the city folder; default: what stands before the first underscore of the key.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str] | None = None,
        split: str = "train",
        label_ids: str = "train",
        city: str | None = None,
    ) -> None:
        if label_ids not in ("train", "raw"):
            raise ValueError(f'label_ids must be "train" or "raw", got {label_ids!r}')
        names = TRAIN_CLASSES if label_ids == "train" else RAW_CLASSES
        if classes is not None and tuple(classes) != names:
            raise ValueError(f'with label_ids="{label_ids}" the classes are {names}, got {tuple(classes)}')
        super().__init__(root, classes=names, split=split)
        self.label_ids, self.city = label_ids, city
        self._to_id = train_id_to_id() if label_ids == "train" else np.arange(256, dtype=np.uint8)

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        ids = np.zeros(sample.size, dtype=np.uint8) if sample.semantic is None else self._to_id[sample.semantic]
        kinds = self._to_id[sample.labels].astype(np.int64)
        shown = sample.object_map()
        if sample.semantic is None:
            ids = np.where(shown < 0, 0, np.append(kinds, 0)[shown]).astype(np.uint8)
        city = self.city or key.partition("_")[0]
        place = f"gtFine/{self.split}/{city}/{key}_gtFine_"
        files = {f"{place}labelIds.png": encode_indices(ids)}
        if sample.masks is not None:
            values, counts = np.zeros(len(kinds), dtype=np.int64), dict.fromkeys(kinds.tolist(), 0)
            for i, kind in enumerate(kinds.tolist()):
                values[i] = kind
                if not sample.iscrowd[i]:
                    if counts[kind] > 999:
                        raise ValueError(f"Cityscapes can number 1000 instances of a class, {key} has more")
                    values[i] = kind * 1000 + counts[kind]
                    counts[kind] += 1
            instances = np.where(shown < 0, ids, np.append(values, 0)[shown]).astype(np.uint16)
            files[f"{place}instanceIds.png"] = encode_indices(instances)
        polygons = {"imgHeight": sample.size[0], "imgWidth": sample.size[1], "objects": []}
        files[f"{place}polygons.json"] = dump_json(polygons)
        files[f"leftImg8bit/{self.split}/{city}/{key}_leftImg8bit.png"] = encode_rgb(sample.image, ".png")
        return files, None

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        """The files that `finish` has moved are the list."""
