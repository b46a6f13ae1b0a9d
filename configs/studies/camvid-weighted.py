# Does mixing help a small segmenter that learns all eleven classes? Whole frames, rare classes weighed in the loss.
_base_ = "camvid-segmentation.py"

title = "Mixing for semantic segmentation on CamVid, all classes learned"
config = "../segmentation/unet-small_camvid-weighted_baseline.py"
seeds = tuple(range(10))
plan = dict(
    written="2026-12-01",
    smallest=1.5,
    compare=("cutmix", "classmix"),
    note="One run of the baseline, with seed 0, was seen before: 55.4 mIoU. In `camvid-segmentation`, at half the "
    "resolution and without weights, the differences of three seeds had deviations of 0.8 to 2.1 points.",
)
_mix = "model.data_preprocessor.mix"
variants = dict(
    _delete_=True,
    baseline=dict(note="flips only"),
    cutmix=dict(note="`CutMix(p=0.5)`", options={_mix: dict(type="CutMix", p=0.5)}),
    classmix=dict(note="`ClassMix(p=0.5)`", options={_mix: dict(type="ClassMix", p=0.5)}),
)
options = {
    "_delete_": True,
    "model.confidence": True,
    "val_evaluator": [dict(type="cutmix_dense.IoUMetric"), dict(type="cutmix_dense.SemanticCalibration")],
}
budget = "20 epochs of 367 frames (46 batches of 8) at 320 × 240, a small U-Net from random weights"
notes = (
    "Video frames of driving scenes, 11 classes; `datasets/prepare_camvid.py` lays them out. Training frames resemble "
    "each other, so the set is smaller than its number says.",
    "In `camvid-segmentation`, at 160 × 120 and without weights, five of the eleven classes are hardly learned. Here "
    "they are: the loss weighs each class by the square root of its median-frequency weight.",
)
