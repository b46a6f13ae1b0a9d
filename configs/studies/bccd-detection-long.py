# Not run. The detection study with five times the budget and five seeds; mixing gains with longer schedules.
_base_ = "bccd-detection.py"

title = "Mixing for detection on BCCD (VOC layout), longer"
seeds = (0, 1, 2, 3, 4)
options = {"train_cfg.max_epochs": 200, "train_cfg.val_interval": 20}
budget = "200 epochs of 205 images (26 batches of 8) at 160 × 120, a small FCOS from random weights"
