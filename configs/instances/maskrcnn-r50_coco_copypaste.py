# torchvision's Mask R-CNN R50 FPN v2 at full resolution on COCO 2017, for 8 GPUs. Not run.
_base_ = "../detection/fasterrcnn-r50_coco_cutmix.py"

model = dict(
    network=dict(type="maskrcnn_resnet50_fpn_v2"),
    data_preprocessor=dict(mix=dict(_delete_=True, type="CopyPaste", p=0.5)),
)
train_dataloader = dict(dataset=dict(task="instances"))
val_dataloader = dict(dataset=dict(task="instances"))
test_dataloader = val_dataloader
val_evaluator = dict(iou_types=("bbox", "segm"))
test_evaluator = val_evaluator
