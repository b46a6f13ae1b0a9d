"""DeepLabV3+ R50 on PASCAL VOC 2012 (augmented), with CutMix of the whole batch before it is normalised."""

_base_ = "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-20k_voc12aug-512x512.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# For other data change the dataloaders as in any config of MMSegmentation; nothing here depends on them.

# Images are mixed as they were loaded, on the device, one byte per value. The other place, `batch_augments=[...]`, is
# behind padding and normalisation, on floats.
model = dict(
    data_preprocessor=dict(
        type="cutmix_dense.SegDataPreProcessor",
        augments_before_normalize=[
            dict(type="cutmix_dense.CutMix", p=0.5, region=dict(type="AreaBox", area=(0.1, 0.5)))
        ],
    )
)

# the last 2,000 of 20,000 iterations see the images as they are
default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_iters=2000))
