"""Faster R-CNN R50 on PASCAL VOC 2007 + 2012, with CutMix per sample whose regions cut few objects."""

_base_ = "mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# For other data: data_root and the names below (val_dataloader and val_evaluator are the base's: set them likewise),
# `metainfo=dict(classes=(...))` in every dataset, and `model = dict(roi_head=dict(bbox_head=dict(num_classes=...)))`.
data_root = "data/VOCdevkit/"

load_pipeline = [  # base and partner, each
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
]
# No FilterAnnotations behind the mix: it filters itself, and an image without boxes must not become None.
train_pipeline = [
    dict(type="cutmix_dense.CutMix", region=dict(type="ObjectBox"), p=0.5),
    dict(type="Resize", scale=(1000, 600), keep_ratio=True),
    dict(type="PackDetInputs"),
]
voc = dict(
    type="VOCDataset",
    data_root=data_root,
    filter_cfg=dict(filter_empty_gt=True, min_size=32, bbox_min_size=32),
    pipeline=load_pipeline,
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="RepeatDataset",
        times=3,
        dataset=dict(
            type="MultiImageMixDataset",  # outside of ConcatDataset: partners come from both years
            dataset=dict(
                type="ConcatDataset",
                ignore_keys=["dataset_type"],  # it differs between the years
                datasets=[
                    dict(
                        ann_file="VOC2007/ImageSets/Main/trainval.txt",
                        data_prefix=dict(sub_data_root="VOC2007/"),
                        **voc,
                    ),
                    dict(
                        ann_file="VOC2012/ImageSets/Main/trainval.txt",
                        data_prefix=dict(sub_data_root="VOC2012/"),
                        **voc,
                    ),
                ],
            ),
            pipeline=train_pipeline,
        ),
    )
)

# the last of 4 epochs (of 3 rounds each) sees the images as they are
default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_epochs=1))
