# Mask R-CNN on MobileNetV3-small at 320 × 320. Not run.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/facade.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=11,
    network=dict(type="maskrcnn_mobile", backbone="mobilenet_v3_small"),
    own_resize=False,
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor"),
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
train_cfg = dict(max_epochs=40, val_interval=10)
