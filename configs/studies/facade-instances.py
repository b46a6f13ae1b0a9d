# Do mixes help instance segmentation, by another family of detectors? House fronts, COCO layout; boxes and masks.
title = "Mixing for instance segmentation on house fronts (COCO layout)"
metric = "coco/segm_AP50"
per_class = "coco/segm_AP/"
baseline = "baseline"
config = "../instances/maskrcnn-small_facade_baseline.py"
seeds = tuple(range(10))
plan = dict(
    written="2026-12-01",
    smallest=1.5,
    compare=("cutmix", "resizemix", "mosaic", "copypaste"),
    note="One run of the baseline, with seed 0, was seen before: 14.6 mask AP50 and 14.8 box AP50. The smallest effect "
    "is that of `facade-detection`: the same data, with a detector of one stage and without anchors.",
)
data_keys = ("train_dataloader.dataset.root", "val_dataloader.dataset.root", "test_dataloader.dataset.root")
_mix = "model.data_preprocessor.mix"
variants = dict(
    baseline=dict(note="flips only"),
    cutmix=dict(note="`CutMix(p=0.5)`", options={_mix: dict(type="CutMix", p=0.5)}),
    resizemix=dict(note="`ResizeMix(p=0.5)`", options={_mix: dict(type="ResizeMix", p=0.5)}),
    mosaic=dict(note="`Mosaic(p=0.5)`", options={_mix: dict(type="Mosaic", p=0.5)}),
    copypaste=dict(note="`CopyPaste(p=0.5)`, by masks", options={_mix: dict(type="CopyPaste", p=0.5)}),
)
_evaluators = [
    dict(type="cutmix_dense.CocoMetric", iou_types=("bbox", "segm")),
    dict(type="cutmix_dense.DetectionCalibration"),
]
options = {"val_evaluator": _evaluators}
budget = "20 epochs of 477 photos (60 batches of 8) at 160 × 160, a small Mask R-CNN from random weights"
robustness = dict(centre=(0.3,), boundary=(0.3,))
reliability = {
    "coco/segm_AP": "higher",
    "coco/bbox_AP50": "higher",
    "coco/bbox_AP": "higher",
    "calibration/D-ECE": "lower",
    "calibration/LaECE": "lower",
}
shifts = dict(fog=(0.6,), noise=(0.1,), blur=(2,))
pictures = dict(count=4, score=0.5)
publish_pixels = True  # CC BY 4.0, as the exporter states
notes = (
    "House fronts of 320 pixels, ten classes, 33 objects each, seven of ten of them windows. Half are smaller than 12 "
    "pixels at the size of training, so figures are low.",
    "Splits `gtrain` and `gval` are grouped by photo: the original ones have crops of one photo on both sides.",
)
