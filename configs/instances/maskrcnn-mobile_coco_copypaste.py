# Mask R-CNN on MobileNetV3, shorter side 320, COCO 2017. Not run.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/coco_instances.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=81,
    network=dict(type="maskrcnn_mobile", backbone="mobilenet_v3_large", min_size=320, max_size=640),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", mix=dict(type="CopyPaste", p=0.5)),
)
train_cfg = dict(max_epochs=24, val_interval=2)
