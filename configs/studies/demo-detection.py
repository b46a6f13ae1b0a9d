# The demo's detector: a few minutes on two cores. Its scenes: python datasets/make_demo.py runs/demo-set
title = "Demo: a small detector with and without CutMix"
metric = "voc/AP50"
per_class = "voc/AP50/"
baseline = "baseline"
config = "../detection/fcos-small_bccd_baseline.py"
seeds = (0,)
data_keys = ("train_dataloader.dataset.root", "val_dataloader.dataset.root", "test_dataloader.dataset.root")
options = {
    **dict.fromkeys(data_keys, "runs/demo-set/voc"),
    "model.num_classes": 9,
    "train_cfg.max_epochs": 48,
    "train_cfg.val_interval": 12,
    "val_evaluator": [dict(type="cutmix_dense.VocMetric"), dict(type="cutmix_dense.DetectionCalibration")],
}
variants = dict(
    baseline=dict(note="flips only"),
    cutmix=dict(note="`CutMix(p=0.5)`", options={"model.data_preprocessor.mix": dict(type="CutMix", p=0.5)}),
)
budget = "48 epochs of 240 drawn scenes at 160 × 120, a small FCOS from random weights"
robustness = dict(centre=(0.3,), boundary=(0.3,))
reliability = {"calibration/D-ECE": "lower", "calibration/LaECE": "lower"}
shifts = dict(fog=(0.4,), noise=(0.15,), blur=(3,))
pictures = dict(count=4, score=0.4)
publish_pixels = True  # drawn by this project
notes = ("One seed shows that everything runs. It says nothing about which of the two is better.",)
