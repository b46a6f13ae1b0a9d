"""COCO's average precision of boxes and masks."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from cutmix_dense.evaluation.base import ImageMetric
from cutmix_dense.evaluation.samples import Arrays, first_label, instances, read
from cutmix_dense.extras import require
from cutmix_dense.mmengine.scope import METRICS

_IOU_TYPES = ("bbox", "segm")
_BACKENDS = ("auto", "pycocotools", "faster_coco_eval")
_STATS = ("AP", "AP50", "AP75", "AP_s", "AP_m", "AP_l")  # the first six that both libraries summarize


@METRICS.register_module()
class CocoMetric(ImageMetric):
    """Average precision as COCO defines it, against the ground truth that comes in the data samples.

    Reads `boxes`, `labels`, `scores` of the prediction and `boxes`, `labels`, `iscrowd`, `area` of the target; for
    "segm" the `masks` of both, which must be equally large. `area` sorts objects into small, medium and large, so it
    should be the one in the dataset's file. A `difficult` object counts like any other: COCO doesn't know the word.

    Gives `<type>_AP`, `_AP50`, `_AP75`, `_AP_s`, `_AP_m`, `_AP_l` and `<type>_AP/<class>`, in percent. What has no
    ground truth, a class or an area range, is nan (COCO's -1), for there is nothing to be right or wrong about, and
    leaves the mean over classes.

    Args:
        iou_types: "bbox", "segm" or both.
        backend: "pycocotools", "faster_coco_eval" (same numbers, faster; extra `faster-coco`), or "auto": the second
            where it is installed, else the first.
        per_class: also give every class.
        collect: as in `ImageMetric`.

    Raises:
        ValueError: an IoU type or backend that isn't known.
        ImportError: a backend that is asked for by name and isn't installed.

    Source: Lin et al. 2014, https://cocodataset.org/#detection-eval; `pycocotools.cocoeval.COCOeval`.
    """

    default_prefix = "coco"

    def __init__(
        self,
        iou_types: str | Sequence[str] = ("bbox",),
        backend: str = "auto",
        *,
        per_class: bool = True,
        **collect: Any,
    ) -> None:
        super().__init__(**collect)
        self.iou_types = (iou_types,) if isinstance(iou_types, str) else tuple(iou_types)
        if not self.iou_types or not set(self.iou_types) <= set(_IOU_TYPES):
            raise ValueError(f"iou_types must be among {_IOU_TYPES}, got {iou_types!r}")
        if backend not in _BACKENDS:
            raise ValueError(f"backend must be one of {_BACKENDS}, got {backend!r}")
        self.per_class = per_class
        self.backend, self._coco, self._evaluation = _api(backend)

    def measure(self, sample: dict[str, Any]) -> dict[str, Arrays]:
        """Boxes, labels, scores, crowd flags, areas and run lengths of one image."""
        masks = "segm" in self.iou_types
        target = instances(sample, "target", self.classes, masks=masks)
        count = len(target["boxes"])
        target["iscrowd"] = read(sample, "target", "iscrowd", (count,), integer=True).astype(np.int64)
        target["area"] = read(sample, "target", "area", (count,)).astype(np.float64)
        prediction = instances(sample, "prediction", self.classes, masks=masks)
        if masks:
            sizes = {part: tuple(sample[part]["masks"].shape[-2:]) for part in ("prediction", "target")}
            # a stack of no masks may be of any size
            if count and len(prediction["boxes"]) and sizes["prediction"] != sizes["target"]:
                raise ValueError(
                    f"prediction['masks'] of image {sample['image_id']!r} must be of the target's (H, W) = "
                    f"{sizes['target']}, got {sizes['prediction']}"
                )
        return {"prediction": prediction, "target": target}

    def summarize(self, results: list[dict[str, Arrays]]) -> dict[str, float]:
        """Evaluate each IoU type."""
        labels = range(first_label(self.classes), len(self.classes))
        scores: dict[str, float] = {}
        for kind in self.iou_types:
            with contextlib.redirect_stdout(io.StringIO()):  # both libraries print as they go
                evaluation = self._evaluate(results, kind, labels)
            scores |= {f"{kind}_{name}": _percent(value) for name, value in zip(_STATS, evaluation.stats)}
            if self.per_class:
                # (IoU thresholds, recall points, classes, area ranges, max detections); all areas, 100 detections
                precision = evaluation.eval["precision"][:, :, :, 0, -1]
                for index, label in enumerate(labels):
                    known = precision[:, :, index][precision[:, :, index] > -1]
                    scores[f"{kind}_AP/{self.classes[label]}"] = _percent(known.mean() if known.size else -1)
        return scores

    def _evaluate(self, results: list[dict[str, Arrays]], kind: str, labels: range) -> Any:
        images = [{"id": number, **_size(result)} for number, result in enumerate(results, 1)]
        categories = [{"id": label, "name": self.classes[label]} for label in labels]
        truth, found = self._coco(), self._coco()
        for coco, part in ((truth, "target"), (found, "prediction")):
            annotations = [
                entry for number, result in enumerate(results, 1) for entry in _entries(result[part], number, kind)
            ]
            for identity, entry in enumerate(annotations, 1):  # from 1: an id of 0 would read as unmatched
                entry["id"] = identity
            coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
            coco.createIndex()
        evaluation = self._evaluation(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation


def _entries(found: Arrays, number: int, kind: str) -> list[dict[str, Any]]:
    """The instances of image `number` as COCO annotations, without ids."""
    entries: list[dict[str, Any]] = []
    for i, (x1, y1, x2, y2) in enumerate(found["boxes"].tolist()):
        entry = {
            "image_id": number,
            "category_id": int(found["labels"][i]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": 0,
            "area": (x2 - x1) * (y2 - y1),
        }
        if kind == "segm":
            # a copy: the library writes into it
            entry["segmentation"] = dict(found["rles"][i])
        if "scores" in found:
            entry["score"] = float(found["scores"][i])
            if kind == "segm":
                entry["area"] = float(require("pycocotools.mask", "evaluation").area(found["rles"][i]))
        else:
            entry |= {"iscrowd": int(found["iscrowd"][i]), "area": float(found["area"][i])}
        entries.append(entry)
    return entries


def _size(result: dict[str, Arrays]) -> dict[str, int]:
    """Height and width of an image as its run lengths tell, if it has any; only they need it."""
    rles = [rle for part in result.values() for rle in part.get("rles", ())]
    return {"height": rles[0]["size"][0], "width": rles[0]["size"][1]} if rles else {}


def _api(backend: str) -> tuple[str, Any, Any]:
    """The name of the library, its class `COCO` and its class `COCOeval`."""
    if backend != "pycocotools":
        try:
            library = require("faster_coco_eval", "faster-coco", distribution="faster-coco-eval")
            # without the extra numbers, which nobody reads
            return "faster_coco_eval", library.COCO, partial(library.COCOeval_faster, extra_calc=False)
        except ImportError:
            if backend != "auto":
                raise
    coco, evaluation = (require(f"pycocotools.{name}", "evaluation") for name in ("coco", "cocoeval"))
    return "pycocotools", coco.COCO, evaluation.COCOeval


def _percent(value: float) -> float:
    return math.nan if value < 0 else 100.0 * float(value)
