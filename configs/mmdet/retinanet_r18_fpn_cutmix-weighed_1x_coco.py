"""RetinaNet R18 on COCO, with CutMix of the whole batch and losses that know how much of each object shows.

An object of which half shows pulls half as hard; one of which less than 0.3 shows is left out of every term, neither
looked for nor background. No published result belongs to this config.
"""

_base_ = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

model = dict(
    data_preprocessor=dict(
        type="cutmix_dense.DetDataPreprocessor",
        augments_before_normalize=[
            dict(type="cutmix_dense.CutMix", alpha=1.0, p=0.5, min_visibility=0.3, on_filtered="ignore")
        ],
    )
)

# any head that docs/losses.md names takes the same line; by=("visibility", "weight") after a MixUp
default_hooks = dict(
    weigh_losses=dict(type="cutmix_dense.WeighLossesHook", by="visibility"),
    close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_epochs=2),
)
