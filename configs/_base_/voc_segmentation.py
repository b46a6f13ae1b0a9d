# PASCAL VOC 2012 segmentation, 21 classes with the background, crops of 512 × 512.
_dataset = dict(
    type="cutmix_dense.DenseTrainingDataset", root="data/VOCdevkit/VOC2012", layout="voc", task="segmentation"
)
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(
        **_dataset,
        split="train",
        transforms=[
            dict(type="RandomHorizontalFlip", p=0.5),
            dict(type="ScaleJitter", target_size=(512, 512), scale_range=(0.5, 2.0)),
            dict(type="RandomCrop", size=(512, 512), pad_if_needed=True),
        ],
    ),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=True),
    collate_fn=dict(type="cutmix_dense.collate"),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(**_dataset, split="val"),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=False),
    collate_fn=dict(type="cutmix_dense.collate"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="cutmix_dense.IoUMetric")
test_evaluator = val_evaluator
