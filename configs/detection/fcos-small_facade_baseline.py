_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/facade.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=11,
    network=dict(type="small_fcos", widths=(16, 32, 48, 64), levels=3, channels=32, convs=2, anchor=8.0, reach=1.0),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", size=(160, 160)),
)
train_dataloader = dict(dataset=dict(task="detection"))
val_dataloader = dict(dataset=dict(task="detection"))
test_dataloader = dict(dataset=dict(task="detection"))
train_cfg = dict(max_epochs=20, val_interval=10)
val_evaluator = dict(_delete_=True, type="cutmix_dense.CocoMetric")
test_evaluator = dict(_delete_=True, type="cutmix_dense.CocoMetric")
