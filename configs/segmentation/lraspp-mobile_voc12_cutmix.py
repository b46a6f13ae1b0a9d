# torchvision's LR-ASPP on MobileNetV3, VOC 2012. Not run.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/voc_segmentation.py"]

model = dict(
    type="cutmix_dense.Segmenter",
    num_classes=21,
    network=dict(type="lraspp_mobilenet_v3_large"),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", mix=dict(type="CutMix", p=0.5)),
)
train_cfg = dict(max_epochs=100, val_interval=10)
