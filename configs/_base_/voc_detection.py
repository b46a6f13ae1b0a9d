# PASCAL VOC 2007, train and val; "trainval" and "test" for the published protocol.
_base_ = "coco_detection.py"

_voc = dict(root="data/VOCdevkit/VOC2007", layout="voc")
train_dataloader = dict(dataset=_voc)
val_dataloader = dict(dataset=_voc)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type="cutmix_dense.VocMetric", mode="11points")
test_evaluator = val_evaluator
