# A light FCOS at 320 × 320 on COCO. Not run.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/coco_detection.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=81,
    network=dict(type="small_fcos", widths=(32, 64, 96, 128, 160), levels=3, channels=96, convs=3, anchor=8.0),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", size=(320, 320)),
)
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_epochs=24, val_interval=2)
