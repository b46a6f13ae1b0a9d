# Do the mixes that help a dense detector on blood cells help one of queries, too? VOC layout, boxes only.
title = "Mixing for a small RT-DETR on BCCD (VOC layout)"
metric = "voc/AP50"
per_class = "voc/AP50/"
baseline = "baseline"
config = "../detection/rtdetr-small_bccd_baseline.py"
seeds = tuple(range(10))
plan = dict(
    written="2026-12-01",
    smallest=3.0,
    compare=("cutmix", "resizemix", "mosaic"),
    note="The three best mixes of `bccd-detection`, whose smallest effect this is. One run of the baseline over 12 "
    "epochs was seen before: 42.6 AP50, and still rising.",
)
data_keys = ("train_dataloader.dataset.root", "val_dataloader.dataset.root", "test_dataloader.dataset.root")
_mix = "model.data_preprocessor.mix"
variants = dict(
    baseline=dict(note="flips only"),
    cutmix=dict(note="`CutMix(p=0.5)`", options={_mix: dict(type="CutMix", p=0.5)}),
    resizemix=dict(note="`ResizeMix(p=0.5)`", options={_mix: dict(type="ResizeMix", p=0.5)}),
    mosaic=dict(note="`Mosaic(p=0.5)`", options={_mix: dict(type="Mosaic", p=0.5)}),
)
_metrics = ("VocMetric", "CocoMetric", "DetectionCalibration")
options = {"val_evaluator": [dict(type=f"cutmix_dense.{name}") for name in _metrics]}
budget = "40 epochs of 205 images (26 batches of 8) at 160 × 128, a small RT-DETR from random weights"
robustness = dict(centre=(0.3,), boundary=(0.3,))
reliability = {"calibration/D-ECE": "lower", "calibration/LaECE": "lower"}
shifts = dict(fog=(0.6,), noise=(0.1,), blur=(2,))
pictures = dict(count=4, score=0.4)
publish_pixels = True  # the data's licence is MIT
notes = (
    "Blood cells, 320 × 240 pixels, three classes, 13 boxes per image; many cells are not annotated in the original, "
    "so figures have a ceiling below 100.",
    "The network is Hugging Face's RT-DETR (Zhao 2024) with 60 queries and a backbone of four thin stages.",
)
