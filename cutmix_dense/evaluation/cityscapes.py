"""The scores of Cityscapes' pixel-level evaluation, by the functions of the official script."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from mmengine.logging import print_log

from cutmix_dense.data.class_tables import RAW_CLASSES, TRAIN_CLASSES, train_id_to_id
from cutmix_dense.evaluation.base import ImageMetric
from cutmix_dense.evaluation.confusion import Counts, confusion, total
from cutmix_dense.evaluation.samples import in_range, read, semantic_maps
from cutmix_dense.extras import require
from cutmix_dense.mmengine.scope import METRICS


@METRICS.register_module()
class CityscapesMetric(ImageMetric):
    """IoU of classes and categories, and their instance-weighted iIoU, as Cityscapes' script gives them.

    Reads `semantic` (H, W) of the prediction and of the target: train ids where the dataset's classes are the 19 of
    the training, label ids where they are all 34. Train ids become label ids, 255 becomes "unlabeled": pixels of the
    target that aren't evaluated never count, and a prediction of 255 is a miss. The iIoU needs the instances of the
    target (`masks`, `labels`, `iscrowd`, as the reader gives them); if an image has none of these keys, it is left
    out and the log says so.

    Gives `IoU_class`, `IoU_category`, `iIoU_class`, `iIoU_category` and each with `/<name>`, in percent; nan for what
    occurs in neither map.

    Args:
        per_class: also give every class and category.
        collect: as in `ImageMetric`.

    Raises:
        ImportError: cityscapesscripts isn't installed (extra `cityscapes`).

    Source: `cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling`.
    """

    default_prefix = "cityscapes"

    def __init__(self, *, per_class: bool = True, **collect: Any) -> None:
        super().__init__(**collect)
        self.per_class = per_class
        self._script = require("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", "cityscapes")

    def measure(self, sample: dict[str, Any]) -> tuple[Counts, np.ndarray | None]:
        """The confusion matrix of one image over label ids, and its instances' pixels.

        Returns:
            the matrix and, where the target has instances, an int64 array (N, 4): label id, pixels of the instance,
            pixels predicted as its class, pixels predicted as a class of its category.
        """
        train, table = self._train_ids(), train_id_to_id()
        last = len(self.classes) - 1
        prediction, target = semantic_maps(sample)
        for name, ids in (("prediction", prediction), ("target", target)):
            name = f"{name}['semantic'] of image {sample['image_id']!r}"
            in_range(ids, name, 0, last, (255,) if train else ())
        if train:
            prediction, target = table[prediction], table[target]
        return confusion(prediction, target, len(RAW_CLASSES)), self._instances(sample, prediction)

    def summarize(self, results: list[tuple[Counts, np.ndarray | None]]) -> dict[str, float]:
        """The script's scores of the summed matrix."""
        script, args = self._script, self._script.CArgs()
        script.generateMatrix(args)  # sets args.evalLabels
        matrix = total((counts for counts, _ in results), len(RAW_CLASSES))
        labels = {script.id2label[label].name: label for label in args.evalLabels}
        categories = list(script.category2labels)
        scores = {
            "IoU_class": {name: script.getIouScoreForLabel(label, matrix, args) for name, label in labels.items()},
            "IoU_category": {name: script.getIouScoreForCategory(name, matrix, args) for name in categories},
        }
        found = [instances for _, instances in results if instances is not None]
        if len(found) == len(results):
            stats = self._instance_stats(np.concatenate(found))
            scores["iIoU_class"] = {
                name: script.getInstanceIouScoreForLabel(label, matrix, stats, args) for name, label in labels.items()
            }
            scores["iIoU_category"] = {
                name: script.getInstanceIouScoreForCategory(name, matrix, stats, args) for name in categories
            }
        else:
            missing = len(results) - len(found)
            print_log(
                f"Cityscapes: no iIoU, {missing} of {len(results)} images come without instances",
                logger="current",
                level=logging.WARNING,
            )
        flat = {kind: 100 * script.getScoreAverage(values, args) for kind, values in scores.items()}
        if self.per_class:
            flat |= {
                f"{kind}/{name}": 100 * value
                for kind, values in scores.items()
                for name, value in values.items()
                if self._counts(kind, name)
            }
        return flat

    def _train_ids(self) -> bool:
        if self.classes not in (TRAIN_CLASSES, RAW_CLASSES):
            raise ValueError(
                f"CityscapesMetric needs the {len(TRAIN_CLASSES)} classes of the training or all {len(RAW_CLASSES)} "
                f"in dataset_meta['classes'], got {self.classes}"
            )
        return self.classes == TRAIN_CLASSES

    def _counts(self, kind: str, name: str) -> bool:
        """Whether the script ever gives a class or category this score."""
        members = self._script.category2labels.get(name, [])
        if not kind.endswith("category"):
            members = [self._script.name2label[name]]
        members = [label for label in members if not label.ignoreInEval]
        return bool(members) and (kind.startswith("IoU") or all(label.hasInstances for label in members))

    def _instances(self, sample: dict[str, Any], prediction: np.ndarray) -> np.ndarray | None:
        """Label id, size, pixels of the right class and of the right category, of every instance to be counted."""
        if not {"masks", "labels", "iscrowd"} <= set(sample["target"]):
            return None
        script = self._script
        labels = read(sample, "target", "labels", (None,), integer=True)
        in_range(labels, f"target['labels'] of image {sample['image_id']!r}", 0, len(self.classes) - 1)
        count = len(labels)
        masks = read(sample, "target", "masks", (count, *prediction.shape), integer=True) != 0
        crowd = read(sample, "target", "iscrowd", (count,), integer=True) != 0
        rows = []
        for i in np.flatnonzero(~crowd):  # a group is no instance to the script
            identity = int(train_id_to_id()[labels[i]]) if self._train_ids() else int(labels[i])
            label = script.id2label[identity]
            if label.ignoreInEval:
                continue
            if not label.hasInstances:
                raise ValueError(
                    f"target['labels'] of image {sample['image_id']!r}: the class {label.name!r} has no instances"
                )
            inside = prediction[masks[i]]
            members = [other.id for other in script.category2labels[label.category]]
            rows.append((identity, inside.size, (inside == identity).sum(), np.isin(inside, members).sum()))
        return np.array(rows, dtype=np.int64).reshape(-1, 4)

    def _instance_stats(self, instances: np.ndarray) -> dict[str, Any]:
        """The script's own record of instances, where each weighs the mean size of its class over its own size."""
        script = self._script
        stats = script.generateInstanceStats(script.args)
        for identity, size, right, same in instances[instances[:, 1] > 0].tolist():
            label = script.id2label[identity]
            weight = script.args.avgClassSize[label.name] / size
            records = [(stats["classes"][label.name], right)]
            if label.category in stats["categories"]:
                records.append((stats["categories"][label.category], same))
            for record, hits in records:
                record["tp"] += hits
                record["fn"] += size - hits
                record["tpWeighted"] += hits * weight
                record["fnWeighted"] += (size - hits) * weight
        return stats
