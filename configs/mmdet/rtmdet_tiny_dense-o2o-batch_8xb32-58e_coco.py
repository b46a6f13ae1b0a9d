"""RTMDet-tiny on COCO with the Dense O2O recipe (DEIM, DEIMv2) for batches on their device, in 58 epochs.

Mosaics with an affine map and MixUp in epochs 4 to 28, CopyBlend in epochs 4 to 49, nothing in the last 8. DEIM trains
RT-DETRs with it. Any detector of MMDetection takes the same two dicts: the recipe in its data preprocessor, and the
hook that says which epoch begins. No published result belongs to this config.
"""

_base_ = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

epochs = 58
# images come in one size, as they are mixed in one batch
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(640, 640), keep_ratio=True),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=(640, 640), pad_val=dict(img=(114, 114, 114))),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(
    data_preprocessor=dict(
        type="cutmix_dense.DetDataPreprocessor",
        augments_before_normalize=[dict(type="cutmix_dense.dense_o2o", epochs=epochs)],
        batch_augments=None,
    )
)
default_hooks = dict(mix_schedule=dict(type="cutmix_dense.MixScheduleHook"))
train_cfg = dict(max_epochs=epochs, dynamic_intervals=None)
custom_hooks = [dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.0002, update_buffers=True, priority=49)]

# the base's schedule is that of 300 epochs
base_lr = 0.004
param_scheduler = [
    dict(type="LinearLR", start_factor=1.0e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type="CosineAnnealingLR",
        eta_min=base_lr * 0.05,
        begin=epochs // 2,
        end=epochs,
        T_max=epochs // 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
