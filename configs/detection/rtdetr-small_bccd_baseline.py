_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/bccd.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=4,
    network=dict(type="small_rtdetr", widths=(16, 32, 48, 64), channels=64, queries=60, layers=2),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", size=(128, 160)),
)
train_cfg = dict(max_epochs=40, val_interval=10)
