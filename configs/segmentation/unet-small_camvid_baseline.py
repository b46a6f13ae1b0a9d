_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/camvid.py"]

model = dict(
    type="cutmix_dense.Segmenter",
    num_classes=11,
    network=dict(type="SmallUNet", widths=(16, 32, 48, 64), stride=2),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", size=(120, 160)),
)
optim_wrapper = dict(optimizer=dict(lr=5e-3))
train_cfg = dict(max_epochs=30, val_interval=10)
