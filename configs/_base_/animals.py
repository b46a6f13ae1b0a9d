# Animals of Open Images, COCO layout, a folder per split: train 260, valid 59, test 29 photos; few, large objects.
_dataset = dict(
    type="cutmix_dense.DenseTrainingDataset", root="data/animals_oi", layout="coco", task="detection", cache=True
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(**_dataset, split="train", transforms=[dict(type="RandomHorizontalFlip", p=0.5)]),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=True),
    collate_fn=dict(type="cutmix_dense.collate"),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(**_dataset, split="valid"),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=False),
    collate_fn=dict(type="cutmix_dense.collate"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="cutmix_dense.CocoMetric")
test_evaluator = val_evaluator
