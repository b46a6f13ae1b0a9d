# The demo's segmenter: a few minutes on two cores. Its scenes: python datasets/make_demo.py runs/demo-set
title = "Demo: a small segmenter with and without CutMix"
metric = "semantic/mIoU"
per_class = "semantic/IoU/"
baseline = "baseline"
config = "../segmentation/unet-small_camvid_baseline.py"
seeds = (0,)
data_keys = ("train_dataloader.dataset.root", "val_dataloader.dataset.root", "test_dataloader.dataset.root")
_classes = [
    *("road", "sidewalk", "building", "wall", "fence", "vegetation", "terrain", "sky"),
    *("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
]
options = {
    **dict.fromkeys(data_keys, "runs/demo-set/cityscapes"),
    **{f"{split}_dataloader.dataset.keep_classes": _classes for split in ("train", "val", "test")},
    "model.num_classes": 16,
    "train_cfg.max_epochs": 30,
    "train_cfg.val_interval": 10,
    "model.confidence": True,
    "val_evaluator": [dict(type="cutmix_dense.IoUMetric"), dict(type="cutmix_dense.SemanticCalibration")],
}
variants = dict(
    baseline=dict(note="flips only"),
    cutmix=dict(note="`CutMix(p=0.5)`", options={"model.data_preprocessor.mix": dict(type="CutMix", p=0.5)}),
)
budget = "30 epochs of 240 drawn scenes at 160 × 120, a small U-Net from random weights"
robustness = dict(centre=(0.3,), boundary=(0.3,))
reliability = {"calibration/ECE": "lower", "calibration/AUROC": "higher"}
shifts = dict(fog=(0.4,), noise=(0.15,), blur=(3,))
pictures = dict(count=4)
publish_pixels = True  # drawn by this project
notes = (
    "The drawn things stand under names of Cityscapes: a disc is a person, a star a rider.",
    "One seed shows that everything runs. It says nothing about which of the two is better.",
)
