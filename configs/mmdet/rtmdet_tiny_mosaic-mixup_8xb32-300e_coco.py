"""RTMDet-tiny on COCO as in MMDetection, with our Mosaic and MixUp in place of CachedMosaic and CachedMixUp."""

_base_ = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# Partners come from the samples that passed last in the same worker (max_cached_images): the dataset needs no wrapper,
# and a mix loads nothing. For other data: dataloaders and bbox_head.num_classes, as in any config of MMDetection.
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    # four images, each fitted into half of a canvas of twice the training size, as CachedMosaic(img_scale=(640, 640))
    dict(
        type="cutmix_dense.Mosaic",
        size=(1280, 1280),
        scale=(0.5, 0.5),
        max_cached_images=20,
        random_pop=False,
    ),
    dict(type="RandomResize", scale=(1280, 1280), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(640, 640)),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=(640, 640), pad_val=dict(img=(114, 114, 114))),
    dict(type="cutmix_dense.MixUp", lam=0.5, p=0.5, max_cached_images=10, random_pop=False),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# The base's PipelineSwitchHook replaces this pipeline by one without mixes for the last 20 epochs, which jitters scale
# round the training size. CloseMixHook would have nothing left to do.
