"""Cityscapes: `leftImg8bit/<split>/<city>` and `gtFine/<split>/<city>`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, UInt8

from cutmix_dense.data import class_tables
from cutmix_dense.data.class_tables import id_to_train_id, train_id_to_id
from cutmix_dense.data.details import STATED
from cutmix_dense.data.files import dump_json
from cutmix_dense.data.maps import encode_indices
from cutmix_dense.data.pictures import suffix_for
from cutmix_dense.data.writers.base import Sample, Writer

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset

_KINDS = ("labelIds", "instanceIds", "labelTrainIds")


class CityscapesWriter(Writer):
    """Writes a Cityscapes split: the image, labelIds, instanceIds (samples with masks) and an empty polygon list.

    The folders are the list here: `finish` moves a sample's image last, so that a listed image always has its maps.
    A crowd is drawn as a group, that is with the id of its class; where masks overlap the smaller one lies on top.
    Images keep the ending of their source, PNG or JPEG; PNG where the source has neither.

    Args:
        root: the folder of the dataset.
        split: name of the split.
        classes: Cityscapes' own names for these ids; only for likeness with the other writers.
        label_ids: whether `labels` and `semantic` hold the 19 "train" ids (255 becomes unlabeled, 0) or the "raw" 34.
        city: the city folder; default: what stands before the first underscore of the key.
        quality: JPEG quality, 1–100.
        kinds: which maps are written, of "labelIds", "instanceIds" and "labelTrainIds".
        ground_truth: "gtFine" or "gtCoarse".

    Raises:
        ValueError: an argument out of these.
    """

    layout = "cityscapes"
    formats = (".png", ".jpg", ".jpeg")

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str] | None = None,
        split: str = "train",
        label_ids: str = "train",
        city: str | None = None,
        quality: int = 95,
        kinds: Collection[str] = ("labelIds", "instanceIds"),
        ground_truth: str = "gtFine",
    ) -> None:
        if label_ids not in ("train", "raw"):
            raise ValueError(f'label_ids must be "train" or "raw", got {label_ids!r}')
        if not kinds or not set(kinds) <= set(_KINDS):
            raise ValueError(f"kinds must be of {_KINDS}, got {tuple(kinds)}")
        if ground_truth not in ("gtFine", "gtCoarse"):
            raise ValueError(f'ground_truth must be "gtFine" or "gtCoarse", got {ground_truth!r}')
        names = class_tables.TRAIN_CLASSES if label_ids == "train" else class_tables.RAW_CLASSES
        if classes is not None and tuple(classes) != names:
            raise ValueError(f'with label_ids="{label_ids}" the classes are {names}, got {tuple(classes)}')
        super().__init__(root, classes=names, split=split, quality=quality)
        self.label_ids, self.city, self.ground_truth = label_ids, city, ground_truth
        self.kinds = tuple(kind for kind in _KINDS if kind in kinds)
        self._to_id = train_id_to_id() if label_ids == "train" else _raw_ids()
        self._polygons = self._cities = False

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> CityscapesWriter:
        """The writer of a copy: of Cityscapes with the kinds of maps it has, of others if they have its class names."""
        if dataset.mix_layout != "BCHW":
            raise ValueError(f"cityscapes holds single pictures, samples of {dataset.layout} are {dataset.mix_layout}")
        if dataset.layout == cls.layout:
            writer = cls(
                root,
                split=split,
                label_ids=getattr(dataset, "label_ids", "train"),
                quality=quality,
                kinds=getattr(dataset, "map_kinds", None) or ("labelIds", "instanceIds"),
                ground_truth=getattr(dataset, "ground_truth", "gtFine"),
            )
            writer._cities = True
            writer._polygons = bool(getattr(dataset, "has_polygons", False))
            return writer
        if not (dataset.has_semantic or dataset.has_masks):
            raise ValueError(
                f"cityscapes holds a class for every pixel, and this {dataset.layout} dataset has no masks"
            )
        raw = class_tables.RAW_CLASSES
        numbers = [0 if name == "background" else raw.index(name) if name in raw else -1 for name in dataset.classes]
        if -1 in numbers:
            odd = [name for name, number in zip(dataset.classes, numbers) if number < 0]
            raise ValueError(
                f"cityscapes has classes of its own, {', '.join(odd[:5])} isn't among them: {', '.join(raw)}"
            )
        writer = cls(root, split=split, label_ids="raw", quality=quality)
        writer.classes = dataset.classes
        writer._to_id = np.zeros(256, dtype=np.uint8)
        writer._to_id[: len(numbers)] = numbers
        return writer

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        if sample.semantic is not None:
            odd = np.setdiff1d(sample.semantic, [*range(len(self.classes)), 255])
            if odd.size:
                raise ValueError(f"the map holds the id {int(odd[0])}, Cityscapes' go up to {len(self.classes) - 1}")
        kinds = self._to_id[sample.labels].astype(np.int64)
        shown = sample.object_map()
        if sample.semantic is not None:
            ids = self._to_id[sample.semantic]
        else:
            ids = np.where(shown < 0, 0, np.append(kinds, 0)[shown]).astype(np.uint8)
        inner = Path(sample.picture.name).parent.as_posix() if sample.picture is not None and self._cities else "."
        city = self.city or (key.partition("_")[0] if inner == "." else inner)
        place = f"{self.ground_truth}/{self.split}/{city}/{key}_{self.ground_truth}_"
        files = {}
        if "labelIds" in self.kinds:
            files[f"{place}labelIds.png"] = encode_indices(ids)
        if "instanceIds" in self.kinds and (sample.masks is not None or self.kinds == ("instanceIds",)):
            files[f"{place}instanceIds.png"] = encode_indices(self._instances(key, sample, kinds, shown, ids))
        if "labelTrainIds" in self.kinds:
            files[f"{place}labelTrainIds.png"] = encode_indices(id_to_train_id()[ids])
        polygons = {"imgHeight": sample.size[0], "imgWidth": sample.size[1], "objects": []}
        files[f"{place}polygons.json"] = dump_json(polygons)
        sample.lost["lists of polygons, written empty"] += self._polygons
        for what, count in (
            ("instances without a mask", int((~sample.has_mask).sum())),
            ("keypoints", 0 if sample.keypoints is None else len(sample.keypoints)),
            ("details", sum(bool(set(details) - {STATED}) for details in sample.details)),
        ):
            sample.lost[what] += count
        wanted = ".png" if sample.picture is None else Path(sample.picture.name).suffix
        suffix = suffix_for(sample.image, wanted, self.formats)
        name = f"leftImg8bit/{self.split}/{city}/{key}_leftImg8bit{suffix}"
        files[name] = self.encoded(sample, suffix)
        return files, None

    def _instances(
        self, key: str, sample: Sample, kinds: Int[np.ndarray, " n"], shown: np.ndarray, ids: UInt8[np.ndarray, "h w"]
    ) -> np.ndarray:
        """(H, W) uint16: 1000 · id + number of instances, the id elsewhere; untouched ones keep their number."""
        values, used = kinds.copy(), set()
        for i, kind in enumerate(kinds.tolist()):
            stated = sample.details[i].get(STATED, {}).get("instance_id")
            if (
                isinstance(stated, int)
                and stated not in used
                and (stated // 1000 if stated >= 1000 else stated) == kind
            ):
                values[i] = stated
                used.add(stated)
        following = dict.fromkeys(kinds.tolist(), 0)
        for i, kind in enumerate(kinds.tolist()):
            if sample.iscrowd[i] or int(values[i]) in used:
                continue
            while kind * 1000 + following[kind] in used:
                following[kind] += 1
            if following[kind] > 999:
                raise ValueError(f"Cityscapes can number 1000 instances of a class, {key} has more")
            values[i] = kind * 1000 + following[kind]
            following[kind] += 1
        whole = np.where(shown < 0, ids, np.append(values, 0)[shown])
        return whole.astype(np.uint16)

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        """The files that `finish` has moved are the list."""


def _raw_ids() -> UInt8[np.ndarray, 256]:
    """Raw ids are themselves; 255, no class at all, is unlabeled."""
    table = np.arange(256, dtype=np.uint8)
    table[255] = 0
    return table
