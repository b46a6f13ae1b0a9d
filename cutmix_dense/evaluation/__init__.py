"""Metrics for MMEngine's evaluator, by maintained libraries, in percent, as the reference scripts compute them.

``custom_imports = dict(imports=["cutmix_dense.evaluation"])`` registers, in METRICS of the scope ``cutmix_dense``:

- ``CocoMetric``: COCO's average precision of boxes and masks (pycocotools or faster-coco-eval);
- ``VocMetric``: the mean average precision of the PASCAL VOC development kit;
- ``IoUMetric``: mean IoU and accuracies of class maps from one confusion matrix of the dataset (torchmetrics);
- ``SemanticCalibration``: calibration error (ECE) and uncertainty AUROC of class maps that come with a confidence;
- ``DetectionCalibration``: calibration errors of detections, D-ECE and LaECE;
- ``CityscapesMetric``: the scores of Cityscapes' own pixel-level script (cityscapesscripts, extra ``cityscapes``);
- ``Accuracy``: top-k accuracy of image classes (torchmetrics).

A data sample is a dict ``{"image_id": int or str, "prediction": {...}, "target": {...}}``; each metric says which
fields it reads. Class names come from the dataset's ``metainfo["classes"]``, where label ``i`` means ``classes[i]``.
"""

from __future__ import annotations

from cutmix_dense.extras import require

for _package in ("mmengine", "torchmetrics", "pycocotools"):
    require(_package, "evaluation")

from cutmix_dense.evaluation.base import ImageMetric  # noqa: E402
from cutmix_dense.evaluation.cityscapes import CityscapesMetric  # noqa: E402
from cutmix_dense.evaluation.classification import Accuracy  # noqa: E402
from cutmix_dense.evaluation.coco import CocoMetric  # noqa: E402
from cutmix_dense.evaluation.detection_calibration import DetectionCalibration  # noqa: E402
from cutmix_dense.evaluation.semantic import IoUMetric  # noqa: E402
from cutmix_dense.evaluation.semantic_calibration import SemanticCalibration  # noqa: E402
from cutmix_dense.evaluation.voc import VocMetric  # noqa: E402

__all__ = [
    "Accuracy",
    "CityscapesMetric",
    "CocoMetric",
    "DetectionCalibration",
    "ImageMetric",
    "IoUMetric",
    "SemanticCalibration",
    "VocMetric",
]
