"""LabelMe: `<split>/<key>.jpg` and `<split>/<key>.json`, and the list of labels."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import dump_json, read_lines, write_atomic
from cutmix_dense.data.masks import boxes_from_masks, encode_segmentation
from cutmix_dense.data.pictures import encode_picture
from cutmix_dense.data.writers.base import REDRAWN, Sample, Writer

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset

_MARKS = ("__ignore__", "_background_")
_TOP: dict[str, Any] = {
    **dict.fromkeys(("shapes", "imagePath", "imageData", "imageHeight", "imageWidth"), ()),
    "version": str,
    "flags": dict,
}
"""What LabelMe's own fields may be taken from."""


class LabelMeWriter(Writer):
    """Writes a LabelMe split: a JSON file beside each picture, and `labels.txt` in the root.

    An instance is one shape: a rectangle where it states no mask, a polygon where one draws exactly its mask, else a
    mask, a PNG in base64. `visibility`, `weight`, and `difficult` among the `flags`, are kept as fields of the shape,
    and so are `details`. An instance that a mix left as it was keeps the shapes it had; polygons of another layout are
    drawn anew along the pixels of their masks, and counted. LabelMe has no crowds, keypoints or maps.

    Args:
        root: the folder of the dataset.
        classes: names by label, `classes[0]` being "background".
        split: name of the folder.
        quality: JPEG quality.
    """

    layout = "labelme"
    holds_weights = True

    def __init__(self, root: str | Path, *, classes: Sequence[str], split: str = "train", quality: int = 95) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        self._redraws = False
        self._shift = 0  # of labels, where the first class of a dataset is no background
        stated = self.root / "labels.txt"
        if stated.is_file() and read_lines(stated) != self._lines():
            raise DatasetError(f"{stated}: names other classes than those of the split {split!r}")

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> LabelMeWriter:
        """The writer of a copy of a dataset."""
        classes, shift = cls.instances_of(dataset)
        background = [name for name in classes[1:] if name.lower() == "background"]
        cls.check_names(classes[1:], lines=True, reserved=(*_MARKS, *background))
        writer = cls(root, classes=classes, split=split, quality=quality)
        writer._shift, writer._redraws = shift, cls.redraws(dataset)
        return writer

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        labels = sample.labels + self._shift
        if len(labels) and labels.min() < 1:
            raise ValueError("label 0 is the background, which LabelMe has no shapes for")
        path, content = self.picture_file(self.split, key, sample)
        shapes: list[dict[str, Any]] = []
        groups: set[tuple[str, str]] = set()
        for i in range(len(labels)):
            found = self._shapes(sample, i, self.classes[int(labels[i])])
            group = (found[0]["label"], str(found[0].get("group_id")))
            if found[0].get("group_id") is not None and group in groups:  # two instances would be read as one
                sample.lost["group_id that another instance has"] += 1
                free = next(number for number in range(len(groups) + 1) if (group[0], str(number)) not in groups)
                found = [{**shape, "group_id": free if len(found) > 1 else None} for shape in found]
                group = (group[0], str(free))
            groups.add(group)
            shapes += found
        height, width = sample.size
        said = {} if sample.picture is None else sample.picture.details
        kept = {name: value for name, value in said.items() if isinstance(value, _TOP.get(name, object))}
        self.count_picture_details(sample, kept)
        table = {
            "version": "5.5.0",
            "flags": {},
            **kept,
            "shapes": shapes,
            "imagePath": PurePosixPath(path).name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        for what, count in {
            "crowd": int((sample.iscrowd != 0).sum()),
            "keypoints": 0 if sample.keypoints is None else len(sample.keypoints),
            "semantic map": int(sample.semantic is not None),
        }.items():
            if count:
                sample.lost[what] += count
        return {str(PurePosixPath(path).with_suffix(".json")): dump_json(table), path: content}, {}

    def _shapes(self, sample: Sample, i: int, label: str) -> list[dict[str, Any]]:
        """The shapes of one instance: those it was read from, or one that is what is left of it."""
        details = dict(sample.details[i])
        stated = details.pop(STATED, {}).get("shapes")
        weight = {} if sample.weight is None else {"weight": round(float(sample.weight[i]), 6)}
        if stated:
            return [{**shape, **weight} for shape in stated]
        shape: dict[str, Any] = {
            "label": label,
            **self._drawn(sample, i),
            "group_id": None,
            "description": "",
            "flags": {},
        }
        shape.update(details)
        if sample.difficult[i]:
            shape["flags"] = {**(shape["flags"] if isinstance(shape["flags"], dict) else {}), "difficult": True}
        if sample.visibility is not None:
            shape["visibility"] = round(float(sample.visibility[i]), 6)
        return [{**shape, **weight}]

    def _drawn(self, sample: Sample, i: int) -> dict[str, Any]:
        """Points, type and mask of a shape."""
        if sample.masks is not None and sample.has_mask[i] and sample.masks[i].any():
            mask = sample.masks[i]
            sample.lost[REDRAWN] += self._redraws
            polygon = encode_segmentation(mask)
            if isinstance(polygon, list):
                return {"points": _pairs(polygon[0]), "shape_type": "polygon", "mask": None}
            x0, y0, x1, y1 = (int(value) for value in boxes_from_masks(mask[None])[0])
            drawn = encode_picture(mask[y0:y1, x0:x1, None].astype(np.uint8) * 255, ".png")
            points = [[float(x0), float(y0)], [float(x1 - 1), float(y1 - 1)]]  # of the last pixel, not behind it
            return {"points": points, "shape_type": "mask", "mask": base64.b64encode(drawn).decode("ascii")}
        if sample.corners is not None:
            return {"points": _pairs(sample.corners[i].tolist()), "shape_type": "polygon", "mask": None}
        return {"points": _pairs(sample.boxes[i].tolist()), "shape_type": "rectangle", "mask": None}

    def _lines(self) -> list[str]:
        return [*_MARKS, *self.classes[1:]]

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        write_atomic(self.root / "labels.txt", "".join(f"{name}\n" for name in self._lines()).encode())


def _pairs(values: Sequence[float]) -> list[list[float]]:
    return [[float(x), float(y)] for x, y in zip(values[::2], values[1::2])]
