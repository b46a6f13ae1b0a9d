"""COCO panoptic: `<split>/<key>.jpg`, PNG maps of segment ids, and `annotations/panoptic_<split>.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutmix_dense.data.details import still_true
from cutmix_dense.data.maps import encode_color_ids
from cutmix_dense.data.writers.base import Sample
from cutmix_dense.data.writers.coco import CocoLayout

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset

OF_ANNOTATION = "_annotation"
"""Key of a picture's details under which the reader gives what the file says of the picture's annotation."""

_MEASURED = frozenset({"id", "category_id", "area", "bbox", "iscrowd", "isthing", "origin", "visibility"})


class CocoPanopticWriter(CocoLayout):
    """Writes a COCO panoptic split: the maps in `annotations/panoptic_<split>/`, as panopticapi reads them.

    A segment keeps its id and further fields; `area` and `bbox` (x, y, width, height, whole pixels) are those of its
    pixels in the map, and one without a pixel is left out and counted. `visibility`, which mixed segments have, is kept
    as an extra field. Of the further fields of a mixed segment, scores and lists of numbers are left out and counted,
    and all of them where a mix joined segments to one.

    Args:
        root: the folder of the dataset.
        classes: names of the categories, things and stuff; there is no background.
        things: the category ids that are things.
        split: name of the split.
        category_ids: the file's id of every class; default: its place in `classes`.
        image_format: "jpg" or "png".
        quality: JPEG quality.
        categories: by class, what the file says of each category besides id and name.
        header: `info` and `licenses` of the file, and whatever else it says beside its lists.

    Raises:
        ValueError: things that aren't among the category ids; see `CocoLayout`.

    Source: Kirillov et al., Panoptic Segmentation (2019), and COCO's data format.
    """

    layout = "coco_panoptic"
    made_anew = ("ids of images", "area and bbox of segments")

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str],
        things: Sequence[int],
        split: str = "train",
        category_ids: Sequence[int] | None = None,
        image_format: str = "jpg",
        quality: int = 95,
        categories: Sequence[Mapping[str, Any]] = (),
        header: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            root,
            classes=classes,
            split=split,
            category_ids=category_ids,
            image_format=image_format,
            quality=quality,
            categories=categories,
            header=header,
        )
        self.things = frozenset(things)
        strange = sorted(self.things - set(self.category_ids))
        if strange:
            raise ValueError(f"things must be among the category_ids {self.category_ids}, got {strange}")

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> CocoPanopticWriter:
        """The writer of a copy of a panoptic dataset, with its ids, categories and licences."""
        if not dataset.has_panoptic:
            raise ValueError(f"coco_panoptic holds panoptic maps, samples of {dataset.layout} have none")
        given: Any = dataset
        return cls(
            root,
            classes=given.classes,
            things=given.things,
            split=split,
            category_ids=given.category_ids,
            quality=quality,
            categories=given.categories,
            header=given.header,
        )

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        if sample.panoptic is None or sample.segments is None:
            raise ValueError("panoptic and segments_info must be given to be written as COCO panoptic")
        import torch

        from cutmix_dense.functional.segments import Part, coded  # loads torch, which a look at a folder doesn't need

        infos, codes = coded(Part(torch.from_numpy(sample.panoptic), sample.segments, "panoptic", "segments_info"))
        most = max((info["id"] for info in infos), default=0)
        if most >= 2**24:
            raise ValueError(f"ids of segments must be below 2²⁴, which three bytes hold, got {most}")
        found = codes.numpy()
        segments = []
        for number, info in enumerate(infos, start=1):
            rows, columns = np.nonzero(found == number)
            if info["category_id"] not in self.category_ids:
                raise ValueError(f"category_id must be one of {self.category_ids}, got {info['category_id']}")
            if not len(rows):
                sample.lost["segments without a pixel"] += 1
                continue
            x, y = int(columns.min()), int(rows.min())
            segment = {
                "id": info["id"],
                "category_id": info["category_id"],
                "area": len(rows),
                "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
                "iscrowd": info["iscrowd"],
            }
            if "visibility" in info:
                segment["visibility"] = round(float(info["visibility"]), 6)
            segments.append({**segment, **_further(info, sample.lost)})
        files, entry = self.image_of(key, sample)
        place = f"annotations/panoptic_{self.split}/{key}.png"
        return {place: encode_color_ids(sample.panoptic), **files}, {**entry, "segments_info": segments}

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, (key, sample) in enumerate(zip(keys, samples), start=1):
            own = {
                **sample.pop(OF_ANNOTATION, {}),
                "file_name": f"{key}.png",
                "segments_info": sample.pop("segments_info"),
            }
            images.append({"id": image_id, **sample})
            annotations.append({"image_id": image_id, **own})
        categories = [
            self.category_of(label, isthing=int(number in self.things))
            for label, number in enumerate(self.category_ids)
        ]
        self.write_json("panoptic", images, annotations, categories)


def _further(info: Mapping[str, Any], lost: Counter[str]) -> dict[str, Any]:
    """What is said of a segment besides what the writer measures, as far as it still holds."""
    further = {key: value for key, value in info.items() if key not in _MEASURED}
    origin = info.get("origin") or ()
    if len(origin) > 1:
        lost.update(f"{key} of segments that were joined" for key in further)
        return {}
    return still_true(further, untouched=not origin, same_layout=True, lost=lost)
