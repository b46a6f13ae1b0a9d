# COCO 2017 with masks.
_base_ = "coco_detection.py"

train_dataloader = dict(dataset=dict(task="instances"))
val_dataloader = dict(dataset=dict(task="instances"))
test_dataloader = val_dataloader
val_evaluator = dict(iou_types=("bbox", "segm"))
test_evaluator = val_evaluator
