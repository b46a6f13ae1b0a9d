# COCO 2017 as it is unpacked: data/coco/{train2017,val2017,annotations}.
_dataset = dict(type="cutmix_dense.DenseTrainingDataset", root="data/coco", layout="coco", task="detection")
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(**_dataset, split="train", transforms=[dict(type="RandomHorizontalFlip", p=0.5)]),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=True),
    collate_fn=dict(type="cutmix_dense.collate"),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(**_dataset, split="val"),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=False),
    collate_fn=dict(type="cutmix_dense.collate"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="cutmix_dense.CocoMetric")
test_evaluator = val_evaluator
