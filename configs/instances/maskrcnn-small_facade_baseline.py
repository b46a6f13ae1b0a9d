# A small Mask R-CNN at 160 × 160, for a CPU.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/facade.py"]

model = dict(
    type="cutmix_dense.Detector",
    num_classes=11,
    network=dict(
        type="small_maskrcnn",
        channels=32,
        rpn_pre_nms_top_n_train=300,
        rpn_post_nms_top_n_train=100,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=200,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=32,
    ),
    data_preprocessor=dict(type="cutmix_dense.MixPreprocessor", size=(160, 160)),
)
train_cfg = dict(max_epochs=20, val_interval=10)
