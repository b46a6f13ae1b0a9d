# Does mixing help a small segmenter on driving scenes? 367 training frames, all labelled.
title = "Mixing for semantic segmentation on CamVid"
metric = "semantic/mIoU"
per_class = "semantic/IoU/"
baseline = "baseline"
config = "../segmentation/unet-small_camvid_baseline.py"
seeds = (0, 1, 2)
data_keys = ("train_dataloader.dataset.root", "val_dataloader.dataset.root", "test_dataloader.dataset.root")
_mix = "model.data_preprocessor.mix"
variants = dict(
    baseline=dict(note="flips only"),
    cutmix=dict(note="`CutMix(p=0.5)`", options={_mix: dict(type="CutMix", p=0.5)}),
    classmix=dict(note="`ClassMix(p=0.5)`", options={_mix: dict(type="ClassMix", p=0.5)}),
    cowmix=dict(note="`CowMix(p=0.5)`", options={_mix: dict(type="CowMix", p=0.5)}),
    resizemix=dict(note="`ResizeMix(p=0.5)`", options={_mix: dict(type="ResizeMix", p=0.5)}),
)
options = {
    "train_cfg.max_epochs": 20,
    "model.confidence": True,
    "val_evaluator": [dict(type="cutmix_dense.IoUMetric"), dict(type="cutmix_dense.SemanticCalibration")],
}
budget = "20 epochs of 367 frames (46 batches of 8) at 160 × 120, a small U-Net from random weights"
robustness = dict(centre=(0.1, 0.3, 0.5), boundary=(0.1, 0.3, 0.5))
reliability = {"calibration/ECE": "lower", "calibration/AUROC": "higher"}
shifts = dict(fog=(0.3, 0.6), noise=(0.1, 0.2), blur=(2, 4))
pictures = dict(count=4)
publish_pixels = False  # CC BY-NC: measured with, shown nowhere
notes = (
    "Video frames of driving scenes, 320 × 240 pixels, 11 classes; `datasets/prepare_camvid.py` lays them out. "
    "Training frames resemble each other, so the set is smaller than its number says.",
)
