"""DeepLabV3+ R50 on PASCAL VOC 2012 (augmented), with ClassMix per sample and partners from a cache."""

_base_ = "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-20k_voc12aug-512x512.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# For other data: what stands below (val_dataloader is the base's: set it likewise); of other classes a
# `type="BaseSegDataset"` with img_suffix, seg_map_suffix and `metainfo=dict(classes=(...), palette=[...])`, and
# num_classes of `decode_head` and `auxiliary_head` in the model.
data_root = "data/VOCdevkit/VOC2012"
crop_size = (512, 512)

# Partners come from the samples that passed last in the same worker: no wrapper round the dataset, and a mix loads
# nothing. Resize, crop and flip stand before the mix: every image has had its own.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="cutmix_dense.ClassMix", p=0.5, max_cached_images=20),
    dict(type="PhotoMetricDistortion"),
    dict(type="Pad", size=crop_size),
    dict(type="PackSegInputs"),
]
voc = dict(type="PascalVOCDataset", data_root=data_root, pipeline=train_pipeline)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            dict(
                data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
                ann_file="ImageSets/Segmentation/train.txt",
                **voc,
            ),
            dict(
                data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassAug"),
                ann_file="ImageSets/Segmentation/aug.txt",
                **voc,
            ),
        ],
    )
)

# the last 2,000 of 20,000 iterations see the images as they are
default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_iters=2000))
