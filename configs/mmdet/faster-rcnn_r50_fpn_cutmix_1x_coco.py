"""Faster R-CNN R50 on COCO, with CutMix per sample, in the loader's workers."""

_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# For other data: data_root and the names below (val_dataloader and val_evaluator are the base's: set them likewise),
# `metainfo=dict(classes=(...))` in every dataset, and `model = dict(roi_head=dict(bbox_head=dict(num_classes=...)))`.
data_root = "data/coco/"

# Base and partner go through this one each: flipped independently, at the size they are stored in. A mix costs less
# there than after the resize; where images differ much in size, move Resize in here.
load_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
]
# The mix filters the boxes itself (min_visibility, min_size). FilterAnnotations behind it would turn an image that has
# lost all its boxes into None, and MultiImageMixDataset into an error.
train_pipeline = [
    dict(type="cutmix_dense.CutMix", alpha=1.0, p=0.5, min_visibility=0.1),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="MultiImageMixDataset",
        dataset=dict(
            type="CocoDataset",
            data_root=data_root,
            ann_file="annotations/instances_train2017.json",
            data_prefix=dict(img="train2017/"),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=load_pipeline,
        ),
        pipeline=train_pipeline,
    )
)

# the last 2 of 12 epochs see the images as they are
default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_epochs=2))
