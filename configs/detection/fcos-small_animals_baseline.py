_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/animals.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=5,
    network=dict(type="small_fcos", widths=(16, 32, 64, 128), levels=1, channels=64, convs=2, anchor=16.0),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", size=(128, 128)),
)
train_cfg = dict(max_epochs=60, val_interval=20)
