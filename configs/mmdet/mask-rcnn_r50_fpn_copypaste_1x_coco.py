"""Mask R-CNN R50 on COCO, with Copy-Paste per sample and standard scale jitter of both images."""

_base_ = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# For other data: data_root and the names below (val_dataloader and val_evaluator are the base's: set them likewise),
# `metainfo=dict(classes=(...))` in every dataset, and num_classes of `roi_head.bbox_head` and `roi_head.mask_head`.
data_root = "data/coco/"

# Base and partner, each with its own scale and flip: here the resize belongs before the mix. Polygons stay polygons
# until they are mixed, which makes both cheap; what comes out of the mix are bitmaps.
load_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=False),
    dict(type="RandomResize", scale=(1333, 800), ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
]
# The images needn't have one size: a partner lies at a random place. What is covered shrinks, and goes below a tenth of
# its mask. No FilterAnnotations behind the mix: it filters itself.
train_pipeline = [
    dict(type="cutmix_dense.CopyPaste", instances="random", p=1.0, min_visibility=0.1),
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

# No CloseMixHook: Copy-Paste is used to the end (Ghiasi et al., 2021).
