# torchvision's LR-ASPP on MobileNetV3, crops of 512 × 1024. Not run.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/cityscapes.py"]

model = dict(
    type="cutmix_dense.Segmenter",
    num_classes=19,
    network=dict(type="lraspp_mobilenet_v3_large"),  # weights_backbone="DEFAULT" downloads ImageNet's
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor"),
)
train_cfg = dict(max_epochs=200, val_interval=10)
