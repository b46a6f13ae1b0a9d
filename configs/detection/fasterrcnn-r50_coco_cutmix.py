# torchvision's Faster R-CNN R50 FPN at full resolution (800 to 1333 pixels) on COCO 2017, for 8 GPUs. Not run.
#   torchrun --nproc-per-node 8 tools/train.py configs/detection/fasterrcnn-r50_coco_cutmix.py --launcher pytorch --amp
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/coco_detection.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=81,
    network=dict(type="fasterrcnn_resnet50_fpn", weights_backbone="DEFAULT"),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", mix=dict(type="CutMix", p=0.5)),
)
train_dataloader = dict(batch_size=2)
val_dataloader = dict(batch_size=1)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4), clip_grad=None
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", by_epoch=True, milestones=[16, 22], gamma=0.1),
]
train_cfg = dict(max_epochs=26, val_interval=1)
auto_scale_lr = dict(base_batch_size=16)
