"""DeepLabV3+ R18 on Cityscapes, with CutMix per sample, in the loader's workers."""

_base_ = "mmseg::deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# For other data: what stands below (val_dataloader is the base's: set it likewise); of other classes a
# `type="BaseSegDataset"` with img_suffix, seg_map_suffix and `metainfo=dict(classes=(...), palette=[...])`, and
# num_classes of `decode_head` and `auxiliary_head` in the model.
data_root = "data/cityscapes/"
crop_size = (512, 1024)

# Base and partner, each: cut to the training size before the mix, so that both have the training's scales and the mix
# touches few pixels.
load_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
]
train_pipeline = [
    dict(type="cutmix_dense.CutMix", p=0.5, region=dict(type="AreaBox", area=(0.1, 0.5))),
    dict(type="PhotoMetricDistortion"),  # of the mixed image: once, and it says nothing about the seams
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="MultiImageMixDataset",
        dataset=dict(
            type="CityscapesDataset",
            data_root=data_root,
            data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
            pipeline=load_pipeline,
        ),
        pipeline=train_pipeline,
    )
)

# the last 8,000 of 80,000 iterations see the images as they are
default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_iters=8000))
