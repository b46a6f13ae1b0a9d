# torchvision's Faster R-CNN on MobileNetV3, about 320 pixels, VOC 2007. Not run.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/voc_detection.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=21,
    network=dict(type="fasterrcnn_mobilenet_v3_large_320_fpn"),  # weights_backbone="DEFAULT" downloads ImageNet's
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", mix=dict(type="CutMix", p=0.5)),
)
train_cfg = dict(max_epochs=48, val_interval=4)
