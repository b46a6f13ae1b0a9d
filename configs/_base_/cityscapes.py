# Cityscapes: data/cityscapes/{leftImg8bit,gtFine}, 19 classes, crops of 512 × 1024.
_dataset = dict(
    type="cutmix_dense.DenseTrainingDataset", root="data/cityscapes", layout="cityscapes", task="segmentation"
)
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(
        **_dataset,
        split="train",
        transforms=[
            dict(type="RandomHorizontalFlip", p=0.5),
            dict(type="RandomResize", min_size=512, max_size=2048),
            dict(type="RandomCrop", size=(512, 1024), pad_if_needed=True),
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
# The official script's scores instead: dict(type="cutmix_dense.CityscapesMetric"), extra "cityscapes".
val_evaluator = dict(type="cutmix_dense.IoUMetric")
test_evaluator = val_evaluator
