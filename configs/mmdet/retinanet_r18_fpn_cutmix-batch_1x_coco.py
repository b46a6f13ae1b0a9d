"""RetinaNet R18 on COCO, with CutMix of the whole batch on the device: nothing is loaded twice."""

_base_ = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# For other data change the dataloaders as in any config of MMDetection; nothing here depends on them.

# Images are mixed as they were loaded, one byte per value, before they are padded and normalised. The other place,
# `batch_augments=[...]`, is behind both, on floats. Partners come from the same GPU's batch: the more images the
# better, one alone stays unmixed.
model = dict(
    data_preprocessor=dict(
        type="cutmix_dense.DetDataPreprocessor",
        augments_before_normalize=[dict(type="cutmix_dense.CutMix", alpha=1.0, p=0.5, min_visibility=0.1)],
    )
)

# the last 2 of 12 epochs see the images as they are
default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_epochs=2))
