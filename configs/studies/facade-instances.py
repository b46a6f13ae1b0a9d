# Not run. Boxes and masks on house fronts, COCO layout; for a GPU.
title = "Mixing for instance segmentation on house fronts (COCO layout)"
metric = "coco/segm_AP"
per_class = "coco/segm_AP/"
baseline = "baseline"
config = "../instances/maskrcnn-mobile_facade_baseline.py"
seeds = (0, 1, 2)
data_keys = ("train_dataloader.dataset.root", "val_dataloader.dataset.root", "test_dataloader.dataset.root")
_evaluators = [
    dict(type="cutmix_dense.CocoMetric", iou_types=("bbox", "segm")),
    dict(type="cutmix_dense.DetectionCalibration"),
]
options = {"train_cfg.max_epochs": 120, "train_cfg.val_interval": 20, "val_evaluator": _evaluators}
_mix = "model.data_preprocessor.mix"
variants = dict(
    baseline=dict(note="flips only"),
    cutmix=dict(note="`CutMix(p=0.5)`", options={_mix: dict(type="CutMix", p=0.5)}),
    mosaic=dict(note="`Mosaic(p=0.5)`", options={_mix: dict(type="Mosaic", p=0.5)}),
    copypaste=dict(note="`CopyPaste(p=0.5)`, by masks", options={_mix: dict(type="CopyPaste", p=0.5)}),
)
budget = "120 epochs of 477 images (60 batches of 8) at 320 × 320, Mask R-CNN on MobileNetV3-small from random weights"
robustness = dict(centre=(0.1, 0.3, 0.5), boundary=(0.1, 0.3, 0.5))
reliability = {"calibration/D-ECE": "lower", "calibration/LaECE": "lower"}
shifts = dict(fog=(0.3, 0.6), noise=(0.1, 0.2), blur=(2, 4))
pictures = dict(count=4, score=0.5)
publish_pixels = True  # CC BY 4.0, as the exporter states
notes = ("Splits `gtrain` and `gval` are grouped by photo: the original ones have crops of one photo on both sides.",)
