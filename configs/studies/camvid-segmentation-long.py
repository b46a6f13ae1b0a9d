# Not run. The segmentation study with five times the budget, full resolution and five seeds; for a GPU.
_base_ = "camvid-segmentation.py"

title = "Mixing for semantic segmentation on CamVid, longer"
seeds = (0, 1, 2, 3, 4)
options = {
    "train_cfg.max_epochs": 150,
    "train_cfg.val_interval": 15,
    "model.data_preprocessor.size": (240, 320),
}
budget = "150 epochs of 367 frames (46 batches of 8) at 320 × 240, a small U-Net from random weights"
