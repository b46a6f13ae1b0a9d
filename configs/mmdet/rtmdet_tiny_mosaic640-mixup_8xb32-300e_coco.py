"""RTMDet-tiny on COCO with a Mosaic of the training size, not twice as large, closed by CloseMixHook.

The pipeline is MMDetection's second stage with Mosaic and MixUp in it: closing them leaves that stage as it is. Four
images meet at a point and each shows about a quarter, as in a centred crop of the canvas of twice the size, which is
neither made nor resized. Not the recipe to the letter: MMDetection's published results belong to the other config.
"""

_base_ = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# For other data: dataloaders and bbox_head.num_classes, as in any config of MMDetection.
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="cutmix_dense.Mosaic", size=(640, 640), scale=(1.0, 1.0), max_cached_images=20, random_pop=False),
    dict(type="RandomResize", scale=(640, 640), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(640, 640)),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=(640, 640), pad_val=dict(img=(114, 114, 114))),
    dict(type="cutmix_dense.MixUp", lam=0.5, p=0.5, max_cached_images=10, random_pop=False),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# In place of PipelineSwitchHook, which goes with the base's list: loader workers live on.
custom_hooks = [dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.0002, update_buffers=True, priority=49)]
default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_epochs=20))
