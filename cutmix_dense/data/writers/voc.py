"""PASCAL VOC: JPEGImages, Annotations, SegmentationClass, SegmentationObject, and the lists of ImageSets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import read_lines, write_atomic
from cutmix_dense.data.images import encode_indices, encode_rgb, voc_palette
from cutmix_dense.data.writers.base import Sample, Writer

__all__ = ["VocWriter"]


class VocWriter(Writer):
    """Writes a VOC split; splits of one root share its folders, so their keys must differ.

    Boxes become whole 1-based inclusive pixels, rounded outwards. Object `i` of the XML is index `i` of
    SegmentationObject. VOC has no crowds: they are written as `difficult`. Samples with `semantic` or `masks` get both
    maps (a missing semantic map is painted from the masks) and stand in `ImageSets/Segmentation`, too.

    Args:
        root: the folder of the dataset.
        classes: names by label, `classes[0]` being "background"; written to `classes.txt`.
        split: name of the lists.
        quality: JPEG quality.
    """

    def __init__(self, root: str | Path, *, classes: Sequence[str], split: str = "train", quality: int = 95) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        stated = self.root / "classes.txt"
        if stated.is_file() and read_lines(stated) != list(self.classes):
            raise DatasetError(f"{stated}: names other classes than those of the split {split!r}")

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        files: dict[str, bytes] = {}
        maps = sample.masks is not None or sample.semantic is not None
        if maps:
            shown = sample.object_map()
            if sample.semantic is not None:
                semantic = sample.semantic
            else:
                semantic = np.append(sample.labels, 0).astype(np.uint8)[shown]  # -1 takes the appended background
            files[f"SegmentationClass/{key}.png"] = encode_indices(semantic, voc_palette())
            if sample.masks is not None:
                if len(sample.masks) > 254:
                    raise ValueError(f"SegmentationObject can number 254 objects, {key} has {len(sample.masks)}")
                objects = np.where((shown < 0) & (semantic == 255), 255, shown + 1).astype(np.uint8)
                files[f"SegmentationObject/{key}.png"] = encode_indices(objects, voc_palette())
        files[f"Annotations/{key}.xml"] = self._xml(key, sample, maps)
        files[f"JPEGImages/{key}.jpg"] = encode_rgb(sample.image, ".jpg", self.quality)
        return files, {"segmented": maps}

    def _xml(self, key: str, sample: Sample, segmented: bool) -> bytes:
        height, width = sample.size
        root = ElementTree.Element("annotation")
        _texts(root, folder=self.root.name, filename=f"{key}.jpg")
        _texts(ElementTree.SubElement(root, "source"), database="written by cutmix_dense")
        _texts(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
        _texts(root, segmented=int(segmented))
        for i, (x1, y1, x2, y2) in enumerate(sample.boxes.tolist()):
            node = ElementTree.SubElement(root, "object")
            cut = x1 <= 0 or y1 <= 0 or x2 >= width or y2 >= height
            difficult = bool(sample.difficult[i]) or bool(sample.iscrowd[i])
            name = self.classes[int(sample.labels[i])]
            _texts(node, name=name, pose="Unspecified", truncated=int(cut), difficult=int(difficult))
            corners = {
                "xmin": math.floor(x1) + 1,
                "ymin": math.floor(y1) + 1,
                "xmax": math.ceil(x2),
                "ymax": math.ceil(y2),
            }
            _texts(ElementTree.SubElement(node, "bndbox"), **corners)
        ElementTree.indent(root, "\t")
        return ElementTree.tostring(root, encoding="utf-8") + b"\n"

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        segmented = [key for key, sample in zip(keys, samples, strict=True) if sample["segmented"]]
        write_atomic(self.root / "classes.txt", _lines(self.classes))
        if segmented:
            write_atomic(self.root / "ImageSets" / "Segmentation" / f"{self.split}.txt", _lines(segmented))
        write_atomic(self.root / "ImageSets" / "Main" / f"{self.split}.txt", _lines(keys))


def _texts(parent: ElementTree.Element, **values: object) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)


def _lines(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()
