"""SegFormer-B0 on Cityscapes, with ClassMix of the whole batch on the device."""

_base_ = "mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py"
custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)

# For other data change the dataloaders as in any config of MMSegmentation; nothing here depends on them.

# MMSegmentation's own preprocessor keeps batch_augments unbuilt and fails when it calls them; this one builds them. The
# batch is normalised and padded to `size` when it is mixed.
model = dict(
    data_preprocessor=dict(
        type="cutmix_dense.SegDataPreProcessor",
        batch_augments=[dict(type="cutmix_dense.ClassMix", p=0.5)],
    )
)
# An image needs a partner on its own GPU: two per GPU, on 4 GPUs for the base's batch of 8.
train_dataloader = dict(batch_size=2)

# the last 16,000 of 160,000 iterations see the images as they are
default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_iters=16000))
