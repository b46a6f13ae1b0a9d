# House fronts, COCO layout with masks, 320 × 320: gtrain 477, gval 121 (split by photo).
_dataset = dict(
    type="cutmix_dense.DenseTrainingDataset", root="data/facade", layout="coco", task="instances", cache=True
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(**_dataset, split="gtrain", transforms=[dict(type="RandomHorizontalFlip", p=0.5)]),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=True),
    collate_fn=dict(type="cutmix_dense.collate"),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(**_dataset, split="gval"),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=False),
    collate_fn=dict(type="cutmix_dense.collate"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="cutmix_dense.CocoMetric", iou_types=("bbox", "segm"))
test_evaluator = val_evaluator
