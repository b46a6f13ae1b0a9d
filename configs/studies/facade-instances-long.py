# Not run. The study of masks at full size with a MobileNetV3 and six times the budget; for a GPU.
_base_ = "facade-instances.py"

title = "Mixing for instance segmentation on house fronts (COCO layout), longer"
config = "../instances/maskrcnn-mobile_facade_baseline.py"
seeds = (0, 1, 2, 3, 4)
options = {"train_cfg.max_epochs": 120, "train_cfg.val_interval": 20}
budget = "120 epochs of 477 photos (60 batches of 8) at 320 × 320, Mask R-CNN on MobileNetV3-small from random weights"
