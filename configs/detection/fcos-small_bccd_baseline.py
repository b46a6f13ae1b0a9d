_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/bccd.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=4,
    network=dict(type="small_fcos", widths=(16, 32, 48, 64), levels=2, channels=32, convs=2, anchor=4.0),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", size=(120, 160)),
)
train_cfg = dict(max_epochs=40, val_interval=10)
