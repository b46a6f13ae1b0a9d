# Blood cells, VOC layout, 320 × 240: train 205, val 87, test 72 images.
_train_dataset = dict(
    type="cutmix_dense.DenseTrainingDataset",
    root="data/bccd",
    split="train",
    layout="voc",
    task="detection",
    transforms=[dict(type="RandomHorizontalFlip", p=0.5), dict(type="RandomVerticalFlip", p=0.5)],
    cache=True,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=_train_dataset,
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=True),
    collate_fn=dict(type="cutmix_dense.collate"),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(
        type="cutmix_dense.DenseTrainingDataset",
        root="data/bccd",
        split="val",
        layout="voc",
        task="detection",
        cache=True,
    ),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=False),
    collate_fn=dict(type="cutmix_dense.collate"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="cutmix_dense.VocMetric")
test_evaluator = val_evaluator
